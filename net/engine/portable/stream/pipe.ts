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
import type { StreamConn } from "./stream_conn.ts";
import type { Direction, EndReason } from "../../stream.ts";
import { ForwardSlot, RemoteSlot } from "../../stream_counters.ts";

/**
 * Sizes of buffers. An idle connection waits with two of the smallest, which
 * hold most messages. Bulk costs a tenth to a quarter less processor time
 * through 256 KiB than through 64 KiB, which keep a 64 KiB message to one
 * write.
 */
const BUFFER_SIZES = [4096, 16_384, 65_536, 262_144] as const;

/** Buffers above this are large. */
const SMALL_BYTES = 16_384;

/**
 * How much all large buffers may hold together: a read that waits keeps its
 * buffer, so that without a limit a thousand connections that were once busy
 * would keep half a gigabyte.
 */
const LARGE_BUFFERS_BYTES = 16 << 20;

/** Free buffers of each small size that are kept. */
const FREE_SMALL = 256;

/** Buffers of a few sizes, lent for one read and the write after it. */
export class BufferPool {
  readonly #sizes: readonly number[];
  readonly #free: Uint8Array<ArrayBuffer>[][];
  readonly #largeBytes: number;
  #heldBytes = 0;

  /** Buffers up to `bufferBytes`; there are never more large ones than `largeBytes`. */
  constructor(
    bufferBytes: number = BUFFER_SIZES[3],
    largeBytes: number = LARGE_BUFFERS_BYTES,
  ) {
    this.#sizes = [
      ...BUFFER_SIZES.filter((size) => size < bufferBytes),
      bufferBytes,
    ];
    this.#free = this.#sizes.map(() => []);
    this.#largeBytes = largeBytes;
  }

  /** Bytes of all large buffers that there are, lent or free. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** A buffer of a level; where all that may be are lent, the best that is free. */
  take(level: number): Uint8Array<ArrayBuffer> {
    for (let wanted = level;; wanted--) {
      const size = this.#sizes[wanted]!;
      const buffer = this.#free[wanted]!.pop();
      if (buffer) return buffer;
      if (wanted === 0 || size <= SMALL_BYTES) return new Uint8Array(size);
      if (this.#makeRoom(wanted)) {
        this.#heldBytes += size;
        return new Uint8Array(size);
      }
      for (let larger = wanted + 1; larger < this.#sizes.length; larger++) {
        const buffer = this.#free[larger]!.pop();
        if (buffer) return buffer;
      }
    }
  }

  /**
   * Whether one of a level has room, after free smaller ones were let go for
   * it. Never larger ones: sizes would chase each other, each time through a
   * new buffer.
   */
  #makeRoom(level: number): boolean {
    const limit = this.#largeBytes - this.#sizes[level]!;
    for (let smaller = level - 1; smaller > 0; smaller--) {
      const size = this.#sizes[smaller]!;
      if (size <= SMALL_BYTES) break;
      while (this.#heldBytes > limit && this.#free[smaller]!.pop()) {
        this.#heldBytes -= size;
      }
    }
    return this.#heldBytes <= limit;
  }

  /** Takes a buffer back. */
  give(buffer: Uint8Array<ArrayBuffer>): void {
    const size = buffer.length;
    const free = this.#free[this.#sizes.indexOf(size)]!;
    // The large ones are all kept: there are only so many.
    if (size > SMALL_BYTES || free.length < FREE_SMALL) free.push(buffer);
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

  readonly #client: StreamConn;
  readonly #upstream: StreamConn;
  readonly #buffers: BufferPool;
  readonly #forward: Float64Array;
  readonly #remote: Float64Array;
  #reason: EndReason | undefined;
  /** Whether a side is still owed bytes that were read for it. */
  #owedUpstream = false;
  #owedDownstream = false;

  constructor(client: StreamConn, upstream: StreamConn, options: PipeOptions) {
    this.#client = client;
    this.#upstream = upstream;
    this.#buffers = options.buffers;
    this.#forward = options.forward;
    this.#remote = options.remote;
    this.ended = this.#run();
  }

  async #run(): Promise<EndReason> {
    await Promise.all([this.#copy("upstream"), this.#copy("downstream")]);
    if (this.#reason !== undefined) return this.#reason;
    this.#client.close();
    this.#upstream.close();
    return "eof";
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
        this.#owe(up, true);
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
        this.#owe(up, false);
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

  #owe(up: boolean, owed: boolean): void {
    if (up) this.#owedUpstream = owed;
    else this.#owedDownstream = owed;
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
    const cut = reason === "aborted" || reason.endsWith("reset");
    // A side that will not get all of what was sent must not take it for all.
    // Closing makes the other direction's pending call fail, so it ends too.
    close(this.#client, cut || this.#owedDownstream);
    close(this.#upstream, cut || this.#owedUpstream);
  }
}

function close(conn: StreamConn, cut: boolean): void {
  if (cut) conn.reset();
  else conn.close();
}

/** Closes a connection that may be closed already. */
export function closeQuietly(conn: { close(): void }): void {
  try {
    conn.close();
  } catch {
    // Closed already, by the other direction or by the peer's reset.
  }
}
