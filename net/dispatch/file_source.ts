/** A file, a named pipe, a device or stdin as a stream of bytes. */
import { UsageError } from "../errors.ts";
import { Waiter } from "../engine/waiter.ts";
import type { ByteSource } from "./feed.ts";

/** How often a followed file is looked at for more, in milliseconds. */
const FOLLOW_MS = 100;

/** An open source of bytes. */
export interface FileSource extends ByteSource, Disposable {
  /** Bytes of a regular file when it was opened. */
  readonly size: number | undefined;
}

/** How a file is read. */
export interface FileSourceOptions {
  /**
   * Waits for more at the end, as `tail -F`: a file that was cut off starts
   * over, one that was replaced is opened anew.
   * @default {false}
   */
  follow?: boolean;
  /** Told when a followed file starts over. */
  onRestart?: (reason: string) => void;
}

/** Opens `-` (stdin) or a path; throws a UsageError where it cannot be read. */
export async function openFileSource(
  path: string,
  options: FileSourceOptions = {},
): Promise<FileSource> {
  if (path === "-") {
    if (options.follow) {
      throw new UsageError("Cannot follow stdin: it ends when it ends");
    }
    return { size: undefined, read: readStdin, [Symbol.dispose]: () => {} };
  }
  const stat = await checkReadable(path);
  if (options.follow && !stat.isFile) {
    throw new UsageError(`Cannot follow "${path}": it is not a regular file`);
  }
  // Opening a named pipe waits for its writer, so it must not block the thread.
  const file = await openFile(path);
  if (options.follow) return new FollowedFile(path, file, options.onRestart);
  if (stat.isFile) {
    return {
      size: stat.size,
      read: (into) => file.readSync(into),
      [Symbol.dispose]: () => file.close(),
    };
  }
  return {
    size: undefined,
    read: (into) => file.read(into),
    [Symbol.dispose]: () => file.close(),
  };
}

/** What is known of a path that can be read; throws a UsageError where it cannot. */
export async function checkReadable(path: string): Promise<Deno.FileInfo> {
  let stat: Deno.FileInfo;
  try {
    stat = await Deno.stat(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  if (stat.isDirectory) {
    throw new UsageError(
      `Cannot read "${path}": it is a folder, a file is wanted`,
    );
  }
  // A named pipe is not opened to look: that would wait for its writer.
  if (!stat.isFifo) (await openFile(path)).close();
  return stat;
}

async function openFile(path: string): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path, { read: true });
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): UsageError {
  const why = cause instanceof Deno.errors.NotFound
    ? "there is no such file"
    : cause instanceof Deno.errors.PermissionDenied ||
        cause instanceof Deno.errors.NotCapable
    ? "it may not be read by this user"
    : cause instanceof Error
    ? cause.message
    : String(cause);
  return new UsageError(`Cannot read "${path}": ${why}`, { cause });
}

function readStdin(into: Uint8Array<ArrayBuffer>): Promise<number | null> {
  return Deno.stdin.read(into);
}

class FollowedFile implements FileSource {
  readonly size = undefined;
  readonly #path: string;
  readonly #onRestart: ((reason: string) => void) | undefined;
  #file: Deno.FsFile;
  readonly #waiter = new Waiter();
  #position = 0;
  #closed = false;

  constructor(
    path: string,
    file: Deno.FsFile,
    onRestart: ((reason: string) => void) | undefined,
  ) {
    this.#path = path;
    this.#file = file;
    this.#onRestart = onRestart;
  }

  read(into: Uint8Array<ArrayBuffer>): number | Promise<number> {
    const bytes = this.#file.readSync(into);
    if (bytes === null || bytes === 0) return this.#more(into);
    this.#position += bytes;
    return bytes;
  }

  async #more(into: Uint8Array<ArrayBuffer>): Promise<number> {
    for (;;) {
      await this.#waiter.wait(FOLLOW_MS);
      if (this.#closed) return 0;
      const bytes = this.#file.readSync(into);
      if (bytes !== null && bytes > 0) {
        this.#position += bytes;
        return bytes;
      }
      await this.#restartIfReplaced();
    }
  }

  async #restartIfReplaced(): Promise<void> {
    const own = await this.#file.stat();
    if (own.size < this.#position) {
      await this.#file.seek(0, Deno.SeekMode.Start);
      this.#position = 0;
      this.#onRestart?.("it was cut off");
      return;
    }
    let now: Deno.FileInfo;
    try {
      now = await Deno.stat(this.#path);
    } catch {
      // Moved away and not yet there again: the open one may still grow.
      return;
    }
    if (now.ino === own.ino && now.dev === own.dev) return;
    const file = await Deno.open(this.#path, { read: true });
    this.#file.close();
    this.#file = file;
    this.#position = 0;
    this.#onRestart?.("it was replaced");
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#waiter.wake();
    this.#file.close();
  }
}
