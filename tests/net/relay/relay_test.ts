import { STREAM_ENGINE, testOnEngines } from "../../support/engines.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { UsageError } from "../../../net/errors.ts";
import { Log } from "../../../net/observe/log.ts";
import { prometheusText } from "../../../net/observe/metrics.ts";
import { type RelayEvent, TcpRelay } from "../../../net/relay/relay.ts";
import { relayJson, relayMetrics } from "../../../net/relay/metrics.ts";
import { formatAddress } from "../../../net/address.ts";
import {
  connectTo,
  echoServer,
  howItEnds,
  howTurnedAway,
  readExactly,
  readToEnd,
  refusingAddress,
  writeAll,
} from "../../support/tcp.ts";

Deno.test("TcpRelay.bind() takes addresses as text and tells the real port", async () => {
  await using server = echoServer();
  await using relay = await TcpRelay.bind(
    "127.0.0.1:0",
    formatAddress(server.address),
  );
  assert(relay.address.port > 0);
  assertEquals(relay.boundAddress, `127.0.0.1:${relay.address.port}`);
  assertEquals(relay.target, server.address);
  using client = await connectTo(relay.address);
  await writeAll(client, new Uint8Array(10));
  await readExactly(client, 10);
  // What moved is counted a moment after it moved; an answer comes after that.
  await relay.connections();
  assertEquals(relay.snapshot(), {
    activeConnections: 1,
    totalConnections: 1,
    bytesUpstream: 10,
    bytesDownstream: 10,
  });
});

Deno.test("TcpRelay.run() ends when the relay is drained", async () => {
  await using server = echoServer();
  const relay = await TcpRelay.bind("127.0.0.1:0", server.address, {
    engine: STREAM_ENGINE,
  });
  const running = relay.run();
  using client = await connectTo(relay.address);
  await writeAll(client, new Uint8Array(1));
  await readExactly(client, 1);
  const drained = relay.drain();
  await client.closeWrite();
  await readToEnd(client);
  await drained;
  await running;
  assertEquals(relay.snapshot().activeConnections, 0);
});

Deno.test("TcpRelay.bind() refuses what cannot be right before it binds", async () => {
  const cases: [string, string][] = [
    ["127.0.0.1", "127.0.0.1:80"],
    ["127.0.0.1:0", "127.0.0.1:0"],
    ["127.0.0.1:0", "ho st:80"],
  ];
  for (const [listen, target] of cases) {
    await assertRejects(() => TcpRelay.bind(listen, target), UsageError);
  }
  await assertRejects(
    () =>
      TcpRelay.bind("127.0.0.1:0", "127.0.0.1:80", {
        engine: "portable",
        workers: 2,
      }),
    UsageError,
    "only the linux engine has several",
  );
});

Deno.test("TcpRelay ends on its signal", async () => {
  await using server = echoServer();
  const controller = new AbortController();
  const relay = await TcpRelay.bind("127.0.0.1:0", server.address, {
    engine: STREAM_ENGINE,
    signal: controller.signal,
  });
  using client = await connectTo(relay.address);
  await writeAll(client, new Uint8Array(1));
  await readExactly(client, 1);
  controller.abort();
  await relay.run();
  await howItEnds(client);
  assertEquals(relay.stats().ended.closed, 1);
  await assertRejects(() =>
    TcpRelay.bind("127.0.0.1:0", server.address, {
      engine: STREAM_ENGINE,
      signal: controller.signal,
    })
  );
});

Deno.test("TcpRelay.events() tells opened, bytes each way and closed, then ends with the relay", async () => {
  await using server = echoServer();
  const relay = await TcpRelay.bind("127.0.0.1:0", server.address, {
    engine: STREAM_ENGINE,
  });
  const events = relay.events();
  const told: RelayEvent[] = [];
  const reading = (async () => {
    for await (const event of events) told.push(event);
  })();
  const client = await connectTo(relay.address);
  const { hostname, port } = client.localAddr as Deno.NetAddr;
  await writeAll(client, new Uint8Array(300));
  await readExactly(client, 300);
  await client.closeWrite();
  await readToEnd(client);
  client.close();
  await relay.drain();
  await reading;
  assertEquals(told.map(({ type }) => type), [
    "opened",
    "upstream",
    "downstream",
    "closed",
  ]);
  assert(told.every(({ client }) => client === `${hostname}:${port}`));
  const closed = told[3]!;
  assert(closed.type === "closed");
  assertEquals(
    [closed.bytesUpstream, closed.bytesDownstream, closed.reason],
    [300, 300, "eof"],
  );
  assertEquals(relay.droppedEvents, 0);
});

