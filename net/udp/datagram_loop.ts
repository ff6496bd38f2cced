/**
 * The loop through which every received datagram goes.
 *
 * 1. `tryReceive` fills the batch with what is there.
 * 2. The batch is counted; what loops is taken out of it.
 * 3. Each sink takes it in turn.
 * 4. Nothing left: the sinks hand on what they gathered.
 * 5. The loop waits until there is more.
 */
import { DatagramBatch } from "../engine/batch.ts";
import type { DatagramListener } from "../engine/datagram.ts";
import { StopSlot } from "./worker/loop_plan.ts";
import { BusyLoop } from "./busy.ts";
import type { LoopGuard } from "./loop_guard.ts";
import type { DatagramSink } from "./sinks/sink.ts";
import type { PolledTimers } from "./timers.ts";

/** What a relay counts about its listener, in the order of its slots. */
export const RECEIVE_COUNTERS = [
  "receivedDatagrams",
  "receivedBytes",
  "droppedKernel",
  "receiveErrors",
  /** 1 where `droppedKernel` is only the least that it can be, else 0. */
  "dropsUnknown",
  /** What came back from its destinations and was not sent again. */
  "droppedLoop",
] as const;

const DATAGRAMS = 0;
const BYTES = 1;
const DROPPED = 2;
const ERRORS = 3;
const UNKNOWN = 4;
const LOOPED = 5;

/** A drain ends when nothing came for this long, for engines that must wait to know. */
const DRAIN_QUIET_MS = 20;

/** A drain ends after this long even if senders go on. */
const DRAIN_MOST_MS = 70;

/**
 * How long a relay with a thread of its own waits before it looks at `stop`, in
 * milliseconds. With a drain's most it ends within 100 ms, whatever comes.
 */
export const STOP_LOOK_MS = 20;

/**
 * How long the thread is held for more to come before the wait goes to another
 * one, which for a source that sends one at a time costs two switches of
 * threads a datagram (measured at 20 000 a second, CPU time of each: 26 µs, and
 * 10 µs while the thread is held).
 */
const HOLD_MS = 1;

/** Receive errors in a row after which the listener is given up. */
const MOST_ERRORS = 10;

/** What a relay works on. */
export interface RelayOptions {
  /** Where datagrams come from. The relay closes it. */
  listener: DatagramListener;
  /** Where they go; who made them closes them, since relays may share one. */
  sinks: readonly DatagramSink[];
  /** Slots of {@linkcode RECEIVE_COUNTERS}. */
  counters: Float64Array;
  /** One of {@linkcode StopSlot}, set from any thread. Default: an own one. */
  stop?: Int32Array<SharedArrayBuffer>;
  /**
   * How long a wait lasts before `stop` is looked at, in milliseconds, where
   * nobody calls `drain`: in Workers. Default: forever.
   */
  lookMs?: number;
  /** Whether the loop has its thread for itself. @default {false} */
  ownThread?: boolean;
  /**
   * Whether it may hold a thread that it shares with the event loop for moments
   * while it waits for more. @default {false}
   */
  holds?: boolean;
  /** The sinks' timers, where the loop has its thread for itself. */
  timers?: PolledTimers;
  /** Drops what comes back from the sinks, where they can send it back. Default: none. */
  loopGuard?: LoopGuard | undefined;
  /** The clock, in milliseconds. @default {performance.now} */
  now?: () => number;
}

/** Moves datagrams from a listener to sinks until it is drained. */
export class Relay {
  readonly #listener: DatagramListener;
  readonly #sinks: readonly DatagramSink[];
  readonly #counters: Float64Array;
  readonly #stop: Int32Array;
  readonly #lookMs: number | undefined;
  readonly #ownThread: boolean;
  readonly #holds: boolean;
  readonly #timers: PolledTimers | undefined;
  readonly #loopGuard: LoopGuard | undefined;
  /** What a relay that was paused has dropped. */
  readonly #loopedBefore: number;
  readonly #now: () => number;
  /** Whether the listener was asked not to join reads. */
  #singles = false;

  constructor(options: RelayOptions) {
    this.#listener = options.listener;
    this.#sinks = options.sinks;
    this.#counters = options.counters;
    this.#stop = options.stop ?? new Int32Array(new SharedArrayBuffer(4));
    this.#lookMs = options.lookMs;
    this.#ownThread = options.ownThread ?? false;
    this.#holds = options.holds ?? false;
    this.#timers = options.timers;
    this.#loopGuard = options.loopGuard;
    this.#loopedBefore = options.counters[LOOPED]!;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Takes what has arrived already, then ends `run`. */
  drain(): void {
    this.#stop[0] = 1;
    this.#listener.wake();
  }

  /** Runs until drained; then the listener is closed. Rejects where it broke. */
  async run(): Promise<void> {
    let paused = false;
    try {
      await this.#loop();
      await this.#releaseAll();
      paused = this.#stop[0] === StopSlot.pause;
    } finally {
      if (!paused) this.#close();
    }
  }

  #close(): void {
    this.#listener[Symbol.dispose]();
    // What lay unread when it closed counts as dropped too.
    this.#countDrops();
  }

