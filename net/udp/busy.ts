/**
 * Lets the event loop run beside a loop that is always busy: signals, metrics
 * and TCP subscribers live there.
 */

/** How long a busy loop keeps the event loop waiting, in milliseconds. */
const BUSY_MS = 4;

/** Busy turns between two looks at the clock. */
const TURNS_PER_LOOK = 16;

const NOTHING = new Uint8Array(0);

/** Counts a loop's turns and tells when the event loop is due. */
export class BusyLoop {
  readonly #now: () => number;
  #turns = 0;
  #paused: number;

  /** By a clock in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#paused = now();
  }

  /** Whether the event loop has waited long enough; cheap, for every turn. */
  due(): boolean {
    if (++this.#turns < TURNS_PER_LOOK) return false;
    this.#turns = 0;
    return this.over();
  }

  /** Whether the event loop has waited long enough, by the clock. */
  over(): boolean {
    return this.#now() - this.#paused >= BUSY_MS;
  }

  /**
   * Lets the event loop run once. It asks the system for events only where it
   * would sleep, or in every 61st turn: a chain of setImmediate, one in 4 ms,
   * made a scrape of the metrics take half a second. So the loop has to wait
   * for something, and the least that takes no permission, and not the 2 ms of a
   * timer, is a digest of nothing in another thread (0.1 ms, measured).
   */
  async pause(): Promise<void> {
    await crypto.subtle.digest("SHA-1", NOTHING);
    this.#paused = this.#now();
  }

  /** Takes note that the loop waited for something, so the event loop ran. */
  waited(): void {
    this.#turns = 0;
  }
}
