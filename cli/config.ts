/**
 * The configuration file: keys are the flags' names, and everything that is
 * wrong in it is found in one pass, each with its line and column.
 */
import { UsageError } from "../net/errors.ts";
import {
  parseTomlTree,
  type TomlNode,
  type TomlProblem,
  TomlSyntaxError,
  type TomlTable,
} from "../net/toml.ts";
import type { Command, ConfigFile, OptionTable } from "./command.ts";
import { namesOf } from "./parse.ts";

/**
 * Reads a file with the options of a table and what the command reads itself.
 * Throws a UsageError where it cannot be read or is no TOML.
 */
export function readConfigFile(
  file: string,
  table: OptionTable,
  command: Pick<Command, "configSections" | "configTables">,
): ConfigFile {
  const { configSections = [], configTables = [] } = command;
  let source: string;
  try {
    source = Deno.readTextFileSync(file);
  } catch (cause) {
    throw new UsageError(
      `Cannot read "${file}": ${
        cause instanceof Error ? cause.message : cause
      }`,
      { cause },
    );
  }
  let root: TomlTable;
  try {
    root = parseTomlTree(source);
  } catch (cause) {
    if (!(cause instanceof TomlSyntaxError)) throw cause;
    throw configError(file, [cause]);
  }
  const problems: TomlProblem[] = [];
  const texts = new Map<string, string[]>();
  const tables: Record<string, readonly Record<string, unknown>[]> = {};
  const names = namesOf(table);
  for (const [name, { node, line, column }] of root.entries) {
    if (configSections.includes(name)) continue;
    if (configTables.includes(name)) {
      const items = node.kind === "array" ? node.items : [];
      if (items.length > 0 && items.every(({ kind }) => kind === "table")) {
        tables[name] = items.map((item) =>
          plainOf(item) as Record<string, unknown>
        );
      } else {
        const message = `"${name}" wants tables, each below [[${name}]]`;
        problems.push({ line, column, message });
      }
      continue;
    }
    const found = names.get(`--${name.replaceAll("_", "-")}`);
    if (!found || found.negated) {
      problems.push({ line, column, message: `the key "${name}" is unknown` });
      continue;
    }
    const { key, option } = found;
    const items = node.kind === "array" ? node.items : [node];
    if (items.length > 1 && !option.repeated) {
      const message = `"${name}" takes one value`;
      problems.push({ line: node.line, column: node.column, message });
      continue;
    }
    const given: string[] = [];
    for (const item of items) {
      const problem = problemOf(item, name, option.placeholder === undefined) ??
        tryRead(item, (text) => option.read([text]));
      if (problem) {
        problems.push({
          line: item.line,
          column: item.column,
          message: problem,
        });
      } else given.push(textOf(item));
    }
    texts.set(key, given);
  }
  return { file, root, texts, tables, problems };
}

/** Values without their places. */
function plainOf(node: TomlNode): unknown {
  if (node.kind === "scalar") return node.value;
  if (node.kind === "array") return node.items.map(plainOf);
  return Object.fromEntries(
    [...node.entries].map(([key, entry]) => [key, plainOf(entry.node)]),
  );
}

/** Why a value is none of a flag's kind. */
function problemOf(
  node: TomlNode,
  name: string,
  wantsSwitch: boolean,
): string | undefined {
  const kind = node.kind === "scalar" ? typeof node.value : node.kind;
  const fits = wantsSwitch
    ? kind === "boolean"
    : ["string", "number", "bigint"].includes(kind);
  return fits
    ? undefined
    : `"${name}" wants ${wantsSwitch ? "true or false" : "a value"}`;
}

function tryRead(
  node: TomlNode,
  read: (text: string) => unknown,
): string | undefined {
  try {
    read(textOf(node));
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
}

function textOf(node: TomlNode): string {
  return node.kind === "scalar" ? String(node.value) : "";
}

/** Problems as lines: `file:line:column: what`. */
export function problemLines(
  file: string,
  problems: readonly TomlProblem[],
): string[] {
  return [...problems]
    .sort((a, b) => a.line - b.line || a.column - b.column)
    .map(({ line, column, message }) =>
      `${file}:${line}:${column}: ${message}`
    );
}

/** One line for the first of several problems. */
export function configError(
  file: string,
  problems: readonly TomlProblem[],
): UsageError {
  const [first, ...more] = problemLines(file, problems);
  return new UsageError(
    `Cannot use ${first}${
      more.length > 0
        ? ` (and ${more.length} more; --check-config shows all)`
        : ""
    }`,
  );
}
