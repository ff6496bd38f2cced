/**
 * What forwarders count, as named slots over shared memory. The thread that
 * accepts writes them with plain increments; anyone reads them without a
 * message. With several threads each has its own blocks, and reading adds up.
 */
import { CounterBlock } from "../observe/counters.ts";
import {
  DIAL_FAILURES,
  END_REASONS,
  type ForwardStats,
  REJECT_REASONS,
  type RemoteStats,
  type Spread,
} from "./stream.ts";

/** Upper bounds of the buckets of dial times, in milliseconds; one more takes the rest. */
export const CONNECT_BUCKETS_MS: readonly number[] = [
  0.5,
  1,
  2.5,
  5,
  10,
  25,
  50,
  100,
  250,
  500,
  1000,
  2500,
  5000,
  10_000,
];

/** Upper bounds of the buckets of connection durations, in milliseconds; one more takes the rest. */
export const DURATION_BUCKETS_MS: readonly number[] = [
  10,
  100,
  1000,
  10_000,
  60_000,
  600_000,
  3_600_000,
  86_400_000,
];

const FORWARD_COUNTERS = [
  "accepted",
  "opening",
  "open",
  "opened",
  "bytesUpstream",
  "bytesDownstream",
  "acceptErrors",
  "eventsDropped",
  "durationSumMs",
  "dialErrors",
] as const;

const REMOTE_COUNTERS = [
  "state",
  "recentErrors",
  "errors",
  "lastErrorAtMs",
  "pending",
  "open",
  "opened",
  "bytesUpstream",
  "bytesDownstream",
  "probes",
  "probeErrors",
  "connectSumMs",
] as const;

/** Index of each slot of a forwarder. Behind them stand the reasons and the buckets. */
export const ForwardSlot = {
  accepted: 0,
  opening: 1,
  open: 2,
  opened: 3,
  bytesUpstream: 4,
  bytesDownstream: 5,
  acceptErrors: 6,
  eventsDropped: 7,
  durationSumMs: 8,
  /** Failed dials of clients, those of removed remotes too. */
  dialErrors: 9,
  /** One per {@linkcode END_REASONS}. */
  ended: 10,
  /** One per {@linkcode REJECT_REASONS}. */
  rejected: 10 + END_REASONS.length,
  /** One per {@linkcode DURATION_BUCKETS_MS} and one for the rest. */
  durations: 10 + END_REASONS.length + REJECT_REASONS.length,
} as const;

/** Index of each slot of a remote. Behind them stand the failures and the buckets. */
export const RemoteSlot = {
  /** 0 live, 1 dead; written by the policy. */
  state: 0,
  /** Failed dials in a row; written by the policy. */
  recentErrors: 1,
  errors: 2,
  lastErrorAtMs: 3,
  pending: 4,
  open: 5,
  opened: 6,
  bytesUpstream: 7,
  bytesDownstream: 8,
  probes: 9,
  probeErrors: 10,
  connectSumMs: 11,
  /** One per {@linkcode DIAL_FAILURES}. */
  failures: 12,
  /** One per {@linkcode CONNECT_BUCKETS_MS} and one for the rest. */
  connects: 12 + DIAL_FAILURES.length,
} as const;

/** Values of {@linkcode RemoteSlot.state}. */
export const RemoteState = { live: 0, dead: 1 } as const;

/** Slots of a forwarder: new ones, or those that another thread shares. */
export function forwardSlots(
  buffer?: SharedArrayBuffer,
): Float64Array<SharedArrayBuffer> {
  return new CounterBlock([
    ...FORWARD_COUNTERS,
    ...END_REASONS,
    ...REJECT_REASONS,
    ...DURATION_BUCKETS_MS.map(String),
    "longer",
  ], buffer).slots;
}

/** Slots of a remote: new ones, or those that another thread shares. */
export function remoteSlots(
  buffer?: SharedArrayBuffer,
): Float64Array<SharedArrayBuffer> {
  return new CounterBlock([
    ...REMOTE_COUNTERS,
    ...DIAL_FAILURES,
    ...CONNECT_BUCKETS_MS.map(String),
    "longer",
  ], buffer).slots;
}

/** Counts a value in its bucket, from `at` on. */
export function countInBucket(
  slots: Float64Array,
  at: number,
  bounds: readonly number[],
  value: number,
): void {
  let bucket = 0;
  while (bucket < bounds.length && value > bounds[bucket]!) bucket++;
  slots[at + bucket]!++;
}

/** Figures of a remote from its slots, one array per thread. */
export function readRemote(threads: readonly Float64Array[]): RemoteStats {
  const sum = (slot: number) => add(threads, slot);
  const most = (slot: number) =>
    Math.max(...threads.map((slots) => slots[slot]!));
  return {
    live: most(RemoteSlot.state) === RemoteState.live,
    recentErrors: most(RemoteSlot.recentErrors),
    errors: sum(RemoteSlot.errors),
    lastErrorAtMs: most(RemoteSlot.lastErrorAtMs),
    pending: sum(RemoteSlot.pending),
    open: sum(RemoteSlot.open),
    opened: sum(RemoteSlot.opened),
    bytesUpstream: sum(RemoteSlot.bytesUpstream),
    bytesDownstream: sum(RemoteSlot.bytesDownstream),
    probes: sum(RemoteSlot.probes),
    probeErrors: sum(RemoteSlot.probeErrors),
    failures: byName(threads, RemoteSlot.failures, DIAL_FAILURES),
    connectMs: spread(
      threads,
      RemoteSlot.connects,
      CONNECT_BUCKETS_MS,
      RemoteSlot.connectSumMs,
    ),
  };
}

/** Figures of a forwarder from its slots, one array per thread. */
export function readForward(
  threads: readonly Float64Array[],
  remotes: ReadonlyMap<number, RemoteStats>,
): ForwardStats {
  const sum = (slot: number) => add(threads, slot);
  return {
    accepted: sum(ForwardSlot.accepted),
    opening: sum(ForwardSlot.opening),
    open: sum(ForwardSlot.open),
    opened: sum(ForwardSlot.opened),
    bytesUpstream: sum(ForwardSlot.bytesUpstream),
    bytesDownstream: sum(ForwardSlot.bytesDownstream),
    acceptErrors: sum(ForwardSlot.acceptErrors),
    dialErrors: sum(ForwardSlot.dialErrors),
    eventsDropped: sum(ForwardSlot.eventsDropped),
    ended: byName(threads, ForwardSlot.ended, END_REASONS),
    rejected: byName(threads, ForwardSlot.rejected, REJECT_REASONS),
    durationMs: spread(
      threads,
      ForwardSlot.durations,
      DURATION_BUCKETS_MS,
      ForwardSlot.durationSumMs,
    ),
    remotes,
  };
}

function add(threads: readonly Float64Array[], slot: number): number {
  let total = 0;
  for (const slots of threads) total += slots[slot]!;
  return total;
}

function byName<Name extends string>(
  threads: readonly Float64Array[],
  at: number,
  names: readonly Name[],
): Record<Name, number> {
  const values = {} as Record<Name, number>;
  for (const [i, name] of names.entries()) values[name] = add(threads, at + i);
  return values;
}

function spread(
  threads: readonly Float64Array[],
  at: number,
  bounds: readonly number[],
  sumSlot: number,
): Spread {
  const buckets: number[] = [];
  for (let i = 0; i <= bounds.length; i++) buckets.push(add(threads, at + i));
  return { buckets, sum: add(threads, sumSlot) };
}
