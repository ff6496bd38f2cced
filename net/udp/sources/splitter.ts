/**
 * Cuts a stream of bytes into datagrams, in place: bytes are read straight
 * into a batch's slots and go from there to the kernel.
 *
 * 1. `space` says where the next bytes go.
 * 2. `filled` takes note of how many came.
 * 3. `ready` sets the batch to the datagrams that are whole.
 * 4. The batch is sent; `next` keeps what is not whole yet.
 * 5. At the end of the stream, `end` gives out the rest.
 *
 * A read may be under way while `flush` gives out what has waited too long.
 *
 * By size, a slot holds many datagrams of `datagramBytes` back to back, which
 * the kernel can cut (UDP_SEGMENT), and slots lie back to back, so that one read
 * can fill them all. By lines, a datagram holds as many whole
 * lines as fit; a line longer than a datagram is cut at the size. By records, a
 * datagram is full, whatever the reads bring.
 */
import { DatagramBatch, MAX_DATAGRAM_BYTES } from "../../engine/batch.ts";

/** Fits a 1500-byte Ethernet MTU with IPv6 and UDP headers: 1500 - 40 - 8. */
export const DEFAULT_DATAGRAM_BYTES = 1452;

/** Datagrams that one joined send may carry on every kernel (UDP_MAX_SEGMENTS). */
const MOST_SEGMENTS = 64;

/**
 * Bytes of a batch of several slots: fewer calls for each byte (measured, CPU
 * time of a client: datagrams of 64 bytes 2.3 times less than with one slot, of
 * 1400 bytes 1.1 times), and still in the processor's cache when they are sent.
 */
const BATCH_BYTES = 256 * 1024;

const NEWLINE = 10;

/** Bytes of an MPEG transport stream packet (ISO/IEC 13818-1): a datagram holds whole ones. */
const TS_PACKET_BYTES = 188;

/** Options of roles that make datagrams of streams. */
export interface RecordOptions
  extends Pick<CutOptions, "datagramBytes" | "lines" | "fill"> {
  /** How long a datagram waits to be filled, in milliseconds. @default {100} */
  fillWaitMs?: number | undefined;
}

/** How a stream is cut. */
export interface CutOptions {
  /** Payload of a full datagram in bytes, 1 to 65507. @default {1452} */
  datagramBytes?: number | undefined;
  /** Whether datagrams end at line ends wherever a line fits. @default {false} */
  lines?: boolean | undefined;
  /**
   * Whether datagrams are filled to their size, so that records of that size stay
   * whole. Default: for sizes that are multiples of 188 (MPEG-TS).
   */
  fill?: boolean | undefined;
  /** Most bytes of one batch, so that a paced burst stays small. Default: as many as fit. */
  burstBytes?: number;
  /** Number of slots of a batch: the engine's `batchSize`. @default {1} */
  slots?: number;
}

/** Cuts by size: what came is sent at once, a short piece too. */
export class SizeCutter {
  /** The datagrams that are ready. */
  readonly batch: DatagramBatch;
  readonly #datagramBytes: number;
  readonly #space: Uint8Array<ArrayBuffer>;
  #filled = 0;

  constructor(options: CutOptions = {}) {
    const { datagramBytes = DEFAULT_DATAGRAM_BYTES, burstBytes = Infinity } =
      options;
    this.#datagramBytes = datagramBytes;
    const most = Math.min(
      MOST_SEGMENTS,
      Math.floor(MAX_DATAGRAM_BYTES / datagramBytes),
    );
    const slotBytes = most * datagramBytes;
    const slots = Math.max(
      1,
      Math.min(options.slots ?? 1, Math.floor(BATCH_BYTES / slotBytes)),
    );
    this.batch = new DatagramBatch(slots, slotBytes);
    const wanted = Math.max(1, Math.floor(burstBytes / datagramBytes));
    this.#space = this.batch.bytes.subarray(0, wanted * datagramBytes);
  }

  /** Where the next bytes go; never empty between `next` and `filled`. */
  space(): Uint8Array<ArrayBuffer> {
    return this.#space;
  }

  /** Takes note that so many bytes came. */
  filled(bytes: number): void {
    this.#filled = bytes;
  }

  /** Sets the batch to what can go now; whether that is anything. */
  ready(): boolean {
    const { batch } = this;
    batch.count = 0;
    for (let rest = this.#filled; rest > 0; rest -= batch.slotBytes) {
      batch.lengths[batch.count] = Math.min(rest, batch.slotBytes);
      batch.segmentSizes[batch.count] = this.#datagramBytes;
      batch.count++;
    }
    return batch.count > 0;
  }

  /** Forgets what was sent. */
  next(): void {
    this.#filled = 0;
  }

  /** Bytes that wait for more: none. */
  readonly pending = 0;

  /** Sets the batch to what has waited too long; whether there is anything. */
  flush(): boolean {
    return false;
  }

  /** Sets the batch to the rest; whether there is one. */
  end(): boolean {
    return false;
  }
}

/** Fills datagrams: what is left of a read waits for more. */
export class RecordCutter {
  /** The datagrams that are ready. */
  readonly batch: DatagramBatch;
  readonly #datagramBytes: number;
  /** What a datagram that goes early still holds whole. */
  readonly #unitBytes: number;
  readonly #space: Uint8Array<ArrayBuffer>;
  #start = 0;
  #end = 0;
  #sent = 0;
  /** Bytes of a record whose start went early: they go by themselves, and records stay aligned. */
  #owed = 0;

