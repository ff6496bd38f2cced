/**
 * Lines to stderr, to stdout or to a file, through one bounded queue: the way
 * of everything that informs (log, access log, audit). The caller never waits
 * and nothing is ever thrown at it.
 *
 * 1. `write` caps the line and queues its bytes. A full queue drops the line
 *    and counts it.
 * 2. One asynchronous write at a time takes a batch from the queue. It runs on
 *    a thread of the runtime, since write(2) to a pipe that nobody reads blocks.
 * 3. A failed write (EPIPE, ENOSPC) keeps its bytes and is repeated with a
 *    growing pause, so that a disk that gets room again loses nothing that
 *    the queue could hold.
 * 4. As soon as there is room again, one line states how many were lost.
 *
 * A process with a blocked write ends with `Deno.exit` only: the end of the
 * event loop and an uncaught error both wait for the thread.
 */
import { errorText, OperationError } from "./errors.ts";
import { capText } from "./line_text.ts";

/** What a {@linkcode LineWriter} writes to. */
export interface LineSink {
  /** Writes some of the bytes; resolves with how many. */
  write(bytes: Uint8Array<ArrayBuffer>): Promise<number>;
  /** Closes it. Default: it stays open. */
  close?(): void;
}

/** Lines that were dropped in a row. */
export interface LostLines {
  /** How many. */
  readonly lines: number;
  /** Their bytes. */
  readonly bytes: number;
  /** Why the first one was: `queue full`, or the system's words. */
  readonly reason: string;
}

/** Options of a {@linkcode LineWriter}. */
export interface LineWriterOptions {
  /** Opens the sink; called again by {@linkcode LineWriter.reopen}. */
  readonly open: () => LineSink | Promise<LineSink>;
  /** What is written to, in error messages: `the access log "a.log"`. */
  readonly subject: string;
  /**
   * Maximum bytes that wait for the sink.
   * @default {1048576}
   */
  readonly queueBytes?: number;
  /**
   * Maximum bytes of a line, without its end. Longer ones are cut, with a mark.
   * @default {16384}
   */
  readonly maxLineBytes?: number;
  /** Text of the line that states what was lost. Default: no such line. */
  readonly lostLine?: (lost: LostLines) => string;
  /** Called at the first line lost in a row. */
  readonly onLost?: (reason: string) => void;
  /** Called when lines are taken again. */
  readonly onRecovered?: (lost: LostLines) => void;
  /** Milliseconds of a clock that never goes back. Default: `performance.now`. */
  readonly now?: () => number;
}

/** What a {@linkcode LineWriter} counts. */
export interface LineWriterStats {
  /** Lines that the sink has taken. */
  readonly writtenLines: number;
  /** Bytes that the sink has taken. */
  readonly writtenBytes: number;
  /** Lines that were lost. */
  readonly droppedLines: number;
  /** Bytes of lost lines. */
  readonly droppedBytes: number;
  /** Lines that were cut to the maximum length. */
  readonly truncatedLines: number;
  /** Writes that failed. */
  readonly errors: number;
  /** Bytes that wait for the sink. */
  readonly queuedBytes: number;
}

/** Bytes of one write: one pipe buffer. */
const BATCH_BYTES = 64 * 1024;

/** Pause after a failed write, and what it doubles to. */
const RETRY_MS = 100;
const MAX_RETRY_MS = 5000;

/** A write that takes longer makes the writer unhealthy, and is abandoned by a reopening. */
const STALL_MS = 2000;

/** How long an open may take: a FIFO without a reader blocks open(2) for ever. */
const OPEN_MS = 5000;

/** Pause where the sink's owner made it non-blocking (EAGAIN) and it is full. */
const WOULD_BLOCK_MS = 20;

/** How long `flush` and the end wait for the sink. */
const FLUSH_MS = 1000;

/** What may wait at most for {@linkcode LineWriter.offer} to take a text. */
const OFFER_BYTES = 4096;

const LINE_END = 10;

const encoder = new TextEncoder();

