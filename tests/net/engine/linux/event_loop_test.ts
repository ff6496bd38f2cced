/** Deno's own event loop is asked before it sleeps, where that pays. */
import { setImmediate } from "node:timers";
import { assert, assertEquals } from "@std/assert";
import { linuxEngineUnavailable } from "../../../../net/engine/linux/datagram/engine.ts";
import { openEventLoopSpin } from "../../../../net/engine/linux/event_loop.ts";
import { startRole } from "../../../support/process.ts";
import { testUnless } from "../../../support/skip.ts";

const loopback = { hostname: "127.0.0.1", port: 0 };
const reason = linuxEngineUnavailable() ??
  (navigator.hardwareConcurrency < 2 ? "this machine has one core" : undefined);

/** Any machine answers by then. */
const LONG_MS = 5000;

testUnless(reason, "the loop is asked until the answer is there", async () => {
  await using echo = startRole("echo", ["--listen", "127.0.0.1:0"]);
  const [, port] = await echo.line(/listening address=[^ ]*:(\d+)/);
  using listener = Deno.listen(loopback);
  using spin = openEventLoopSpin(listener.addr.port, LONG_MS);
  assert(spin, "its epoll instance was not found");
  using connection = await Deno.connect({ ...loopback, port: Number(port) });
  const buffer = new Uint8Array(64);
  const rounds = 50;
  for (let round = 0; round < rounds; round++) {
    spin.happened();
    await connection.write(Uint8Array.of(round));
    assertEquals(await connection.read(buffer), 1);
    assertEquals(buffer[0], round);
  }
  // The first sleeps are asked about too: nothing else goes on here.
  assertEquals([spin.asked, spin.found], [rounds, rounds]);
});

testUnless(reason, "silence is asked about ever more rarely", async () => {
  using listener = Deno.listen(loopback);
  using spin = openEventLoopSpin(listener.addr.port, 0);
  assert(spin);
  const turns = 300;
  for (let turn = 0; turn < turns; turn++) {
    spin.happened();
    // A timer would be something to find: it writes to the loop's eventfd.
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert(spin.asked >= 1 && spin.asked < turns / 4, `asked ${spin.asked}`);
});

testUnless(
  reason,
  "a crowd is not asked about, and one alone is again",
  async () => {
    using listener = Deno.listen(loopback);
    using spin = openEventLoopSpin(listener.addr.port, 0);
    assert(spin);
    const turn = (events: number) => {
      for (let i = 0; i < events; i++) spin.happened();
      return new Promise((resolve) => setImmediate(resolve));
    };
    for (let i = 0; i < 100; i++) await turn(50);
    assertEquals(spin.asked, 0);
    for (let i = 0; i < 200; i++) await turn(1);
    assert(spin.asked > 0);
  },
);

testUnless(reason, "an event loop without that listener is another one", () => {
  const closed = Deno.listen(loopback);
  const { port } = closed.addr;
  closed.close();
  assertEquals(openEventLoopSpin(port), undefined);
});
