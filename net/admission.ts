/**
 * Admission: which peers of a listening socket may stay, and for how long
 * before they have proved themselves. Pure: the clock is an argument, and the
 * only effect is the callback that closes a peer.
 *
 * 1. `admit` takes a peer, where the limits allow it. At a limit the oldest
 *    peer that is unproved, or else idle, is closed to make room; a proved one
 *    never is.
 * 2. `prove` takes the deadline off a peer; what proves it is the protocol's
 *    matter (a TLS handshake, a CONNECT, a whole request).
 * 3. `idle` gives a proved peer a deadline of its own, between two requests;
 *    `unprove` gives it the first one again, until it has taken its answer.
 * 4. `expire` closes those whose deadline has passed.
 * 5. `release` ends the bookkeeping; the owner has closed the peer itself.
 *
 * A peer is a slot of typed arrays. The deadlines of a state are all equally
 * long, so its peers stand in the order of their deadlines and every step
 * costs the same, however many there are.
 */
import {
  NONE,
  PROVED,
  SlotList,
  SLOTS,
  SlotTable,
  SourceTable,
  Waiting,
} from "./admission_table.ts";
import { CounterBlock } from "./observe/counters.ts";
import type { Source } from "./source.ts";

export type { Source } from "./source.ts";

/** Why a peer was rejected, or closed before it had proved itself. */
export const REJECT_REASONS = [
  /** Every connection is taken by a proved peer. */
  "limit",
  /** The source's share is taken by its own proved peers. */
  "source-limit",
  /** It would hold more bytes than are left. */
  "bytes",
  /** It did not prove itself, or was idle, until its deadline. */
  "deadline",
  /** It was the oldest unproved or idle peer when another one needed room. */
  "displaced",
] as const;

/** Why a peer was rejected, or closed before it had proved itself. */
export type RejectReason = typeof REJECT_REASONS[number];

/** Limits of an {@linkcode Admission}. */
export interface AdmissionLimits {
  /** Peers at once, 1 to {@linkcode MAX_CONNECTIONS}. */
  readonly maxConnections: number;
  /** Peers of one source at once. Default: half of `maxConnections`, rounded up. */
  readonly maxConnectionsPerSource?: number | undefined;
  /** Bytes that all peers together may hold. Default: no limit. */
  readonly maxBytes?: number | undefined;
  /** Milliseconds within which a peer must prove itself. */
  readonly proveWithinMs: number;
  /** Milliseconds that a peer may be idle. Default: no limit; it may still be displaced. */
  readonly idleMs?: number | undefined;
}

/** What an {@linkcode Admission} needs beside its limits. */
export interface AdmissionOptions<Owner> extends AdmissionLimits {
  /**
   * Closes the descriptor of a peer that was admitted and must go. Its ticket
   * is void by then. Must not throw, and must not call the admission.
   */
  readonly close: (
    owner: Owner,
    reason: "deadline" | "displaced",
    source: Source,
  ) => void;
  /** Called for each rejection, closed peers included; must be cheap. */
  readonly onReject?:
    | ((reason: RejectReason, source: Source) => void)
    | undefined;
  /** Slots for the counters, where another thread reads them. */
  readonly counters?: SharedArrayBuffer | undefined;
  /**
   * Number of peers open in all threads that share one limit, in its first
   * element. Sources are counted by thread. Default: this admission's alone.
   */
  readonly open?: Int32Array<SharedArrayBuffer> | undefined;
}

/** Largest `maxConnections`. */
export const MAX_CONNECTIONS = SLOTS - 1;

/** Counters of an {@linkcode Admission}, in the order of their slots. */
export const ADMISSION_COUNTERS = [
  "admitted",
  "open",
  "unproved",
  "heldBytes",
  ...REJECT_REASONS,
] as const;

/** Figures of an {@linkcode Admission}: gauges, and counters since its start. */
export type AdmissionStats = Record<typeof ADMISSION_COUNTERS[number], number>;

const ADMITTED = 0;
const OPEN = 1;
const UNPROVED = 2;
const HELD_BYTES = 3;
const REJECTED = 4;

/** Tickets of peers that were not admitted. */
const LIMIT = -1;
const SOURCE_LIMIT = -2;

/** The reason behind a ticket below 0, undefined for an admitted peer. */
export function rejectionOf(
  ticket: number,
): "limit" | "source-limit" | undefined {
  if (ticket >= 0) return undefined;
  return ticket === SOURCE_LIMIT ? "source-limit" : "limit";
}

