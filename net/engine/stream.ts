/**
 * The seam between the TCP roles and what moves their bytes: types only.
 *
 * An engine serves forwarders. A forwarder owns the whole life of its
 * connections: accept, admit, choose a remote, dial, pipe, count. A role sees
 * neither a byte nor a socket, so that an engine may splice inside the kernel
 * and live in a Worker, with no promise and no message per connection. What
 * crosses the seam is plain data that can be cloned ({@linkcode ForwardPlan},
 * {@linkcode ForwardChange}), pure code made from data in the thread that uses
 * it ({@linkcode ForwardPolicy}), and shared slots (`stream_counters.ts`).
 *
 * What an engine cannot do it refuses by name with a UsageError before
 * anything is opened; it ignores nothing.
 */
import type { Address } from "../address.ts";
import type { RemoteTls, TlsTermination } from "../tls_files.ts";
import type { EngineName } from "./datagram.ts";

/** Seen from the proxy: towards the remote, or back to the client. */
export type Direction = "upstream" | "downstream";

/** One remote of a forwarder. */
export interface RemoteSpec {
  /**
   * Its number, given by the role and never used again within a forwarder: a
   * remote that is removed and added again counts from zero.
   */
  readonly id: number;
  /** Where to dial; a name is resolved again at each dial. */
  readonly address: Address;
}

/**
 * What a policy is made from: plain data, of a kind that the maker of policies
 * (`net/engine/balancing/policies.ts`) knows.
 */
export interface PolicySpec {
  /** Which policy. */
  readonly kind: string;
}

/** How long things may take, in milliseconds; 0 turns a deadline off. */
export interface Deadlines {
  /** One dial: resolving, connecting, and TLS where there is some. */
  readonly connectTimeoutMs: number;
  /** A client's TLS handshake. */
  readonly handshakeTimeoutMs: number;
  /** A connection in which no byte moves in either direction. */
  readonly idleTimeoutMs: number;
  /** The same, after one direction has ended. */
  readonly halfCloseTimeoutMs: number;
  /** A connection, however busy. */
  readonly lifetimeMs: number;
}

/** Ten seconds to connect and for a handshake, no other deadline. */
export const DEFAULT_DEADLINES: Deadlines = {
  connectTimeoutMs: 10_000,
  handshakeTimeoutMs: 10_000,
  idleTimeoutMs: 0,
  halfCloseTimeoutMs: 0,
  lifetimeMs: 0,
};

/**
 * What a forwarder tells beside its counters: `problems` are rejected clients,
 * failed dials, failed accepts and remotes that die or recover; `connections`
 * adds opened and closed; `traffic` adds moved bytes.
 */
export type ReportLevel = "problems" | "connections" | "traffic";

/** All that a forwarder is: data that can be cloned into another thread. */
export interface ForwardPlan {
  /** Where to listen; port 0 takes a free one. */
  readonly listen: Address;
  /** Where to dial. */
  readonly remotes: readonly RemoteSpec[];
  /** What chooses among them. */
  readonly policy: PolicySpec;
  /** Terminates TLS of clients. */
  readonly tls?: TlsTermination | undefined;
  /** Speaks TLS to remotes. */
  readonly remoteTls?: RemoteTls | undefined;
  /** @default {DEFAULT_DEADLINES} */
  readonly deadlines?: Partial<Deadlines> | undefined;
  /**
   * Clients served at once; more are rejected. 0 is no limit.
   * @default {0}
   */
  readonly maxConnections?: number | undefined;
  /**
   * The same, of one source: an IPv4 address, or the first 64 bits of an IPv6
   * address. 0 is no limit.
   * @default {0}
   */
  readonly maxConnectionsPerSource?: number | undefined;
  /**
   * Largest buffer of one direction, in bytes. Engines start with less and
   * grow to it where a connection shows bulk.
   * @default {262144}
   */
  readonly bufferBytes?: number | undefined;
  /**
   * TCP keepalive on both sides.
   * @default {true}
   */
  readonly keepAlive?: boolean | undefined;
  /** @default {"problems"} */
  readonly report?: ReportLevel | undefined;
}

