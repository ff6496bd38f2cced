/**
 * A queue that shares what comes out of it among sources: start-time fair
 * queueing. Every source has a tag in virtual time; the smallest goes first,
 * and moves on by what it took. A source that is charged more for failures
 * waits behind all others, and still gets its turn. Bounded. Pure.
 */

import type { Source as SourceName } from "../../source.ts";

/** Bounds of a queue. */
export interface FairQueueLimits {
  /** Items of all sources. */
  readonly maxItems: number;
  /** Items of one source. */
  readonly maxItemsPerSource: number;
  /** Bytes of all items. */
  readonly maxBytes: number;
}

interface Source<Item> {
  /** The first is the next. */
  readonly items: { readonly item: Item; readonly bytes: number }[];
  /** When it is its turn, in virtual time. */
  tag: number;
}

/** How many sources without items are remembered for what they are charged. */
const MAX_IDLE_SOURCES = 4096;

/** A fair, bounded queue; see the module. */
export class FairQueue<Item> {
  readonly #limits: FairQueueLimits;
  readonly #sources = new Map<SourceName, Source<Item>>();
  #now = 0;
  #size = 0;
  #bytes = 0;

  constructor(limits: FairQueueLimits) {
    this.#limits = limits;
  }

  /** How many items wait. */
  get size(): number {
    return this.#size;
  }

  /** Adds an item. False if there is no room, in all or for this source. */
  add(name: SourceName, item: Item, bytes: number): boolean {
    const { maxItems, maxItemsPerSource, maxBytes } = this.#limits;
    const waiting = this.#sources.get(name)?.items.length ?? 0;
    if (
      this.#size >= maxItems || waiting >= maxItemsPerSource ||
      this.#bytes + bytes > maxBytes
    ) return false;
    // Nobody waits, so nobody was wronged: old charges are forgotten.
    if (this.#size === 0) this.#sources.clear();
    const source = this.#source(name);
    // Who was idle saved nothing up, and owes what it was charged.
    if (waiting === 0) source.tag = Math.max(source.tag, this.#now);
    source.items.push({ item, bytes });
    this.#size++;
    this.#bytes += bytes;
    return true;
  }

  /** The next item. */
  take(): Item | undefined {
    let next: Source<Item> | undefined;
    for (const source of this.#sources.values()) {
      if (source.items.length === 0) continue;
      if (!next || source.tag < next.tag) next = source;
    }
    if (!next) return undefined;
    this.#now = next.tag;
    next.tag++;
    const { item, bytes } = next.items.shift()!;
    this.#size--;
    this.#bytes -= bytes;
    this.#forget();
    return item;
  }

  /** Takes an item out of its place. False if it is not there. */
  remove(name: SourceName, item: Item): boolean {
    const items = this.#sources.get(name)?.items ?? [];
    const index = items.findIndex((entry) => entry.item === item);
    if (index < 0) return false;
    this.#bytes -= items[index]!.bytes;
    items.splice(index, 1);
    this.#size--;
    this.#forget();
    return true;
  }

  /** Puts a source back by so many turns of its own. */
  charge(name: SourceName, turns: number): void {
    const source = this.#source(name);
    source.tag = Math.max(source.tag, this.#now) + turns;
    this.#forget();
  }

  #source(name: SourceName): Source<Item> {
    let source = this.#sources.get(name);
    if (!source) {
      source = { items: [], tag: this.#now };
      this.#sources.set(name, source);
    }
    return source;
  }

  /** Bounds what is remembered of sources without items; the oldest go first. */
  #forget(): void {
    let extra = this.#sources.size - this.#size - MAX_IDLE_SOURCES;
    if (extra <= 0) return;
    for (const [name, { items }] of this.#sources) {
      if (items.length > 0) continue;
      this.#sources.delete(name);
      if (--extra <= 0) return;
    }
  }
}
