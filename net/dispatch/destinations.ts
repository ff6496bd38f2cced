/** All destinations of a role: a socket each for every loop, one set of figures each. */
import { type Address, formatAddress } from "../address.ts";
import { type DatagramEngine, SEND_COUNTERS } from "../engine/engine.ts";
import { CounterBlock } from "../observe/counters.ts";
import type { Log } from "../observe/log.ts";
import { Destination, type SendCounterName } from "./destination.ts";
import { type DispatchOptions, sendingInterface } from "./options.ts";

/** A destination's figures. */
export interface DestinationStats extends Record<SendCounterName, number> {
  /** Where it sends. */
  address: string;
  /** All drops together. */
  droppedDatagrams: number;
}

/** How long a full send queue may hold up all others, in milliseconds. */
export const RELAY_WAIT_MS = 5;

/** Opens the destinations of a role's loops and sums up what they count. */
export class Destinations {
  readonly addresses: readonly Address[];
  readonly #engine: DatagramEngine;
  readonly #options: DispatchOptions;
  readonly #maxWaitMs: number;
  readonly #log: Log;
  readonly #here: CounterBlock<SendCounterName>[];
  readonly #elsewhere: CounterBlock<SendCounterName>[][];
  readonly #warned: number[];

  constructor(
    engine: DatagramEngine,
    addresses: readonly Address[],
    options: DispatchOptions,
    log: Log,
    maxWaitMs: number = RELAY_WAIT_MS,
  ) {
    this.#engine = engine;
    this.addresses = addresses;
    this.#options = options;
    this.#log = log;
    this.#maxWaitMs = maxWaitMs;
    this.#here = addresses.map(() => new CounterBlock(SEND_COUNTERS));
    this.#elsewhere = addresses.map(() => []);
    this.#warned = addresses.map(() => 0);
  }

  /** A socket to each destination, for one loop of this thread. */
  async open(): Promise<Destination[]> {
    const opened: Destination[] = [];
    try {
      for (const [i, address] of this.addresses.entries()) {
        const { networkInterface, ttl, loop } = this.#options;
        opened.push(
          await Destination.open(this.#engine, {
            address,
            networkInterface: sendingInterface(address, networkInterface),
            ttl,
            loop,
            maxWaitMs: this.#maxWaitMs,
            counters: this.#here[i]!,
            onWarning: (message) => this.#log.warn(message),
          }),
        );
      }
      return opened;
    } catch (error) {
      await closeAll(opened);
      throw error;
    }
  }

  /** Slots for a loop of another thread: a block for each destination. */
  countElsewhere(): CounterBlock<SendCounterName>[] {
    return this.#elsewhere.map((blocks) => {
      const block = new CounterBlock(SEND_COUNTERS);
      blocks.push(block);
      return block;
    });
  }

  /** Figures of each destination, over all loops. */
  stats(): DestinationStats[] {
    return this.addresses.map((address, i) => {
      const sum = new CounterBlock(SEND_COUNTERS);
      for (const block of [this.#here[i]!, ...this.#elsewhere[i]!]) {
        for (const [slot, value] of block.slots.entries()) {
          sum.slots[slot]! += value;
        }
      }
      const counters = sum.read();
      const droppedDatagrams = SEND_COUNTERS.reduce(
        (all, name) => name.startsWith("dropped") ? all + counters[name] : all,
        0,
      );
      return { address: formatAddress(address), ...counters, droppedDatagrams };
    });
  }

  /** Logs drops since the last look; called by a timer, never by a loop. */
  warnOfDrops(): void {
    for (const [i, stats] of this.stats().entries()) {
      const more = stats.droppedDatagrams - this.#warned[i]!;
      if (more === 0) continue;
      this.#warned[i] = stats.droppedDatagrams;
      this.#log.limited(
        `drops ${stats.address}`,
        "destination drops datagrams",
        {
          address: stats.address,
          dropped: more,
          reasons: dropReasons(stats),
        },
      );
    }
  }
}

/** `refused 3, tooBig 1` of a destination's figures. */
export function dropReasons(stats: DestinationStats): string {
  return SEND_COUNTERS.filter((name) =>
    name.startsWith("dropped") && stats[name] > 0
  )
    .map((name) =>
      `${name.charAt(7).toLowerCase()}${name.slice(8)} ${stats[name]}`
    )
    .join(", ");
}

/** Closes sinks, all of them. */
export async function closeAll(
  sinks: readonly AsyncDisposable[],
): Promise<void> {
  await Promise.all(sinks.map((sink) => sink[Symbol.asyncDispose]()));
}