/** Lines in one array, and where the part begins that was not written yet. */
interface Batch {
  readonly bytes: Uint8Array<ArrayBuffer>;
  written: number;
}

/** Writers with a line that was not written yet: what an end of the process flushes. */
const unwritten = new Set<LineWriter>();

/**
 * Writes what waits in all writers of this process, within a deadline. For who
 * ends the process, since `Deno.exit` leaves out what waits.
 */
export async function flushAllLines(deadlineMs: number): Promise<void> {
  await Promise.all([...unwritten].map((writer) => writer.flush(deadlineMs)));
}

/** Writes lines and never makes their caller wait. */
export class LineWriter implements AsyncDisposable {
  readonly #options: LineWriterOptions;
  readonly #queueBytes: number;
  readonly #maxLineBytes: number;
  readonly #now: () => number;
  #sink: LineSink;
  readonly #queue: Uint8Array<ArrayBuffer>[] = [];
  #batch: Batch | undefined;
  #queuedBytes = 0;
  /** Counts sinks: a write that was abandoned belongs to an earlier one. */
  #generation = 0;
  #isWriting = false;
  /** A reopening waits for the write in flight; no other one begins. */
  #isPaused = false;
  #writeSinceMs = 0;
  #failure: string | undefined;
  #lostLine: LineWriterOptions["lostLine"];
  #retryMs = RETRY_MS;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #lost: { lines: number; bytes: number; reason: string } | undefined;
  #isClosed = false;
  readonly #waiters = new Set<() => void>();
  #writtenLines = 0;
  #writtenBytes = 0;
  #droppedLines = 0;
  #droppedBytes = 0;
  #truncatedLines = 0;
  #errors = 0;

