/**
 * The loop through which every byte of a stream goes: a file, stdin, a TCP
 * connection.
 *
 * 1. Bytes are read straight into the cutter's memory.
 * 2. The cutter sets its batch to the datagrams that are whole.
 * 3. The pacer says when they may go.
 * 4. Each sink takes the batch in turn.
 * 5. At the end of the stream the rest goes too.
 */
import { BusyLoop } from "./busy.ts";
import type { Cutter } from "./cut.ts";
import type { Pacer } from "./pace.ts";
import { PacedWait } from "./paced_wait.ts";
import type { DatagramSink } from "./sink.ts";

/** A stream of bytes. */
export interface ByteSource {
  /** Reads into memory: bytes read, or null at the end. May answer at once. */
  read(into: Uint8Array<ArrayBuffer>): Promise<number | null> | number | null;
}

/** What a feed counts, in the order of its slots. */
export const FEED_COUNTERS = ["readBytes", "cutDatagrams"] as const;

const READ_BYTES = 0;
const CUT_DATAGRAMS = 1;

/** What a feed works on. */
export interface FeedOptions {
  /** Where bytes come from; who made it closes it. */
  source: ByteSource;
  /** What makes datagrams of them. */
  cutter: Cutter;
  /** Where datagrams go; who made them closes them. */
  sinks: readonly DatagramSink[];
  /** Slots of {@linkcode FEED_COUNTERS}. */
  counters: Float64Array;
  /** Limits the rate, where there is a limit. */
  pacer?: Pacer | undefined;
  /** Whether it may hold the thread for moments until a burst may go. @default {false} */
  holds?: boolean | undefined;
}

/** Moves a stream of bytes to sinks until it ends or is stopped. */
export class Feed {
  readonly #source: ByteSource;
  readonly #cutter: Cutter;
  readonly #sinks: readonly DatagramSink[];
  readonly #counters: Float64Array;
  readonly #pacer: Pacer | undefined;
  readonly #pacedWait: PacedWait | undefined;
  readonly #busy = new BusyLoop();
  #stopped = false;
  #stopRead: ((end: null) => void) | undefined;

  constructor(options: FeedOptions) {
    this.#source = options.source;
    this.#cutter = options.cutter;
    this.#sinks = options.sinks;
    this.#counters = options.counters;
    this.#pacer = options.pacer;
    this.#pacedWait = options.pacer && new PacedWait({
      holds: options.holds ?? false,
      catchUpMs: options.pacer.catchUpMs,
    });
  }

  /** Reads nothing more; what has been read still goes, then `run` ends. */
  stop(): void {
    this.#stopped = true;
    this.#stopRead?.(null);
  }

  /** Runs to the end of the stream. Rejects where reading fails; what was read has gone then. */
  async run(): Promise<void> {
    try {
      while (!this.#stopped) {
        const reading = this.#source.read(this.#cutter.space());
        const bytes = reading instanceof Promise
          ? await this.#unlessStopped(reading)
          : reading;
        if (bytes === null) break;
        this.#counters[READ_BYTES]! += bytes;
        this.#cutter.filled(bytes);
        while (this.#cutter.ready()) await this.#send();
        if (this.#busy.due()) await this.#busy.pause();
      }
    } finally {
      while (this.#cutter.end()) await this.#send();
      for (const sink of this.#sinks) await sink.flush?.();
    }
  }

  /** A read of a pipe or a terminal cannot be called off, but it can be left. */
  #unlessStopped(reading: Promise<number | null>): Promise<number | null> {
    this.#busy.waited();
    return new Promise((resolve, reject) => {
      this.#stopRead = resolve;
      reading.then(resolve, reject);
    });
  }

  async #send(): Promise<void> {
    const { batch } = this.#cutter;
    if (this.#pacer && this.#pacedWait) {
      const bytes = batch.byteLength();
      for (;;) {
        const delay = this.#pacer.delayMs(bytes, performance.now());
        if (delay === 0) break;
        const waiting = this.#pacedWait.wait(delay);
        if (waiting) {
          await waiting;
          this.#busy.waited();
        } else if (this.#busy.over()) await this.#busy.pause();
      }
      this.#pacer.sent(bytes);
    }
    this.#counters[CUT_DATAGRAMS]! += batch.datagrams();
    for (const sink of this.#sinks) {
      const pending = sink.write(batch);
      if (pending) await pending;
    }
    this.#cutter.next();
  }
}
