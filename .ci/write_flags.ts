/**
 * Writes the README's table of flags from the option tables.
 *
 *     deno run -A .ci/write_flags.ts          writes README.md
 *     deno run -A .ci/write_flags.ts --check  fails where it is not up to date
 */
import { commands } from "@mproxy/cli";
import {
  type Command,
  commonOptions,
  optionHelp,
  optionUsage,
} from "@mproxy/mproxy/cli";
import { fromFileUrl } from "@std/path";

const README = fromFileUrl(new URL("../README.md", import.meta.url));
const START = "<!-- flags: written by .ci/write_flags.ts -->";
const END = "<!-- /flags -->";

/** Tables of all roles' own options, and one of those that all have. */
export function flagTables(): string {
  const first = commands[0]!;
  return [
    ...commands.map((command) => table(`\`${command.name}\``, command.options)),
    table("All roles", commonOptions(first)),
  ].join("\n");
}

function table(title: string, options: Command["options"]): string {
  const rows = Object.entries(options).filter(([, option]) => !option.hidden)
    .map(
      ([key, option]) =>
        `| \`${optionUsage(key, option).trim().replaceAll("|", "\\|")}\` | ${
          optionHelp(option).replaceAll("|", "\\|")
        } |`,
    );
  return [
    `**${title}**`,
    "",
    "| flag | meaning |",
    "| --- | --- |",
    ...rows,
    "",
  ].join("\n");
}

if (import.meta.main) {
  const readme = await Deno.readTextFile(README);
  const start = readme.indexOf(START) + START.length;
  const end = readme.indexOf(END);
  const text = `${readme.slice(0, start)}\n\n${flagTables()}\n${
    readme.slice(end)
  }`;
  const formatted = await format(text);
  if (Deno.args.includes("--check")) {
    if (formatted !== readme) {
      await Deno.stderr.write(
        new TextEncoder().encode(
          "README.md does not show all flags: run deno run -A .ci/write_flags.ts\n",
        ),
      );
      Deno.exit(1);
    }
  } else await Deno.writeTextFile(README, formatted);
}

async function format(markdown: string): Promise<string> {
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
