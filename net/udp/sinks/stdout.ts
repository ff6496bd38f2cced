/**
 * Datagrams to stdout, byte for byte: `--tee` of every role, and the server's
 * `--path -`.
 *
 * 1. `write` copies whole datagrams into a ring of `queueBytes`.
 * 2. A pump hands pieces of the ring to stdout, one promise per piece, and
 *    goes to sleep when the ring is empty.
 * 3. Where the ring is full, `whenFull` decides: `drop` counts the datagram
 *    and goes on, `wait` holds up the caller until there is room.
 * 4. What stdout has taken counts as written, what it never took as dropped.
 */
import { setImmediate } from "node:timers";
import type { DatagramBatch } from "../../engine/batch.ts";
import { SLOT_BYTES } from "../../engine/batch.ts";
import { failedCall, type OperationError, UsageError } from "../../errors.ts";
import { CounterBlock } from "../../observe/counters.ts";
import { DatagramRuns } from "../file_log/datagram_runs.ts";
import type { DatagramSink } from "./sink.ts";

/** What a full queue means: lose datagrams, counted, or hold up the caller. */
export type WhenFull = "drop" | "wait";

/** What a {@linkcode StdoutSink} counts, in the order of its slots. */
export const STDOUT_COUNTERS = [
  "datagrams",
  "bytes",
  "droppedQueueFullDatagrams",
  "droppedQueueFullBytes",
  "droppedClosedDatagrams",
  "droppedClosedBytes",
  "unwrittenBytes",
] as const;

/** One of {@linkcode STDOUT_COUNTERS}. */
export type StdoutCounter = typeof STDOUT_COUNTERS[number];

const Slot = {
  datagrams: 0,
  bytes: 1,
  queueFullDatagrams: 2,
  queueFullBytes: 3,
  closedDatagrams: 4,
  closedBytes: 5,
  unwrittenBytes: 6,
} as const;

/** Options of a {@linkcode StdoutSink}. */
export interface StdoutSinkOptions {
  /**
   * `drop` where datagrams come from a network that does not wait, `wait`
   * where they come from a file.
   * @default {"drop"}
   */
  whenFull?: WhenFull;
  /**
   * Bytes that may wait for the reader, at least 65536.
   * @default {4194304}
   */
  queueBytes?: number;
  /**
   * Called once when stdout takes nothing more: the reader left (`EPIPE`) or
   * the write failed. Datagrams from then on are counted as dropped.
   */
  onClosed?: (reason: OperationError) => void;
  /**
   * How long the end waits for a reader that takes nothing, in milliseconds.
   * @default {1000}
   */
  lingerMs?: number;
  /** What takes the bytes, for messages. @default {"stdout"} */
  subject?: string;
  /**
   * Opens what takes the bytes again when its reader has left (`EPIPE`), and
   * resolves with what writes to it. Until then datagrams wait in the queue.
   * Default: none, the sink closes.
   */
  reopen?: (reason: OperationError) => Promise<WriteBytes>;
  /** Takes bytes in place of stdout; resolves with how many it took. */
  writeBytes?: WriteBytes;
}

/** Takes bytes; resolves with how many it took. */
export type WriteBytes = (bytes: Uint8Array<ArrayBuffer>) => Promise<number>;

/** Bytes of one write: large enough to be worth a promise, small enough that room comes back soon. */
const PIECE_BYTES = 256 * 1024;

/** Runs of datagrams of different sizes that may wait: small ones fill the queue by their number. */
const MAX_RUNS = 65_536;

/** How long a stdout that its owner made non-blocking (EAGAIN) is left alone. */
const WOULD_BLOCK_MS = 5;

/** Copies datagrams to stdout through a bounded queue. */
export class StdoutSink implements DatagramSink {
  /** What was taken and what was lost, by reason. */
  readonly counters: CounterBlock<StdoutCounter> = new CounterBlock(
    STDOUT_COUNTERS,
  );
  readonly #whenFull: WhenFull;
  readonly #lingerMs: number;
  readonly #subject: string;
  readonly #onClosed: ((reason: OperationError) => void) | undefined;
  readonly #reopen: StdoutSinkOptions["reopen"];
  #writeBytes: WriteBytes;
  readonly #ring: Uint8Array<ArrayBuffer>;
  /** Where the datagrams in the ring end. */
  readonly #runs = new DatagramRuns(MAX_RUNS);
  /** Where the next piece to write starts. */
  #head = 0;
  /** Bytes in the ring, behind the head. */
  #queued = 0;
  #writtenBytes = 0;
  #pump: Promise<void> | undefined;
  /** Made by who waits, resolved by the pump at each progress. */
  #progress: PromiseWithResolvers<void> | undefined;
  #closed = false;
  #ending = false;
  /** Whether the front of the ring is in the middle of a datagram. */
  #partial = false;

