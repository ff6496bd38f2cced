/**
 * Cuts a stream of bytes into packets.
 *
 * 1. `push` takes a chunk as it was read from the socket.
 * 2. `next` reads the fixed header at the front. What the header alone can
 *    tell is decided there, before one byte of the body is kept: the type, its
 *    flags, its length, the size limit, and whether such a packet may come now.
 * 3. A packet that lies whole in the chunk is yielded where it lies.
 * 4. The rest of a chunk is copied aside; the chunks that follow complete it.
 * 5. Where it is asked for, a PUBLISH that is too large is yielded by its front
 *    alone, and what follows of it is skipped.
 *
 * The framer is its own cursor: `buffer`, `start`, `bodyStart` and `end` are
 * the packet that `next` found, and nothing is allocated for it.
 */
import {
  firstByteProblem,
  fixedHeaderProblem,
  type Problem,
} from "./fixed_header.ts";
import { FREE_HELD_BYTES, type HeldBudget } from "./held_budget.ts";
import { PacketError } from "./packet_error.ts";
import {
  type Direction,
  PacketType,
  type ProtocolVersion,
  ReasonCode,
} from "./protocol.ts";

/** How a {@linkcode Framer} reads. */
export interface FramerOptions {
  /** Where the packets go. */
  direction: Direction;
  /**
   * Largest packet with its fixed header, in bytes. It can be raised later.
   * @default {65536}
   */
  maxPacketBytes?: number;
  /**
   * The version of the connection; 0 where the CONNECT that tells it is yet to
   * come.
   * @default {0}
   */
  version?: ProtocolVersion | 0;
  /** Bounds what all framers hold of large packets. Default: no bound. */
  budget?: HeldBudget | undefined;
}

/** {@linkcode FramerOptions.maxPacketBytes} unless said otherwise: 64 KiB. */
export const DEFAULT_MAX_PACKET_BYTES = 65536;

/** A partial packet's first buffer. */
const MIN_HELD_BYTES = 256;
/** A buffer that grew beyond this is not kept for the next partial packet. */
const MAX_KEPT_BYTES = 16384;

const EMPTY: Uint8Array<ArrayBuffer> = new Uint8Array(0);

/** Cuts a stream of bytes into packets; see the module's flow. */
export class Framer {
  /** Where the packets go. */
  readonly direction: Direction;
  /** Largest packet with its fixed header, in bytes. */
  maxPacketBytes: number;
  /** The version of the connection; 0 before the CONNECT. */
  version: ProtocolVersion | 0;
  /**
   * Upstream: a CONNECT was taken. Downstream: a CONNACK that accepts was
   * taken. Whoever validates the packet sets it.
   */
  established = false;

  /** Holds the packet that `next` found: the chunk itself, or memory of the framer. */
  buffer: Uint8Array = EMPTY;
  /** First byte of the packet. */
  start = 0;
  /** First byte after the fixed header. */
  bodyStart = 0;
  /** One behind the last byte of the packet. */
  end = 0;
  /**
   * Whether a PUBLISH that is too large is skipped instead of refused, before
   * MQTT 5: its receiver cannot tell the sender what it takes.
   */
  skipsOversized = false;
  /**
   * The length of the PUBLISH that `next` found if it is too large: then there
   * is only its front, topic and packet identifier; else 0.
   */
  oversizedBytes = 0;

  readonly #budget: HeldBudget | undefined;
  #budgetBytes = 0;
  /** Bytes of a packet that was skipped that are still to come. */
  #skipBytes = 0;
  readonly #upstream: boolean;
  #chunk: Uint8Array = EMPTY;
  #at = 0;
  // The partial packet, how much of it is there, and its whole length where
  // the header is complete. Two buffers take turns, so that a packet completed
  // in one stays as it is while the rest of the same chunk is put aside.
  #held: Uint8Array<ArrayBuffer> = EMPTY;
  #spare: Uint8Array<ArrayBuffer> = EMPTY;
  #heldBytes = 0;
  #wantedBytes = 0;

