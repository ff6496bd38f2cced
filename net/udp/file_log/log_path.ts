/** What a log's path is, looked at before anything else is opened. */
import { basename, dirname, join } from "@std/path";
import { errorText, UsageError } from "../../errors.ts";
import { splitName } from "./log_name.ts";

/**
 * `file` also where nothing is there yet, `pipe` for a named pipe, which wants a
 * reader, and `device` for what takes bytes but has no size.
 */
export type LogPathKind = "file" | "pipe" | "device";

/**
 * What lies at a path that is to be logged to; with `split`, the files of the
 * same name with an address in it are meant and the path itself need not do.
 * Leaves everything as it was.
 *
 * @throws {UsageError} where it cannot be written to.
 */
export function checkLogPath(path: string, split = false): LogPathKind {
  try {
    const file = split ? probeName(path) : path;
    const found = statOrMissing(file);
    if (found?.isDirectory) {
      throw new Error("it is a folder; name a file in it");
    }
    // Without a reader, only the later open may wait for one.
    if (found?.isFifo) return "pipe";
    // Asking for rights would not tell about read-only disks and the like.
    Deno.openSync(file, { append: true, createNew: found === undefined })
      .close();
    if (found === undefined) Deno.removeSync(file);
    return found?.isFile ?? true ? "file" : "device";
  } catch (cause) {
    throw new UsageError(`Cannot log to "${path}": ${reason(path, cause)}`, {
      cause,
    });
  }
}

/** A name that stands for those of all addresses. */
function probeName(path: string): string {
  const none = { hostname: "0.0.0.0", port: 0 };
  return join(dirname(path), splitName(basename(path), none));
}

function statOrMissing(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function reason(path: string, cause: unknown): string {
  const folder = dirname(path);
  if (cause instanceof Deno.errors.NotFound) {
    return `the folder "${folder}" is missing`;
  }
  if (cause instanceof Deno.errors.NotADirectory) {
    return `"${folder}" is not a folder`;
  }
  return errorText(cause);
}
