import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  CHUNK_BYTES,
  SharedChunks,
  SLOW_POLICIES,
  type SlowPolicy,
  SubscriberQueue,
} from "../../../../net/udp/sinks/subscriber_queue.ts";
import { DatagramBatch } from "../../../../net/engine/batch.ts";

/** Each datagram begins with its number, so that a stream of them can be read. */
const ID_BYTES = 3;

/** Makes datagrams that tell who they are, and reads them back from a stream. */
class Datagrams {
  readonly lengths: number[] = [];
  readonly #batch = new DatagramBatch(1);

  /** A batch with one slot of datagrams of these lengths, all equal but the last. */
  slot(count: number, size: number, last: number): DatagramBatch {
    const bytes = this.#batch.slot(0);
    let at = 0;
    for (let i = 0; i < count; i++) {
      const length = i === count - 1 ? last : size;
      const id = this.lengths.push(length) - 1;
      bytes.fill(id & 0xff, at, at + length);
      bytes.set([id >> 16, id >> 8 & 0xff, id & 0xff], at);
      at += length;
    }
    this.#batch.setDatagram(0, at);
    this.#batch.segmentSizes[0] = size;
    this.#batch.count = 1;
    return this.#batch;
  }

  /** The numbers of the datagrams in a stream; throws where one is not whole. */
  read(stream: Uint8Array): number[] {
    const ids: number[] = [];
    for (let at = 0; at < stream.length;) {
      const id = stream[at]! << 16 | stream[at + 1]! << 8 | stream[at + 2]!;
      const length = this.lengths[id];
      assert(length !== undefined && at + length <= stream.length, "a part");
      const rest = stream.subarray(at + ID_BYTES, at + length);
      assert(rest.every((byte) => byte === (id & 0xff)), "mixed datagrams");
      ids.push(id);
      at += length;
    }
    return ids;
  }
}

/** A queue with its reader, that adds up what it saw. */
class Reader {
  readonly queue: SubscriberQueue;
  readonly #datagrams: Datagrams;
  /** Numbers of all datagrams that were taken. */
  readonly ids: number[] = [];
  takenBytes = 0;
  inFlight = false;

  constructor(
    chunks: SharedChunks,
    datagrams: Datagrams,
    policy: SlowPolicy,
    limitBytes: number,
  ) {
    this.queue = new SubscriberQueue(chunks, policy, limitBytes);
    this.#datagrams = datagrams;
  }

  /** Ends the piece before and takes the next one; whether there was one. */
  take(): boolean {
    if (this.inFlight) this.queue.done();
    const piece = this.queue.take();
    this.inFlight = piece !== undefined;
    if (!piece) return false;
    const ids = this.#datagrams.read(piece.bytes);
    assertEquals(ids.length, piece.datagrams);
    this.ids.push(...ids);
    this.takenBytes += piece.bytes.length;
    return true;
  }
}

function isRising(ids: readonly number[]): boolean {
  return ids.every((id, i) => i === 0 || id > ids[i - 1]!);
}

const slot = fc.record({
  count: fc.integer({ min: 1, max: 45 }),
  size: fc.oneof(
    fc.integer({ min: ID_BYTES, max: 64 }),
    fc.integer({ min: ID_BYTES, max: 1452 }),
  ),
  lastShare: fc.double({ min: 0, max: 1, noNaN: true }),
});
const step = fc.oneof(
  { weight: 3, arbitrary: slot },
  { weight: 2, arbitrary: fc.nat({ max: 2 }) },
);

Deno.test("SubscriberQueue gives whole datagrams in order, in bounded memory, and its counts add up", () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 150 }),
      fc.array(
        fc.record({
          policy: fc.constantFrom(...SLOW_POLICIES),
          limitBytes: fc.integer({ min: 2000, max: 200_000 }),
        }),
        { minLength: 3, maxLength: 3 },
      ),
      (steps, options) => {
        const datagrams = new Datagrams();
        const chunks = new SharedChunks();
        const readers = options.map(({ policy, limitBytes }) =>
          new Reader(chunks, datagrams, policy, limitBytes)
        );
        const queues = readers.map(({ queue }) => queue);
        // Each queue pins no more than its bytes take and two chunks' rests,
        // beside the piece on its way; one chunk is being filled.
        const mostMemory = options.reduce(
          (sum, { limitBytes }) =>
            sum + (Math.ceil(limitBytes / CHUNK_BYTES) + 3) * CHUNK_BYTES,
          CHUNK_BYTES,
        );
        let offeredBytes = 0;
        for (const step of steps) {
          if (typeof step === "number") {
            readers[step]!.take();
            continue;
          }
          const { count, size, lastShare } = step;
          const last = ID_BYTES + Math.floor(lastShare * (size - ID_BYTES));
          const batch = datagrams.slot(count, size, last);
          offeredBytes += batch.byteLength();
          chunks.append(batch, 0, queues);
          for (const [i, { queue, takenBytes }] of readers.entries()) {
            assert(queue.bytes <= options[i]!.limitBytes);
            assertEquals(
              takenBytes + queue.bytes + queue.droppedBytes,
              offeredBytes,
            );
          }
          assert(chunks.memoryBytes <= mostMemory);
        }
        for (const reader of readers) {
          while (reader.take());
          assert(isRising(reader.ids));
          assertEquals(
            reader.ids.length + reader.queue.droppedDatagrams,
            datagrams.lengths.length,
          );
          assertEquals(
            reader.takenBytes + reader.queue.droppedBytes,
            offeredBytes,
          );
          assertEquals(reader.queue.bytes, 0);
        }
      },
    ),
    { numRuns: 150 },
  );
});

