import { assertEquals } from "@std/assert";
import type {
  DisconnectResult,
  MqttHooks,
  MqttSession,
} from "../../../../net/mqtt/hooks/hooks.ts";
import { deny } from "../../../../net/mqtt/hooks/hooks.ts";
import { PacketType } from "../../../../net/mqtt/packet/mod.ts";
import { Policy } from "../../../../net/mqtt/policy/policy.ts";
import { parsePolicy } from "../../../../net/mqtt/policy/policy_file.ts";
import { soon } from "../../../support/deadline.ts";
import { openMemorySession } from "../../../support/memory_session.ts";
import { settled } from "../../../support/memory_stream.ts";
import {
  bytes,
  connectPacket,
  connectPeer,
  field,
  join,
  openBench,
  packet,
  publishPacket,
  ScriptedBroker,
  startTestGateway,
} from "../../../support/mqtt_peer.ts";

const VERSIONS = [3, 4, 5] as const;

/** Collects the ends of sessions. */
function watchEnds() {
  const ends: DisconnectResult[] = [];
  let resolve: (() => void) | undefined;
  const hooks: MqttHooks = {
    disconnect: (_, result) => {
      ends.push(result);
      resolve?.();
    },
  };
  const ended = new Promise<void>((done) => {
    resolve = done;
  });
  return { ends, ended, hooks };
}

for (const version of VERSIONS) {
  Deno.test(`Session passes CONNECT, CONNACK and messages of version ${version} byte for byte`, async () => {
    const connect = connectPacket({
      version,
      username: "u",
      password: "p",
      will: { topic: "w", payload: "gone", qos: 1, retain: true },
      // Maximum Packet Size: below the gateway's own, it is left alone.
      properties: version === 5 ? [0x27, 0, 0, 0x10, 0] : [],
    });
    const connack = version === 5
      ? bytes(0x20, 8, 1, 0, 5, 0x27, 0, 0, 0x10, 0)
      : bytes(0x20, 2, version === 4 ? 1 : 0, 0);
    await using bench = await openBench({ version, connect, connack });
    assertEquals(bench.connect, connect);
    assertEquals(bench.connack, connack);
    const up = publishPacket({ version, topic: "a", payload: "up", qos: 2 });
    const down = publishPacket({ version, topic: "b", payload: "down" });
    await bench.client.send(up);
    await bench.broker.send(down);
    assertEquals(await bench.broker.expect(PacketType.PUBLISH), up);
    assertEquals(await bench.client.expect(PacketType.PUBLISH), down);
  });
}

Deno.test("Session keeps the bridge bit of a protocol level", async () => {
  const connect = connectPacket();
  connect[8]! |= 0x80;
  await using bench = await openBench({ connect });
  assertEquals(bench.connect, connect);
});

Deno.test("Session dials the broker only when the CONNECT was accepted", async () => {
  using listener = new ScriptedBroker();
  const asked: string[] = [];
  await using gateway = await startTestGateway(listener.url, {
    hooks: {
      authConnect: (_, { clientId, username, password }) => {
        asked.push(
          `${clientId} ${username} ${new TextDecoder().decode(password)}`,
        );
        return deny(0x86, "who are you?");
      },
    },
  });
  for (const version of VERSIONS) {
    using client = await connectPeer(gateway, version);
    await client.send(
      connectPacket({ version, username: "eve", password: "secret" }),
      // What follows a CONNECT that is refused is never looked at.
      publishPacket({ version, topic: "a" }),
    );
    const connack = await client.expect(PacketType.CONNACK);
    assertEquals(connack[3], version === 5 ? 0x86 : 4);
    assertEquals(await client.rest(), []);
  }
  assertEquals(asked, new Array(3).fill("tester eve secret"));
  const dialled = gateway.metrics().find(({ name }) =>
    name === "mproxy_mqtt_dials_total"
  );
  assertEquals(dialled!.samples, []);
});

Deno.test("Session closes a connection whose first packet is no CONNECT, without a word", async () => {
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url);
  using client = await connectPeer(gateway, 4);
  await client.send(publishPacket({ topic: "a" }));
  assertEquals(await client.rest(), []);
});