  constructor(options: FramerOptions) {
    const {
      direction,
      maxPacketBytes = DEFAULT_MAX_PACKET_BYTES,
      version = 0,
      budget,
    } = options;
    this.#budget = budget;
    this.direction = direction;
    this.maxPacketBytes = maxPacketBytes;
    this.version = version;
    this.#upstream = direction === "upstream";
  }

  /** Bytes of a packet that is not complete yet. */
  get partialBytes(): number {
    return this.#heldBytes + this.#chunk.length - this.#at;
  }

  /** What of the chunk follows the current packet. */
  get unread(): Uint8Array {
    return this.#chunk.subarray(this.#at);
  }

  /**
   * Takes the next chunk. The previous one must be used up: `next` returned
   * false. The chunk must stay as it is until `next` returns false, and as
   * long as the packets found in it are used.
   */
  push(chunk: Uint8Array): void {
    if (this.#at < this.#chunk.length) {
      throw new RangeError(
        "Cannot take a chunk before next() returned false for the one before",
      );
    }
    this.#chunk = chunk;
    this.#at = 0;
  }

  /**
   * Moves to the next packet. False means that more bytes are needed. The
   * packets found between two calls of `push` stay valid together until the
   * later one.
   *
   * @throws {PacketError} where the fixed header breaks a rule; the stream is
   * of no use after that.
   */
  next(): boolean {
    if (this.#skipBytes > 0) this.#skip();
    this.oversizedBytes = 0;
    if (this.#heldBytes > 0) return this.#nextHeld();
    const chunk = this.#chunk;
    const start = this.#at;
    if (start === chunk.length) {
      this.#chunk = EMPTY;
      this.#at = 0;
      return false;
    }
    const total = this.#readHeader(chunk, start, chunk.length);
    if (total > this.maxPacketBytes) {
      this.#hold(total, start);
      return this.#nextHeld();
    }
    if (total === 0 || start + total > chunk.length) {
      // The budget may refuse what follows the free bytes.
      const to = Math.min(chunk.length, start + FREE_HELD_BYTES);
      this.#hold(total, to);
      return to < chunk.length && this.#nextHeld();
    }
    this.buffer = chunk;
    this.start = start;
    this.#at = this.end = start + total;
    return true;
  }

  /**
   * Reads the fixed header at `start`, sets `bodyStart` and returns the
   * packet's whole length, or 0 where the header is not complete.
   */
  #readHeader(buffer: Uint8Array, start: number, limit: number): number {
    let at = start + 1;
    if (at >= limit) return this.#incomplete(buffer[start]!);
    let byte = buffer[at++]!;
    let remainingBytes = byte & 0x7f;
    if (byte >= 0x80) {
      let shift = 7;
      do {
        if (shift > 21) this.#fail(buffer[start]!, LENGTH_TOO_LONG);
        if (at >= limit) return this.#incomplete(buffer[start]!);
        byte = buffer[at++]!;
        remainingBytes |= (byte & 0x7f) << shift;
        shift += 7;
      } while (byte >= 0x80);
      if (byte === 0 && this.version === 5) {
        this.#fail(buffer[start]!, LENGTH_NOT_MINIMAL);
      }
    }
    const problem = fixedHeaderProblem(
      buffer[start]!,
      remainingBytes,
      this.version,
      this.#upstream,
      this.established,
    );
    if (problem !== undefined) this.#fail(buffer[start]!, problem);
    const total = at - start + remainingBytes;
    if (total > this.maxPacketBytes && !this.#canSkip(buffer[start]!)) {
      this.#failTooLarge(buffer, start, at, limit);
    }
    this.bodyStart = at;
    return total;
  }

  #canSkip(first: number): boolean {
    return this.skipsOversized && this.established && this.version !== 5 &&
      first >> 4 === PacketType.PUBLISH;
  }

