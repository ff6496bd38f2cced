import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { DatagramRuns } from "../../../../net/udp/file_log/datagram_runs.ts";

interface Run {
  length: number;
  size: number;
}

const runs = fc.array(
  fc.record({
    length: fc.nat({ max: 40 }),
    size: fc.integer({ min: 0, max: 50 }),
  }),
  { maxLength: 8 },
);

/** Every datagram's start and end, the plain way. */
function datagramsOf(given: readonly Run[]): [number, number][] {
  const all: [number, number][] = [];
  let at = 0;
  for (const { length, size } of given) {
    const step = size > 0 ? size : Math.max(1, length);
    if (length === 0) all.push([at, at]);
    for (let start = 0; start < length; start += step) {
      all.push([at + start, at + Math.min(length, start + step)]);
    }
    at += length;
  }
  return all;
}

function filled(given: readonly Run[]): DatagramRuns {
  const all = new DatagramRuns(8);
  for (const { length, size } of given) all.add(length, size);
  return all;
}

Deno.test("DatagramRuns finds every end of a datagram around an offset", () => {
  fc.assert(fc.property(runs, fc.nat({ max: 400 }), (given, offset) => {
    const all = filled(given);
    const datagrams = datagramsOf(given);
    const ends = datagrams.map(([, end]) => end);
    assertEquals(all.byteLength, ends.at(-1) ?? 0);
    const before = ends.filter((end) => end <= offset);
    assertEquals(all.boundary(offset), before.at(-1) ?? 0);
    assertEquals(all.datagramsBefore(offset), before.length);
    assertEquals(
      all.nextBoundary(offset),
      ends.find((end) => end > offset) ?? all.byteLength,
    );
  }));
});

Deno.test("DatagramRuns.dropFront leaves the other datagrams where they were, however the front is cut", () => {
  fc.assert(
    fc.property(runs, fc.nat({ max: 400 }), (given, wanted) => {
      const all = filled(given);
      const bytes = Math.min(wanted, all.byteLength);
      const left = datagramsOf(given)
        .filter(([, end]) => end > bytes)
        .map(([start, end]) => [Math.max(0, start - bytes), end - bytes]);
      all.dropFront(bytes);
      // Datagrams of zero bytes right at the cut went with the front.
      const ends = left.map(([, end]) => end!);
      assertEquals(all.byteLength, ends.at(-1) ?? 0);
      assertEquals(all.datagramsBefore(Infinity), ends.length);
      for (let offset = 0; offset <= all.byteLength; offset++) {
        assertEquals(
          all.boundary(offset),
          ends.filter((end) => end <= offset).at(-1) ?? 0,
        );
      }
    }),
    { numRuns: 500 },
  );
});

Deno.test("DatagramRuns.full holds back one run for a cut", () => {
  const all = new DatagramRuns(1);
  assertEquals(all.full, false);
  all.add(10, 3);
  assertEquals(all.full, true);
  all.dropFront(1);
  assertEquals(all.count, 2);
  assertEquals([0, 1, 2, 3, 5, 8, 9].map((at) => all.boundary(at)), [
    0,
    0,
    2,
    2,
    5,
    8,
    9,
  ]);
});

Deno.test("DatagramRuns.join keeps every datagram, and makes one run of equal ones that are all full", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({ length: fc.nat({ max: 9 }), size: fc.nat({ max: 3 }) }),
        { maxLength: 8 },
      ),
      (given) => {
        const all = new DatagramRuns(8);
        let runs = 0;
        let last = { size: 0, whole: false };
        for (const { length, size } of given) {
          all.join(length, size);
          const joined = length > 0 && last.whole && size === last.size;
          if (!joined) runs++;
          const own = size > 0 ? size : Math.max(1, length);
          last = { size: own, whole: length > 0 && length % own === 0 };
        }
        assertEquals(all.count, runs);
        const ends = datagramsOf(given).map(([, end]) => end);
        assertEquals(all.datagramsBefore(Infinity), ends.length);
        for (let offset = 0; offset <= all.byteLength; offset++) {
          assertEquals(
            all.boundary(offset),
            ends.filter((end) => end <= offset).at(-1) ?? 0,
          );
        }
      },
    ),
    { numRuns: 500 },
  );
});
