/** The manual page of a command, from its table of options: man(7). Pure. */
import type { Command, OptionTable } from "./command.ts";
import { SHELLS } from "./completions.ts";
import { optionGroups, optionHelp, optionUsage, usageLine } from "./help.ts";

/** How every role ends. */
const ENDS = [
  ".SH EXIT STATUS",
  ".TP",
  ".B 0",
  "It has done its work, or was asked to end and has drained.",
  ".TP",
  ".B 1",
  "It failed while running; one line on standard error says how.",
  ".TP",
  ".B 2",
  "It was used wrongly; nothing was opened.",
  ".SH SIGNALS",
  "SIGINT and SIGTERM drain: nothing new is taken, what is in flight ends within",
  `.BR ${escaped("--grace")} .`,
  "A second signal ends at once.",
];

/** The page of section 1 for the program with all roles. */
export function programPage(
  program: string,
  commands: readonly Command[],
  version: string,
): string {
  return [
    header(program, program, version),
    ".SH NAME",
    `${escaped(program)} \\- move bytes between sockets`,
    ".SH SYNOPSIS",
    ...[
      `${program} ROLE [OPTIONS]`,
      `${program} completions ${SHELLS.join("|")}`,
      `${program} man ROLE`,
    ].flatMap((line, i) => [...i > 0 ? [".br"] : [], `.B ${escaped(line)}`]),
    ".SH ROLES",
    ...commands.flatMap(({ name, summary }) => [
      ".TP",
      `.BR ${escaped(`${program}-${name}`)} (1)`,
      `${escaped(summary)}.`,
    ]),
    ...ENDS,
  ].join("\n") + "\n";
}

function header(name: string, program: string, version: string): string {
  return `.TH ${escaped(name.toUpperCase())} 1 "" "${
    escaped(`${program} ${version}`)
  }" "${escaped(program)} manual"`;
}

/** The page of section 1 for a command, with all its options. */
export function manualPage(
  program: string,
  command: Command,
  table: OptionTable,
  version: string,
): string {
  const name = `${program}-${command.name}`;
  const lines = [
    header(name, program, version),
    ".SH NAME",
    `${escaped(name)} \\- ${escaped(command.summary)}`,
    ".SH SYNOPSIS",
    `.B ${escaped(usageLine(name, command))}`,
    ".br",
    `.B ${escaped(usageLine(`${program} ${command.name}`, command))}`,
  ];
  if (command.description) {
    lines.push(".SH DESCRIPTION");
    for (const paragraph of command.description.split(/\n\n+/)) {
      lines.push(".PP", escaped(paragraph));
    }
  }
  for (const [heading, options] of optionGroups(table)) {
    lines.push(`.SH "${escaped(heading.toUpperCase())}"`);
    for (const [key, option] of options) {
      lines.push(
        ".TP",
        `.B ${escaped(optionUsage(key, option).trim())}`,
        escaped(optionHelp(option)),
      );
    }
  }
  lines.push(...ENDS);
  if (command.examples.length > 0) {
    lines.push(".SH EXAMPLES", ".nf");
    for (const example of command.examples) {
      lines.push(escaped(`${name} ${example}`));
    }
    lines.push(".fi");
  }
  return lines.join("\n") + "\n";
}

/** Text as roff reads it: no escapes, no requests, hyphens that can be copied. */
function escaped(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-")
    .replaceAll('"', "\\(dq").replaceAll("\n", "\n.br\n")
    .replaceAll(/^([.'])/gm, "\\&$1").replaceAll("\\&.br\n", ".br\n");
}
