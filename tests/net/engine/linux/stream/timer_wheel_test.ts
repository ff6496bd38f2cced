import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  TICK_MS,
  TimerWheel,
} from "../../../../../net/engine/linux/stream/timer_wheel.ts";

Deno.test("TimerWheel meets every deadline once, never early and at most a tick late", () => {
  const step = fc.record({
    number: fc.nat(20),
    inMs: fc.oneof(fc.nat(300), fc.nat(50_000), fc.constant(Infinity)),
    passMs: fc.oneof(fc.nat(40), fc.nat(30_000)),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    let nowMs = 1234.5;
    const wheel = new TimerWheel(nowMs);
    wheel.grow(8);
    wheel.grow(21);
    const due = new Map<number, number>();
    const setAt = new Map<number, number>();
    for (const { number, inMs, passMs } of steps) {
      wheel.set(number, nowMs + inMs);
      if (inMs === Infinity) due.delete(number);
      else due.set(number, nowMs + inMs);
      setAt.set(number, nowMs);
      assertEquals(wheel.size, due.size);
      nowMs += passMs;
      wheel.advance(nowMs, (met) => {
        assert(due.has(met), "not set");
        assert(due.get(met)! <= nowMs, "early");
        due.delete(met);
      });
      for (const [number, dueMs] of due) {
        const least = Math.max(dueMs, setAt.get(number)!);
        assert(least + 2 * TICK_MS > nowMs, "late");
      }
      assert(due.size === 0 || wheel.nextMs() <= nowMs + 60_000);
      assert(
        [...due.values()].every((dueMs) =>
          wheel.nextMs() <= dueMs + 2 * TICK_MS
        ),
      );
    }
  }));
});

Deno.test("TimerWheel knows the next deadline to the tick after one was met", () => {
  const wheel = new TimerWheel(0);
  wheel.grow(4);
  wheel.set(0, 100);
  wheel.set(1, 5000);
  // More than a turn of 10 240 ms away: met early once per turn, and kept.
  wheel.set(2, 26_000);
  const met: number[] = [];
  for (const next of [5000, 5520, 15_760, 26_000, Infinity]) {
    const nowMs = met.length === 0 ? 100 : wheel.nextMs();
    wheel.advance(nowMs, (number) => met.push(number));
    assertEquals(wheel.nextMs(), next);
  }
  assertEquals(met, [0, 1, 2]);
});