  constructor(options: StdoutSinkOptions = {}) {
    const { whenFull = "drop", queueBytes = 4 << 20, lingerMs = 1000 } =
      options;
    if (!(queueBytes >= SLOT_BYTES)) {
      throw new UsageError(
        `Cannot queue ${queueBytes} bytes for stdout: at least ${SLOT_BYTES} are wanted, so that every datagram fits`,
      );
    }
    this.#whenFull = whenFull;
    this.#lingerMs = lingerMs;
    this.#subject = options.subject ?? "stdout";
    this.#onClosed = options.onClosed;
    this.#reopen = options.reopen;
    this.#writeBytes = options.writeBytes ?? writeStdout;
    this.#ring = new Uint8Array(queueBytes);
  }

  /** Whether stdout takes nothing more. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Bytes that wait for the reader. */
  get queuedBytes(): number {
    return this.#queued;
  }

  /**
   * What was taken and what was lost, now. While the sink ends, what still
   * waits counts as lost: a process that is cut off prints its summary then.
   */
  stats(): Record<StdoutCounter, number> {
    const stats = this.counters.read();
    if (!this.#ending || this.#closed) return stats;
    stats.droppedClosedDatagrams += this.#runs.datagramsBefore(Infinity);
    stats.droppedClosedBytes += this.#queued;
    stats.unwrittenBytes += this.#queued;
    return stats;
  }

  /** Takes every datagram of a batch, or counts those that it cannot take. */
  write(batch: DatagramBatch): Promise<void> | void {
    if (this.#whenFull === "wait") return this.#writeOrWait(batch);
    for (let slot = 0; slot < batch.count; slot++) {
      this.append(batch.filled(slot), batch.segmentSizes[slot]!);
    }
    return this.handOn();
  }

  /**
   * Takes a run of whole datagrams, each `size` bytes but the last one, or
   * counts those that it cannot take, in `wait` mode too.
   */
  append(datagrams: Uint8Array<ArrayBuffer>, size: number): void {
    const { slots } = this.counters;
    const { length } = datagrams;
    if (!this.#closed && length <= this.#free) {
      this.#copy(datagrams, size);
      return;
    }
    // All but the last one have this size, so as many as fit are a prefix.
    const each = size > 0 && size < length ? size : Math.max(1, length);
    const taken = this.#closed ? 0 : Math.max(0, Math.floor(this.#free / each));
    if (taken > 0) this.#copy(datagrams.subarray(0, taken * each), each);
    const dropped = this.#closed
      ? Slot.closedDatagrams
      : Slot.queueFullDatagrams;
    slots[dropped]! += datagramsIn(length, size) - taken;
    slots[dropped + 1]! += length - taken * each;
  }

  /** Has what was appended written, and lets the event loop run where much is queued. */
  handOn(): Promise<void> | void {
    this.#start();
    // A caller that never waits would keep the pump's answers from coming in,
    // and so fill the queue of a reader that is fast enough.
    if (this.#queued > this.#ring.length / 2) return nextTurn();
  }

  /** In `wait` mode, resolves when all that was taken is written. */
  flush(): Promise<void> | void {
    if (this.#whenFull === "wait" && this.#pump) return this.#emptied();
  }

  /** Writes what is queued, as long as the reader takes it, and takes nothing more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending = true;
    let stuck = false;
    while (this.#pump && !this.#closed && !stuck) {
      const before = this.#writtenBytes;
      const { promise: patience, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(() => {
        stuck = this.#writtenBytes === before;
        resolve();
      }, this.#lingerMs);
      await Promise.race([this.#progressed(), patience]);
      clearTimeout(timer);
    }
    this.#close();
  }

  get #free(): number {
    if (this.#runs.full) return -1;
    return this.#ring.length - this.#queued;
  }

  /** Not the pump's own promise, which a reader that takes nothing never resolves. */
  async #emptied(): Promise<void> {
    while (this.#pump && !this.#closed) await this.#progressed();
  }

  async #writeOrWait(batch: DatagramBatch): Promise<void> {
    for (let slot = 0; slot < batch.count; slot++) {
      while (!this.#closed && this.#free < batch.lengths[slot]!) {
        await this.#progressed();
      }
      this.append(batch.filled(slot), batch.segmentSizes[slot]!);
      this.#start();
    }
  }

  #copy(bytes: Uint8Array<ArrayBuffer>, size: number): void {
    const ring = this.#ring;
    this.#runs.join(bytes.length, size);
    // Nothing to write: an empty datagram is written by being taken.
    if (bytes.length === 0 && this.#queued === 0) this.#count(0, false);
    const tail = (this.#head + this.#queued) % ring.length;
    const straight = ring.length - tail;
    if (bytes.length <= straight) ring.set(bytes, tail);
    else {
      ring.set(bytes.subarray(0, straight), tail);
      ring.set(bytes.subarray(straight), 0);
    }
    this.#queued += bytes.length;
  }

  #start(): void {
    if (this.#queued > 0 && !this.#pump && !this.#closed) {
      this.#pump = this.#writeOut();
    }
  }

  /** The pump: ends when the ring is empty or stdout is closed. */
  async #writeOut(): Promise<void> {
    try {
      while (this.#queued > 0 && !this.#closed) {
        const end = Math.min(
          this.#head + Math.min(this.#queued, PIECE_BYTES),
          this.#ring.length,
        );
        const taken = await this.#writePiece(
          this.#ring.subarray(this.#head, end),
        );
        this.#queued -= taken;
        this.#writtenBytes += taken;
        this.#count(taken, this.#closed);
        // An empty ring starts over at its first byte: memory that is warm.
        this.#head = this.#queued === 0
          ? 0
          : (this.#head + taken) % this.#ring.length;
        this.#notify();
      }
    } catch (cause) {
      const wasClosed = this.#closed;
      this.#close();
      if (!wasClosed) {
        this.#onClosed?.(failedCall("write to", this.#subject, cause));
      }
    } finally {
      this.#pump = undefined;
      this.#notify();
    }
  }

  async #writePiece(piece: Uint8Array<ArrayBuffer>): Promise<number> {
    try {
      return await this.#writeBytes(piece);
    } catch (error) {
      if (this.#reopen && error instanceof Deno.errors.BrokenPipe) {
        await this.#startOver(failedCall("write to", this.#subject, error));
        return 0;
      }
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      await new Promise((resolve) => setTimeout(resolve, WOULD_BLOCK_MS));
      return 0;
    }
  }

  /** Counts what stdout took from the front; what it took late was dropped before. */
  #count(bytes: number, isLate: boolean): void {
    const { slots } = this.counters;
    const datagrams = this.#runs.datagramsBefore(bytes);
    if (bytes > 0) this.#partial = bytes > this.#runs.boundary(bytes);
    this.#runs.dropFront(bytes);
    slots[Slot.datagrams]! += datagrams;
    slots[Slot.bytes]! += bytes;
    if (!isLate) return;
    slots[Slot.closedDatagrams]! -= datagrams;
    slots[Slot.closedBytes]! -= bytes;
    slots[Slot.unwrittenBytes]! -= bytes;
  }

