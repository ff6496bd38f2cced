/** A connection without a network: everything happens when the test says so. */
import type { ByteStream } from "../../net/mqtt/transport/byte_stream.ts";

/** One end of a connection that the test holds the other end of. */
export class MemoryStream implements ByteStream {
  readonly remote = { hostname: "192.0.2.1", port: 40000 };
  readonly local = { hostname: "192.0.2.2", port: 1883 };
  /** What was written, one entry for each write. */
  readonly writes: Uint8Array[] = [];
  /** How many reads have returned bytes. */
  reads = 0;
  /** Whether a read is waiting. */
  get isRead(): boolean {
    return this.#reader !== undefined;
  }
  ended = false;
  closed = false;
  readonly #incoming: Uint8Array[] = [];
  #incomingEnded = false;
  #reader: (() => void) | undefined;
  #held: PromiseWithResolvers<void> | undefined;

  /** Lets bytes come. */
  push(...chunks: Uint8Array[]): void {
    this.#incoming.push(...chunks);
    this.#wake();
  }

  /** Lets the other end say that no more comes. */
  pushEnd(): void {
    this.#incomingEnded = true;
    this.#wake();
  }

  /** Takes no bytes until `release`. */
  hold(): void {
    this.#held ??= Promise.withResolvers();
  }

  /** Takes bytes again. */
  release(): void {
    this.#held?.resolve();
    this.#held = undefined;
  }

  /** All that was written. */
  written(): Uint8Array {
    return Uint8Array.from(this.writes.flatMap((bytes) => [...bytes]));
  }

  async read(buffer: Uint8Array<ArrayBuffer>): Promise<number | null> {
    if (this.#reader) throw new Error("Two reads at a time");
    for (;;) {
      if (this.closed) throw new Error("closed");
      const [next] = this.#incoming;
      if (next) {
        const taken = Math.min(next.length, buffer.length);
        buffer.set(next.subarray(0, taken));
        if (taken < next.length) this.#incoming[0] = next.subarray(taken);
        else this.#incoming.shift();
        this.reads++;
        return taken;
      }
      if (this.#incomingEnded) return null;
      await new Promise<void>((resolve) => {
        this.#reader = resolve;
      });
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.ended || this.closed) throw new Error("closed");
    await this.#held?.promise;
    if (this.closed) throw new Error("closed");
    this.writes.push(bytes.slice());
  }

  end(): Promise<void> {
    this.ended = true;
    return Promise.resolve();
  }

  close(): void {
    this.closed = true;
    this.release();
    this.#wake();
  }

  #wake(): void {
    const reader = this.#reader;
    this.#reader = undefined;
    reader?.();
  }
}

/** Resolves when everything that needs no outside event has happened. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) {
    // Not a wait: the next turn of the event loop.
    await new Promise<void>((resolve) => void setTimeout(resolve, 0));
  }
}
