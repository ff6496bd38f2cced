import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type CutOptions,
  type Cutter,
  DEFAULT_DATAGRAM_BYTES,
  LineCutter,
  makeCutter,
} from "../../../../net/udp/sources/splitter.ts";
import { concat, numbered } from "../../../support/batches.ts";

const NEWLINE = 10;

/** The datagrams of a cutter's batch, each by itself, and the batch's limits checked. */
function take(cutter: Cutter, datagrams: Uint8Array[]): void {
  const { batch } = cutter;
  for (let slot = 0; slot < batch.count; slot++) {
    const bytes = batch.filled(slot);
    const size = batch.segmentSizes[slot]!;
    for (let start = 0; start < bytes.length; start += size) {
      datagrams.push(bytes.slice(start, start + size));
    }
  }
}

interface Cut {
  /** Datagrams of each read. */
  reads: Uint8Array[][];
  /** Those that only the end of the stream gave out. */
  rest: Uint8Array[];
  all: Uint8Array[];
  /** Bytes of each batch. */
  batches: number[];
}

/** Cuts a stream whose reads bring what they bring. */
function cut(options: CutOptions, reads: readonly Uint8Array[]): Cut {
  const cutter = makeCutter(options);
  const result: Cut = { reads: [], rest: [], all: [], batches: [] };
  for (const read of reads) {
    for (let from = 0; from < read.length;) {
      const space = cutter.space();
      assert(space.length > 0);
      const bytes = read.subarray(from, from + space.length);
      space.set(bytes);
      cutter.filled(bytes.length);
      from += bytes.length;
      const datagrams: Uint8Array[] = [];
      while (cutter.ready()) {
        take(cutter, datagrams);
        result.batches.push(cutter.batch.byteLength());
        cutter.next();
      }
      result.reads.push(datagrams);
    }
  }
  while (cutter.end()) {
    take(cutter, result.rest);
    result.batches.push(cutter.batch.byteLength());
    cutter.next();
  }
  result.all = [...result.reads.flat(), ...result.rest];
  return result;
}

function split(bytes: Uint8Array, at: readonly number[]): Uint8Array[] {
  const cuts = [...at.map((place) => place % (bytes.length + 1)), bytes.length]
    .sort((a, b) => a - b);
  return cuts.map((end, i) => bytes.subarray(cuts[i - 1] ?? 0, end));
}

/** Streams with lines of all lengths, and with none. */
const stream = fc.oneof(
  fc.uint8Array({ maxLength: 5000 }),
  fc.array(
    fc.oneof(
      fc.nat({ max: 60 }).map((length) => `${"x".repeat(length)}\n`),
      fc.nat({ max: 3000 }).map((length) => "y".repeat(length)),
      fc.constant("\n"),
    ),
    { maxLength: 40 },
  ).map((parts) => new TextEncoder().encode(parts.join(""))),
);
const places = fc.array(fc.nat({ max: 100_000 }), { maxLength: 20 });
const datagramBytes = fc.oneof(
  fc.integer({ min: 1, max: 100 }),
  fc.integer({ min: 1, max: 3000 }),
  fc.constantFrom(1452, 65507),
);
const slots = fc.constantFrom(1, 3, 64);
const burstBytes = fc.oneof(fc.integer({ min: 1, max: 20_000 }));

Deno.test("SizeCutter gives back any stream, in full datagrams but for the last of a read", () => {
  fc.assert(
    fc.property(
      stream,
      places,
      datagramBytes,
      slots,
      (bytes, at, datagramBytes, slots) => {
        const { reads, rest, all } = cut(
          { datagramBytes, slots },
          split(bytes, at),
        );
        assertEquals(concat(all), new Uint8Array(bytes));
        assertEquals(rest, []);
        for (const datagrams of reads) {
          const full = datagrams.slice(0, -1);
          assert(full.every(({ length }) => length === datagramBytes));
          const last = datagrams.at(-1)!.length;
          assert(last > 0 && last <= datagramBytes);
        }
      },
    ),
  );
});

