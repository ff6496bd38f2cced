import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { NO_REMOTE, type PolicyRemote } from "../../../../net/engine/stream.ts";
import {
  RemoteSlot,
  remoteSlots,
  RemoteState,
} from "../../../../net/engine/stream_counters.ts";
import { createPolicy } from "../../../../net/engine/balancing/policies.ts";
import {
  RemotesPolicy,
  type RemotesPolicySpec,
} from "../../../../net/engine/balancing/tunnel_policy.ts";

const SPEC: RemotesPolicySpec = {
  kind: "remotes",
  strategy: "round-robin",
  attempts: 3,
  errorsTillDead: 1,
  checkIntervalMs: 1000,
};

function remote(id: number): PolicyRemote {
  const slots = remoteSlots();
  return {
    id,
    address: { hostname: "127.0.0.1", port: 4000 + id },
    slots,
    load: () => slots[RemoteSlot.pending]! + slots[RemoteSlot.open]!,
  };
}

function policyOf(
  remotes: readonly PolicyRemote[],
  spec = SPEC,
): RemotesPolicy {
  const policy = new RemotesPolicy(spec, () => 0);
  policy.setRemotes(remotes, 0);
  return policy;
}

Deno.test("createPolicy makes a RemotesPolicy of a spec that was cloned", () => {
  assert(createPolicy(structuredClone(SPEC)) instanceof RemotesPolicy);
});

Deno.test("RemotesPolicy retries a remote that was not tried, without a pause", () => {
  const policy = policyOf([remote(1), remote(2), remote(3)], {
    ...SPEC,
    errorsTillDead: 9,
  });
  const tried: number[] = [];
  for (let i = 0; i < 3; i++) {
    const id = policy.choose("", tried);
    tried.push(id);
    policy.failed(id, "refused", 0);
    if (i < 2) assertEquals(policy.retryDelayMs(tried), 0);
  }
  assertEquals(tried, [1, 2, 3]);
  assertEquals(policy.choose("", tried), NO_REMOTE);
});

Deno.test("RemotesPolicy waits longer each time around the same remotes", () => {
  const policy = policyOf([remote(1), remote(2)], {
    ...SPEC,
    attempts: 100,
    errorsTillDead: 1000,
  });
  const tried: number[] = [];
  const waits: number[] = [];
  for (let i = 0; i < 14; i++) {
    tried.push(policy.choose("", tried));
    waits.push(policy.retryDelayMs(tried));
  }
  assertEquals(
    waits,
    [0, 50, 50, 100, 100, 200, 200, 400, 400, 800, 800, 1000, 1000, 1000],
  );
});

Deno.test("RemotesPolicy does not wait for a live remote because a dead one was tried", () => {
  const policy = policyOf([remote(1), remote(2)]);
  const id = policy.choose("", []);
  policy.failed(id, "refused", 0);
  assertEquals(policy.retryDelayMs([id]), 0);
  const other = policy.choose("", [id]);
  policy.failed(other, "refused", 0);
});

Deno.test("RemotesPolicy tries all remotes with retries and back-off where none is live", () => {
  const policy = policyOf([remote(1), remote(2)], { ...SPEC, attempts: 5 });
  const tried: number[] = [];
  const waits: number[] = [];
  for (let now = 0; now < 5; now++) {
    const id = policy.choose("", tried);
    tried.push(id);
    policy.failed(id, "refused", now);
    waits.push(policy.retryDelayMs(tried));
  }
  assertEquals(tried, [1, 2, 1, 2, 1]);
  assertEquals(waits, [0, 50, 50, 100, 0]);
  assertEquals(policy.choose("", tried), NO_REMOTE);
  // The next client is served as soon as one is back, before any probe.
  assertEquals(policy.choose("", []), 2);
  policy.connected(2);
  assertEquals(policy.choose("", []), 2);
  assertEquals(policy.choose("", [2]), 2);
});

Deno.test("RemotesPolicy says when one remote is probed next", () => {
  const policy = policyOf([remote(1), remote(2)]);
  policy.failed(1, "refused", 10);
  policy.failed(2, "refused", 400);
  assertEquals(policy.probeDueMs(1), 1010);
  assertEquals(policy.probeDueMs(2), 1400);
  assertEquals(policy.probeDueMs(), 1010);
  assertEquals(policy.probeDueMs(3), Infinity);
});

Deno.test("RemotesPolicy never connects with 0 attempts, nor without a remote", () => {
  assertEquals(
    policyOf([remote(1)], { ...SPEC, attempts: 0 }).choose("", []),
    NO_REMOTE,
  );
  assertEquals(policyOf([]).choose("", []), NO_REMOTE);
});

