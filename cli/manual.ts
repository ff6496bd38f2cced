/** The manual page of a command, from its table of options: man(7). Pure. */
import type { Command, OptionTable } from "./command.ts";
import { optionGroups, optionHelp, optionUsage, usageLine } from "./help.ts";

/** The page of section 1 for a command, with all its options. */
export function manualPage(
  program: string,
  command: Command,
  table: OptionTable,
  version: string,
): string {
  const name = `${program}-${command.name}`;
  const lines = [
    `.TH ${escaped(name.toUpperCase())} 1 "" "${
      escaped(`${program} ${version}`)
    }" "${escaped(program)} manual"`,
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
  lines.push(
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
  );
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
