import { assert, assertEquals } from "@std/assert";
import { Pacer } from "../../../../net/udp/sources/pacer.ts";
import {
  howToWait,
  PacedWait,
} from "../../../../net/udp/sources/paced_wait.ts";

/** How a sender of 1400-byte datagrams waits for its next burst at a rate. */
function atRate(bitsPerSecond: number, holds: boolean) {
  const { catchUpMs, burstBytes } = new Pacer(bitsPerSecond, 1400, 0);
  return howToWait(burstBytes / (bitsPerSecond / 8000), { holds, catchUpMs });
}

Deno.test("a paced wait is slept, held or not, at rates whose lateness is made good", () => {
  for (const mbit of [1, 10, 50, 100, 125]) {
    assert(atRate(mbit * 1e6, false) === "timer", `${mbit} Mbit/s`);
    assert(atRate(mbit * 1e6, true) !== "turns", `${mbit} Mbit/s`);
  }
});

Deno.test("a paced wait of moments turns the event loop only at fast rates, and where the thread may not be held", () => {
  for (const mbit of [200, 500, 1000]) {
    assertEquals(atRate(mbit * 1e6, false), "turns");
    assertEquals(atRate(mbit * 1e6, true), "hold");
  }
});

Deno.test("a paced wait takes as long as asked, however it passes", async () => {
  for (
    const options of [
      { holds: true, catchUpMs: 1 },
      { holds: false, catchUpMs: 1 },
      { holds: false, catchUpMs: 10 },
    ]
  ) {
    const wait = new PacedWait(options);
    for (const ms of [0.4, 1.5]) {
      const start = performance.now();
      await wait.wait(ms);
      assert(performance.now() - start >= ms * 0.9, JSON.stringify(options));
    }
  }
});
