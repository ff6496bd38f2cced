/**
 * Writes docs/roles/: a page per role, from its option table.
 *
 *     deno run -A tools/write_docs.ts          writes the pages
 *     deno run -A tools/write_docs.ts --check  fails where they are not up to date
 */
import { commands } from "@mproxy/cli";
import {
  allOptions,
  type Command,
  optionHelp,
  optionUsage,
} from "@mproxy/mproxy/cli";
import { fromFileUrl } from "@std/path";
import { optionGroups } from "../cli/help.ts";
import { permissions } from "./permissions.ts";
import { checkOrWrite, formatMarkdown } from "./written_file.ts";

const FOLDER = fromFileUrl(new URL("../docs/roles/", import.meta.url));

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;");
}

/** The page of a role, in Markdown. */
export function rolePage(command: Command): string {
  const { name, summary, description, examples, positionals } = command;
  const { least, more } = permissions.find(({ role }) => role === name)!;
  const lines = [
    "<!-- written by tools/write_docs.ts -->",
    "",
    `# ${name}`,
    "",
    `${summary}.`,
    "",
    ...description ? [description.replaceAll("<", "&lt;"), ""] : [],
    "```sh",
    ...examples.map((example) => `mproxy ${name} ${example}`),
    "```",
    "",
    `\`mproxy ${name}\` is \`mproxy-${name}\` as a program of its own and`,
    `\`deno run ${
      least.join(" ")
    } jsr:@mproxy/${name}\` without either. More permissions are wanted for`,
    more.length > 0
      ? more.map(([one, what]) => `${what} (\`${one}\`)`).join("; ") + "."
      : "nothing.",
    "",
    ...positionals
      ? [
        `Behind the options stand \`${positionals}\`.`,
        "",
      ]
      : [],
  ];
  for (const [heading, options] of optionGroups(allOptions(command))) {
    lines.push(`## ${heading}`, "", "| flag | meaning |", "| --- | --- |");
    for (const [key, option] of options) {
      const aliases = option.aliases?.map((one) => `\`--${one}\``) ?? [];
      lines.push(
        `| \`${cell(optionUsage(key, option).trim())}\` | ${
          cell(optionHelp(option))
        }${aliases.length > 0 ? `; also ${aliases.join(", ")}` : ""} |`,
      );
    }
    lines.push("");
  }
  return lines.join("\n");
}

if (import.meta.main) {
  const pages = [];
  for (const command of commands) {
    pages.push({
      path: `${FOLDER}${command.name}.md`,
      text: await formatMarkdown(rolePage(command)),
    });
  }
  await checkOrWrite(pages, "deno run -A tools/write_docs.ts");
}
