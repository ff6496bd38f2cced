/** What was received and what was dropped is what was sent, exactly, whatever the flood. */
import { assert, assertEquals } from "@std/assert";
import { DatagramBatch } from "../../../../../net/engine/batch.ts";
import { SentSlot } from "../../../../../net/engine/datagram.ts";
import {
  createLinuxEngine,
  linuxEngineUnavailable,
} from "../../../../../net/engine/linux/datagram/engine.ts";
import type { LinuxListener } from "../../../../../net/engine/linux/datagram/listener.ts";
import { batchOf, openSender, pattern } from "../../../../support/datagrams.ts";
import type { FloodOrder } from "../../../../support/flood_worker.ts";
import { testUnless } from "../../../../support/skip.ts";
import { TestWorker } from "../../../../support/workers.ts";

const loopback = { hostname: "127.0.0.1", port: 0 };

const floods: [string, "counted" | "never", Omit<FloodOrder, "port">][] = [
  ["joined sends, joined reads", "counted", {
    size: 1400,
    joined: 40,
    ms: 600,
  }],
  ["joined sends, plain reads", "never", { size: 1400, joined: 40, ms: 600 }],
  ["plain sends, joined reads", "counted", { size: 300, joined: 1, ms: 600 }],
  ["tiny joined sends, joined reads", "counted", {
    size: 1,
    joined: 100,
    ms: 600,
  }],
];

for (const [name, joinReads, order] of floods) {
  testUnless(
    linuxEngineUnavailable(),
    `dropped() and what was received are what was sent: ${name}`,
    async () => {
      const engine = createLinuxEngine({ blocking: false, joinReads });
      using listener = await engine.listen({
        address: loopback,
        // Small, so that the flood overflows it again and again.
        receiveBufferBytes: 300_000,
      });
      using flood = new TestWorker(
        import.meta.resolve("../../../../support/flood_worker.ts"),
      );
      flood.post({ ...order, port: listener.address.port });
      const batch = new DatagramBatch(listener.batchSize);
      let received = 0;
      let dropped = 0;
      let end: unknown;
      while ((end ??= flood.poll()) === undefined) {
        for (
          let turn = 0;
          turn < 10 && listener.tryReceive(batch) > 0;
          turn++
        ) {
          received += batch.datagrams();
        }
        const now = listener.dropped()!;
        assert(now >= dropped);
        dropped = now;
        // The thread's end comes as an event; the queue overflows meanwhile.
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
      while (listener.tryReceive(batch) > 0) received += batch.datagrams();
      const sent = (end as Float64Array)[SentSlot.datagrams]!;
      assertEquals(received + listener.dropped()!, sent);
      assert(listener.dropped()! > 0, "the flood was no flood");
    },
  );
}

for (const joinReads of ["counted", "never"] as const) {
  testUnless(
    linuxEngineUnavailable(),
    `dropped() counts what a closed listener left unread: reads ${joinReads}`,
    async () => {
      const engine = createLinuxEngine({ blocking: false, joinReads });
      const listener = await engine.listen({
        address: loopback,
        receiveBufferBytes: 300_000,
      });
      const { sender, counters } = await openSender(engine, listener.address);
      using _ = sender;
      const joined = Array.from({ length: 30 }, (_, i) => pattern(1000, i));
      const batch = batchOf([joined]);
      for (let i = 0; i < 50; i++) await sender.send(batch);
      assert(listener.tryReceive(new DatagramBatch(2)) === 2);
      const before = listener.dropped()!;
      listener[Symbol.dispose]();
      const received = joinReads === "never" ||
          !(listener as LinuxListener).joinsReads
        ? 2
        : 60;
      assert(listener.dropped()! > before);
      assertEquals(
        listener.dropped()! + received,
        counters[SentSlot.datagrams],
      );
    },
  );
}
