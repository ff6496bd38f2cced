import { assertEquals } from "@std/assert";
import { EventLoopTimers, PolledTimers } from "../../../net/udp/timers.ts";

Deno.test("PolledTimers calls what is due once, and says how long the next takes", () => {
  let nowMs = 1000;
  const timers = new PolledTimers(() => nowMs);
  const called: string[] = [];
  const soon = () => void called.push("soon");
  const later = () => {
    called.push("later");
    timers.set(later, 20);
  };
  assertEquals(timers.nextMs(50), 50);
  timers.set(soon, 2);
  timers.set(later, 20);
  timers.set(soon, 1);
  assertEquals(timers.nextMs(50), 2);
  nowMs += 2;
  timers.run();
  timers.run();
  assertEquals(called, ["soon"]);
  assertEquals([timers.isSet(soon), timers.isSet(later)], [false, true]);
  assertEquals(timers.nextMs(50), 18);
  assertEquals(timers.nextMs(5), 5);
  nowMs += 100;
  assertEquals(timers.nextMs(50), 0);
  timers.run();
  assertEquals(called, ["soon", "later"]);
  assertEquals(timers.nextMs(50), 20);
  timers.clear(later);
  nowMs += 100;
  timers.run();
  assertEquals(called, ["soon", "later"]);
});

Deno.test("EventLoopTimers calls once, and not what was cleared", async () => {
  const timers = new EventLoopTimers();
  const { promise, resolve } = Promise.withResolvers<void>();
  const called: string[] = [];
  const cleared = () => void called.push("cleared");
  const kept = () => {
    called.push("kept");
    resolve();
  };
  timers.set(cleared, 1);
  timers.set(kept, 2);
  timers.set(kept, 0);
  timers.clear(cleared);
  assertEquals([timers.isSet(cleared), timers.isSet(kept)], [false, true]);
  await promise;
  assertEquals([called, timers.isSet(kept)], [["kept"], false]);
});
