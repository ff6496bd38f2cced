/**
 * The forwarder of the portable engine: what a connection goes through in the
 * isolate that opened it.
 *
 * 1. accept: `accept_loop.ts` only accepts; it never waits for a client or a remote,
 * 2. admit: the limits and the policy, then the client's TLS handshake,
 * 3. reach: choose a remote and dial it, again while the policy names another,
 * 4. pipe: `pipe.ts` moves the bytes,
 * 5. end: counted and reported;
 * 6. tick: deadlines and moved bytes of all connections, on one timer.
 *
 * Remotes, their outcomes and probes are in `forward_remotes.ts`.
 *
 * Functions stand in that order, control after them.
 */
import { type Address, formatAddress } from "../../../address.ts";
import { Admission, MAX_CONNECTIONS, rejectionOf } from "../../../admission.ts";
import { sourceOf } from "../../../source.ts";
import { errorCode, errorText, UsageError } from "../../../errors.ts";
import {
  type ConnectionFilter,
  type ConnectionInfo,
  type CreatePolicy,
  type Deadlines,
  DEFAULT_DEADLINES,
  END_REASONS,
  type EndReason,
  type ForwardChange,
  type Forwarder,
  type ForwardPlan,
  type ForwardPolicy,
  type ForwardStats,
  NO_REMOTE,
  REJECT_REASONS,
  type RejectReason,
  type StreamEngine,
  type StreamEventSink,
} from "../../stream.ts";
import type { RemoteTls } from "../../../tls_files.ts";
import {
  countInBucket,
  DURATION_BUCKETS_MS,
  ForwardSlot,
  forwardSlots,
  readForward,
  RemoteSlot,
} from "../../stream_counters.ts";
import { dialStream, type ForwardListener, listenForward } from "./sockets.ts";
import type { StreamConn } from "./stream_conn.ts";
import type { SocketControl } from "../../socket_control.ts";
import { AcceptLoop } from "../../../accept_loop.ts";
import { ForwardEvents } from "./forwarder_events.ts";
import { type Remote, RemoteSet } from "./forwarder_remotes.ts";
import { BufferPool, StreamPipe } from "./pipe.ts";

/** How often deadlines are checked and events are reported. */
const TICK_MS = 100;

/**
 * Makes the portable engine; `createPolicy` makes the policies of its plans.
 * `openControl` gives what reaches the sockets, for what Deno's API cannot do
 * to them; it is opened with the first forwarder and closed with the engine.
 */
export function portableStreamEngine(
  createPolicy: CreatePolicy,
  openControl?: () => (SocketControl & Disposable) | undefined,
): StreamEngine {
  const open = new Set<Forwarder>();
  let control: (SocketControl & Disposable) | undefined;
  return {
    name: "portable",
    description: "Deno.listen, Deno.connect, node:tls",
    features: { tls: true },
    async forward(plan, onEvents) {
      const { keepAlive = true } = plan;
      control ??= openControl?.();
      const policy = createPolicy(plan.policy);
      const listener = await listenForward(
        plan.listen,
        { keepAlive, control },
        plan.tls,
      );
      const forwarder = new PortableForwarder(
        listener,
        plan,
        policy,
        control,
        onEvents,
      );
      open.add(forwarder);
      const forget = () => open.delete(forwarder);
      forwarder.finished.then(forget, forget);
      return forwarder;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...open].map((forwarder) => forwarder.close()));
      control?.[Symbol.dispose]();
      control = undefined;
    },
  };
}

/** A client between accept and pipe. */
class Opening {
  readonly conn: StreamConn;
  /** Its address as text, and its host alone. */
  readonly client: string;
  readonly host: string;
  readonly sinceMs: number = performance.now();
  /** Remotes that were dialled, in order. */
  readonly tried: number[] = [];
  /** Aborted where it ends before it is piped. */
  readonly ended = new AbortController();
  /** Whether its TLS handshake is under way. */
  unproved = false;
  /** Why it was ended. */
  reason: RejectReason | undefined;
  ticket = -1;

