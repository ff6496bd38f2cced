/**
 * The MQTT gateway: clients come in over TCP, TLS or WebSocket, hooks and a
 * policy decide about what they say, and what passes goes to their brokers.
 */
import { formatAddress } from "../address.ts";
import {
  type EventLoopSpin,
  openEventLoopSpin,
} from "../engine/linux/event_loop.ts";
import { admissionMetrics } from "../admission_metrics.ts";
import { errorText, UsageError } from "../errors.ts";
import { Log } from "../observe/log.ts";
import type { Metric } from "../observe/metrics.ts";
import { formatBytes, formatCount } from "../observe/units.ts";
import { AuditLog, type AuditOptions } from "./audit.ts";
import { BufferPool } from "./session/buffer_pool.ts";
import { checkHooks } from "./hooks/check_hooks.ts";
import { HookChain, type NamedHooks } from "./hooks/hook_chain.ts";
import type { MqttHooks } from "./hooks/hooks.ts";
import type {
  OnDeny,
  SessionContext,
  SessionSettings,
} from "./session/link.ts";
import { HeldBudget, MAX_PACKET_BYTES } from "./packet/mod.ts";
import { MqttMetrics } from "./metrics.ts";
import type { Policy } from "./policy/policy.ts";
import { ConnectionLimiter } from "./connection_limiter.ts";
import { Session, type SessionPlace } from "./session/session.ts";
import { runAs, watchStrayErrors } from "./session/stray_errors.ts";
import { Targets } from "./targets.ts";
import { type DialTlsOptions, trustedRoots } from "./transport/dial.ts";
import {
  type Endpoint,
  formatEndpoint,
  isSecure,
  parseEndpoint,
  reaches,
} from "./transport/endpoint.ts";
import {
  type AcceptedConnection,
  type Arrival,
  listen,
  type ListenTlsOptions,
  type StreamListener,
} from "./transport/listen.ts";

export type { DialTlsOptions, ListenTlsOptions, NamedHooks, OnDeny };

/** A place where clients come in. */
export interface MqttListenerOptions {
  /**
   * `mqtt://HOST:PORT`, `mqtts://`, `ws://HOST:PORT/PATH`, `wss://`. Without a
   * host it is 127.0.0.1; port 0 takes a free one.
   */
  url: string;
  /** Wanted for `mqtts://` and `wss://`. Default: none, for `mqtt://` and `ws://`. */
  tls?: ListenTlsOptions | undefined;
  /** Brokers of this listener's clients. Default: those of the gateway. */
  targets?: readonly string[] | undefined;
  /**
   * Values of `Origin` from which browsers may connect. Default: the
   * listener's own origin, if its host is an address, `localhost`, the name
   * that the listener was given, or one that its certificate vouches for.
   */
  webSocketOrigins?: readonly string[] | undefined;
}

