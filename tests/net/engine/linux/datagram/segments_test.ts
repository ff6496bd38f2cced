import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  DatagramBatch,
  MAX_DATAGRAM_BYTES,
} from "../../../../../net/engine/batch.ts";
import {
  datagramsFrom,
  SendPlan,
} from "../../../../../net/engine/linux/datagram/segments.ts";

/** A batch of slots by the sizes of their datagrams; no bytes are needed. */
function slotsOf(sizes: readonly (readonly number[])[]): DatagramBatch {
  const batch = new DatagramBatch(Math.max(1, sizes.length), 65536);
  for (const [slot, datagrams] of sizes.entries()) {
    batch.lengths[slot] = datagrams.reduce((sum, size) => sum + size, 0);
    batch.segmentSizes[slot] = datagrams[0]!;
  }
  batch.count = sizes.length;
  return batch;
}

interface Message {
  segmentSize: number;
  datagrams: number;
  bytes: number;
  pieces: [offset: number, length: number][];
}

/** All messages of a batch, plan after plan. */
function messagesOf(
  batch: DatagramBatch,
  limits = { maxSegments: 64, maxSegmentBytes: 1472 },
  capacity = 16,
): Message[] {
  const plan = new SendPlan(capacity);
  const messages: Message[] = [];
  let slot = 0;
  let offset = 0;
  while (slot < batch.count) {
    plan.fill(batch, slot, offset, limits);
    assert(plan.messages > 0 && plan.pieces <= capacity);
    for (let i = 0; i < plan.messages; i++) {
      const first = plan.firstPiece[i]!;
      messages.push({
        segmentSize: plan.segmentSize[i]!,
        datagrams: plan.datagrams[i]!,
        bytes: plan.bytes[i]!,
        pieces: Array.from({ length: plan.pieceCount[i]! }, (_, k) => [
          plan.pieceOffset[first + k]!,
          plan.pieceLength[first + k]!,
        ]),
      });
    }
    slot = plan.nextSlot;
    offset = plan.nextOffset;
  }
  return messages;
}

/** The sizes that the kernel cuts a message into. */
function cut({ segmentSize, bytes }: Message): number[] {
  if (segmentSize === 0) return [bytes];
  const sizes: number[] = [];
  for (let at = 0; at < bytes; at += segmentSize) {
    sizes.push(Math.min(segmentSize, bytes - at));
  }
  return sizes;
}

const cases: [string, number[][], number[][]][] = [
  ["one datagram", [[100]], [[100]]],
  ["an empty one alone", [[0], [0]], [[0], [0]]],
  ["equal ones together", [[9], [9], [9]], [[9, 9, 9]]],
  ["a shorter one as the last", [[9], [9], [4], [9]], [[9, 9, 4], [9]]],
  ["a longer one apart", [[9], [10], [10]], [[9], [10, 10]]],
  ["joined slots of one size", [[9, 9, 9], [9, 9]], [[9, 9, 9, 9, 9]]],
  ["nothing behind a tail", [[9, 9, 4], [9], [9]], [[9, 9, 4], [9, 9]]],
  ["nothing behind an empty one", [[9], [0], [9]], [[9], [0], [9]]],
  ["a joined slot of another size apart", [[9], [4, 4]], [[9], [4, 4]]],
  ["too big for the path apart", [[2000], [2000], [9]], [[2000], [2000], [9]]],
];

for (const [title, sizes, wanted] of cases) {
  Deno.test(`SendPlan takes ${title}`, () => {
    assertEquals(messagesOf(slotsOf(sizes)).map(cut), wanted);
  });
}

Deno.test("SendPlan cuts at the most segments and at the most bytes", () => {
  const many = messagesOf(slotsOf([new Array(130).fill(5)]));
  assertEquals(many.map(({ datagrams }) => datagrams), [64, 64, 2]);
  const long = messagesOf(slotsOf([new Array(44).fill(1472), [1472]]));
  assertEquals(long.map(({ bytes }) => bytes), [44 * 1472, 1472]);
  const full = messagesOf(slotsOf([new Array(128).fill(512)]), {
    maxSegments: 128,
    maxSegmentBytes: 1472,
  });
  assertEquals(full.map(({ datagrams }) => datagrams), [127, 1]);
});

Deno.test("SendPlan with one segment a message sends every datagram alone", () => {
  const messages = messagesOf(slotsOf([[7, 7, 7, 2], [7], [0]]), {
    maxSegments: 1,
    maxSegmentBytes: 1472,
  });
  assertEquals(messages.map(cut), [[7], [7], [7], [2], [7], [0]]);
  assert(messages.every(({ segmentSize }) => segmentSize === 0));
});

const slot = fc.tuple(
  fc.oneof(
    fc.constantFrom(0, 1, 5, 512, 1472),
    fc.integer({ min: 0, max: 3000 }),
    fc.constant(MAX_DATAGRAM_BYTES),
  ),
  fc.integer({ min: 0, max: 150 }),
  fc.nat(),
).map(([size, repeats, tail]) => {
  if (size === 0) return [0];
  const whole = Math.max(1, Math.min(repeats, Math.floor(65536 / size)));
  const sizes = new Array<number>(whole).fill(size);
  const last = tail % size;
  if (last > 0 && whole * size + last <= 65536) sizes.push(last);
  return sizes;
});

Deno.test("SendPlan keeps every datagram, its bytes and the order, within all limits", () => {
  fc.assert(
    fc.property(
      fc.array(slot, { minLength: 1, maxLength: 20 }),
      fc.constantFrom(1, 2, 64, 128),
      fc.constantFrom(0, 5, 1472, 65508),
      fc.integer({ min: 1, max: 40 }),
      (sizes, maxSegments, maxSegmentBytes, capacity) => {
        const batch = slotsOf(sizes);
        const messages = messagesOf(
          batch,
          { maxSegments, maxSegmentBytes },
          capacity,
        );
        assertEquals(messages.flatMap(cut), sizes.flat());
        const bytes: number[] = [];
        for (const message of messages) {
          assertEquals(cut(message).length, message.datagrams);
          assertEquals(
            message.pieces.reduce((sum, [, length]) => sum + length, 0),
            message.bytes,
          );
          assert(message.datagrams <= maxSegments);
          if (message.datagrams > 1) {
            assert(message.segmentSize <= maxSegmentBytes);
            assert(message.bytes <= MAX_DATAGRAM_BYTES);
          }
          for (const [offset, length] of message.pieces) {
            bytes.push(offset, length);
          }
        }
        // The pieces are the filled parts of the slots, one after the other.
        let at = 0;
        for (const [slot, datagrams] of sizes.entries()) {
          const length = datagrams.reduce((sum, size) => sum + size, 0);
          let done = 0;
          do {
            assertEquals(bytes[at], slot * 65536 + done);
            done += bytes[at + 1]!;
            at += 2;
          } while (done < length);
          assertEquals(done, length);
        }
        assertEquals(at, bytes.length);
      },
    ),
    { numRuns: 300 },
  );
});

Deno.test("datagramsFrom() counts what is left of a batch", () => {
  const batch = slotsOf([[9, 9, 4], [0], [5]]);
  assertEquals(datagramsFrom(batch, 0, 0), 5);
  assertEquals(datagramsFrom(batch, 0, 9), 4);
  assertEquals(datagramsFrom(batch, 0, 18), 3);
  assertEquals(datagramsFrom(batch, 1, 0), 2);
  assertEquals(datagramsFrom(batch, 3, 0), 0);
});
