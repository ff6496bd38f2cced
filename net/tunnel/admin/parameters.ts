/** Readers of JSON-RPC parameters; their errors have the words of serde. */
import { errorText } from "../../errors.ts";
import { readDelay } from "../spec.ts";

/** A parameter that is missing or of the wrong kind. */
export class ParameterError extends Error {
  override name = "ParameterError";
}

/** Reads a value; `undefined` is a parameter that was not given. */
export type ParameterReader<Value = unknown> = (
  value: unknown,
  name: string,
) => Value;

/** Throws that a value is missing or has the wrong type. */
export function expectType(
  value: unknown,
  name: string,
  expected: string,
): never {
  required(value, name);
  throw new ParameterError(
    `invalid type: ${describe(value)}, expected ${expected}`,
  );
}

/** Throws if a value is missing. */
export function required(value: unknown, name: string): void {
  if (value !== undefined) return;
  throw new ParameterError(`missing field \`${name}\``);
}

/** Names that fit in one error line. */
const MAX_NAME_CHARS = 64;

/** The error for a name that is not in the list. */
export function unknownField(
  name: string,
  known: readonly string[],
): ParameterError {
  const shown = name.length > MAX_NAME_CHARS
    ? `${name.slice(0, MAX_NAME_CHARS)}...`
    : name;
  return new ParameterError(
    `unknown field \`${shown}\`, ${
      known.length === 0
        ? "there are no fields"
        : `expected one of ${known.map((one) => `\`${one}\``).join(", ")}`
    }`,
  );
}

function describe(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "sequence";
  switch (typeof value) {
    case "object":
      return "map";
    case "string":
      return `string ${JSON.stringify(value)}`;
    case "number":
      return `${
        Number.isInteger(value) ? "integer" : "floating point"
      } \`${value}\``;
    default:
      return `boolean \`${value}\``;
  }
}

/** `remoteTls` and `remote-tls` as `remote_tls`. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    .replaceAll("-", "_");
}

/** Null is as not given. */
export function optional<Value>(
  read: ParameterReader<Value>,
): ParameterReader<Value | undefined> {
  return (value, name) =>
    value === undefined || value === null ? undefined : read(value, name);
}

/** A text. */
export function string(value: unknown, name: string): string {
  return typeof value === "string"
    ? value
    : expectType(value, name, "a string");
}

/** True or false. */
export function boolean(value: unknown, name: string): boolean {
  return typeof value === "boolean"
    ? value
    : expectType(value, name, "a boolean");
}

/** A number, not negative. */
export function float(value: unknown, name: string): number {
  if (typeof value !== "number") return expectType(value, name, "f32");
  if (value >= 0) return value;
  throw new ParameterError(
    `invalid value: \`${value}\` for \`${name}\`, expected no negative number`,
  );
}

/** A whole number from 0. */
export function integer(most: number): ParameterReader<number> {
  return (value, name) => {
    if (typeof value !== "number" || !Number.isInteger(value)) {
      return expectType(value, name, most === 65535 ? "u16" : "u64");
    }
    if (value >= 0 && value <= most) return value;
    throw new ParameterError(
      `invalid value: integer \`${value}\`, expected ${
        most === 65535 ? "u16" : "u64"
      }`,
    );
  };
}

/** One of a few words. */
export function oneOf<Word extends string>(
  ...words: Word[]
): ParameterReader<Word> {
  return (value, name) => {
    const word = string(value, name);
    if ((words as string[]).includes(word)) return word as Word;
    throw new ParameterError(
      `unknown variant \`${word}\`, expected one of ${
        words.map((one) => `\`${one}\``).join(", ")
      }`,
    );
  };
}

/** A list. */
export function array<Value>(
  read: ParameterReader<Value>,
): ParameterReader<Value[]> {
  return (value, name) =>
    Array.isArray(value)
      ? value.map((item) => read(item, name))
      : expectType(value, name, "a sequence");
}

/** An object, with what is made of it. */
export function object<Value>(
  read: (fields: Readonly<Record<string, unknown>>) => Value,
): ParameterReader<Value> {
  return (value, name) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? read(value as Record<string, unknown>)
      : expectType(value, name, "a map");
}

/** Reads seconds as milliseconds. */
export function delay(zero: boolean): ParameterReader<number> {
  return (value, name) => {
    const seconds = float(value, name);
    try {
      return readDelay(zero)(String(seconds));
    } catch (error) {
      throw new ParameterError(
        `invalid value: \`${seconds}\` for \`${name}\`: ${errorText(error)}`,
      );
    }
  };
}
