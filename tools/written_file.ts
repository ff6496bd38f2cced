/** Files that a script writes: written, or with `--check` compared. */

/** A file and what it must hold. */
export interface WrittenFile {
  readonly path: string;
  readonly text: string;
}

/** Writes files, or ends with 1 and a line for each that is not up to date. */
export async function checkOrWrite(
  files: readonly WrittenFile[],
  command: string,
): Promise<void> {
  let stale = 0;
  for (const { path, text } of files) {
    if (!Deno.args.includes("--check")) {
      await Deno.mkdir(path.replace(/[^/]*$/, ""), { recursive: true });
      await Deno.writeTextFile(path, text);
      continue;
    }
    const found = await Deno.readTextFile(path).catch(() => undefined);
    if (found === text) continue;
    stale++;
    await Deno.stderr.write(
      new TextEncoder().encode(`${path} is not up to date: ${command}\n`),
    );
  }
  if (stale > 0) Deno.exit(1);
}

/** Markdown as `deno fmt` leaves it. */
export async function formatMarkdown(markdown: string): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--ext", "md", "-"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(markdown));
  await writer.close();
  return new TextDecoder().decode((await child.output()).stdout);
}
