import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { LoopGuard } from "../../../net/udp/loop_guard.ts";
import { batchOf, numbered, type TestSlot } from "../../support/batches.ts";

const ORIGIN = 1000;
const OTHER = 2000;

function from(port: number, bytes: Uint8Array): TestSlot {
  return { bytes, source: { hostname: "127.0.0.1", port } };
}

/** A relay with a guard, by a clock that this test moves. */
class Rig {
  readonly found: number[] = [];
  readonly guard = new LoopGuard({
    onLoop: (batch, slot) => void this.found.push(batch.sourcePort(slot)),
  });
  nowMs = 0;

  /** Slots that go on to the sinks. */
  receive(slot: TestSlot): number {
    const batch = batchOf(slot);
    this.guard.filter(batch, this.nowMs);
    return batch.count;
  }

  /** Slots that are sent later. */
  release(): number {
    let released = 0;
    while (this.guard.release(this.nowMs)) released++;
    return released;
  }
}

for (const latencyMs of [0.05, 1, 20, 100]) {
  Deno.test(`LoopGuard ends a loop of ${latencyMs} ms within 100 datagrams, and names the port that returns them`, () => {
    const rig = new Rig();
    const bytes = numbered(100, 7);
    // When the other end returns what was sent.
    const returns: number[] = [];
    let sent = rig.receive(from(ORIGIN, bytes));
    returns.push(latencyMs);
    while (returns.length > 0 || rig.guard.holding) {
      const next = Math.min(
        returns[0] ?? Infinity,
        rig.nowMs + (rig.guard.nextMs(rig.nowMs) ?? Infinity),
      );
      rig.nowMs = next;
      let more = 0;
      if (returns[0] === next) {
        returns.shift();
        more += rig.receive(from(OTHER, bytes));
      }
      more += rig.release();
      sent += more;
      assert(sent < 100, "the loop goes on");
      for (let i = 0; i < more; i++) returns.push(rig.nowMs + latencyMs);
    }
    assertEquals(rig.found, [OTHER]);
    assert(rig.guard.dropped > 0);

    // The next one ends at its first return, and no other line says so.
    const next = numbered(100, 8);
    rig.nowMs += 10;
    assertEquals(rig.receive(from(ORIGIN, next)), 1);
    const dropped = rig.guard.dropped;
    assertEquals(rig.receive(from(OTHER, next)), 0);
    assertEquals(rig.guard.dropped, dropped + 1);
    assertEquals(rig.found, [OTHER]);
    // What the other end sends itself still goes on.
    assertEquals(rig.receive(from(OTHER, numbered(100, 9))), 1);
  });
}

Deno.test("LoopGuard loses nothing of senders that send the same bytes, whatever their pace", () => {
  const pauses = fc.oneof(
    fc.double({ min: 0.01, max: 2, noNaN: true }),
    fc.double({ min: 2, max: 400, noNaN: true }),
  );
  const run = fc.record({
    pauseMs: pauses,
    count: fc.integer({ min: 1, max: 80 }),
  });
  fc.assert(
    fc.property(fc.array(run, { minLength: 1, maxLength: 12 }), (runs) => {
      const rig = new Rig();
      const bytes = numbered(20);
      let sent = rig.receive(from(ORIGIN, bytes));
      let received = 1;
      for (const { pauseMs, count } of runs) {
        for (let i = 0; i < count; i++) {
          const arrivalMs = rig.nowMs + pauseMs;
          while (rig.guard.holding) {
            const dueMs = rig.nowMs + rig.guard.nextMs(rig.nowMs)!;
            if (dueMs >= arrivalMs) break;
            rig.nowMs = dueMs;
            sent += rig.release();
          }
          rig.nowMs = arrivalMs;
          received++;
          sent += rig.receive(from(OTHER, bytes)) + rig.release();
        }
      }
      while (rig.guard.releaseAny()) sent++;
      assertEquals([sent, rig.guard.dropped, rig.found], [received, 0, []]);
    }),
    { numRuns: 300 },
  );
});

Deno.test("LoopGuard never touches one sender alone, however often it repeats itself", () => {
  const rig = new Rig();
  const bytes = numbered(1);
  for (let i = 0; i < 1000; i++) {
    rig.nowMs += 0.01;
    assertEquals(rig.receive(from(ORIGIN, bytes)), 1);
  }
  assert(!rig.guard.holding);
});

Deno.test("LoopGuard keeps order where it takes slots out of a batch", () => {
  const rig = new Rig();
  const same = numbered(50, 1);
  rig.receive(from(ORIGIN, same));
  for (let i = 0; i < 31; i++) rig.receive(from(OTHER, same));
  const others = [numbered(60, 2), numbered(70, 3)];
  const batch = batchOf(
    from(OTHER, same),
    from(3000, others[0]!),
    from(OTHER, same),
    from(3000, others[1]!),
  );
  rig.guard.filter(batch, rig.nowMs);
  assertEquals(
    Array.from({ length: batch.count }, (_, i) => batch.filled(i).slice()),
    others,
  );
});
