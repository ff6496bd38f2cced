/**
 * All destinations of a role: a socket each for every loop, one set of figures
 * each. While sockets are open, it resolves names again and has sockets checked
 * when the network changes or when sends fail for long.
 */
import { type Address, formatAddress } from "../../address.ts";
import { type DatagramEngine, SEND_COUNTERS } from "../../engine/datagram.ts";
import { SocketState } from "../../engine/socket_state.ts";
import { OperationError } from "../../errors.ts";
import { CounterBlock } from "../../observe/counters.ts";
import type { Log } from "../../observe/log.ts";
import { Destination, type SendCounterName } from "./destination.ts";
import { type DispatchOptions, sendingInterface } from "../options.ts";
import { ResolvedName } from "../resolver.ts";
import { RetrySchedule } from "../retry_schedule.ts";

/** A destination's figures. */
export interface DestinationStats extends Record<SendCounterName, number> {
  /** Where it sends. */
  address: string;
  /** All drops together. */
  droppedDatagrams: number;
  /** Whether all its sockets are open. */
  open: boolean;
  /** Times that it was lost. */
  losses: number;
  /** Times that it was opened again. */
  reopens: number;
}

/** How long a full send queue may hold up all others, in milliseconds. */
export const RELAY_WAIT_MS = 5;

/** How often a name is resolved again where nobody says, in milliseconds. */
export const DEFAULT_RESOLVE_INTERVAL_MS = 30_000;

/** How often sends are looked at, in milliseconds. */
const WATCH_MS = 1000;

