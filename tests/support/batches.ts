/** Batches of datagrams for tests of sinks. */
import fc from "fast-check";
import type { Address } from "../../net/address.ts";
import { DatagramBatch } from "../../net/engine/batch.ts";

/** One slot: its bytes, how they are cut, and who sent them. */
export interface TestSlot {
  bytes: Uint8Array;
  /** Default: one datagram. */
  segmentSize?: number;
  /** Default: `127.0.0.1:1000`. */
  source?: Address;
}

/** A batch with these slots. */
export function batchOf(...slots: readonly TestSlot[]): DatagramBatch {
  const batch = new DatagramBatch(Math.max(1, slots.length));
  for (const [i, { bytes, segmentSize }] of slots.entries()) {
    batch.slot(i).set(bytes);
    batch.setDatagram(i, bytes.length);
    if (segmentSize !== undefined) batch.segmentSizes[i] = segmentSize;
  }
  batch.count = slots.length;
  batch.readSource = (_batch, slot) =>
    slots[slot]!.source ?? { hostname: "127.0.0.1", port: 1000 };
  return batch;
}

/** The datagrams of slots, each by itself. */
export function datagramsOf(slots: readonly TestSlot[]): Uint8Array[] {
  return slots.flatMap(({ bytes, segmentSize = 0 }) => cut(bytes, segmentSize));
}

/** The datagrams of a batch, each copied. */
export function copiedDatagrams(
  batch: DatagramBatch,
): Uint8Array<ArrayBuffer>[] {
  const found: Uint8Array<ArrayBuffer>[] = [];
  for (let slot = 0; slot < batch.count; slot++) {
    found.push(...cut(batch.filled(slot).slice(), batch.segmentSizes[slot]!));
  }
  return found;
}

/** The datagrams of a slot's bytes; 0 is one. */
function cut<Buffer extends ArrayBufferLike>(
  bytes: Uint8Array<Buffer>,
  segmentSize: number,
): Uint8Array<Buffer>[] {
  const each = segmentSize > 0 ? segmentSize : Math.max(1, bytes.length);
  const datagrams: Uint8Array<Buffer>[] = [];
  let start = 0;
  do {
    datagrams.push(bytes.subarray(start, start + each));
    start += each;
  } while (start < bytes.length);
  return datagrams;
}

/** Pieces one behind the other. */
export function concat(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(
    pieces.reduce((sum, { length }) => sum + length, 0),
  );
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** Bytes that differ from place to place, so that a lost or moved one shows. */
export function numbered(length: number, seed = 0): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(
    { length },
    (_, i) => (i * 31 + (i >> 8) + seed) & 0xff,
  );
}

/** Batches of slots with sizes around every limit that sinks know. */
export function anyBatches(
  mostBytes = 65507,
): fc.Arbitrary<(TestSlot & { segmentSize: number })[][]> {
  const length = fc.oneof(
    fc.nat({ max: Math.min(64, mostBytes) }),
    fc.nat({ max: Math.min(2000, mostBytes) }),
    fc.nat({ max: mostBytes }),
  );
  const slot = fc.record({
    length,
    segmentSize: fc.oneof(
      fc.constant(0),
      fc.integer({ min: 1, max: 100 }),
      fc.integer({ min: 1, max: 70_000 }),
    ),
    seed: fc.nat({ max: 255 }),
  }).map(({ length, segmentSize, seed }) => ({
    bytes: numbered(length, seed),
    segmentSize,
  }));
  return fc.array(fc.array(slot, { maxLength: 6 }), { maxLength: 8 });
}
