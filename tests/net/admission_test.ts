/** Admission against a model, and each of its rules by name. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  Admission,
  type AdmissionLimits,
  MAX_CONNECTIONS,
  rejectionOf,
} from "../../net/admission.ts";

const LIMITS: AdmissionLimits = {
  maxConnections: 3,
  maxConnectionsPerSource: 3,
  proveWithinMs: 1000,
};

/** An admission whose owners are names, with what it closed, in order. */
function watched(limits: Partial<AdmissionLimits> = {}) {
  const closed: string[] = [];
  const rejected: string[] = [];
  const admission = new Admission<string>({
    ...LIMITS,
    ...limits,
    close: (owner, reason) => closed.push(`${owner} ${reason}`),
    onReject: (reason, source) => rejected.push(`${reason} ${source}`),
  });
  return { admission, closed, rejected };
}

Deno.test("a peer that does not prove itself is closed at its deadline, once", () => {
  const { admission, closed } = watched();
  admission.admit("a", 1, 0);
  admission.admit("b", 1, 10);
  assertEquals(admission.nextDeadlineMs, 1000);
  assertEquals(admission.expire(999), 1000);
  assertEquals(closed, []);
  assertEquals(admission.expire(1000), 1010);
  assertEquals(closed, ["a deadline"]);
  assertEquals(admission.expire(5000), Infinity);
  assertEquals(closed, ["a deadline", "b deadline"]);
  assertEquals(admission.stats().open, 0);
  assertEquals(admission.stats().deadline, 2);
});

Deno.test("a proved peer has no deadline", () => {
  const { admission, closed } = watched();
  admission.prove(admission.admit("a", 1, 0));
  assertEquals(admission.expire(1e9), Infinity);
  assertEquals(closed, []);
});

Deno.test("the oldest unproved peer makes room, a proved one never does", () => {
  const { admission, closed, rejected } = watched();
  const proved = admission.admit("proved", 1, 0);
  admission.prove(proved);
  admission.admit("old", 2, 1);
  admission.admit("young", 3, 2);
  assert(admission.admit("new", 4, 3) >= 0);
  assertEquals(closed, ["old displaced"]);
  for (const name of ["p", "q"]) admission.prove(admission.admit(name, 5, 4));
  assertEquals(closed.slice(1), ["young displaced", "new displaced"]);
  const ticket = admission.admit("late", 6, 5);
  assertEquals(rejectionOf(ticket), "limit");
  assertEquals(rejected.at(-1), "limit 6");
  assert(admission.has(proved));
});

Deno.test("a source that has its share makes room among its own peers", () => {
  const { admission, closed, rejected } = watched({
    maxConnections: 10,
    maxConnectionsPerSource: 2,
  });
  admission.admit("other", 9, 0);
  const first = admission.admit("first", 7, 1);
  admission.admit("second", 7, 2);
  admission.admit("third", 7, 3);
  assertEquals(closed, ["first displaced"]);
  assert(!admission.has(first));
  const { admission: full, rejected: refusals } = watched({
    maxConnectionsPerSource: 1,
  });
  full.prove(full.admit("only", 7, 0));
  assertEquals(rejectionOf(full.admit("more", 7, 1)), "source-limit");
  assertEquals(rejectionOf(full.admit("elsewhere", 8, 1)), undefined);
  assertEquals(refusals, ["source-limit 7"]);
  assertEquals(rejected, ["displaced 7"]);
});

Deno.test("an idle peer makes room after the unproved ones, and has a deadline of its own", () => {
  const { admission, closed } = watched({ idleMs: 5000 });
  const idle = admission.admit("idle", 1, 0);
  admission.prove(idle);
  admission.idle(idle, 0);
  admission.admit("unproved", 2, 1);
  admission.prove(admission.admit("busy", 3, 2));
  admission.prove(admission.admit("new", 4, 3));
  assertEquals(closed, ["unproved displaced"]);
  assertEquals(admission.nextDeadlineMs, 5000);
  admission.admit("newer", 5, 4);
  assertEquals(closed[1], "idle displaced");
  assertEquals(admission.stats().unproved, 1);
});

