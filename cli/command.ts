/**
 * A command is a table of options over a role of the library. One table gives
 * the parser, the help, the configuration file's keys, shell completions and
 * manual pages.
 */
import {
  type Address,
  parseAddress,
  type ParseAddressOptions,
} from "../net/address.ts";
import { UsageError } from "../net/errors.ts";
import { parseScaled } from "../net/observe/units.ts";
import type { Log } from "../net/observe/log.ts";
import type { Metric } from "../net/observe/metrics.ts";
import { type RenamedOptions, withFlags } from "./flag_names.ts";
import type { TomlProblem, TomlTable } from "../net/toml.ts";

/** One option: how it is written, what it means and how its text becomes a value. */
export interface Option<Value> {
  /** One sentence for the help, without a period. */
  readonly help: string;
  /** What stands for the value in the help; none for a switch. */
  readonly placeholder?: string;
  /** The letter behind a single dash. Default: none. */
  readonly short?: string;
  /** Other names, such as an older tool's, in kebab case. Default: none. */
  readonly aliases?: readonly string[];
  /** Whether it may be given more than once. Default: once. */
  readonly repeated?: boolean;
  /** Whether it is a switch with a `--no-` form. Default: it is not. */
  readonly negatable?: boolean;
  /** Whether it must be given. Default: it need not. */
  readonly required?: boolean;
  /** Default as the help shows it. */
  readonly defaultText?: string;
  /** What it may be, where that is a fixed list. Default: what `read` takes. */
  readonly choices?: readonly string[];
  /** Heading under which the help shows it. Default: `Options`. */
  readonly group?: string;
  /** Left out of the help: an older spelling that still works. Default: it is shown. */
  readonly hidden?: boolean;
  /** A file that holds a secret: a warning where other users may read it. Default: it holds none. */
  readonly secretFile?: boolean;
  /** Its value, from all texts given for it; throws a UsageError that says what is wanted. */
  readonly read: (texts: readonly string[]) => Value;
}

/** What all option makers take. */
export interface OptionOptions {
  /** The letter behind a single dash. Default: none. */
  short?: string;
  /** Other names, in kebab case. Default: none. */
  aliases?: readonly string[];
  /** Whether it must be given. Default: it need not. */
  required?: boolean;
  /** Heading under which the help shows it. Default: `Options`. */
  group?: string;
  /** What stands for the value in the help. Default: the maker's own. */
  placeholder?: string;
  /** Left out of the help. Default: it is shown. */
  hidden?: boolean;
  /** A file that holds a secret. Default: it holds none. */
  secretFile?: boolean;
}

/** The values of a table of options. */
export type Values<Table> = {
  [Key in keyof Table]: Table[Key] extends Option<infer Value> ? Value : never;
};

/** Named options, by their name in camel case. */
// deno-lint-ignore no-explicit-any
export type OptionTable = Readonly<Record<string, Option<any>>>;

/** A switch: given or not. */
export function flag(
  help: string,
  options: OptionOptions = {},
): Option<boolean> {
  return { help, ...options, read: (texts) => texts.at(-1) === "true" };
}

/** A switch with three states: `--name`, `--no-name`, or the system's default. */
export function toggle(
  help: string,
  options: OptionOptions = {},
): Option<boolean | undefined> {
  const read = (texts: readonly string[]) =>
    texts.length === 0 ? undefined : texts.at(-1) === "true";
  return { help, ...options, negatable: true, read };
}

/** A text that `read` turns into a value; `fallback` where it is not given. */
export function value<Value, Fallback = undefined>(
  help: string,
  placeholder: string,
  read: (text: string) => Value,
  options: OptionOptions & { fallback?: Fallback; defaultText?: string } = {},
): Option<Value | Fallback> {
  const { fallback, defaultText, ...rest } = options;
  return {
    help,
    placeholder,
    ...rest,
    ...(defaultText !== undefined
      ? { defaultText }
      : fallback !== undefined
      ? { defaultText: String(fallback) }
      : {}),
    read: (texts) =>
      texts.length === 0 ? fallback as Fallback : read(texts[0]!),
  };
}

