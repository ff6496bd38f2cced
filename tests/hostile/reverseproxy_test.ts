/** The reverse proxy's TCP listeners under attack. */
import { assert, assertEquals } from "@std/assert";
import { Log } from "../../net/observe/log.ts";
import { producerGate, Producers } from "../../net/udp/sources/producers.ts";
import { Subscribers } from "../../net/udp/sinks/subscribers.ts";
import { batchOf, numbered } from "../support/batches.ts";

const SIZE = 1000;

/** Accepts a connection, and returns both its ends. */
async function connection(listener: Deno.TcpListener) {
  const accepting = listener.accept();
  const { hostname, port } = listener.addr;
  const client = await Deno.connect({ hostname, port });
  return { client, server: await accepting };
}

Deno.test("Subscribers keep 24 stuck ones within their memory, and serve one that reads", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const maxQueuedBytes = 4 << 20;
  await using subscribers = new Subscribers({
    slowPolicy: "drop-newest",
    queueBytes: 4 << 20,
    maxQueuedBytes,
    log: new Log({ write: () => {} }),
  });
  const clients: Deno.TcpConn[] = [];
  const batch = batchOf({ bytes: numbered(SIZE * 60), segmentSize: SIZE });
  try {
    const good = await connection(listener);
    clients.push(good.client);
    subscribers.add(good.server);
    let received = 0;
    const buffer = new Uint8Array(1 << 20);
    const read = async (bytes: number) => {
      while (received < bytes) received += (await good.client.read(buffer))!;
    };
    let sent = 0;
    for (let i = 0; i < 24; i++) {
      const stuck = await connection(listener);
      clients.push(stuck.client);
      subscribers.add(stuck.server);
      // Each gets stuck at another time, so that they share no memory.
      for (let j = 0; j < 100; j++) {
        subscribers.write(batch);
        sent += SIZE * 60;
        await read(sent);
      }
      assert(subscribers.stats().memoryBytes <= maxQueuedBytes);
    }
    const [first] = subscribers.stats().subscribers;
    assertEquals([first!.sentBytes, first!.droppedDatagrams], [sent, 0]);
    assert(subscribers.stats().droppedDatagrams > 0);
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("Subscribers close one that takes nothing for room for another, and none that reads", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using subscribers = new Subscribers({
    maxConnections: 2,
    maxConnectionsPerSource: 2,
    stuckMs: 40,
    log: new Log({ write: () => {} }),
  });
  const batch = batchOf({ bytes: numbered(SIZE * 60), segmentSize: SIZE });
  const good = await connection(listener);
  subscribers.add(good.server);
  const reading = (async () => {
    const buffer = new Uint8Array(1 << 20);
    try {
      while (await good.client.read(buffer) !== null);
    } catch {
      // Closed at the end of the test.
    }
  })();
  const stuck = await connection(listener);
  subscribers.add(stuck.server);
  assertEquals(subscribers.stats().connected, 2);
  for (let i = 0; subscribers.stats().connected === 2; i++) {
    assert(i < 20_000, "the stuck one stays");
    subscribers.write(batch);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const { subscribers: left, admission } = subscribers.stats();
  const { port } = good.client.localAddr;
  assertEquals(left.map(({ address }) => address), [`127.0.0.1:${port}`]);
  assertEquals(admission.deadline, 1);
  await subscribers[Symbol.asyncDispose]();
  await reading;
  good.client.close();
  stuck.client.close();
});

Deno.test("Producers let 100 silent ones have 8 places, and feed from one that sends", async () => {
  const log = new Log({ write: () => {} });
  using gate = producerGate(
    { maxConnections: 8, maxConnectionsPerSource: 8 },
    log,
  );
  let opened = 0;
  const received = Promise.withResolvers<number>();
  await using producers = await Producers.open({
    address: { hostname: "127.0.0.1", port: 0 },
    gate,
    log,
    openSinks: () => {
      opened++;
      return Promise.resolve({
        sinks: [{
          write: (batch) => received.resolve(batch.byteLength()),
          [Symbol.asyncDispose]: () => Promise.resolve(),
        }],
        [Symbol.asyncDispose]: () => Promise.resolve(),
      });
    },
  });
  const clients: Deno.TcpConn[] = [];
  try {
    for (let i = 0; i < 100; i++) {
      clients.push(await Deno.connect(producers.address));
    }
    const good = await Deno.connect(producers.address);
    clients.push(good);
    await good.write(numbered(100));
    assertEquals(await received.promise, 100);
    // A silent producer costs no sinks.
    assertEquals(opened, 1);
    const { open, displaced } = gate.stats();
    assertEquals([open, displaced], [8, 93]);
  } finally {
    for (const client of clients) client.close();
  }
});