/** Admits peers to one listening socket, or to several that share limits. */
export class Admission<Owner> {
  #maxConnections: number;
  #maxConnectionsPerSource: number;
  readonly maxBytes: number;
  readonly #waitMs: readonly [unproved: number, idle: number];
  readonly #close: AdmissionOptions<Owner>["close"];
  readonly #onReject: AdmissionOptions<Owner>["onReject"];
  readonly #counters: CounterBlock<typeof ADMISSION_COUNTERS[number]>;
  readonly #sharedOpen: Int32Array<SharedArrayBuffer>;
  readonly #slots = new SlotTable<Owner>();
  readonly #sources = new SourceTable();
  /** By state, over all sources. */
  readonly #lists = [new SlotList(), new SlotList()] as const;
  /** By state, within a source. */
  readonly #sourceLists = [new SlotList(), new SlotList()] as const;

  /** Throws a RangeError for limits that no peer could meet. */
  constructor(options: AdmissionOptions<Owner>) {
    const { maxConnections, proveWithinMs, idleMs = Infinity } = options;
    this.#maxConnections = this.#maxConnectionsPerSource = 0;
    this.setLimits(maxConnections, options.maxConnectionsPerSource);
    if (!(proveWithinMs > 0)) {
      throw new RangeError(
        `cannot use proveWithinMs ${proveWithinMs}: must be above 0`,
      );
    }
    this.maxBytes = options.maxBytes ?? Infinity;
    this.#waitMs = [proveWithinMs, idleMs];
    this.#close = options.close;
    this.#onReject = options.onReject;
    this.#counters = new CounterBlock(ADMISSION_COUNTERS, options.counters);
    this.#sharedOpen = options.open ?? new Int32Array(new SharedArrayBuffer(4));
  }

  /** Peers at once. */
  get maxConnections(): number {
    return this.#maxConnections;
  }

  /** Peers of one source at once. */
  get maxConnectionsPerSource(): number {
    return this.#maxConnectionsPerSource;
  }

  /** Other limits, for peers from now on. Throws a RangeError for limits that no peer could meet. */
  setLimits(
    maxConnections: number,
    share = Math.ceil(maxConnections / 2),
  ): void {
    checkLimit("maxConnections", maxConnections, MAX_CONNECTIONS);
    checkLimit("maxConnectionsPerSource", share, MAX_CONNECTIONS);
    this.#maxConnections = maxConnections;
    this.#maxConnectionsPerSource = share;
  }

  /** The figures, now. */
  stats(): AdmissionStats {
    return this.#counters.read();
  }

  /**
   * A ticket for a new peer, with its deadline running; below 0 where there is
   * no room, see {@linkcode rejectionOf}. The caller closes a rejected peer.
   */
  admit(owner: Owner, source: Source, nowMs: number): number {
    const share = this.#sources.count(source);
    if (
      share >= this.maxConnectionsPerSource && !this.#displaceOf(source)
    ) return this.#reject("source-limit", source, SOURCE_LIMIT);
    // Counted before it is compared: other threads count at the same time.
    if (Atomics.add(this.#sharedOpen, 0, 1) >= this.maxConnections) {
      if (!this.#displaceAny()) {
        Atomics.sub(this.#sharedOpen, 0, 1);
        return this.#reject("limit", source, LIMIT);
      }
    }
    const slot = this.#slots.take(owner, this.#sources.enter(source));
    this.#counters.slots[ADMITTED]!++;
    this.#counters.slots[OPEN]!++;
    this.#wait(slot, Waiting.unproved, nowMs);
    return this.#slots.ticket(slot);
  }

  /** The peer has proved itself, or is busy again: it has no deadline, and is never displaced. */
  prove(ticket: number): void {
    const slot = this.#slots.find(ticket);
    if (slot !== NONE) this.#unlist(slot);
  }

  /** A proved peer is idle: it may be displaced, and has the deadline of idle peers. */
  idle(ticket: number, nowMs: number): void {
    this.#await(ticket, Waiting.idle, nowMs);
  }

  /** A proved peer must prove itself once more: it may be displaced, and its deadline begins again. */
  unprove(ticket: number, nowMs: number): void {
    this.#await(ticket, Waiting.unproved, nowMs);
  }

  /** Whether the ticket's peer is admitted and not released. */
  has(ticket: number): boolean {
    return this.#slots.find(ticket) !== NONE;
  }

  /** Counts bytes that are kept for a peer; false, and nothing counted, where they exceed the limit. */
  hold(ticket: number, bytes: number): boolean {
    const slot = this.#slots.find(ticket);
    if (slot === NONE) return false;
    const held = this.#counters.slots[HELD_BYTES]! + bytes;
    if (held > this.maxBytes) {
      this.#reject("bytes", this.#sources.name(this.#slots.source[slot]!), 0);
      return false;
    }
    this.#counters.slots[HELD_BYTES] = held;
    this.#slots.bytes[slot]! += bytes;
    return true;
  }

  /** Counts bytes as gone that were held, at most as many as the peer holds. */
  unhold(ticket: number, bytes: number): void {
    const slot = this.#slots.find(ticket);
    if (slot === NONE) return;
    const gone = Math.min(bytes, this.#slots.bytes[slot]!);
    this.#slots.bytes[slot]! -= gone;
    this.#counters.slots[HELD_BYTES]! -= gone;
  }

  /** The peer is closed. A ticket that is void already changes nothing. */
  release(ticket: number): void {
    const slot = this.#slots.find(ticket);
    if (slot !== NONE) this.#free(slot);
  }

  /** Closes the peers whose deadline has passed; returns when the next one does. */
  expire(nowMs: number): number {
    for (const state of [Waiting.unproved, Waiting.idle]) {
      const list = this.#lists[state];
      const waitMs = this.#waitMs[state];
      while (
        list.head !== NONE && this.#slots.sinceMs[list.head]! + waitMs <= nowMs
      ) this.#evict(list.head, "deadline");
    }
    return this.nextDeadlineMs;
  }

  /** When the next deadline passes; Infinity without one. */
  get nextDeadlineMs(): number {
    return Math.min(
      this.#deadlineMs(Waiting.unproved),
      this.#deadlineMs(Waiting.idle),
    );
  }

  #deadlineMs(state: 0 | 1): number {
    const { head } = this.#lists[state];
    return head === NONE
      ? Infinity
      : this.#slots.sinceMs[head]! + this.#waitMs[state];
  }

  #displaceOf(source: Source): boolean {
    const index = this.#sources.find(source);
    if (index === NONE) return false;
    for (const heads of this.#sources.heads) {
      const head = heads[index]!;
      if (head === NONE) continue;
      this.#evict(head, "displaced");
      return true;
    }
    return false;
  }

  #displaceAny(): boolean {
    const head = this.#lists[0].head !== NONE
      ? this.#lists[0].head
      : this.#lists[1].head;
    if (head === NONE) return false;
    this.#evict(head, "displaced");
    return true;
  }

