/**
 * Destinations that change while a role runs.
 *
 * 1. Each loop gets one sink, which sends to all destinations of now.
 * 2. `replace` opens sockets to the new ones, for every loop.
 * 3. The sinks send to them from the next batch on; the old sockets are closed
 *    when the batch under way is sent.
 * 4. What the old ones have sent stays in the figures.
 */
import { type Address, formatAddress } from "../../address.ts";
import type { DatagramBatch } from "../../engine/batch.ts";
import { SEND_COUNTERS } from "../../engine/datagram.ts";
import {
  closeAll,
  type Destinations,
  type DestinationStats,
  type ElsewhereDestinations,
} from "./destinations.ts";
import type { DatagramSink } from "./sink.ts";

/** Makes the destinations of a set of addresses. */
export type MakeDestinations = (addresses: readonly Address[]) => Destinations;

/** Has a loop of another thread send to other addresses; it disposes of what they share. */
export type PlacedLoop = (
  addresses: readonly Address[],
  sent: ElsewhereDestinations,
) => Promise<void>;

/** The destinations of a role's loops. */
export class LiveDestinations {
  readonly #make: MakeDestinations;
  readonly #loops = new Set<SwitchSink>();
  /** What sets that were replaced have sent: it stays in the figures. */
  #retired: DestinationStats[] = [];
  /** A set that is being replaced. */
  #leaving: Destinations | undefined;
  /** Relays in other threads. */
  readonly #placed = new Set<PlacedLoop>();
  #current: Destinations;

  constructor(make: MakeDestinations, addresses: readonly Address[]) {
    this.#make = make;
    this.#current = make(addresses);
  }

  /** Where the loops send now. */
  get addresses(): readonly Address[] {
    return this.#current.addresses;
  }

  /** The sink of one loop of this thread. */
  async open(): Promise<DatagramSink[]> {
    return this.#add(await this.#current.open());
  }

  /** The same, where a role that can reach none of them must not begin. */
  async openSome(): Promise<DatagramSink[]> {
    return this.#add(await this.#current.openSome());
  }

  #add(sinks: readonly DatagramSink[]): DatagramSink[] {
    const loop = new SwitchSink(sinks, () => this.#loops.delete(loop));
    this.#loops.add(loop);
    return [loop];
  }

  /** What a loop of another thread shares, until it is disposed of. */
  openElsewhere(): Promise<ElsewhereDestinations> {
    return this.#current.openElsewhere();
  }

  /** Whether all sockets are open, or which one is not. */
  ready(): true | string {
    return this.#current.ready();
  }

  /** Takes note of a loop of another thread, which is told of other destinations. */
  place(loop: PlacedLoop): void {
    this.#placed.add(loop);
  }

  /** Sends to other addresses from now on. Throws where one cannot be opened: all stays as it was. */
  async replace(addresses: readonly Address[]): Promise<void> {
    const next = this.#make(addresses);
    const loops = [...this.#loops];
    const opened: DatagramSink[][] = [];
    try {
      // Those of other threads are opened there, after these have shown that they can be.
      if (this.#placed.size > 0) await closeAll(await next.open());
      for (const _ of loops) opened.push(await next.open());
    } catch (error) {
      await closeAll(opened.flat());
      throw error;
    }
    const before = this.#leaving = this.#current;
    this.#current = next;
    try {
      await Promise.all(loops.map((loop, i) => loop.replace(opened[i]!)));
      for (const loop of this.#placed) {
        await loop(addresses, await next.openElsewhere());
      }
    } finally {
      this.#leaving = undefined;
      this.#retired = sumUp([...this.#retired, ...before.stats()]);
    }
  }

  /** Figures of each destination, of those that were replaced too. */
  stats(): DestinationStats[] {
    return sumUp([
      ...this.#current.stats(),
      ...this.#leaving?.stats() ?? [],
      ...this.#retired,
    ]);
  }

  /** Logs drops since the last call; called by a timer, never by a loop. */
  warnOfDrops(): void {
    this.#current.warnOfDrops();
  }
}

/** A row for each address. */
function sumUp(rows: readonly DestinationStats[]): DestinationStats[] {
  const sums = new Map<string, DestinationStats>();
  for (const row of rows) {
    const sum = sums.get(row.address);
    if (sum === undefined) sums.set(row.address, { ...row });
    else {
      for (const name of [...SEND_COUNTERS, "droppedDatagrams"] as const) {
        sum[name] += row[name];
      }
      sum.open &&= row.open;
      sum.losses += row.losses;
      sum.reopens += row.reopens;
    }
  }
  return [...sums.values()];
}

/** Whether two lists hold the same addresses, in any order. */
export function sameAddresses(
  one: readonly Address[],
  other: readonly Address[],
): boolean {
  const texts = new Set(one.map(formatAddress));
  return one.length === other.length &&
    other.every((address) => texts.has(formatAddress(address)));
}

/** Sends each batch to all of its sinks, which may be replaced between two batches. */
class SwitchSink implements DatagramSink {
  readonly #onClose: () => void;
  #sinks: readonly DatagramSink[];
  #writing: Promise<void> | undefined;
  #closed = false;

  constructor(sinks: readonly DatagramSink[], onClose: () => void) {
    this.#sinks = sinks;
    this.#onClose = onClose;
  }

  write(batch: DatagramBatch): Promise<void> | void {
    const sinks = this.#sinks;
    for (let i = 0; i < sinks.length; i++) {
      const pending = sinks[i]!.write(batch);
      if (pending) return this.#writing = this.#rest(batch, sinks, i, pending);
    }
  }

  async #rest(
    batch: DatagramBatch,
    sinks: readonly DatagramSink[],
    pendingAt: number,
    pending: Promise<void>,
  ): Promise<void> {
    await pending;
    for (let i = pendingAt + 1; i < sinks.length; i++) {
      await sinks[i]!.write(batch);
    }
    this.#writing = undefined;
  }

  async replace(sinks: readonly DatagramSink[]): Promise<void> {
    // The loop has ended meanwhile: nobody would close them.
    if (this.#closed) return await closeAll(sinks);
    const before = this.#sinks;
    this.#sinks = sinks;
    await this.#writing;
    await closeAll(before);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#onClose();
    await closeAll(this.#sinks);
  }
}
