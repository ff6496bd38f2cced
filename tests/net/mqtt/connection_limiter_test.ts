import { assertEquals } from "@std/assert";
import {
  ConnectionLimiter,
  type ConnectionLimits,
} from "../../../net/mqtt/connection_limiter.ts";
import { Log } from "../../../net/observe/log.ts";

/** A limiter with a clock of the test's own; connections are numbers. */
function limiterOf(limits: Partial<ConnectionLimits>) {
  const rejected: string[] = [];
  const closed: number[] = [];
  const clock = { nowMs: 0 };
  const limiter = new ConnectionLimiter(
    { proveWithinMs: 60_000, ...limits },
    new Log({ write: () => {} }),
    () => clock.nowMs,
    (reason) => void rejected.push(reason),
  );
  const admit = (id: number, hostname = "192.0.2.1") =>
    limiter.admit(hostname, () => void closed.push(id));
  return { limiter, admit, rejected, closed, clock };
}

Deno.test("at the limit the oldest unproved connection makes room, and a proved one never does", () => {
  const { limiter, admit, rejected, closed } = limiterOf({ maxConnections: 2 });
  using _ = limiter;
  admit(1)!.prove();
  admit(2);
  const third = admit(3)!;
  assertEquals([closed, rejected], [[2], []]);
  third.prove();
  assertEquals(admit(4), undefined);
  assertEquals([closed, rejected], [[2, 4], ["max_connections"]]);
  third.leave();
  third.leave();
  assertEquals(admit(5) === undefined, false);
  assertEquals(limiter.stats().open, 2);
});

Deno.test("a source has its share, and takes none of the others'", () => {
  const { limiter, admit, rejected, closed } = limiterOf({
    maxConnections: 10,
    maxConnectionsPerSource: 2,
  });
  using _ = limiter;
  admit(1)!.prove();
  admit(2)!.prove();
  assertEquals(admit(3), undefined);
  assertEquals(rejected, ["max_connections_per_source"]);
  assertEquals(closed, [3]);
  assertEquals(admit(4, "192.0.2.2") === undefined, false);
  // A host on IPv6 has a /64 of addresses.
  admit(5, "2001:db8::1")!.prove();
  admit(6, "2001:db8::2")!.prove();
  assertEquals(admit(7, "2001:db8::3"), undefined);
  assertEquals(admit(8, "2001:db8:0:1::3") === undefined, false);
});

Deno.test("new connections are limited by second, and none is admitted while the gateway drains", () => {
  const { limiter, admit, rejected, clock } = limiterOf({
    maxConnectionsPerSecond: 1,
  });
  using _ = limiter;
  assertEquals(admit(1) === undefined, false);
  assertEquals(admit(2), undefined);
  clock.nowMs = 1000;
  assertEquals(admit(3) === undefined, false);
  limiter.isDraining = true;
  clock.nowMs = 5000;
  assertEquals(admit(4), undefined);
  assertEquals(rejected, ["connect_rate", "draining"]);
});
