/**
 * One direction: moves what is there from a side to the other.
 *
 * 1. what a short send has left goes first,
 * 2. copy: recv into the reactor's one buffer, send it; what a short send
 *    leaves is kept in a buffer of the direction, and nothing more is read,
 * 3. splice: a direction of several full reads in a row is bulk and goes
 *    through a pipe, without a copy, until it has moved little a few times.
 *
 * Events are edges: a direction is looked at again only when something new has
 * come or room was made, so each turn goes on until the source is dry or the
 * sink is full. Functions stand in that order.
 */
import { ForwardSlot, RemoteSlot } from "../../stream_counters.ts";
import { EAGAIN, EINTR } from "../ffi/constants.ts";
import type { StreamCalls } from "../ffi/stream.ts";
import { type ConnectionTable, Side } from "./connection_table.ts";
import { LEAST_PIPE_BYTES, NO_PIPE, type PipePool } from "./pipe_pool.ts";
import { LARGEST_READ_BYTES } from "./service.ts";
import type { Splicing } from "./splicing.ts";

/** How a turn of a direction went. */
export const Turn = {
  /** The source is dry or the sink is full: an event will tell. */
  waiting: 0,
  /** There is more, and others wait too. */
  more: 1,
  /** The source has ended and all of it is passed on. */
  ended: 2,
  sourceFailed: 3,
  sinkFailed: 4,
} as const;

/** Reads or splices in one turn of one direction. */
const ROUNDS = 16;

/**
 * Bytes after which a turn of a direction is over: what others, and orders to
 * the reactor, wait for at the most is a few milliseconds.
 */
const TURN_BYTES = ROUNDS * LARGEST_READ_BYTES;

/** Turns in a row that moved less than a full read, after which a pipe is given back. */
const LEAN_TURNS = 8;

/** Buffers for rests of short sends that are kept. */
const FREE_BUFFERS = 32;

/** Moves bytes of all directions of a reactor. */
export class DirectionMover {
  readonly #calls: StreamCalls;
  readonly #table: ConnectionTable;
  readonly #pipes: PipePool;
  readonly #fullBytes: number;
  readonly #fullReads: number;
  readonly #buffer = new Uint8Array(new ArrayBuffer(LARGEST_READ_BYTES));
  readonly #freeBuffers: Uint8Array<ArrayBuffer>[] = [];

  constructor(
    calls: StreamCalls,
    table: ConnectionTable,
    pipes: PipePool,
    splicing: Splicing,
  ) {
    this.#calls = calls;
    this.#table = table;
    this.#pipes = pipes;
    this.#fullBytes = splicing.readBytes;
    this.#fullReads = splicing.reads;
  }

  /** Whether bytes were read that the other side has not taken. */
  blocked(direction: number): boolean {
    return this.#table.heldBytes[direction]! > 0 ||
      this.#table.piped[direction]! > 0;
  }

  /** One turn of a direction of a piped connection; a {@linkcode Turn}. */
  move(direction: number, nowMs: number): number {
    const table = this.#table;
    if (table.bits[direction]! & Side.ended) return Turn.waiting;
    if (table.heldBytes[direction]! > 0) {
      const turn = this.#sendHeld(direction, nowMs);
      if (turn !== Turn.more) return turn;
    }
    return table.pipe[direction] === NO_PIPE
      ? this.#copy(direction, nowMs)
      : this.#splice(direction, nowMs);
  }