  constructor(conn: StreamConn) {
    this.conn = conn;
    this.client = formatAddress(conn.remoteAddr);
    this.host = conn.remoteAddr.hostname;
  }

  /** Ends what it waits for; the first reason holds. */
  end(reason: RejectReason): void {
    if (this.reason !== undefined) return;
    this.reason = reason;
    this.ended.abort();
    this.conn.reset();
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
  readonly #listener: ForwardListener;
  readonly #buffers: BufferPool;
  readonly #keepAlive: boolean;
  readonly #control: SocketControl | undefined;
  readonly #tlsClients: boolean;
  readonly #admission: Admission<Opening>;
  #deadlines: Deadlines;
  #maxConnections: number;
  #maxConnectionsPerSource: number;
  #remoteTls: RemoteTls | undefined;

  readonly #slots = forwardSlots();
  readonly #events: ForwardEvents;
  readonly #remotes: RemoteSet;
  readonly #connections = new Map<number, Connection>();
  readonly #opening = new Set<Opening>();
  readonly #serving = new Set<Promise<void>>();
  #nextId = 1;

  readonly #accepting: AcceptLoop<StreamConn>;
  readonly #done = Promise.withResolvers<void>();
  #ticker: ReturnType<typeof setInterval> | undefined;

  constructor(
    listener: ForwardListener,
    plan: ForwardPlan,
    policy: ForwardPolicy,
    control: SocketControl | undefined,
    onEvents: StreamEventSink | undefined,
  ) {
    this.#policy = policy;
    this.#deadlines = { ...DEFAULT_DEADLINES, ...plan.deadlines };
    this.#maxConnections = plan.maxConnections ?? 0;
    this.#maxConnectionsPerSource = plan.maxConnectionsPerSource ?? 0;
    this.#keepAlive = plan.keepAlive ?? true;
    this.#control = control;
    this.#remoteTls = plan.remoteTls;
    this.#tlsClients = plan.tls !== undefined;
    this.#events = new ForwardEvents(
      plan.report ?? "problems",
      onEvents,
      this.#slots,
      () => this.#startTicking(),
    );
    this.#buffers = new BufferPool(plan.bufferBytes);
    this.#admission = new Admission({
      maxConnections: MAX_CONNECTIONS,
      // A handshake has a timer of its own, as its limit may change.
      proveWithinMs: Infinity,
      close: (opening) => opening.end("displaced"),
    });
    this.#setLimits();
    this.#remotes = new RemoteSet({
      policy,
      events: this.#events,
      slots: this.#slots,
      dial: (remote, signal) => this.#dial(remote, signal),
      keep: (work) => this.#keep(work),
    });
    this.#remotes.set(plan.remotes);
    this.#listener = listener;
    this.address = listener.address;
    this.finished = this.#done.promise;
    this.#accepting = new AcceptLoop(
      this.#listener,
      (client) => {
        this.#slots[ForwardSlot.accepted]!++;
        this.#keep(this.#serve(new Opening(client)));
      },
      (error) => this.#acceptFailed(error),
      () => this.#clientGone(),
    );
  }

  /** A client was reset before its address could be asked for: counted, as on the other engine. */
  #clientGone(): void {
    this.#slots[ForwardSlot.accepted]!++;
    const reason = REJECT_REASONS.indexOf("client-gone");
    this.#slots[ForwardSlot.rejected + reason]!++;
  }

  #setLimits(): void {
    this.#admission.setLimits(
      this.#maxConnections || MAX_CONNECTIONS,
      this.#maxConnectionsPerSource || MAX_CONNECTIONS,
    );
  }

  #acceptFailed(error: unknown): void {
    this.#slots[ForwardSlot.acceptErrors]!++;
    this.#events.add({
      type: "accept-failed",
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

  async #serve(opening: Opening): Promise<void> {
    const nowMs = performance.now();
    const { host } = opening;
    opening.ticket = this.#admission.admit(opening, sourceOf(host), nowMs);
    const refused = rejectionOf(opening.ticket);
    if (refused) return this.#reject(opening, refused);
    if (!this.#tlsClients) this.#admission.prove(opening.ticket);
    try {
      if (!this.#policy.admit(host, nowMs)) {
        return this.#reject(opening, "denied");
      }
      this.#slots[ForwardSlot.opening]!++;
      this.#opening.add(opening);
      try {
        const connection = await this.#open(opening);
        if (connection) await this.#pipe(connection);
      } finally {
        this.#endOpening(opening);
        this.#policy.released(host);
      }
    } finally {
      this.#admission.release(opening.ticket);
    }
  }

  /** Counted in the turn of what ends it, so that a client never counts twice or not at all. */
  #endOpening(opening: Opening): void {
    if (this.#opening.delete(opening)) this.#slots[ForwardSlot.opening]!--;
  }

  async #open(opening: Opening): Promise<Connection | undefined> {
    if (this.#tlsClients) {
      const failure = await this.#shakeHands(opening);
      if (failure !== undefined) {
        this.#reject(opening, "tls", failure);
        return undefined;
      }
      this.#admission.prove(opening.ticket);
    }
    opening.conn.watch(() => opening.end("client-gone"));
    const reached = await this.#reach(opening);
    if (!reached) return undefined;
    const { conn, client, sinceMs } = opening;
    const nowMs = performance.now();
    const { remote, upstream } = reached;
    const connection: Connection = {
      id: this.#nextId++,
      client,
      remote,
      pipe: new StreamPipe(conn, upstream, {
        buffers: this.#buffers,
        forward: this.#slots,
        remote: remote.slots,
      }),
      sinceMs: nowMs,
      movedAtMs: nowMs,
      upstream: 0,
      downstream: 0,
    };
    this.#endOpening(opening);
    this.#slots[ForwardSlot.open]!++;
    this.#slots[ForwardSlot.opened]!++;
    remote.slots[RemoteSlot.open]!++;
    remote.slots[RemoteSlot.opened]!++;
    this.#connections.set(connection.id, connection);
    if (this.#events.level !== "problems") {
      this.#events.add({
        type: "opened",
        connection: connection.id,
        client,
        remote: remote.id,
        connectMs: nowMs - sinceMs,
      });
    }
    this.#startTicking();
    return connection;
  }

  /** What is wrong with a client's handshake; undefined where it is done. */
  async #shakeHands(opening: Opening): Promise<string | undefined> {
    const { handshakeTimeoutMs } = this.#deadlines;
    let late = false;
    const timer = handshakeTimeoutMs > 0
      ? setTimeout(() => {
        late = true;
        opening.end("tls");
      }, handshakeTimeoutMs)
      : undefined;
    opening.unproved = true;
    try {
      await opening.conn.ready();
      return undefined;
    } catch (error) {
      return late
        ? `no handshake in ${handshakeTimeoutMs} ms`
        : errorText(error);
    } finally {
      opening.unproved = false;
      clearTimeout(timer);
    }
  }

  async #reach(opening: Opening) {
    const { tried, host, client, ended } = opening;
    const policy = this.#policy;
    while (!ended.signal.aborted) {
      const id = policy.choose(host, tried, performance.now());
      const remote = this.#remotes.get(id);
      if (id === NO_REMOTE || !remote) {
        this.#reject(
          opening,
          tried.length === 0 ? "no-remote" : "connect-failed",
        );
        return undefined;
      }
      tried.push(id);
      const sinceMs = performance.now();
      remote.slots[RemoteSlot.pending]!++;
      try {
        const upstream = await this.#dial(remote, ended.signal);
        this.#remotes.connected(remote, performance.now() - sinceMs);
        if (!ended.signal.aborted) return { remote, upstream };
        upstream.close();
      } catch (error) {
        if (ended.signal.aborted) break;
        this.#remotes.failed(remote, client, error);
      } finally {
        remote.slots[RemoteSlot.pending]!--;
        this.#remotes.forget(remote);
      }
      const delayMs = policy.retryDelayMs(tried);
      if (delayMs > 0) await pause(delayMs, ended.signal);
    }
    this.#reject(opening, "closed");
    return undefined;
  }

  #dial(remote: Remote, signal: AbortSignal): Promise<StreamConn> {
    return dialStream(remote.address, {
      timeoutMs: this.#deadlines.connectTimeoutMs,
      tls: this.#remoteTls,
      keepAlive: this.#keepAlive,
      control: this.#control,
      signal,
    });
  }

  /**
   * Lets a client go without a remote, with a reset where the platform can send
   * one. Elsewhere the reset is the kernel's: after the end (FIN) of every close
   * it sends RST where bytes are left unread (RFC 2525, 2.17).
   */
  #reject(opening: Opening, why: RejectReason, detail?: string): void {
    opening.end(why);
    this.#endOpening(opening);
    const reason = opening.reason!;
    this.#slots[ForwardSlot.rejected + REJECT_REASONS.indexOf(reason)]!++;
    this.#events.add({
      type: "rejected",
      client: opening.client,
      reason,
      attempts: opening.tried.length,
      remotes: opening.tried,
      durationMs: performance.now() - opening.sinceMs,
      ...(reason === "tls" ? { detail } : {}),
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
    if (this.#events.level === "traffic") this.#tellTraffic(connection);
    if (this.#events.level !== "problems") {
      this.#events.add({
        type: "closed",
        connection: connection.id,
        client: connection.client,
        remote: remote.id,
        reason,
        durationMs,
        bytesUpstream: pipe.bytesUpstream,
        bytesDownstream: pipe.bytesDownstream,
      });
    }
    this.#remotes.forget(remote);
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
        if (this.#events.level === "traffic") this.#tellTraffic(connection);
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
    this.#events.flush();
    if (this.#connections.size === 0 && this.#events.empty) {
      clearInterval(this.#ticker);
      this.#ticker = undefined;
    }
  }

  #tellTraffic(connection: Connection): void {
    const { pipe } = connection;
    const upstream = pipe.bytesUpstream - connection.upstream;
    const downstream = pipe.bytesDownstream - connection.downstream;
    if (upstream === 0 && downstream === 0) return;
    this.#events.add({
      type: "traffic",
      connection: connection.id,
      client: connection.client,
      upstream,
      downstream,
    });
  }

  stats(): ForwardStats {
    return readForward([this.#slots], this.#remotes.stats());
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

  // deno-lint-ignore require-await
  async update(change: ForwardChange): Promise<void> {
    if (change.tls && !this.#tlsClients) {
      throw new UsageError(
        "cannot turn TLS on for an open listener; open it again",
      );
    }
    if (change.tls) this.#listener.setTls(change.tls);
    if (change.remoteTls) this.#remoteTls = change.remoteTls;
    if (change.deadlines) {
      this.#deadlines = { ...this.#deadlines, ...change.deadlines };
    }
    this.#maxConnections = change.maxConnections ?? this.#maxConnections;
    this.#maxConnectionsPerSource = change.maxConnectionsPerSource ??
      this.#maxConnectionsPerSource;
    this.#setLimits();
    this.#events.level = change.report ?? this.#events.level;
    if (change.policy) {
      this.#policy.configure(change.policy, performance.now());
    }
    if (change.remotes) this.#remotes.set(change.remotes);
    else this.#remotes.planProbe();
  }

  async stopAccepting(): Promise<void> {
    const stopped = this.#accepting.stop();
    this.#remotes.stopProbing();
    await stopped;
  }

  async drain(deadlineMs = Infinity): Promise<void> {
    await this.stopAccepting();
    for (const opening of this.#opening) {
      if (opening.unproved) opening.end("closed");
    }
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
    this.#remotes.end();
    for (const opening of this.#opening) opening.end("closed");
    for (const { pipe } of this.#connections.values()) pipe.abort("closed");
    await this.#served();
    clearInterval(this.#ticker);
    this.#ticker = undefined;
    this.#events.flush();
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

/** Waits, or until it is aborted. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });
}