Deno.test("a ticket is void once its peer is gone, whoever has the slot next", () => {
  const { admission } = watched({ maxConnections: 1 });
  const gone = admission.admit("gone", 1, 0);
  admission.release(gone);
  const next = admission.admit("next", 1, 1);
  assert(gone !== next);
  admission.release(gone);
  admission.prove(gone);
  assert(!admission.hold(gone, 1));
  assertEquals(admission.stats().open, 1);
  assertEquals(admission.stats().unproved, 1);
  admission.release(-1);
  admission.release(NaN);
  assert(admission.has(next));
});

Deno.test("bytes are bounded over all peers, and given back with the peer", () => {
  const { admission, rejected } = watched({ maxBytes: 100 });
  const a = admission.admit("a", 1, 0);
  const b = admission.admit("b", 2, 0);
  assert(admission.hold(a, 60));
  assert(admission.hold(b, 40));
  assert(!admission.hold(b, 1));
  assertEquals(rejected, ["bytes 2"]);
  admission.unhold(a, 10);
  assert(admission.hold(b, 10));
  admission.release(b);
  assertEquals(admission.stats().heldBytes, 50);
  // More than it holds is not taken from the others.
  admission.unhold(a, 1e6);
  assertEquals(admission.stats().heldBytes, 0);
});

Deno.test("threads that share a number of open peers share the limit", () => {
  const open = new Int32Array(new SharedArrayBuffer(4));
  const make = () =>
    new Admission<string>({ ...LIMITS, open, close: () => {} });
  const [one, two] = [make(), make()];
  one.prove(one.admit("a", 1, 0));
  one.prove(one.admit("b", 2, 0));
  const third = two.admit("c", 3, 0);
  two.prove(third);
  assertEquals(rejectionOf(one.admit("d", 4, 0)), "limit");
  two.release(third);
  assertEquals(rejectionOf(one.admit("d", 4, 0)), undefined);
  assertEquals(open[0], 3);
});

Deno.test("limits that no peer could meet are refused", () => {
  for (
    const limits of [
      { maxConnections: 0 },
      { maxConnections: 1.5 },
      { maxConnections: MAX_CONNECTIONS + 1 },
      { maxConnectionsPerSource: 0 },
      { proveWithinMs: 0 },
      { proveWithinMs: NaN },
    ]
  ) assertThrows(() => watched(limits), RangeError);
  assertThrows(
    () => watched({ maxConnectionsPerSource: MAX_CONNECTIONS + 1 }),
    RangeError,
  );
  const { admission: most } = watched({
    maxConnections: MAX_CONNECTIONS,
    maxConnectionsPerSource: 1,
  });
  assertEquals(
    [most.maxConnections, most.maxConnectionsPerSource],
    [MAX_CONNECTIONS, 1],
  );
  // A ticket is a slot of 24 bits and a generation.
  assertEquals(MAX_CONNECTIONS, 16_777_215);
  for (const [maxConnections, share] of [[5, 3], [8, 4]] as const) {
    const { admission } = watched({
      maxConnections,
      maxConnectionsPerSource: undefined,
    });
    assertEquals(admission.maxConnectionsPerSource, share);
  }
});

Deno.test("the first ticket of all is an admitted peer's", () => {
  const { admission } = watched();
  const ticket = admission.admit("a", 1, 0);
  assertEquals([ticket, rejectionOf(ticket)], [0, undefined]);
});

type Step =
  | { do: "admit"; source: number }
  | { do: "prove" | "idle" | "unprove" | "release"; which: number }
  | { do: "pass"; ms: number };

interface ModelPeer {
  readonly name: string;
  readonly source: number;
  state: "unproved" | "idle" | "proved";
  since: number;
}

/** What admission is documented to do, over a plain list in the order of waiting. */
class Model {
  peers: ModelPeer[] = [];
  closed: string[] = [];
  constructor(readonly limits: Required<AdmissionLimits>) {}

  admit(name: string, source: number, now: number): boolean {
    const own = this.peers.filter((peer) => peer.source === source);
    if (own.length >= this.limits.maxConnectionsPerSource!) {
      if (!this.displace(own)) return false;
    }
    if (this.peers.length >= this.limits.maxConnections) {
      if (!this.displace(this.peers)) return false;
    }
    this.peers.push({ name, source, state: "unproved", since: now });
    return true;
  }

  displace(among: ModelPeer[]): boolean {
    const oldest = among.find((peer) => peer.state === "unproved") ??
      among.find((peer) => peer.state === "idle");
    if (!oldest) return false;
    this.end(oldest, "displaced");
    return true;
  }