Deno.test("Session closes a connection that sends no CONNECT in time", async () => {
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, {
    connectTimeoutMs: 50,
  });
  using client = await connectPeer(gateway, 4);
  await client.send(connectPacket().subarray(0, 5));
  assertEquals(await client.rest(), []);
});

Deno.test("Session takes the time of the TLS handshake off that for the CONNECT", async () => {
  const ends: DisconnectResult[] = [];
  // Longer than the test waits: only what the handshake took ends it.
  const settings = { connectTimeoutMs: 3_600_000 };
  await using bench = await openMemorySession({
    settings,
    handshakeMs: 3_600_000,
    connect: bytes(),
    hooks: { disconnect: (_, end) => void ends.push(end) },
  });
  await soon(bench.over, "the end");
  assertEquals([bench.client.closed, bench.broker.writes], [true, []]);
  await using other = await openMemorySession({ settings, handshakeMs: 1000 });
  assertEquals(other.session.isOver, false);
});

Deno.test("Session answers with CONNACK 3 or 0x88 where no broker can be reached", async () => {
  const listener = new ScriptedBroker();
  const { url } = listener;
  listener[Symbol.dispose]();
  await using gateway = await startTestGateway(url);
  for (const version of VERSIONS) {
    using client = await connectPeer(gateway, version);
    await client.send(connectPacket({ version }));
    const connack = await client.expect(PacketType.CONNACK);
    assertEquals(connack[3], version === 5 ? 0x88 : 3);
    assertEquals(await client.rest(), []);
  }
});

Deno.test("Session answers with CONNACK 3 or 0x88 where the broker closes before its own", async () => {
  for (const version of VERSIONS) {
    using listener = new ScriptedBroker();
    await using gateway = await startTestGateway(listener.url);
    using client = await connectPeer(gateway, version);
    await client.send(connectPacket({ version }));
    using broker = await listener.accept();
    await broker.expect(PacketType.CONNECT);
    broker[Symbol.dispose]();
    const connack = await client.expect(PacketType.CONNACK);
    assertEquals(connack[3], version === 5 ? 0x88 : 3);
    assertEquals(await client.rest(), []);
  }
});

Deno.test("Session holds what a client sends before the CONNACK, but for AUTH", async () => {
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url);
  using client = await connectPeer(gateway, 5);
  const method = [0x15, ...field("SCRAM")];
  const auth = packet(0xf0, [0x18, method.length, ...method]);
  const publish = publishPacket({ version: 5, topic: "a", payload: "early" });
  await client.send(
    connectPacket({ version: 5, properties: method }),
    auth,
    publish,
  );
  using broker = await listener.accept();
  await broker.expect(PacketType.CONNECT);
  assertEquals(await broker.expect(PacketType.AUTH), auth);
  const challenge = packet(0xf0, [0x18, method.length, ...method]);
  await broker.send(challenge);
  assertEquals(await client.expect(PacketType.AUTH), challenge);
  // Nothing else has come to the broker: the next thing is behind its CONNACK.
  await broker.send([0x20, 3, 0, 0, 0]);
  await client.expect(PacketType.CONNACK);
  assertEquals(await broker.expect(PacketType.PUBLISH), publish);
});

Deno.test("Session refuses a CONNECT beyond its own limit from the header alone, and dials nobody", async () => {
  for (const version of VERSIONS) {
    using listener = new ScriptedBroker();
    await using gateway = await startTestGateway(listener.url, {
      maxConnectBytes: 1000,
    });
    using client = await connectPeer(gateway, version);
    const connect = connectPacket({
      version,
      username: "u",
      password: "p".repeat(1000),
    });
    // What tells a version is there, and most of the packet is still to come.
    await client.send(connect.subarray(0, 30));
    const answers = await client.rest();
    assertEquals(
      answers.map((answer) => [answer[0], answer[3]]),
      version === 5 ? [[0x20, 0x95]] : [],
    );
    const dialled = gateway.metrics().find(({ name }) =>
      name === "mproxy_mqtt_dials_total"
    );
    assertEquals(dialled!.samples, []);
  }
});

