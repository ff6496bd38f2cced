/**
 * The connections of a reactor as arrays. A connection is a number `c`; its
 * sides are `2c` (the client's) and `2c + 1` (the remote's), so that `s ^ 1`
 * is the other side and `s >> 1` the connection. A direction has the number of
 * the side that it reads.
 */
import {
  EPOLLET,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
} from "../ffi/constants.ts";
import { SOCKADDR_BYTES } from "../ffi/sockaddr.ts";
import { NO_PIPE } from "./pipe_pool.ts";
import type { Remote, Service } from "./service.ts";

/** What a connection waits for. */
export const State = {
  /** Not in use. */
  free: 0,
  /** Its remote's name is being resolved. */
  resolving: 1,
  /** The connect of its remote side is under way. */
  connecting: 2,
  /** Connects to several addresses are under way, each with a number of its own. */
  racing: 3,
  /** No attempt is under way: before the first, or between two. */
  pausing: 4,
  /** Both sides are there. */
  piped: 5,
} as const;

/** Bits of a side. */
export const Side = {
  /** Something came while nobody could take it on. */
  arrived: 1,
  /** Read until nothing is left: a short read does not tell (end, reset, urgent data). */
  drain: 2,
  /** Its end was read and passed on. */
  ended: 4,
  /** It has sent urgent data, which splice(2) cannot pass. */
  urgent: 8,
  /** Its end was spliced; what the pipe holds comes first. */
  endSpliced: 16,
  /** It stands in the list of those that had more than one turn's worth. */
  queued: 32,
  /** It was reset. */
  failed: 64,
} as const;

/** What is waited for on a side, as edges. */
export const EDGES = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET;

/** What a dial needs that went beyond one connect to one address. */
export interface Dial {
  /** Remotes that have failed, in order. */
  readonly tried: number[];
  /** Number of the question for addresses that is open, or 0. */
  lookup: number;
  /** Addresses that nobody has tried yet. */
  addresses: Uint8Array<ArrayBuffer>[];
  /** Connections that dial for this one. */
  readonly racers: number[];
  /** The connection that this one dials for, or -1. */
  parent: number;
  /** When the next address joins the race. */
  raceAtMs: number;
  /** When the pause ends. */
  retryAtMs: number;
  /** Whether it is a probe: there is no client. */
  probe: boolean;
  /** The errno of the last racer that failed. */
  errno: number;
}

/** The first of these states says nothing yet; more are made where they are needed. */
const FIRST_CAPACITY = 64;

/** Connections by number. */
export class ConnectionTable {
  /** Numbers there is room for. */
  capacity = 0;
  // ---- by connection
  /** {@linkcode State}. */
  state!: Uint8Array;
  /** Its number within the forwarder, once it is piped. */
  id!: Float64Array;
  /** When it was accepted; once it is piped, since when it is. */
  sinceMs!: Float64Array;
  /** When the attempt under way began. */
  attemptMs!: Float64Array;
  /** When a byte, or an end, moved last. */
  movedMs!: Float64Array;
  /** 1 where it is counted among those of its source. */
  counted!: Uint8Array;
  /** The client's `struct sockaddr`, {@linkcode SOCKADDR_BYTES} each. */
  address!: Uint8Array;
  /** Whose it is. */
  readonly service: (Service | undefined)[] = [];
  /** The remote of the attempt under way, or of the pipe. */
  readonly remote: (Remote | undefined)[] = [];
  /** Only where a dial needs one. */
  readonly dial: (Dial | undefined)[] = [];
  // ---- by side
  /** Descriptor, or -1. */
  fd!: Int32Array;
  /** Bits of {@linkcode Side}. */
  bits!: Uint8Array;
  /** Full reads in a row. */
  full!: Uint8Array;
  /** Turns in a row in which a pipe moved little. */
  lean!: Uint8Array;
  /** Number of the direction's pipe, or {@linkcode NO_PIPE}. */
  pipe!: Int32Array;
  /** Bytes in the pipe. */
  piped!: Int32Array;
  /** Bytes that a short send has left, and where they begin in {@linkcode held}. */
  heldBytes!: Int32Array;
  heldFrom!: Int32Array;
  /** Bytes moved, and those that a report has told. */
  bytes!: Float64Array;
  told!: Float64Array;
  /** The buffer of what a short send has left. */
  readonly held: (Uint8Array<ArrayBuffer> | undefined)[] = [];

