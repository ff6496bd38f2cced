/** Shell completions of a program with subcommands, from its tables of options. Pure. */
import type { Command, Option, OptionTable } from "./command.ts";
import { flagName } from "./parse.ts";

/** The shells that are known. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

/** A shell. */
export type Shell = typeof SHELLS[number];

/** A command with all its options, the common ones too. */
export interface CompletedCommand {
  /** The command. */
  readonly command: Command;
  /** All its options. */
  readonly table: OptionTable;
}

/**
 * The script that a shell sources. It completes `program ROLE` and the
 * single programs `program-ROLE`.
 */
export function completionScript(
  shell: Shell,
  program: string,
  commands: readonly CompletedCommand[],
): string {
  const write = { bash: bashScript, zsh: zshScript, fish: fishScript };
  return write[shell](program, commands);
}

/** A name with which an option is written. */
interface Flag {
  /** `--path`, `-t` or `--no-loop`. */
  readonly name: string;
  readonly option: Option<unknown>;
}

function flagsOf(table: OptionTable): Flag[] {
  return Object.entries(table).filter(([, option]) => !option.hidden).flatMap(
    ([key, option]) => [
      ...option.short ? [{ name: `-${option.short}`, option }] : [],
      { name: `--${flagName(key)}`, option },
      ...option.negatable ? [{ name: `--no-${flagName(key)}`, option }] : [],
    ],
  );
}

function takesFile({ placeholder = "" }: Option<unknown>): boolean {
  return /^(FILE|FOLDER)/.test(placeholder);
}

/** What goes between single quotes of a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function bashScript(
  program: string,
  commands: readonly CompletedCommand[],
): string {
  const names = commands.map(({ command }) => command.name);
  const values = commands.flatMap(({ command, table }) =>
    flagsOf(table).filter(({ option }) => option.placeholder !== undefined)
      .map(({ name, option }) => {
        const words = takesFile(option)
          ? `local IFS=$'\\n'; COMPREPLY=($(compgen -f -- "$cur"))`
          : option.choices
          ? `COMPREPLY=($(compgen -W ${
            quoted(option.choices.join(" "))
          } -- "$cur"))`
          : "COMPREPLY=()";
        return `    "${command.name} ${name}") ${words}; return ;;`;
      })
  );
  const flags = commands.map(({ command, table }) =>
    `    ${command.name}) words=${
      quoted(flagsOf(table).map(({ name }) => name).join(" "))
    } ;;`
  );
  const fn = `_${program}`;
  return `# bash completion for ${program}: source <(${program} completions bash)
${fn}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} role words
  # "=" is a word of its own here.
  if [ "$cur" = = ]; then cur=
  elif [ "$prev" = = ]; then prev=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  role=\${1##*/}
  if [ "$role" = ${program} ]; then
    if [ "$COMP_CWORD" = 1 ]; then
      COMPREPLY=($(compgen -W ${
    quoted([...names, "completions", "man", "--help", "--version"].join(" "))
  } -- "$cur"))
      return
    fi
    role=\${COMP_WORDS[1]}
  else
    role=\${role#${program}-}
  fi
  case "$role $prev" in
    "completions completions") COMPREPLY=($(compgen -W ${
    quoted(SHELLS.join(" "))
  } -- "$cur")); return ;;
    "man man") COMPREPLY=($(compgen -W ${
    quoted(names.join(" "))
  } -- "$cur")); return ;;
${values.join("\n")}
  esac
  case "$role" in
${flags.join("\n")}
    *) words= ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o filenames -F ${fn} ${
    [program, ...names.map((name) => `${program}-${name}`)].join(" ")
  }