Deno.test("Session holds packets up to the CONNECT's limit before the CONNACK, and up to the packets' own behind it", async () => {
  const message = publishPacket({ topic: "a", payload: "x".repeat(2000) });
  {
    using listener = new ScriptedBroker();
    await using gateway = await startTestGateway(listener.url, {
      maxConnectBytes: 1000,
    });
    using client = await connectPeer(gateway, 4);
    await client.send(connectPacket(), message.subarray(0, 3));
    assertEquals(await client.rest(), []);
  }
  await using bench = await openBench({ maxConnectBytes: 1000 });
  await bench.client.send(message);
  assertEquals(await bench.broker.expect(PacketType.PUBLISH), message);
});

Deno.test("Session reads one chunk of a client, and no more, while the broker's CONNACK is not there", async () => {
  await using bench = await openMemorySession({ connack: bytes() });
  const { client, broker } = bench;
  const readBefore = client.reads;
  const chunk = join(
    ...new Array(20).fill(publishPacket({ topic: "a", payload: "x" })),
  );
  for (let i = 0; i < 100; i++) client.push(chunk);
  await settled();
  assertEquals(client.reads - readBefore, 1);
  assertEquals([client.isRead, broker.writes], [false, []]);
  broker.push(bytes(0x20, 2, 0, 0));
  await settled();
  assertEquals(client.reads - readBefore, 100);
  assertEquals(join(...broker.writes).length, 100 * chunk.length);
});

Deno.test("Session throws away what came before a CONNACK that refuses", async () => {
  for (const version of VERSIONS) {
    using listener = new ScriptedBroker();
    await using gateway = await startTestGateway(listener.url);
    using client = await connectPeer(gateway, version);
    await client.send(
      connectPacket({ version }),
      publishPacket({ version, topic: "a" }),
    );
    using broker = await listener.accept();
    await broker.expect(PacketType.CONNECT);
    const refusal = version === 5
      ? bytes(0x20, 3, 0, 0x87, 0)
      : bytes(0x20, 2, 0, 5);
    await broker.send(refusal);
    assertEquals(await client.rest(), [refusal]);
    assertEquals(await broker.rest(), []);
  }
});

Deno.test("Session passes a new authentication both ways, and refuses one by another method", async () => {
  const method = [0x15, ...field("SCRAM")];
  const data = (text: string) => [0x16, ...field(text)];
  const auth = (code: number, ...properties: number[]) =>
    packet(0xf0, [code, properties.length, ...properties]);
  await using bench = await openBench({
    version: 5,
    connect: connectPacket({ version: 5, properties: method }),
  });
  const steps: [up: boolean, sent: Uint8Array][] = [
    [true, auth(0x19, ...method, ...data("first"))],
    [false, auth(0x18, ...method, ...data("challenge"))],
    [true, auth(0x18, ...method, ...data("answer"))],
    [false, auth(0, ...method, ...data("done"))],
  ];
  for (const [up, sent] of steps) {
    await (up ? bench.client : bench.broker).send(sent);
    const got = await (up ? bench.broker : bench.client).expect(
      PacketType.AUTH,
    );
    assertEquals(got, sent);
  }
  await bench.client.send(auth(0x19, 0x15, ...field("PLAIN")));
  const [disconnect] = await bench.client.rest();
  assertEquals([disconnect![0], disconnect![2]], [0xe0, 0x82]);
  assertEquals(await bench.broker.rest(), []);
});

Deno.test("Session refuses an AUTH where the CONNECT names no method", async () => {
  await using bench = await openBench({ version: 5 });
  const method = [0x15, ...field("SCRAM")];
  await bench.client.send(packet(0xf0, [0x19, method.length, ...method]));
  const [disconnect] = await bench.client.rest();
  assertEquals(disconnect!.subarray(0, 1), bytes(0xe0));
  assertEquals(disconnect![2], 0x82);
});

Deno.test("Session tells the `connect` hook when the broker has accepted, with the identifier that it gave", async () => {
  const connected: string[] = [];
  const { hooks, ended, ends } = watchEnds();
  const id = field("auto-7");
  const connack = packet(0x20, [0, 0, id.length + 1, 0x12, ...id]);
  {
    await using bench = await openBench({
      version: 5,
      connect: connectPacket({ version: 5, clientId: "" }),
      connack,
      hooks: {
        ...hooks,
        connect: (session, { sessionPresent }) => {
          connected.push(`${session.clientId} ${sessionPresent}`);
        },
      },
    });
    await bench.client.send([0xe0, 0]);
    await ended;
  }
  assertEquals(connected, ["auto-7 false"]);
  assertEquals(ends.map(({ reason }) => reason), ["client_disconnected"]);
});

