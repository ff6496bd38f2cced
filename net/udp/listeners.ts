/**
 * All listeners of a role: a relay each, here or in a Worker, with their
 * figures. While they are open, their sockets are checked when the network
 * changes, and opened again as long as that fails.
 */
import { type Address, formatAddress, isUnspecified } from "../address.ts";
import type { DatagramEngine } from "../engine/datagram.ts";
import { ReopeningListener } from "../engine/reopening_listener.ts";
import { SocketState } from "../engine/socket_state.ts";
import { type OperationError, UsageError } from "../errors.ts";
import { CounterBlock } from "../observe/counters.ts";
import type { Log } from "../observe/log.ts";
import {
  type PlacedRelay,
  placeRelay,
  placeRelayUnavailable,
} from "./worker/start_loop.ts";
import type {
  ListenPlan,
  PlannedDestination,
  PlannedLog,
} from "./worker/loop_plan.ts";
import type { Task } from "../tasks.ts";
import { closeAll, RELAY_WAIT_MS } from "./sinks/destinations.ts";
import type { LiveDestinations } from "./sinks/live_destinations.ts";
import { type DispatchOptions, sendingInterface } from "./options.ts";
import { countDrops, RECEIVE_COUNTERS, Relay } from "./datagram_loop.ts";
import { loopGuardOf } from "./report_loop.ts";
import { RetrySchedule } from "./retry_schedule.ts";
import type { DatagramSink } from "./sinks/sink.ts";

/** One of {@linkcode RECEIVE_COUNTERS}. */
export type ReceiveCounterName = typeof RECEIVE_COUNTERS[number];

/** A listener's figures. */
export interface ListenerStats extends Record<ReceiveCounterName, number> {
  /** Where it listens, with the real port. */
  address: string;
  /** Whether its socket is open. */
  open: boolean;
  /** Times that it was lost. */
  losses: number;
  /** Times that it was opened again. */
  reopens: number;
  /** Milliseconds since it last received, or since the start; exact to a second. */
  silentMs: number;
}

/** How often listeners are looked at, in milliseconds. */
const WATCH_MS = 1000;

/** What listeners are made of. */
export interface ListenersOptions {
  engine: DatagramEngine;
  /** Where to listen; a group is joined. */
  addresses: readonly Address[];
  /** The role's options. */
  options: DispatchOptions;
  log: Log;
  /** UDP destinations of every listener. */
  destinations?: LiveDestinations | undefined;
  /**
   * Other sinks of a listener; who made them closes them. They keep its relay
   * in this thread, unless a log can take their place.
   */
  sinksOf?: ((address: Address) => readonly DatagramSink[]) | undefined;
  /**
   * Whether a log can take the place of `sinksOf`: where the listeners are
   * `placed`, `openLogs` is then called before their tasks run.
   * @default {false}
   */
  logsInstead?: boolean | undefined;
  /** Whether no other listener and no stream is served in this thread. @default {false} */
  alone?: boolean | undefined;
  /** Threads for each unicast address, the kernel spreading senders over them. @default {1} */
  workers?: number | undefined;
}

/** Listens on all addresses and relays what comes. */
export class Listeners implements AsyncDisposable {
  /** The relays, to be run. */
  readonly tasks: readonly Task[];
  /** Whether they are in Workers; else in this thread. */
  readonly placed: boolean;
  readonly #relays: readonly OpenRelay[];
  readonly #log: Log;
  readonly #readyWithinMs: number;
  readonly #watch: AsyncDisposable;

  private constructor(
    relays: readonly OpenRelay[],
    placed: boolean,
    { log, engine, options }: ListenersOptions,
  ) {
    this.#relays = relays;
    this.placed = placed;
    this.#log = log;
    this.#readyWithinMs = options.readyWithinMs ?? Infinity;
    this.tasks = relays.map((relay) => relay.task);
    const network = engine.watchNetwork(() => {
      for (const relay of relays) check(relay);
    });
    const timer = setInterval(() => this.#look(), WATCH_MS);
    this.#watch = {
      [Symbol.asyncDispose]: () => {
        clearInterval(timer);
        return network[Symbol.asyncDispose]();
      },
    };
  }

