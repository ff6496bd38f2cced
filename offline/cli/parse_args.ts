import { parseArgs as parseNodeArgs } from "node:util";

/** The options of the real `parseArgs` that this project uses. */
export interface ParseOptions {
  /** Names that take a value. */
  string?: readonly string[];
  /** Names that take none. */
  boolean?: readonly string[];
  /** Names of `string` that may be repeated and give an array. */
  collect?: readonly string[];
  /** Called for each argument that no list names; `false` leaves it out. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** Values by name; positional arguments are under `_`. */
export interface Args {
  _: Array<string | number>;
  // deno-lint-ignore no-explicit-any
  [name: string]: any;
}

/** Splits command line arguments into named values and positional ones. */
export function parseArgs(
  args: readonly string[],
  options: ParseOptions = {},
): Args {
  const { string = [], boolean = [], collect = [], unknown } = options;
  const values: Args = { _: [] };
  for (const name of collect) values[name] = [];
  for (const name of boolean) values[name] = false;
  const { tokens } = parseNodeArgs({
    args: [...args],
    strict: false,
    tokens: true,
    allowPositionals: true,
    options: Object.fromEntries([
      ...string.map((name) => [name, { type: "string" as const }]),
      ...boolean.map((name) => [name, { type: "boolean" as const }]),
    ]),
  });
  for (const token of tokens) {
    if (token.kind === "positional") {
      if (unknown && unknown(token.value, undefined, undefined) === false) {
        continue;
      }
      values._.push(token.value);
    } else if (token.kind === "option") {
      const { name, rawName, value = "" } = token;
      if (boolean.includes(name)) values[name] = value !== "false";
      else if (!string.includes(name)) {
        if (unknown && unknown(rawName, name, value) === false) continue;
        values[name] = value;
      } else if (collect.includes(name)) values[name].push(value);
      else values[name] = value;
    }
  }
  return values;
}
