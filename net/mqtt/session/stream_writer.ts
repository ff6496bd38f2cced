/**
 * The one writer of a connection. Whole packets go in, so whatever comes first
 * goes out first and no packet is cut by another.
 *
 * - `write` takes a run of packets that is on its way through, by reference,
 *   and resolves when the connection has taken it: that is the back-pressure.
 * - `add` takes a packet that the gateway itself has to say, by copy, and does
 *   not wait: the direction that is waiting for its own writes must not wait
 *   for the other one too, or two full sockets could wait for each other.
 */
import type { ByteStream } from "../transport/byte_stream.ts";

const EMPTY: Uint8Array<ArrayBuffer> = new Uint8Array(0);

/** Largest write: the progress of a large message shows after each. */
const SLICE_BYTES = 65_536;

/** Writes packets to a connection. */
export class StreamWriter {
  /** When the connection last was given bytes, or took some, by the clock given. */
  wroteAtMs: number;
  /** Bytes that the connection has taken. */
  writtenBytes = 0;

  readonly #stream: ByteStream;
  readonly #now: () => number;
  #added: Uint8Array<ArrayBuffer> = EMPTY;
  #addedBytes = 0;
  #busy: Promise<void> | undefined;
  #failure: unknown;

  constructor(stream: ByteStream, now: () => number) {
    this.#stream = stream;
    this.#now = now;
    this.wroteAtMs = now();
  }

  /** Since when the connection has taken nothing of a write, or undefined without one. */
  get stalledSinceMs(): number | undefined {
    return this.#busy === undefined ? undefined : this.wroteAtMs;
  }

  /** Bytes of the gateway's own packets that wait to be written. */
  get addedBytes(): number {
    return this.#addedBytes;
  }

  /** Writes a run of packets; rejects where the connection is broken. */
  write(bytes: Uint8Array): Promise<void> {
    return this.#busy || this.#failure !== undefined
      ? this.#writeLater(bytes)
      : this.#busy = this.#writeAll(bytes);
  }

  async #writeLater(bytes: Uint8Array): Promise<void> {
    while (this.#busy) await this.#busy;
    if (this.#failure !== undefined) throw this.#failure;
    await (this.#busy = this.#writeAll(bytes));
  }

  /** Takes a packet of the gateway's own; a broken connection is its readers' to notice. */
  add(packet: Uint8Array): void {
    const filled = this.#addedBytes + packet.length;
    if (filled > this.#added.length) {
      const larger = new Uint8Array(Math.max(256, 2 * filled));
      larger.set(this.#added.subarray(0, this.#addedBytes));
      this.#added = larger;
    }
    this.#added.set(packet, this.#addedBytes);
    this.#addedBytes = filled;
    if (!this.#busy && this.#failure === undefined) {
      this.#busy = this.#writeAll(EMPTY);
      this.#busy.catch(() => {});
    }
  }

  /** Resolves when everything that was added is written, or nothing can be. */
  async flushed(): Promise<void> {
    while (this.#busy) await this.#busy.catch(() => {});
  }

  async #writeSlices(bytes: Uint8Array): Promise<void> {
    this.wroteAtMs = this.#now();
    for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
      const slice = bytes.length <= SLICE_BYTES
        ? bytes
        : bytes.subarray(at, at + SLICE_BYTES);
      await this.#stream.write(slice);
      this.writtenBytes += slice.length;
      this.wroteAtMs = this.#now();
    }
  }

  /** Writes what was added before, then the bytes, then what was added meanwhile. */
  async #writeAll(bytes: Uint8Array): Promise<void> {
    try {
      // What is added in one turn, such as the answers to a chunk, leaves together.
      if (bytes.length === 0) await null;
      let rest: Uint8Array | undefined = bytes;
      while (rest !== undefined || this.#addedBytes > 0) {
        let next: Uint8Array;
        if (this.#addedBytes > 0) {
          next = this.#added.subarray(0, this.#addedBytes);
          this.#added = EMPTY;
          this.#addedBytes = 0;
        } else {
          next = rest!;
          rest = undefined;
          if (next.length === 0) continue;
        }
        await this.#writeSlices(next);
      }
    } catch (error) {
      this.#failure = error;
      throw error;
    } finally {
      this.#busy = undefined;
    }
  }
}
