/** Attempts at a remote whose name has several addresses, over real sockets. */
import { assert, assertEquals } from "@std/assert";
import { linuxEngineUnavailable } from "../../../../../net/engine/linux/datagram/engine.ts";
import {
  ECONNREFUSED,
  EMFILE,
} from "../../../../../net/engine/linux/ffi/constants.ts";
import { Epoll } from "../../../../../net/engine/linux/ffi/epoll.ts";
import {
  decodeSockaddr,
  encodeSockaddr,
} from "../../../../../net/engine/linux/ffi/sockaddr.ts";
import { StreamCalls } from "../../../../../net/engine/linux/ffi/stream.ts";
import {
  ConnectionTable,
  State,
} from "../../../../../net/engine/linux/stream/connection_table.ts";
import {
  Attempt,
  Dialer,
} from "../../../../../net/engine/linux/stream/dialer.ts";
import type { ReactorReport } from "../../../../../net/engine/linux/stream/orders.ts";
import {
  Remote,
  Service,
} from "../../../../../net/engine/linux/stream/service.ts";
import type { Address } from "../../../../../net/address.ts";
import { createPolicy } from "../../../../../net/engine/balancing/policies.ts";
import { FaultyLibc } from "../../../../support/faulty_libc.ts";
import { openOrder, remoteShare } from "../../../../support/reactor_orders.ts";
import { needsIpv6, testUnless } from "../../../../support/skip.ts";
import { blackhole, echoServer } from "../../../../support/tcp.ts";

/** Addresses that the name resolves to; a test says where each leads. */
const FIRST = "127.9.0.1";
const SECOND = "127.9.0.2";
const THIRD = "127.9.0.3";
const OF_IPV6 = "fd00::9";

/** A dial of one connection to a name, without a reactor. */
class NamedDial implements Disposable {
  readonly libc = new FaultyLibc();
  readonly table = new ConnectionTable(() => {});
  readonly dialer: Dialer;
  readonly connection: number;
  readonly reports: ReactorReport[] = [];
  /** Where connects went to, in order. */
  readonly connects: string[] = [];
  /** Where an address leads, or the errno with which it fails. */
  readonly leads = new Map<string, Address | number>();
  readonly #epoll = new Epoll(this.libc, 16);
  readonly #lookup: number;

  constructor() {
    this.libc.put("connect", (real, fd, bytes, length) => {
      const { hostname } = decodeSockaddr(bytes as Uint8Array<ArrayBuffer>, 0);
      this.connects.push(hostname);
      const to = this.leads.get(hostname) ?? ECONNREFUSED;
      if (typeof to === "number") return this.libc.fail(to);
      return real(fd, encodeSockaddr(to.hostname, to.port), length);
    });
    this.dialer = new Dialer(
      this.libc,
      new StreamCalls(this.libc),
      this.#epoll,
      this.table,
      (report) => this.reports.push(report),
    );
    const order = openOrder({
      plan: { deadlines: { connectTimeoutMs: 1000 } },
    });
    const policy = createPolicy(order.plan.policy);
    this.connection = this.table.take(new Service(order, policy, 0, 1), 0);
    const remote = new Remote(remoteShare(1, "several.test", 9), 0);
    const attempt = this.dialer.dial(this.connection, remote, 0);
    assertEquals(attempt, Attempt.underWay);
    const [report] = this.reports;
    assert(report?.kind === "lookup");
    assertEquals(report.hostname, "several.test");
    this.#lookup = report.lookup;
  }

  /** The owner's answer. */
  resolved(hostnames: readonly string[], detail = ""): number {
    const lookup = this.#lookup;
    assertEquals(this.dialer.askerOf(lookup), this.connection);
    const attempt = this.dialer.resolved(this.connection, {
      kind: "resolved",
      lookup,
      hostnames,
      detail,
    }, 0);
    assertEquals(this.dialer.askerOf(lookup), undefined);
    return attempt;
  }

  /** Waits for events until the attempt has come to an end. */
  ended(nowMs: number): number {
    for (;;) {
      const count = this.#epoll.wait(5000);
      assert(count > 0, "nothing happened");
      for (let i = 0; i < count; i++) {
        const c = this.#epoll.token(i) >> 1;
        if (this.table.state[c] === State.free) continue;
        assertEquals(this.dialer.attemptOf(c), this.connection);
        const events = this.#epoll.events(i);
        const attempt = this.dialer.happened(c, events, nowMs);
        if (attempt !== Attempt.underWay) return attempt;
      }
    }
  }

