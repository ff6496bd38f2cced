/**
 * Buffers that are held only while bytes are in them: an idle connection owns
 * none of the large ones.
 */

/** Bytes of a pooled buffer: with less than 64 KiB per read, bulk gets slower. */
export const LARGE_BUFFER_BYTES = 65536;

/** Equal buffers, taken for a while and given back. */
export class BufferPool {
  /** Bytes of each buffer. */
  readonly bufferBytes: number;
  readonly #free: Uint8Array<ArrayBuffer>[] = [];
  readonly #keep: number;

  /** Keeps at most `keep` free buffers; what is given back beyond that is left to the collector. */
  constructor(bufferBytes: number = LARGE_BUFFER_BYTES, keep = 64) {
    this.bufferBytes = bufferBytes;
    this.#keep = keep;
  }

  /** A buffer of at least so many bytes; larger ones than the pool's own are made for once. */
  take(leastBytes: number = this.bufferBytes): Uint8Array<ArrayBuffer> {
    if (leastBytes > this.bufferBytes) return new Uint8Array(leastBytes);
    return this.#free.pop() ?? new Uint8Array(this.bufferBytes);
  }

  /** Gives a buffer back: nobody may use it any more. */
  give(buffer: Uint8Array<ArrayBuffer>): void {
    if (
      buffer.length === this.bufferBytes && this.#free.length < this.#keep
    ) this.#free.push(buffer);
  }
}
