/**
 * The pipe: two connections made one. Each direction, on its own:
 *
 * 1. takes a buffer of the size that its last reads call for,
 * 2. reads what is there,
 * 3. writes all of it to the other side, and counts what was written,
 * 4. gives the buffer back, and starts again;
 * 5. at the end of the source it shuts the sink's writing side (half-close:
 *    the answer still comes), and the pipe ends when both directions have.
 *
 * A read or write that fails, a deadline, or somebody's `abort` ends both
 * directions at once. Functions stand in that order.
 */
import type { Direction, EndReason } from "../engine/stream.ts";
import { ForwardSlot, RemoteSlot } from "../engine/stream_counters.ts";

/**
 * Sizes of buffers. An idle connection waits with two of the smallest. Bulk
 * through 256 KiB is a quarter faster than through 64 KiB, which in turn keeps
 * a 64 KiB message to one write.
 */
const BUFFER_SIZES = [16 * 1024, 64 * 1024, 256 * 1024] as const;

/** How much all buffers above the smallest size may hold together. */
const LARGE_BUFFERS_BYTES = 64 * 1024 * 1024;

/** Free buffers of one size that are kept. */
const FREE_BUFFERS = 32;

/** Buffers of a few sizes, lent for one read and the write after it. */
export class BufferPool {
  readonly #sizes: readonly number[];
  readonly #free: Uint8Array<ArrayBuffer>[][];
  readonly #largeBytes: number;
  #lentBytes = 0;

  /** Buffers up to `bufferBytes`; those above the smallest size share `largeBytes`. */
  constructor(
    bufferBytes: number = BUFFER_SIZES[2],
    largeBytes: number = LARGE_BUFFERS_BYTES,
  ) {
    this.#sizes = [
      ...BUFFER_SIZES.filter((size) => size < bufferBytes),
      bufferBytes,
    ];
    this.#free = this.#sizes.map(() => []);
    this.#largeBytes = largeBytes;
  }

  /** Bytes of the buffers above the smallest size that are lent now. */
  get lentBytes(): number {
    return this.#lentBytes;
  }

  /** A buffer of a level, or of a lower one where the large ones are all lent. */
  take(level: number): Uint8Array<ArrayBuffer> {
    while (
      level > 0 && this.#lentBytes + this.#sizes[level]! > this.#largeBytes
    ) level--;
    const size = this.#sizes[level]!;
    if (level > 0) this.#lentBytes += size;
    return this.#free[level]!.pop() ?? new Uint8Array(size);
  }

  /** Takes a buffer back. */
  give(buffer: Uint8Array<ArrayBuffer>): void {
    const level = this.#sizes.indexOf(buffer.length);
    if (level > 0) this.#lentBytes -= buffer.length;
    const free = this.#free[level]!;
    if (free.length < FREE_BUFFERS) free.push(buffer);
  }

  /** The level for the next read, after one of `bytes` into a buffer of `capacity`. */
  nextLevel(bytes: number, capacity: number): number {
    const level = this.#sizes.indexOf(capacity);
    if (bytes === capacity) return Math.min(level + 1, this.#sizes.length - 1);
    // What would not half fill the next smaller size does not need this one.
    return level > 0 && bytes * 2 < this.#sizes[level - 1]! ? level - 1 : level;
  }
}

/** What a pipe needs beside its two sides. */
export interface PipeOptions {
  /** Lends the buffers. */
  buffers: BufferPool;
  /** Slots of the forwarder ({@linkcode ForwardSlot}): its bytes are counted here. */
  forward: Float64Array;
  /** Slots of the remote ({@linkcode RemoteSlot}): and here. */
  remote: Float64Array;
}

/** Two connections made one; both belong to it from now on. */
export class StreamPipe {
  /** Bytes written to the remote. */
  bytesUpstream = 0;
  /** Bytes written to the client. */
  bytesDownstream = 0;
  /** Whether one direction has ended. */
  halfClosed = false;
  /** Resolves with why it ended, when both sides are closed. */
  readonly ended: Promise<EndReason>;

  readonly #client: Deno.Conn;
  readonly #upstream: Deno.Conn;
  readonly #buffers: BufferPool;
  readonly #forward: Float64Array;
  readonly #remote: Float64Array;
  #reason: EndReason | undefined;

  constructor(client: Deno.Conn, upstream: Deno.Conn, options: PipeOptions) {
    this.#client = client;
    this.#upstream = upstream;
    this.#buffers = options.buffers;
    this.#forward = options.forward;
    this.#remote = options.remote;
    this.ended = this.#run();
  }

  async #run(): Promise<EndReason> {
    await Promise.all([this.#copy("upstream"), this.#copy("downstream")]);
    this.#close();
    return this.#reason ?? "eof";
  }

  async #copy(direction: Direction): Promise<void> {
    const up = direction === "upstream";
    const source = up ? this.#client : this.#upstream;
    const sink = up ? this.#upstream : this.#client;
    const buffers = this.#buffers;
    let buffer: Uint8Array<ArrayBuffer> | undefined;
    let level = 0;
    let writing = false;
    try {
      for (;;) {
        buffer = buffers.take(level);
        const bytes = await source.read(buffer);
        if (bytes === null) break;
        writing = true;
        let written = 0;
        while (written < bytes) {
          const part = bytes - written === buffer.length
            ? buffer
            : buffer.subarray(written, bytes);
          const taken = await sink.write(part);
          written += taken;
          if (up) this.#countUpstream(taken);
          else this.#countDownstream(taken);
        }
        writing = false;
        level = buffers.nextLevel(bytes, buffer.length);
        buffers.give(buffer);
        buffer = undefined;
      }
      this.halfClosed = true;
      writing = true;
      await sink.closeWrite();
    } catch {
      // A failed write is the sink's reset, a failed read the source's. Where
      // the pipe was ended already, its own closing made the call fail.
      this.#end(up === writing ? "remote-reset" : "client-reset");
    } finally {
      if (buffer) buffers.give(buffer);
    }
  }

  #countUpstream(bytes: number): void {
    this.bytesUpstream += bytes;
    this.#forward[ForwardSlot.bytesUpstream]! += bytes;
    this.#remote[RemoteSlot.bytesUpstream]! += bytes;
  }

  #countDownstream(bytes: number): void {
    this.bytesDownstream += bytes;
    this.#forward[ForwardSlot.bytesDownstream]! += bytes;
    this.#remote[RemoteSlot.bytesDownstream]! += bytes;
  }

  /** Ends both directions now; what is in flight is lost. */
  abort(reason: EndReason): void {
    this.#end(reason);
  }

  #end(reason: EndReason): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    // Closing makes the other direction's pending call fail, so it ends too.
    this.#close();
  }

  #close(): void {
    closeQuietly(this.#client);
    closeQuietly(this.#upstream);
  }
}

/** Closes a connection that may be closed already. */
export function closeQuietly(conn: { close(): void }): void {
  try {
    conn.close();
  } catch {
    // Closed already, by the other direction or by the peer's reset.
  }
}
