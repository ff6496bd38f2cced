import { assert, assertEquals } from "@std/assert";
import { createSocket } from "node:dgram";
import { DatagramBatch } from "../../../../../net/engine/batch.ts";
import { nodeDatagramEngine } from "../../../../../net/engine/portable/datagram/node.ts";

const DATAGRAMS = 500;

Deno.test("node:dgram gives each datagram's array of 64 KiB back at once", async () => {
  using listener = await nodeDatagramEngine.listen({
    address: { hostname: "127.0.0.1", port: 0 },
  });
  const sender = createSocket("udp4");
  const send = (byte: number) =>
    new Promise((resolve) =>
      sender.send(
        Uint8Array.of(byte),
        listener.address.port,
        "127.0.0.1",
        resolve,
      )
    );
  try {
    const batch = new DatagramBatch(listener.batchSize);
    const before = Deno.memoryUsage().external;
    let most = 0;
    for (let i = 0; i < DATAGRAMS; i++) {
      await send(i % 256);
      while (listener.tryReceive(batch) === 0) await listener.readable();
      assertEquals([...batch.filled(0)], [i % 256]);
      most = Math.max(most, Deno.memoryUsage().external - before);
    }
    // Kept until the collector comes, they are 32 MB.
    assert(most < 4e6, `${most} bytes`);
  } finally {
    await new Promise<void>((resolve) => sender.close(resolve));
  }
});
