import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Spin } from "../../../../../net/engine/linux/stream/busy_poll.ts";

Deno.test("Spin asks before each sleep as long as that brings single events", () => {
  const spin = new Spin();
  assertEquals(spin.wanted(), false, "nothing has happened yet");
  for (let turn = 0; turn < 100; turn++) {
    spin.happened(1);
    assert(spin.wanted());
    spin.asked(1);
  }
});

Deno.test("Spin leaves the core to others where turns have many events", () => {
  const spin = new Spin();
  for (let turn = 0; turn < 20; turn++) spin.happened(6);
  assertEquals(spin.wanted(), false);
  for (let turn = 0; turn < 100; turn++) spin.happened(1);
  assert(spin.wanted());
});

Deno.test("Spin asks ever more rarely in vain, and at once again where it pays", () => {
  fc.assert(fc.property(fc.integer({ min: 300, max: 5000 }), (turns) => {
    const spin = new Spin();
    let asked = 0;
    for (let turn = 0; turn < turns; turn++) {
      spin.happened(1);
      if (!spin.wanted()) continue;
      asked++;
      spin.asked(0);
    }
    // 1, 2, 4 ... 128 turns are left out, then 128 each time.
    assert(asked <= 9 + turns / 128, `${asked} of ${turns}`);
    for (let turn = 0; turn < 129; turn++) {
      spin.happened(1);
      if (spin.wanted()) spin.asked(1);
    }
    spin.happened(1);
    assert(spin.wanted());
  }));
});