  constructor(options: CutOptions = {}) {
    const { datagramBytes = DEFAULT_DATAGRAM_BYTES } = options;
    this.#datagramBytes = datagramBytes;
    this.#unitBytes = datagramBytes % TS_PACKET_BYTES === 0
      ? TS_PACKET_BYTES
      : 1;
    const sized = new SizeCutter(options);
    this.batch = sized.batch;
    this.#space = sized.space();
  }

  /** Bytes that wait for more. */
  get pending(): number {
    return this.#end - this.#start;
  }

  /** Where the next bytes go; never empty between `next` and `filled`. */
  space(): Uint8Array<ArrayBuffer> {
    this.#moveToFront();
    return this.#space.subarray(this.#end);
  }

  /** Takes note that so many bytes came. */
  filled(bytes: number): void {
    this.#end += bytes;
  }

  /** Sets the batch to the records that are whole; whether there are any. */
  ready(): boolean {
    this.#moveToFront();
    if (this.#owed > 0) {
      if (this.#end < this.#owed) return false;
      const owed = this.#owed;
      this.#owed = 0;
      return this.#set(owed);
    }
    return this.#set(this.#end - this.#end % this.#datagramBytes);
  }

  /** Forgets what was sent. */
  next(): void {
    this.#start += this.#sent;
    this.#sent = 0;
  }

  /** Sets the batch to what has waited too long; nothing is moved, since a read may be under way. */
  flush(): boolean {
    if (this.#start > 0) return false;
    const bytes = this.#end - this.#end % this.#unitBytes;
    if (bytes > 0 && this.#unitBytes === 1) {
      this.#owed = (this.#owed || this.#datagramBytes) - bytes;
    }
    return this.#set(bytes);
  }

  /** Sets the batch to the rest; whether there is one. */
  end(): boolean {
    this.#moveToFront();
    this.#owed = 0;
    return this.#set(this.#end);
  }

  #set(bytes: number): boolean {
    const { batch } = this;
    batch.count = 0;
    for (let rest = bytes; rest > 0; rest -= batch.slotBytes) {
      batch.lengths[batch.count] = Math.min(rest, batch.slotBytes);
      batch.segmentSizes[batch.count] = this.#datagramBytes;
      batch.count++;
    }
    this.#sent = bytes;
    return bytes > 0;
  }

  #moveToFront(): void {
    if (this.#start === 0) return;
    this.#space.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
  }
}

/** Cuts at line ends: an unfinished line waits for its end. */
export class LineCutter {
  /** The datagrams that are ready. */
  readonly batch: DatagramBatch;
  readonly #datagramBytes: number;
  readonly #pending: Uint8Array<ArrayBuffer>;
  #start = 0;
  #end = 0;

  constructor(options: CutOptions = {}) {
    const { datagramBytes = DEFAULT_DATAGRAM_BYTES, burstBytes = Infinity } =
      options;
    this.#datagramBytes = datagramBytes;
    // A slot for each datagram, because their sizes differ.
    const slots = Math.max(
      1,
      Math.min(64, Math.floor(burstBytes / datagramBytes)),
    );
    this.batch = new DatagramBatch(slots, Math.max(1, datagramBytes));
    this.#pending = new Uint8Array(2 * Math.max(datagramBytes, 65536));
  }

  /** Where the next bytes go; never empty between `next` and `filled`. */
  space(): Uint8Array<ArrayBuffer> {
    if (this.#start > 0) {
      this.#pending.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    return this.#pending.subarray(this.#end);
  }

  /** Takes note that so many bytes came. */
  filled(bytes: number): void {
    this.#end += bytes;
  }

  /** Sets the batch to the datagrams that can go now; whether there are any. */
  ready(): boolean {
    return this.#cut(false);
  }

  /** Forgets what was sent. */
  next(): void {
    this.batch.count = 0;
  }

  /** Bytes of a line that waits for its end. */
  get pending(): number {
    return this.#end - this.#start;
  }

  /** Sets the batch to what has waited too long: a line waits for its end. */
  flush(): boolean {
    return false;
  }

  /** Ends an unfinished line, so that no other is glued to it. */
  endLine(): void {
    const length = this.#end - this.#start;
    if (length === 0 || length >= this.#datagramBytes) return;
    this.space();
    this.#pending[this.#end++] = NEWLINE;
  }

  /** Sets the batch to the rest, with or without a line end; whether there is one. */
  end(): boolean {
    return this.#cut(true);
  }

  #cut(atEnd: boolean): boolean {
    const { batch } = this;
    batch.count = 0;
    while (batch.count < batch.slots && this.#start < this.#end) {
      const most = Math.min(this.#start + this.#datagramBytes, this.#end);
      let end = this.#pending.lastIndexOf(NEWLINE, most - 1) + 1;
      if (end <= this.#start) {
        // No line end in reach: a longer line is cut, a growing one waits.
        if (most - this.#start < this.#datagramBytes && !atEnd) break;
        end = most;
      }
      batch.slot(batch.count).set(this.#pending.subarray(this.#start, end));
      batch.setDatagram(batch.count, end - this.#start);
      batch.count++;
      this.#start = end;
    }
    return batch.count > 0;
  }
}

/** Cuts a stream as asked. */
export type Cutter = SizeCutter | LineCutter | RecordCutter;

/** The cutter for the options. */
export function makeCutter(options: CutOptions): Cutter {
  const { datagramBytes = DEFAULT_DATAGRAM_BYTES } = options;
  if (options.lines) return new LineCutter(options);
  return options.fill ?? datagramBytes % TS_PACKET_BYTES === 0
    ? new RecordCutter(options)
    : new SizeCutter(options);
}
