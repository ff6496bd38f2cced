/**
 * Streams in which every piece tells its place. A network may deliver datagrams
 * out of order, and Linux does so now and then on its loopback interface
 * (udp(7) promises none), so a test that sends many in a row compares what
 * came as a whole and not as it came.
 */
import { assertEquals } from "@std/assert";
import { concat } from "./batches.ts";

const WORD_BYTES = 4;

/** Pieces shorter than this do not tell their place. */
const LEAST_PIECE_BYTES = 2 * WORD_BYTES - 1;

/** Bytes that tell their place: their words are numbered. */
export function placedBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Math.ceil(length / WORD_BYTES) * WORD_BYTES);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length; at += WORD_BYTES) {
    // The highest bit marks where a word starts; 7 bits of each byte are its number's.
    const word = at / WORD_BYTES;
    view.setUint8(at, 0x80 | (word >> 21) & 0x7f);
    view.setUint8(at + 1, (word >> 14) & 0x7f);
    view.setUint8(at + 2, (word >> 7) & 0x7f);
    view.setUint8(at + 3, word & 0x7f);
  }
  return bytes.subarray(0, length);
}

/** Where a piece of placed bytes belongs. */
function placeOf(piece: Uint8Array): number {
  const start = piece.findIndex((byte) => (byte & 0x80) !== 0);
  if (start < 0 || start + WORD_BYTES > piece.length) {
    throw new Error(`A piece of ${piece.length} bytes does not tell its place`);
  }
  const [first, second, third, fourth] = piece.subarray(start);
  const word = (first! & 0x7f) << 21 | second! << 14 | third! << 7 | fourth!;
  return word * WORD_BYTES - start;
}

/** Fails where pieces, in any order, are not exactly these placed bytes. */
export function assertAllPlaced(
  pieces: readonly Uint8Array[],
  wanted: Uint8Array,
): void {
  const last = pieces.filter(({ length }) => length < LEAST_PIECE_BYTES);
  const ordered = pieces.filter(({ length }) => length >= LEAST_PIECE_BYTES)
    .map((piece) => ({ piece, place: placeOf(piece) }))
    .sort((a, b) => a.place - b.place)
    .map(({ piece }) => piece);
  // A short one can only be the stream's last.
  assertEquals(
    last.length <= 1,
    true,
    "several pieces do not tell their place",
  );
  assertEquals(concat([...ordered, ...last]), new Uint8Array(wanted));
}

/** Fails where these are not the same datagrams, in any order. */
export function assertSameDatagrams(
  found: readonly Uint8Array[],
  wanted: readonly Uint8Array[],
): void {
  const decoder = new TextDecoder("latin1");
  const sorted = (datagrams: readonly Uint8Array[]) =>
    datagrams.map((datagram) => decoder.decode(datagram)).sort();
  assertEquals(sorted(found), sorted(wanted));
}

/** A stream's datagrams of one size. */
export function slicesOf(bytes: Uint8Array, size: number): Uint8Array[] {
  return Array.from(
    { length: Math.ceil(bytes.length / size) },
    (_, i) => bytes.subarray(i * size, (i + 1) * size),
  );
}
