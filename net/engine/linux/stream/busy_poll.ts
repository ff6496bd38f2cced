/**
 * Whether to ask for events a while before a wait that sleeps. To fall asleep
 * and be woken costs a thread some 20 µs on an idle core, twice per message
 * there and back; where one connection is asked and answered, that is half of
 * its latency (48 µs with this, 93 µs without, where nginx has 93).
 *
 * A thread that asks uses its core meanwhile. So only a turn with few events is
 * followed by it (with many, others want the core), and what was asked for in
 * vain is not asked for again for a number of turns that doubles each time.
 * Pure.
 */

/** How long it is asked, in milliseconds. */
export const SPIN_MS = 0.05;

/**
 * More events in a turn, on average, are many. A client who comes alone makes
 * two or three in a turn: with 1.5 here, new connections one after the other
 * were 0.91x and 0.84x nginx, with 3 they are 1.22x and 1.13x (two runs of 13
 * alternating turns on a machine with other work). Messages on 4, 10 and 50
 * connections stay as they were.
 */
const FEW_EVENTS = 3;

/** Share of the last turn in the average. */
const WEIGHT = 1 / 8;

/** Most turns without asking, after it was in vain. */
const MOST_SKIPPED = 128;

/** Decides by how it went before. */
export class Spin {
  #events = 0;
  #mean = 0;
  #skip = 0;
  #penalty = 1;

  /** Whether to ask before the next sleep. Each call is one sleep. */
  wanted(): boolean {
    if (this.#events === 0 || this.#mean > FEW_EVENTS) return false;
    if (this.#skip === 0) return true;
    this.#skip--;
    return false;
  }

  /** What asking has brought. */
  asked(events: number): void {
    if (events > 0) this.#penalty = 1;
    else {
      this.#skip = this.#penalty;
      this.#penalty = Math.min(2 * this.#penalty, MOST_SKIPPED);
    }
  }

  /** How many events a turn had, however it came to them. */
  happened(events: number): void {
    this.#events = events;
    this.#mean += (events - this.#mean) * WEIGHT;
  }
}
