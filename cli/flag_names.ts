/**
 * The library names its own options, in backquotes; a user of a command reads
 * the flags that set them.
 */
import { UsageError } from "../net/errors.ts";

/** `serverAddr` as `server-addr`. */
export function flagName(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Library options that have another name in the table of options, by their name. */
export type RenamedOptions = Readonly<Record<string, string>>;

/** A UsageError with the table's flags in place of the options that it names; any other error as it is. */
export function withFlags(
  error: unknown,
  table: Readonly<Record<string, unknown>>,
  renamed: RenamedOptions = {},
): unknown {
  if (!(error instanceof UsageError)) return error;
  for (const option of error.options) {
    const key = Object.hasOwn(renamed, option) ? renamed[option]! : option;
    if (!Object.hasOwn(table, key)) continue;
    const flag = flagName(key);
    error.message = error.message
      .replaceAll(`\`${option}\``, `--${flag}`)
      .replaceAll(`\`${option}: false\``, `--no-${flag}`);
  }
  return error;
}