/** What may change while a forwarder runs; what is left out stays. */
export interface ForwardChange {
  /**
   * All remotes from now on. One whose id stays keeps its state and counters;
   * connections to one that is left out go on.
   */
  readonly remotes?: readonly RemoteSpec[];
  /** Given to {@linkcode ForwardPolicy.configure}. */
  readonly policy?: PolicySpec;
  /** For handshakes from now on. */
  readonly tls?: TlsTermination;
  /** For dials from now on. */
  readonly remoteTls?: RemoteTls;
  /** For all connections, open ones too; a deadline that is left out stays. */
  readonly deadlines?: Partial<Deadlines>;
  /** For clients from now on. */
  readonly maxConnections?: number;
  /** For clients from now on. */
  readonly maxConnectionsPerSource?: number;
  /** For what happens from now on. */
  readonly report?: ReportLevel;
}

/** Why a piped connection ended. */
export const END_REASONS = [
  "eof",
  "client-reset",
  "remote-reset",
  "idle-timeout",
  "half-close-timeout",
  "lifetime",
  "aborted",
  "closed",
] as const;

/**
 * Why a piped connection ended: both sides said so (`eof`), one was reset, a
 * deadline passed, somebody ended it (`aborted`) or all (`closed`: the
 * forwarder was closed, or its grace period passed).
 */
export type EndReason = typeof END_REASONS[number];

/** Why a client was let go without a remote. */
export const REJECT_REASONS = [
  "no-remote",
  "connect-failed",
  "limit",
  "denied",
  "tls",
  "client-gone",
  "closed",
  "source-limit",
  "displaced",
] as const;

/**
 * Why a client was rejected: there is no remote, every attempt failed, too many
 * clients, the policy denied it, its handshake failed, it left while it waited,
 * the forwarder closed, too many clients of its source, or its handshake was
 * the oldest when another client needed room.
 */
export type RejectReason = typeof REJECT_REASONS[number];

/** How a dial can fail. */
export const DIAL_FAILURES = [
  "refused",
  "timeout",
  "unreachable",
  "resolve",
  "reset",
  "tls",
  "resources",
  "other",
] as const;

/** How a dial failed: `resources` is a limit of this machine, such as open files. */
export type DialFailure = typeof DIAL_FAILURES[number];

/** A remote as a policy sees it. */
export interface PolicyRemote {
  /** {@linkcode RemoteSpec.id}. */
  readonly id: number;
  /** {@linkcode RemoteSpec.address}. */
  readonly address: Address;
  /**
   * Its slots ({@linkcode RemoteSlot} of `stream_counters.ts`). The policy
   * writes `state` and `recentErrors` and nothing else.
   */
  readonly slots: Float64Array;
  /** Connections open or being dialled now, over all threads. */
  load(): number;
}

/** {@linkcode ForwardPolicy.choose} found none. */
export const NO_REMOTE = -1;

/**
 * What decides, in the thread that accepts: a pure object with no timer, no
 * socket and no promise. All times are milliseconds of one clock that never
 * goes back. A connection costs one `admit`, one `choose` per attempt, one
 * `connected` or `failed` per attempt, and one `released`.
 */