Deno.test("Session does not tell the `connect` hook of a refusal", async () => {
  let connects = 0;
  const { hooks, ended, ends } = watchEnds();
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, {
    hooks: { ...hooks, connect: () => void connects++ },
  });
  using client = await connectPeer(gateway, 4);
  await client.send(connectPacket());
  using broker = await listener.accept();
  await broker.expect(PacketType.CONNECT);
  await broker.send([0x20, 2, 0, 5]);
  await ended;
  assertEquals(connects, 0);
  assertEquals(ends.map(({ reason, reasonCode }) => [reason, reasonCode]), [[
    "connect_refused",
    5,
  ]]);
});

// The will

Deno.test("Session passes a DISCONNECT before it closes the broker's side", async () => {
  for (const version of VERSIONS) {
    await using bench = await openBench({ version });
    const last = publishPacket({ version, topic: "a", payload: "last" });
    const disconnect = version === 5 ? bytes(0xe0, 1, 4) : bytes(0xe0, 0);
    await bench.client.send(
      last,
      disconnect,
      // Nothing may follow a DISCONNECT [MQTT-3.14.4-2].
    );
    assertEquals(await bench.broker.rest(), [last, disconnect]);
  }
});

Deno.test("Session passes nothing that follows a DISCONNECT", async () => {
  await using bench = await openBench();
  await bench.client.send([0xe0, 0], publishPacket({ topic: "a" }));
  assertEquals(await bench.broker.rest(), [bytes(0xe0, 0)]);
});

Deno.test("Session closes the broker's side without a DISCONNECT where the client is lost, and what it had sent arrives", async () => {
  const { hooks, ended, ends } = watchEnds();
  await using bench = await openBench({ hooks });
  const last = publishPacket({ topic: "a", payload: "last words" });
  await bench.client.send(last, [0x30, 9, 0]);
  bench.client[Symbol.dispose]();
  assertEquals(await bench.broker.rest(), [last]);
  await ended;
  assertEquals(ends.map(({ reason }) => reason), ["client_lost"]);
});

Deno.test("Session.end() publishes the will or discards it, and tells an MQTT 5 client why", async () => {
  for (const will of ["publish", "discard"] as const) {
    for (const version of VERSIONS) {
      let ended: MqttSession | undefined;
      await using bench = await openBench({
        version,
        hooks: { connect: (session) => void (ended = session) },
      });
      ended!.end({ will, reasonCode: 0x98, reason: "enough" });
      const toClient = await bench.client.rest();
      if (version === 5) {
        assertEquals([toClient[0]![0], toClient[0]![2]], [0xe0, 0x98]);
      } else assertEquals(toClient, []);
      assertEquals(
        await bench.broker.rest(),
        will === "discard" ? [bytes(0xe0, 0)] : [],
      );
    }
  }
});

Deno.test("Session passes a broker's DISCONNECT, without its Server Reference", async () => {
  const { hooks, ended, ends } = watchEnds();
  await using bench = await openBench({ version: 5, hooks });
  const reference = [0x1c, ...field("10.0.0.7")];
  const reason = [0x1f, ...field("taken over")];
  const last = publishPacket({ version: 5, topic: "b", payload: "last" });
  await bench.broker.send(
    last,
    packet(0xe0, [
      0x8e,
      reference.length + reason.length,
      ...reference,
      ...reason,
    ]),
  );
  bench.broker[Symbol.dispose]();
  assertEquals(await bench.client.rest(), [
    last,
    packet(0xe0, [0x8e, reason.length, ...reason]),
  ]);
  await ended;
  assertEquals(ends.map(({ reason, reasonCode }) => [reason, reasonCode]), [[
    "broker_disconnected",
    0x8e,
  ]]);
});

Deno.test("Session delivers what a broker sent before it closed", async () => {
  await using bench = await openBench();
  const messages = Array.from(
    { length: 50 },
    (_, i) => publishPacket({ topic: "b", payload: `message ${i}` }),
  );
  await bench.broker.send(...messages);
  bench.broker[Symbol.dispose]();
  assertEquals(await bench.client.rest(), messages);
});

