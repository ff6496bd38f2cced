import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { JoinedDrops, WrappingCount } from "../../../net/engine/drops.ts";

Deno.test("WrappingCount sums a counter that starts again", () => {
  const count = new WrappingCount();
  count.set(5);
  count.set(0xffff_fff0);
  count.set(0x10);
  assertEquals(count.total, 0x1_0000_0010);
  count.set(0x10);
  assertEquals(count.total, 0x1_0000_0010);
});

/** A socket's queue as the kernel keeps it, to ask the count about. */
class Queue {
  readonly #queue: number[] = [];
  arrivedReads = 0;
  arrivedDatagrams = 0;
  droppedReads = 0;
  droppedDatagrams = 0;
  receivedReads = 0;
  receivedDatagrams = 0;

  arrive(datagrams: number, room: number): void {
    this.arrivedReads++;
    this.arrivedDatagrams += datagrams;
    if (this.#queue.length < room) this.#queue.push(datagrams);
    else this.drop(datagrams);
  }

  drop(datagrams: number): void {
    this.droppedReads++;
    this.droppedDatagrams += datagrams;
  }

  receive(reads: number): void {
    for (const datagrams of this.#queue.splice(0, reads)) {
      this.receivedReads++;
      this.receivedDatagrams += datagrams;
    }
  }

  get empty(): boolean {
    return this.#queue.length === 0;
  }
}

type Step =
  | { kind: "arrive"; datagrams: number }
  | { kind: "receive"; reads: number }
  | { kind: "corrupt" }
  | { kind: "ask"; lateDrops: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("arrive" as const),
      datagrams: fc.integer({ min: 1, max: 128 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("receive" as const),
      reads: fc.integer({ min: 1, max: 12 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("ask" as const),
      lateDrops: fc.integer({ min: 0, max: 3 }),
    }),
  },
);

function check(steps: readonly Step[], queue: Queue, drops: JoinedDrops) {
  let last = 0;
  const ask = (lateDrops: number) => {
    const { droppedReads } = queue;
    // Between the two readings more may arrive and be dropped.
    for (let i = 0; i < lateDrops; i++) queue.arrive(40, 0);
    const answer = drops.update({
      droppedReads,
      reads: queue.arrivedReads,
      datagrams: queue.arrivedDatagrams,
      receivedReads: queue.receivedReads,
      receivedDatagrams: queue.receivedDatagrams,
    });
    assert(answer <= queue.droppedDatagrams, "more than were dropped");
    assert(answer >= last, "fewer than before");
    if (drops.exact) assertEquals(answer, queue.droppedDatagrams);
    last = answer;
  };
  for (const one of steps) {
    if (one.kind === "arrive") queue.arrive(one.datagrams, 5);
    else if (one.kind === "receive") queue.receive(one.reads);
    else if (one.kind === "corrupt") queue.drop(1);
    else ask(one.lateDrops);
  }
  queue.receive(Infinity);
  ask(0);
}

Deno.test("JoinedDrops never says too much and is exact when nothing is queued", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const queue = new Queue();
      const drops = new JoinedDrops();
      check(steps, queue, drops);
      assertEquals(drops.exact, true);
      assertEquals(drops.dropped, queue.droppedDatagrams);
    }),
  );
});

Deno.test("JoinedDrops counts datagrams with a wrong checksum, which never arrive", () => {
  const queue = new Queue();
  const drops = new JoinedDrops();
  check([{ kind: "corrupt" }, { kind: "corrupt" }], queue, drops);
  assertEquals(drops.dropped, 2);
  check([{ kind: "arrive", datagrams: 40 }], queue, drops);
  assertEquals(drops.dropped, 2);
  check(new Array(9).fill({ kind: "arrive", datagrams: 40 }), queue, drops);
  assertEquals(drops.dropped, 2 + 4 * 40);
});
