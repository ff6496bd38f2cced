/**
 * Admission for connections of the event loop: the clock, the timer and the log
 * that {@linkcode Admission} itself does without.
 */
import {
  Admission,
  type AdmissionLimits,
  type AdmissionStats,
  type RejectReason,
  type Source,
} from "./admission.ts";
import type { Log } from "./observe/log.ts";
import { formatSource, sourceOf } from "./source.ts";

/** What a gate closes: a connection of Deno, a stream, a TLS socket. */
export interface Closable {
  /** Frees the descriptor, whatever is under way on it. */
  close(): void;
}

/** Options of a {@linkcode ConnectionGate}. */
export interface ConnectionGateOptions extends AdmissionLimits {
  /** What the socket is for, in the log and as a label: `metrics`, `producers`. */
  readonly listener: string;
  /** Where rejections are logged, at a limited rate. Default: nowhere. */
  readonly log?: Log | undefined;
  /** Milliseconds of a clock that never goes back. Default: `performance.now`. */
  readonly now?: (() => number) | undefined;
}

/** A connection that was admitted. */
export interface Admitted {
  /** The peer has proved itself, or is busy again: no deadline, never displaced. */
  prove(): void;
  /** The peer is idle, between two requests: it may be displaced. */
  idle(): void;
  /** The peer must prove itself once more: its deadline begins again. */
  unprove(): void;
  /** Counts bytes kept for the peer; false where there is no room for them. */
  hold(bytes: number): boolean;
  /** Counts bytes as gone that were held. */
  unhold(bytes: number): void;
  /** Whether the gate has not closed it, and it is not released. */
  isOpen(): boolean;
  /** Closes the connection, unless the gate has. */
  close(): void;
  /** The connection is closed; may be called again. */
  release(): void;
}

/** Admits connections, and closes those that do not prove themselves in time. */
export class ConnectionGate implements Disposable {
  readonly #admission: Admission<Closable>;
  readonly #options: ConnectionGateOptions;
  readonly #now: () => number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerMs = Infinity;

  /** Throws a RangeError for limits that no peer could meet. */
  constructor(options: ConnectionGateOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#admission = new Admission<Closable>({
      ...options,
      close: closeQuietly,
      onReject: (reason, source) => this.#log(reason, source),
    });
  }

  /** Admits a connection, or closes it and returns undefined. */
  admit(connection: Closable, hostname: string): Admitted | undefined {
    const admission = this.#admission;
    const ticket = admission.admit(connection, sourceOf(hostname), this.#now());
    if (ticket < 0) {
      closeQuietly(connection);
      return undefined;
    }
    this.#arm();
    return {
      prove: () => admission.prove(ticket),
      idle: () => {
        admission.idle(ticket, this.#now());
        this.#arm();
      },
      unprove: () => {
        admission.unprove(ticket, this.#now());
        this.#arm();
      },
      hold: (bytes) => admission.hold(ticket, bytes),
      unhold: (bytes) => admission.unhold(ticket, bytes),
      isOpen: () => admission.has(ticket),
      close: () => {
        if (!admission.has(ticket)) return;
        admission.release(ticket);
        closeQuietly(connection);
      },
      release: () => admission.release(ticket),
    };
  }

  /** What the socket is for. */
  get listener(): string {
    return this.#options.listener;
  }

  /** The figures, now. */
  stats(): AdmissionStats {
    return this.#admission.stats();
  }

  /** Stops the timer; connections are closed by their owner. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerMs = -Infinity;
  }

  /**
   * Lets the timer fire at the next deadline. One that is set for an earlier
   * time stays: it costs a turn, and arming one for each connection costs more.
   */
  #arm(): void {
    const nextMs = this.#admission.nextDeadlineMs;
    if (nextMs >= this.#timerMs) return;
    clearTimeout(this.#timer);
    this.#timerMs = nextMs;
    const waitMs = Math.min(Math.max(0, nextMs - this.#now()), MAX_TIMER_MS);
    this.#timer = setTimeout(() => {
      this.#timerMs = Infinity;
      this.#timer = undefined;
      this.#admission.expire(this.#now());
      this.#arm();
    }, Math.ceil(waitMs));
  }

  #log(reason: RejectReason, source: Source): void {
    const { listener, log } = this.#options;
    log?.limited(`admission ${listener} ${reason}`, REJECTIONS[reason], {
      listener,
      reason,
      source: formatSource(source),
    });
  }
}

/** Longest wait of a timer: setTimeout takes 2^31 - 1 ms. */
const MAX_TIMER_MS = 2 ** 31 - 1;

const REJECTIONS: Readonly<Record<RejectReason, string>> = {
  limit: "connection rejected: too many connections",
  "source-limit": "connection rejected: too many connections of this source",
  bytes: "connection closed: too many bytes queued",
  deadline: "connection closed: no valid request in time",
  displaced: "connection closed: oldest one waiting, its place was needed",
};

function closeQuietly(connection: Closable): void {
  try {
    connection.close();
  } catch {
    // It is closed already.
  }
}