// Protocol errors

Deno.test("Session answers a broken packet as its version says, and keeps what came before", async () => {
  for (const version of VERSIONS) {
    const { hooks, ended, ends } = watchEnds();
    await using bench = await openBench({ version, hooks });
    const good = publishPacket({ version, topic: "a", payload: "good" });
    await bench.client.send(good, [0xc0, 1, 0]);
    const answer = await bench.client.rest();
    if (version === 5) {
      assertEquals([answer[0]![0], answer[0]![2]], [0xe0, 0x81]);
    } else assertEquals(answer, []);
    assertEquals(await bench.broker.rest(), [good]);
    await ended;
    assertEquals(ends.map(({ reason }) => reason), ["client_protocol_error"]);
  }
});

Deno.test("Session ends where the broker breaks a rule, and the client gets none of it", async () => {
  for (const version of VERSIONS) {
    const { hooks, ended, ends } = watchEnds();
    await using bench = await openBench({ version, hooks });
    const good = publishPacket({ version, topic: "b", payload: "good" });
    await bench.broker.send(good, [0xd0, 1, 0]);
    assertEquals(await bench.client.rest(), [good]);
    await ended;
    assertEquals(ends.map(({ reason }) => reason), ["broker_protocol_error"]);
  }
});

Deno.test("Session refuses a packet beyond the limit from its header alone", async () => {
  for (const version of VERSIONS) {
    await using bench = await openBench({
      version,
      maxPacketBytes: 1000,
      connack: version === 5 ? bytes(0x20, 3, 0, 0, 0) : bytes(0x20, 2, 0, 0),
    });
    await bench.client.send([0x30, 0xff, 0xff, 0x7f]);
    const answer = await bench.client.rest();
    if (version === 5) {
      assertEquals([answer[0]![0], answer[0]![2]], [0xe0, 0x95]);
    } else assertEquals(answer, []);
    assertEquals(await bench.broker.rest(), []);
  }
});

Deno.test("Session tells an MQTT 5 client and its broker the gateway's own Maximum Packet Size", async () => {
  await using bench = await openBench({
    version: 5,
    connect: connectPacket({ version: 5 }),
    connack: bytes(0x20, 3, 0, 0, 0),
    maxPacketBytes: 0x1000,
  });
  assertEquals(bench.connack, bytes(0x20, 8, 0, 0, 5, 0x27, 0, 0, 0x10, 0));
  assertEquals(
    bench.connect,
    connectPacket({ version: 5, properties: [0x27, 0, 0, 0x10, 0] }),
  );
});

// Keep-alive