  async #loop(): Promise<void> {
    const listener = this.#listener;
    const sinks = this.#sinks;
    const batch = new DatagramBatch(listener.batchSize);
    const busy = new BusyLoop(this.#now);
    let errors = 0;
    let drainingSince = -1;
    let lastReceived = 0;
    for (;;) {
      if (this.#stop[0] === StopSlot.pause) return;
      if (this.#loopGuard?.holding) await this.#release(this.#loopGuard);
      let slots: number;
      try {
        slots = listener.tryReceive(batch);
        errors = 0;
      } catch (error) {
        this.#counters[ERRORS]!++;
        if (++errors >= MOST_ERRORS) throw error;
        slots = 0;
      }
      if (slots > 0) {
        this.#count(batch);
        if (this.#loopGuard) this.#filter(this.#loopGuard, batch);
        for (const sink of sinks) {
          const pending = sink.write(batch);
          if (pending) await pending;
        }
        if (!busy.due()) continue;
        this.#countDrops();
        this.#timers?.run();
        if (this.#ownThread) busy.waited();
        else await busy.pause();
        if (this.#stop[0] !== 1) continue;
        lastReceived = this.#now();
        if (drainingSince < 0) drainingSince = lastReceived;
        if (lastReceived - drainingSince >= DRAIN_MOST_MS) return;
        continue;
      }
      for (const sink of sinks) {
        const pending = sink.flush?.();
        if (pending) await pending;
      }
      if (this.#holds && this.#stop[0] !== 1 && listener.hold?.(HOLD_MS)) {
        if (!busy.over()) continue;
        this.#countDrops();
        await busy.pause();
        continue;
      }
      this.#countDrops();
      this.#timers?.run();
      if (this.#stop[0] !== 1) {
        const waiting = listener.readable(this.#waitMs());
        if (waiting) await waiting;
        busy.waited();
        continue;
      }
      const now = this.#now();
      if (drainingSince < 0) drainingSince = lastReceived = now;
      const leftMs = DRAIN_MOST_MS - (now - drainingSince);
      if (now - lastReceived >= DRAIN_QUIET_MS || leftMs <= 0) return;
      const waiting = listener.readable(Math.min(DRAIN_QUIET_MS, leftMs));
      if (waiting) await waiting;
    }
  }

  #filter(guard: LoopGuard, batch: DatagramBatch): void {
    guard.filter(batch, this.#now());
    if (guard.singles === this.#singles) return;
    this.#singles = guard.singles;
    this.#listener.joinReads?.(!this.#singles);
  }

  #waitMs(): number | undefined {
    const heldMs = this.#loopGuard?.holding
      ? this.#loopGuard.nextMs(this.#now())
      : undefined;
    if (this.#lookMs === undefined) return heldMs;
    const mostMs = Math.min(this.#lookMs, heldMs ?? Infinity);
    return this.#timers?.nextMs(mostMs) ?? mostMs;
  }

  /** Sends what the loop guard has held long enough. */
  async #release(guard: LoopGuard): Promise<void> {
    for (;;) {
      const batch = guard.release(this.#now());
      if (batch === undefined) break;
      for (const sink of this.#sinks) await sink.write(batch);
    }
    this.#countLooped(guard);
  }

  async #releaseAll(): Promise<void> {
    const guard = this.#loopGuard;
    if (guard === undefined) return;
    for (;;) {
      const batch = guard.releaseAny();
      if (batch === undefined) break;
      for (const sink of this.#sinks) await sink.write(batch);
    }
    this.#countLooped(guard);
  }

  #count(batch: DatagramBatch): void {
    this.#counters[DATAGRAMS]! += batch.datagrams();
    this.#counters[BYTES]! += batch.byteLength();
  }

  #countLooped(guard: LoopGuard): void {
    this.#counters[LOOPED] = this.#loopedBefore + guard.dropped;
  }

  #countDrops(): void {
    if (this.#loopGuard) this.#countLooped(this.#loopGuard);
    countDrops(this.#listener, this.#counters);
  }
}

/** Takes what a listener knows of its drops into slots of {@linkcode RECEIVE_COUNTERS}. */
export function countDrops(
  listener: DatagramListener,
  counters: Float64Array,
): void {
  const dropped = listener.dropped();
  counters[DROPPED] = dropped ?? 0;
  counters[UNKNOWN] = dropped === undefined || listener.droppedIsLeast ? 1 : 0;
}