export interface ForwardPolicy {
  /**
   * Whether `admit`, `choose` and `released` look at the client's host. An
   * engine may pass an empty text where not.
   */
  readonly wantsClient: boolean;
  /** All remotes from now on; those whose id stays keep their state. */
  setRemotes(remotes: readonly PolicyRemote[], nowMs: number): void;
  /** Takes a new spec of its own kind; state is kept. */
  configure(spec: PolicySpec, nowMs: number): void;
  /** Whether a new client may go on. Each `true` is followed by one `released`. */
  admit(client: string, nowMs: number): boolean;
  /**
   * The id of a remote for the next attempt, or {@linkcode NO_REMOTE}, also
   * where `tried` (ids, in order; empty at first) is as long as it may get.
   */
  choose(client: string, tried: readonly number[], nowMs: number): number;
  /** How long to wait before the attempt after those at `tried`, which failed. */
  retryDelayMs(tried: readonly number[]): number;
  /** A dial succeeded. */
  connected(remote: number, nowMs: number): void;
  /** A dial failed. Not called where the client left or the forwarder closed. */
  failed(remote: number, failure: DialFailure, nowMs: number): void;
  /** An admitted client is gone, piped or not. */
  released(client: string): void;
  /** When the next probe is due, of all remotes or of one; Infinity for none. */
  probeDueMs(remote?: number): number;
  /** The id of a remote whose probe is due, at most once per due probe; else {@linkcode NO_REMOTE}. */
  takeProbe(nowMs: number): number;
  /** How a probe (a dial, closed at once) ended: undefined is success. */
  probed(
    remote: number,
    failure: DialFailure | undefined,
    nowMs: number,
  ): void;
}

/** Makes a policy from its spec, in the thread that uses it. */
export type CreatePolicy = (spec: PolicySpec) => ForwardPolicy;

/** A connection, now. */
export interface ConnectionInfo {
  /** Its number, unique within the forwarder. */
  readonly id: number;
  /** `host:port` of the client. */
  readonly client: string;
  /** Number of its remote. */
  readonly remote: number;
  /** Milliseconds since it was opened. */
  readonly ageMs: number;
  /** Milliseconds since a byte moved, to the engine's tick. */
  readonly idleMs: number;
  /** Bytes written to the remote. */
  readonly bytesUpstream: number;
  /** Bytes written to the client. */
  readonly bytesDownstream: number;
  /** Whether one direction has ended. */
  readonly halfClosed: boolean;
}

/** What happened, with the time in milliseconds since 1970. */
export type StreamEvent =
  & { readonly atMs: number }
  & (
    | {
      readonly type: "opened";
      readonly connection: number;
      readonly client: string;
      readonly remote: number;
      /** How long choosing and dialling took, with all attempts. */
      readonly connectMs: number;
    }
    | {
      readonly type: "traffic";
      readonly connection: number;
      readonly client: string;
      /** Bytes since the last such event of this connection. */
      readonly upstream: number;
      readonly downstream: number;
    }
    | {
      readonly type: "closed";
      readonly connection: number;
      readonly client: string;
      readonly remote: number;
      readonly reason: EndReason;
      readonly durationMs: number;
      readonly bytesUpstream: number;
      readonly bytesDownstream: number;
    }
    | {
      readonly type: "rejected";
      readonly client: string;
      readonly reason: RejectReason;
      /** Dials that were tried. */
      readonly attempts: number;
      /** Remotes that were dialled, in order. */
      readonly remotes: readonly number[];
      /** Since it was accepted. */
      readonly durationMs: number;
      /** What went wrong with its handshake, where something did. */
      readonly detail?: string | undefined;
    }
    | {
      readonly type: "dial-failed";
      readonly client: string;
      readonly remote: number;
      readonly failure: DialFailure;
      /** The system's text. */
      readonly detail: string;
    }
    | {
      readonly type: "probe-failed";
      readonly remote: number;
      readonly failure: DialFailure;
      readonly detail: string;
    }
    | {
      readonly type: "remote-state";
      readonly remote: number;
      readonly live: boolean;
      /** When a dead one is probed; undefined where it is not. */
      readonly probeInMs?: number | undefined;
    }
    | {
      readonly type: "accept-failed";
      /** The errno's name, where there is one. */
      readonly code: string | undefined;
      readonly detail: string;
    }
  );

/** Takes what happened since the last call, at most once per tick of the engine. */
export type StreamEventSink = (events: readonly StreamEvent[]) => void;

/** How values are spread. */
export interface Spread {
  /** Values up to each bound and above the one before; one more for the rest. */
  readonly buckets: readonly number[];
  /** Sum of all values. */
  readonly sum: number;
}

