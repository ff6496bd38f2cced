/** All listeners of a role: a relay each, here or in a Worker, with their figures. */
import { type Address, formatAddress } from "../address.ts";
import type { DatagramEngine } from "../engine/engine.ts";
import { type OperationError, UsageError } from "../errors.ts";
import { CounterBlock } from "../observe/counters.ts";
import type { Log } from "../observe/log.ts";
import {
  type PlacedRelay,
  placeRelay,
  placeRelayUnavailable,
} from "../place/place_relay.ts";
import type { PlannedDestination, PlannedLog } from "../place/relay_plan.ts";
import type { Task } from "../tasks.ts";
import { closeAll, RELAY_WAIT_MS } from "./destinations.ts";
import type { LiveDestinations } from "./live_destinations.ts";
import { type DispatchOptions, sendingInterface } from "./options.ts";
import { countDrops, RECEIVE_COUNTERS, Relay } from "./relay.ts";
import { loopGuardOf } from "./report_loop.ts";
import type { DatagramSink } from "./sink.ts";

/** One of {@linkcode RECEIVE_COUNTERS}. */
export type ReceiveCounterName = typeof RECEIVE_COUNTERS[number];

/** A listener's figures. */
export interface ListenerStats extends Record<ReceiveCounterName, number> {
  /** Where it listens, with the real port. */
  address: string;
}

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
  readonly #warned: number[];

  private constructor(
    relays: readonly OpenRelay[],
    placed: boolean,
    log: Log,
  ) {
    this.#relays = relays;
    this.placed = placed;
    this.#log = log;
    this.#warned = relays.map(() => 0);
    this.tasks = relays.map((relay) => relay.task);
  }

  /** Opens all, or none: throws where one cannot be had. */
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
            : relays.at(-1)!.address.port;
          const at = { ...address, port };
          relays.push(
            placed
              ? await openElsewhere(options, at, workers > 1)
              : await openHere(options, at, workers > 1, holds),
          );
        }
      }
    } catch (error) {
      await closeAll(relays);
      throw error;
    }
    for (const { address } of relays) {
      log.info("listening", { address: formatAddress(address) });
    }
    return new Listeners(relays, placed, log);
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
      await placed?.openLog(logOf(address), onEnd);
    }
  }

  /** Where they listen, with the real ports. */
  get addresses(): Address[] {
    return this.#relays.map((relay) => relay.address);
  }

  /** Figures of each listener; shards of one address are rows of their own. */
  stats(): ListenerStats[] {
    return this.#relays.map(({ address, counters, look }) => {
      look?.();
      return { address: formatAddress(address), ...counters.read() };
    });
  }

  /** Logs drops since the last look; called by a timer, never by a loop. */
  warnOfDrops(): void {
    for (const [i, { address, droppedKernel }] of this.stats().entries()) {
      const more = droppedKernel - this.#warned[i]!;
      if (more === 0) continue;
      this.#warned[i] = droppedKernel;
      this.#log.limited(
        `kernel drops ${address}`,
        "the kernel drops datagrams that come faster than they are taken: raise the receive buffer (rcvbuf)",
        { address, dropped: more },
      );
    }
  }

  /** Ends the relays that still run, then closes their sockets. */
  [Symbol.asyncDispose](): Promise<void> {
    return closeAll(this.#relays);
  }
}

interface OpenRelay extends AsyncDisposable {
  address: Address;
  counters: CounterBlock<ReceiveCounterName>;
  task: Task;
  /** Counts drops of a relay in this thread that waits for more to come. */
  look?: () => void;
  /** The same in a Worker, where it is there. */
  placed?: PlacedRelay;
}

async function openHere(
  { engine, options, log, destinations, sinksOf }: ListenersOptions,
  address: Address,
  reusePort: boolean,
  holds: boolean,
): Promise<OpenRelay> {
  const { networkInterface, receiveBufferBytes } = options;
  // The port first: the system gives a sender any port that is free, also this one.
  const listener = await engine.listen({
    address,
    networkInterface,
    receiveBufferBytes,
    reusePort,
    onWarning: (message) => log.warn(message),
    onNote: (message) => log.once(message),
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
    address: listener.address,
    counters,
    look: () => countDrops(listener, counters.slots),
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
  address: Address,
  reusePort: boolean,
): Promise<OpenRelay> {
  const { networkInterface, receiveBufferBytes, ttl, loop } = options;
  const counters = new CounterBlock(RECEIVE_COUNTERS);
  const plan = (addresses: readonly Address[]): PlannedDestination[] =>
    addresses.map((destination) => ({
      address: destination,
      networkInterface: sendingInterface(destination, networkInterface),
      ttl,
      loop,
      maxWaitMs: RELAY_WAIT_MS,
    }));
  const relay = await placeRelay({
    plan: {
      engine: engine.name,
      listen: { address, networkInterface, receiveBufferBytes, reusePort },
      destinations: plan(destinations?.addresses ?? []),
    },
    received: counters,
    sent: destinations?.countElsewhere() ?? [],
    log,
  });
  destinations?.place((to, sent) => relay.setDestinations(plan(to), sent));
  return {
    address: relay.address,
    counters,
    task: relay,
    placed: relay,
    [Symbol.asyncDispose]: () => relay[Symbol.asyncDispose](),
  };
}
