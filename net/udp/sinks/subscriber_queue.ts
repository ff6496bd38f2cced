/**
 * Queues of many subscribers over the same bytes. Pure.
 *
 * A datagram is copied once, into a chunk; what waits for a subscriber is a
 * list of ranges of chunks, so that a thousand subscribers cost no thousand
 * copies. A chunk goes back to the pool when no range lies in it any more.
 * Ranges begin and end between datagrams: what a full queue drops is always
 * whole datagrams, and none is ever sent in part.
 */
import type { DatagramBatch } from "../../engine/batch.ts";

/** Bytes of a chunk; at least the largest slot. */
export const CHUNK_BYTES = 256 * 1024;

/** Datagrams of a chunk; small ones fill a chunk by their number. */
const CHUNK_DATAGRAMS = 4096;

/** Most bytes of one piece, which is out of reach of the policy once it is taken. */
const PIECE_BYTES = 64 * 1024;

/** What happens to a datagram that finds its queue full. */
export const SLOW_POLICIES = [
  "drop-oldest",
  "drop-newest",
  "disconnect",
] as const;

/** What happens to a datagram that finds its queue full. */
export type SlowPolicy = typeof SLOW_POLICIES[number];

/** Memory for datagrams back to back, with where each one ends. */
class Chunk {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly ends = new Int32Array(CHUNK_DATAGRAMS);
  datagrams = 0;
  used = 0;
  /** Ranges that lie in it, and one for being filled. */
  holders = 0;
  /** Counts the chunks in the order in which they were filled. */
  sequence = 0;
  /** Taken out of the pool while a write still had it. */
  isAbandoned = false;

  constructor(bytes: number) {
    this.bytes = new Uint8Array(bytes);
  }

  /** How many datagrams end at or before a byte. */
  datagramsBefore(byte: number): number {
    let low = 0;
    let high = this.datagrams;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ends[middle]! <= byte) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Part of a chunk, from datagram to datagram. */
interface Range {
  chunk: Chunk;
  start: number;
  end: number;
}

/** A piece of a queue on its way to its subscriber. */
export interface Piece {
  /** Whole datagrams, back to back. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** How many they are. */
  readonly datagrams: number;
}

/** The chunks behind all queues of a stream. */
export class SharedChunks {
  readonly #free: Chunk[] = [];
  readonly #maxChunks: number;
  #filling: Chunk | undefined;
  #made = 0;
  #sequence = 0;
  /** Bytes of a chunk. */
  readonly chunkBytes: number;

  /**
   * @param chunkBytes At least the largest datagram.
   * @param maxBytes Memory of all chunks; at least 4 chunks are had.
   */
  constructor(chunkBytes: number = CHUNK_BYTES, maxBytes: number = Infinity) {
    this.chunkBytes = chunkBytes;
    this.#maxChunks = Math.max(4, Math.floor(maxBytes / chunkBytes));
  }

  /** Bytes of all chunks, in use or in the pool. */
  get memoryBytes(): number {
    return this.#made * this.chunkBytes;
  }

  /** Copies the datagrams of a batch's slot once and offers them to every queue. */
  append(
    batch: DatagramBatch,
    slot: number,
    queues: Iterable<SubscriberQueue>,
  ): void {
    this.appendRun(batch.filled(slot), batch.segmentSizes[slot]!, queues);
  }

  /** The same for a run of datagrams, each `segmentSize` bytes but the last one. */
  appendRun(
    bytes: Uint8Array<ArrayBuffer>,
    segmentSize: number,
    queues: Iterable<SubscriberQueue>,
  ): void {
    const { length } = bytes;
    // A datagram of zero bytes leaves no trace in a stream of bytes.
    if (length === 0) return;
    const size = Math.min(length, Math.max(1, segmentSize));
    let from = 0;
    while (from < length) {
      const chunk = this.#chunkFor(Math.min(size, length - from), queues);
      // As many datagrams as the chunk takes, by bytes and by number.
      const room = Math.min(
        Math.floor((this.chunkBytes - chunk.used) / size) * size,
        (CHUNK_DATAGRAMS - chunk.datagrams) * size,
      );
      const part = Math.min(length - from, Math.max(room, 0)) || length - from;
      const start = chunk.used;
      chunk.bytes.set(
        from === 0 && part === length
          ? bytes
          : bytes.subarray(from, from + part),
        start,
      );
      for (let at = 0; at < part; at += size) {
        chunk.ends[chunk.datagrams++] = start + Math.min(at + size, part);
      }
      chunk.used = start + part;
      for (const queue of queues) queue.offer(chunk, start, chunk.used);
      from += part;
    }
  }

