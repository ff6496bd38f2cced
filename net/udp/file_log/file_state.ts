/**
 * What all writers of one log file must agree on: its size, its generation
 * (how often it was rotated) and whose turn it is. It lies in shared memory, so
 * that writers in several threads, each with a handle of its own, can write
 * whole datagrams to the same file and rotate it.
 */

const LOCK = 0;
const GENERATION = 1;
const UNSYNCED = 2;

const FREE = 0;
const HELD = 1;
const AWAITED = 2;

/** Shared state of a log file. */
export class FileState {
  /** The memory, to give to another thread. */
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #numbers: Float64Array<SharedArrayBuffer>;

  /** New state, or that of a buffer that another thread shares. */
  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(32)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer, 0, 3);
    this.#numbers = new Float64Array(buffer, 16, 2);
  }

  /** How often the file was rotated: a writer with an older handle opens the path again. */
  get generation(): number {
    return this.#words[GENERATION]!;
  }

  set generation(value: number) {
    this.#words[GENERATION] = value;
  }

  /** Whether something was written since the last sync of all that was. */
  get unsynced(): boolean {
    return this.#words[UNSYNCED] === 1;
  }

  set unsynced(value: boolean) {
    this.#words[UNSYNCED] = value ? 1 : 0;
  }

  /** Bytes in the file. */
  get size(): number {
    return this.#numbers[0]!;
  }

  set size(value: number) {
    this.#numbers[0] = value;
  }

  /** The rotation interval that the file's bytes belong to, counted since 1970. */
  get period(): number {
    return this.#numbers[1]!;
  }

  set period(value: number) {
    this.#numbers[1] = value;
  }

  /** Waits for the turn; held for no longer than a write or a rotation takes. */
  lock(): void {
    const words = this.#words;
    if (Atomics.compareExchange(words, LOCK, FREE, HELD) === FREE) return;
    while (Atomics.exchange(words, LOCK, AWAITED) !== FREE) {
      Atomics.wait(words, LOCK, AWAITED);
    }
  }

  /** Gives the turn to the next. */
  unlock(): void {
    if (Atomics.exchange(this.#words, LOCK, FREE) === AWAITED) {
      Atomics.notify(this.#words, LOCK, 1);
    }
  }
}