/** How a gateway is started. */
export interface MqttGatewayOptions {
  /** Where clients come in: at least one. */
  listeners: readonly MqttListenerOptions[];
  /** Brokers: each client has its own, by a rendezvous hash of its identifier. */
  targets: readonly string[];
  /** TLS to the brokers. Default: the system's roots, and no certificate. */
  targetTls?: DialTlsOptions | undefined;
  /**
   * Whether brokers are sent the PROXY protocol's header, version 2.
   * @default {false}
   */
  sendProxyHeader?: boolean | undefined;
  /** Called in this order, behind the policy. Default: none. */
  hooks?: MqttHooks | readonly NamedHooks[] | undefined;
  /** Decides before the hooks, and slows clients down. Default: all is allowed. */
  policy?: Policy | undefined;
  /** From the connection to a whole CONNECT. @default {10000} */
  connectTimeoutMs?: number | undefined;
  /** From a dial to the broker's CONNACK. @default {10000} */
  brokerTimeoutMs?: number | undefined;
  /** How long a client may take nothing of what it is sent. @default {300000} */
  clientTimeoutMs?: number | undefined;
  /** For all hooks of one packet. @default {5000} */
  hookTimeoutMs?: number | undefined;
  /** How long a connection may take to end when it is closed. @default {2000} */
  lingerMs?: number | undefined;
  /**
   * Largest packet in either direction. Default: the protocol's own maximum.
   * @default {268435460}
   */
  maxPacketBytes?: number | undefined;
  /**
   * Bytes that all packets above 128 KiB may take together while they are not
   * complete. Beyond it, the session of the packet ends with 0x97; a message
   * for a client before MQTT 5 is dropped.
   * @default {268435460}
   */
  maxHeldBytes?: number | undefined;
  /** Largest packet before the broker's CONNACK. @default {65536} */
  maxConnectBytes?: number | undefined;
  /** Longest WebSocket frame; a frame is never held. @default {268435460} */
  maxFrameBytes?: number | undefined;
  /**
   * Connections at once. At the limit, the oldest one whose CONNECT was not
   * accepted yet is closed for a new one; else the new one is.
   * @default {Infinity}
   */
  maxConnections?: number | undefined;
  /** The same for each source address, /64 for IPv6. Default: `maxConnections`. */
  maxConnectionsPerSource?: number | undefined;
  /** New connections in a second; more are closed at once. @default {Infinity} */
  maxConnectionsPerSecond?: number | undefined;
  /**
   * Maximum characters of an MQTT 3.1 client identifier. That specification
   * says 23; brokers take more.
   * @default {65535}
   */
  maxClientIdChars31?: number | undefined;
  /** What a denied message comes to where its version can be answered. @default {"ack"} */
  onDeny?: OnDeny | undefined;
  /** Whether the broker's Server Reference reaches clients. @default {false} */
  passServerReference?: boolean | undefined;
  /** Where to write down who did what. Default: nowhere. */
  audit?: AuditOptions | undefined;
  /** Default: none. */
  log?: Log | undefined;
  /** Ends the gateway as `drain` does. Default: none. */
  signal?: AbortSignal | undefined;
}

/** What a gateway has done so far. */
export interface MqttGatewayStats {
  /** Clients that are connected. */
  readonly openSessions: number;
  /** Clients whose CONNECT was read. */
  readonly totalSessions: number;
  /** PUBLISH packets of both directions. */
  readonly messages: number;
  /** Bytes from clients. */
  readonly upstreamBytes: number;
  /** Bytes from brokers. */
  readonly downstreamBytes: number;
  /** How many packets policy and hooks refused. */
  readonly denials: number;
}

/** One of the largest packets at a time. */
const MAX_HELD_BYTES = MAX_PACKET_BYTES;

/** A login may wait in a queue for so long before it is decided. */
const LOGIN_MS = 120_000;

/** How often keep-alives are looked after. */
const TICK_MS = 250;

/** How long `/readyz` waits for a broker. */
const PROBE_TIMEOUT_MS = 2000;

/** A running gateway; disposing of it drains it. */
export interface MqttGateway extends AsyncDisposable {
  /** Resolves when it has drained. */
  readonly finished: Promise<void>;
  /** Where it listens, with the real ports, in the order of the options. */
  readonly urls: string[];
  /** How many connections there are, those before their CONNECT too. */
  readonly connections: number;
  /** Whether it takes no new clients any more. */
  readonly isDraining: boolean;
  /** What it has done so far. */
  stats(): MqttGatewayStats;
  /** One line about now. */
  progress(): string;
  /** Lines about all of it, for the end. */
  summary(): string[];
  /** Its metrics, now. */
  metrics(): Metric[];
  /** Whether new clients would be served, or why not: each listener's brokers are asked. */
  ready(): Promise<boolean | string>;
  /** New certificates for the handshakes from now on, by the listener's index. */
  reloadTls(index: number, tls: ListenTlsOptions): void;
  /** Ends the sessions that the policy does not allow any more, after it was changed. */
  reviewSessions(): void;
  /** Takes no new clients, tells MQTT 5 clients that it shuts down, and ends all sessions. */
  drain(): Promise<void>;
}