`;
}

function zshScript(
  program: string,
  commands: readonly CompletedCommand[],
): string {
  const fn = `_${program}`;
  const names = commands.map(({ command }) => command.name);
  const functions = commands.map(({ command, table }) => {
    const specs = flagsOf(table).map(({ name, option }) => {
      const help = option.help.replaceAll(/[[\]\\]/g, "\\$&");
      const { placeholder, choices } = option;
      const value = placeholder === undefined
        ? ""
        : `:${placeholder.replaceAll(/[:\\]/g, "\\$&")}:${
          takesFile(option)
            ? "_files"
            : choices
            ? `(${choices.join(" ")})`
            : " "
        }`;
      const many = option.repeated ? "*" : "";
      // "=" takes the value as a word of its own too.
      const sign = value !== "" && name.startsWith("--") ? "=" : "";
      return `    ${quoted(`${many}${name}${sign}[${help}]${value}`)}`;
    });
    if (command.positionals !== undefined) {
      const name = command.positionals.replaceAll(/[[\]:\\]/g, "");
      specs.push(`    ${quoted(`*:${name}: `)}`);
    }
    return `${fn}_${command.name}() {\n  _arguments \\\n${
      specs.join(" \\\n")
    }\n}`;
  });
  const described = commands.map(({ command: { name, summary } }) =>
    `    ${quoted(`${name}:${summary.replaceAll(":", "\\:")}`)}`
  );
  return `#compdef ${
    [program, ...names.map((name) => `${program}-${name}`)].join(" ")
  }
# zsh completion for ${program}: a file ${fn} in a folder of $fpath, or
# source <(${program} completions zsh)
${functions.join("\n")}
${fn}() {
  local role=\${service#${program}-}
  local -a roles
  roles=(
${described.join("\n")}
    'completions:Completions of a shell'
    'man:Manual page of a role'
  )
  if [[ $service == ${program} ]]; then
    if (( CURRENT == 2 )); then
      _describe role roles
      return
    fi
    role=$words[2]
    shift words
    (( CURRENT-- ))
  fi
  case $role in
    completions) _values shell ${SHELLS.join(" ")} ;;
    man) _values role ${names.join(" ")} ;;
    *) (( $+functions[${fn}_$role] )) && ${fn}_$role ;;
  esac
}
if [[ $funcstack[1] == ${fn} ]]; then
  ${fn} "$@"
else
  compdef ${fn} ${
    [program, ...names.map((name) => `${program}-${name}`)].join(" ")
  }
fi
`;
}

function fishScript(
  program: string,
  commands: readonly CompletedCommand[],
): string {
  const lines = [
    `# fish completion for ${program}: ${program} completions fish | source`,
    `complete -c ${program} -f`,
  ];
  const subcommand = (name: string, help: string) =>
    lines.push(
      `complete -c ${program} -n __fish_use_subcommand -a ${name} -d ${
        fishQuoted(help)
      }`,
    );
  for (const { command } of commands) subcommand(command.name, command.summary);
  subcommand("completions", "Completions of a shell");
  subcommand("man", "Manual page of a role");
  const seen = (name: string) =>
    `-n '__fish_seen_subcommand_from ${name}; and test (count (commandline -opc)) -ge 2'`;
  lines.push(
    `complete -c ${program} ${seen("completions")} -a '${SHELLS.join(" ")}'`,
    `complete -c ${program} ${seen("man")} -a '${
      commands.map(({ command }) => command.name).join(" ")
    }'`,
  );
  for (const { command, table } of commands) {
    for (const { name, option } of flagsOf(table)) {
      const written = name.startsWith("--")
        ? `-l ${name.slice(2)}`
        : `-s ${name.slice(1)}`;
      const value = option.placeholder === undefined
        ? ""
        : takesFile(option)
        ? " -r -F"
        : option.choices
        ? ` -x -a '${option.choices.join(" ")}'`
        : " -x";
      const rest = `${written}${value} -d ${fishQuoted(option.help)}`;
      lines.push(
        `complete -c ${program} -n '__fish_seen_subcommand_from ${command.name}' ${rest}`,
        `complete -c ${program}-${command.name} ${rest}`,
      );
    }
  }
  return lines.join("\n") + "\n";
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll(/[\\']/g, "\\$&")}'`;
}
