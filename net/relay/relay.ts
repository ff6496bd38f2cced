/**
 * The relay: one listener, one target, figures of what goes through.
 *
 * The bytes go through a forwarder of an engine (`forward.ts`, `pipe.ts`);
 * this file opens it, turns what it tells into events and log lines, and ends
 * it.
 */
import { type Address, formatAddress, parseAddress } from "../address.ts";
import type { Log } from "../observe/log.ts";
import type { EngineChoice } from "../engine/datagram.ts";
import type {
  ConnectionInfo,
  Deadlines,
  EndReason,
  Forwarder,
  ForwardStats,
  RejectReason,
  StreamEvent,
  StreamEventSink,
} from "../engine/stream.ts";
import { UsageError } from "../errors.ts";
import { ownHosts, reachesListener } from "../own_listener.ts";
import { chooseStreamEngine } from "../engine/choose_stream.ts";
import { EventQueue } from "./event_queue.ts";
import type { SingleRemoteSpec } from "../engine/balancing/single_remote.ts";

/** Options of {@linkcode TcpRelay.bind}. Deadlines are in milliseconds; 0 turns one off. */
export interface TcpRelayOptions extends Partial<Deadlines> {
  /**
   * Clients served at once; more are turned away. 0 is no limit.
   * @default {0}
   */
  maxConnections?: number;
  /**
   * The same of one source: an IPv4 address, or the first 64 bits of an IPv6
   * address. 0 is no limit.
   * @default {0}
   */
  maxConnectionsPerSource?: number;
  /**
   * Largest buffer of one direction of one connection, in bytes.
   * @default {262144}
   */
  bufferBytes?: number;
  /**
   * TCP keepalive on both sides.
   * @default {true}
   */
  keepAlive?: boolean;
  /**
   * Events that wait for a reader of {@linkcode TcpRelay.events}; more are dropped and counted.
   * @default {1000}
   */
  eventQueue?: number;
  /**
   * Keeps events from the first client on for the first reader of
   * {@linkcode TcpRelay.events}. Without it clients served before somebody
   * reads are not told of: a thread of its own may accept before `bind` resolves.
   * @default {false}
   */
  eventsFromStart?: boolean;
  /** Ends the relay at once. Default: none. */
  signal?: AbortSignal;
  /** Takes warnings about clients that could not be served. Default: none. */
  log?: Log;
  /**
   * What moves the bytes.
   * @default {"auto"}
   */
  engine?: EngineChoice;
  /**
   * Threads that share the listener; more than one is for the linux engine.
   * @default {1}
   */
  workers?: number;
}

/** The four figures of a relay. */
export interface RelaySnapshot {
  /** Connections open now. */
  activeConnections: number;
  /** Connections ever opened. */
  totalConnections: number;
  /** Bytes written to the target. */
  bytesUpstream: number;
  /** Bytes written to clients. */
  bytesDownstream: number;
}

/** What happened, at `atMs` milliseconds since 1970; `client` is `host:port`. */
export type RelayEvent =
  & { readonly atMs: number; readonly client: string }
  & (
    | { readonly type: "opened" }
    | {
      /** Bytes moved since the last such event of this client. */
      readonly type: "upstream" | "downstream";
      readonly bytes: number;
    }
    | {
      readonly type: "closed";
      readonly bytesUpstream: number;
      readonly bytesDownstream: number;
      readonly durationMs: number;
      readonly reason: EndReason;
    }
    | {
      /** A client that was let go without reaching the target. */
      readonly type: "rejected";
      readonly reason: RejectReason;
    }
  );

/** The target's number in the forwarder. */
const TARGET_ID = 1;

/**
 * Relays TCP connections to one target.
 * As Monkey D. TCP's `Proxy`; half-closed connections as RFC 9293, 3.6 has
 * them.
 *
 * @example Relay until it is drained
 * ```ts
 * import { TcpRelay } from "@mproxy/mproxy";
 * import { assertEquals } from "@std/assert";
 *
 * const relay = await TcpRelay.bind("127.0.0.1:0", "example.com:80");
 * console.log(`Proxy listening on ${relay.boundAddress}`);
 * relay.drain(); // On a signal, say.
 * await relay.run();
 * assertEquals(relay.snapshot().totalConnections, 0);
 * ```
 */