  /** The length is not there yet: what the first byte alone can tell is decided now. */
  #incomplete(first: number): 0 {
    const problem = firstByteProblem(
      first,
      this.version,
      this.#upstream,
      this.established,
    );
    if (problem !== undefined) this.#fail(first, problem);
    return 0;
  }

  /** Puts aside the front of a packet, up to what is free of the budget. */
  #hold(total: number, to: number): void {
    const chunk = this.#chunk;
    const from = this.#at;
    // The buffer that the last completed packet may lie in is left alone.
    const held = this.#held;
    this.#held = this.#spare;
    this.#spare = held;
    this.#heldBytes = 0;
    this.#wantedBytes = total;
    this.#append(chunk, from, to);
    this.bodyStart -= from;
    if (to < chunk.length) this.#at = to;
    else {
      this.#chunk = EMPTY;
      this.#at = 0;
    }
  }

  /** Goes on with the packet that was put aside. */
  #nextHeld(): boolean {
    const chunk = this.#chunk;
    while (this.#wantedBytes === 0) {
      if (this.#at === chunk.length) return false;
      this.#append(chunk, this.#at, this.#at + 1);
      this.#at++;
      this.#wantedBytes = this.#readHeader(this.#held, 0, this.#heldBytes);
    }
    if (this.#wantedBytes > this.maxPacketBytes) return this.#nextOversized();
    const missing = this.#wantedBytes - this.#heldBytes;
    const taken = Math.min(missing, chunk.length - this.#at);
    if (!this.#append(chunk, this.#at, this.#at + taken)) {
      if (this.#canSkip(this.#held[0]!)) return this.#nextOversized();
      this.#fail(this.#held[0]!, NO_MEMORY);
    }
    this.#at += taken;
    if (taken < missing) return false;
    this.buffer = this.#held;
    this.start = 0;
    this.end = this.#wantedBytes;
    this.#dropHeld();
    return true;
  }

  /** Goes on with the front of a PUBLISH that is too large, which was put aside. */
  #nextOversized(): boolean {
    const chunk = this.#chunk;
    for (;;) {
      const front = this.#frontBytes();
      const missing = front - this.#heldBytes;
      if (missing <= 0) {
        this.buffer = this.#held;
        this.start = 0;
        this.end = front;
        this.oversizedBytes = this.#wantedBytes;
        this.#skipBytes = this.#wantedBytes - this.#heldBytes;
        this.#dropHeld();
        return true;
      }
      const taken = Math.min(missing, chunk.length - this.#at);
      if (taken === 0) return false;
      this.#append(chunk, this.#at, this.#at + taken);
      this.#at += taken;
    }
  }

  /** Bytes of the held PUBLISH up to its packet identifier, as far as they are known. */
  #frontBytes(): number {
    const { bodyStart } = this;
    if (this.#heldBytes < bodyStart + 2) return bodyStart + 2;
    const topicBytes = this.#held[bodyStart]! << 8 | this.#held[bodyStart + 1]!;
    const idBytes = (this.#held[0]! & 0x06) === 0 ? 0 : 2;
    const front = bodyStart + 2 + topicBytes + idBytes;
    if (front > this.#wantedBytes) this.#fail(this.#held[0]!, FRONT_TOO_LONG);
    return front;
  }

  /** Passes over what is left of a packet that was skipped. */
  #skip(): void {
    const there = this.#chunk.length - this.#at;
    const passed = Math.min(this.#skipBytes, there);
    this.#at += passed;
    this.#skipBytes -= passed;
  }

  /** The held packet is complete: its memory is its reader's until the next one. */
  #dropHeld(): void {
    this.#heldBytes = 0;
    if (this.#held.length > MAX_KEPT_BYTES) this.#held = EMPTY;
    this.release();
  }

  /** Gives back what is counted for large packets; at the end of the connection, too. */
  release(): void {
    if (this.#budgetBytes === 0) return;
    this.#budget!.give(this.#budgetBytes);
    this.#budgetBytes = 0;
  }

  /**
   * Grows by what arrived, never by what a header promises: a peer that
   * announces 256 MB and sends 2 bytes costs 256 bytes. False, and nothing is
   * taken, where the budget of all framers is used up.
   */
  #append(chunk: Uint8Array, from: number, to: number): boolean {
    const filled = this.#heldBytes + to - from;
    if (filled > this.#held.length) {
      let capacity = Math.max(MIN_HELD_BYTES, 2 * this.#held.length);
      while (capacity < filled) capacity *= 2;
      if (this.#wantedBytes > 0 && capacity > this.#wantedBytes) {
        capacity = Math.max(MIN_HELD_BYTES, this.#wantedBytes);
      }
      if (!this.#reserve(capacity)) return false;
      const larger = new Uint8Array(capacity);
      larger.set(this.#held.subarray(0, this.#heldBytes));
      this.#held = larger;
    }
    if (to - from === 1) this.#held[this.#heldBytes] = chunk[from]!;
    else this.#held.set(chunk.subarray(from, to), this.#heldBytes);
    this.#heldBytes = filled;
    return true;
  }

  #reserve(capacity: number): boolean {
    if (this.#budget === undefined) return true;
    // The front of a packet that is skipped fits always.
    if (capacity <= 2 * FREE_HELD_BYTES) return true;
    const more = capacity - this.#budgetBytes;
    if (!this.#budget.tryTake(more)) return false;
    this.#budgetBytes = capacity;
    return true;
  }

  #failTooLarge(
    buffer: Uint8Array,
    start: number,
    bodyStart: number,
    limit: number,
  ): never {
    const first = buffer[start]!;
    // Who sends too large a CONNECT is told so if its version is to be seen.
    const version = this.version === 0 && first >> 4 === PacketType.CONNECT
      ? peekVersion(buffer, bodyStart, limit)
      : this.version;
    const rule = this.#upstream ? TOO_LARGE_UPSTREAM : TOO_LARGE_DOWNSTREAM;
    this.#fail(first, rule, version);
  }

  #fail(
    first: number,
    rule: Problem,
    version: ProtocolVersion | 0 = this.version,
  ): never {
    throw new PacketError({
      problem: rule.problem,
      clause: version === 5 ? rule.clause5 : rule.clause4,
      reasonCode: rule.reasonCode,
      version,
      direction: this.direction,
      packetType: first >> 4,
      established: this.established,
    });
  }
}

/** The version that a CONNECT of 3.1.1 or 5.0 names, where its bytes are there. */
function peekVersion(
  buffer: Uint8Array,
  bodyStart: number,
  limit: number,
): 4 | 5 | 0 {
  if (bodyStart + MQTT_NAME.length >= limit) return 0;
  for (let i = 0; i < MQTT_NAME.length; i++) {
    if (buffer[bodyStart + i] !== MQTT_NAME[i]) return 0;
  }
  const level = buffer[bodyStart + MQTT_NAME.length];
  return level === 4 || level === 5 ? level : 0;
}

/** `MQTT` with its length. */
const MQTT_NAME: readonly number[] = [0, 4, 0x4d, 0x51, 0x54, 0x54];

const LENGTH_TOO_LONG: Problem = {
  problem: "has a remaining length of more than four bytes",
  clause4: "2.2.3",
  clause5: "1.5.5",
  reasonCode: ReasonCode.MALFORMED_PACKET,
};
const LENGTH_NOT_MINIMAL: Problem = {
  problem: "has a remaining length in more bytes than it needs",
  clause4: "2.2.3",
  clause5: "MQTT-1.5.5-1",
  reasonCode: ReasonCode.MALFORMED_PACKET,
};
const TOO_LARGE_UPSTREAM: Problem = {
  problem: "is larger than the limit",
  clause4: "2.2.3",
  clause5: "MQTT-3.2.2-15",
  reasonCode: ReasonCode.PACKET_TOO_LARGE,
};
const NO_MEMORY: Problem = {
  problem: "is larger than the memory that is left for such packets",
  clause4: "2.2.3",
  clause5: "4.13",
  reasonCode: ReasonCode.QUOTA_EXCEEDED,
};
const FRONT_TOO_LONG: Problem = {
  problem: "is shorter than its fields",
  clause4: "MQTT-4.8.0-1",
  clause5: "MQTT-4.13.1-1",
  reasonCode: ReasonCode.MALFORMED_PACKET,
};
const TOO_LARGE_DOWNSTREAM: Problem = {
  ...TOO_LARGE_UPSTREAM,
  clause5: "MQTT-3.1.2-24",
};
