import { assert, assertEquals } from "@std/assert";
import { Subscribers } from "../../../../net/udp/sinks/subscribers.ts";
import { Log } from "../../../../net/observe/log.ts";
import { batchOf, numbered } from "../../../support/batches.ts";

/** Datagrams of a size that no write ends between by chance. */
const SIZE = 1009;

Deno.test("Subscribers that disconnect a slow one count each datagram as sent or dropped, as its bytes are", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepting = listener.accept();
  using _reader = await Deno.connect({
    hostname: "127.0.0.1",
    port: listener.addr.port,
  });
  await using subscribers = new Subscribers({
    slowPolicy: "disconnect",
    queueBytes: 65536,
    log: new Log({ write: () => {} }),
  });
  subscribers.add(await accepting);
  const slot = { bytes: numbered(SIZE * 60), segmentSize: SIZE };
  let offered = 0;
  // The kernel's queues of both ends are bounded: it overflows soon.
  while (subscribers.stats().connected > 0) {
    subscribers.write(batchOf(slot));
    offered += 60;
    assert(offered < 1e6, "it never overflows");
    // Lets the write under way complete.
    await new Promise((resolve) => setTimeout(resolve));
  }
  const stats = subscribers.stats();
  assertEquals(stats.disconnectedSlow, 1);
  assertEquals(stats.sentDatagrams, Math.floor(stats.sentBytes / SIZE));
  assertEquals(stats.sentDatagrams + stats.droppedDatagrams, offered);
  assertEquals(stats.sentBytes + stats.droppedBytes, offered * SIZE);
});
