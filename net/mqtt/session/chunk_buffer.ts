/**
 * Memory for the chunks that are read from a connection, to fit what comes: a small
 * buffer of the connection's own while little arrives, so that an idle
 * connection is cheap, one of the pool that takes a message or two while more
 * does, and a large one only where each read fills that.
 *
 * In front of each chunk there is room, so that the first part of a packet,
 * which was put aside when the chunk before ended, can stand before its second
 * part and both leave in one piece.
 */
import {
  type BufferPool,
  LARGE_BUFFER_BYTES,
  MEDIUM_BUFFER_BYTES,
} from "./buffer_pool.ts";

/** A read buffer of an idle connection. */
const SMALL_BUFFER_BYTES = 512;

/** Share of a buffer that is room. */
const ROOM = 1 / 8;

/** Sizes from the own buffer on; a read that fills one is followed by one of the next. */
const SIZES = [SMALL_BUFFER_BYTES, MEDIUM_BUFFER_BYTES, LARGE_BUFFER_BYTES];
const LARGEST = SIZES.length - 1;

/** Memory for one connection's chunks. */
export class ChunkBuffer {
  /** Holds the chunk. */
  buffer: Uint8Array<ArrayBuffer> = new Uint8Array(SMALL_BUFFER_BYTES);
  /** First byte of the chunk; as many bytes before it are free. */
  start = SMALL_BUFFER_BYTES * ROOM;
  /** One behind the chunk. */
  end: number = this.start;

  readonly #pool: BufferPool;
  readonly #small: Uint8Array<ArrayBuffer> = this.buffer;
  /** Which of the sizes the buffer has. */
  #size = 0;
  /** What of the buffer is read into; made anew only when the buffer changes. */
  #window: Uint8Array<ArrayBuffer> = this.buffer.subarray(this.start);

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  /**
   * Where the next chunk is to be read to, over the one before. Memory for
   * one read stays there: whoever reads says by `took` how much came.
   */
  window(): Uint8Array<ArrayBuffer> {
    const length = this.end - this.start;
    const size = this.#size;
    if (length === this.#window.length) {
      if (size < LARGEST) this.#use(size + 1);
    } else if (size > 0 && length < SIZES[size - 1]! * (1 - ROOM)) {
      this.#use(size - 1);
    }
    this.end = this.start;
    return this.#window;
  }

  /** So many bytes were read. */
  took(bytes: number): void {
    this.end = this.start + bytes;
  }

  /** The chunk. */
  chunk(): Uint8Array<ArrayBuffer> {
    return this.buffer.subarray(this.start, this.end);
  }

  /** Gives a pooled buffer back. Nothing that lay in it may be used any more. */
  release(): void {
    if (this.#size > 0) this.#use(0);
  }

  #use(size: number): void {
    const { buffer } = this;
    const bytes = SIZES[size]!;
    this.buffer = size === 0 ? this.#small : this.#pool.take(bytes);
    if (this.#size > 0) this.#pool.give(buffer);
    this.#size = size;
    this.start = this.end = bytes * ROOM;
    this.#window = this.buffer.subarray(this.start);
  }
}
