/** When a socket that fails is opened again. Pure; it is asked once a second. */

/** Asks of failing before the first try. */
const FIRST = 2;

/** Asks between two tries at most. */
const MAX = 10;

/** Doubles the time between tries as long as it fails. */
export class RetrySchedule {
  #left = FIRST;
  #wait = FIRST;

  /** Whether to try now. */
  due(failing: boolean): boolean {
    if (!failing) {
      this.#left = this.#wait = FIRST;
      return false;
    }
    if (--this.#left > 0) return false;
    this.#wait = Math.min(MAX, this.#wait * 2);
    this.#left = this.#wait;
    return true;
  }
}
