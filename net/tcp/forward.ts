/**
 * The forwarder of the portable engine: what a connection goes through in the
 * isolate that opened it.
 *
 * 1. accept: `accept.ts` only accepts; it never waits for a client or a remote,
 * 2. admit: the limit and the policy, then the client's TLS handshake,
 * 3. reach: choose a remote and dial it, again while the policy names another,
 * 4. pipe: `pipe.ts` moves the bytes,
 * 5. end: counted and told;
 * 6. tick: deadlines and moved bytes of all connections, on one timer,
 * 7. probe: remotes that the policy wants dialled to see whether they live.
 *
 * Functions stand in that order, control after them.
 */
import { type Address, formatAddress } from "../address.ts";
import { errorCode, errorText, UsageError } from "../errors.ts";
import {
  type ConnectionFilter,
  type ConnectionInfo,
  type CreatePolicy,
  type Deadlines,
  DEFAULT_DEADLINES,
  DIAL_FAILURES,
  type DialFailure,
  END_REASONS,
  type EndReason,
  type ForwardChange,
  type Forwarder,
  type ForwardPlan,
  type ForwardPolicy,
  type ForwardStats,
  NO_REMOTE,
  type PolicyRemote,
  REJECT_REASONS,
  type RejectReason,
  type RemoteSpec,
  type RemoteStats,
  type ReportLevel,
  type StreamEngine,
  type StreamEvent,
  type StreamEventSink,
} from "../engine/stream.ts";
import type { RemoteTls } from "../tls_files.ts";
import {
  CONNECT_BUCKETS_MS,
  countInBucket,
  DURATION_BUCKETS_MS,
  ForwardSlot,
  forwardSlots,
  readForward,
  readRemote,
  RemoteSlot,
  remoteSlots,
} from "../engine/stream_counters.ts";
import {
  DialError,
  dialStream,
  listenStream,
  prepareTcp,
  type StreamConn,
  type StreamListener,
} from "../engine/portable/stream.ts";
import { AcceptLoop } from "../accept_loop.ts";
import { BufferPool, closeQuietly, StreamPipe } from "./pipe.ts";

/** How often deadlines are looked at and events are told. */
const TICK_MS = 100;

/** Events told in one tick; more are counted and left out. */
const EVENTS_PER_TICK = 10_000;

/** Makes the portable engine; `createPolicy` makes the policies of its plans. */
export function portableStreamEngine(createPolicy: CreatePolicy): StreamEngine {
  const open = new Set<Forwarder>();
  return {
    name: "portable",
    description: "Deno.listen, Deno.connect",
    features: { tls: true },
    forward(plan, onEvents) {
      const forwarder = new PortableForwarder(
        plan,
        createPolicy(plan.policy),
        onEvents,
      );
      open.add(forwarder);
      const forget = () => open.delete(forwarder);
      forwarder.finished.then(forget, forget);
      return Promise.resolve(forwarder);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...open].map((forwarder) => forwarder.close()));
    },
  };
}

/** A remote and its slots; lives on while connections to it are open. */
class Remote implements PolicyRemote {
  readonly id: number;
  readonly address: Address;
  readonly slots = remoteSlots();

  constructor({ id, address }: RemoteSpec) {
    this.id = id;
    this.address = address;
  }

  load(): number {
    return this.slots[RemoteSlot.pending]! + this.slots[RemoteSlot.open]!;
  }
}

/** A piped connection. */
interface Connection {
  readonly id: number;
  readonly client: string;
  readonly remote: Remote;
  readonly pipe: StreamPipe;
  readonly sinceMs: number;
  /** When its bytes changed last, as the tick saw it. */
  movedAtMs: number;
  /** Its bytes at the last tick. */
  upstream: number;
  downstream: number;
}

class PortableForwarder implements Forwarder {
  readonly engine = "portable";
  readonly address: Address;
  readonly finished: Promise<void>;

  readonly #policy: ForwardPolicy;
  readonly #listener: StreamListener;
  readonly #buffers: BufferPool;
  readonly #keepAlive: boolean;
  readonly #tlsClients: boolean;
  #report: ReportLevel;
  readonly #onEvents: StreamEventSink | undefined;
  #deadlines: Deadlines;
  #maxConnections: number;
  #remoteTls: RemoteTls | undefined;