class RunningGateway implements MqttGateway {
  readonly finished: Promise<void>;
  readonly #metrics: MqttMetrics;
  readonly #policy: Policy | undefined;
  readonly #sessions = new Set<Session>();
  readonly #running = new Set<Promise<void>>();
  readonly #listeners: StreamListener[] = [];
  readonly #targets: Targets[];
  readonly #end = Promise.withResolvers<void>();
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #unwatch: () => void;
  readonly #strayErrors: Disposable = watchStrayErrors();
  readonly #context: SessionContext;
  readonly #limiter: ConnectionLimiter;
  #lastId = 0;
  #spin: EventLoopSpin | undefined;
  #draining: Promise<void> | undefined;

  constructor(
    context: SessionContext,
    limiter: ConnectionLimiter,
    policy: Policy | undefined,
    targets: Targets[],
    signal: AbortSignal | undefined,
  ) {
    const { metrics, now } = context;
    this.#context = context;
    this.#limiter = limiter;
    this.#metrics = metrics;
    this.#policy = policy;
    this.#targets = targets;
    this.finished = this.#end.promise;
    this.#timer = setInterval(() => this.#tick(now()), TICK_MS);
    const abort = () => void this.drain();
    signal?.addEventListener("abort", abort);
    this.#unwatch = () => signal?.removeEventListener("abort", abort);
  }

  get urls(): string[] {
    return this.#listeners.map(({ endpoint }) => formatEndpoint(endpoint));
  }

  get connections(): number {
    return this.#sessions.size;
  }

  get isDraining(): boolean {
    return this.#draining !== undefined;
  }

  addListener(listener: StreamListener): void {
    this.#listeners.push(listener);
  }

  /** Its listeners are open: the event loop is known by one of them. */
  openSpin(): EventLoopSpin | undefined {
    const { port } = this.#listeners[0]!.endpoint.address;
    return this.#spin = openEventLoopSpin(port);
  }

