import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { UsageError } from "../../../net/errors.ts";
import {
  formatTunnel,
  parseSocket,
  parseTunnel,
  STRATEGIES,
  type TunnelSpec,
} from "../../../net/tunnel/spec.ts";
import {
  NO_CHANGES,
  type TunnelChanges,
  tunnelKey,
  wantedTunnels,
  withClosed,
  withOpened,
  withoutStale,
  withRemoteAdded,
  withRemoteRemoved,
} from "../../../net/tunnel/changes.ts";
import { formatState, readState } from "../../../net/tunnel/state.ts";

const port = fc.integer({ min: 1, max: 4 });
const spec: fc.Arbitrary<TunnelSpec> = fc.record({
  local: port,
  remotes: fc.uniqueArray(port, { maxLength: 3 }),
  strategy: fc.constantFrom(undefined, ...STRATEGIES),
  tlsCert: fc.constantFrom(undefined, "a,b].pem"),
}).map(({ local, remotes, strategy, tlsCert }) => ({
  local: { hostname: "127.0.0.1", port: local },
  remotes: remotes.map((port) => ({ hostname: "db", port })),
  options: {
    ...(strategy ? { strategy } : {}),
    ...(tlsCert ? { tlsCert, tlsKey: "k" } : {}),
  },
}));
const configured = fc.uniqueArray(spec, { selector: tunnelKey, maxLength: 4 });
const step = fc.oneof(
  fc.record({ kind: fc.constant("open" as const), spec }),
  fc.record({ kind: fc.constant("close" as const), spec }),
  fc.record({ kind: fc.constant("add" as const), spec, remote: port }),
  fc.record({ kind: fc.constant("remove" as const), spec, remote: port }),
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

function shown(specs: Iterable<TunnelSpec>): string[] {
  return [...specs].map(formatTunnel).sort();
}

/** Does a step to open tunnels as they are, and to the changes; both where it is possible. */
function take(
  open: Map<string, TunnelSpec>,
  changes: TunnelChanges,
  configured: readonly TunnelSpec[],
  step: Step,
): TunnelChanges {
  const key = tunnelKey(step.spec);
  const tunnel = open.get(key);
  if (step.kind === "open") {
    if (tunnel) return changes;
    open.set(key, step.spec);
    return withOpened(changes, configured, step.spec);
  }
  if (!tunnel) return changes;
  if (step.kind === "close") {
    open.delete(key);
    return withClosed(changes, configured, key);
  }
  const remote = { hostname: "db", port: step.remote };
  const has = tunnel.remotes.some(({ port }) => port === step.remote);
  if (step.kind === "add" && !has) {
    open.set(key, { ...tunnel, remotes: [...tunnel.remotes, remote] });
    return withRemoteAdded(changes, key, remote);
  }
  if (step.kind === "remove" && has) {
    const remotes = tunnel.remotes.filter(({ port }) => port !== step.remote);
    open.set(key, { ...tunnel, remotes });
    return withRemoteRemoved(changes, key, remote);
  }
  return changes;
}

Deno.test("wantedTunnels gives back, after a restart, the tunnels that were open", () => {
  fc.assert(fc.property(configured, fc.array(step), (configured, steps) => {
    const open = new Map(configured.map((spec) => [tunnelKey(spec), spec]));
    let changes = NO_CHANGES;
    for (const step of steps) {
      changes = take(open, changes, configured, step);
      assertEquals(
        shown(wantedTunnels(configured, changes)),
        shown(open.values()),
      );
    }
  }));
});

Deno.test("readState reads back what formatState writes", async () => {
  const file = await Deno.makeTempFile();
  await fc.assert(
    fc.asyncProperty(configured, fc.array(step), async (configured, steps) => {
      const open = new Map(configured.map((spec) => [tunnelKey(spec), spec]));
      let changes = NO_CHANGES;
      for (const step of steps) changes = take(open, changes, configured, step);
      await Deno.writeTextFile(file, formatState(changes));
      assertEquals(await readState(file), changes);
    }),
    { numRuns: 30 },
  );
  await Deno.remove(file);
});

Deno.test("readState takes a missing file as no changes and refuses a damaged one", async () => {
  const file = await Deno.makeTempFile();
  for (
    const text of [
      "",
      "[]",
      '{"version":2}',
      '{"version":1,"opened":[{}],"closed":[],"remotes":{}}',
      '{"version":1,"opened":[{"local":"x","remotes":[],"options":{}}],"closed":[],"remotes":{}}',
      '{"version":1,"opened":[{"local":"1","remotes":[],"options":{"timeout":"-1"}}],"closed":[],"remotes":{}}',
    ]
  ) {
    await Deno.writeTextFile(file, text);
    await assertRejects(() => readState(file), UsageError, "as a state file");
  }
  await Deno.remove(file);
  assertEquals(await readState(file), NO_CHANGES);
});

Deno.test("withOpened of the configured tunnel takes its closing back", () => {
  const configured = [parseTunnel("1=2")];
  const closed = withClosed(NO_CHANGES, configured, "127.0.0.1:1");
  assertEquals(wantedTunnels(configured, closed), []);
  assertEquals(withOpened(closed, configured, configured[0]!), NO_CHANGES);
});

Deno.test("withoutStale forgets what was done to tunnels that are no longer configured", () => {
  const before = [parseTunnel("1=2"), parseTunnel("3=4")];
  let changes = withClosed(NO_CHANGES, before, "127.0.0.1:1");
  changes = withRemoteAdded(changes, "127.0.0.1:3", parseSocket("5"));
  changes = withOpened(changes, before, parseTunnel("7=8"));
  const { opened, closed, remotes } = withoutStale(changes, []);
  assertEquals(opened.map(formatTunnel), ["127.0.0.1:7=127.0.0.1:8"]);
  assertEquals([closed, remotes], [[], {}]);
});