  readonly #free: number[] = [];
  /** Numbers that are free, but that events of the last wait may still name. */
  readonly #left: number[] = [];
  readonly #onGrow: (capacity: number) => void;

  /** `onGrow` hears of each new capacity. */
  constructor(onGrow: (capacity: number) => void) {
    this.#onGrow = onGrow;
    this.#grow(FIRST_CAPACITY);
  }

  /** A number for a connection of `service`, with nothing under way. */
  take(service: Service, nowMs: number): number {
    if (this.#free.length === 0) this.#grow(2 * this.capacity);
    const c = this.#free.pop()!;
    this.state[c] = State.pausing;
    this.service[c] = service;
    this.sinceMs[c] = nowMs;
    this.counted[c] = 0;
    for (let s = 2 * c; s < 2 * c + 2; s++) {
      this.fd[s] = -1;
      this.bits[s] = 0;
      this.full[s] = 0;
      this.lean[s] = 0;
      this.pipe[s] = NO_PIPE;
      this.piped[s] = 0;
      this.heldBytes[s] = 0;
      this.heldFrom[s] = 0;
      this.bytes[s] = 0;
      this.told[s] = 0;
    }
    return c;
  }

  /**
   * Gives the number of a connection back whose descriptors are closed; it is
   * not taken again before {@linkcode reuse}.
   */
  free(c: number): void {
    this.state[c] = State.free;
    for (let s = 2 * c; s < 2 * c + 2; s++) {
      this.fd[s] = -1;
      this.bits[s] = 0;
    }
    this.service[c] = undefined;
    this.remote[c] = undefined;
    this.dial[c] = undefined;
    this.#left.push(c);
  }

  /** Lets numbers be taken again: no event of the last wait is left to name one. */
  reuse(): void {
    for (const c of this.#left) this.#free.push(c);
    this.#left.length = 0;
  }

  /** What its dial needs, made where there is none yet. */
  dialOf(c: number): Dial {
    return this.dial[c] ??= {
      tried: [],
      lookup: 0,
      addresses: [],
      racers: [],
      parent: -1,
      raceAtMs: Infinity,
      retryAtMs: Infinity,
      probe: false,
      errno: 0,
    };
  }

  /** Calls `visit` for each connection of a service. */
  each(service: Service, visit: (c: number) => void): void {
    for (let c = 0; c < this.capacity; c++) {
      if (this.service[c] === service) visit(c);
    }
  }

  /** Whether one side has ended and the other goes on. */
  halfClosed(c: number): boolean {
    return ((this.bits[2 * c]! | this.bits[2 * c + 1]!) & Side.ended) !== 0;
  }

  #grow(capacity: number): void {
    const before = this.capacity;
    this.capacity = capacity;
    const sides = 2 * capacity;
    this.state = larger(this.state, new Uint8Array(capacity));
    this.counted = larger(this.counted, new Uint8Array(capacity));
    this.id = larger(this.id, new Float64Array(capacity));
    this.sinceMs = larger(this.sinceMs, new Float64Array(capacity));
    this.attemptMs = larger(this.attemptMs, new Float64Array(capacity));
    this.movedMs = larger(this.movedMs, new Float64Array(capacity));
    this.address = larger(
      this.address,
      new Uint8Array(capacity * SOCKADDR_BYTES),
    );
    this.fd = larger(this.fd, new Int32Array(sides));
    this.bits = larger(this.bits, new Uint8Array(sides));
    this.full = larger(this.full, new Uint8Array(sides));
    this.lean = larger(this.lean, new Uint8Array(sides));
    this.pipe = larger(this.pipe, new Int32Array(sides));
    this.piped = larger(this.piped, new Int32Array(sides));
    this.heldBytes = larger(this.heldBytes, new Int32Array(sides));
    this.heldFrom = larger(this.heldFrom, new Int32Array(sides));
    this.bytes = larger(this.bytes, new Float64Array(sides));
    this.told = larger(this.told, new Float64Array(sides));
    for (let c = capacity - 1; c >= before; c--) this.#free.push(c);
    this.#onGrow(capacity);
  }
}

function larger<A extends Uint8Array | Int32Array | Float64Array>(
  from: A | undefined,
  to: A,
): A {
  if (from) to.set(from);
  return to;
}