  /** Gives a chunk back that nobody holds. */
  release(chunk: Chunk): void {
    if (--chunk.holders > 0 || chunk.isAbandoned) return;
    chunk.used = 0;
    chunk.datagrams = 0;
    this.#free.push(chunk);
  }

  #chunkFor(bytes: number, queues: Iterable<SubscriberQueue>): Chunk {
    const filling = this.#filling;
    if (
      filling && filling.used + bytes <= this.chunkBytes &&
      filling.datagrams < CHUNK_DATAGRAMS
    ) return filling;
    if (filling) this.release(filling);
    if (this.#free.length === 0 && this.#made >= this.#maxChunks) {
      this.#freeOldest(queues);
    }
    let chunk = this.#free.pop();
    if (chunk === undefined) {
      chunk = new Chunk(this.chunkBytes);
      this.#made++;
    }
    chunk.holders = 1;
    chunk.sequence = ++this.#sequence;
    return this.#filling = chunk;
  }

  /**
   * Frees the oldest chunk: every queue drops what waits in it. A queue whose
   * piece is still being sent from it is stuck, as the bytes of all other
   * chunks have come since: it overflows, and the chunk is left to its write.
   */
  #freeOldest(queues: Iterable<SubscriberQueue>): void {
    let oldest: Chunk | undefined;
    for (const queue of queues) {
      const chunk = queue.oldestChunk;
      if (chunk && !(oldest && oldest.sequence <= chunk.sequence)) {
        oldest = chunk;
      }
    }
    if (oldest === undefined) return;
    for (const queue of queues) queue.dropChunk(oldest);
    if (oldest.holders === 0) return;
    oldest.isAbandoned = true;
    this.#made--;
  }
}

/** What waits for one subscriber. */
export class SubscriberQueue {
  readonly #chunks: SharedChunks;
  readonly #policy: SlowPolicy;
  readonly #limitBytes: number;
  readonly #limitChunks: number;
  readonly #ranges: Range[] = [];
  #first = 0;
  #bytes = 0;
  #inFlight: Chunk | undefined;
  #inFlightStart = 0;
  #overflowed = false;
  /** Datagrams dropped so far. */
  droppedDatagrams = 0;
  /** Their bytes. */
  droppedBytes = 0;

  /** @param limitBytes Bytes that may wait, beside the one piece on its way. */
  constructor(chunks: SharedChunks, policy: SlowPolicy, limitBytes: number) {
    this.#chunks = chunks;
    this.#policy = policy;
    this.#limitBytes = limitBytes;
    // A range may pin a chunk for one small datagram: memory is bounded too.
    this.#limitChunks = Math.ceil(limitBytes / chunks.chunkBytes) + 2;
  }

