import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  DIAL_FAILURES,
  END_REASONS,
  REJECT_REASONS,
} from "../../../net/engine/stream.ts";
import {
  CONNECT_BUCKETS_MS,
  countInBucket,
  DURATION_BUCKETS_MS,
  ForwardSlot,
  forwardSlots,
  readForward,
  readRemote,
  RemoteSlot,
  remoteSlots,
  RemoteState,
} from "../../../net/engine/stream_counters.ts";

Deno.test("countInBucket() counts a value in the first bucket whose bound is not below it", () => {
  fc.assert(fc.property(
    fc.array(fc.double({ min: 0, max: 1e6, noNaN: true })),
    (values) => {
      const slots = remoteSlots();
      for (const value of values) {
        countInBucket(slots, RemoteSlot.connects, CONNECT_BUCKETS_MS, value);
      }
      const { buckets } = readRemote([slots]).connectMs;
      assertEquals(
        buckets.reduce((sum, count) => sum + count, 0),
        values.length,
      );
      let passed = 0;
      for (const [i, bound] of CONNECT_BUCKETS_MS.entries()) {
        passed += buckets[i]!;
        assertEquals(passed, values.filter((value) => value <= bound).length);
      }
    },
  ));
});

Deno.test("forwardSlots() and remoteSlots() have one slot for each figure, reason and bucket", () => {
  assertEquals(
    forwardSlots().length,
    ForwardSlot.durations + DURATION_BUCKETS_MS.length + 1,
  );
  assertEquals(
    remoteSlots().length,
    RemoteSlot.connects + CONNECT_BUCKETS_MS.length + 1,
  );
  assertEquals(
    ForwardSlot.durations,
    ForwardSlot.ended + END_REASONS.length + REJECT_REASONS.length,
  );
  assertEquals(
    RemoteSlot.connects,
    RemoteSlot.failures + DIAL_FAILURES.length,
  );
});

Deno.test("readForward() and readRemote() give each slot its name, added up over threads", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 4 }), (threads) => {
    const number = (slots: Float64Array) => slots.map((_, i) => i + 1);
    const forward = Array.from({ length: threads }, () => {
      const slots = forwardSlots();
      slots.set(number(slots));
      return slots;
    });
    const stats = readForward(forward, new Map());
    assertEquals(stats.accepted, threads * (ForwardSlot.accepted + 1));
    assertEquals(
      stats.bytesDownstream,
      threads * (ForwardSlot.bytesDownstream + 1),
    );
    for (const [i, reason] of END_REASONS.entries()) {
      assertEquals(stats.ended[reason], threads * (ForwardSlot.ended + i + 1));
    }
    for (const [i, reason] of REJECT_REASONS.entries()) {
      assertEquals(
        stats.rejected[reason],
        threads * (ForwardSlot.rejected + i + 1),
      );
    }
    const remotes = Array.from({ length: threads }, () => {
      const slots = remoteSlots();
      slots.set(number(slots));
      return slots;
    });
    const remote = readRemote(remotes);
    assertEquals(remote.opened, threads * (RemoteSlot.opened + 1));
    // The latest of all threads, not their sum.
    assertEquals(remote.lastErrorAtMs, RemoteSlot.lastErrorAtMs + 1);
  }));
});

Deno.test("readRemote() calls a remote live until some thread's policy calls it dead", () => {
  const [one, two] = [remoteSlots(), remoteSlots()];
  assertEquals(readRemote([one, two]).live, true);
  two[RemoteSlot.state] = RemoteState.dead;
  assertEquals(readRemote([one, two]).live, false);
});
