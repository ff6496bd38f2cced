/**
 * Publishes every package as a dry run, from a copy of the tree in which the
 * stand-ins of `offline/` lie outside: they are part of no package.
 *
 *     deno run -A tools/publish_check.ts
 */
import { dirname, fromFileUrl, join } from "@std/path";

const ROOT = fromFileUrl(new URL("..", import.meta.url));

/** Copies what git tracks or would track to `<folder>/tree`, the stand-ins to `<folder>/offline`. */
export async function stageTree(folder: string): Promise<string> {
  const tree = join(folder, "tree");
  for (const file of await listFiles()) {
    const target = file.startsWith("offline/")
      ? join(folder, file)
      : join(tree, file);
    await Deno.mkdir(dirname(target), { recursive: true });
    await Deno.copyFile(join(ROOT, file), target);
  }
  const config = join(tree, "deno.json");
  const manifest = JSON.parse(await Deno.readTextFile(config));
  manifest.links = manifest.links?.map((link: string) =>
    link.replace(/^\.\//, "../")
  );
  await Deno.writeTextFile(config, JSON.stringify(manifest, null, 2));
  return tree;
}

/** Folders of all packages, the library's first. */
export async function packageFolders(tree: string): Promise<string[]> {
  const manifest = JSON.parse(await Deno.readTextFile(join(tree, "deno.json")));
  return [".", ...manifest.workspace];
}

async function listFiles(): Promise<string[]> {
  const { stdout } = await new Deno.Command("git", {
    args: ["ls-files", "--cached", "--others", "--exclude-standard", "-z"],
    cwd: ROOT,
  }).output();
  const files = new TextDecoder().decode(stdout).split("\0").filter(Boolean);
  const here = await Promise.all(
    files.map((file) =>
      Deno.stat(join(ROOT, file)).then(() => true, () => false)
    ),
  );
  return files.filter((_, i) => here[i]);
}

if (import.meta.main) {
  const folder = await Deno.makeTempDir();
  let failed = 0;
  try {
    const tree = await stageTree(folder);
    for (const member of await packageFolders(tree)) {
      const { success, stdout, stderr } = await new Deno.Command(
        Deno.execPath(),
        {
          args: [
            ...["publish", "--dry-run", "--allow-dirty"],
            // `deno check` has seen the roles' tables; each would check the
            // whole library again. What publishing alone finds, such as slow
            // types and imports from outside, is found without it.
            ...member === "." ? [] : ["--no-check"],
          ],
          cwd: join(tree, member),
        },
      ).output();
      if (success) continue;
      failed++;
      await Deno.stderr.write(stdout);
      await Deno.stderr.write(stderr);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  if (failed > 0) Deno.exit(1);
}
