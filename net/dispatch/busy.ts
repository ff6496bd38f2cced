/**
 * Lets the event loop run beside a loop that is always busy: signals, metrics
 * and TCP subscribers live there.
 */
import { setImmediate } from "node:timers";

/** How long a busy loop keeps the event loop waiting, in milliseconds. */
const BUSY_MS = 4;

/** Busy turns between two looks at the clock. */
const TURNS_PER_LOOK = 16;

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

  /** Lets the event loop run once. */
  async pause(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#paused = this.#now();
  }

  /** Takes note that the loop waited for something, so the event loop ran. */
  waited(): void {
    this.#turns = 0;
  }
}