  #evict(slot: number, reason: "deadline" | "displaced"): void {
    const owner = this.#slots.owner[slot] as Owner;
    const source = this.#sources.name(this.#slots.source[slot]!);
    this.#free(slot);
    this.#reject(reason, source, 0);
    this.#close(owner, reason, source);
  }

  #reject(reason: RejectReason, source: Source, ticket: number): number {
    this.#counters.slots[REJECTED + REJECT_REASONS.indexOf(reason)]!++;
    this.#onReject?.(reason, source);
    return ticket;
  }

  #free(slot: number): void {
    this.#unlist(slot);
    this.#counters.slots[OPEN]!--;
    this.#counters.slots[HELD_BYTES]! -= this.#slots.bytes[slot]!;
    Atomics.sub(this.#sharedOpen, 0, 1);
    this.#sources.leave(this.#slots.source[slot]!);
    this.#slots.give(slot);
  }

  #await(ticket: number, state: 0 | 1, nowMs: number): void {
    const slot = this.#slots.find(ticket);
    if (slot === NONE) return;
    this.#unlist(slot);
    this.#wait(slot, state, nowMs);
  }

  /** Puts a slot at the end of a state's lists. */
  #wait(slot: number, state: 0 | 1, nowMs: number): void {
    const { slots } = this.#counters;
    if (state === Waiting.unproved) slots[UNPROVED]!++;
    this.#slots.state[slot] = state;
    this.#slots.sinceMs[slot] = nowMs;
    this.#lists[state].append(slot);
    const source = this.#slots.source[slot]!;
    this.#sources.load(source, state, this.#sourceLists[state]);
    this.#sourceLists[state].append(slot);
    this.#sources.store(source, state, this.#sourceLists[state]);
  }

  /** Takes a slot out of its state's lists, where it is in one. */
  #unlist(slot: number): void {
    const state = this.#slots.state[slot]!;
    if (state !== Waiting.unproved && state !== Waiting.idle) return;
    if (state === Waiting.unproved) this.#counters.slots[UNPROVED]!--;
    this.#slots.state[slot] = PROVED;
    this.#lists[state].remove(slot);
    const source = this.#slots.source[slot]!;
    this.#sources.load(source, state, this.#sourceLists[state]);
    this.#sourceLists[state].remove(slot);
    this.#sources.store(source, state, this.#sourceLists[state]);
  }
}

function checkLimit(name: string, value: number, max: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= max) return;
  throw new RangeError(
    `cannot use ${name} ${value}: must be a whole number from 1 to ${max}`,
  );
}