  /**
   * Opens all, or none. A listener whose address or interface is missing opens
   * later; throws for what waiting cannot change.
   */
  static async open(options: ListenersOptions): Promise<Listeners> {
    const { engine, addresses, log, sinksOf, logsInstead = false } = options;
    const { workers = 1, alone = false } = options;
    const holds = (options.options.holdsThread ?? false) && alone &&
      addresses.length === 1 && workers === 1;
    const unplaceable = placeRelayUnavailable();
    if (workers > 1 && unplaceable !== undefined) {
      throw new UsageError(
        `Cannot receive with ${workers} workers: ${unplaceable}`,
      );
    }
    const placed = engine.name === "linux" && unplaceable === undefined &&
      (sinksOf === undefined || logsInstead) &&
      (addresses.length > 1 || workers > 1);
    const relays: OpenRelay[] = [];
    try {
      for (const address of addresses) {
        for (let worker = 0; worker < workers; worker++) {
          // Shards share the port that the first one got.
          const port = worker === 0
            ? address.port
            : relays.at(-1)!.address().port;
          const at: ListenPlan = {
            address: { ...address, port },
            networkInterface: options.options.networkInterface,
            receiveBufferBytes: options.options.receiveBufferBytes,
            reusePort: workers > 1,
            ownsPort: worker > 0 || sharesTwinsPort(engine, address, addresses),
            sharePort: options.options.sharePort,
            v6Only: hasIpv4Twin(address, addresses),
          };
          relays.push(
            placed
              ? await openElsewhere(options, at)
              : await openHere(options, at, holds),
          );
        }
      }
    } catch (error) {
      await closeAll(relays);
      throw error;
    }
    for (const { address, state } of relays) {
      if (state.open) {
        log.info("listening", { address: formatAddress(address()) });
      }
    }
    return new Listeners(relays, placed, options);
  }

  /**
   * Has each relay in a Worker write to a log as well, before it runs. Throws
   * where a file cannot be opened; `onEnd` is called for each log that takes
   * nothing more.
   */
  async openLogs(
    logOf: (address: Address) => PlannedLog,
    onEnd: (reason: OperationError) => void,
  ): Promise<void> {
    for (const { address, placed } of this.#relays) {
      await placed?.openLog(logOf(address()), onEnd);
    }
  }

  /** Where they listen, with the real ports. */
  get addresses(): Address[] {
    return this.#relays.map(({ address }) => address());
  }

  /** Figures of each listener; shards of one address are rows of their own. */
  stats(): ListenerStats[] {
    return this.#relays.map((relay) => {
      relay.look?.();
      noteArrivals(relay);
      const { state } = relay;
      return {
        address: formatAddress(relay.address()),
        ...relay.counters.read(),
        open: state.open,
        losses: state.losses,
        reopens: state.reopens,
        silentMs: performance.now() - relay.receivedMs,
      };
    });
  }

  /**
   * Whether every listener is open and has received within `readyWithinMs`, or
   * what is missing. Shards of one address count as one: senders are spread.
   */
  ready(): true | string {
    const silent = new Map<string, number>();
    for (const { address, open, silentMs } of this.stats()) {
      if (!open) return `listener ${address} is lost`;
      silent.set(address, Math.min(silent.get(address) ?? Infinity, silentMs));
    }
    for (const [address, silentMs] of silent) {
      if (silentMs <= this.#readyWithinMs) continue;
      return `listener ${address} received nothing for ${
        Math.floor(silentMs / 1000)
      } s`;
    }
    return true;
  }

  /** Logs drops since the last look; called by a timer, never by a loop. */
  warnOfDrops(): void {
    for (const [i, { address, droppedKernel }] of this.stats().entries()) {
      const relay = this.#relays[i]!;
      const more = droppedKernel - relay.warned;
      if (more === 0) continue;
      relay.warned = droppedKernel;
      this.#log.limited(
        `kernel drops ${address}`,
        "the kernel drops datagrams that come faster than they are taken: raise the receive buffer (rcvbuf)",
        { address, dropped: more },
      );
    }
  }

  /** Once a second: arrivals, and lost sockets. */
  #look(): void {
    for (const relay of this.#relays) {
      noteArrivals(relay);
      const { open, losses } = relay.state;
      if (open && losses > relay.reported) {
        relay.reported = losses;
        this.#log.info(relay.wasOpen ? "listening again" : "listening", {
          address: formatAddress(relay.address()),
        });
      }
      relay.wasOpen ||= open;
      if (relay.retry.due(!open)) check(relay);
    }
  }

  /** Ends the relays that still run, then closes their sockets. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#watch[Symbol.asyncDispose]();
    await closeAll(this.#relays);
  }
}

interface OpenRelay extends AsyncDisposable {
  /** The bound address, or the one to be bound. */
  address: () => Address;
  counters: CounterBlock<ReceiveCounterName>;
  state: SocketState;
  task: Task;
  /** Counts drops of a relay in this thread that waits for more to come. */
  look?: () => void;
  /** Ends the wait of a relay in this thread. */
  wake?: () => void;
  /** The same in a Worker, where it is there. */
  placed?: PlacedRelay;
  retry: RetrySchedule;
  /** Whether it was ever open. */
  wasOpen: boolean;
  /** Losses whose end was logged. */
  reported: number;
  /** Drops that were logged. */
  warned: number;
  /** Datagrams as of the last look, and when their number changed last. */
  received: number;
  receivedMs: number;
}

/** What a relay starts with. */
function unwatched(state: SocketState) {
  return {
    state,
    retry: new RetrySchedule(),
    wasOpen: state.open,
    reported: 0,
    warned: 0,
    received: 0,
    receivedMs: performance.now(),
  };
}