/** Opens the destinations of a role's loops and sums up what they count. */
export class Destinations {
  readonly addresses: readonly Address[];
  readonly #engine: DatagramEngine;
  readonly #options: DispatchOptions;
  readonly #maxWaitMs: number;
  readonly #log: Log;
  readonly #entries: readonly DestinationEntry[];
  readonly #open = new Set<OpenDestination>();
  #watch: AsyncDisposable | undefined;

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
    const intervalMs = options.resolveIntervalMs ?? DEFAULT_RESOLVE_INTERVAL_MS;
    this.#entries = addresses.map((address) => ({
      address,
      name: new ResolvedName(address, intervalMs, log),
      here: new CounterBlock(SEND_COUNTERS),
      elsewhere: [],
      retry: new RetrySchedule(),
      warned: 0,
      sent: 0,
      failed: 0,
      wasLost: false,
      losses: 0,
      reopens: 0,
    }));
  }

  /**
   * A socket to each destination, for one loop of this thread. One that cannot
   * be reached now is opened later; throws for what waiting cannot change.
   */
  async open(): Promise<Destination[]> {
    const opened: Destination[] = [];
    try {
      await this.resolved();
      for (const entry of this.#entries) {
        opened.push(await this.#openOne(entry));
      }
      return opened;
    } catch (error) {
      await closeAll(opened);
      throw error;
    }
  }

  /** The same, where a role that can reach none of them must not begin. */
  async openSome(): Promise<Destination[]> {
    const opened = await this.open();
    if (opened.length === 0 || opened.some(({ state }) => state.open)) {
      return opened;
    }
    await closeAll(opened);
    const [{ address, reason }] = this.#entries as [DestinationEntry];
    throw new OperationError(
      `Cannot send to ${formatAddress(address)}: ${reason ?? "it is lost"}`,
    );
  }

  /** Resolves when every name has an answer, or has none for now. */
  async resolved(): Promise<void> {
    await Promise.all(this.#entries.map(({ name }) => name.first()));
  }

  async #openOne(entry: DestinationEntry): Promise<Destination> {
    const { networkInterface, ttl, loop } = this.#options;
    const { address } = entry;
    const state = new SocketState();
    state.hostnames = entry.name.hostnames;
    const open: OpenDestination = { entry, state, destination: undefined };
    const destination = await Destination.open(this.#engine, {
      address,
      networkInterface: sendingInterface(address, networkInterface),
      ttl,
      loop,
      maxWaitMs: this.#maxWaitMs,
      counters: entry.here,
      state,
      onWarning: (message) => this.#log.warn(message),
      onLost: (reason) => this.#lost(entry, reason),
    }, () => this.#remove(open));
    open.destination = destination;
    this.#add(open);
    return destination;
  }

  /** Counters and states for a loop of another thread, until they are disposed of. */
  async openElsewhere(): Promise<ElsewhereDestinations> {
    await this.resolved();
    const opened = this.#entries.map((entry) => {
      const counters = new CounterBlock(SEND_COUNTERS);
      entry.elsewhere.push(counters);
      const state = new SocketState();
      state.hostnames = entry.name.hostnames;
      const open: OpenDestination = { entry, state, destination: undefined };
      this.#add(open);
      return { counters, open };
    });
    return {
      counters: opened.map(({ counters }) => counters),
      states: opened.map(({ open }) => open.state),
      onLost: (index, reason) => this.#lost(this.#entries[index]!, reason),
      [Symbol.asyncDispose]: async () => {
        for (const { open } of opened) await this.#remove(open);
      },
    };
  }

  #add(open: OpenDestination): void {
    this.#open.add(open);
    if (this.#watch !== undefined) return;
    const network = this.#engine.watchNetwork(() => this.#checkAll());
    const timer = setInterval(() => this.#look(), WATCH_MS);
    this.#watch = {
      [Symbol.asyncDispose]: () => {
        clearInterval(timer);
        return network[Symbol.asyncDispose]();
      },
    };
  }

  async #remove(open: OpenDestination): Promise<void> {
    if (!this.#open.delete(open)) return;
    open.entry.losses += open.state.losses;
    open.entry.reopens += open.state.reopens;
    if (this.#open.size > 0) return;
    const watch = this.#watch;
    this.#watch = undefined;
    await watch?.[Symbol.asyncDispose]();
  }

  /** The network has changed. */
  #checkAll(): void {
    for (const open of this.#open) check(open);
  }

  /** Once a second: names, sends that fail, lost sockets. */
  #look(): void {
    for (const entry of this.#entries) {
      const { sent, failed, refused } = this.#progress(entry);
      const sockets = this.#socketsOf(entry);
      const lost = sockets.some(({ state }) => !state.open);
      if (entry.wasLost && !lost && sockets.length > 0) {
        this.#log.info("destination reachable again", {
          address: formatAddress(entry.address),
        });
      }
      entry.wasLost = lost;
      const failing = lost || failed > 0 && sent <= 0;
      if (entry.retry.due(failing)) {
        for (const open of sockets) check(open, !lost);
      }
      void this.#refresh(entry, failing || refused > 0);
    }
  }

  async #refresh(entry: DestinationEntry, failing: boolean): Promise<void> {
    if (!await entry.name.refresh(failing)) return;
    for (const open of this.#socketsOf(entry)) {
      open.state.hostnames = entry.name.hostnames;
      check(open);
    }
    this.#log.info("destination resolved", {
      address: formatAddress(entry.address),
      to: entry.name.hostnames[0],
    });
  }

  /** What was sent and what failed since the last look. */
  #progress(entry: DestinationEntry) {
    const counters = sumOf(entry);
    const failed = counters.droppedUnreachable + counters.droppedOther;
    const refused = counters.droppedRefused - (entry.refused ?? 0);
    const since = {
      sent: counters.sentDatagrams - entry.sent,
      failed: failed - entry.failed,
      refused,
    };
    entry.sent = counters.sentDatagrams;
    entry.failed = failed;
    entry.refused = counters.droppedRefused;
    return since;
  }

  #socketsOf(entry: DestinationEntry): OpenDestination[] {
    return [...this.#open].filter((open) => open.entry === entry);
  }

  /** Logs the loss of a destination, once for all its sockets. */
  #lost(entry: DestinationEntry, reason: string): void {
    entry.reason = reason;
    if (entry.wasLost) return;
    entry.wasLost = true;
    this.#log.warn("destination lost, trying again", {
      address: formatAddress(entry.address),
      reason,
    });
  }

  /** Whether all sockets are open, or which one is not. */
  ready(): true | string {
    for (const { entry, state } of this.#open) {
      if (!state.open) {
        return `destination ${formatAddress(entry.address)} is lost`;
      }
    }
    return true;
  }

  /** Figures of each destination, over all loops. */
  stats(): DestinationStats[] {
    return this.#entries.map((entry) => {
      const counters = sumOf(entry);
      const droppedDatagrams = SEND_COUNTERS.reduce(
        (all, name) => name.startsWith("dropped") ? all + counters[name] : all,
        0,
      );
      const states = this.#socketsOf(entry).map(({ state }) => state);
      const sum = (figure: (state: SocketState) => number) =>
        states.reduce((all, state) => all + figure(state), 0);
      return {
        address: formatAddress(entry.address),
        ...counters,
        droppedDatagrams,
        open: states.every(({ open }) => open),
        losses: entry.losses + sum(({ losses }) => losses),
        reopens: entry.reopens + sum(({ reopens }) => reopens),
      };
    });
  }

  /** Logs drops since the last look; called by a timer, never by a loop. */
  warnOfDrops(): void {
    for (const [i, stats] of this.stats().entries()) {
      const entry = this.#entries[i]!;
      const more = stats.droppedDatagrams - entry.warned;
      if (more === 0) continue;
      entry.warned = stats.droppedDatagrams;
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

/** What the loop of another thread shares; disposed of when the loop has ended. */
export interface ElsewhereDestinations extends AsyncDisposable {
  /** A block for each destination. */
  readonly counters: readonly CounterBlock<SendCounterName>[];
  /** A state for each destination. */
  readonly states: readonly SocketState[];
  /** Called when the loop has lost a destination, with the reason. */
  readonly onLost: (index: number, reason: string) => void;
}

/** One destination, over all its sockets. */
interface DestinationEntry {
  readonly address: Address;
  readonly name: ResolvedName;
  readonly here: CounterBlock<SendCounterName>;
  readonly elsewhere: CounterBlock<SendCounterName>[];
  readonly retry: RetrySchedule;
  /** Drops that were logged. */
  warned: number;
  /** Counters as of the last look. */
  sent: number;
  failed: number;
  refused?: number;
  wasLost: boolean;
  reason?: string;
  /** Of sockets that were closed. */
  losses: number;
  reopens: number;
}

/** One socket. */
interface OpenDestination {
  readonly entry: DestinationEntry;
  readonly state: SocketState;
  /** Where it is of this thread. */
  destination: Destination | undefined;
}

/** Has a socket checked: at once in this thread, with the next batch or wait in another. */
function check({ state, destination }: OpenDestination, force = false): void {
  state.requestCheck(force);
  void destination?.flush();
}

function sumOf(
  { here, elsewhere }: DestinationEntry,
): Record<SendCounterName, number> {
  const sum = new CounterBlock(SEND_COUNTERS);
  for (const { slots } of [here, ...elsewhere]) {
    for (const [slot, value] of slots.entries()) sum.slots[slot]! += value;
  }
  return sum.read();
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
