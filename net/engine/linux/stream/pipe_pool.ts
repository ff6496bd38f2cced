/** Pipes for splice(2), lent to directions that move bulk and kept for the next. */
import type { StreamCalls } from "../ffi/stream.ts";

/** No pipe. */
export const NO_PIPE = -1;

/** Free pipes that are kept. */
const FREE_PIPES = 16;

/** Pipes lent at once: each is two descriptors and up to its size in pages. */
const MAX_PIPES = 512;

/** A smaller pipe moves less per call than a buffer does. */
export const LEAST_PIPE_BYTES = 65_536;

/** Lends pipes by number. */
export class PipePool {
  readonly #calls: StreamCalls;
  readonly #bytes: number;
  readonly #reads: number[] = [];
  readonly #writes: number[] = [];
  readonly #sizes: number[] = [];
  readonly #free: number[] = [];
  /** Numbers whose pipes are closed. */
  readonly #closed: number[] = [];
  #lent = 0;

  /** Pipes of `bytes`, as near as the system's limits let them be. */
  constructor(calls: StreamCalls, bytes: number) {
    this.#calls = calls;
    this.#bytes = bytes;
  }

  /** A pipe, or {@linkcode NO_PIPE} where there is none to be had: bulk is copied then. */
  take(): number {
    const free = this.#free.pop();
    if (free !== undefined) {
      this.#lent++;
      return free;
    }
    if (this.#lent >= MAX_PIPES || this.#calls.openPipe() < 0) return NO_PIPE;
    const { pipeReads, pipeWrites } = this.#calls;
    const size = this.#calls.sizePipe(pipeWrites, this.#bytes);
    // Past fs.pipe-user-pages-soft a pipe has a page or two.
    if (size < LEAST_PIPE_BYTES) {
      this.#calls.close(pipeReads);
      this.#calls.close(pipeWrites);
      return NO_PIPE;
    }
    const pipe = this.#closed.pop() ?? this.#reads.length;
    this.#reads[pipe] = pipeReads;
    this.#writes[pipe] = pipeWrites;
    this.#sizes[pipe] = size;
    this.#lent++;
    return pipe;
  }

  /** Takes a pipe back; one that is not empty is closed. */
  give(pipe: number, empty: boolean): void {
    this.#lent--;
    if (empty && this.#free.length < FREE_PIPES) this.#free.push(pipe);
    else this.#close(pipe);
  }

  #close(pipe: number): void {
    this.#calls.close(this.#reads[pipe]!);
    this.#calls.close(this.#writes[pipe]!);
    this.#closed.push(pipe);
  }

  /** Descriptor of its reading end. */
  reads(pipe: number): number {
    return this.#reads[pipe]!;
  }

  /** Descriptor of its writing end. */
  writes(pipe: number): number {
    return this.#writes[pipe]!;
  }

  /** Its size in bytes. */
  size(pipe: number): number {
    return this.#sizes[pipe]!;
  }

  /** Closes the free ones. */
  close(): void {
    for (const pipe of this.#free) this.#close(pipe);
    this.#free.length = 0;
  }
}
