/**
 * The loop through which every byte of a stream goes: a file, stdin, a TCP
 * connection.
 *
 * 1. Bytes are read straight into the cutter's memory.
 * 2. The cutter sets its batch to the datagrams that are whole, or that have
 *    waited for the rest of theirs too long.
 * 3. The pacer says when they may go.
 * 4. Each sink takes the batch in turn.
 * 5. At the end of the stream the rest goes too, or is dropped, counted.
 */
import { BusyLoop } from "../busy.ts";
import { type Cutter, LineCutter, RecordCutter } from "./splitter.ts";
import type { Pacer } from "./pacer.ts";
import { PacedWait } from "./paced_wait.ts";
import type { DatagramSink } from "../sinks/sink.ts";

/** A stream of bytes. */
export interface ByteSource {
  /** Reads into memory: bytes read, or null at the end. May answer at once. */
  read(into: Uint8Array<ArrayBuffer>): Promise<number | null> | number | null;
  /**
   * Whether another stream has begun with the last read, which brought nothing:
   * what waits for more belongs to the one that ended. Asking resets it.
   */
  restarted?(): boolean;
}

/**
 * What becomes of a line or record that the end of the stream leaves
 * unfinished: it is sent, sent as a line where the stream ended in order, or
 * dropped and counted.
 */
export type OnPartial = "send" | "end-line" | "drop";

/** What a feed counts, in the order of its slots. */
export const FEED_COUNTERS = [
  "readBytes",
  "cutDatagrams",
  /** Lines and records that were dropped because the stream ended in them. */
  "droppedPartial",
] as const;

const READ_BYTES = 0;
const CUT_DATAGRAMS = 1;
const DROPPED_PARTIAL = 2;

/** How long a record waits to be filled, in milliseconds, by default. */
export const DEFAULT_FILL_WAIT_MS = 100;

/** Stands for a read that is still under way when a record has waited too long. */
const LATE = -1;

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
  /** How long a record waits to be filled, in milliseconds. @default {100} */
  fillWaitMs?: number | undefined;
  /** What becomes of an unfinished line or record at the end. @default {"send"} */
  onPartial?: OnPartial | undefined;
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
  readonly #fillWaitMs: number;
  readonly #onPartial: OnPartial;
  /** Whether what waits has waited too long already, so that no timer is needed. */
  #late = false;
  #readBytes = 0;
  #stopped = false;
  #stopRead: ((end: null) => void) | undefined;

  constructor(options: FeedOptions) {
    this.#source = options.source;
    this.#cutter = options.cutter;
    this.#sinks = options.sinks;
    this.#counters = options.counters;
    this.#pacer = options.pacer;
    this.#fillWaitMs = options.fillWaitMs ?? DEFAULT_FILL_WAIT_MS;
    this.#onPartial = options.onPartial ?? "send";
    this.#pacedWait = options.pacer && new PacedWait({
      holds: options.holds ?? false,
      catchUpMs: options.pacer.catchUpMs,
    });
  }

  /** Bytes that this feed has read. */
  get readBytes(): number {
    return this.#readBytes;
  }

  /** Reads nothing more; what has been read still goes, then `run` ends. */
  stop(): void {
    this.#stopped = true;
    this.#stopRead?.(null);
  }

  /** Runs to the end of the stream. Rejects where reading fails; what was read has gone then. */
  async run(): Promise<void> {
    let inOrder = false;
    let reading: Promise<number | null> | number | null | undefined;
    try {
      while (!this.#stopped) {
        reading ??= this.#source.read(this.#cutter.space());
        const bytes = reading instanceof Promise
          ? await this.#unlessStopped(reading)
          : reading;
        if (bytes === LATE) {
          this.#late = true;
          if (this.#cutter.flush()) await this.#send();
          continue;
        }
        if (bytes === null) break;
        reading = undefined;
        this.#late = false;
        if (this.#source.restarted?.()) await this.#sendRest();
        this.#readBytes += bytes;
        this.#counters[READ_BYTES]! += bytes;
        this.#cutter.filled(bytes);
        while (this.#cutter.ready()) await this.#send();
        if (this.#busy.due()) await this.#busy.pause();
      }
      inOrder = true;
    } finally {
      await this.#end(inOrder);
      for (const sink of this.#sinks) await sink.flush?.();
    }
  }

  /**
   * A read of a pipe or a terminal cannot be called off, but it can be left; it
   * can also be late, when what came before it has waited long enough.
   */
  #unlessStopped(reading: Promise<number | null>): Promise<number | null> {
    this.#busy.waited();
    return new Promise((resolve, reject) => {
      this.#stopRead = resolve;
      const waits = this.#cutter instanceof RecordCutter && !this.#late &&
        this.#cutter.pending > 0;
      if (waits) {
        const timer = setTimeout(resolve, this.#fillWaitMs, LATE);
        const clear = () => clearTimeout(timer);
        this.#stopRead = (end) => {
          clear();
          resolve(end);
        };
        reading.then(clear, clear);
      }
      reading.then(resolve, reject);
    });
  }

  async #end(inOrder: boolean): Promise<void> {
    const cutter = this.#cutter;
    const mode = this.#onPartial;
    if (mode === "drop" || mode === "end-line" && !inOrder) {
      if (cutter.pending > 0) this.#counters[DROPPED_PARTIAL]!++;
      return;
    }
    if (mode === "end-line" && cutter instanceof LineCutter) cutter.endLine();
    await this.#sendRest();
  }

  async #sendRest(): Promise<void> {
    while (this.#cutter.end()) await this.#send();
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
