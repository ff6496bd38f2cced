/** A relay as plain data, so that it can run in this thread or in a Worker. */
import type { Address } from "../../address.ts";
import type { EngineChoice } from "../../engine/datagram.ts";
import type { LogFields } from "../../observe/log.ts";

/** Values of the stop slot. */
export const StopSlot = {
  /** Goes on. */
  run: 0,
  /** Takes what has arrived already, then ends and closes the listener. */
  drain: 1,
  /** Ends `run` and leaves the listener open, so that another relay can go on. */
  pause: 2,
} as const;

/** One destination of a {@linkcode RelayPlan}. */
export interface PlannedDestination {
  address: Address;
  networkInterface: string | undefined;
  ttl: number | undefined;
  loop: boolean | undefined;
  maxWaitMs: number;
}

/** Where a relay listens; see DatagramListenOptions. */
export interface ListenPlan {
  address: Address;
  networkInterface: string | undefined;
  receiveBufferBytes: number | undefined;
  reusePort: boolean | undefined;
  ownsPort: boolean | undefined;
  sharePort: boolean | undefined;
  v6Only: boolean | undefined;
}

/** What a relay in a Worker does. */
export interface RelayPlan {
  engine: EngineChoice;
  listen: ListenPlan;
  destinations: PlannedDestination[];
}

/** A log file that a relay in a Worker writes, as one of several writers. */
export interface PlannedLog {
  path: string;
  format: "raw" | "lines" | "jsonl" | undefined;
  rotateBytes: number | undefined;
  rotateIntervalMs: number | undefined;
  fsync: "none" | "interval" | "always" | undefined;
  onWriteError: "retry" | "end" | undefined;
  /** The buffer of the file's FileState. */
  state: SharedArrayBuffer;
  /** Slots of LOG_COUNTERS, of this writer alone. */
  counters: SharedArrayBuffer;
}

/**
 * What a relay's Worker is told, in this order: to listen, to open a log or
 * not, and to run; instead of running, to close what it has opened. While it
 * runs it reads no message: only the stop slot ends or pauses it. Paused, it may
 * be given other destinations, and is told to run again.
 */
export type RelayOrder =
  | {
    kind: "listen";
    plan: RelayPlan;
    /** Slots of RECEIVE_COUNTERS. */
    received: SharedArrayBuffer;
    /** The listener's SocketState. */
    state: SharedArrayBuffer;
    /** Slots of SEND_COUNTERS, for each destination. */
    sent: SharedArrayBuffer[];
    /** A SocketState for each destination. */
    sentStates: SharedArrayBuffer[];
    /** One Int32: a StopSlot. */
    stop: SharedArrayBuffer;
  }
  | { kind: "openLog"; log: PlannedLog }
  /** Only after `paused`; `run` follows. */
  | {
    kind: "setDestinations";
    destinations: PlannedDestination[];
    sent: SharedArrayBuffer[];
    /** A SocketState for each destination. */
    sentStates: SharedArrayBuffer[];
  }
  | { kind: "run" }
  | { kind: "close" };

/** An error as plain data. */
export interface ReportedError {
  usage: boolean;
  /** Options that the message names. */
  options: readonly string[];
  message: string;
  code: string | undefined;
}

/** What a relay's Worker tells. */
export type RelayReport =
  | { kind: "listening"; address: Address }
  | { kind: "logOpen" }
  | { kind: "paused" }
  /** Whether the destinations are the new ones, or why they are the old ones. */
  | { kind: "destinationsSet"; error: ReportedError | undefined }
  | { kind: "logEnded"; error: ReportedError }
  | { kind: "note"; message: string }
  /** The listener or a destination was lost. */
  | { kind: "lost"; destination: number | undefined; reason: string }
  | { kind: "debug"; message: string; fields: LogFields | undefined }
  | {
    kind: "warning";
    message: string;
    fields: LogFields | undefined;
    /** Where it repeats: what its lines are limited by. */
    key: string | undefined;
  }
  | { kind: "failed"; error: ReportedError }
  | { kind: "ended" };
