import { assertEquals, assertStrictEquals } from "@std/assert";
import { CounterBlock } from "../../../net/observe/counters.ts";

Deno.test("CounterBlock.read gives the slots by name", () => {
  const block = new CounterBlock(["one", "other"]);
  assertEquals(block.read(), { one: 0, other: 0 });
  block.slots[1]! += 2 ** 40;
  assertEquals(block.read(), { one: 0, other: 2 ** 40 });
});

Deno.test("CounterBlock over a buffer that it is given sees what another one counts", () => {
  const writer = new CounterBlock(["one", "other"]);
  const reader = new CounterBlock(["one", "other"], writer.buffer);
  writer.slots[0]!++;
  assertStrictEquals(reader.read().one, 1);
});