  /** {@linkcode Turn.more} where all of it was taken. */
  #sendHeld(direction: number, nowMs: number): number {
    const table = this.#table;
    const sink = table.fd[direction ^ 1]!;
    const buffer = table.held[direction]!;
    while (table.heldBytes[direction]! > 0) {
      const bytes = table.heldBytes[direction]!;
      const from = table.heldFrom[direction]!;
      const sent = this.#calls.send(
        sink,
        buffer.subarray(from, from + bytes),
        bytes,
      );
      if (sent < 0) {
        const errno = this.#calls.errno();
        if (errno === EINTR) continue;
        return errno === EAGAIN ? Turn.waiting : Turn.sinkFailed;
      }
      table.heldBytes[direction] = bytes - sent;
      table.heldFrom[direction] = from + sent;
      this.#count(direction, sent, nowMs);
    }
    this.#freeHeld(direction);
    return Turn.more;
  }

  #copy(direction: number, nowMs: number): number {
    const table = this.#table;
    const calls = this.#calls;
    const buffer = this.#buffer;
    const source = table.fd[direction]!;
    const sink = table.fd[direction ^ 1]!;
    const service = table.service[direction >> 1]!;
    const size = service.readBytes;
    for (let round = 0; round < ROUNDS; round++) {
      const read = calls.receive(source, buffer, size);
      if (read < 0) {
        const errno = calls.errno();
        if (errno === EINTR) continue;
        if (errno !== EAGAIN) return Turn.sourceFailed;
        table.full[direction] = 0;
        table.bits[direction]! &= ~Side.drain;
        return Turn.waiting;
      }
      if (read === 0) return Turn.ended;
      const sent = calls.send(sink, buffer, read);
      if (sent < read) {
        if (sent < 0) {
          const errno = calls.errno();
          if (errno !== EAGAIN && errno !== EINTR) return Turn.sinkFailed;
        } else this.#count(direction, sent, nowMs);
        this.#hold(direction, Math.max(0, sent), read);
        const turn = this.#sendHeld(direction, nowMs);
        if (turn !== Turn.more) return turn;
      } else this.#count(direction, sent, nowMs);
      if (read < this.#fullBytes) table.full[direction] = 0;
      else if (
        ++table.full[direction]! >= this.#fullReads && this.#takePipe(direction)
      ) return this.#splice(direction, nowMs);
      // A short read has emptied the socket (epoll(7)); what comes now is a new
      // event.
      if (read < service.readLength && !(table.bits[direction]! & Side.drain)) {
        return Turn.waiting;
      }
    }
    return Turn.more;
  }

  /** Keeps bytes of the one buffer until the sink takes them. */
  #hold(direction: number, from: number, to: number): void {
    const kept = this.#freeBuffers.pop() ??
      new Uint8Array(new ArrayBuffer(LARGEST_READ_BYTES));
    kept.set(this.#buffer.subarray(from, to));
    this.#table.held[direction] = kept;
    this.#table.heldFrom[direction] = 0;
    this.#table.heldBytes[direction] = to - from;
  }

  #freeHeld(direction: number): void {
    const buffer = this.#table.held[direction];
    if (!buffer) return;
    this.#table.held[direction] = undefined;
    this.#table.heldBytes[direction] = 0;
    if (this.#freeBuffers.length < FREE_BUFFERS) this.#freeBuffers.push(buffer);
  }

  #takePipe(direction: number): boolean {
    const table = this.#table;
    table.full[direction] = 0;
    if (table.bits[direction]! & Side.urgent) return false;
    if (table.service[direction >> 1]!.pipeBytes < LEAST_PIPE_BYTES) {
      return false;
    }
    const pipe = this.#pipes.take();
    table.pipe[direction] = pipe;
    table.lean[direction] = 0;
    return pipe !== NO_PIPE;
  }

  #splice(direction: number, nowMs: number): number {
    const table = this.#table;
    const calls = this.#calls;
    const pipe = table.pipe[direction]!;
    const source = table.fd[direction]!;
    const sink = table.fd[direction ^ 1]!;
    const reads = this.#pipes.reads(pipe);
    const writes = this.#pipes.writes(pipe);
    const size = Math.min(
      this.#pipes.size(pipe),
      table.service[direction >> 1]!.pipeBytes,
    );
    let moved = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const held = table.piped[direction]!;
      if (!(table.bits[direction]! & Side.endSpliced) && held < size) {
        const taken = calls.splice(source, writes, size - held);
        if (taken > 0) table.piped[direction] = held + taken;
        else if (taken === 0) table.bits[direction]! |= Side.endSpliced;
        else {
          const errno = calls.errno();
          if (errno !== EAGAIN && errno !== EINTR) return Turn.sourceFailed;
          // With bytes in the pipe EAGAIN may mean that it has no page free.
          if (errno === EAGAIN && held === 0) {
            return this.#sourceDry(direction, moved, nowMs);
          }
        }
      }
      const wanted = table.piped[direction]!;
      if (wanted === 0) {
        if (!(table.bits[direction]! & Side.endSpliced)) continue;
        this.#freePipe(direction);
        return Turn.ended;
      }
      const given = calls.splice(reads, sink, wanted);
      if (given > 0) {
        table.piped[direction] = wanted - given;
        moved += given;
        this.#count(direction, given, nowMs);
        if (moved >= TURN_BYTES) return Turn.more;
      } else {
        const errno = calls.errno();
        if (errno === EINTR) continue;
        return errno === EAGAIN ? Turn.waiting : Turn.sinkFailed;
      }
    }
    return Turn.more;
  }

  /** The source has nothing more now: stays with the pipe, or gives it back. */
  #sourceDry(direction: number, moved: number, nowMs: number): number {
    const table = this.#table;
    if (moved >= this.#fullBytes) table.lean[direction] = 0;
    else table.lean[direction]!++;
    const urgent = (table.bits[direction]! & Side.urgent) !== 0;
    if (table.lean[direction]! < LEAN_TURNS && !urgent) {
      table.bits[direction]! &= ~Side.drain;
      return Turn.waiting;
    }
    this.#freePipe(direction);
    // Urgent data stops splice(2) short of what recv(2) can read.
    return urgent ? this.#copy(direction, nowMs) : Turn.waiting;
  }

  #freePipe(direction: number): void {
    const table = this.#table;
    const pipe = table.pipe[direction]!;
    if (pipe === NO_PIPE) return;
    this.#pipes.give(pipe, table.piped[direction] === 0);
    table.pipe[direction] = NO_PIPE;
    table.piped[direction] = 0;
  }

  #count(direction: number, bytes: number, nowMs: number): void {
    const table = this.#table;
    const c = direction >> 1;
    const { slots } = table.service[c]!;
    const remote = table.remote[c]!.slots;
    table.bytes[direction]! += bytes;
    table.movedMs[c] = nowMs;
    if (direction & 1) {
      slots[ForwardSlot.bytesDownstream]! += bytes;
      remote[RemoteSlot.bytesDownstream]! += bytes;
    } else {
      slots[ForwardSlot.bytesUpstream]! += bytes;
      remote[RemoteSlot.bytesUpstream]! += bytes;
    }
  }

  /** Gives back what a direction holds, at its connection's end. */
  release(direction: number): void {
    this.#freeHeld(direction);
    this.#freePipe(direction);
  }
}