  /** Another reader comes: what the last one got in part is dropped, the rest waits for it. */
  async #startOver(reason: OperationError): Promise<void> {
    if (this.#partial) {
      const rest = this.#runs.nextBoundary(0);
      const { slots } = this.counters;
      slots[Slot.closedDatagrams]!++;
      slots[Slot.closedBytes]! += rest;
      this.#runs.dropFront(rest);
      this.#head = (this.#head + rest) % this.#ring.length;
      this.#queued -= rest;
      this.#partial = false;
    }
    this.#writeBytes = await this.#reopen!(reason);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { slots } = this.counters;
    slots[Slot.closedDatagrams]! += this.#runs.datagramsBefore(Infinity);
    slots[Slot.closedBytes]! += this.#queued;
    slots[Slot.unwrittenBytes]! += this.#queued;
    this.#notify();
  }

  #progressed(): Promise<void> {
    this.#progress ??= Promise.withResolvers<void>();
    return this.#progress.promise;
  }

  #notify(): void {
    this.#progress?.resolve();
    this.#progress = undefined;
  }
}

function writeStdout(bytes: Uint8Array<ArrayBuffer>): Promise<number> {
  return Deno.stdout.write(bytes);
}

function datagramsIn(length: number, size: number): number {
  return size > 0 && size < length ? Math.ceil(length / size) : 1;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