  /** A writer over a sink that is open. */
  constructor(sink: LineSink, options: LineWriterOptions) {
    this.#sink = sink;
    this.#options = options;
    this.#lostLine = options.lostLine;
    this.#queueBytes = options.queueBytes ?? 1 << 20;
    this.#maxLineBytes = options.maxLineBytes ?? 1 << 14;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Opens the sink; throws an OperationError where that fails or takes too long. */
  static async open(options: LineWriterOptions): Promise<LineWriter> {
    return new LineWriter(await openInTime(options), options);
  }

  /**
   * Whether lines reach the sink: the last write did not fail, the present one
   * has not taken too long, and no line was dropped since there was room.
   */
  get healthy(): boolean {
    if (this.#isClosed || this.#failure !== undefined || this.#lost) {
      return false;
    }
    return !this.#isWriting || this.#now() - this.#writeSinceMs < STALL_MS;
  }

  /** Sets the text of the line that states what was lost. */
  set lostLine(lostLine: (lost: LostLines) => string) {
    this.#lostLine = lostLine;
  }

  /** What was written and what was lost. */
  get stats(): LineWriterStats {
    return {
      writtenLines: this.#writtenLines,
      writtenBytes: this.#writtenBytes,
      droppedLines: this.#droppedLines,
      droppedBytes: this.#droppedBytes,
      truncatedLines: this.#truncatedLines,
      errors: this.#errors,
      queuedBytes: this.#queuedBytes,
    };
  }

  /** Queues a line, given without its end; false where it was dropped. */
  write(line: string): boolean {
    let text = line;
    // A code unit of UTF-16 makes at most three bytes.
    if (text.length * 3 > this.#maxLineBytes) {
      text = capText(text, this.#maxLineBytes);
      if (text !== line) this.#truncatedLines++;
    }
    const bytes = encoder.encode(`${text}\n`);
    if (!this.#isClosed) this.#reportLost(bytes.length);
    if (this.#isClosed || this.#lost || !this.#hasRoom(bytes.length)) {
      this.#drop(1, bytes.length, this.#failure ?? "queue full");
      return false;
    }
    this.#enqueue(bytes);
    return true;
  }

  /**
   * Queues a text without a line end where hardly anything waits; else leaves
   * it out uncounted. For a progress line, which the next one replaces.
   */
  offer(text: string): boolean {
    if (this.#isClosed || this.#queuedBytes > OFFER_BYTES) return false;
    this.#enqueue(encoder.encode(text));
    return true;
  }

  /**
   * Resolves with true when all that waits is written, with false where the
   * sink refuses it or has not taken it by the deadline.
   */
  async flush(deadlineMs: number = FLUSH_MS): Promise<boolean> {
    if (this.#failure !== undefined && !this.#isWriting) this.#retryNow();
    await this.#writingEnds(deadlineMs);
    return this.#queuedBytes === 0;
  }

  /**
   * Opens the sink again, where a file was moved away. A write that hangs in
   * the old one is abandoned and its lines are counted as lost. Throws an
   * OperationError and keeps the old one where the new one cannot be opened.
   */
  async reopen(): Promise<void> {
    const next = await openInTime(this.#options);
    this.#isPaused = true;
    await this.#writingEnds(STALL_MS);
    this.#isPaused = false;
    // A closing that came in between has settled what is left.
    if (this.#isClosed) return next.close?.();
    if (this.#isWriting) this.#dropBatch("a write hung");
    else this.#rewind();
    const previous = this.#sink;
    this.#sink = next;
    this.#generation++;
    this.#isWriting = false;
    previous.close?.();
    this.#retryNow();
  }

  /** Writes what waits, within a deadline, counts the rest as lost and closes the sink. */
  async close(deadlineMs: number = FLUSH_MS): Promise<void> {
    if (this.#isClosed) return;
    this.#reportLost(0);
    const done = await this.flush(deadlineMs);
    this.#isClosed = true;
    unwritten.delete(this);
    clearTimeout(this.#retryTimer);
    if (!done) {
      const reason = this.#failure ?? "closed";
      this.#dropBatch(reason);
      for (const bytes of this.#queue.splice(0)) {
        this.#queuedBytes -= bytes.length;
        this.#drop(countLines(bytes), bytes.length, reason);
      }
    }
    this.#generation++;
    this.#sink.close?.();
  }

  /** Closes within the default deadline. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // ---- the queue

  #hasRoom(bytes: number): boolean {
    return this.#queuedBytes + bytes <= this.#queueBytes;
  }

  #enqueue(bytes: Uint8Array<ArrayBuffer>): void {
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    unwritten.add(this);
    if (!this.#isWriting && this.#retryTimer === undefined) this.#start();
  }

  #drop(lines: number, bytes: number, reason: string): void {
    this.#droppedLines += lines;
    this.#droppedBytes += bytes;
    if (!this.#lost) {
      this.#lost = { lines: 0, bytes: 0, reason };
      this.#options.onLost?.(reason);
    }
    this.#lost.lines += lines;
    this.#lost.bytes += bytes;
  }

  #dropBatch(reason: string): void {
    const batch = this.#batch;
    if (!batch) return;
    const rest = batch.bytes.subarray(batch.written);
    this.#batch = undefined;
    this.#queuedBytes -= rest.length;
    this.#drop(countLines(rest), rest.length, reason);
  }

  /** States what was lost, where the queue has room for that and for the next line. */
  #reportLost(nextBytes: number): void {
    const lost = this.#lost;
    if (!lost || this.#failure !== undefined) return;
    const text = this.#lostLine?.(lost);
    const line = text === undefined ? undefined : encoder.encode(`${text}\n`);
    if (!this.#hasRoom((line?.length ?? 0) + nextBytes)) return;
    this.#lost = undefined;
    if (line) this.#enqueue(line);
    this.#options.onRecovered?.(lost);
  }

  // ---- the writing

  #start(): void {
    if (this.#isPaused) return;
    this.#isWriting = true;
    // Not in the caller's turn: lines written in one turn go out together.
    queueMicrotask(() => void this.#writeOut(this.#generation));
  }

  /** Writes until nothing waits or the sink fails. Never rejects. */
  async #writeOut(generation: number): Promise<void> {
    while (!this.#isPaused) {
      const batch = this.#batch ??= this.#takeBatch();
      if (!batch) break;
      this.#writeSinceMs = this.#now();
      try {
        const written = await this.#writePart(batch);
        if (generation !== this.#generation) return;
        this.#wrote(batch, written);
      } catch (error) {
        if (generation !== this.#generation) return;
        this.#failed(error);
        break;
      }
    }
    this.#isWriting = false;
    if (this.#queuedBytes === 0) unwritten.delete(this);
    this.#wake();
  }

  async #writePart(batch: Batch): Promise<number> {
    const sink = this.#sink;
    const part = batch.bytes.subarray(batch.written);
    for (;;) {
      try {
        const written = await sink.write(part);
        if (written > 0) return written;
        throw new OperationError("nothing was written");
      } catch (error) {
        if (!(error instanceof Deno.errors.WouldBlock)) throw error;
        if (sink !== this.#sink || this.#isClosed) return 0;
        await pause(WOULD_BLOCK_MS);
      }
    }
  }

  #takeBatch(): Batch | undefined {
    if (this.#queue.length === 0) return undefined;
    let count = 0;
    let length = 0;
    for (const bytes of this.#queue) {
      if (count > 0 && length + bytes.length > BATCH_BYTES) break;
      length += bytes.length;
      count++;
    }
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const part of this.#queue.splice(0, count)) {
      bytes.set(part, at);
      at += part.length;
    }
    return { bytes, written: 0 };
  }

  /** What is written of a cut line is written again: a new file starts with a whole line. */
  #rewind(): void {
    const batch = this.#batch;
    if (!batch || batch.written === 0) return;
    const start = batch.bytes.lastIndexOf(LINE_END, batch.written - 1) + 1;
    this.#queuedBytes += batch.written - start;
    batch.written = start;
  }

  #wrote(batch: Batch, written: number): void {
    const lines = countLines(
      batch.bytes.subarray(batch.written, batch.written + written),
    );
    batch.written += written;
    this.#writtenBytes += written;
    this.#writtenLines += lines;
    this.#queuedBytes -= written;
    if (batch.written === batch.bytes.length) this.#batch = undefined;
    this.#failure = undefined;
    this.#retryMs = RETRY_MS;
    this.#reportLost(0);
    this.#wake();
  }

  #failed(error: unknown): void {
    this.#errors++;
    const reason = errorText(error);
    if (this.#failure === undefined) this.#failure = reason;
    if (this.#isClosed) return;
    this.#retryTimer = setTimeout(() => this.#retryNow(), this.#retryMs);
    // A process that has nothing else to do may end.
    Deno.unrefTimer(this.#retryTimer);
    this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS);
  }

  #retryNow(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    if (!this.#isWriting && this.#queuedBytes > 0) this.#start();
  }

  // ---- who waits for it

  async #writingEnds(deadlineMs: number): Promise<void> {
    const untilMs = this.#now() + deadlineMs;
    while (this.#isWriting) {
      const leftMs = untilMs - this.#now();
      if (leftMs <= 0) return;
      await this.#progress(leftMs);
    }
  }

  /** Resolves at the next progress, or when the time is over. */
  async #progress(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#waiters.add(resolve);
    await promise;
    clearTimeout(timer);
    this.#waiters.delete(resolve);
  }

  #wake(): void {
    for (const resolve of this.#waiters) resolve();
  }
}

/** Opens the sink, within a deadline; one that opens later is closed. */
async function openInTime(options: LineWriterOptions): Promise<LineSink> {
  const { open, subject } = options;
  const opening = Promise.resolve().then(open);
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), OPEN_MS);
  try {
    const sink = await Promise.race([opening, late]);
    if (sink) return sink;
  } catch (cause) {
    throw new OperationError(`Cannot write ${subject}: ${errorText(cause)}`, {
      cause,
    });
  } finally {
    clearTimeout(timer);
  }
  opening.then((sink) => sink.close?.(), () => {});
  throw new OperationError(
    `Cannot write ${subject}: not open after ${
      OPEN_MS / 1000
    } s; a FIFO needs a reader`,
  );
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function countLines(bytes: Uint8Array): number {
  let lines = 0;
  for (const byte of bytes) if (byte === LINE_END) lines++;
  return lines;
}
