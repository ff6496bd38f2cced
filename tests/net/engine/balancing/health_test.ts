import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type HealthPolicy,
  RemoteHealth,
} from "../../../../net/engine/balancing/health.ts";

const POLICY: HealthPolicy = { errorsTillDead: 3, checkIntervalMs: 1000 };

Deno.test("RemoteHealth dies of failures in a row, and a success starts the row again", () => {
  const health = new RemoteHealth();
  assertEquals(health.failed(POLICY, 0), false);
  assertEquals(health.failed(POLICY, 0), false);
  assertEquals(health.succeeded(), false);
  assertEquals(health.recentErrors, 0);
  assertEquals(health.failed(POLICY, 0), false);
  assertEquals(health.failed(POLICY, 0), false);
  assertEquals(health.failed(POLICY, 5), true);
  assertEquals(health.live, false);
  assertEquals(health.probeDueMs, 1005);
});

Deno.test("RemoteHealth is probed at the asked interval from the start of one probe to the next", () => {
  const health = new RemoteHealth();
  const policy = { ...POLICY, errorsTillDead: 1 };
  health.failed(policy, 0);
  assertEquals(health.takeProbe(999), false);
  assertEquals(health.takeProbe(1000), true);
  assertEquals(health.takeProbe(1000), false);
  assertEquals(health.probed(false, policy, 1400), false);
  assertEquals(health.probeDueMs, 2000);
  assertEquals(health.takeProbe(2000), true);
  // A probe that lasted longer than the interval is followed at once.
  assertEquals(health.probed(false, policy, 3500), false);
  assertEquals(health.probeDueMs, 3500);
  assertEquals(health.takeProbe(3500), true);
  assertEquals(health.probed(true, policy, 3600), true);
  assertEquals(health.live, true);
  assertEquals(health.recentErrors, 0);
  assertEquals(health.probeDueMs, Infinity);
});

Deno.test("RemoteHealth comes back by a connect that began before its death", () => {
  const health = new RemoteHealth();
  const policy = { ...POLICY, errorsTillDead: 1 };
  health.failed(policy, 0);
  health.takeProbe(1000);
  assertEquals(health.succeeded(), true);
  // The probe under way has nothing more to say, either way.
  assertEquals(health.probed(false, policy, 1100), false);
  assertEquals(health.live, true);
  assertEquals(health.recentErrors, 0);
});

Deno.test("RemoteHealth does not put off its probe for failures that come after death", () => {
  const health = new RemoteHealth();
  const policy = { ...POLICY, errorsTillDead: 1 };
  health.failed(policy, 0);
  assertEquals(health.failed(policy, 900), false);
  assertEquals(health.probeDueMs, 1000);
});

Deno.test("RemoteHealth probes sooner when a shorter interval is set", () => {
  const health = new RemoteHealth();
  health.failed({ errorsTillDead: 1, checkIntervalMs: 60_000 }, 0);
  health.reconfigured(POLICY, 100);
  assertEquals(health.probeDueMs, 1100);
  const live = new RemoteHealth();
  live.reconfigured(POLICY, 100);
  assertEquals(live.probeDueMs, Infinity);
});

Deno.test("RemoteHealth is always either alive or due for a probe or being probed", () => {
  const step = fc.constantFrom(
    "failed",
    "succeeded",
    "take",
    "probed",
    "probe failed",
  );
  fc.assert(fc.property(
    fc.integer({ min: 0, max: 4 }),
    fc.array(fc.record({ step, waitMs: fc.nat({ max: 3000 }) })),
    (errorsTillDead, steps) => {
      const policy = { errorsTillDead, checkIntervalMs: 1000 };
      const health = new RemoteHealth();
      let now = 0;
      let probing = false;
      for (const { step, waitMs } of steps) {
        now += waitMs;
        if (step === "failed") {
          const wasLive = health.live;
          const row = health.recentErrors + 1;
          const died = health.failed(policy, now);
          assertEquals(died, wasLive && row >= errorsTillDead);
        } else if (step === "succeeded") {
          health.succeeded();
          probing = false;
        } else if (step === "take") {
          const due = health.probeDueMs;
          const taken = health.takeProbe(now);
          assertEquals(taken, now >= due);
          probing ||= taken;
        } else if (probing) {
          health.probed(step === "probed", policy, now);
          probing = false;
          assert(health.live === (step === "probed"));
        }
        assert(health.recentErrors >= 0);
        const waits = health.probeDueMs < Infinity;
        assertEquals([health.live, waits, probing].filter(Boolean).length, 1);
      }
    },
  ));
});