/** A text that may be repeated. */
export function list<Value>(
  help: string,
  placeholder: string,
  read: (text: string) => Value,
  options: OptionOptions = {},
): Option<Value[]> {
  return {
    help,
    placeholder,
    ...options,
    repeated: true,
    read: (texts) => texts.map(read),
  };
}

/** One of a fixed list of words; what is read throws a UsageError for another. */
export function choice<Word extends string, Fallback extends Word | undefined>(
  help: string,
  words: readonly Word[],
  fallback: Fallback,
  options: OptionOptions = {},
): Option<Word | Fallback> {
  const read = (text: string): Word => {
    if ((words as readonly string[]).includes(text)) return text as Word;
    throw new UsageError(`"${text}" is none of ${words.join(", ")}`);
  };
  return {
    ...value(help, words.join("|"), read, { ...options, fallback }),
    choices: words,
  };
}

/**
 * An option that other programs have and this one does not, so that its use is
 * answered with a hint. What is read throws a UsageError.
 */
export function absent(hint: string): Option<undefined> {
  return {
    help: hint,
    placeholder: "VALUE",
    hidden: true,
    repeated: true,
    read: (texts) => {
      if (texts.length > 0) throw new UsageError(hint);
      return undefined;
    },
  };
}

/** Reads a text as it is; throws a UsageError where it is empty. */
export function text(text: string): string {
  if (text === "") throw new UsageError("an empty text is no value");
  return text;
}

/** Makes a reader of `host:port`, which throws a UsageError for another text. */
export function address(
  options: ParseAddressOptions = {},
): (text: string) => Address {
  return (text) => parseAddress(text, options);
}

/** Makes a reader of whole numbers, which throws a UsageError outside of the range. */
export function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const number = /^-?\d+$/.test(text) ? Number(text) : NaN;
    if (number >= least && number <= most) return number;
    throw new UsageError(
      `"${text}" is not a whole number from ${least} to ${most}`,
    );
  };
}

/**
 * Makes a reader of bytes or bits per second with a unit, which throws a
 * UsageError outside of the range.
 */
export function scaled(least: number, most: number): (text: string) => number {
  return (text) => {
    const number = parseScaled(text);
    if (number >= least && number <= most) return number;
    throw new UsageError(`"${text}" is not between ${least} and ${most}`);
  };
}

/** A timer's milliseconds are 32 bits with a sign: a longer wait would be none. */
const MOST_SECONDS = Math.floor((2 ** 31 - 1) / 1000);

/**
 * Reads seconds, with decimals; throws a UsageError for less than 0 and for more
 * than a timer can wait.
 */
export function seconds(text: string): number {
  const number = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN;
  if (number <= MOST_SECONDS) return number;
  throw new UsageError(
    `"${text}" is not a number of seconds from 0 to ${MOST_SECONDS}`,
  );
}

/**
 * Reads seconds like {@linkcode seconds}, for what could not be done in no time;
 * throws a UsageError for 0 too.
 */
export function positiveSeconds(text: string): number {
  const number = seconds(text);
  if (number > 0) return number;
  throw new UsageError(`"${text}" is not a number of seconds above 0`);
}

/** What a running role tells its command. */
export interface Role extends AsyncDisposable {
  /** Resolves when it has ended by itself or after `drain`; rejects where it failed. */
  readonly finished: Promise<void>;
  /** Takes nothing new, ends what is in flight, then ends. */
  drain(): Promise<void>;
}

/** What the runner does with a role while it runs. */
export interface RunningRole {
  /** The role. */
  role: Role;
  /** Its metrics now, for the metrics door. */
  metrics: () => readonly Metric[];
  /** One line about now, for `--stats` and the terminal. Default: none. */
  progress?: () => string;
  /** Lines for the end. */
  summary: () => readonly string[];
  /** Text for stdout at the end, where the role's product is a report. Default: none. */
  report?: () => string | Promise<string>;
  /** Exit code where the role ended without failing. Default: 0. */
  exitCode?: () => number;
  /** Whether new work is taken, or why not, for `/readyz`. Default: it is, from its start to its drain. */
  ready?: () => boolean | string | Promise<boolean | string>;
  /** Answers `/metrics?format=json`; may be a promise. Default: there is no such document. */
  json?: () => unknown;
  /** Called when everything is open, with the bound metrics door where there is one. Default: none. */
  started?: (metricsAddress: Address | undefined) => void;
  /** What an end would cut off now: how many connections or sessions. Default: not known. */
  inFlight?: () => { readonly count: number; readonly noun: string };
  /** Called before `drain`, with the signal that asked for it. Default: none. */
  draining?: (signal: Deno.Signal) => void;
  /** Called on SIGHUP; without it the signal keeps its meaning. */
  reload?: () => void | Promise<void>;
}