export class TcpRelay implements AsyncDisposable {
  /** The bound address, with the real port. */
  readonly address: Address;
  /** The target; a name is resolved again for each client. */
  readonly target: Address;
  /** Resolves when the relay is closed; rejects where it broke. */
  readonly finished: Promise<void>;

  readonly #forwarder: Forwarder;
  readonly #queues = new Set<EventQueue<RelayEvent>>();
  readonly #queueLimit: number;
  readonly #log: Log | undefined;
  /** Events since the start, until their reader comes. */
  #unread: AsyncIterableIterator<RelayEvent> | undefined;
  #droppedEvents = 0;

  /**
   * Binds and begins to serve. `listen` and `target` are `host:port` or
   * addresses; port 0 of `listen` takes a free one. Throws a UsageError for an
   * address that cannot be right, an OperationError where it cannot be bound.
   */
  static async bind(
    listen: string | Address,
    target: string | Address,
    options: TcpRelayOptions = {},
  ): Promise<TcpRelay> {
    const {
      engine: choice = "auto",
      workers,
      eventQueue = 1000,
      eventsFromStart = false,
      maxConnections,
      maxConnectionsPerSource,
      bufferBytes,
      keepAlive,
      signal,
      log,
      ...deadlines
    } = options;
    signal?.throwIfAborted();
    const listenAddress = typeof listen === "string"
      ? parseAddress(listen, {
        defaultHostname: "127.0.0.1",
        allowPortZero: true,
      })
      : listen;
    const targetAddress = typeof target === "string"
      ? parseAddress(target, { defaultHostname: "127.0.0.1" })
      : target;
    if (reachesListener(listenAddress, targetAddress, ownHosts())) {
      throw new UsageError(
        `cannot forward ${formatAddress(listenAddress)} to ${
          formatAddress(targetAddress)
        }: it is the relay itself; use another port`,
      );
    }
    const engine = chooseStreamEngine(choice, {
      workers,
      onFallback: (reason) =>
        log?.debug("the portable engine serves", { reason }),
    });
    const early: StreamEvent[] = [];
    let take: StreamEventSink = (events) => early.push(...events);
    const opening = engine.forward(
      {
        listen: listenAddress,
        remotes: [{ id: TARGET_ID, address: targetAddress }],
        policy: { kind: "single" } satisfies SingleRemoteSpec,
        deadlines,
        maxConnections,
        maxConnectionsPerSource,
        bufferBytes,
        keepAlive,
        report: eventsFromStart ? "traffic" : "problems",
      },
      (events) => take(events),
    );
    opening.catch(() => engine[Symbol.asyncDispose]());
    const forwarder = await opening;
    const finished = forwarder.finished.finally(() =>
      engine[Symbol.asyncDispose]()
    );
    const relay = new TcpRelay(
      forwarder,
      finished,
      targetAddress,
      eventQueue,
      log,
    );
    if (eventsFromStart) relay.#unread = relay.events();
    take = (events) => relay.#take(events);
    relay.#take(early);
    if (signal) {
      const close = () => forwarder.close();
      signal.addEventListener("abort", close, { once: true });
      const unlisten = () => signal.removeEventListener("abort", close);
      forwarder.finished.then(unlisten, unlisten);
    }
    return relay;
  }

