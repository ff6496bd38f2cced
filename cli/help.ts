/** The help text of a command, from its table of options. */
import type { Command, Option, OptionTable } from "./command.ts";
import { flagName } from "./parse.ts";

/** How an option is written: `-t, --tee`, `--path FILE`. */
export function optionUsage(key: string, option: Option<unknown>): string {
  const { short, negatable, placeholder } = option;
  const name = negatable ? `--[no-]${flagName(key)}` : `--${flagName(key)}`;
  return `${short ? `-${short}, ` : "    "}${name}${
    placeholder ? ` ${placeholder}` : ""
  }`;
}

/** What an option means, with its default and whether it repeats. */
export function optionHelp(option: Option<unknown>): string {
  const notes = [
    ...option.required ? ["required"] : [],
    ...option.repeated ? ["may be repeated"] : [],
    ...option.defaultText === undefined
      ? []
      : [`default ${option.defaultText}`],
  ];
  return option.help + (notes.length > 0 ? ` (${notes.join("; ")})` : "");
}

/** The usage line of a command. */
export function usageLine(program: string, command: Command): string {
  return `${program} [OPTIONS]${
    command.positionals ? ` ${command.positionals}` : ""
  }`;
}

/** Options of a table by their heading, in the table's order. */
export function optionGroups(
  table: OptionTable,
): Map<string, [string, Option<unknown>][]> {
  const groups = new Map<string, [string, Option<unknown>][]>();
  for (const [key, option] of Object.entries(table)) {
    if (option.hidden) continue;
    const heading = option.group ?? "Options";
    const group = groups.get(heading) ?? [];
    group.push([key, option]);
    groups.set(heading, group);
  }
  return groups;
}

/** The whole help text. */
export function helpText(
  program: string,
  command: Command,
  table: OptionTable = command.options,
): string {
  const lines = [...wrap(`${program}: ${command.summary}`, "", 80), ""];
  if (command.description) lines.push(...wrap(command.description, "", 80), "");
  lines.push("Usage:", `  ${usageLine(program, command)}`);
  for (const [heading, options] of optionGroups(table)) {
    lines.push("", `${heading}:`);
    for (const [key, option] of options) {
      const usage = `  ${optionUsage(key, option)}`;
      const [first = "", ...rest] = wrap(
        optionHelp(option),
        " ".repeat(34),
        80,
      );
      if (usage.length > 32) lines.push(usage, first);
      else lines.push(usage.padEnd(34) + first.trimStart());
      lines.push(...rest);
    }
  }
  if (command.examples.length > 0) {
    lines.push("", "Examples:");
    for (const example of command.examples) {
      lines.push(`  ${program} ${example}`.trimEnd());
    }
  }
  return lines.join("\n") + "\n";
}

/** The help text of a program with subcommands. */
export function commandsHelpText(
  program: string,
  commands: readonly Command[],
): string {
  const width = Math.max(...commands.map(({ name }) => name.length)) + 4;
  const lines = commands.flatMap(({ name, summary }) => {
    const [first = "", ...rest] = wrap(summary, " ".repeat(width), 80);
    return [`  ${name}`.padEnd(width) + first.trimStart(), ...rest];
  });
  return [
    `${program}: moves bytes between sockets`,
    "",
    "Usage:",
    `  ${program} ROLE [OPTIONS]`,
    `  ${program} ROLE --help`,
    `  ${program} completions bash|zsh|fish`,
    `  ${program} man ROLE`,
    "",
    "Roles:",
    ...lines,
  ].join("\n") + "\n";
}

function wrap(text: string, indent: string, width: number): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split("\n")) {
    let line = indent;
    for (const word of paragraph.split(" ")) {
      if (
        line.length > indent.length && line.length + 1 + word.length > width
      ) {
        lines.push(line);
        line = indent;
      }
      line += line.length > indent.length ? ` ${word}` : word;
    }
    lines.push(line.trimEnd());
  }
  return lines;
}
