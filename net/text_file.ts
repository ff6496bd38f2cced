/**
 * Files that a user or a control command names: certificates, keys, policies,
 * tokens, configuration. They are regular, at most 1 MiB, and read within a
 * deadline, so that a FIFO, a device or a dead file server holds up nothing.
 */
import { errorText, UsageError } from "./errors.ts";
import { inTime } from "./in_time.ts";
import type { Log } from "./observe/log.ts";

/** Maximum size of a file with certificates, a policy, a token or options. */
const MAX_BYTES = 1 << 20;

/** Bytes that are no UTF-8 are replaced: comments of certificates may be in Latin-1. */
const decoder = new TextDecoder();

const strictDecoder = new TextDecoder("utf-8", { fatal: true });

/** How long a read may take. */
const READ_MS = 5000;

/** How a file is read. */
export interface ReadOptions {
  /**
   * Maximum bytes of the file.
   * @default {1048576}
   */
  readonly maxBytes?: number;
  /**
   * Whether bytes that are not UTF-8 are refused. They are replaced otherwise.
   * @default {false}
   */
  readonly strict?: boolean;
}

/**
 * All of a text file, at the start, when nothing runs that could be held up;
 * throws a UsageError where it cannot be read.
 */
export function readTextFile(file: string, options: ReadOptions = {}): string {
  const { maxBytes = MAX_BYTES, strict = false } = options;
  try {
    // Before the open, which waits for the other end of a FIFO.
    checkKind(file, Deno.statSync(file), maxBytes);
    using handle = Deno.openSync(file, { read: true });
    const info = handle.statSync();
    checkKind(file, info, maxBytes);
    const bytes = new Uint8Array(info.size + 1);
    let length = 0;
    for (;;) {
      const count = handle.readSync(bytes.subarray(length));
      if (count === null) {
        return decode(file, bytes.subarray(0, length), strict);
      }
      length += count;
      if (length === bytes.length) throw whileChanging(file);
    }
  } catch (cause) {
    throw asUsage(file, cause);
  }
}

/**
 * All of a text file, while a role runs; throws a UsageError where it cannot
 * be read, or not within five seconds.
 */
export async function readTextFileInTime(
  file: string,
  options: ReadOptions = {},
): Promise<string> {
  const { maxBytes = MAX_BYTES, strict = false } = options;
  try {
    checkKind(file, await inTime(Deno.stat(file), READ_MS), maxBytes);
    using handle = await inTime(
      Deno.open(file, { read: true }),
      READ_MS,
      (handle) => handle.close(),
    );
    const info = await inTime(handle.stat(), READ_MS);
    checkKind(file, info, maxBytes);
    const bytes = new Uint8Array(info.size + 1);
    let length = 0;
    for (;;) {
      const count = await inTime(handle.read(bytes.subarray(length)), READ_MS);
      if (count === null) {
        return decode(file, bytes.subarray(0, length), strict);
      }
      length += count;
      if (length === bytes.length) throw whileChanging(file);
    }
  } catch (cause) {
    throw asUsage(file, cause);
  }
}

function decode(file: string, bytes: Uint8Array, strict: boolean): string {
  if (!strict) return decoder.decode(bytes);
  try {
    return strictDecoder.decode(bytes);
  } catch (cause) {
    throw new UsageError(`Cannot read "${file}": it is not UTF-8`, { cause });
  }
}

/** Throws a UsageError for what is no regular file; for a file that somebody else reads, such as a module. */
export function checkRegularFile(
  file: string,
  options: ReadOptions = {},
): void {
  try {
    checkKind(file, Deno.statSync(file), options.maxBytes ?? MAX_BYTES);
  } catch (cause) {
    throw asUsage(file, cause);
  }
}

/** What a file is, within a deadline. */
export function statInTime(file: string): Promise<Deno.FileInfo> {
  return inTime(Deno.stat(file), READ_MS);
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

/** Permission bits of everybody but the owner and the group. */
const OTHERS = 0o007;

/** Warns about a key, token or password file that other users may read; never rejects. */
export async function warnIfPublic(file: string, log: Log): Promise<void> {
  if (Deno.build.os === "windows") return;
  let mode: number | null = null;
  try {
    ({ mode } = await statInTime(file));
  } catch {
    // Whoever reads the file reports what is wrong with it.
  }
  if (mode === null || (mode & OTHERS) === 0) return;
  log.limited(
    `public ${file}`,
    `other users may access the secret file "${file}": chmod o= "${file}"`,
    { mode: (mode & 0o777).toString(8).padStart(4, "0") },
  );
}

function checkKind(
  file: string,
  info: Deno.FileInfo,
  maxBytes: number,
): void {
  if (!info.isFile) {
    const kind = info.isDirectory
      ? "directory"
      : info.isFifo
      ? "named pipe"
      : info.isSocket
      ? "socket"
      : "device";
    throw new UsageError(
      `Cannot read "${file}": it is a ${kind}, not a regular file`,
    );
  }
  if (info.size > maxBytes) {
    throw new UsageError(
      `Cannot read "${file}": it has ${info.size} bytes, more than ${maxBytes}`,
    );
  }
}

function whileChanging(file: string): UsageError {
  return new UsageError(`Cannot read "${file}": it grew while it was read`);
}

function asUsage(file: string, cause: unknown): UsageError {
  return cause instanceof UsageError
    ? cause
    : new UsageError(unreadable(file, cause), { cause });
}