  private constructor(
    forwarder: Forwarder,
    finished: Promise<void>,
    target: Address,
    queueLimit: number,
    log: Log | undefined,
  ) {
    this.#forwarder = forwarder;
    this.#queueLimit = queueLimit;
    this.#log = log;
    this.address = forwarder.address;
    this.target = target;
    this.finished = finished;
    const endQueues = () => {
      for (const queue of this.#queues) queue.end();
    };
    finished.then(endQueues, endQueues);
  }

  /** {@linkcode address} as text. */
  get boundAddress(): string {
    return formatAddress(this.address);
  }

  /** Waits until the relay has ended: drained, closed or broken. It serves since `bind`. */
  run(): Promise<void> {
    return this.finished;
  }

  /** The four figures now. */
  snapshot(): RelaySnapshot {
    const { open, opened, bytesUpstream, bytesDownstream } = this.stats();
    return {
      activeConnections: open,
      totalConnections: opened,
      bytesUpstream,
      bytesDownstream,
    };
  }

  /** All counters now. */
  stats(): ForwardStats {
    return this.#forwarder.stats();
  }

  /** Events that readers of {@linkcode events} were too slow for. */
  get droppedEvents(): number {
    let dropped = this.#droppedEvents + this.stats().eventsDropped;
    for (const queue of this.#queues) dropped += queue.dropped;
    return dropped;
  }

  /** The open connections. */
  connections(): Promise<ConnectionInfo[]> {
    return this.#forwarder.connections();
  }

  /**
   * What happens from now on (from the start for the first reader, with
   * `eventsFromStart`), until the relay ends or the loop is left. Moved bytes are gathered over a tenth of a second: nothing is told while bytes
   * move, and a slow reader loses events, counted, but holds up no client.
   */
  events(): AsyncIterableIterator<RelayEvent> {
    const unread = this.#unread;
    this.#unread = undefined;
    if (unread) return unread;
    const queue = new EventQueue<RelayEvent>(this.#queueLimit, () => {
      this.#droppedEvents += queue.dropped;
      this.#queues.delete(queue);
      if (this.#queues.size === 0) this.#report("problems");
    });
    this.#queues.add(queue);
    this.#report("traffic");
    return queue;
  }

  /** Accepts no one more and lets connections end; those left after `deadlineMs` are closed. */
  async drain(deadlineMs?: number): Promise<void> {
    await this.#forwarder.drain(deadlineMs);
    await this.finished;
  }

  /** Closes everything now. */
  async close(): Promise<void> {
    await this.#forwarder.close();
    await this.finished;
  }

  /** Closes everything now. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #report(report: "problems" | "traffic"): void {
    // An ended forwarder has nothing more to tell.
    this.#forwarder.update({ report }).catch(() => {});
  }

  #take(events: readonly StreamEvent[]): void {
    for (const event of events) {
      switch (event.type) {
        case "dial-failed":
          this.#log?.limited(
            `dial ${event.failure}`,
            "cannot connect to the target",
            {
              target: formatAddress(this.target),
              client: event.client,
              reason: event.failure,
              detail: event.detail,
            },
          );
          break;
        case "rejected":
          // Failed connects were logged, with how they failed.
          if (event.reason === "limit" || event.reason === "source-limit") {
            this.#log?.limited(event.reason, "client rejected", {
              reason: event.reason,
              client: event.client,
              open: this.stats().open,
            });
          }
          break;
        case "accept-failed":
          this.#log?.limited("accept", "cannot accept a client", {
            code: event.code,
            detail: event.detail,
          });
          break;
      }
      if (this.#queues.size === 0) continue;
      for (const told of relayEvents(event)) {
        for (const queue of this.#queues) queue.push(told);
      }
    }
  }
}

/** A forwarder's event as the relay tells it. */
function relayEvents(event: StreamEvent): RelayEvent[] {
  const { atMs } = event;
  switch (event.type) {
    case "opened":
      return [{ type: "opened", atMs, client: event.client }];
    case "traffic": {
      const { client, upstream, downstream } = event;
      const told: RelayEvent[] = [];
      if (upstream > 0) {
        told.push({ type: "upstream", atMs, client, bytes: upstream });
      }
      if (downstream > 0) {
        told.push({ type: "downstream", atMs, client, bytes: downstream });
      }
      return told;
    }
    case "closed": {
      const { client, bytesUpstream, bytesDownstream, durationMs, reason } =
        event;
      return [{
        type: "closed",
        atMs,
        client,
        bytesUpstream,
        bytesDownstream,
        durationMs,
        reason,
      }];
    }
    case "rejected":
      return [{
        type: "rejected",
        atMs,
        client: event.client,
        reason: event.reason,
      }];
    default:
      return [];
  }
}