/** Figures of a remote. */
export interface RemoteStats {
  /** Whether it is chosen from. */
  readonly live: boolean;
  /** Failed dials since the last success. */
  readonly recentErrors: number;
  /** Failed dials of clients. */
  readonly errors: number;
  /** When a dial failed last, in milliseconds since 1970; 0 for never. */
  readonly lastErrorAtMs: number;
  /** Connections being dialled now. */
  readonly pending: number;
  /** Connections piped now. */
  readonly open: number;
  /** Connections ever piped. */
  readonly opened: number;
  /** Bytes written to it. */
  readonly bytesUpstream: number;
  /** Bytes written to clients from it. */
  readonly bytesDownstream: number;
  /** Probes while it was dead. */
  readonly probes: number;
  /** Probes that failed. */
  readonly probeErrors: number;
  /** Failed dials of clients, by how. */
  readonly failures: Readonly<Record<DialFailure, number>>;
  /** Milliseconds that successful dials took, over `CONNECT_BUCKETS_MS`. */
  readonly connectMs: Spread;
}

/** Figures of a forwarder. */
export interface ForwardStats {
  /** Clients accepted. */
  readonly accepted: number;
  /** Clients accepted and not piped yet. */
  readonly opening: number;
  /** Connections piped now. */
  readonly open: number;
  /** Connections ever piped. */
  readonly opened: number;
  /** Bytes written to remotes. */
  readonly bytesUpstream: number;
  /** Bytes written to clients. */
  readonly bytesDownstream: number;
  /** Accepts that failed, such as for want of file descriptors. */
  readonly acceptErrors: number;
  /** Failed dials of clients, those of removed remotes too. */
  readonly dialErrors: number;
  /** Events that were not told because too many came in one tick. */
  readonly eventsDropped: number;
  /** Connections that ended, by why. */
  readonly ended: Readonly<Record<EndReason, number>>;
  /** Clients let go without a remote, by why. */
  readonly rejected: Readonly<Record<RejectReason, number>>;
  /** Milliseconds that ended connections lasted, over `DURATION_BUCKETS_MS`. */
  readonly durationMs: Spread;
  /** By {@linkcode RemoteSpec.id}: those of the plan, and removed ones with open connections. */
  readonly remotes: ReadonlyMap<number, RemoteStats>;
}

/** Which connections: one, or all of one remote. */
export type ConnectionFilter =
  | { readonly connection: number }
  | { readonly remote: number };

/** A running forwarder. */
export interface Forwarder extends AsyncDisposable {
  /** The engine behind it. */
  readonly engine: EngineName;
  /** The bound address, with the real port. */
  readonly address: Address;
  /** Resolves when it is closed; rejects where it broke. */
  readonly finished: Promise<void>;
  /** All counters now; read from shared slots, at no cost to the engine. */
  stats(): ForwardStats;
  /** The open connections. */
  connections(): Promise<ConnectionInfo[]>;
  /** Ends connections now (`aborted`); resolves with how many. */
  abort(filter: ConnectionFilter): Promise<number>;
  /** Changes what is served; throws where the change is refused, nothing is changed then. */
  update(change: ForwardChange): Promise<void>;
  /** Accepts nothing more; resolves when the port is free. Open connections go on. */
  stopAccepting(): Promise<void>;
  /**
   * Stops accepting and lets open connections end; those left after
   * `deadlineMs` are ended (`closed`). Resolves when it is closed.
   */
  drain(deadlineMs?: number): Promise<void>;
  /** Ends everything now. Resolves when the port is free and all is closed. */
  close(): Promise<void>;
}

/** What an engine can do. */
export interface StreamFeatures {
  /** Whether TLS can be spoken on either side. */
  readonly tls: boolean;
}

/** Serves forwarders in one way. */
export interface StreamEngine extends AsyncDisposable {
  /** Which one it is. */
  readonly name: EngineName;
  /** What it is made of, for the log. */
  readonly description: string;
  /** What it can do. */
  readonly features: StreamFeatures;
  /**
   * Binds and serves. Throws a UsageError for what this engine cannot do and
   * an OperationError where the address cannot be bound.
   */
  forward(plan: ForwardPlan, onEvents?: StreamEventSink): Promise<Forwarder>;
}
