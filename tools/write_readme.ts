/**
 * Writes the README's tables: performance, permissions, flags.
 *
 *     deno run -A tools/write_readme.ts          writes README.md
 *     deno run -A tools/write_readme.ts --check  fails where it is not up to date
 */
import { commands } from "@mproxy/cli";
import {
  type Command,
  commonOptions,
  type Option,
  optionHelp,
  type OptionTable,
  optionUsage,
} from "@mproxy/mproxy/cli";
import { fromFileUrl } from "@std/path";
import { performanceTable } from "./performance_tables.ts";
import { permissionTable } from "./permissions.ts";
import { formatMarkdown } from "./written_file.ts";

const README = fromFileUrl(new URL("../README.md", import.meta.url));
/** What stands between a pair of comments with this name. */
const PARTS: Readonly<Record<string, () => string>> = {
  dispatch: () => performanceTable("dispatch"),
  tcp: () => performanceTable("tcp"),
  mqtt: () => performanceTable("mqtt"),
  permissions: permissionTable,
  flags: flagTables,
};

/** Tables of all roles' own options, and one of those that all have. */
export function flagTables(): string {
  return [
    ...commands.map((command) => table(`\`${command.name}\``, command.options)),
    table("All roles", sharedOptions()),
  ].join("\n");
}

/** The options of all roles, each with the defaults of the roles that have their own. */
function sharedOptions(): OptionTable {
  const [first, ...others] = commands;
  const shared: Record<string, Option<unknown>> = { ...commonOptions(first!) };
  for (const [key, option] of Object.entries(shared)) {
    const own = others.map((command) => {
      const table: OptionTable = commonOptions(command);
      return [command.name, table[key]!.defaultText] as const;
    }).filter(([, text]) => text !== option.defaultText);
    if (own.length === 0) continue;
    const defaultText = [
      option.defaultText,
      ...own.map(([name, text]) => `${text} for \`${name}\``),
    ].join(", ");
    shared[key] = { ...option, defaultText };
  }
  return shared;
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
  let text = readme;
  for (const [name, write] of Object.entries(PARTS)) {
    const opening = `<!-- ${name}: written by tools/write_readme.ts -->`;
    const start = text.indexOf(opening);
    const end = text.indexOf(`<!-- /${name} -->`);
    if (start < 0 || end < start) {
      throw new TypeError(`README.md has no place for its ${name}`);
    }
    text = `${text.slice(0, start)}${opening}\n\n${write()}\n${
      text.slice(end)
    }`;
  }
  const formatted = await formatMarkdown(text);
  if (Deno.args.includes("--check")) {
    if (formatted !== readme) {
      await Deno.stderr.write(
        new TextEncoder().encode(
          "README.md is not up to date: run deno run -A tools/write_readme.ts\n",
        ),
      );
      Deno.exit(1);
    }
  } else await Deno.writeTextFile(README, formatted);
}
