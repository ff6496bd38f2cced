/**
 * Cuts a batch into the messages of sendmmsg(2). Pure.
 *
 * One message may carry several datagrams that the kernel cuts apart again
 * (UDP_SEGMENT, udp(7)): all of one size, only the last may be shorter, none
 * empty. Equal datagrams are joined across slots, as pieces of one message, so
 * that nothing is copied and a plain source costs few sends too.
 */
import { type DatagramBatch, MAX_DATAGRAM_BYTES } from "../../batch.ts";

/** What the system takes in one message. Values only fall. */
export interface SegmentLimits {
  /** Datagrams of one message; 1 where the system does not cut. */
  maxSegments: number;
  /** Bytes of one datagram of a joined message: the path's MTU less the headers. */
  maxSegmentBytes: number;
}

/** Messages over a part of a batch; made once, filled for every call. */
export class SendPlan {
  /** Most messages and most pieces. */
  readonly capacity: number;
  /** Messages planned. */
  messages = 0;
  /** Pieces planned. */
  pieces = 0;
  /** Where the plan ends: the first slot that is not done, and its bytes that are. */
  nextSlot = 0;
  nextOffset = 0;

  // Per message.
  readonly firstPiece: Int32Array;
  readonly pieceCount: Int32Array;
  /** Bytes of each datagram of a joined message, or 0. */
  readonly segmentSize: Int32Array;
  readonly datagrams: Int32Array;
  readonly bytes: Int32Array;
  /** Where it starts in the batch. */
  readonly slot: Int32Array;
  readonly offset: Int32Array;

  // Per piece: bytes of the batch's memory.
  readonly pieceOffset: Int32Array;
  readonly pieceLength: Int32Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.firstPiece = new Int32Array(capacity);
    this.pieceCount = new Int32Array(capacity);
    this.segmentSize = new Int32Array(capacity);
    this.datagrams = new Int32Array(capacity);
    this.bytes = new Int32Array(capacity);
    this.slot = new Int32Array(capacity);
    this.offset = new Int32Array(capacity);
    this.pieceOffset = new Int32Array(capacity);
    this.pieceLength = new Int32Array(capacity);
  }

  /** Plans what follows byte `offset` of slot `slot`, as much as has room. */
  fill(
    batch: DatagramBatch,
    slot: number,
    offset: number,
    limits: SegmentLimits,
  ): void {
    const { maxSegments, maxSegmentBytes } = limits;
    const { lengths, segmentSizes, slotBytes, count } = batch;
    let message = -1;
    let piece = 0;
    // The size that the open message's next datagram must have; 0 while none is open.
    let openSize = 0;
    while (slot < count && piece < this.capacity) {
      const length = lengths[slot]!;
      let size = segmentSizes[slot]!;
      if (size <= 0 || size > length) size = length;
      const left = length - offset;

      let taken = 0;
      if (openSize > 0) {
        taken = joined(
          left,
          size,
          openSize,
          maxSegments - this.datagrams[message]!,
          MAX_DATAGRAM_BYTES - this.bytes[message]!,
        );
      }
      if (taken === 0) {
        message++;
        this.firstPiece[message] = piece;
        this.pieceCount[message] = 0;
        this.segmentSize[message] = 0;
        this.datagrams[message] = 0;
        this.bytes[message] = 0;
        this.slot[message] = slot;
        this.offset[message] = offset;
        openSize = maxSegments > 1 && size <= maxSegmentBytes ? size : 0;
        if (openSize > 0) {
          taken = joined(left, size, size, maxSegments, MAX_DATAGRAM_BYTES);
        }
        // A datagram that cannot be joined goes alone, whatever its size.
        if (taken === 0) {
          taken = Math.min(size, left);
          openSize = 0;
        }
      }

      this.pieceOffset[piece] = slot * slotBytes + offset;
      this.pieceLength[piece] = taken;
      piece++;
      const step = openSize === 0 ? 1 : Math.ceil(taken / openSize);
      this.pieceCount[message]! += 1;
      this.datagrams[message]! += step;
      this.bytes[message]! += taken;
      if (this.datagrams[message]! > 1) this.segmentSize[message] = openSize;
      // A shorter datagram can only be the last one.
      if (openSize > 0 && taken % openSize !== 0) openSize = 0;
      offset += taken;
      if (offset >= length) {
        slot++;
        offset = 0;
      }
    }
    this.messages = message + 1;
    this.pieces = piece;
    this.nextSlot = slot;
    this.nextOffset = offset;
  }
}

/**
 * Bytes of a slot's rest that can join a message of datagrams of `openSize`
 * bytes: whole datagrams of that size, then at most one that is shorter.
 */
function joined(
  left: number,
  size: number,
  openSize: number,
  roomSegments: number,
  roomBytes: number,
): number {
  if (roomSegments < 1 || left === 0) return 0;
  if (size !== openSize) {
    // A lone shorter datagram ends the message.
    return left <= size && left < openSize && left <= roomBytes ? left : 0;
  }
  const whole = Math.min(Math.floor(left / size), roomSegments);
  if (whole * size > roomBytes) return Math.floor(roomBytes / size) * size;
  const tail = left - whole * size;
  const tailFits = tail > 0 && tail < size && whole < roomSegments &&
    left <= roomBytes;
  return tailFits ? left : whole * size;
}

/** Datagrams of a batch from byte `offset` of slot `slot` on. */
export function datagramsFrom(
  batch: DatagramBatch,
  slot: number,
  offset: number,
): number {
  let sum = 0;
  for (; slot < batch.count; slot++) {
    const left = batch.lengths[slot]! - offset;
    const size = batch.segmentSizes[slot]!;
    sum += left <= size || size <= 0 ? 1 : Math.ceil(left / size);
    offset = 0;
  }
  return sum;
}
