/**
 * A connection that is watched while nobody reads it: one small read is kept
 * under way, so that the end of a client that waits is seen. What it reads
 * comes first when reading goes on.
 */
import type { Address } from "../../address.ts";
import type { ByteStream, PeerCertificate } from "../transport/byte_stream.ts";

/** Small: the read stays under way until the client sends again, idle or not. */
const WATCH_BYTES = 1024;

type Read =
  | { readonly count: number | null }
  | { readonly error: unknown };

/** A connection that can be watched; see the module. */
export class ReadAhead implements ByteStream {
  readonly #stream: ByteStream;
  #buffer: Uint8Array<ArrayBuffer> | undefined;
  #pending: Promise<Read> | undefined;

  constructor(stream: ByteStream) {
    this.#stream = stream;
  }

  get remote(): Address {
    return this.#stream.remote;
  }

  get local(): Address {
    return this.#stream.local;
  }

  get certificate(): PeerCertificate | undefined {
    return this.#stream.certificate;
  }

  get hasUntrustedCertificate(): boolean | undefined {
    return this.#stream.hasUntrustedCertificate;
  }

  /**
   * Watches until something arrives or the connection ends; `ended` is called
   * if it does. Not to be called while a read is under way.
   */
  watch(ended: () => void): void {
    if (this.#pending) return;
    const buffer = this.#buffer = new Uint8Array(WATCH_BYTES);
    this.#pending = this.#stream.read(buffer).then(
      (count): Read => {
        if (count === null) ended();
        return { count };
      },
      (error): Read => {
        ended();
        return { error };
      },
    );
  }

  read(buffer: Uint8Array<ArrayBuffer>): Promise<number | null> {
    return this.#pending
      ? this.#readWatched(this.#pending, buffer)
      : this.#stream.read(buffer);
  }

  async #readWatched(
    pending: Promise<Read>,
    buffer: Uint8Array<ArrayBuffer>,
  ): Promise<number | null> {
    const read = await pending;
    // An end stays one, however often it is asked for.
    if ("error" in read) throw read.error;
    if (read.count === null) return null;
    const watched = this.#buffer!.subarray(0, read.count);
    const count = Math.min(watched.length, buffer.length);
    buffer.set(watched.subarray(0, count));
    if (count < watched.length) {
      this.#buffer = watched.slice(count);
      this.#pending = Promise.resolve({ count: watched.length - count });
    } else this.#buffer = this.#pending = undefined;
    return count;
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.#stream.write(bytes);
  }

  end(): Promise<void> {
    return this.#stream.end();
  }

  close(): void {
    this.#stream.close();
  }
}
