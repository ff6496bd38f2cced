import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { EventQueue } from "../../../net/relay/event_queue.ts";

Deno.test("EventQueue gives events in order, drops what does not fit, and counts it", async () => {
  await fc.assert(fc.asyncProperty(
    fc.integer({ min: 1, max: 8 }),
    // true pushes, false reads.
    fc.array(fc.boolean(), { maxLength: 60 }),
    async (limit, steps) => {
      const queue = new EventQueue<number>(limit);
      const held: number[] = [];
      let pushed = 0;
      let dropped = 0;
      for (const push of steps) {
        if (push) {
          queue.push(pushed);
          if (held.length < limit) held.push(pushed);
          else dropped++;
          pushed++;
        } else if (held.length > 0) {
          assertEquals(await queue.next(), {
            done: false,
            value: held.shift()!,
          });
        }
        assertEquals(queue.dropped, dropped);
      }
      queue.end();
      const rest: number[] = [];
      for await (const event of queue) rest.push(event);
      assertEquals(rest, held);
    },
  ));
});

Deno.test("EventQueue wakes a reader that waits", async () => {
  const queue = new EventQueue<string>(1);
  const next = queue.next();
  queue.push("one");
  assertEquals(await next, { done: false, value: "one" });
  const last = queue.next();
  queue.end();
  assertEquals((await last).done, true);
});

Deno.test("EventQueue refuses two reads at once", async () => {
  const queue = new EventQueue<string>(1);
  const first = queue.next();
  await assertRejects(() => queue.next(), TypeError, "twice at once");
  queue.end();
  await first;
});

Deno.test("EventQueue tells once that its reader has left, and takes no more", async () => {
  let ends = 0;
  const queue = new EventQueue<number>(4, () => ends++);
  queue.push(1);
  for await (const _ of queue) break;
  queue.push(2);
  queue.end();
  assertEquals(ends, 1);
  assertEquals((await queue.next()).done, true);
});
