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

/**
 * Splits command line arguments into named values and positional ones. Takes
 * long names only; clusters of short ones and dots in names throw, because this
 * stand-in does not do with them what the real package does.
 */
export function parseArgs(
  args: readonly string[],
  { string = [], boolean = [], collect = [], unknown }: ParseOptions = {},
): Args {
  const values: Args = { _: [] };
  for (const name of collect) values[name] = [];
  for (const name of boolean) values[name] = false;
  const positional = (arg: string) => {
    values._.push(isNumber(arg) ? Number(arg) : arg);
  };
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "--") {
      args.slice(i + 1).forEach((rest) => values._.push(rest));
      break;
    }
    if (!arg.startsWith("-") || arg === "-") {
      if (unknown?.(arg) !== false) positional(arg);
      continue;
    }
    const [, name, given] = /^--([^=.]+)(?:=(.+))?=?$/s.exec(arg) ?? [];
    if (name === undefined) {
      if (unknown?.(arg, arg.replace(/^-+/, ""), true) === false) continue;
      throw new TypeError(`cannot parse "${arg}": not a long option`);
    }
    let value: unknown = given;
    if (boolean.includes(name)) {
      const next = args[i + 1];
      if (given === undefined && (next === "true" || next === "false")) i++;
      value = (given ?? (next === "false" ? next : "true")) !== "false";
    } else if (given === undefined) {
      // A value that starts with "-" is an option of its own.
      const next = args[i + 1];
      if (next && !next.startsWith("-")) value = args[++i];
      else value = string.includes(name) ? "" : true;
    }
    const known = string.includes(name) || boolean.includes(name);
    if (!known && unknown?.(arg, name, value) === false) continue;
    if (
      !string.includes(name) && typeof value === "string" && isNumber(value)
    ) {
      value = Number(value);
    }
    if (collect.includes(name)) values[name].push(value);
    else values[name] = value;
  }
  return values;
}

function isNumber(text: string): boolean {
  return /^0x[0-9a-f]+$/i.test(text) ||
    /^[-+]?(?:\d+(?:\.\d*)?|\.\d+)(e[-+]?\d+)?$/.test(text);
}