  readonly #slots = forwardSlots();
  /** Of the plan, and removed ones that connections still use. */
  readonly #remotes = new Map<number, Remote>();
  #chosenFrom: readonly Remote[] = [];
  readonly #connections = new Map<number, Connection>();
  /** Clients between accept and pipe, to be cut when the forwarder closes. */
  readonly #opening = new Set<StreamConn>();
  readonly #serving = new Set<Promise<void>>();
  #nextId = 1;

  readonly #closing = new AbortController();
  readonly #accepting: AcceptLoop<StreamConn>;
  readonly #done = Promise.withResolvers<void>();

  #events: StreamEvent[] = [];
  #ticker: ReturnType<typeof setInterval> | undefined;
  #probeTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    plan: ForwardPlan,
    policy: ForwardPolicy,
    onEvents: StreamEventSink | undefined,
  ) {
    this.#policy = policy;
    this.#deadlines = { ...DEFAULT_DEADLINES, ...plan.deadlines };
    this.#maxConnections = plan.maxConnections ?? 0;
    this.#keepAlive = plan.keepAlive ?? true;
    this.#remoteTls = plan.remoteTls;
    this.#tlsClients = plan.tls !== undefined;
    this.#report = plan.report ?? "problems";
    this.#onEvents = onEvents;
    this.#buffers = new BufferPool(plan.bufferBytes);
    this.#setRemotes(plan.remotes);
    this.#listener = listenStream(plan.listen, plan.tls);
    this.address = this.#listener.address;
    this.finished = this.#done.promise;
    this.#accepting = new AcceptLoop(this.#listener, (client) => {
      this.#slots[ForwardSlot.accepted]!++;
      this.#keep(this.#serve(client));
    }, (error) => this.#acceptFailed(error));
  }

  #acceptFailed(error: unknown): void {
    this.#slots[ForwardSlot.acceptErrors]!++;
    this.#tell({
      type: "accept-failed",
      atMs: Date.now(),
      code: errorCode(error),
      detail: errorText(error),
    });
  }

  /** Remembers work until it is done; what it throws is a fault of ours. */
  #keep(work: Promise<void>): void {
    const kept: Promise<void> = work
      .catch((error) => this.#break(error))
      .then(() => {
        this.#serving.delete(kept);
      });
    this.#serving.add(kept);
  }

  #break(error: unknown): void {
    this.#done.reject(error);
    this.close();
  }

  async #serve(client: StreamConn): Promise<void> {
    const text = formatAddress(client.remoteAddr as Deno.NetAddr);
    const host = (client.remoteAddr as Deno.NetAddr).hostname;
    const slots = this.#slots;
    const full = this.#maxConnections > 0 &&
      slots[ForwardSlot.opening]! + slots[ForwardSlot.open]! >=
        this.#maxConnections;
    if (full) return this.#reject(client, text, "limit", 0);
    if (!this.#policy.admit(host, performance.now())) {
      return this.#reject(client, text, "denied", 0);
    }
    slots[ForwardSlot.opening]!++;
    this.#opening.add(client);
    let connection: Connection | undefined;
    try {
      prepareTcp(client, this.#keepAlive);
      connection = await this.#open(client, text, host);
    } finally {
      this.#endOpening(client);
      if (!connection) this.#policy.released(host);
    }
    if (!connection) return;
    try {
      await this.#pipe(connection);
    } finally {
      this.#policy.released(host);
    }
  }

  /** Counted in the turn of what ends it, so that a client never counts twice or not at all. */
  #endOpening(client: StreamConn): void {
    if (this.#opening.delete(client)) this.#slots[ForwardSlot.opening]!--;
  }

  async #open(
    client: StreamConn,
    text: string,
    host: string,
  ): Promise<Connection | undefined> {
    const sinceMs = performance.now();
    if (this.#tlsClients && !await this.#shakeHands(client as Deno.TlsConn)) {
      this.#reject(client, text, "tls", 0);
      return undefined;
    }
    const reached = await this.#reach(client, text, host);
    if (!reached) return undefined;
    const nowMs = performance.now();
    const { remote, upstream } = reached;
    const connection: Connection = {
      id: this.#nextId++,
      client: text,
      remote,
      pipe: new StreamPipe(client, upstream, {
        buffers: this.#buffers,
        forward: this.#slots,
        remote: remote.slots,
      }),
      sinceMs: nowMs,
      movedAtMs: nowMs,
      upstream: 0,
      downstream: 0,
    };
    this.#endOpening(client);
    this.#slots[ForwardSlot.open]!++;
    this.#slots[ForwardSlot.opened]!++;
    remote.slots[RemoteSlot.open]!++;
    remote.slots[RemoteSlot.opened]!++;
    this.#connections.set(connection.id, connection);
    if (this.#report !== "problems") {
      this.#tell({
        type: "opened",
        atMs: Date.now(),
        connection: connection.id,
        client: text,
        remote: remote.id,
        connectMs: nowMs - sinceMs,
      });
    }
    this.#startTicking();
    return connection;
  }

  async #shakeHands(client: Deno.TlsConn): Promise<boolean> {
    const { handshakeTimeoutMs } = this.#deadlines;
    const timer = handshakeTimeoutMs > 0
      ? setTimeout(() => closeQuietly(client), handshakeTimeoutMs)
      : undefined;
    try {
      await client.handshake();
      return true;
    } catch {
      return false;
    } finally {
      clearTimeout(timer);
    }
  }

  async #reach(client: StreamConn, text: string, host: string) {
    const tried: number[] = [];
    const policy = this.#policy;
    while (!this.#closing.signal.aborted) {
      const id = policy.choose(host, tried, performance.now());
      const remote = this.#remotes.get(id);
      if (id === NO_REMOTE || !remote) {
        this.#reject(
          client,
          text,
          tried.length === 0 ? "no-remote" : "connect-failed",
          tried.length,
        );
        return undefined;
      }
      tried.push(id);
      const sinceMs = performance.now();
      remote.slots[RemoteSlot.pending]!++;
      try {
        const upstream = await this.#dial(remote);
        const nowMs = performance.now();
        this.#countConnect(remote, nowMs - sinceMs);
        policy.connected(id, nowMs);
        return { remote, upstream };
      } catch (error) {
        if (this.#closing.signal.aborted) break;
        this.#dialFailed(remote, text, error);
      } finally {
        remote.slots[RemoteSlot.pending]!--;
        this.#forget(remote);
      }
      const delayMs = policy.retryDelayMs(tried);
      if (delayMs > 0) await this.#retryPause(delayMs);
    }
    this.#reject(client, text, "closed", tried.length);
    return undefined;
  }

  #dial(remote: Remote): Promise<StreamConn> {
    return dialStream(remote.address, {
      timeoutMs: this.#deadlines.connectTimeoutMs,
      tls: this.#remoteTls,
      keepAlive: this.#keepAlive,
      signal: this.#closing.signal,
    });
  }

  #retryPause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const { signal } = this.#closing;
      const end = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      signal.addEventListener("abort", end);
    });
  }

  #countConnect(remote: Remote, ms: number): void {
    remote.slots[RemoteSlot.connectSumMs]! += ms;
    countInBucket(remote.slots, RemoteSlot.connects, CONNECT_BUCKETS_MS, ms);
  }

  #dialFailed(remote: Remote, client: string, error: unknown): void {
    const failure = failureOf(error);
    const { slots } = remote;
    this.#slots[ForwardSlot.dialErrors]!++;
    slots[RemoteSlot.errors]!++;
    slots[RemoteSlot.lastErrorAtMs] = Date.now();
    slots[RemoteSlot.failures + DIAL_FAILURES.indexOf(failure)]!++;
    this.#tell({
      type: "dial-failed",
      atMs: Date.now(),
      client,
      remote: remote.id,
      failure,
      detail: errorText(error),
    });
    // A limit of this machine says nothing about the remote.
    if (failure === "resources") return;
    this.#watchState(
      remote,
      () => this.#policy.failed(remote.id, failure, performance.now()),
    );
  }

  /**
   * Lets a client go without a remote. `Deno.TcpConn` has no SO_LINGER, so the
   * reset is the kernel's: after the end (FIN) of every close it sends RST where
   * bytes are left unread (RFC 2525, 2.17). Nothing was read from this client,
   * so whoever has spoken is told that nobody listened.
   */
  #reject(
    client: StreamConn,
    text: string,
    reason: RejectReason,
    attempts: number,
  ): void {
    closeQuietly(client);
    this.#endOpening(client);
    this.#slots[ForwardSlot.rejected + REJECT_REASONS.indexOf(reason)]!++;
    this.#tell({
      type: "rejected",
      atMs: Date.now(),
      client: text,
      reason,
      attempts,
    });
  }

  async #pipe(connection: Connection): Promise<void> {
    this.#end(connection, await connection.pipe.ended);
  }

  #end(connection: Connection, reason: EndReason): void {
    const { remote, pipe } = connection;
    const durationMs = performance.now() - connection.sinceMs;
    const slots = this.#slots;
    this.#connections.delete(connection.id);
    slots[ForwardSlot.open]!--;
    remote.slots[RemoteSlot.open]!--;
    slots[ForwardSlot.ended + END_REASONS.indexOf(reason)]!++;
    slots[ForwardSlot.durationSumMs]! += durationMs;
    countInBucket(
      slots,
      ForwardSlot.durations,
      DURATION_BUCKETS_MS,
      durationMs,
    );
    if (this.#report === "traffic") this.#tellTraffic(connection);
    if (this.#report !== "problems") {
      this.#tell({
        type: "closed",
        atMs: Date.now(),
        connection: connection.id,
        client: connection.client,
        remote: remote.id,
        reason,
        durationMs,
        bytesUpstream: pipe.bytesUpstream,
        bytesDownstream: pipe.bytesDownstream,
      });
    }
    this.#forget(remote);
  }

  #startTicking(): void {
    this.#ticker ??= setInterval(() => this.#tick(), TICK_MS);
  }

  #tick(): void {
    const nowMs = performance.now();
    const { idleTimeoutMs, halfCloseTimeoutMs, lifetimeMs } = this.#deadlines;
    for (const connection of this.#connections.values()) {
      const { pipe } = connection;
      const moved = pipe.bytesUpstream !== connection.upstream ||
        pipe.bytesDownstream !== connection.downstream;
      if (moved) {
        connection.movedAtMs = nowMs;
        if (this.#report === "traffic") this.#tellTraffic(connection);
        connection.upstream = pipe.bytesUpstream;
        connection.downstream = pipe.bytesDownstream;
      }
      const idleMs = nowMs - connection.movedAtMs;
      if (pipe.halfClosed && passed(idleMs, halfCloseTimeoutMs)) {
        pipe.abort("half-close-timeout");
      } else if (passed(idleMs, idleTimeoutMs)) pipe.abort("idle-timeout");
      else if (passed(nowMs - connection.sinceMs, lifetimeMs)) {
        pipe.abort("lifetime");
      }
    }
    this.#flushEvents();
    if (this.#connections.size === 0 && this.#events.length === 0) {
      clearInterval(this.#ticker);
      this.#ticker = undefined;
    }
  }

  #tellTraffic(connection: Connection): void {
    const { pipe } = connection;
    const upstream = pipe.bytesUpstream - connection.upstream;
    const downstream = pipe.bytesDownstream - connection.downstream;
    if (upstream === 0 && downstream === 0) return;
    this.#tell({
      type: "traffic",
      atMs: Date.now(),
      connection: connection.id,
      client: connection.client,
      upstream,
      downstream,
    });
  }

  #tell(event: StreamEvent): void {
    if (!this.#onEvents) return;
    if (this.#events.length >= EVENTS_PER_TICK) {
      this.#slots[ForwardSlot.eventsDropped]!++;
      return;
    }
    this.#events.push(event);
    this.#startTicking();
  }

  #flushEvents(): void {
    if (this.#events.length === 0) return;
    const events = this.#events;
    this.#events = [];
    this.#onEvents?.(events);
  }

  #scheduleProbe(): void {
    clearTimeout(this.#probeTimer);
    this.#probeTimer = undefined;
    if (this.#accepting?.stopped) return;
    const dueMs = this.#policy.probeDueMs();
    if (dueMs === Infinity) return;
    this.#probeTimer = setTimeout(
      () => this.#probe(),
      Math.max(0, Math.ceil(dueMs - performance.now())),
    );
  }

  #probe(): void {
    for (;;) {
      const id = this.#policy.takeProbe(performance.now());
      const remote = this.#remotes.get(id);
      if (id === NO_REMOTE || !remote) break;
      this.#keep(this.#probeRemote(remote));
    }
    this.#scheduleProbe();
  }

  async #probeRemote(remote: Remote): Promise<void> {
    let failure: DialFailure | undefined;
    remote.slots[RemoteSlot.probes]!++;
    try {
      closeQuietly(await this.#dial(remote));
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      failure = failureOf(error);
      remote.slots[RemoteSlot.probeErrors]!++;
      this.#tell({
        type: "probe-failed",
        atMs: Date.now(),
        remote: remote.id,
        failure,
        detail: errorText(error),
      });
    }
    this.#watchState(
      remote,
      () => this.#policy.probed(remote.id, failure, performance.now()),
    );
  }

  /** Tells where what the policy hears makes it change a remote's state. */
  #watchState(remote: Remote, hear: () => void): void {
    const before = remote.slots[RemoteSlot.state];
    hear();
    const state = remote.slots[RemoteSlot.state]!;
    if (state !== before) {
      this.#tell({
        type: "remote-state",
        atMs: Date.now(),
        remote: remote.id,
        live: state === 0,
      });
    }
    this.#scheduleProbe();
  }

  #setRemotes(specs: readonly RemoteSpec[]): void {
    this.#chosenFrom = specs.map((spec) => {
      const remote = this.#remotes.get(spec.id) ?? new Remote(spec);
      this.#remotes.set(spec.id, remote);
      return remote;
    });
    this.#policy.setRemotes(this.#chosenFrom, performance.now());
    for (const remote of [...this.#remotes.values()]) this.#forget(remote);
    this.#scheduleProbe();
  }

  /** Drops a remote that was removed once nothing uses it any more. */
  #forget(remote: Remote): void {
    if (remote.load() === 0 && !this.#chosenFrom.includes(remote)) {
      this.#remotes.delete(remote.id);
    }
  }

  stats(): ForwardStats {
    const remotes = new Map<number, RemoteStats>();
    for (const { id, slots } of this.#remotes.values()) {
      remotes.set(id, readRemote([slots]));
    }
    return readForward([this.#slots], remotes);
  }

  connections(): Promise<ConnectionInfo[]> {
    const nowMs = performance.now();
    return Promise.resolve(
      [...this.#connections.values()].map((
        { id, client, remote, pipe, sinceMs, movedAtMs },
      ) => ({
        id,
        client,
        remote: remote.id,
        ageMs: nowMs - sinceMs,
        idleMs: nowMs - movedAtMs,
        bytesUpstream: pipe.bytesUpstream,
        bytesDownstream: pipe.bytesDownstream,
        halfClosed: pipe.halfClosed,
      })),
    );
  }

  async abort(filter: ConnectionFilter): Promise<number> {
    const matched = [...this.#connections.values()].filter((connection) =>
      "connection" in filter
        ? connection.id === filter.connection
        : connection.remote.id === filter.remote
    );
    for (const { pipe } of matched) pipe.abort("aborted");
    await Promise.all(matched.map(({ pipe }) => pipe.ended));
    return matched.length;
  }

  async update(change: ForwardChange): Promise<void> {
    if (change.tls && !this.#tlsClients) {
      throw new UsageError(
        "Cannot turn TLS on for an open listener: open it anew",
      );
    }
    if (change.tls) await this.#listener.setTls(change.tls);
    if (change.remoteTls) this.#remoteTls = change.remoteTls;
    if (change.deadlines) {
      this.#deadlines = { ...this.#deadlines, ...change.deadlines };
    }
    this.#maxConnections = change.maxConnections ?? this.#maxConnections;
    this.#report = change.report ?? this.#report;
    if (change.policy) {
      this.#policy.configure(change.policy, performance.now());
    }
    if (change.remotes) this.#setRemotes(change.remotes);
  }

  async stopAccepting(): Promise<void> {
    const stopped = this.#accepting.stop();
    this.#scheduleProbe();
    await stopped;
  }

  async drain(deadlineMs = Infinity): Promise<void> {
    await this.stopAccepting();
    if (this.#serving.size > 0 && deadlineMs > 0) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = Promise.withResolvers<void>();
      if (deadlineMs !== Infinity) timer = setTimeout(late.resolve, deadlineMs);
      await Promise.race([
        this.#served(),
        late.promise,
        this.#done.promise,
      ]);
      clearTimeout(timer);
    }
    await this.close();
  }

  async #served(): Promise<void> {
    while (this.#serving.size > 0) await Promise.all(this.#serving);
  }

  async close(): Promise<void> {
    await this.stopAccepting();
    this.#closing.abort();
    for (const client of this.#opening) closeQuietly(client);
    for (const { pipe } of this.#connections.values()) pipe.abort("closed");
    await this.#served();
    clearInterval(this.#ticker);
    this.#ticker = undefined;
    this.#flushEvents();
    // Events of the last moment have started the ticker again.
    clearInterval(this.#ticker);
    this.#done.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function passed(ms: number, limitMs: number): boolean {
  return limitMs > 0 && ms >= limitMs;
}

function failureOf(error: unknown): DialFailure {
  return error instanceof DialError ? error.failure : "other";
}