/** Arrays of tables of a configuration file, by their name. */
export type ConfigTables = Readonly<
  Record<string, readonly Readonly<Record<string, unknown>>[]>
>;

/** What a command gets beside its values. */
export interface CommandContext {
  /** Log lines on stderr. */
  log: Log;
  /** A whole line on stderr without a time, such as a banner's; none when quiet, a log line where the format is JSON. */
  print: (line: string) => void;
  /** Positional arguments, where the command takes them. */
  positionals: readonly string[];
  /** Tables of the configuration file that {@linkcode Command.configTables} names. */
  tables: ConfigTables;
  /** Whether stderr is a terminal. */
  terminal: boolean;
  /** The configuration file, where one was given. */
  config: ConfigFile | undefined;
  /** Reads the configuration file again; the command line wins as before. Throws a UsageError. */
  reread: () => Reread;
}

/** A configuration file that was read. */
export interface ConfigFile {
  /** Its path. */
  readonly file: string;
  /** All of it. */
  readonly root: TomlTable;
  /** Texts of the options that it gives. */
  readonly texts: ReadonlyMap<string, readonly string[]>;
  /** Its tables that {@linkcode Command.configTables} names. */
  readonly tables: ConfigTables;
  /** What is wrong with its options and tables. */
  readonly problems: readonly TomlProblem[];
}

/** What a command line and its configuration file say, read again. */
export interface Reread {
  /** Values of all options. */
  // deno-lint-ignore no-explicit-any
  values: any;
  /** The file, where there is one. */
  config: ConfigFile | undefined;
}

/** A role on the command line. */
export interface Command<Table extends OptionTable = OptionTable> {
  /** The role's name: `client`. */
  readonly name: string;
  /** What it does, in one sentence without a period. */
  readonly summary: string;
  /** More for the help, as paragraphs. Default: none. */
  readonly description?: string;
  /** Its own options; the common ones are added by the runner. */
  readonly options: Table;
  /** What positional arguments are, for the usage line; none are taken without it. */
  readonly positionals?: string;
  /** Arrays of tables (`[[name]]`) that the command reads itself from `--config`. Default: none. */
  readonly configTables?: readonly string[];
  /** Command lines for the help, without the program's name. */
  readonly examples: readonly string[];
  /** Keys of its options by the library's names for them, where these differ. Default: none. */
  readonly renamedOptions?: RenamedOptions;
  /** Other top-level keys of the configuration file that are no options. Default: none. */
  readonly configSections?: readonly string[];
  /** Everything that is wrong in those sections. Default: none. */
  readonly checkConfig?: (
    config: TomlTable,
    values: Values<Table>,
  ) => readonly TomlProblem[] | Promise<readonly TomlProblem[]>;
  /** Default of `--metrics-addr`. */
  readonly metricsAddress?: string;
  /** Default of `--grace`, in seconds. */
  readonly graceSeconds?: number;
  /**
   * Checks what one option alone cannot show and starts the role. Throws a
   * UsageError before anything is opened. `undefined` where all was said
   * already and nothing runs.
   */
  readonly start: (
    values: Values<Table>,
    context: CommandContext,
  ) => Promise<RunningRole | undefined>;
}

/** Gives a table its types, and errors of its start the names of its flags. */
export function defineCommand<Table extends OptionTable>(
  command: Command<Table>,
): Command {
  const { options, renamedOptions, start } = command;
  return {
    ...command as unknown as Command,
    start: async (values, context) => {
      try {
        return await start(values as Values<Table>, context);
      } catch (error) {
        throw withFlags(error, options, renamedOptions);
      }
    },
  };
}
