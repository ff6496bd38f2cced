/** Files that a user names on the command line. */
import { UsageError } from "./errors.ts";

/** All of a text file; throws a UsageError where it cannot be read. */
export function readTextFile(file: string): string {
  try {
    return Deno.readTextFileSync(file);
  } catch (cause) {
    throw new UsageError(
      `Cannot read "${file}": ${
        cause instanceof Error ? cause.message : cause
      }`,
      { cause },
    );
  }
}
