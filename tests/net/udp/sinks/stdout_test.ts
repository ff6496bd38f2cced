import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { StdoutSink } from "../../../../net/udp/sinks/stdout.ts";
import { DatagramBatch } from "../../../../net/engine/batch.ts";
import { type OperationError, UsageError } from "../../../../net/errors.ts";

/** A reader whose every read is let through by hand. */
class SteppedReader {
  readonly taken: number[] = [];
  #waiting: PromiseWithResolvers<number>[] = [];
  #arrival = Promise.withResolvers<void>();

  readonly writeBytes = (bytes: Uint8Array<ArrayBuffer>): Promise<number> => {
    const step = Promise.withResolvers<number>();
    this.#waiting.push(step);
    this.#arrival.resolve();
    return step.promise.then((most) => {
      const count = Math.min(most, bytes.length);
      this.taken.push(...bytes.subarray(0, count));
      return count;
    });
  };

  async read(most = Infinity): Promise<void> {
    while (this.#waiting.length === 0) {
      await this.#arrival.promise;
      this.#arrival = Promise.withResolvers<void>();
    }
    this.#waiting.shift()!.resolve(most);
  }

  async fail(error: Error): Promise<void> {
    while (this.#waiting.length === 0) await this.#arrival.promise;
    this.#waiting.shift()!.reject(error);
  }
}

function batchOf(...slots: { bytes: number[]; segmentSize?: number }[]) {
  const batch = new DatagramBatch(slots.length);
  for (const [i, { bytes, segmentSize }] of slots.entries()) {
    batch.slot(i).set(bytes);
    batch.setDatagram(i, bytes.length);
    if (segmentSize !== undefined) batch.segmentSizes[i] = segmentSize;
  }
  batch.count = slots.length;
  return batch;
}

function numbered(length: number, seed = 0): number[] {
  return Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff);
}

Deno.test("StdoutSink refuses a queue that a largest datagram does not fit into", () => {
  assertThrows(() => new StdoutSink({ queueBytes: 1000 }), UsageError, "65536");
});

Deno.test("StdoutSink writes all datagrams byte for byte in order, whatever the reader takes at once", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.array(fc.nat({ max: 30_000 }), { minLength: 1, maxLength: 4 }),
        { maxLength: 12 },
      ),
      fc.integer({ min: 1, max: 100_000 }),
      async (batches, most) => {
        const expected: number[] = [];
        const written: number[] = [];
        const sink = new StdoutSink({
          whenFull: "wait",
          queueBytes: 65536,
          writeBytes: async (bytes) => {
            const count = Math.min(most, bytes.length);
            await Promise.resolve();
            written.push(...bytes.subarray(0, count));
            return count;
          },
        });
        for (const [seed, lengths] of batches.entries()) {
          const slots = lengths.map((length) => ({
            bytes: numbered(length, seed),
          }));
          for (const { bytes } of slots) expected.push(...bytes);
          await sink.write(batchOf(...slots));
        }
        await sink.flush();
        assertEquals(written.length, expected.length);
        assertEquals(
          new Uint8Array(written),
          new Uint8Array(expected),
        );
        await sink[Symbol.asyncDispose]();
        assertEquals(sink.counters.read().unwrittenBytes, 0);
      },
    ),
    { numRuns: 30 },
  );
});

Deno.test("StdoutSink.write drops and counts whole datagrams where the reader never reads", async () => {
  const reader = new SteppedReader();
  const sink = new StdoutSink({
    queueBytes: 65536,
    lingerMs: 0,
    writeBytes: reader.writeBytes,
  });
  sink.write(batchOf({ bytes: numbered(60_000) }));
  // Five of the seven datagrams of this joined slot fit, the short last one would too.
  sink.write(batchOf({ bytes: numbered(6_100, 1), segmentSize: 1_000 }));
  sink.write(batchOf({ bytes: numbered(600, 2) }));
  // Nothing is written before the reader has taken it.
  assertEquals(sink.counters.read().datagrams, 0);
  await reader.read();
  await reader.read();
  await sink[Symbol.asyncDispose]();
  assertEquals(sink.counters.read(), {
    datagrams: 6,
    bytes: 65_000,
    droppedQueueFullDatagrams: 3,
    droppedQueueFullBytes: 1_700,
    droppedClosedDatagrams: 0,
    droppedClosedBytes: 0,
    unwrittenBytes: 0,
  });
  assertEquals(reader.taken, [
    ...numbered(60_000),
    ...numbered(6_100, 1).slice(0, 5_000),
  ]);
});

Deno.test("StdoutSink.write drops and counts what any sequence does not fit, and never a part of a datagram", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          length: fc.nat({ max: 65_000 }),
          segmentSize: fc.integer({ min: 400, max: 65_000 }),
          reads: fc.boolean(),
        }),
        { maxLength: 20 },
      ),
      async (steps) => {
        const written: number[] = [];
        const waiting: (() => void)[] = [];
        const sink = new StdoutSink({
          queueBytes: 65536,
          writeBytes: (bytes) =>
            new Promise((resolve) =>
              waiting.push(() => {
                written.push(...bytes);
                resolve(bytes.length);
              })
            ),
        });
        let datagrams = 0;
        let bytes = 0;
        for (const { length, segmentSize, reads } of steps) {
          const batch = batchOf({ bytes: numbered(length), segmentSize });
          datagrams += batch.datagrams();
          bytes += length;
          await sink.write(batch);
          if (reads) waiting.shift()?.();
        }
        while (sink.queuedBytes > 0) {
          waiting.shift()?.();
          await Promise.resolve();
        }
        await sink[Symbol.asyncDispose]();
        const counted = sink.counters.read();
        assertEquals(
          counted.datagrams + counted.droppedQueueFullDatagrams,
          datagrams,
        );
        assertEquals(counted.bytes + counted.droppedQueueFullBytes, bytes);
        assertEquals(written.length, counted.bytes);
      },
    ),
    { numRuns: 50 },
  );
});

