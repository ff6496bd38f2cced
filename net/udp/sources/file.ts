/** A file, a named pipe, a device or stdin as a stream of bytes. */
import { errorText, failedCall, UsageError } from "../../errors.ts";
import { unreadable } from "../../text_file.ts";
import { Waiter } from "../../engine/waiter.ts";
import type { ByteSource } from "./stream_pump.ts";
import { ReopenedSource } from "./reopened.ts";
import { checkBaud, openRaw } from "./serial.ts";

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
   * over, one that was replaced is opened again, one that is missing is waited
   * for, and a named pipe waits for its next writer.
   * @default {false}
   */
  follow?: boolean;
  /** Speed of a serial port. Default: the one that it has. */
  baud?: number | undefined;
  /** Called when a followed file starts over. */
  onRestart?: (reason: string) => void;
  /** Called when the path of a followed file leads to no file that can be read, once for each reason. */
  onWaiting?: (reason: string) => void;
  /** Called when a serial port or a named pipe that is opened again and again is open. */
  onOpen?: () => void;
}

/** Opens `-` (stdin) or a path; throws a UsageError where it cannot be read. */
export async function openFileSource(
  path: string,
  options: FileSourceOptions = {},
): Promise<FileSource> {
  const stat = await checkFileSource(path, options);
  if (stat === undefined) {
    return { size: undefined, read: readStdin, [Symbol.dispose]: () => {} };
  }
  const { follow = false, baud, onRestart, onOpen } = options;
  if (stat === "missing") {
    onRestart?.("it is missing, waiting for it");
    return new AppearingSource(
      path,
      () => openFileSource(path, options),
      options.onWaiting,
    );
  }
  if (follow && stat.isFifo) {
    return new ReopenedSource({
      path,
      open: () => Deno.open(path, { read: true }),
      survivesErrors: false,
      onRestart,
      onOpen,
    });
  }
  // Opening a named pipe waits for its writer, so it must not block the thread.
  const file = await openFile(path);
  if (file.isTerminal()) {
    file.close();
    // A wrong speed or a missing right shows at once, a later unplug is survived.
    await openRaw(path, baud);
    return new ReopenedSource({
      path,
      open: () => openTerminal(path, baud),
      survivesErrors: true,
      onRestart,
      onOpen,
    });
  }
  if (baud !== undefined) {
    file.close();
    throw new UsageError(
      `cannot use baud ${baud} with "${path}": it is no serial port`,
    );
  }
  if (follow) return new FollowedFile(path, file, options);
  const failed = (cause: unknown): never => {
    throw failedCall("read", `"${path}"`, cause);
  };
  return {
    size: stat.isFile ? stat.size : undefined,
    read: stat.isFile
      ? (into) => readFile(file, into, failed)
      : (into) => file.read(into).catch(failed),
    [Symbol.dispose]: () => file.close(),
  };
}