  end(peer: ModelPeer, reason: string) {
    this.peers = this.peers.filter((one) => one !== peer);
    this.closed.push(`${peer.name} ${reason}`);
  }

  expire(now: number) {
    for (const state of ["unproved", "idle"] as const) {
      const wait = state === "idle"
        ? this.limits.idleMs!
        : this.limits.proveWithinMs;
      for (const peer of this.peers.filter((one) => one.state === state)) {
        if (peer.since + wait <= now) this.end(peer, "deadline");
      }
    }
  }

  set(name: string, state: ModelPeer["state"], now: number) {
    const peer = this.peers.find((one) => one.name === name);
    if (!peer) return;
    peer.state = state;
    peer.since = now;
    // Whoever waits anew waits behind the others.
    this.peers = [...this.peers.filter((one) => one !== peer), peer];
  }
}

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("admit" as const),
      source: fc.nat(4),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "prove" as const,
        "idle" as const,
        "unprove" as const,
        "release" as const,
      ),
      which: fc.nat(200),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.nat(80) }),
  },
);

Deno.test("hundreds of peers of hundreds of sources close as the model closes them", () => {
  const limits = {
    maxConnections: 400,
    maxConnectionsPerSource: 3,
    maxBytes: Infinity,
    proveWithinMs: 300,
    idleMs: 900,
  };
  const { admission, closed } = watched(limits);
  const model = new Model(limits);
  const tickets: number[] = [];
  for (let now = 0; now < 2000; now++) {
    const name = `p${now}`;
    // Each number comes back, later than its peers may wait or sooner.
    const source = now * now % 997 % 350;
    const ticket = admission.admit(name, source, now);
    assertEquals(ticket >= 0, model.admit(name, source, now));
    tickets.push(ticket);
    if (now % 3 === 0) {
      admission.prove(tickets[now - now % 2]!);
      model.set(`p${now - now % 2}`, "proved", now);
    }
    if (now % 7 === 0) {
      admission.idle(tickets[now >> 1]!, now);
      model.set(`p${now >> 1}`, "idle", now);
    }
    if (now % 5 === 0) {
      admission.release(tickets[now - 1]!);
      model.peers = model.peers.filter((peer) => peer.name !== `p${now - 1}`);
    }
    admission.expire(now);
    model.expire(now);
  }
  assertEquals(closed, model.closed);
  assert(closed.some((line) => line.endsWith("displaced")));
  assert(closed.some((line) => line.endsWith("deadline")));
  assertEquals(admission.stats().open, model.peers.length);
});

Deno.test("any run of steps closes the peers that the model closes, in its order", () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 200 }),
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 12 }),
      (steps, maxConnections, share) => {
        const limits = {
          maxConnections,
          maxConnectionsPerSource: share,
          maxBytes: Infinity,
          proveWithinMs: 100,
          idleMs: 150,
        };
        const { admission, closed } = watched(limits);
        const model = new Model(limits);
        const tickets: { name: string; ticket: number }[] = [];
        let now = 0;
        for (const one of steps) {
          if (one.do === "pass") {
            now += one.ms;
            admission.expire(now);
            model.expire(now);
          } else if (one.do === "admit") {
            const name = `p${tickets.length}`;
            const ticket = admission.admit(name, one.source, now);
            assertEquals(ticket >= 0, model.admit(name, one.source, now));
            tickets.push({ name, ticket });
          } else if (tickets.length > 0) {
            const { name, ticket } = tickets[one.which % tickets.length]!;
            if (one.do === "prove") {
              admission.prove(ticket);
              model.set(name, "proved", now);
            } else if (one.do === "idle") {
              admission.idle(ticket, now);
              model.set(name, "idle", now);
            } else if (one.do === "unprove") {
              admission.unprove(ticket, now);
              model.set(name, "unproved", now);
            } else {
              admission.release(ticket);
              model.peers = model.peers.filter((peer) => peer.name !== name);
            }
          }
          assertEquals(closed, model.closed);
          const stats = admission.stats();
          assertEquals(stats.open, model.peers.length);
          assertEquals(
            stats.unproved,
            model.peers.filter(({ state }) => state === "unproved").length,
          );
        }
      },
    ),
    { numRuns: 300 },
  );
});