/** What one queue keeps of single datagrams of one size, and what it drops. */
function fill(policy: SlowPolicy, limitBytes: number, sizes: number[]) {
  const datagrams = new Datagrams();
  const chunks = new SharedChunks();
  const reader = new Reader(chunks, datagrams, policy, limitBytes);
  for (const size of sizes) {
    chunks.append(datagrams.slot(1, size, size), 0, [reader.queue]);
  }
  const { overflowed, droppedDatagrams } = reader.queue;
  while (reader.take());
  return { ids: reader.ids, overflowed, droppedDatagrams };
}

Deno.test("SubscriberQueue under drop-newest keeps what it has", () => {
  assertEquals(fill("drop-newest", 3000, [1000, 1000, 1000, 1000, 500]), {
    ids: [0, 1, 2],
    overflowed: false,
    droppedDatagrams: 2,
  });
});

Deno.test("SubscriberQueue under drop-oldest keeps the newest that fit", () => {
  assertEquals(fill("drop-oldest", 3000, [1000, 1000, 1000, 1000, 500]), {
    ids: [2, 3, 4],
    overflowed: false,
    droppedDatagrams: 2,
  });
});

Deno.test("SubscriberQueue under disconnect says that it overflowed", () => {
  assertEquals(fill("disconnect", 3000, [1000, 1000, 1000]).overflowed, false);
  assertEquals(fill("disconnect", 3000, [1000, 1000, 1000, 1]), {
    ids: [0, 1, 2],
    overflowed: true,
    droppedDatagrams: 1,
  });
});

Deno.test("SubscriberQueue under drop-oldest drops no more than what comes needs", () => {
  const datagrams = new Datagrams();
  const chunks = new SharedChunks();
  const reader = new Reader(chunks, datagrams, "drop-oldest", 20_000);
  for (let i = 0; i < 15; i++) {
    chunks.append(datagrams.slot(1, 1000, 1000), 0, [reader.queue]);
  }
  // Ten joined datagrams of 9500 bytes together: 4500 bytes are missing.
  chunks.append(datagrams.slot(10, 1000, 500), 0, [reader.queue]);
  assertEquals(reader.queue.droppedDatagrams, 5);
  assertEquals(reader.queue.bytes, 19_500);
  chunks.append(datagrams.slot(1, 600, 600), 0, [reader.queue]);
  assertEquals(reader.queue.droppedDatagrams, 6);
});

Deno.test("SubscriberQueue under drop-oldest keeps the newest of a slot that is larger than itself", () => {
  const datagrams = new Datagrams();
  const chunks = new SharedChunks();
  const reader = new Reader(chunks, datagrams, "drop-oldest", 2500);
  chunks.append(datagrams.slot(5, 1000, 1000), 0, [reader.queue]);
  while (reader.take());
  assertEquals(reader.ids, [3, 4]);
});

Deno.test("SubscriberQueue.clear counts what waited as dropped and gives its memory back", () => {
  const datagrams = new Datagrams();
  const chunks = new SharedChunks();
  for (let round = 0; round < 50; round++) {
    const reader = new Reader(chunks, datagrams, "drop-oldest", 1 << 20);
    for (let i = 0; i < 20; i++) {
      chunks.append(datagrams.slot(40, 1000, 1000), 0, [reader.queue]);
    }
    reader.queue.clear();
    assertEquals(reader.queue.droppedDatagrams, 800);
    assertEquals(reader.queue.bytes, 0);
  }
  assert(chunks.memoryBytes <= 5 * CHUNK_BYTES);
});

Deno.test("SharedChunks copies a slot once for all queues", () => {
  const datagrams = new Datagrams();
  const chunks = new SharedChunks();
  const readers = Array.from(
    { length: 100 },
    () => new Reader(chunks, datagrams, "drop-oldest", 1 << 20),
  );
  const queues = readers.map(({ queue }) => queue);
  for (let i = 0; i < 6; i++) {
    chunks.append(datagrams.slot(40, 1000, 1000), 0, queues);
  }
  assertEquals(chunks.memoryBytes, CHUNK_BYTES);
  for (const reader of readers) {
    while (reader.take());
    assertEquals(reader.ids.length, 240);
  }
});

Deno.test("SharedChunks leaves out datagrams of zero bytes", () => {
  const chunks = new SharedChunks();
  const queue = new SubscriberQueue(chunks, "drop-oldest", 65536);
  const batch = new DatagramBatch(1);
  batch.setDatagram(0, 0);
  batch.count = 1;
  chunks.append(batch, 0, [queue]);
  assertEquals(queue.take(), undefined);
});