/** The device first: its settings last only while it is open. */
async function openTerminal(
  path: string,
  baud: number | undefined,
): Promise<Deno.FsFile> {
  const file = await Deno.open(path, { read: true });
  try {
    await openRaw(path, baud);
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}

/** A file answers at once: no promise is needed. */
function readFile(
  file: Deno.FsFile,
  into: Uint8Array<ArrayBuffer>,
  failed: (cause: unknown) => never,
): number | null {
  try {
    return file.readSync(into);
  } catch (cause) {
    return failed(cause);
  }
}

/**
 * What is known of a path, or undefined of stdin; throws a UsageError where it
 * cannot be read as asked. Nothing stays open.
 */
export async function checkFileSource(
  path: string,
  { follow = false, baud }: FileSourceOptions,
): Promise<Deno.FileInfo | "missing" | undefined> {
  checkBaud(baud);
  if (path === "-") {
    if (baud !== undefined) {
      throw new UsageError("cannot use baud with stdin: it is no serial port");
    }
    if (follow) {
      throw new UsageError("Cannot follow stdin: it ends when it ends");
    }
    return undefined;
  }
  let stat: Deno.FileInfo;
  try {
    stat = await Deno.stat(path);
  } catch (cause) {
    const waits = follow || baud !== undefined;
    if (waits && cause instanceof Deno.errors.NotFound) return "missing";
    throw new UsageError(unreadable(path, cause), { cause });
  }
  if (stat.isDirectory) {
    throw new UsageError(
      `Cannot read "${path}": it is a folder, a file is wanted`,
    );
  }
  if (follow && !stat.isFile && !stat.isFifo && !stat.isCharDevice) {
    throw new UsageError(
      `cannot follow "${path}": it is neither a regular file nor a named pipe`,
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
    throw new UsageError(unreadable(path, cause), { cause });
  }
}

function readStdin(into: Uint8Array<ArrayBuffer>): Promise<number | null> {
  return Deno.stdin.read(into).catch((cause) => {
    throw failedCall("read", "stdin", cause);
  });
}

/** A path that is missing: it is read when it appears. */
class AppearingSource implements FileSource {
  readonly size = undefined;
  readonly #path: string;
  readonly #open: () => Promise<FileSource>;
  readonly #waiter = new Waiter();
  readonly #obstacle: Obstacle;
  #source: FileSource | undefined;
  #closed = false;

  constructor(
    path: string,
    open: () => Promise<FileSource>,
    onWaiting: ((reason: string) => void) | undefined,
  ) {
    this.#path = path;
    this.#open = open;
    this.#obstacle = new Obstacle(onWaiting);
  }

  restarted(): boolean {
    return this.#source?.restarted?.() ?? false;
  }

  read(
    into: Uint8Array<ArrayBuffer>,
  ): Promise<number | null> | number | null {
    return this.#source ? this.#source.read(into) : this.#appear();
  }

  async #appear(): Promise<number | null> {
    while (!this.#closed) {
      try {
        await Deno.stat(this.#path);
        const source = await this.#open();
        if (this.#closed) source[Symbol.dispose]();
        else {
          this.#source = source;
          return 0;
        }
      } catch (error) {
        this.#obstacle.met(error);
        await this.#waiter.wait(FOLLOW_MS);
      }
    }
    return null;
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#waiter.wake();
    this.#source?.[Symbol.dispose]();
  }
}

/** Why a path cannot be read for now, reported once for each reason; that it is missing is no obstacle. */
class Obstacle {
  readonly #report: ((reason: string) => void) | undefined;
  #reason: string | undefined;

  constructor(report: ((reason: string) => void) | undefined) {
    this.#report = report;
  }

  met(error: unknown): void {
    if (error instanceof Deno.errors.NotFound) return;
    const reason = errorText(error);
    if (reason === this.#reason) return;
    this.#reason = reason;
    this.#report?.(reason);
  }

  gone(): void {
    this.#reason = undefined;
  }
}

class FollowedFile implements FileSource {
  readonly size = undefined;
  readonly #path: string;
  readonly #onRestart: ((reason: string) => void) | undefined;
  #file: Deno.FsFile;
  readonly #waiter = new Waiter();
  readonly #obstacle: Obstacle;
  #position = 0;
  #closed = false;
  #restarted = false;

  constructor(
    path: string,
    file: Deno.FsFile,
    options: Pick<FileSourceOptions, "onRestart" | "onWaiting">,
  ) {
    this.#path = path;
    this.#file = file;
    this.#onRestart = options.onRestart;
    this.#obstacle = new Obstacle(options.onWaiting);
  }

  read(into: Uint8Array<ArrayBuffer>): number | Promise<number> {
    const bytes = this.#readNow(into);
    return bytes > 0 ? bytes : this.#more(into);
  }

  restarted(): boolean {
    const restarted = this.#restarted;
    this.#restarted = false;
    return restarted;
  }

  async #more(into: Uint8Array<ArrayBuffer>): Promise<number> {
    for (;;) {
      await this.#waiter.wait(FOLLOW_MS);
      if (this.#closed) return 0;
      const bytes = this.#readNow(into);
      if (bytes > 0) return bytes;
      const next = await this.#findNext();
      if (this.#restarted) return 0;
      if (this.#closed) {
        next?.close();
        return 0;
      }
      if (next === undefined) continue;
      // What was written before it was replaced comes first.
      const last = this.#readNow(into);
      if (last === 0) {
        this.#restart(next);
        return 0;
      }
      next.close();
      return last;
    }
  }

  /** Bytes that are there, or 0. */
  #readNow(into: Uint8Array<ArrayBuffer>): number {
    const bytes = readFile(this.#file, into, (cause) => {
      throw failedCall("read", `"${this.#path}"`, cause);
    }) ?? 0;
    this.#position += bytes;
    return bytes;
  }

  /** The file that has replaced the open one; a file that was cut off is wound back. */
  async #findNext(): Promise<Deno.FsFile | undefined> {
    let own: Deno.FileInfo;
    try {
      own = await this.#file.stat();
      if (own.size < this.#position) {
        await this.#file.seek(0, Deno.SeekMode.Start);
        this.#position = 0;
        this.#restarted = true;
        this.#onRestart?.("it was cut off");
        return;
      }
    } catch (error) {
      if (this.#closed) return;
      throw failedCall("follow", `"${this.#path}"`, error);
    }
    try {
      const now = await Deno.stat(this.#path);
      if (!now.isFile) throw new Error("it is no regular file any more");
      const same = now.ino === own.ino && now.dev === own.dev;
      const next = same
        ? undefined
        : await Deno.open(this.#path, { read: true });
      this.#obstacle.gone();
      return next;
    } catch (error) {
      // Moved away and not yet there again, or not readable: the open one may still grow.
      if (!this.#closed) this.#obstacle.met(error);
    }
  }

  #restart(file: Deno.FsFile): void {
    this.#file.close();
    this.#file = file;
    this.#position = 0;
    this.#restarted = true;
    this.#onRestart?.("it was replaced");
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#waiter.wake();
    this.#file.close();
  }
}
