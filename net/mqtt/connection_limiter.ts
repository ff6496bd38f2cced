/**
 * Which connections may stay: limits for all, for each source, and for new ones
 * in a second. At a limit, the oldest connection whose CONNECT was not accepted
 * yet makes room.
 */
import { type AdmissionStats, MAX_CONNECTIONS } from "../admission.ts";
import {
  type Admitted,
  type Closable,
  ConnectionGate,
} from "../connection_gate.ts";
import type { Log } from "../observe/log.ts";
import type { TurnedAwayReason } from "./metrics.ts";
import { TokenBucket } from "./policy/token_bucket.ts";

/** Limits of a {@linkcode ConnectionLimiter}. */
export interface ConnectionLimits {
  /** Connections at once. Default: as many as there can be. */
  readonly maxConnections?: number | undefined;
  /** Connections of one source at once. Default: `maxConnections`. */
  readonly maxConnectionsPerSource?: number | undefined;
  /** New connections in a second. Default: no limit. */
  readonly maxConnectionsPerSecond?: number | undefined;
  /** From the connection until its CONNECT is accepted, in milliseconds. */
  readonly proveWithinMs: number;
}

/** A connection that may stay. */
export class Arrival implements Closable {
  /** Frees the descriptor, whatever is under way on it. */
  close: () => void;
  #admitted: Admitted | undefined;

  constructor(close: () => void) {
    this.close = close;
  }

  /** The gate's part, once it is admitted. */
  set admitted(admitted: Admitted) {
    this.#admitted = admitted;
  }

  /** Its client may use the broker: it never makes room again. */
  prove(): void {
    this.#admitted?.prove();
  }

  /** It is closed; may be called again. */
  leave(): void {
    this.#admitted?.release();
  }
}

/** Admits the connections of all listeners of a gateway. */
export class ConnectionLimiter implements Disposable {
  /** Whether none is admitted any more. */
  isDraining = false;
  readonly #gate: ConnectionGate;
  readonly #rate: TokenBucket | undefined;
  readonly #now: () => number;
  readonly #onReject: (reason: TurnedAwayReason) => void;
  readonly #hasShare: boolean;
  #sourceRejections = 0;

  constructor(
    limits: ConnectionLimits,
    log: Log,
    now: () => number,
    onReject: (reason: TurnedAwayReason) => void,
  ) {
    const { maxConnectionsPerSecond } = limits;
    const maxConnections = Math.min(
      limits.maxConnections ?? MAX_CONNECTIONS,
      MAX_CONNECTIONS,
    );
    this.#hasShare = (limits.maxConnectionsPerSource ?? Infinity) <
      maxConnections;
    this.#gate = new ConnectionGate({
      listener: "mqtt",
      log,
      now,
      maxConnections,
      maxConnectionsPerSource: limits.maxConnectionsPerSource ?? maxConnections,
      proveWithinMs: limits.proveWithinMs,
    });
    this.#rate = maxConnectionsPerSecond === undefined
      ? undefined
      : new TokenBucket(
        maxConnectionsPerSecond,
        Math.max(1, maxConnectionsPerSecond),
        now(),
      );
    this.#now = now;
    this.#onReject = onReject;
  }

  /** Admits a connection, or closes it and returns undefined. */
  admit(hostname: string, close: () => void): Arrival | undefined {
    const reason = this.isDraining
      ? "draining"
      : this.#rate && !this.#rate.tryTake(1, this.#now())
      ? "connect_rate"
      : undefined;
    if (reason) {
      this.#onReject(reason);
      close();
      return undefined;
    }
    const arrival = new Arrival(close);
    const admitted = this.#gate.admit(arrival, hostname);
    if (!admitted) {
      const { "source-limit": sourceRejections } = this.#gate.stats();
      // Without a share of its own, a source's limit is that of all.
      const isSource = this.#hasShare &&
        sourceRejections > this.#sourceRejections;
      this.#sourceRejections = sourceRejections;
      this.#onReject(
        isSource ? "max_connections_per_source" : "max_connections",
      );
      return undefined;
    }
    arrival.admitted = admitted;
    return arrival;
  }

  /** Figures of the listening sockets. */
  stats(): AdmissionStats {
    return this.#gate.stats();
  }

  [Symbol.dispose](): void {
    this.#gate[Symbol.dispose]();
  }
}