Deno.test("RemotesPolicy shows state and recent errors in the remote's slots", () => {
  const one = remote(1);
  const policy = policyOf([one], { ...SPEC, errorsTillDead: 2 });
  policy.failed(1, "refused", 0);
  assertEquals(one.slots[RemoteSlot.recentErrors], 1);
  assertEquals(one.slots[RemoteSlot.state], RemoteState.live);
  policy.failed(1, "refused", 0);
  assertEquals(one.slots[RemoteSlot.state], RemoteState.dead);
  assertEquals(policy.probeDueMs(), 1000);
  assertEquals(policy.takeProbe(999), NO_REMOTE);
  assertEquals(policy.takeProbe(1000), 1);
  assertEquals(policy.takeProbe(1000), NO_REMOTE);
  policy.probed(1, undefined, 1001);
  assertEquals(one.slots[RemoteSlot.state], RemoteState.live);
  assertEquals(one.slots[RemoteSlot.recentErrors], 0);
});

Deno.test("RemotesPolicy keeps the place of a remote that died and came back", () => {
  const policy = policyOf([remote(1), remote(2), remote(3)]);
  const round = () => [1, 2, 3].map(() => policy.choose("", []));
  assertEquals(round(), [1, 2, 3]);
  policy.failed(2, "refused", 0);
  assertEquals(round(), [1, 3, 1]);
  policy.takeProbe(1000);
  policy.probed(2, undefined, 1000);
  assertEquals(round(), [2, 3, 1]);
});

Deno.test("RemotesPolicy forgets the past of a remote that was removed and added again", () => {
  const policy = policyOf([remote(1), remote(2)]);
  policy.failed(1, "refused", 0);
  policy.setRemotes([remote(2), remote(3)], 0);
  // What was under way when remote 1 went ends later, and touches nobody.
  policy.failed(1, "refused", 0);
  policy.connected(1);
  policy.probed(1, undefined, 0);
  assertEquals(policy.probeDueMs(), Infinity);
  assertEquals(policy.choose("", []), 2);
  assertEquals(policy.choose("", []), 3);
});

Deno.test("RemotesPolicy keeps health over a new spec, and balances by the new strategy", () => {
  const [one, two, three] = [remote(1), remote(2), remote(3)];
  const policy = policyOf([one, two, three]);
  policy.failed(1, "refused", 0);
  policy.configure({
    ...SPEC,
    strategy: "minimum-open-connections",
    checkIntervalMs: 100,
  }, 50);
  two.slots[RemoteSlot.open] = 1;
  assertEquals(policy.choose("", []), 3);
  assertEquals(policy.probeDueMs(), 150);
});

Deno.test("RemotesPolicy chooses live remotes where there are some and loses none, under any schedule", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("connect" as const), ok: fc.boolean() }),
    fc.record({ kind: fc.constant("probe" as const), ok: fc.boolean() }),
    fc.record({ kind: fc.constant("add" as const), ok: fc.boolean() }),
    fc.record({ kind: fc.constant("remove" as const), ok: fc.boolean() }),
    fc.record({ kind: fc.constant("late" as const), ok: fc.boolean() }),
  );
  fc.assert(fc.property(
    fc.constantFrom(
      "random" as const,
      "round-robin" as const,
      "minimum-open-connections" as const,
    ),
    fc.integer({ min: 1, max: 3 }),
    fc.array(fc.tuple(step, fc.nat({ max: 1500 })), { maxLength: 60 }),
    (strategy, errorsTillDead, steps) => {
      let remotes = [remote(1), remote(2)];
      let nextId = 3;
      const policy = policyOf(remotes, { ...SPEC, strategy, errorsTillDead });
      const late: number[] = [];
      let now = 0;
      for (const [{ kind, ok }, waitMs] of steps) {
        now += waitMs;
        const live = remotes.filter(({ slots }) =>
          slots[RemoteSlot.state] === RemoteState.live
        );
        if (kind === "connect") {
          const id = policy.choose("", []);
          assertEquals(id === NO_REMOTE, remotes.length === 0);
          if (id === NO_REMOTE) continue;
          const chosenFrom = live.length > 0 ? live : remotes;
          assert(chosenFrom.some((one) => one.id === id));
          late.push(id);
          if (ok) policy.connected(id);
          else policy.failed(id, "refused", now);
        } else if (kind === "late" && late.length > 0) {
          policy.failed(late[0]!, "timeout", now);
        } else if (kind === "probe") {
          const due = policy.probeDueMs();
          const id = policy.takeProbe(now);
          assertEquals(id !== NO_REMOTE, due <= now);
          if (id !== NO_REMOTE) {
            policy.probed(id, ok ? undefined : "refused", now);
          }
        } else if (kind === "add") {
          remotes = [...remotes, remote(nextId++)];
          policy.setRemotes(remotes, now);
        } else if (kind === "remove") {
          remotes = remotes.slice(1);
          policy.setRemotes(remotes, now);
        }
        const dead = remotes.length -
          remotes.filter(({ slots }) =>
            slots[RemoteSlot.state] === RemoteState.live
          ).length;
        assertEquals(policy.probeDueMs() < Infinity, dead > 0);
        for (const { slots } of remotes) {
          assert(slots[RemoteSlot.recentErrors]! >= 0);
        }
      }
    },
  ));
});

Deno.test("RemotesPolicy admits every client, and needs no client's host for that", () => {
  const policy = policyOf([remote(1)]);
  assertEquals([policy.admit(), policy.wantsClient], [true, false]);
});
