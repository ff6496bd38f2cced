/**
 * Reads a client ahead while a rate limit holds its messages back, so that its
 * PINGREQs are seen: they stand behind the messages, and a client whose
 * keep-alive is not answered gives up.
 *
 * 1. `start` scans what is left of the chunk, and reads on up to a limit.
 * 2. Each PINGREQ is reported once; its place in the stream stays.
 * 3. `read` gives what was read ahead before it reads the connection again.
 */
import type { ByteStream } from "../transport/byte_stream.ts";

/** Maximum bytes read ahead; beyond, the connection itself slows the client. */
const MAX_AHEAD_BYTES = 65_536;

/** Bytes of one read. */
const READ_BYTES = 4096;

/** Finds PINGREQs in a stream of packets, without a look at their bodies. Pure. */
export class PingScanner {
  /** Bytes of the present packet still to come; -1 in a fixed header. */
  #remaining = -1;
  #headerBytes = 0;
  #first = 0;
  #length = 0;

  /** Starts at the front of a packet. */
  reset(): void {
    this.#remaining = -1;
    this.#headerBytes = 0;
  }

  /** How many PINGREQs end in the next bytes. */
  scan(bytes: Uint8Array): number {
    let pings = 0;
    let at = 0;
    while (at < bytes.length) {
      if (this.#remaining > 0) {
        const passed = Math.min(this.#remaining, bytes.length - at);
        at += passed;
        this.#remaining -= passed;
        if (this.#remaining > 0) break;
        this.reset();
        continue;
      }
      this.#takeHeaderByte(bytes[at++]!);
      if (this.#remaining !== 0) continue;
      if (this.#first === PINGREQ) pings++;
      this.reset();
    }
    return pings;
  }

  #takeHeaderByte(byte: number): void {
    const index = this.#headerBytes++;
    if (index === 0) {
      this.#first = byte;
      this.#length = 0;
      return;
    }
    // A length of more than four bytes is for the reader to refuse.
    this.#length += (byte & 0x7f) * 128 ** (index - 1);
    if (byte < 0x80) this.#remaining = this.#length;
  }
}

const PINGREQ = 0xc0;

/** Reads a connection ahead; see the module's flow. */
export class PingAhead {
  readonly #stream: ByteStream;
  readonly #onPing: () => void;
  readonly #scanner = new PingScanner();
  readonly #stored: Uint8Array<ArrayBuffer>[] = [];
  #storedBytes = 0;
  /** Whether the scanner has seen the bytes that `read` gave last. */
  #chunkIsScanned = false;
  #isActive = false;
  #pending: Promise<void> | undefined;
  #hasEnded = false;
  #failure: unknown;

  constructor(stream: ByteStream, onPing: () => void) {
    this.#stream = stream;
    this.#onPing = onPing;
  }

  /** Reads ahead from now on; `rest` is what of the chunk follows the present packet. */
  start(rest: Uint8Array): void {
    this.#isActive = true;
    if (!this.#chunkIsScanned) {
      this.#chunkIsScanned = true;
      this.#scanner.reset();
      this.#report(this.#scanner.scan(rest));
    }
    this.#pending ??= this.#readOn();
  }

  /** Reads ahead no more; a read that is under way is kept. */
  stop(): void {
    this.#isActive = false;
  }

  /** As the stream's `read`. */
  async read(buffer: Uint8Array<ArrayBuffer>): Promise<number | null> {
    if (this.#stored.length === 0 && this.#pending) await this.#pending;
    const [first] = this.#stored;
    if (!first) {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#hasEnded) return null;
      this.#chunkIsScanned = false;
      return await this.#stream.read(buffer);
    }
    this.#chunkIsScanned = true;
    const taken = Math.min(first.length, buffer.length);
    buffer.set(first.subarray(0, taken));
    if (taken < first.length) this.#stored[0] = first.subarray(taken);
    else this.#stored.shift();
    this.#storedBytes -= taken;
    return taken;
  }

  /** Never rejects. */
  async #readOn(): Promise<void> {
    try {
      while (this.#isActive && this.#storedBytes < MAX_AHEAD_BYTES) {
        const buffer = new Uint8Array(READ_BYTES);
        const count = await this.#stream.read(buffer);
        if (count === null) {
          this.#hasEnded = true;
          return;
        }
        const bytes = buffer.subarray(0, count);
        this.#stored.push(bytes);
        this.#storedBytes += count;
        this.#report(this.#scanner.scan(bytes));
      }
    } catch (error) {
      this.#failure = error;
    } finally {
      this.#pending = undefined;
    }
  }

  #report(pings: number): void {
    for (let i = 0; i < pings; i++) this.#onPing();
  }
}
