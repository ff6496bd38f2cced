/** Tables of peers and of their sources, as typed arrays. Pure. */
import type { Source } from "./source.ts";

/** Slots there can be: a ticket is a slot's number plus a multiple of this, its generation. */
export const SLOTS = 2 ** 24;

/** States that have a deadline, and so a list. */
export const Waiting = { unproved: 0, idle: 1 } as const;

/** Neither a deadline nor a list. */
export const PROVED = 2;

const FREE = 3;

/** No slot, or no source. */
export const NONE = -1;

const FIRST_CAPACITY = 64;

/** Peers by slot. */
export class SlotTable<Owner> {
  readonly owner: (Owner | undefined)[] = [];
  state = new Uint8Array(0);
  source = new Int32Array(0);
  sinceMs = new Float64Array(0);
  bytes = new Float64Array(0);
  #generation = new Uint32Array(0);
  readonly #free: number[] = [];

  take(owner: Owner, source: number): number {
    if (this.#free.length === 0) this.#grow();
    const slot = this.#free.pop()!;
    this.owner[slot] = owner;
    this.source[slot] = source;
    this.bytes[slot] = 0;
    return slot;
  }

  give(slot: number): void {
    this.owner[slot] = undefined;
    this.state[slot] = FREE;
    // 2^29 generations of 2^24 slots are exact numbers.
    this.#generation[slot] = (this.#generation[slot]! + 1) % 2 ** 29;
    this.#free.push(slot);
  }

  ticket(slot: number): number {
    return this.#generation[slot]! * SLOTS + slot;
  }

  /** The slot of a ticket, or NONE where it was given back. */
  find(ticket: number): number {
    if (!(ticket >= 0)) return NONE;
    const slot = ticket % SLOTS;
    return slot < this.state.length && this.state[slot] !== FREE &&
        this.ticket(slot) === ticket
      ? slot
      : NONE;
  }

  #grow(): void {
    const from = this.state.length;
    const capacity = Math.max(FIRST_CAPACITY, 2 * from);
    this.state = grown(this.state, capacity);
    this.source = grown(this.source, capacity);
    this.sinceMs = grown(this.sinceMs, capacity);
    this.bytes = grown(this.bytes, capacity);
    this.#generation = grown(this.#generation, capacity);
    this.state.fill(FREE, from);
    for (let slot = capacity - 1; slot >= from; slot--) this.#free.push(slot);
  }
}

/** A doubly linked list of slots. */
export class SlotList {
  head = NONE;
  tail = NONE;
  #next = new Int32Array(0);
  #previous = new Int32Array(0);

  append(slot: number): void {
    if (slot >= this.#next.length) {
      const capacity = Math.max(FIRST_CAPACITY, 2 * slot);
      this.#next = grown(this.#next, capacity);
      this.#previous = grown(this.#previous, capacity);
    }
    this.#next[slot] = NONE;
    this.#previous[slot] = this.tail;
    if (this.tail === NONE) this.head = slot;
    else this.#next[this.tail] = slot;
    this.tail = slot;
  }

  remove(slot: number): void {
    const next = this.#next[slot]!;
    const previous = this.#previous[slot]!;
    if (previous === NONE) this.head = next;
    else this.#next[previous] = next;
    if (next === NONE) this.tail = previous;
    else this.#previous[next] = previous;
  }
}

/** Sources that have peers, each with its number of them and its lists' ends. */
export class SourceTable {
  readonly #indexes = new Map<Source, number>();
  readonly #names: Source[] = [];
  readonly #free: number[] = [];
  #counts = new Int32Array(0);
  /** First and last slots, by state. */
  heads = [new Int32Array(0), new Int32Array(0)];
  #tails = [new Int32Array(0), new Int32Array(0)];

  find(source: Source): number {
    return this.#indexes.get(source) ?? NONE;
  }

  name(index: number): Source {
    return this.#names[index]!;
  }

  count(source: Source): number {
    const index = this.find(source);
    return index === NONE ? 0 : this.#counts[index]!;
  }

  /** The source's index, with one peer more. */
  enter(source: Source): number {
    let index = this.find(source);
    if (index === NONE) {
      if (this.#free.length === 0) this.#grow();
      index = this.#free.pop()!;
      this.#indexes.set(source, index);
      this.#names[index] = source;
    }
    this.#counts[index]!++;
    return index;
  }

  /** One peer less; a source without any is forgotten. */
  leave(index: number): void {
    if (--this.#counts[index]! > 0) return;
    this.#indexes.delete(this.#names[index]!);
    this.#free.push(index);
  }

  /** Lends a list the ends that it has within a source. */
  load(index: number, state: number, list: SlotList): void {
    list.head = this.heads[state]![index]!;
    list.tail = this.#tails[state]![index]!;
  }

  store(index: number, state: number, list: SlotList): void {
    this.heads[state]![index] = list.head;
    this.#tails[state]![index] = list.tail;
  }

  #grow(): void {
    const from = this.#counts.length;
    const capacity = Math.max(FIRST_CAPACITY, 2 * from);
    this.#counts = grown(this.#counts, capacity);
    for (const ends of [this.heads, this.#tails]) {
      for (const state of [Waiting.unproved, Waiting.idle]) {
        ends[state] = grown(ends[state]!, capacity).fill(NONE, from);
      }
    }
    for (let index = capacity - 1; index >= from; index--) {
      this.#free.push(index);
    }
  }
}

function grown<T extends Uint8Array | Int32Array | Uint32Array | Float64Array>(
  array: T,
  capacity: number,
): T {
  const larger = new (array.constructor as new (length: number) => T)(capacity);
  larger.set(array as never);
  return larger;
}
