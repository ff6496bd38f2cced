/**
 * A batch: memory for datagrams on their way, owned by the loop that made it
 * and used again for every turn.
 *
 * A slot holds one datagram, or several equal ones back to back as the kernel
 * joins them (UDP_GRO): slot `i` starts at byte `i * slotBytes`, holds
 * `lengths[i]` bytes, and its datagrams are `segmentSizes[i]` bytes each; only
 * the last one may be shorter. A lone datagram has a segment size of its
 * length or more; a datagram of zero bytes is a slot of length 0. Slots from
 * `count` on are meaningless.
 *
 * Who fills a batch (a socket, a file) writes the slots from 0 and sets
 * `count`. Who takes one (a destination, a file) must be done with its memory
 * when its call returns or, if that was a promise, when it resolves.
 */
import type { Address } from "../address.ts";

/** Largest payload of an IPv4 UDP datagram (RFC 768): 65535 - 20 - 8 bytes. */
export const MAX_DATAGRAM_BYTES = 65507;

/** A slot takes one largest datagram, or one largest joined read. */
export const SLOT_BYTES = 65536;

/** Reads the sender of a slot from what the engine left there. */
export type SourceReader = (batch: DatagramBatch, slot: number) => Address;

/** Memory for datagrams on their way; see the module's rules. */
export class DatagramBatch {
  /** How many slots there are. */
  readonly slots: number;
  /** Bytes of each slot. */
  readonly slotBytes: number;
  /** The memory of all slots. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Bytes in each slot. */
  readonly lengths: Int32Array;
  /** Bytes of each datagram of a slot but its last one. */
  readonly segmentSizes: Int32Array;
  /** Slots filled. */
  count = 0;
  /** Set by the engine that fills the batch. */
  readSource: SourceReader | undefined;
  /** The same for the source port alone, where that costs no object. */
  readSourcePort: ((batch: DatagramBatch, slot: number) => number) | undefined;

  /** Where the sender of each slot stands since slots were moved; meaningless before. */
  readonly #sourceSlots: Int32Array;
  #moved = false;

  readonly #slotViews: Uint8Array<ArrayBuffer>[];
  readonly #filledViews: Uint8Array<ArrayBuffer>[];

  constructor(slots: number, slotBytes: number = SLOT_BYTES) {
    this.slots = slots;
    this.slotBytes = slotBytes;
    this.bytes = new Uint8Array(slots * slotBytes);
    this.lengths = new Int32Array(slots);
    this.segmentSizes = new Int32Array(slots);
    this.#sourceSlots = new Int32Array(slots);
    this.#slotViews = Array.from(
      { length: slots },
      (_, i) => this.bytes.subarray(i * slotBytes, (i + 1) * slotBytes),
    );
    this.#filledViews = [...this.#slotViews];
  }

  /** The whole of a slot, to fill it. */
  slot(index: number): Uint8Array<ArrayBuffer> {
    return this.#slotViews[index]!;
  }

  /** The filled part of a slot; the same view as long as its length does not change. */
  filled(index: number): Uint8Array<ArrayBuffer> {
    const length = this.lengths[index]!;
    const view = this.#filledViews[index]!;
    if (view.length === length) return view;
    const start = index * this.slotBytes;
    return this.#filledViews[index] = this.bytes.subarray(
      start,
      start + length,
    );
  }

  /** How many datagrams a slot holds. */
  datagramsIn(slot: number): number {
    const length = this.lengths[slot]!;
    const size = this.segmentSizes[slot]!;
    return length <= size || size <= 0 ? 1 : Math.ceil(length / size);
  }

  /** How many datagrams all filled slots hold. */
  datagrams(): number {
    let sum = 0;
    for (let i = 0; i < this.count; i++) sum += this.datagramsIn(i);
    return sum;
  }

  /** How many bytes all filled slots hold. */
  byteLength(): number {
    let sum = 0;
    for (let i = 0; i < this.count; i++) sum += this.lengths[i]!;
    return sum;
  }

  /** Sets a slot to one datagram of `length` bytes. */
  setDatagram(slot: number, length: number): void {
    this.lengths[slot] = length;
    this.segmentSizes[slot] = length;
  }

  /** Who sent a slot's datagrams; the kernel joins only those of one sender. */
  source(slot: number): Address {
    if (this.readSource === undefined) {
      throw new TypeError("Cannot tell the source: the batch was not received");
    }
    return this.readSource(this, this.#moved ? this.#sourceSlots[slot]! : slot);
  }

  /** Begins to take slots out: from now on, senders are those of the slots as received. */
  startMoves(): void {
    this.#moved = false;
  }

  /** Copies a slot with its sender to one before it. */
  moveSlot(from: number, to: number): void {
    if (!this.#moved) {
      for (let i = 0; i < this.count; i++) this.#sourceSlots[i] = i;
      this.#moved = true;
    }
    this.slot(to).set(this.filled(from));
    this.lengths[to] = this.lengths[from]!;
    this.segmentSizes[to] = this.segmentSizes[from]!;
    this.#sourceSlots[to] = this.#sourceSlots[from]!;
  }

  /** The port of a slot's sender. */
  sourcePort(slot: number): number {
    if (this.readSourcePort === undefined) return this.source(slot).port;
    return this.readSourcePort(
      this,
      this.#moved ? this.#sourceSlots[slot]! : slot,
    );
  }
}