  /** Sockets that are open. */
  get open(): number {
    const { calls } = this.libc;
    return (calls.get("socket") ?? 0) - (calls.get("close") ?? 0);
  }

  /** Connections whose number is in use. */
  get used(): number {
    return this.table.state.filter((state) => state !== State.free).length;
  }

  [Symbol.dispose](): void {
    const fd = this.table.fd[2 * this.connection + 1]!;
    if (fd >= 0) this.libc.symbols.close(fd);
    this.#epoll[Symbol.dispose]();
    this.libc[Symbol.dispose]();
  }
}

function test(
  title: string,
  fn: (dial: NamedDial) => void | Promise<void>,
  skip?: string,
): void {
  testUnless(linuxEngineUnavailable() ?? skip, title, async () => {
    using dial = new NamedDial();
    await fn(dial);
  });
}

test(
  "Dialer tries addresses of both families in turn, and says how the last failed",
  (dial) => {
    dial.leads.set(SECOND, EMFILE);
    assertEquals(
      dial.resolved([FIRST, THIRD, OF_IPV6, SECOND]),
      Attempt.failed,
    );
    assertEquals(dial.connects, [FIRST, OF_IPV6, THIRD, SECOND]);
    assertEquals(dial.dialer.failure, "resources");
    assertEquals(dial.dialer.errno, EMFILE);
    assertEquals(dial.table.state[dial.connection], State.pausing);
    assertEquals([dial.open, dial.used], [0, 1]);
  },
  needsIpv6(),
);

test("Dialer has the next address join one that does not answer, and ends the one that loses", async (dial) => {
  using hanging = await blackhole();
  await using server = echoServer();
  dial.leads.set(FIRST, hanging.address).set(SECOND, server.address);
  assertEquals(dial.resolved([FIRST, SECOND, THIRD]), Attempt.underWay);
  const { raceAtMs } = dial.table.dial[dial.connection]!;
  assertEquals(raceAtMs, 250);
  assertEquals(dial.connects, [FIRST]);
  assertEquals(dial.dialer.race(dial.connection, raceAtMs), Attempt.underWay);
  assertEquals(dial.connects, [FIRST, SECOND]);
  assertEquals(dial.ended(raceAtMs), Attempt.connected);
  assertEquals([dial.open, dial.used], [1, 1]);
  assertEquals(dial.connects, [FIRST, SECOND]);
});

test("Dialer goes on at once where an address refuses", async (dial) => {
  await using server = echoServer();
  dial.leads.set(SECOND, server.address);
  assertEquals(dial.resolved([FIRST, SECOND]), Attempt.underWay);
  assertEquals(dial.connects, [FIRST, SECOND]);
  assertEquals(dial.table.dial[dial.connection]!.raceAtMs, Infinity);
  assertEquals(dial.ended(0), Attempt.connected);
  assertEquals([dial.open, dial.used], [1, 1]);
});

test("Dialer ends all that race when the time is over", async (dial) => {
  using hanging = await blackhole();
  dial.leads.set(FIRST, hanging.address).set(SECOND, hanging.address);
  assertEquals(dial.resolved([FIRST, SECOND]), Attempt.underWay);
  assertEquals(dial.dialer.race(dial.connection, 250), Attempt.underWay);
  assertEquals([dial.open, dial.used], [2, 3]);
  assertEquals(dial.dialer.timedOut(dial.connection), Attempt.failed);
  assertEquals(dial.dialer.failure, "timeout");
  assertEquals(dial.dialer.detail, "no connection in 1000 ms");
  assertEquals([dial.open, dial.used], [0, 1]);
});

test("Dialer tells why a name has no address", (dial) => {
  assertEquals(dial.resolved([], "no such name"), Attempt.failed);
  assertEquals(dial.dialer.failure, "resolve");
  assertEquals(dial.dialer.detail, "no such name");
  assertEquals(dial.connects, []);
});

test("Dialer wants no answer any more once a dial is given up", (dial) => {
  const [report] = dial.reports;
  assert(report?.kind === "lookup");
  dial.dialer.giveUp(dial.connection);
  assertEquals(dial.dialer.askerOf(report.lookup), undefined);
});
