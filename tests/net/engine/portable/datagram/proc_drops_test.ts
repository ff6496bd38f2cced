import { assert, assertEquals } from "@std/assert";
import type { Address } from "../../../../../net/address.ts";
import { DatagramBatch } from "../../../../../net/engine/batch.ts";
import type { DatagramListener } from "../../../../../net/engine/datagram.ts";
import { createLinuxEngine } from "../../../../../net/engine/linux/datagram/engine.ts";
import { linuxEngineUnavailable } from "../../../../../net/engine/linux/datagram/engine.ts";
import { denoDatagramEngine } from "../../../../../net/engine/portable/datagram/deno.ts";
import { nodeDatagramEngine } from "../../../../../net/engine/portable/datagram/node.ts";
import {
  ownSockets,
  parseUdpTable,
  ProcDrops,
} from "../../../../../net/engine/portable/datagram/proc_drops.ts";
import { batchOf, openSender, pattern } from "../../../../support/datagrams.ts";
import {
  needsIpv6,
  needsLinux,
  type SkipReason,
  testUnless,
} from "../../../../support/skip.ts";
import { holds } from "../../../../support/threads.ts";

/** Sends at once, with no turn of the event loop for whoever receives. */
const needsSender: SkipReason = linuxEngineUnavailable();

Deno.test("parseUdpTable reads ports, queues, inodes and drops of both families, and nothing else", () => {
  const text = [
    "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            ",
    " 1545: 0100007F:EC24 00000000:0000 07 00000000:00034A00 00:00000000 00000000     0        0 58452 2 000000006c07e38a 4294967295 ",
    "65535: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 77 2 0000000000000000 0",
    " 1546: 0100007F:EC24 00000000:0000 07 00000000:00000000 00:00000000",
    " 1547: nothing 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 5 2 00 x",
    "",
  ].join("\n");
  assertEquals(parseUdpTable(text), [
    { port: 60452, queuedBytes: 0x34a00, inode: "58452", drops: 2 ** 32 - 1 },
    { port: 53, queuedBytes: 0, inode: "77", drops: 0 },
  ]);
});

/** Floods a listener that takes nothing meanwhile; gives what was sent. */
async function flood(address: Address, datagrams: number): Promise<number> {
  const engine = createLinuxEngine({ blocking: true });
  const { sender, counters } = await openSender(engine, address);
  const batch = batchOf([pattern(1000)]);
  for (let i = 0; i < datagrams; i++) await sender.send(batch);
  sender[Symbol.dispose]();
  return counters[0]!;
}

/** Takes all that has come; gives how many. */
async function takeAll(
  listener: DatagramListener,
  count: number,
): Promise<number> {
  const batch = new DatagramBatch(listener.batchSize);
  let taken = 0;
  await holds(() => {
    while (listener.tryReceive(batch) > 0) taken += batch.datagrams();
    return taken >= count;
  }, () => `${count} datagrams, only ${taken}`);
  return taken;
}

for (const engine of [denoDatagramEngine, nodeDatagramEngine]) {
  for (const hostname of ["127.0.0.1", "::1"]) {
    testUnless(
      needsSender ?? (hostname === "::1" ? needsIpv6() : undefined),
      `dropped() and what was received are what was sent on ${hostname}, over ${engine.description}`,
      async () => {
        const address = { hostname, port: 0 };
        // Another one must not be taken for it.
        using other = await engine.listen({ address });
        using listener = await engine.listen({ address });
        assertEquals([listener.dropped(), other.dropped()], [0, 0]);
        const sent = await flood(listener.address, 1000);
        const probe = ProcDrops.find(listener.address.port, new Set())!;
        const dropped = probe.count();
        assert(dropped > 0, "the flood was no flood");
        assertEquals(await takeAll(listener, sent - dropped), sent - dropped);
        listener[Symbol.dispose]();
        assertEquals(listener.dropped(), dropped);
        assertEquals(listener.droppedIsLeast, false);
        other[Symbol.dispose]();
        assertEquals([other.dropped(), other.droppedIsLeast], [0, false]);
      },
    );
  }

  testUnless(
    needsSender,
    `dropped() of what was closed with datagrams unread says that it is the least, over ${engine.description}`,
    async () => {
      using listener = await engine.listen({
        address: { hostname: "127.0.0.1", port: 0 },
      });
      const sent = await flood(listener.address, 1000);
      listener[Symbol.dispose]();
      const dropped = listener.dropped()!;
      assert(dropped > 0 && dropped < sent, String(dropped));
      assertEquals(listener.droppedIsLeast, true);
    },
  );
}

testUnless(
  needsLinux(),
  "ProcDrops.find tells of no socket that is not this process's, is none, or was there before",
  async () => {
    using listener = await denoDatagramEngine.listen({
      address: { hostname: "127.0.0.1", port: 0 },
    });
    const { port } = listener.address;
    assert(ProcDrops.find(port, new Set()) !== undefined);
    assertEquals(ProcDrops.find(port, ownSockets()), undefined);
    assertEquals(ProcDrops.find(port, undefined), undefined);
    listener[Symbol.dispose]();
    assertEquals(ProcDrops.find(port, new Set()), undefined);
  },
);

testUnless(
  needsLinux(),
  "ProcDrops.find tells nothing where two sockets could be meant",
  async () => {
    const address = { hostname: "239.255.90.17", port: 0 };
    using one = await denoDatagramEngine.listen({ address });
    using two = await denoDatagramEngine.listen({ address: one.address });
    assertEquals(ProcDrops.find(one.address.port, new Set()), undefined);
    // Each knows its own, because it has seen which one was there before.
    assertEquals([one.dropped(), two.dropped()], [0, 0]);
  },
);