Deno.test("Session pings a broker for which the gateway has swallowed everything, and keeps the answer", async () => {
  await using bench = await openBench({
    connect: connectPacket({ keepAlive: 1 }),
    hooks: { authPublish: () => deny() },
  });
  let alive = true;
  const publishing = (async () => {
    while (alive) {
      await bench.client.send(publishPacket({ topic: "a", qos: 1 }));
      await bench.client.expect(PacketType.PUBACK);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  })();
  for (let i = 0; i < 2; i++) {
    assertEquals(await bench.broker.expect(PacketType.PINGREQ), bytes(0xc0, 0));
    await bench.broker.send([0xd0, 0]);
  }
  alive = false;
  await publishing;
  // The client's own PINGREQ goes through, and only its answer comes back.
  await bench.client.send([0xc0, 0]);
  await bench.broker.expect(PacketType.PINGREQ);
  await bench.broker.send([0xd0, 0], publishPacket({ topic: "b" }));
  await bench.client.expect(PacketType.PINGRESP);
  await bench.client.expect(PacketType.PUBLISH);
});

Deno.test("Session ends a client that is silent for 1.5 times its keep-alive, or the broker's", async () => {
  for (const version of VERSIONS) {
    const { hooks, ended, ends } = watchEnds();
    await using bench = await openBench({
      version,
      hooks,
      connect: connectPacket({ version, keepAlive: version === 5 ? 600 : 1 }),
      connack: version === 5
        // Server Keep Alive: 1 s.
        ? bytes(0x20, 6, 0, 0, 3, 0x13, 0, 1)
        : bytes(0x20, 2, 0, 0),
    });
    const answer = await bench.client.rest();
    if (version === 5) {
      assertEquals([answer[0]![0], answer[0]![2]], [0xe0, 0x8d]);
    } else assertEquals(answer, []);
    const toBroker = await bench.broker.rest();
    assertEquals(toBroker.some((sent) => sent[0] === 0xe0), false);
    await ended;
    assertEquals(ends.map(({ reason }) => reason), ["client_keep_alive"]);
  }
});

// The gateway

Deno.test("MqttGateway.drain() tells MQTT 5 clients that it shuts down, and ends all sessions", async () => {
  for (const version of VERSIONS) {
    const { hooks, ends } = watchEnds();
    const bench = await openBench({ version, hooks });
    const drained = bench.gateway.drain();
    const answer = await bench.client.rest();
    if (version === 5) {
      assertEquals([answer[0]![0], answer[0]![2]], [0xe0, 0x8b]);
    } else assertEquals(answer, []);
    bench.client[Symbol.dispose]();
    assertEquals(await bench.broker.rest(), []);
    bench.broker[Symbol.dispose]();
    await drained;
    await bench.gateway.finished;
    assertEquals(ends.map(({ reason }) => reason), ["drained"]);
    assertEquals(bench.gateway.stats().openSessions, 0);
    await bench[Symbol.asyncDispose]();
  }
});

Deno.test("MqttGateway.drain() refuses clients whose broker has not answered yet", async () => {
  for (const version of VERSIONS) {
    using listener = new ScriptedBroker();
    await using gateway = await startTestGateway(listener.url);
    using client = await connectPeer(gateway, version);
    await client.send(connectPacket({ version }));
    using broker = await listener.accept();
    await broker.expect(PacketType.CONNECT);
    const drained = gateway.drain();
    const connack = await client.expect(PacketType.CONNACK);
    assertEquals(connack[3], version === 5 ? 0x88 : 3);
    client[Symbol.dispose]();
    broker[Symbol.dispose]();
    await drained;
  }
});

Deno.test("Session keeps client and broker alive while a limit pauses reading", async () => {
  const { hooks, ends } = watchEnds();
  const policy = new Policy(
    parsePolicy(
      "[limits]\nmessages_per_second = 0.02",
      "policy.toml",
      () => "",
    ),
  );
  await using bench = await openBench({
    hooks,
    policy,
    connect: connectPacket({ keepAlive: 1 }),
  });
  const message = publishPacket({ topic: "a" });
  await bench.client.send(join(message, message));
  await bench.broker.expect(PacketType.PUBLISH);
  // The second message waits for most of a minute; the client is not silent,
  // and the gateway pings the broker.
  for (let i = 0; i < 2; i++) {
    await bench.broker.expect(PacketType.PINGREQ);
    await bench.broker.send([0xd0, 0]);
  }
  assertEquals(ends, []);
});

Deno.test("startMqttGateway() turns connections away beyond the limit, and counts them", async () => {
  await using bench = await openBench({ maxConnections: 1 });
  using second = await connectPeer(bench.gateway, 4);
  assertEquals(await second.rest(), []);
  const metric = bench.gateway.metrics().find(({ name }) =>
    name === "mproxy_mqtt_turned_away_total"
  );
  assertEquals(metric!.samples, [{
    labels: { reason: "max_connections" },
    value: 1,
  }]);
});

// Back-pressure

Deno.test("Session passes packets whole however they are cut on their way", async () => {
  await using bench = await openBench();
  const all = join(
    ...Array.from(
      { length: 300 },
      (_, i) =>
        publishPacket({ topic: `t/${i}`, payload: "y".repeat(i * 37 % 3000) }),
    ),
    [0xe0, 0],
  );
  const writing = (async () => {
    let size = 1;
    for (let at = 0; at < all.length; at += size) {
      size = size * 7 % 9001;
      await bench.client.send(all.subarray(at, at + size));
    }
  })();
  const received = await bench.broker.rest();
  await writing;
  assertEquals(join(...received).length, all.length);
  assertEquals(join(...received), all);
});
