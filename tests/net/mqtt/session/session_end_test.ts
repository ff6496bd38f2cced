import { assertEquals, assertMatch } from "@std/assert";
import { Log } from "../../../../net/observe/log.ts";
import { CertificateAuthority } from "../../../support/certificate_authority.ts";
import { soon } from "../../../support/deadline.ts";
import {
  bytes,
  connectPacket,
  connectPeer,
  openBench,
  publishPacket,
  ScriptedBroker,
  startTestGateway,
} from "../../../support/mqtt_peer.ts";
import { needsProgram, testUnless } from "../../../support/skip.ts";

Deno.test("what the broker answers to an MQTT 5 DISCONNECT reaches the client", async () => {
  const ends: string[] = [];
  await using bench = await openBench({
    version: 5,
    hooks: { disconnect: (_session, { reason }) => void ends.push(reason) },
  });
  // Session Expiry Interval 1, where the CONNECT had none (3.14.2.2.2).
  const disconnect = bytes(0xe0, 7, 0, 5, 0x11, 0, 0, 0, 1);
  // What follows a DISCONNECT goes nowhere [MQTT-3.14.4-2].
  await bench.client.send(
    disconnect,
    publishPacket({ version: 5, topic: "late" }),
  );
  assertEquals(await bench.broker.expect(14), disconnect);
  await bench.broker.send([0xe0, 2, 0x82, 0]);
  assertEquals(await bench.client.expect(14), bytes(0xe0, 2, 0x82, 0));
  bench.broker.connection.close();
  assertEquals(await soon(bench.client.rest(), "the end"), []);
  await bench.gateway.drain();
  assertEquals(ends, ["client_disconnected"]);
});

Deno.test("a session whose client sent DISCONNECT ends after the linger time, if neither end closes", async () => {
  await using bench = await openBench({ version: 5, lingerMs: 300 });
  await bench.client.send(bytes(0xe0, 0));
  await bench.broker.expect(14);
  assertEquals(await soon(bench.client.rest(), "the end"), []);
  assertEquals(await soon(bench.broker.rest(), "the broker's end"), []);
});

Deno.test("a client that takes no packet as large as a CONNACK is sent none", async () => {
  const lines: string[] = [];
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, {
    log: new Log({ write: (line) => void lines.push(line) }),
  });
  using client = await connectPeer(gateway, 5);
  // [MQTT-3.1.2-24], with a Maximum Packet Size of 2.
  await client.send(connectPacket({
    version: 5,
    properties: [0x27, 0, 0, 0, 2],
  }));
  assertEquals(await soon(client.rest(), "the end"), []);
  assertMatch(lines.join("\n"), /Maximum Packet Size of 2/);
});

Deno.test("a broker's CONNACK that is too large for the client is not passed", async () => {
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url);
  using client = await connectPeer(gateway, 5);
  await client.send(connectPacket({
    version: 5,
    properties: [0x27, 0, 0, 0, 6],
  }));
  using broker = await listener.accept();
  await broker.expect(1);
  // Topic Alias Maximum 10: 8 bytes.
  await broker.send([0x20, 6, 0, 0, 3, 0x22, 0, 10]);
  assertEquals(await soon(client.rest(), "the end"), []);
});

Deno.test("a packet of type 0, and any whose first byte is wrong, is not waited for", async () => {
  const lines: string[] = [];
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, {
    log: new Log({ write: (line) => void lines.push(line) }),
    connectTimeoutMs: 3_600_000,
  });
  for (const first of [0x00, 0x0f, 0x11, 0x20, 0x30, 0xc0, 0xf0]) {
    using client = await connectPeer(gateway, 4);
    await client.send([first]);
    assertEquals(await soon(client.rest(), `the end after ${first}`), []);
  }
  await using bench = await openBench();
  await bench.client.send([0x00]);
  assertEquals(await soon(bench.client.rest(), "the end"), []);
  assertMatch(lines.join("\n"), /warn client broke the protocol .*remote=/);
});

Deno.test("MQTT 3.1 clients may have long identifiers, and a connect flag that it does not use", async () => {
  const clientId = "x".repeat(100);
  const connect = connectPacket({ version: 3, clientId });
  connect[11]! |= 1;
  await using bench = await openBench({ version: 3, connect });
  assertEquals(bench.connect, connect);
});

Deno.test("a client that sends a large packet for longer than its keep-alive stays, and one that drips ends", async () => {
  for (const drips of [false, true]) {
    await using bench = await openBench({
      connect: connectPacket({ keepAlive: 1 }),
    });
    const message = publishPacket({ topic: "t", payload: "x".repeat(20_000) });
    const piece = drips ? 1 : 1000;
    let ended = false;
    const end = bench.client.next().then((packet) => ended = !packet);
    let at = 0;
    // A piece in 200 ms: the whole takes 4 s, and 1.5 times the keep-alive are 1.5 s.
    for (; at < message.length && !ended; at += piece) {
      await bench.client.send(message.subarray(at, at + piece)).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    assertEquals([drips, at >= message.length], [drips, !drips]);
    if (!drips) {
      // PINGREQs of the gateway keep the broker's side alive meanwhile.
      let packet: Uint8Array | undefined;
      do packet = await bench.broker.next(); while (packet?.[0] === 0xc0);
      assertEquals(packet?.length, message.length);
    }
    bench.client[Symbol.dispose]();
    await end.catch(() => {});
  }
});

testUnless(
  needsProgram("openssl"),
  "draining closes connections whose TLS handshake is under way",
  async () => {
    await using authority = await CertificateAuthority.create();
    const { cert, key } = await authority.sign("IP:127.0.0.1");
    await using gateway = await startTestGateway("mqtt://127.0.0.1:1", {
      connectTimeoutMs: 3_600_000,
      listeners: [{
        url: "mqtts://127.0.0.1:0",
        tls: {
          cert: await Deno.readTextFile(cert),
          key: await Deno.readTextFile(key),
        },
      }],
    });
    using silent = await connectPeer(gateway, 4);
    const arrived = () =>
      gateway.metrics().find(({ name }) =>
        name === "mproxy_listener_connections_unproved"
      )!.samples[0]!.value;
    while (arrived() === 0) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await soon(gateway.drain(), "the end of the gateway");
    assertEquals(await soon(silent.rest(), "the end"), []);
  },
);
