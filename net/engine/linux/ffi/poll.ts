/** poll(2) over two descriptors, one of which may be absent. */
import { EINTR } from "./constants.ts";
import { SystemCallError } from "./errno.ts";
import type { Libc } from "./libc.ts";
import { pollfd } from "./structs.ts";

/** Words of a `struct pollfd`: the descriptor, then events and revents. */
const WORDS = pollfd.size / 4;

/** Two descriptors to wait for, made once and used for every wait. */
export class PollPair {
  readonly #libc: Libc;
  // Off V8's heap: a wait aside keeps its address while JavaScript goes on.
  readonly #words: Int32Array<ArrayBuffer> = new Int32Array(
    new ArrayBuffer(2 * pollfd.size),
  );

  /** A negative descriptor is passed over, as poll(2) says. */
  constructor(
    libc: Libc,
    first: number,
    firstEvents: number,
    second = -1,
    secondEvents = 0,
  ) {
    this.#libc = libc;
    this.#words.set([first, firstEvents, second, secondEvents]);
  }

  /** Waits with the thread; -1 waits for ever. Whether something was found: an interrupted wait has ended. */
  wait(timeoutMs: number): boolean {
    const { symbols } = this.#libc;
    const found = symbols.poll(this.#words, 2n, timeoutMs);
    if (found >= 0) return found > 0;
    const errno = this.#libc.errno();
    if (errno !== EINTR) throw new SystemCallError("poll", errno);
    this.#words[1]! &= 0xffff;
    this.#words[WORDS + 1]! &= 0xffff;
    return false;
  }

  /** Waits on a thread of Deno's pool; one wait at a time. */
  waitAside(timeoutMs: number): Promise<unknown> {
    return this.#libc.symbols.pollAside(this.#words, 2n, timeoutMs);
  }

  /** Whether the last wait found something on the second descriptor. */
  get secondReady(): boolean {
    return this.#words[WORDS + 1]! >>> 16 !== 0;
  }
}
