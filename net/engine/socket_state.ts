/**
 * What the thread that owns a socket and the one that watches the network
 * share: a Worker that blocks in its waits reads no messages.
 *
 * The watcher sets the addresses and requests a check. The owner compares one
 * number for each batch, checks its socket when the number has changed, and
 * writes whether the socket is open.
 */

/** Indices of the 32-bit words. */
const CHECKS = 0;
const FORCED = 1;
const OPEN = 2;
const LOSSES = 3;
const REOPENS = 4;
const TEXT_LENGTH = 5;
const WORDS = 6;

/** Room for the addresses of a name, as text: 20 IPv6 addresses at least. */
const TEXT_BYTES = 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** State of one socket in shared memory. */
export class SocketState {
  /** The memory, to give to another thread. */
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #text: Uint8Array<SharedArrayBuffer>;

  /** New, or that of a buffer that another thread shares. */
  constructor(
    buffer: SharedArrayBuffer = new SharedArrayBuffer(4 * WORDS + TEXT_BYTES),
  ) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer, 0, WORDS);
    this.#text = new Uint8Array(buffer, 4 * WORDS, TEXT_BYTES);
  }

  /** Number of checks requested so far. */
  get checks(): number {
    return Atomics.load(this.#words, CHECKS);
  }

  /** Requests a check; a forced one replaces the socket even if nothing has changed. */
  requestCheck(force = false): void {
    if (force) Atomics.store(this.#words, FORCED, 1);
    Atomics.add(this.#words, CHECKS, 1);
  }

  /** Whether a replacement was requested since the last call. */
  takeForced(): boolean {
    return Atomics.exchange(this.#words, FORCED, 0) === 1;
  }

  /** IP literals to send to, the preferred one first. */
  get hostnames(): string[] {
    const length = Atomics.load(this.#words, TEXT_LENGTH);
    // A TextDecoder takes no shared memory.
    const text = decoder.decode(
      Uint8Array.from(this.#text.subarray(0, length)),
    );
    return text === "" ? [] : text.split(",");
  }

  /** Sets them, as many as there is room for. */
  set hostnames(hostnames: readonly string[]) {
    let text = "";
    for (const hostname of hostnames) {
      const longer = text === "" ? hostname : `${text},${hostname}`;
      if (longer.length > TEXT_BYTES) break;
      text = longer;
    }
    this.#text.set(encoder.encode(text));
    Atomics.store(this.#words, TEXT_LENGTH, text.length);
  }

  /** Whether the socket is open. */
  get open(): boolean {
    return Atomics.load(this.#words, OPEN) === 1;
  }

  /** Times that the socket was lost or could not be opened. */
  get losses(): number {
    return Atomics.load(this.#words, LOSSES);
  }

  /** Times that the socket was opened again. */
  get reopens(): number {
    return Atomics.load(this.#words, REOPENS);
  }

  /** The owner has opened the socket for the first time. */
  setOpen(): void {
    Atomics.store(this.#words, OPEN, 1);
  }

  /** The owner has lost the socket; whether this is new. */
  setLost(): boolean {
    const wasLost = this.losses > 0 && !this.open;
    Atomics.store(this.#words, OPEN, 0);
    if (wasLost) return false;
    Atomics.add(this.#words, LOSSES, 1);
    return true;
  }

  /** The owner has the socket back. */
  setBack(): void {
    if (this.open) return;
    if (this.losses > 0) Atomics.add(this.#words, REOPENS, 1);
    Atomics.store(this.#words, OPEN, 1);
  }

  /** The owner has replaced an open socket. */
  countReopen(): void {
    Atomics.add(this.#words, REOPENS, 1);
  }
}