Deno.test("StdoutSink.write waits for room in wait mode and loses nothing", async () => {
  const reader = new SteppedReader();
  const sink = new StdoutSink({
    whenFull: "wait",
    queueBytes: 65536,
    writeBytes: reader.writeBytes,
  });
  await sink.write(batchOf({ bytes: numbered(60_000) }));
  let done = false;
  const second = Promise.resolve(
    sink.write(batchOf({ bytes: numbered(60_000, 1) })),
  )
    .then(() => done = true);
  await reader.read(1_000);
  assertEquals(done, false);
  await reader.read();
  await second;
  const flushed = sink.flush();
  await Promise.all([flushed, reader.read()]);
  assertEquals(reader.taken, [...numbered(60_000), ...numbered(60_000, 1)]);
  await sink[Symbol.asyncDispose]();
});

Deno.test("StdoutSink says once that the reader left, and counts what comes later", async () => {
  const reader = new SteppedReader();
  const closed = Promise.withResolvers<OperationError>();
  let calls = 0;
  const sink = new StdoutSink({
    writeBytes: reader.writeBytes,
    onClosed: (reason) => {
      calls++;
      closed.resolve(reason);
    },
  });
  sink.write(batchOf({ bytes: numbered(100) }));
  await reader.fail(new Deno.errors.BrokenPipe("Broken pipe (os error 32)"));
  const reason = await closed.promise;
  assertEquals(reason.code, "EPIPE");
  assertEquals(reason.message, "Cannot write to stdout: Broken pipe");
  sink.write(batchOf({ bytes: numbered(900), segmentSize: 300 }));
  assert(sink.closed);
  assertEquals(calls, 1);
  const counted = sink.counters.read();
  assertEquals(counted.unwrittenBytes, 100);
  // With the one that met EPIPE: it was not written.
  assertEquals([counted.datagrams, counted.bytes], [0, 0]);
  assertEquals(counted.droppedClosedDatagrams, 4);
  assertEquals(counted.droppedClosedBytes, 1000);
  await sink[Symbol.asyncDispose]();
});

Deno.test("StdoutSink lets a waiting write and flush go when it is disposed of", async () => {
  const reader = new SteppedReader();
  const sink = new StdoutSink({
    whenFull: "wait",
    queueBytes: 65536,
    lingerMs: 0,
    writeBytes: reader.writeBytes,
  });
  await sink.write(batchOf({ bytes: numbered(60_000) }));
  const write = sink.write(batchOf({ bytes: numbered(60_000, 1) }));
  const flush = sink.flush();
  await sink[Symbol.asyncDispose]();
  await Promise.all([write, flush]);
  assertEquals(sink.counters.read().unwrittenBytes, 60_000);
  assertEquals(sink.counters.read().droppedClosedBytes, 120_000);
  // The write under way was let through after all: it is not counted as unwritten.
  await reader.read();
  await Promise.resolve();
  await Promise.resolve();
  assertEquals(sink.counters.read().unwrittenBytes, 0);
  assertEquals(sink.counters.read().droppedClosedBytes, 60_000);
  assertEquals(sink.counters.read().datagrams, 1);
});

Deno.test("StdoutSink counts as written what the reader took whole, and the rest as dropped, where it leaves", async () => {
  const reader = new SteppedReader();
  const closed = Promise.withResolvers<void>();
  const sink = new StdoutSink({
    writeBytes: reader.writeBytes,
    onClosed: () => closed.resolve(),
  });
  sink.write(batchOf({ bytes: numbered(100) }, { bytes: numbered(0) }));
  await reader.read();
  sink.write(batchOf(
    { bytes: numbered(30), segmentSize: 10 },
    { bytes: numbered(0) },
    { bytes: numbered(7) },
  ));
  await reader.fail(new Deno.errors.BrokenPipe("Broken pipe (os error 32)"));
  await closed.promise;
  const { datagrams, bytes, droppedClosedDatagrams, droppedClosedBytes } = sink
    .counters.read();
  assertEquals([datagrams, bytes], [2, 100]);
  assertEquals([droppedClosedDatagrams, droppedClosedBytes], [5, 37]);
  await sink[Symbol.asyncDispose]();
});

Deno.test(
  "StdoutSink tries again where stdout is non-blocking and full",
  async () => {
    const written: number[] = [];
    let refusals = 2;
    const sink = new StdoutSink({
      writeBytes: (bytes) => {
        if (refusals-- > 0) {
          return Promise.reject(new Deno.errors.WouldBlock("try again"));
        }
        written.push(...bytes);
        return Promise.resolve(bytes.length);
      },
    });
    sink.write(batchOf({ bytes: numbered(10) }));
    await sink[Symbol.asyncDispose]();
    assertEquals(written, numbered(10));
  },
);
