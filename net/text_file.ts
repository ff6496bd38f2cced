/** Files that a user names on the command line. */
import { errorText, UsageError } from "./errors.ts";

/** All of a text file; throws a UsageError where it cannot be read. */
export function readTextFile(file: string): string {
  try {
    return Deno.readTextFileSync(file);
  } catch (cause) {
    throw new UsageError(unreadable(file, cause), { cause });
  }
}

/** One line for a file that cannot be read. */
export function unreadable(file: string, cause: unknown): string {
  const why = cause instanceof Deno.errors.NotFound
    ? "there is no such file"
    : cause instanceof Deno.errors.PermissionDenied
    ? "it may not be read by this user"
    : errorText(cause);
  return `Cannot read "${file}": ${why}`;
}
