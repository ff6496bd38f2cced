/**
 * The configuration file: keys are the flags' names, and everything that is
 * wrong in it is found in one pass, each with its line and column.
 */
import { UsageError } from "../net/errors.ts";
import { readTextFile } from "../net/text_file.ts";
import {
  parseTomlTree,
  plainValue,
  type TomlProblem,
  TomlSyntaxError,
  type TomlTable,
} from "../net/toml.ts";
import type { Command, ConfigFile, OptionTable } from "./command.ts";
import { configTexts } from "./parse.ts";

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
  const source = readTextFile(file);
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
  for (const [name, { node, line, column }] of root.entries) {
    if (configSections.includes(name)) continue;
    if (configTables.includes(name)) {
      const items = node.kind === "array" ? node.items : [];
      if (items.length > 0 && items.every(({ kind }) => kind === "table")) {
        tables[name] = items.map((item) =>
          plainValue(item) as Record<string, unknown>
        );
      } else {
        const message = `"${name}" wants tables, each below [[${name}]]`;
        problems.push({ line, column, message });
      }
      continue;
    }
    let read: Map<string, string[]>;
    try {
      read = configTexts({ [name]: plainValue(node) }, table, file);
    } catch (error) {
      const message = messageOf(error).replace(`Cannot use "${file}": `, "");
      problems.push({ line, column, message });
      continue;
    }
    for (const [key, given] of read) {
      const before = problems.length;
      if (texts.has(key)) {
        problems.push({
          line,
          column,
          message: `"${name}" is given twice, in two spellings`,
        });
      }
      const items = node.kind === "array" ? node.items : [node];
      for (const [i, text] of given.entries()) {
        try {
          table[key]!.read([text]);
        } catch (error) {
          const { line, column } = items[i]!;
          const message = `"${name}": ${messageOf(error)}`;
          problems.push({ line, column, message });
        }
      }
      if (problems.length === before) texts.set(key, given);
    }
  }
  return { file, root, texts, tables, problems };
}

/** What a UsageError says; what is none is thrown on. */
function messageOf(error: unknown): string {
  if (error instanceof UsageError) return error.message;
  throw error;
}

/** Problems as lines: `file:line:column: what`. */
export function problemLines(
  file: string,
  problems: readonly TomlProblem[],
): string[] {
  return inOrder(problems).map(({ line, column, message }) =>
    `${file}:${line}:${column}: ${message}`
  );
}

/** One line for the first of several problems. */
export function configError(
  file: string,
  problems: readonly TomlProblem[],
): UsageError {
  const [first, ...more] = inOrder(problems);
  const { line, column, message } = first!;
  return new UsageError(
    `Cannot use "${file}:${line}:${column}": ${message}${
      more.length > 0
        ? ` (and ${more.length} more; --check-config shows all)`
        : ""
    }`,
  );
}

function inOrder(problems: readonly TomlProblem[]): TomlProblem[] {
  return problems.toSorted((a, b) => a.line - b.line || a.column - b.column);
}