  /** Takes a connection, its TLS handshake done, and runs its session. */
  take(
    connection: AcceptedConnection,
    arrival: Arrival,
    place: SessionPlace,
  ): void {
    if (this.isDraining) {
      this.#metrics.turnedAway("draining");
      connection.stream.close();
      arrival.leave();
      return;
    }
    const id = ++this.#lastId;
    const session = new Session(id, this.#context, place, connection);
    arrival.close = () => session.displace();
    session.onProved = () => arrival.prove();
    this.#sessions.add(session);
    const running = runAs(session, () => session.run()).finally(() => {
      arrival.leave();
      this.#sessions.delete(session);
      this.#running.delete(running);
    });
    this.#running.add(running);
  }

  stats(): MqttGatewayStats {
    const metrics = this.#metrics;
    return {
      openSessions: metrics.openSessions,
      totalSessions: metrics.totalSessions,
      messages: metrics.messages,
      upstreamBytes: metrics.upstream.bytes,
      downstreamBytes: metrics.downstream.bytes,
      denials: metrics.denials,
    };
  }

  progress(): string {
    const { openSessions, messages, denials } = this.stats();
    return `${formatCount(openSessions)} sessions, ${
      formatCount(messages)
    } messages, ${formatCount(denials)} denied`;
  }

  summary(): string[] {
    const stats = this.stats();
    return [
      `sessions: ${formatCount(stats.totalSessions)}`,
      `messages: ${formatCount(stats.messages)}, denied: ${
        formatCount(stats.denials)
      }`,
      `from clients: ${formatBytes(stats.upstreamBytes)}, from brokers: ${
        formatBytes(stats.downstreamBytes)
      }`,
    ];
  }

  metrics(): Metric[] {
    return [
      ...this.#metrics.metrics(),
      ...this.#policy?.metrics() ?? [],
      ...admissionMetrics([{ listener: "mqtt", stats: this.#limiter.stats() }]),
    ];
  }

  async ready(): Promise<boolean | string> {
    if (this.isDraining) return "draining";
    const answers = await Promise.all(
      this.#targets.map((targets) => targets.answers(PROBE_TIMEOUT_MS)),
    );
    const wrong = answers.filter((answer) => answer !== true);
    return wrong.length === 0 ? true : wrong.join("; ");
  }

  reloadTls(index: number, tls: ListenTlsOptions): void {
    this.#listeners[index]?.reloadTls(tls);
  }

  reviewSessions(): void {
    this.#policy?.review([...this.#sessions]);
  }

  drain(): Promise<void> {
    return this.#draining ??= this.#drain();
  }

  async #drain(): Promise<void> {
    this.#unwatch();
    this.#limiter.isDraining = true;
    for (const listener of this.#listeners) listener[Symbol.dispose]();
    for (const session of this.#sessions) session.drain();
    await Promise.all(this.#running);
    clearInterval(this.#timer);
    this.#limiter[Symbol.dispose]();
    this.#strayErrors[Symbol.dispose]();
    this.#spin?.[Symbol.dispose]();
    this.#end.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.drain();
  }

  #tick(nowMs: number): void {
    for (const session of this.#sessions) {
      try {
        session.tick(nowMs);
      } catch (error) {
        session.fail(error);
      }
    }
    try {
      this.#policy?.tick();
    } catch (error) {
      this.#context.log.limited("policy tick", "cannot review the policy", {
        error: errorText(error),
      });
    }
  }
}

/**
 * Starts a gateway.
 * Packets are those of MQTT 3.1, 3.1.1 and 5.0 (OASIS); hooks are mProxy's,
 * and some more.
 *
 * @throws {UsageError} where an option cannot be right, before anything is
 * opened.
 * @throws {OperationError} where a listener cannot be bound.
 *
 * @example One listener, one broker, one rule
 * ```ts
 * import { deny, startMqttGateway } from "@mproxy/mproxy/mqtt";
 *
 * await using gateway = await startMqttGateway({
 *   listeners: [{ url: "mqtt://127.0.0.1:0" }],
 *   targets: ["mqtt://127.0.0.1:1883"],
 *   hooks: {
 *     authPublish: (session, message) =>
 *       message.topic.startsWith(`${session.clientId}/`) ? undefined : deny(),
 *   },
 * });
 * gateway.drain(); // On a signal, say.
 * await gateway.finished;
 * ```
 */
export async function startMqttGateway(
  options: MqttGatewayOptions,
): Promise<MqttGateway> {
  const { listeners, policy, signal, log = silentLog() } = options;
  if (listeners.length === 0) {
    throw new UsageError("Cannot start without a listener: give at least one");
  }
  // Each dial would fail by it otherwise, and the start by nothing.
  if (options.targetTls?.ca !== undefined) trustedRoots(options.targetTls.ca);
  const now = () => performance.now();
  const metrics = new MqttMetrics();
  const pool = new BufferPool();
  const maxFrameBytes = options.maxFrameBytes ?? MAX_PACKET_BYTES;
  const context: SessionContext = {
    settings: settingsOf(options),
    hooks: new HookChain(hookSets(options), metrics, log),
    metrics,
    log,
    audit: options.audit && new AuditLog(options.audit, (error) => {
      metrics.auditLost++;
      log.limited("audit", "audit line lost", {
        ...(error === undefined ? {} : { error: errorText(error) }),
      });
    }),
    throttle: policy,
    pool,
    budget: new HeldBudget(options.maxHeldBytes ?? MAX_HELD_BYTES),
    now,
  };
  const places = listeners.map((listener) => {
    const endpoint = parseEndpoint(listener.url, { listens: true });
    if (isSecure(endpoint.scheme) && !listener.tls) {
      throw new UsageError(
        `Cannot listen on "${listener.url}": a certificate and its key are wanted`,
      );
    }
    const texts = listener.targets ?? options.targets;
    if (texts.length === 0) {
      throw new UsageError(
        `Cannot listen on "${listener.url}": it has no broker, give a target`,
      );
    }
    for (const text of texts) {
      if (!reaches(parseEndpoint(text), endpoint)) continue;
      throw new UsageError(
        `Cannot use target "${text}": it is the listener "${listener.url}" itself`,
      );
    }
    return { listener, endpoint, key: texts.join(" "), texts };
  });
  // Listeners with the same brokers share what is known about them.
  const targets = new Map<string, Targets>();
  for (const { key, texts } of places) {
    if (targets.has(key)) continue;
    const endpoints = texts.map((text): Endpoint => parseEndpoint(text));
    const { targetTls: tls, sendProxyHeader } = options;
    const dialOptions = { tls, sendProxyHeader, maxFrameBytes, pool };
    targets.set(key, new Targets(endpoints, dialOptions, metrics, log, now));
  }

  const { connectTimeoutMs, hookTimeoutMs, lingerMs } = context.settings;
  const limiter = new ConnectionLimiter(
    {
      ...options,
      // Its session has closer deadlines, with reasons of their own.
      proveWithinMs: LOGIN_MS + connectTimeoutMs + 3 * hookTimeoutMs + lingerMs,
    },
    log,
    now,
    (reason) => metrics.turnedAway(reason),
  );
  const gateway = new RunningGateway(
    context,
    limiter,
    policy,
    [...targets.values()],
    signal,
  );
  const { brokerTimeoutMs } = context.settings;
  try {
    for (const { listener, endpoint, key } of places) {
      const brokers = targets.get(key)!;
      const place = {
        listener: "",
        secure: isSecure(endpoint.scheme),
        dial: (clientId, client, signal) =>
          brokers.connect(clientId, client, signal, brokerTimeoutMs),
      } satisfies SessionPlace;
      const opened = await listen({
        endpoint,
        tls: listener.tls,
        webSocketOrigins: listener.webSocketOrigins,
        maxFrameBytes,
        handshakeTimeoutMs: context.settings.connectTimeoutMs,
        pool,
        onArrival: (hostname, close) => limiter.admit(hostname, close),
        onConnection: (connection, arrival) =>
          gateway.take(connection, arrival, place),
        onFailure: (reason, error) => {
          metrics.turnedAway(reason);
          log.limited(`listener ${reason}`, `a connection failed: ${reason}`, {
            listener: place.listener,
            error: error.message,
          });
        },
      });
      // Known only now, where the port was the system's to choose: no
      // connection is taken before the next turn of the event loop.
      place.listener = formatEndpoint(opened.endpoint);
      gateway.addListener(opened);
      log.info("listening", {
        address: formatAddress(opened.endpoint.address),
        url: formatEndpoint(opened.endpoint),
      });
    }
    context.spin = gateway.openSpin();
  } catch (error) {
    await gateway.drain();
    throw error;
  }
  return gateway;
}

function settingsOf(options: MqttGatewayOptions): SessionSettings {
  const {
    connectTimeoutMs = 10_000,
    brokerTimeoutMs = 10_000,
    clientTimeoutMs = 300_000,
    hookTimeoutMs = 5000,
    lingerMs = 2000,
    maxPacketBytes = MAX_PACKET_BYTES,
    maxConnectBytes = 65536,
    maxClientIdChars31 = 65_535,
    onDeny = "ack",
    passServerReference = false,
  } = options;
  return {
    connectTimeoutMs,
    brokerTimeoutMs,
    clientTimeoutMs,
    hookTimeoutMs,
    lingerMs,
    maxPacketBytes,
    maxConnectBytes: Math.min(maxConnectBytes, maxPacketBytes),
    maxClientIdChars31,
    onDeny,
    passServerReference,
  };
}

function hookSets(options: MqttGatewayOptions): NamedHooks[] {
  const { hooks = [], policy } = options;
  const sets = Array.isArray(hooks)
    ? hooks as readonly NamedHooks[]
    : [{ name: "hooks", hooks: hooks as MqttHooks }];
  for (const { name, hooks } of sets) {
    try {
      checkHooks(hooks);
    } catch (cause) {
      throw new UsageError(
        `Cannot use the hooks "${name}": ${(cause as Error).message}`,
        { cause },
      );
    }
  }
  if (!policy) return [...sets];
  const first: NamedHooks = {
    name: "policy",
    hooks: policy.hooks,
    // A reload may change it.
    get extraConnectMs() {
      return policy.loginWaitMs;
    },
  };
  return [first, ...sets];
}

function silentLog(): Log {
  return new Log({ write: () => {} });
}
