/**
 * TOML with the place of every value, so that whoever finds a value wrong can
 * say where it stands. The syntax is toml-eslint-parser's business.
 */
import { type AST, ParseError, parseTOML } from "toml-eslint-parser";

/** A place in a file, both from 1. */
export interface TomlPlace {
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
}

/** A string, number, boolean or date. */
export interface TomlScalar extends TomlPlace {
  /** Neither array nor table. */
  readonly kind: "scalar";
  /** The value as TOML types it. */
  readonly value: string | number | bigint | boolean | Date;
}

/** An array, or an array of tables. */
export interface TomlArray extends TomlPlace {
  /** An array. */
  readonly kind: "array";
  /** Its values. */
  readonly items: TomlNode[];
}

/** A table of any spelling. */
export interface TomlTable extends TomlPlace {
  /** A table. */
  readonly kind: "table";
  /** What stands in it, by key. */
  readonly entries: Map<string, TomlEntry>;
}

/** A value of any kind, with its place. */
export type TomlNode = TomlScalar | TomlArray | TomlTable;

/** A key with its value; the place is the key's. */
export interface TomlEntry extends TomlPlace {
  /** The value. */
  readonly node: TomlNode;
}

/** Something wrong in a file. */
export interface TomlProblem extends TomlPlace {
  /** What is wrong and what is wanted, without the place. */
  readonly message: string;
}

/** A text that is no TOML. */
export class TomlSyntaxError extends SyntaxError implements TomlProblem {
  override name = "TomlSyntaxError";
  readonly line: number;
  readonly column: number;

  constructor(message: string, place: TomlPlace, options?: ErrorOptions) {
    super(message, options);
    this.line = place.line;
    this.column = place.column;
  }
}

/** Maximum depth of arrays, tables and dotted keys: the parser is recursive. */
const MAX_DEPTH = 64;

/** Reads a document; throws a {@linkcode TomlSyntaxError}. */
export function parseTomlTree(source: string): TomlTable {
  checkDepth(source);
  let program: AST.TOMLProgram;
  try {
    program = parseTOML(source);
  } catch (cause) {
    if (!(cause instanceof ParseError)) throw cause;
    throw new TomlSyntaxError(
      cause.message,
      { line: cause.lineNumber, column: cause.column + 1 },
      { cause },
    );
  }
  const root = newTable({ line: 1, column: 1 });
  for (const node of program.body[0].body) {
    if (node.type === "TOMLKeyValue") addKeyValue(root, node);
    else {
      const table = openTable(root, node);
      for (const pair of node.body) addKeyValue(table, pair);
    }
  }
  return root;
}

/** What is skipped as a whole (strings, comments), and what nests or parts. */
const TOKENS =
  /"""[^]*?"""|'''[^]*?'''|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|#[^\n]*|[\n[\]{}.,=]/g;

/** Throws a {@linkcode TomlSyntaxError} for what is nested too deep. */
function checkDepth(source: string): void {
  let depth = 0;
  let dots = 0;
  for (const { 0: token, index } of source.matchAll(TOKENS)) {
    if (token === ".") dots++;
    else if (token.length === 1) dots = 0;
    if (token === "[" || token === "{") depth++;
    if (token === "]" || token === "}") depth--;
    if (depth <= MAX_DEPTH && dots < MAX_DEPTH) continue;
    const before = source.slice(0, index).split("\n");
    throw new TomlSyntaxError(`nested deeper than ${MAX_DEPTH} levels`, {
      line: before.length,
      column: before.at(-1)!.length + 1,
    });
  }
}

/** A value without the places. */
export function plainValue(node: TomlNode): unknown {
  if (node.kind === "scalar") return node.value;
  if (node.kind === "array") return node.items.map(plainValue);
  return Object.fromEntries(
    [...node.entries].map(([key, entry]) => [key, plainValue(entry.node)]),
  );
}

/** Where the value at a path of keys and indexes stands, or the nearest around it. */
export function placeAt(
  root: TomlTable,
  path: readonly (string | number)[],
): TomlPlace {
  let node: TomlNode = root;
  let place: TomlPlace = root;
  for (const key of path) {
    const next: { node: TomlNode; place: TomlPlace } | undefined = step(
      node,
      key,
    );
    if (next === undefined) break;
    ({ node, place } = next);
  }
  return { line: place.line, column: place.column };
}

function step(
  node: TomlNode,
  key: string | number,
): { node: TomlNode; place: TomlPlace } | undefined {
  if (node.kind === "table") {
    const entry = node.entries.get(String(key));
    return entry && { node: entry.node, place: entry };
  }
  if (node.kind === "scalar") return undefined;
  const item = node.items[Number(key)];
  return item && { node: item, place: item };
}

function newTable(place: TomlPlace): TomlTable {
  return { kind: "table", entries: new Map(), ...place };
}

function placeOf(node: AST.TOMLNode): TomlPlace {
  const { line, column } = node.loc.start;
  return { line, column: column + 1 };
}

/** The table of a header; the parser has numbered the items of arrays of tables. */
function openTable(root: TomlTable, header: AST.TOMLTable): TomlTable {
  let at: TomlTable | TomlArray = root;
  const keys = header.resolvedKey;
  for (const [i, key] of keys.entries()) {
    const place: TomlPlace = placeOf(header.key);
    let next: TomlNode | undefined = at.kind === "array"
      ? at.items[key as number]
      : at.entries.get(String(key))?.node;
    if (!next) {
      next = typeof keys[i + 1] === "number"
        ? { kind: "array", items: [], ...place }
        : newTable(place);
      if (at.kind === "array") at.items.push(next);
      else at.entries.set(String(key), { node: next, ...place });
    }
    at = next as TomlTable | TomlArray;
  }
  return at as TomlTable;
}

/** Adds `a.b.c = value` to a table. */
function addKeyValue(table: TomlTable, pair: AST.TOMLKeyValue): void {
  const { keys } = pair.key;
  for (const [i, key] of keys.entries()) {
    const name = key.type === "TOMLBare" ? key.name : key.value;
    if (i === keys.length - 1) {
      table.entries.set(name, { node: nodeOf(pair.value), ...placeOf(key) });
      return;
    }
    let entry = table.entries.get(name);
    if (!entry) {
      entry = { node: newTable(placeOf(key)), ...placeOf(key) };
      table.entries.set(name, entry);
    }
    table = entry.node as TomlTable;
  }
}

function nodeOf(node: AST.TOMLContentNode): TomlNode {
  const place = placeOf(node);
  if (node.type === "TOMLArray") {
    return { kind: "array", items: node.elements.map(nodeOf), ...place };
  }
  if (node.type === "TOMLInlineTable") {
    const table = newTable(place);
    for (const pair of node.body) addKeyValue(table, pair);
    return table;
  }
  return { kind: "scalar", value: node.value, ...place };
}
