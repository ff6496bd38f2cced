import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { DatagramBatch } from "../../../../../net/engine/batch.ts";
import {
  DatagramQueue,
  LEAST_BYTES,
} from "../../../../../net/engine/portable/datagram/queue.ts";
import { copiedDatagrams } from "../../../../support/batches.ts";
import { pattern } from "../../../../support/datagrams.ts";

const source = { hostname: "192.0.2.1", port: 7 };

/** All that a queue holds, in batches of so many. */
function takeAll(queue: DatagramQueue, slots: number): Uint8Array[] {
  const batch = new DatagramBatch(slots);
  const taken: Uint8Array[] = [];
  while (queue.take(batch) > 0) taken.push(...copiedDatagrams(batch));
  return taken;
}

Deno.test("DatagramQueue keeps none of the arrays that it is given", () => {
  const queue = new DatagramQueue(1000);
  // As node:dgram hands them over: a short view of an array of 64 KiB.
  const array = new Uint8Array(65536);
  array.set([1, 2, 3]);
  assert(queue.put(array.subarray(0, 3), source));
  array.fill(9);
  assertEquals(takeAll(queue, 4), [new Uint8Array([1, 2, 3])]);
});

Deno.test("DatagramQueue takes as many bytes as it has room for, and no more", () => {
  const queue = new DatagramQueue(10_000);
  let put = 0;
  while (queue.put(pattern(1000, put), source)) put++;
  assertEquals([put, queue.length], [10, 10]);
  assertEquals(
    takeAll(queue, 3),
    Array.from({ length: 10 }, (_, i) => pattern(1000, i)),
  );
  assert(queue.put(pattern(10_000), source), "empty, it has all its room");
  assert(!queue.put(pattern(1), source));
});

Deno.test("DatagramQueue bounds the number of empty datagrams too", () => {
  const queue = new DatagramQueue(100 * LEAST_BYTES);
  let put = 0;
  while (queue.put(new Uint8Array(0), source)) put++;
  assertEquals(put, 100);
  assertEquals(takeAll(queue, 7).length, 100);
});

Deno.test("DatagramQueue tells the senders apart", () => {
  const queue = new DatagramQueue(1000);
  const other = { hostname: "192.0.2.2", port: 8 };
  for (const one of [source, other, source]) queue.put(pattern(5), one);
  const batch = new DatagramBatch(4);
  assertEquals(queue.take(batch), 3);
  assertEquals([0, 1, 2].map((slot) => batch.source(slot)), [
    source,
    other,
    source,
  ]);
});

Deno.test("DatagramQueue gives what it took, in order, whatever comes and goes", () => {
  const sizes = fc.array(
    fc.oneof(fc.integer({ min: 0, max: 900 }), fc.constant(-1)),
    { maxLength: 200 },
  );
  fc.assert(
    fc.property(sizes, fc.integer({ min: 1, max: 5 }), (steps, slots) => {
      const queue = new DatagramQueue(3000);
      const batch = new DatagramBatch(slots, 1000);
      const expected: Uint8Array[] = [];
      const taken: Uint8Array[] = [];
      let held = 0;
      for (const [seed, size] of steps.entries()) {
        if (size < 0) {
          queue.take(batch);
          for (const datagram of copiedDatagrams(batch)) {
            taken.push(datagram);
            held -= Math.max(datagram.length, LEAST_BYTES);
          }
          continue;
        }
        const datagram = pattern(size, seed);
        if (!queue.put(datagram, source)) continue;
        expected.push(datagram);
        held += Math.max(size, LEAST_BYTES);
        assert(held <= 3000);
      }
      taken.push(...takeAll(queue, slots));
      assertEquals(taken, expected);
    }),
  );
});