  /** Bytes that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The chunk that it has had for longest, unless that is abandoned. */
  get oldestChunk(): Chunk | undefined {
    if (this.#inFlight && !this.#inFlight.isAbandoned) return this.#inFlight;
    return this.#ranges[this.#first]?.chunk;
  }

  /** Drops what waits in a chunk that is the oldest of all, and overflows where a piece of it is being sent. */
  dropChunk(chunk: Chunk): void {
    while (this.#ranges[this.#first]?.chunk === chunk) {
      this.#dropOldest(Infinity);
    }
    if (this.#inFlight === chunk) this.#overflowed = true;
  }

  /** Whether its subscriber must go: it was full under the policy `disconnect`, or stuck when all queues together were. */
  get overflowed(): boolean {
    return this.#overflowed;
  }

  /** Takes a range of whole datagrams, or what the policy leaves of it. */
  offer(chunk: Chunk, start: number, end: number): void {
    if (this.#fits(chunk, end - start)) {
      this.#add(chunk, start, end);
      return;
    }
    switch (this.#policy) {
      case "disconnect":
        this.#overflowed = true;
        this.#drop(chunk, start, end);
        return;
      case "drop-newest":
        this.#offerEach(chunk, start, end);
        return;
      case "drop-oldest":
        while (
          this.#first < this.#ranges.length && !this.#fits(chunk, end - start)
        ) {
          const missing = this.#bytes + (end - start) - this.#limitBytes;
          // With bytes to spare there are too many chunks: the oldest one goes.
          this.#dropOldest(missing > 0 ? missing : Infinity);
        }
        // More than the whole queue takes: the newest of it stay.
        this.#offerTail(chunk, start, end);
    }
  }

  /** The next piece to send, or undefined. It is held until `done`. */
  take(): Piece | undefined {
    const range = this.#ranges[this.#first];
    if (range === undefined) return undefined;
    const { chunk, start } = range;
    let end = range.end;
    if (end - start > PIECE_BYTES) {
      end = chunk.ends[chunk.datagramsBefore(start + PIECE_BYTES) - 1]!;
    }
    const datagrams = chunk.datagramsBefore(end) - chunk.datagramsBefore(start);
    this.#inFlight = chunk;
    chunk.holders++;
    this.#shorten(end - start);
    this.#inFlightStart = start;
    return { bytes: chunk.bytes.subarray(start, end), datagrams };
  }

  /** How many datagrams of the piece that was taken end at or before one of its bytes. */
  datagramsBefore(bytes: number): number {
    const chunk = this.#inFlight;
    if (chunk === undefined) return 0;
    const start = this.#inFlightStart;
    return chunk.datagramsBefore(start + bytes) - chunk.datagramsBefore(start);
  }

  /** The piece that was taken is sent, or will never be. */
  done(): void {
    const chunk = this.#inFlight;
    this.#inFlight = undefined;
    if (chunk) this.#chunks.release(chunk);
  }

  /** Drops all that waits, counted. */
  clear(): void {
    while (this.#first < this.#ranges.length) this.#dropOldest(Infinity);
  }

  #fits(chunk: Chunk, bytes: number): boolean {
    if (this.#bytes + bytes > this.#limitBytes) return false;
    return this.#ranges.at(-1)?.chunk === chunk ||
      this.#ranges.length - this.#first < this.#limitChunks;
  }

  #add(chunk: Chunk, start: number, end: number): void {
    this.#bytes += end - start;
    const last = this.#ranges.length > this.#first
      ? this.#ranges.at(-1)
      : undefined;
    if (last && last.chunk === chunk && last.end === start) {
      last.end = end;
      return;
    }
    chunk.holders++;
    this.#ranges.push({ chunk, start, end });
  }

  /** Takes the datagrams of a range that fit, from its start. */
  #offerEach(chunk: Chunk, start: number, end: number): void {
    const room = this.#limitBytes - this.#bytes;
    const fits = chunk.datagramsBefore(start + Math.max(0, room));
    const cut = fits > chunk.datagramsBefore(start)
      ? Math.min(end, chunk.ends[fits - 1]!)
      : start;
    const taken = cut > start && this.#fits(chunk, cut - start);
    if (taken) this.#add(chunk, start, cut);
    this.#drop(chunk, taken ? cut : start, end);
  }

  /** Takes the datagrams of a range that fit, from its end. */
  #offerTail(chunk: Chunk, start: number, end: number): void {
    let from = start;
    const before = chunk.datagramsBefore(start);
    for (let i = before; end - from > this.#limitBytes && from < end; i++) {
      from = chunk.ends[i]!;
    }
    this.#drop(chunk, start, from);
    if (from < end) this.#add(chunk, from, end);
  }

  /** Drops at least `bytes` of whole datagrams, or the first range. */
  #dropOldest(bytes: number): void {
    const { chunk, start, end } = this.#ranges[this.#first]!;
    let cut = end;
    if (end - start > bytes) {
      const index = chunk.datagramsBefore(start + bytes - 1);
      cut = Math.min(end, chunk.ends[index]!);
    }
    this.#drop(chunk, start, cut);
    this.#shorten(cut - start);
  }

  #drop(chunk: Chunk, start: number, end: number): void {
    this.droppedBytes += end - start;
    this.droppedDatagrams += chunk.datagramsBefore(end) -
      chunk.datagramsBefore(start);
  }

  /** Takes bytes off the front of the first range. */
  #shorten(bytes: number): void {
    const range = this.#ranges[this.#first]!;
    this.#bytes -= bytes;
    range.start += bytes;
    if (range.start < range.end) return;
    this.#chunks.release(range.chunk);
    this.#first++;
    // The list is moved down rarely, so that taking stays cheap.
    if (this.#first === this.#ranges.length || this.#first > 64) {
      this.#ranges.splice(0, this.#first);
      this.#first = 0;
    }
  }
}
