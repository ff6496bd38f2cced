/**
 * Gathers what a chunk's packets became, so that it leaves in one write. As
 * long as packets are kept as they are and stand side by side, nothing is
 * copied: the run is a piece of the read buffer.
 */
import type { BufferPool } from "./buffer_pool.ts";

/** What is to be written for the packets of a chunk, in their order. */
export class ForwardBatch {
  readonly #pool: BufferPool;
  /** The run at the end: packets that stand side by side in one buffer. */
  #run: Uint8Array<ArrayBuffer> | undefined;
  #runStart = 0;
  #runEnd = 0;
  /** Everything before the run, copied. */
  #copy: Uint8Array<ArrayBuffer> | undefined;
  #copyBytes = 0;

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  /** Whether there is nothing to write. */
  get isEmpty(): boolean {
    return this.#run === undefined && this.#copyBytes === 0;
  }

  /** Adds a packet as it lies; its memory must stay until `clear`. */
  keep(buffer: Uint8Array<ArrayBuffer>, start: number, end: number): void {
    if (this.#run === buffer && this.#runEnd === start) {
      this.#runEnd = end;
      return;
    }
    this.#closeRun();
    this.#run = buffer;
    this.#runStart = start;
    this.#runEnd = end;
  }

  /** Adds other bytes, by copy. */
  put(bytes: Uint8Array): void {
    this.#closeRun();
    this.#append(bytes);
  }

  /** All of it in one piece, valid until `clear`. */
  bytes(): Uint8Array<ArrayBuffer> {
    if (this.#copyBytes === 0 && this.#run) {
      return this.#run.subarray(this.#runStart, this.#runEnd);
    }
    this.#closeRun();
    return this.#copy!.subarray(0, this.#copyBytes);
  }

  /** Forgets what was gathered and gives the memory back. */
  clear(): void {
    this.#run = undefined;
    this.#copyBytes = 0;
    if (this.#copy) this.#pool.give(this.#copy);
    this.#copy = undefined;
  }

  #closeRun(): void {
    if (!this.#run) return;
    this.#append(this.#run.subarray(this.#runStart, this.#runEnd));
    this.#run = undefined;
  }

  #append(bytes: Uint8Array): void {
    const filled = this.#copyBytes + bytes.length;
    if (filled > (this.#copy?.length ?? 0)) {
      const larger = this.#pool.take(Math.max(filled, 2 * this.#copyBytes));
      if (this.#copy) {
        larger.set(this.#copy.subarray(0, this.#copyBytes));
        this.#pool.give(this.#copy);
      }
      this.#copy = larger;
    }
    this.#copy!.set(bytes, this.#copyBytes);
    this.#copyBytes = filled;
  }
}
