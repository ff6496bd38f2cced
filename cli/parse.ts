/**
 * Command line and configuration file to values: names in either spelling,
 * strict about what is unknown, missing, or given twice.
 */
import { parseArgs } from "@std/cli/parse-args";
import { UsageError } from "../net/errors.ts";
import type { Option, OptionTable, Values } from "./command.ts";
import { flagName } from "./flag_names.ts";

export { flagName };

/** What was given: texts by option, in camel case, and positional arguments. */
export interface GivenArguments {
  /** Texts of each option that was given. */
  texts: Map<string, string[]>;
  /** The rest, in order. */
  positionals: string[];
}

/** Splits arguments by the table; throws a UsageError that names what is wrong. */
export function splitArguments(
  args: readonly string[],
  table: OptionTable,
): GivenArguments {
  const names = namesOf(table);
  const positionals: string[] = [];
  const normal: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "--") {
      positionals.push(...args.slice(i + 1));
      break;
    }
    if (arg === "-" || !arg.startsWith("-")) {
      positionals.push(arg);
      continue;
    }
    const equals = arg.indexOf("=");
    const written = equals < 0 ? arg : arg.slice(0, equals);
    const found = names.get(written.replaceAll("_", "-"));
    if (!found) throw unknownOption(written, names);
    const { key, option, negated } = found;
    let text: string | undefined = equals < 0
      ? undefined
      : arg.slice(equals + 1);
    if (option.placeholder === undefined) {
      if (
        text !== undefined && (negated || !["true", "false"].includes(text))
      ) {
        throw new UsageError(`${written} takes no value, but got "${text}"`);
      }
      text = negated ? "false" : text ?? "true";
    } else {
      if (text === undefined) {
        const next = args[i + 1];
        // A value that looks like an option is more often a forgotten value.
        if (next !== undefined && (next === "-" || !next.startsWith("-"))) {
          text = next;
          i++;
        }
      }
      if (text === undefined || text === "") {
        throw new UsageError(
          `${written} wants a value: ${written} ${option.placeholder}` +
            (text === undefined && args[i + 1] !== undefined
              ? ` (a value that starts with "-" is written ${written}=VALUE)`
              : ""),
        );
      }
    }
    normal.push(`--${flagName(key)}=${text}`);
  }
  const flags = Object.keys(table).map(flagName);
  const parsed = parseArgs(normal, { string: flags, collect: flags });
  const texts = new Map<string, string[]>();
  for (const key of Object.keys(table)) {
    const given = parsed[flagName(key)] as string[];
    if (given.length === 0) continue;
    const option = table[key]!;
    if (
      given.length > 1 && !option.repeated && option.placeholder !== undefined
    ) {
      throw new UsageError(
        `--${flagName(key)} can be given once, but got ${
          given.map((text) => `"${text}"`).join(" and ")
        }`,
      );
    }
    texts.set(key, given);
  }
  return { texts, positionals };
}

/** What a configuration file cannot say. */
const COMMAND_LINE_ONLY = ["config", "checkConfig", "help", "version"];

/** Texts of a configuration's keys: the flags' names, with arrays where a flag repeats. */
export function configTexts(
  config: Readonly<Record<string, unknown>>,
  table: OptionTable,
  file: string,
): Map<string, string[]> {
  const names = namesOf(table);
  const texts = new Map<string, string[]>();
  for (const [name, value] of Object.entries(config)) {
    const found = names.get(`--${name.replaceAll("_", "-")}`);
    if (!found || found.negated) {
      throw new UsageError(
        `Cannot use "${file}": the key "${name}" is unknown`,
      );
    }
    const { key, option } = found;
    if (COMMAND_LINE_ONLY.includes(key)) {
      throw new UsageError(
        `Cannot use "${file}": "${name}" is for the command line only`,
      );
    }
    if (texts.has(key)) {
      throw new UsageError(
        `Cannot use "${file}": "${name}" is given twice, in two spellings`,
      );
    }
    const items = Array.isArray(value) ? value : [value];
    if (items.length > 1 && !option.repeated) {
      throw new UsageError(`Cannot use "${file}": "${name}" takes one value`);
    }
    for (const item of items) {
      const wantsSwitch = option.placeholder === undefined;
      const fits = typeof item === "boolean"
        ? wantsSwitch
        : !wantsSwitch && ["string", "number", "bigint"].includes(typeof item);
      if (!fits) {
        throw new UsageError(
          `Cannot use "${file}": "${name}" wants ${
            wantsSwitch ? "true or false" : "a value"
          }`,
        );
      }
    }
    texts.set(key, items.map(String));
  }
  return texts;
}

/** Values of a table from its texts; throws a UsageError that names the option. */
export function readValues<Table extends OptionTable>(
  table: Table,
  texts: ReadonlyMap<string, readonly string[]>,
): Values<Table> {
  const values: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(table)) {
    const given = texts.get(key) ?? [];
    if (given.length === 0 && option.required) {
      throw new UsageError(
        `--${flagName(key)} ${option.placeholder ?? ""} is missing`,
      );
    }
    try {
      values[key] = option.read(given);
    } catch (cause) {
      if (!(cause instanceof UsageError)) throw cause;
      throw new UsageError(`--${flagName(key)}: ${cause.message}`, { cause });
    }
  }
  return values as Values<Table>;
}

interface NamedOption {
  key: string;
  // deno-lint-ignore no-explicit-any
  option: Option<any>;
  negated: boolean;
}

function namesOf(table: OptionTable): Map<string, NamedOption> {
  const names = new Map<string, NamedOption>();
  for (const [key, option] of Object.entries(table)) {
    for (const name of [flagName(key), ...option.aliases ?? []]) {
      names.set(`--${name}`, { key, option, negated: false });
      if (option.negatable) {
        names.set(`--no-${name}`, { key, option, negated: true });
      }
    }
    if (option.short) {
      names.set(`-${option.short}`, { key, option, negated: false });
    }
  }
  return names;
}

function unknownOption(
  written: string,
  names: Map<string, NamedOption>,
): UsageError {
  const known = [...names].filter(([, { option }]) => !option.hidden).map((
    [name],
  ) => name);
  const near = known
    .map((name) => ({ name, distance: editDistance(written, name) }))
    .filter(({ name, distance }) => distance <= maxDistance(written, name))
    .sort((a, b) => a.distance - b.distance)[0];
  const hint = near ? `did you mean ${near.name}?` : "--help lists the options";
  return new UsageError(`Unknown option ${written}: ${hint}`);
}

/** One error in four letters is a slip; more is another word, as `tos` is for `tls`. */
function maxDistance(written: string, known: string): number {
  const letters = Math.max(written.length, known.length) - "--".length;
  return Math.min(3, Math.floor(letters / 4));
}

/** Edits between two short texts, where two letters swapped are one edit. */
function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, i) => i)];
  for (let i = 1; i <= a.length; i++) {
    const [before, row, next] = [rows[i - 2], rows[i - 1]!, [i]];
    for (let j = 1; j <= b.length; j++) {
      const edit = a[i - 1] === b[j - 1] ? 0 : 1;
      let distance = Math.min(
        row[j]! + 1,
        next[j - 1]! + 1,
        row[j - 1]! + edit,
      );
      if (before && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        distance = Math.min(distance, before[j - 2]! + 1);
      }
      next[j] = distance;
    }
    rows.push(next);
  }
  return rows[a.length]![b.length]!;
}