Deno.test("LineCutter gives back any stream, and ends datagrams at line ends wherever a line fits", () => {
  fc.assert(
    fc.property(stream, places, datagramBytes, (bytes, at, datagramBytes) => {
      const { all } = cut({ datagramBytes, lines: true }, split(bytes, at));
      assertEquals(concat(all), new Uint8Array(bytes));
      for (const [i, datagram] of all.entries()) {
        assert(datagram.length > 0 && datagram.length <= datagramBytes);
        if (datagram.at(-1) === NEWLINE) continue;
        // Only a line that is too long is cut, and only the end lacks its line end.
        assert(!datagram.includes(NEWLINE));
        assert(datagram.length === datagramBytes || i === all.length - 1);
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("LineCutter puts as many whole lines into a datagram as fit", () => {
  const text = "one\ntwo\nthree\nfour\n";
  const { reads, rest } = cut({ datagramBytes: 9, lines: true }, [
    new TextEncoder().encode(text),
  ]);
  const decoder = new TextDecoder();
  assertEquals(reads.flat().map((datagram) => decoder.decode(datagram)), [
    "one\ntwo\n",
    "three\n",
    "four\n",
  ]);
  assertEquals(rest, []);
});

Deno.test("LineCutter sends a line when it ends, and keeps a growing one until then", () => {
  const encoder = new TextEncoder();
  const { reads, rest } = cut(
    { lines: true },
    ["21.5 C\n22", ".0 C", "\n23"].map((part) => encoder.encode(part)),
  );
  const decoder = new TextDecoder();
  const texts = (datagrams: Uint8Array[]) =>
    datagrams.map((datagram) => decoder.decode(datagram));
  assertEquals(reads.map(texts), [["21.5 C\n"], [], ["22.0 C\n"]]);
  assertEquals(texts(rest), ["23"]);
});

Deno.test("makeCutter sends a lone newline and a lone byte, by size and by lines", () => {
  for (const lines of [false, true]) {
    for (const byte of [NEWLINE, 0xff]) {
      const { all } = cut({ lines }, [Uint8Array.of(byte)]);
      assertEquals(all, [Uint8Array.of(byte)]);
    }
    assertEquals(cut({ lines }, []).all, []);
  }
});

Deno.test("makeCutter keeps batches within a paced burst, which is at least one datagram", () => {
  fc.assert(
    fc.property(
      stream,
      places,
      datagramBytes,
      burstBytes,
      slots,
      fc.boolean(),
      (bytes, at, datagramBytes, burstBytes, slots, lines) => {
        const { all, batches } = cut(
          { datagramBytes, burstBytes, slots, lines },
          split(bytes, at),
        );
        assertEquals(concat(all), new Uint8Array(bytes));
        const most = Math.max(burstBytes, datagramBytes);
        assert(batches.every((batch) => batch <= most));
      },
    ),
  );
});

Deno.test("makeCutter cuts a long stream at every datagram size that UDP takes", () => {
  const bytes = numbered(400_000);
  for (const datagramBytes of [1, 512, DEFAULT_DATAGRAM_BYTES, 9000, 65507]) {
    for (
      const [lines, slots] of [[false, 1], [false, 64], [true, 1]] as const
    ) {
      const { all } = cut({ datagramBytes, lines, slots }, [bytes]);
      assertEquals(concat(all), bytes);
      assert(all.every(({ length }) => length > 0 && length <= datagramBytes));
    }
  }
});

Deno.test("RecordCutter fills every datagram but the last of the stream, whatever the reads bring", () => {
  fc.assert(
    fc.property(
      stream,
      places,
      datagramBytes,
      slots,
      (bytes, at, datagramBytes, slots) => {
        const { all, rest } = cut(
          { datagramBytes, slots, fill: true },
          split(bytes, at),
        );
        assertEquals(concat(all), new Uint8Array(bytes));
        const whole = Math.floor(bytes.length / datagramBytes);
        assertEquals(all.length - rest.length, whole);
        assert(
          all.slice(0, whole).every(({ length }) => length === datagramBytes),
        );
      },
    ),
  );
});

Deno.test("RecordCutter that gave a part out early ends its datagram there, so that records stay aligned", () => {
  const cutter = makeCutter({ datagramBytes: 10, fill: true });
  const sent: Uint8Array[] = [];
  const bytes = numbered(45);
  const read = (from: number, to: number) => {
    cutter.space().set(bytes.subarray(from, to));
    cutter.filled(to - from);
    while (cutter.ready()) {
      take(cutter, sent);
      cutter.next();
    }
  };
  const late = () => {
    if (!cutter.flush()) return;
    take(cutter, sent);
    cutter.next();
  };
  read(0, 13);
  late();
  read(13, 15);
  late();
  read(15, 39);
  late();
  read(39, 45);
  assertEquals(sent.map(({ length }) => length), [10, 3, 2, 5, 10, 9, 1]);
  assertEquals(concat(sent), bytes.subarray(0, 40));
  assertEquals(cutter.pending, 5);
});

Deno.test("makeCutter fills datagrams of whole MPEG-TS packets without being asked, and never cuts a packet", () => {
  const cutter = makeCutter({ datagramBytes: 1316 });
  cutter.space().set(numbered(400));
  cutter.filled(400);
  assertEquals([cutter.ready(), cutter.flush()], [false, true]);
  assertEquals(cutter.batch.byteLength(), 376);
  cutter.next();
  assertEquals([cutter.flush(), cutter.pending], [false, 24]);
  // Whole packets went: the next datagram is a full one again.
  cutter.space().set(numbered(1292));
  cutter.filled(1292);
  assertEquals([cutter.ready(), cutter.batch.byteLength()], [true, 1316]);
  const off = makeCutter({ datagramBytes: 1316, fill: false });
  off.space().set(numbered(400));
  off.filled(400);
  assertEquals([off.ready(), off.batch.byteLength()], [true, 400]);
});

Deno.test("SizeCutter makes slots of what one joined send may carry, and batches of 256 KiB", () => {
  const shapeOf = (datagramBytes: number, slots = 1) => {
    const cutter = makeCutter({ datagramBytes, slots });
    const { batch } = cutter;
    return [batch.slots, batch.slotBytes, cutter.space().length];
  };
  // UDP_MAX_SEGMENTS is 64, a send at most 65 507 bytes: 46 datagrams of 1400.
  assertEquals(shapeOf(64, 100), [64, 64 * 64, 256 * 1024]);
  assertEquals(shapeOf(1400, 100), [4, 46 * 1400, 4 * 46 * 1400]);
  assertEquals(shapeOf(1400, 2), [2, 46 * 1400, 2 * 46 * 1400]);
  assertEquals(shapeOf(1400), [1, 46 * 1400, 46 * 1400]);
  assertEquals(shapeOf(65507, 100), [4, 65507, 4 * 65507]);
  // Nothing waits: what came is sent at once.
  const cutter = makeCutter({});
  assertEquals([cutter.flush(), cutter.end(), cutter.pending], [
    false,
    false,
    0,
  ]);
});

/** What a cutter gives out after bytes, as texts. */
function ready(cutter: Cutter, text?: string): string[] {
  if (text !== undefined) {
    const bytes = new TextEncoder().encode(text);
    cutter.space().set(bytes);
    cutter.filled(bytes.length);
  }
  const datagrams: Uint8Array[] = [];
  while (cutter.ready()) {
    take(cutter, datagrams);
    cutter.next();
  }
  return datagrams.map((datagram) => new TextDecoder().decode(datagram));
}

Deno.test("RecordCutter sends the rest of a record that went early as soon as it is whole", () => {
  const cutter = makeCutter({ datagramBytes: 10, fill: true });
  assertEquals(ready(cutter, "abc"), []);
  assertEquals(cutter.flush(), true);
  cutter.next();
  assertEquals(ready(cutter, "defghi"), []);
  assertEquals(ready(cutter, "j"), ["defghij"]);
  assertEquals(ready(cutter, "0123456789"), ["0123456789"]);
});

Deno.test("LineCutter.endLine() ends an unfinished line that fits, and nothing else", () => {
  const cutter = new LineCutter({ datagramBytes: 20 });
  cutter.endLine();
  assertEquals(ready(cutter), []);
  assertEquals(ready(cutter, "whole\n"), ["whole\n"]);
  cutter.endLine();
  assertEquals([ready(cutter), cutter.pending], [[], 0]);
  assertEquals(ready(cutter, "half"), []);
  // A line waits for its end, however long.
  assertEquals([cutter.flush(), cutter.pending], [false, 4]);
  cutter.endLine();
  assertEquals(ready(cutter), ["half\n"]);
  for (const long of ["8 bytes.", "9 bytes.."]) {
    const full = new LineCutter({ datagramBytes: 8 });
    full.space().set(new TextEncoder().encode(long));
    full.filled(long.length);
    full.endLine();
    assertEquals(full.pending, long.length);
  }
});
