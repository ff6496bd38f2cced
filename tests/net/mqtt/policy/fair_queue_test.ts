import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { FairQueue } from "../../../../net/mqtt/policy/fair_queue.ts";

const open = { maxItems: 9999, maxItemsPerSource: 9999, maxBytes: 1e9 };

/** Takes so many items. */
const taken = <Item>(queue: FairQueue<Item>, count: number) =>
  Array.from({ length: count }, () => queue.take());

Deno.test("FairQueue takes turns among sources, whoever came first with how many", () => {
  const queue = new FairQueue<string>(open);
  for (let i = 0; i < 4; i++) queue.add("a", `a${i}`, 1);
  queue.add("b", "b0", 1);
  queue.add("c", "c0", 1);
  queue.add("b", "b1", 1);
  assertEquals(taken(queue, 8), [
    ...["a0", "b0", "c0", "a1", "b1", "a2", "a3"],
    undefined,
  ]);
});

Deno.test("FairQueue puts a charged source behind the others, and serves it all the same", () => {
  const queue = new FairQueue<string>(open);
  for (let i = 0; i < 20; i++) {
    queue.add("good", "good", 1);
    queue.add("bad", "bad", 1);
  }
  const order: string[] = [];
  for (let i = 0; i < 40; i++) {
    const item = queue.take()!;
    order.push(item);
    if (item === "bad") queue.charge("bad", 8);
  }
  assertEquals(order.slice(0, 22).filter((item) => item === "bad").length, 3);
  assertEquals(order.filter((item) => item === "bad").length, 20);
});

Deno.test("FairQueue lets nobody save up turns while idle", () => {
  const queue = new FairQueue<string>(open);
  for (let i = 0; i < 9; i++) queue.add("busy", "busy", 1);
  taken(queue, 5);
  for (let i = 0; i < 9; i++) queue.add("late", "late", 1);
  assertEquals(taken(queue, 4).filter((item) => item === "late").length, 2);
  const known = new FairQueue<string>(open);
  known.add("known", "known", 1);
  for (let i = 0; i < 9; i++) known.add("busy", "busy", 1);
  taken(known, 6);
  for (let i = 0; i < 3; i++) known.add("known", "known", 1);
  // It begins where the busy one was served last, and wins the tie that follows.
  assertEquals(taken(known, 4), ["known", "known", "busy", "known"]);
});

Deno.test("FairQueue refuses beyond its bounds, and has room again for what left", () => {
  const queue = new FairQueue<number>({
    maxItems: 4,
    maxItemsPerSource: 2,
    maxBytes: 10,
  });
  assertEquals(queue.add("a", 1, 1), true);
  assertEquals(queue.add("a", 2, 1), true);
  assertEquals(queue.add("a", 3, 1), false);
  assertEquals(queue.add("b", 4, 9), false);
  assertEquals(queue.add("b", 5, 8), true);
  assertEquals(queue.remove("b", 5), true);
  assertEquals(queue.remove("b", 5), false);
  assertEquals(queue.add("b", 6, 1), true);
  assertEquals(queue.add("c", 7, 1), true);
  assertEquals(queue.add("d", 8, 1), false);
  assertEquals(taken(queue, 5), [1, 6, 7, 2, undefined]);
  // What was taken left its bytes.
  assertEquals([queue.add("a", 9, 11), queue.add("a", 10, 10)], [false, true]);
});

Deno.test("FairQueue gives back everything that it took, each source's in order", () => {
  fc.assert(fc.property(
    fc.array(fc.tuple(fc.nat(3), fc.boolean(), fc.nat(9))),
    (steps) => {
      const queue = new FairQueue<[string, number]>(open);
      const added = new Map<string, number>();
      const seen = new Map<string, number>();
      const take = () => {
        const item = queue.take();
        if (!item) return false;
        const [name, number] = item;
        assertEquals(number, seen.get(name) ?? 0);
        seen.set(name, number + 1);
        return true;
      };
      for (const [source, takes, turns] of steps) {
        const name = `s${source}`;
        const number = added.get(name) ?? 0;
        queue.add(name, [name, number], 1);
        added.set(name, number + 1);
        if (takes) {
          take();
          queue.charge(name, turns);
        }
      }
      while (take());
      assertEquals([...seen].sort(), [...added].sort());
      assertEquals(queue.size, 0);
    },
  ));
});

Deno.test("FairQueue forgets what sources are charged once nobody waits", () => {
  const queue = new FairQueue<string>(open);
  queue.add("b", "b0", 1);
  queue.charge("a", 9);
  queue.add("a", "a0", 1);
  queue.add("b", "b1", 1);
  assertEquals([queue.size, ...taken(queue, 4)], [
    3,
    ...["b0", "b1", "a0"],
    undefined,
  ]);
  queue.charge("a", 9);
  queue.add("a", "a1", 1);
  queue.add("b", "b2", 1);
  assertEquals(taken(queue, 3), ["a1", "b2", undefined]);
});

Deno.test("FairQueue remembers the charges of 4096 sources that wait for nothing, and forgets the oldest", () => {
  for (const others of [4094, 4095]) {
    const queue = new FairQueue<string>(open);
    queue.add("w", "w0", 1);
    queue.add("w", "w1", 1);
    // Who waits is not counted, however many items it has.
    queue.remove("w", "w1");
    for (const name of ["first", "second"]) queue.charge(name, 9);
    for (let i = 0; i < others; i++) queue.charge(`s${i}`, 1);
    for (const name of ["first", "second"]) queue.add(name, name, 1);
    queue.add("w", "w2", 1);
    assertEquals(
      taken(queue, 4),
      others === 4094
        ? ["w0", "w2", "first", "second"]
        : ["w0", "first", "w2", "second"],
    );
  }
});