/** Has a socket checked: at once in this thread, at its next look in another. */
function check({ state, wake }: OpenRelay): void {
  state.requestCheck();
  wake?.();
}

function noteArrivals(relay: OpenRelay): void {
  const { receivedDatagrams } = relay.counters.read();
  if (receivedDatagrams === relay.received) return;
  relay.received = receivedDatagrams;
  relay.receivedMs = performance.now();
}

/** Whether the role listens on 0.0.0.0 beside `[::]`, which then leaves IPv4 to it. */
function hasIpv4Twin(
  { hostname, port }: Address,
  addresses: readonly Address[],
): boolean {
  return port !== 0 && hostname.includes(":") && isUnspecified(hostname) &&
    addresses.some((one) =>
      one.port === port && !one.hostname.includes(":") &&
      isUnspecified(one.hostname)
    );
}

/**
 * Whether `[::]` is open on the port of 0.0.0.0 already and, in an engine that
 * cannot leave IPv4 out, looks like another program's.
 */
function sharesTwinsPort(
  engine: DatagramEngine,
  address: Address,
  addresses: readonly Address[],
): boolean {
  const { hostname, port } = address;
  if (engine.name !== "portable" || !isUnspecified(hostname)) return false;
  return !hostname.includes(":") &&
    addresses.slice(0, addresses.indexOf(address)).some((one) =>
      one.port === port && one.hostname.includes(":") &&
      isUnspecified(one.hostname)
    );
}

function lost(log: Log, address: Address): (reason: string) => void {
  return (reason) =>
    log.warn("not listening, trying again", {
      address: formatAddress(address),
      reason,
    });
}

async function openHere(
  { engine, log, destinations, sinksOf }: ListenersOptions,
  plan: ListenPlan,
  holds: boolean,
): Promise<OpenRelay> {
  // The port first: the system gives a sender any port that is free, also this one.
  const state = new SocketState();
  const listener = await ReopeningListener.open(engine, {
    ...plan,
    state,
    onWarning: (message) => log.warn(message),
    onNote: (message) => log.once(message),
    onLost: lost(log, plan.address),
  });
  let own: DatagramSink[];
  try {
    own = await destinations?.open() ?? [];
  } catch (error) {
    listener[Symbol.dispose]();
    throw error;
  }
  const counters = new CounterBlock(RECEIVE_COUNTERS);
  const sinks = [...own, ...sinksOf?.(listener.address) ?? []];
  const relay = new Relay({
    listener,
    sinks,
    counters: counters.slots,
    holds,
    loopGuard: own.length === 0 ? undefined : loopGuardOf(
      listener.address,
      (key, message, fields) => log.limited(key, message, fields),
    ),
  });
  let running: Promise<void> | undefined;
  return {
    ...unwatched(state),
    address: () => listener.address,
    counters,
    look: () => countDrops(listener, counters.slots),
    wake: () => listener.wake(),
    task: { run: () => running ??= relay.run(), stop: () => relay.drain() },
    [Symbol.asyncDispose]: async () => {
      relay.drain();
      if (running === undefined) listener[Symbol.dispose]();
      else await running.catch(() => {});
      await closeAll(own);
    },
  };
}

async function openElsewhere(
  { options, log, destinations, engine }: ListenersOptions,
  plan: ListenPlan,
): Promise<OpenRelay> {
  const { networkInterface, ttl, loop } = options;
  const counters = new CounterBlock(RECEIVE_COUNTERS);
  const state = new SocketState();
  const planned = (addresses: readonly Address[]): PlannedDestination[] =>
    addresses.map((destination) => ({
      address: destination,
      networkInterface: sendingInterface(destination, networkInterface),
      ttl,
      loop,
      maxWaitMs: RELAY_WAIT_MS,
    }));
  let sent = await destinations?.openElsewhere();
  let relay: PlacedRelay;
  try {
    relay = await placeRelay({
      plan: {
        engine: engine.name,
        listen: plan,
        destinations: planned(destinations?.addresses ?? []),
      },
      received: counters,
      state,
      sent,
      log,
      onLost: lost(log, plan.address),
    });
  } catch (error) {
    await sent?.[Symbol.asyncDispose]();
    throw error;
  }
  destinations?.place(async (to, next) => {
    try {
      await relay.setDestinations(planned(to), next);
    } catch (error) {
      await next[Symbol.asyncDispose]();
      throw error;
    }
    await sent?.[Symbol.asyncDispose]();
    sent = next;
  });
  return {
    ...unwatched(state),
    address: () => relay.address,
    counters,
    task: relay,
    placed: relay,
    [Symbol.asyncDispose]: async () => {
      await relay[Symbol.asyncDispose]();
      await sent?.[Symbol.asyncDispose]();
    },
  };
}
