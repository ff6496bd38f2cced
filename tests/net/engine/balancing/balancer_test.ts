import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  Balancer,
  type Candidate,
} from "../../../../net/engine/balancing/balancer.ts";
import { STRATEGIES } from "../../../../net/tunnel/spec.ts";

function candidate(id: number, live = true, load = 0): Candidate {
  return { id, live, load: () => load };
}

/** A small linear congruential generator: the same numbers in every run. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const strategy = fc.constantFrom(...STRATEGIES);
const candidates = fc.array(
  fc.record({ live: fc.boolean(), load: fc.nat({ max: 5 }) }),
  { maxLength: 8 },
).map((list) => list.map(({ live, load }, id) => candidate(id, live, load)));

Deno.test("Balancer picks live candidates, any where none is live, and one not yet tried before the others", () => {
  fc.assert(fc.property(
    strategy,
    candidates,
    fc.array(fc.nat({ max: 8 }), { maxLength: 12 }),
    fc.nat(),
    (strategy, list, tried, seed) => {
      const index = new Balancer(strategy, seeded(seed)).pick(list, tried);
      if (list.length === 0) return assertEquals(index, -1);
      const some = list.some(({ live }) => live);
      const live = list.filter(({ live }) => live || !some);
      assert(live.includes(list[index]!));
      const fresh = live.some(({ id }) => !tried.includes(id));
      assertEquals(tried.includes(list[index]!.id), !fresh);
    },
  ));
});

Deno.test("Balancer tries every live candidate once before any twice", () => {
  fc.assert(fc.property(
    strategy,
    candidates,
    fc.nat(),
    (strategy, list, seed) => {
      const balancer = new Balancer(strategy, seeded(seed));
      const live = list.filter(({ live }) => live).length;
      fc.pre(live > 0);
      const tried: number[] = [];
      for (let i = 0; i < 3 * live; i++) {
        tried.push(list[balancer.pick(list, tried)]!.id);
      }
      const rounds = [0, 1, 2].map((round) =>
        new Set(tried.slice(round * live, (round + 1) * live)).size
      );
      assertEquals(rounds, [live, live, live]);
    },
  ));
});

Deno.test("Balancer round-robin begins with the first and gives each the same number", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 9 }),
    fc.integer({ min: 1, max: 5 }),
    (count, rounds) => {
      const balancer = new Balancer("round-robin");
      const list = Array.from({ length: count }, (_, id) => candidate(id));
      const picks = Array.from(
        { length: count * rounds },
        () => balancer.pick(list, []),
      );
      assertEquals(picks, picks.map((_, i) => i % count));
    },
  ));
});

Deno.test("Balancer round-robin goes on behind its last pick when the list changes", () => {
  const balancer = new Balancer("round-robin");
  const [a, b, c, d] = [0, 1, 2, 3].map((id) => candidate(id));
  const pick = (...list: Candidate[]) => list[balancer.pick(list, [])]!.id;
  assertEquals(pick(a!, b!, c!), 0);
  assertEquals(pick(a!, b!, c!), 1);
  // One before the last pick goes: nobody is passed over.
  assertEquals(pick(b!, c!, d!), 2);
  // The last pick itself goes: its successor is next.
  assertEquals(pick(b!, d!), 3);
  assertEquals(pick(a!, b!, d!), 0);
  // The last pick becomes the first.
  assertEquals(pick(b!, c!, d!, a!), 1);
  assertEquals(pick(c!, d!, a!, b!), 2);
  assertEquals(pick(d!, a!, b!, c!), 3);
  assertEquals(pick(d!, a!, b!, c!), 0);
  assertEquals(pick(d!, a!, b!, c!), 1);
  assertEquals(pick(b!, d!, c!, a!), 3);
});

Deno.test("Balancer round-robin spreads evenly while candidates die and come back", () => {
  const balancer = new Balancer("round-robin");
  const picks = [0, 0, 0, 0];
  const list = (dead: number) =>
    picks.map((_, id) => candidate(id, id !== dead));
  for (let i = 0; i < 400; i++) {
    picks[balancer.pick(list(Math.floor(i / 100)), [])]!++;
  }
  // Each was dead for a quarter of the time, and shares the rest by three.
  for (const count of picks) assert(Math.abs(count - 100) <= 2, `${picks}`);
});

Deno.test("Balancer random is uniform over the live candidates", () => {
  const balancer = new Balancer("random", seeded(7));
  const list = [0, 1, 2, 3, 4].map((id) => candidate(id, id !== 2));
  const picks = [0, 0, 0, 0, 0];
  for (let i = 0; i < 40_000; i++) picks[balancer.pick(list, [])]!++;
  assertEquals(picks[2], 0);
  // 10 000 each; six standard deviations of a binomial are 520.
  for (const id of [0, 1, 3, 4]) {
    assert(Math.abs(picks[id]! - 10_000) < 520, `${picks}`);
  }
});

Deno.test("Balancer minimum-open-connections picks the least loaded, of equals the first", () => {
  fc.assert(fc.property(candidates, (list) => {
    const index = new Balancer("minimum-open-connections").pick(list, []);
    const some = list.some(({ live }) => live);
    const loads = list.map((one) => one.live || !some ? one.load() : Infinity);
    const least = Math.min(...loads);
    assertEquals(index, least === Infinity ? -1 : loads.indexOf(least));
  }));
});

Deno.test("Balancer minimum-open-connections lets equals take turns", () => {
  // Connections that end before the next one begins: every load is 0 again.
  const balancer = new Balancer("minimum-open-connections");
  const list = [candidate(0), candidate(1), candidate(2)];
  assertEquals(
    Array.from({ length: 6 }, () => balancer.pick(list, [])),
    [0, 1, 2, 0, 1, 2],
  );
  // A candidate with more is passed over, and the turn goes on behind the last.
  const busy = [candidate(0), candidate(1, true, 1), candidate(2)];
  assertEquals(
    Array.from({ length: 4 }, () => balancer.pick(busy, [])),
    [0, 2, 0, 2],
  );
});

Deno.test("Balancer minimum-open-connections keeps loads within one of each other", () => {
  const loads = [0, 0, 0];
  const list = loads.map((_, id) => ({
    id,
    live: true,
    load: () => loads[id]!,
  }));
  const balancer = new Balancer("minimum-open-connections");
  for (let i = 0; i < 100; i++) {
    loads[balancer.pick(list, [])]!++;
    assert(Math.max(...loads) - Math.min(...loads) <= 1);
  }
});

Deno.test("Balancer minimum-open-connections reads each load once, and none behind an idle candidate", () => {
  let reads = 0;
  const counted = (id: number, load: number) => ({
    id,
    live: true,
    load: () => {
      reads++;
      return load;
    },
  });
  const readsOf = (...loads: number[]) => {
    reads = 0;
    new Balancer("minimum-open-connections").pick(
      loads.map((load, id) => counted(id, load)),
      [],
    );
    return reads;
  };
  assertEquals(readsOf(3, 3, 3), 3);
  assertEquals(readsOf(3, 0, 3, 3), 2);
});
