/**
 * Sources that end and come back: a named pipe whose writer leaves, a serial
 * port that is unplugged, a file that is not there yet.
 *
 * 1. The path is opened; a path that is missing is tried again.
 * 2. It is read until it ends.
 * 3. The feed learns that another stream begins, and all starts over.
 */
import { Waiter } from "../../engine/waiter.ts";
import { errorCode, errorText } from "../../errors.ts";
import type { ByteSource } from "./stream_pump.ts";

/** Time between two attempts to open a path, in milliseconds. */
const RETRY_MS = 250;

/** What a {@linkcode ReopenedSource} is made of. */
export interface ReopenedSourceOptions {
  path: string;
  /** Opens the path; rejects where that is not possible now. */
  open: () => Promise<Deno.FsFile>;
  /** Whether an error of a read is the end of the stream, as of a device that is unplugged. */
  survivesErrors: boolean;
  /** Called with the reason when the stream has ended, or cannot be opened. */
  onRestart: ((reason: string) => void) | undefined;
  /** Called when the path is open. */
  onOpen: (() => void) | undefined;
}

/** Reads a path again and again. */
export class ReopenedSource implements ByteSource, Disposable {
  /** Nobody knows how much will come. */
  readonly size = undefined;
  readonly #options: ReopenedSourceOptions;
  readonly #waiter = new Waiter();
  #file: Deno.FsFile | undefined;
  #opening = false;
  #restarted = false;
  #failed = false;
  #closed = false;

  constructor(options: ReopenedSourceOptions) {
    this.#options = options;
  }

  restarted(): boolean {
    const restarted = this.#restarted;
    this.#restarted = false;
    return restarted;
  }

  async read(into: Uint8Array<ArrayBuffer>): Promise<number | null> {
    const { onRestart, survivesErrors } = this.#options;
    const file = this.#file ??= await this.#open();
    if (file === undefined) return null;
    let reason = "it ended";
    try {
      const bytes = await file.read(into);
      if (bytes !== null) return bytes;
    } catch (error) {
      if (this.#closed) return null;
      if (!survivesErrors) throw error;
      reason = errorCode(error) ?? errorText(error);
    }
    if (this.#closed) return null;
    file.close();
    this.#file = undefined;
    this.#restarted = true;
    onRestart?.(reason);
    return 0;
  }

  /** The open path, or undefined where the source was closed meanwhile. */
  async #open(): Promise<Deno.FsFile | undefined> {
    while (!this.#closed) {
      try {
        this.#opening = true;
        const file = await this.#options.open();
        this.#opening = false;
        this.#failed = false;
        if (!this.#closed) {
          this.#options.onOpen?.();
          return file;
        }
        file.close();
        return undefined;
      } catch (error) {
        this.#opening = false;
        // Said once: the next attempts fail in the same way.
        if (!this.#failed) this.#options.onRestart?.(errorText(error));
        this.#failed = true;
        await this.#waiter.wait(RETRY_MS);
      }
    }
    return undefined;
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#waiter.wake();
    this.#file?.close();
    if (this.#opening) this.#endOpening();
  }

  /** An open of a named pipe waits for a writer: this process is one for a moment (fifo(7)). */
  #endOpening(): void {
    try {
      Deno.openSync(this.#options.path, { read: true, write: true }).close();
    } catch {
      // It is no pipe, or gone: then nothing waits for it either.
    }
  }
}
