/**
 * One deadline for each of many numbers, set and cancelled in constant time.
 * Deadlines hash into slots of {@linkcode TICK_MS}; one that is more than a
 * turn of the wheel away is looked at once per turn and stays. Pure: the clock
 * is an argument.
 */

/** Deadlines are met this much late at the most. */
export const TICK_MS = 10;

/** A turn takes ten seconds: as long as the longest deadline that is common. */
const SLOTS = 1024;

const NONE = -1;

/** Deadlines of the numbers from 0 on. */
export class TimerWheel {
  /** First number in each slot. */
  readonly #first: Int32Array = new Int32Array(SLOTS).fill(NONE);
  #next: Int32Array = new Int32Array(0);
  #before: Int32Array = new Int32Array(0);
  /** The tick at which each is due; negative where none is set. */
  #due: Float64Array = new Float64Array(0);
  /** The tick up to which all is done. */
  #tick: number;
  #count = 0;
  /** Those that have passed, and how many of them were told. */
  readonly #passed: number[] = [];
  #told = 0;
  /** No deadline is before this tick; exact or early. */
  #earliest = Infinity;

  constructor(nowMs: number) {
    this.#tick = Math.floor(nowMs / TICK_MS);
  }

  /** Deadlines that are set. */
  get size(): number {
    return this.#count;
  }

  /** Makes room for the numbers below `capacity`. */
  grow(capacity: number): void {
    const before = this.#due.length;
    this.#next = copied(this.#next, new Int32Array(capacity));
    this.#before = copied(this.#before, new Int32Array(capacity));
    this.#due = copied(this.#due, new Float64Array(capacity));
    this.#due.fill(NONE, before);
  }

  /** Sets or moves a deadline; Infinity cancels it. */
  set(number: number, dueMs: number): void {
    this.cancel(number);
    if (dueMs === Infinity) return;
    const tick = Math.max(Math.ceil(dueMs / TICK_MS), this.#tick + 1);
    const slot = tick % SLOTS;
    const first = this.#first[slot]!;
    this.#due[number] = tick;
    this.#next[number] = first;
    this.#before[number] = NONE;
    if (first !== NONE) this.#before[first] = number;
    this.#first[slot] = number;
    this.#count++;
    if (tick < this.#earliest) this.#earliest = tick;
  }

  /** Takes a deadline away, where there is one. */
  cancel(number: number): void {
    const tick = this.#due[number]!;
    if (tick < 0) return;
    const next = this.#next[number]!;
    const before = this.#before[number]!;
    if (before === NONE) this.#first[tick % SLOTS] = next;
    else this.#next[before] = next;
    if (next !== NONE) this.#before[next] = before;
    this.#due[number] = NONE;
    if (--this.#count === 0) this.#earliest = Infinity;
  }

  /** No deadline passes before this time; Infinity where none is set. */
  nextMs(): number {
    if (this.#told < this.#passed.length) return this.#tick * TICK_MS;
    return this.#earliest * TICK_MS;
  }

  /**
   * Cancels deadlines that have passed and calls `expired` for each, until
   * `enough` after one of them; the rest are told in the next call. What comes
   * between may settle what a deadline is about: `expired` looks for itself.
   */
  advance(
    nowMs: number,
    expired: (number: number) => void,
    enough: () => boolean = () => false,
  ): void {
    const target = Math.floor(nowMs / TICK_MS);
    if (target >= this.#earliest) this.#collect(target);
    else if (target > this.#tick) this.#tick = target;
    const passed = this.#passed;
    while (this.#told < passed.length) {
      expired(passed[this.#told++]!);
      if (enough()) break;
    }
    if (this.#told < passed.length) return;
    passed.length = 0;
    this.#told = 0;
  }

  /** Cancels deadlines that have passed, and remembers them. */
  #collect(target: number): void {
    // After a long sleep one turn of the wheel meets every slot.
    let tick = Math.max(this.#tick + 1, target - SLOTS + 1);
    this.#tick = Math.max(target, this.#tick);
    const passed = this.#passed;
    for (; tick <= target; tick++) {
      let number = this.#first[tick % SLOTS]!;
      while (number !== NONE) {
        const next = this.#next[number]!;
        if (this.#due[number]! <= target) {
          this.cancel(number);
          passed.push(number);
        }
        number = next;
      }
    }
    this.#earliest = this.#findEarliest();
  }

  #findEarliest(): number {
    if (this.#count === 0) return Infinity;
    for (let ahead = 1; ahead <= SLOTS; ahead++) {
      const tick = this.#tick + ahead;
      if (this.#first[tick % SLOTS] !== NONE) return tick;
    }
    return Infinity;
  }
}

function copied<A extends Int32Array | Float64Array>(from: A, to: A): A {
  to.set(from);
  return to;
}
