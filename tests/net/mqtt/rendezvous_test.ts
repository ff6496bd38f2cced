import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { rankTargets } from "../../../net/mqtt/rendezvous.ts";

const targets = Array.from({ length: 5 }, (_, i) => `mqtt://broker-${i}:1883`);
const ids = Array.from({ length: 5000 }, (_, i) => `device-${i}`);

Deno.test("rankTargets() names every target once, and depends on nothing but its arguments", () => {
  fc.assert(fc.property(fc.string(), fc.nat(4), (id, count) => {
    const some = targets.slice(0, count + 1);
    const order = rankTargets(id, some);
    assertEquals([...order].sort(), some.map((_, i) => i));
    assertEquals(rankTargets(id, some), order);
  }));
});

Deno.test("rankTargets() spreads clients evenly", () => {
  const counts = targets.map(() => 0);
  for (const id of ids) counts[rankTargets(id, targets)[0]!]!++;
  for (const count of counts) {
    // 1000 each; five standard deviations are 141.
    assertEquals(count > 859 && count < 1141, true);
  }
});

Deno.test("rankTargets() moves only the clients of a target that goes, and to where they ranked it next", () => {
  const fewer = targets.filter((_, i) => i !== 2);
  for (const id of ids) {
    const before = rankTargets(id, targets).map((i) => targets[i]!);
    const after = rankTargets(id, fewer).map((i) => fewer[i]!);
    assertEquals(after, before.filter((target) => target !== targets[2]));
  }
});
