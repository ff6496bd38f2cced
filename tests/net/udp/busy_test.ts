import { assert, assertEquals } from "@std/assert";
import { BusyLoop } from "../../../net/udp/busy.ts";

/** It takes some 30 pauses; by turns of setImmediate, 900. */
const MOST_PAUSES = 200;

Deno.test("BusyLoop.pause has sockets served, not only what waits in the process", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const exchange = (async () => {
    using client = await Deno.connect({
      hostname: "127.0.0.1",
      port: listener.addr.port,
    });
    const answer = new Uint8Array(1);
    for (let i = 0; i < 5; i++) {
      await client.write(Uint8Array.of(i));
      assertEquals(await client.read(answer), 1);
      assertEquals(answer[0], i);
    }
  })();
  const echo = (async () => {
    using server = await listener.accept();
    const byte = new Uint8Array(1);
    while (await server.read(byte) !== null) await server.write(byte);
  })();
  let done = false;
  const served = Promise.all([exchange, echo]).then(() => done = true);
  const busy = new BusyLoop();
  let pauses = 0;
  const work = new Int32Array(new SharedArrayBuffer(4));
  while (!done) {
    Atomics.wait(work, 0, 0, 1);
    await busy.pause();
    pauses++;
    assert(pauses <= MOST_PAUSES, `${pauses} pauses`);
  }
  await served;
});

Deno.test("BusyLoop is due when its clock says so, looked at every 16 turns", () => {
  let nowMs = 0;
  const busy = new BusyLoop(() => nowMs);
  const turns = (count: number) =>
    Array.from({ length: count }, () => busy.due()).filter(Boolean).length;
  assertEquals(turns(64), 0);
  nowMs = 4;
  assertEquals(turns(15), 0);
  assertEquals(turns(1), 1);
});