testOnEngines(
  "TcpRelay.events() tells the first reader of clients that came before it, where that is asked for",
  async (engine) => {
    await using server = echoServer();
    await using relay = await TcpRelay.bind("127.0.0.1:0", server.address, {
      engine,
      eventsFromStart: true,
    });
    using client = await connectTo(relay.address);
    await writeAll(client, new Uint8Array(1));
    await readExactly(client, 1);
    // An answer comes after what was told before it.
    assertEquals((await relay.connections()).length, 1);
    const { value } = await relay.events().next();
    assertEquals(value!.type, "opened");
  },
);

Deno.test("TcpRelay.events() drops what a slow reader has no room for, and counts it", async () => {
  await using server = echoServer();
  await using relay = await TcpRelay.bind("127.0.0.1:0", server.address, {
    engine: STREAM_ENGINE,
    eventQueue: 2,
  });
  const events = relay.events();
  for (let i = 0; i < 3; i++) {
    using client = await connectTo(relay.address);
    await writeAll(client, new Uint8Array(1));
    await readExactly(client, 1);
    await client.closeWrite();
    await readToEnd(client);
  }
  await relay.drain();
  const told: RelayEvent[] = [];
  for await (const event of events) told.push(event);
  assertEquals(told.length, 2);
  assertEquals(relay.droppedEvents, 10);
});

Deno.test("TcpRelay logs a target that refuses once in a while, and counts it always", async () => {
  const lines: string[] = [];
  await using relay = await TcpRelay.bind("127.0.0.1:0", refusingAddress(), {
    engine: STREAM_ENGINE,
    log: new Log({ write: (line) => lines.push(line) }),
  });
  const events = relay.events();
  for (let i = 0; i < 5; i++) {
    await howTurnedAway(relay.address);
  }
  for (let i = 0; i < 5; i++) {
    const { value } = await events.next();
    assertEquals(value!.type, "rejected");
  }
  assertEquals(relay.stats().rejected["connect-failed"], 5);
  assertEquals(lines.length, 1);
  assert(lines[0]!.includes("reason=refused"), lines[0]);
});

Deno.test("TcpRelay logs and counts clients above its limit", async () => {
  await using server = echoServer();
  const lines: string[] = [];
  await using relay = await TcpRelay.bind("127.0.0.1:0", server.address, {
    engine: STREAM_ENGINE,
    maxConnections: 1,
    log: new Log({ write: (line) => lines.push(line) }),
  });
  const events = relay.events();
  using first = await connectTo(relay.address);
  await writeAll(first, new Uint8Array(1));
  await readExactly(first, 1);
  for (let i = 0; i < 3; i++) {
    await howTurnedAway(relay.address);
  }
  for (let rejected = 0; rejected < 3;) {
    const { value } = await events.next();
    if (value!.type === "rejected") rejected++;
  }
  assertEquals(relay.stats().rejected.limit, 3);
  assertEquals(lines.length, 1);
  assert(lines[0]!.includes("client rejected"), lines[0]);
});

Deno.test("relayMetrics() and relayJson() hold the original's names and one truth", async () => {
  await using server = echoServer();
  await using relay = await TcpRelay.bind("127.0.0.1:0", server.address, {
    engine: STREAM_ENGINE,
  });
  using client = await connectTo(relay.address);
  await writeAll(client, new Uint8Array(7));
  await readExactly(client, 7);
  await relay.connections();
  const text = await prometheusText(relayMetrics(relay.stats()));
  for (
    const line of [
      "connections_active 1",
      "connections_total 1",
      "bytes_upstream 7",
      "bytes_downstream 7",
      'mproxy_relay_bytes_total{direction="upstream"} 7',
      'mproxy_relay_connect_seconds_bucket{le="+Inf"} 1',
      "mproxy_relay_connect_seconds_count 1",
    ]
  ) assert(text.includes(`\n${line}\n`), line);
  const json = relayJson(relay.snapshot(), await relay.connections());
  assertEquals(Object.keys(json), [
    "active_connections",
    "total_connections",
    "bytes_upstream",
    "bytes_downstream",
    "clients",
  ]);
});
