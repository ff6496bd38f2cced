/**
 * Buffers that are held only while bytes are in them: an idle connection owns
 * none of the large ones.
 */

/** Bytes of a pooled buffer: with less than 64 KiB per read, bulk gets slower. */
export const LARGE_BUFFER_BYTES = 65536;

/** Enough for most messages: a connection may hold one while it waits. */
export const MEDIUM_BUFFER_BYTES = 4096;

/** Free buffers that are kept: 4 MiB of each size. */
const KEPT_BYTES = 4 << 20;

/** Buffers of two sizes, taken for a while and given back. */
export class BufferPool {
  readonly #medium = new FreeBuffers(MEDIUM_BUFFER_BYTES);
  readonly #large = new FreeBuffers(LARGE_BUFFER_BYTES);

  /** A buffer of at least so many bytes; larger ones than the pool's own are made for once. */
  take(leastBytes: number): Uint8Array<ArrayBuffer> {
    if (leastBytes <= MEDIUM_BUFFER_BYTES) return this.#medium.take();
    if (leastBytes <= LARGE_BUFFER_BYTES) return this.#large.take();
    return new Uint8Array(leastBytes);
  }

  /** Gives a buffer back: nobody may use it any more. */
  give(buffer: Uint8Array<ArrayBuffer>): void {
    if (buffer.length === MEDIUM_BUFFER_BYTES) this.#medium.give(buffer);
    else if (buffer.length === LARGE_BUFFER_BYTES) this.#large.give(buffer);
  }
}

/** Equal buffers; what is given back beyond those kept is left to the collector. */
class FreeBuffers {
  readonly #bytes: number;
  readonly #most: number;
  readonly #free: Uint8Array<ArrayBuffer>[] = [];

  constructor(bytes: number) {
    this.#bytes = bytes;
    this.#most = KEPT_BYTES / bytes;
  }

  take(): Uint8Array<ArrayBuffer> {
    return this.#free.pop() ?? new Uint8Array(this.#bytes);
  }

  give(buffer: Uint8Array<ArrayBuffer>): void {
    if (this.#free.length < this.#most) this.#free.push(buffer);
  }
}
