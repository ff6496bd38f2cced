/**
 * Memory for the chunks that are read from a connection, to fit what comes: a small
 * buffer of the connection's own while little arrives, so that an idle
 * connection is cheap, and a large one of the pool while much does.
 *
 * In front of each chunk there is room, so that the first part of a packet,
 * which was put aside when the chunk before ended, can stand before its second
 * part and both leave in one piece.
 */
import { type BufferPool, LARGE_BUFFER_BYTES } from "./buffer_pool.ts";

/** A read buffer of an idle connection. */
const SMALL_BUFFER_BYTES = 512;
const SMALL_ROOM_BYTES = 64;
const LARGE_ROOM_BYTES = 8192;

/** Memory for one connection's chunks. */
export class ChunkBuffer {
  /** Holds the chunk. */
  buffer: Uint8Array<ArrayBuffer> = new Uint8Array(SMALL_BUFFER_BYTES);
  /** First byte of the chunk; as many bytes before it are free. */
  start = SMALL_ROOM_BYTES;
  /** One behind the chunk. */
  end = SMALL_ROOM_BYTES;

  readonly #pool: BufferPool;
  readonly #small: Uint8Array<ArrayBuffer> = this.buffer;
  /** What of the buffer is read into; made anew only when the buffer changes. */
  #window: Uint8Array<ArrayBuffer> = this.#small.subarray(SMALL_ROOM_BYTES);

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  /**
   * Where the next chunk is to be read to, over the one before. Memory for
   * one read stays there: whoever reads says by `took` how much came.
   */
  window(): Uint8Array<ArrayBuffer> {
    const length = this.end - this.start;
    const isSmall = this.buffer === this.#small;
    if (isSmall && length === this.#window.length) {
      this.#use(this.#pool.take(LARGE_BUFFER_BYTES), LARGE_ROOM_BYTES);
    } else if (!isSmall && length < SMALL_BUFFER_BYTES - SMALL_ROOM_BYTES) {
      this.release();
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

  /** Gives a large buffer back. Nothing that lay in it may be used any more. */
  release(): void {
    if (this.buffer === this.#small) return;
    const large = this.buffer;
    this.#use(this.#small, SMALL_ROOM_BYTES);
    this.#pool.give(large);
  }

  #use(buffer: Uint8Array<ArrayBuffer>, roomBytes: number): void {
    this.buffer = buffer;
    this.start = this.end = roomBytes;
    this.#window = buffer.subarray(roomBytes);
  }
}
