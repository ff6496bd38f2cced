/** Each option of the gateway's command, by what a client or a broker sees of it. */
import { assertEquals, assertMatch } from "@std/assert";
import { once } from "node:events";
import { connect as connectTls } from "node:tls";
import { WebSocket as WebSocketClient } from "ws";
import { CertificateAuthority } from "../support/certificate_authority.ts";
import { soon } from "../support/deadline.ts";
import { TestFolder } from "../support/folder.ts";
import { startMosquitto } from "../support/mosquitto.ts";
import {
  bytes,
  type ConnectOptions,
  connectPacket,
  field,
  type MqttPeer,
  packet,
  publishPacket,
  ScriptedBroker,
} from "../support/mqtt_peer.ts";
import { connectTo, portsOf } from "../support/mqtt_role.ts";
import { startRole } from "../support/process.ts";
import { needsProgram, testUnless } from "../support/skip.ts";

const HOOKS = `export default {
  authConnect: ({ clientId }) =>
    clientId === "hang" ? new Promise(() => {}) : undefined,
  authPublish(_, { topic }) {
    if (topic === "no") throw new Error("not here");
  },
};
`;

/** The broker's end of a session behind a header of the PROXY protocol, its CONNECT read. */
async function acceptBehindHeader(listener: ScriptedBroker): Promise<MqttPeer> {
  const broker = await listener.accept();
  const header = new Uint8Array(28);
  for (let length = 0; length < header.length;) {
    length += await broker.connection.read(header.subarray(length)) ?? 0;
  }
  assertEquals(header.subarray(0, 5), bytes(13, 10, 13, 10, 0));
  assertEquals(header[12], 0x21);
  await broker.expect(1);
  return broker;
}

Deno.test("mproxy-mqtt holds clients and brokers to what its options say", async () => {
  await using folder = await TestFolder.create();
  await Deno.writeTextFile(`${folder.path}/hooks.ts`, HOOKS);
  using listener = new ScriptedBroker();
  await using role = startRole("mqtt", [
    ...["--listen", "mqtt://127.0.0.1:0", "--target", listener.url],
    ...["--listen", "ws://127.0.0.1:0/mqtt", "--max-frame-size", "128"],
    ...["--ws-origin", "https://good.example"],
    ...["--hooks", `${folder.path}/hooks.ts`, "--on-deny", "close"],
    ...["--connect-timeout", "0.5", "--hook-timeout", "0.2"],
    ...["--broker-timeout", "0.5", "--max-client-id-length31", "5"],
    ...["--max-packet-size", "200", "--max-connect-size", "150"],
    ...["--pass-server-reference", "--proxy-protocol"],
  ]);
  const [port, webSocketPort] = await portsOf(role, 2) as [number, number];
  const clientOf = (options: ConnectOptions = {}) =>
    connectTo(port, { clientId: "five5", ...options });

  // --connect-timeout
  using silent = await Deno.connect({ hostname: "127.0.0.1", port });
  assertEquals(await soon(silent.read(new Uint8Array(1)), "its end"), null);
  {
    // --broker-timeout
    using client = await clientOf();
    using _broker = await acceptBehindHeader(listener);
    assertEquals(await client.expect(2), bytes(0x20, 2, 0, 3));
  }
  {
    // --hook-timeout
    using client = await clientOf({ clientId: "hang" });
    assertEquals(await client.expect(2), bytes(0x20, 2, 0, 3));
  }
  {
    // --max-client-id-length31
    using client = await clientOf({ version: 3, clientId: "six666" });
    assertEquals(await client.expect(2), bytes(0x20, 2, 0, 2));
  }
  {
    // --max-connect-size
    using client = await clientOf({ username: "u".repeat(150) });
    assertEquals(await client.rest(), []);
  }
  for (const denied of [true, false]) {
    // --on-deny, --max-packet-size
    using client = await clientOf();
    using broker = await acceptBehindHeader(listener);
    await broker.send([0x20, 2, 0, 0]);
    await client.expect(2);
    const good = publishPacket({ topic: "a", payload: "x".repeat(190) });
    await client.send(good);
    await broker.expect(3);
    await client.send(
      denied
        ? publishPacket({ topic: "no", qos: 1 })
        : publishPacket({ topic: "a", payload: "x".repeat(200) }),
    );
    assertEquals(await client.rest(), []);
    assertEquals(await broker.rest(), []);
  }
  {
    // --pass-server-reference
    using client = await clientOf({ version: 5 });
    using broker = await acceptBehindHeader(listener);
    const reference = [0x1c, ...field("other:1883")];
    const refusal = packet(0x20, [0, 0x9c, reference.length, ...reference]);
    await broker.send(refusal);
    assertEquals(await client.expect(2), refusal);
  }
  // --ws-origin
  const url = `ws://127.0.0.1:${webSocketPort}/mqtt`;
  const stranger = new WebSocketClient(url, "mqtt", {
    origin: "https://evil.example",
  });
  const [error] = await once(stranger, "error") as [Error];
  assertMatch(error.message, /403/);
  // --max-frame-size
  const friend = new WebSocketClient(url, "mqtt", {
    origin: "https://good.example",
  });
  await once(friend, "open");
  const closed = once(friend, "close");
  friend.send(connectPacket({ username: "u".repeat(130) }));
  assertEquals((await closed)[0], 1009);
  assertEquals((await role.stop()).code, 0);
});

Deno.test("mproxy-mqtt takes so many connections, and so many new ones in a second, as its options say", async () => {
  using listener = new ScriptedBroker();
  const cases = [["--max-connections", "2"], ["--connect-rate", "2"]];
  for (const limit of cases) {
    await using role = startRole("mqtt", [
      ...["--listen", "mqtt://127.0.0.1:0", "--target", listener.url],
      ...["--metrics-addr", "127.0.0.1:0", ...limit],
    ]);
    const [port] = await portsOf(role, 1) as [number];
    const clients: MqttPeer[] = [];
    for (let i = 0; i < 2; i++) {
      clients.push(await connectTo(port));
      clients.push(await listener.accept());
    }
    using third = await Deno.connect({ hostname: "127.0.0.1", port });
    const end = third.read(new Uint8Array(1)).catch(() => null);
    assertEquals(await soon(end, "the third's end"), null);
    const [, url] = await role.line(/metrics door is open url=(\S+)/);
    const reason = limit[0]!.slice(2).replace("-", "_");
    assertMatch(
      await (await fetch(url!)).text(),
      new RegExp(`mproxy_mqtt_turned_away_total{reason="${reason}"} 1`),
    );
    for (const client of clients) client[Symbol.dispose]();
    await role.stop();
  }
});

testUnless(
  needsProgram("mosquitto", "openssl"),
  "mproxy-mqtt takes certificates for listeners and brokers from its options, and names clients by theirs",
  async () => {
    await using authority = await CertificateAuthority.create();
    await using folder = await TestFolder.create();
    const { cert: ca } = authority;
    const one = await authority.issue("/CN=one", "IP:127.0.0.1");
    const two = await authority.issue("/CN=two", "IP:127.0.0.1");
    const broker = await authority.sign("DNS:broker.test");
    const gateway = await authority.sign("DNS:gateway.test");
    const device = await authority.issue("/O=Acme/CN=device-7", "DNS:d");
    await using mosquitto = await startMosquitto({ tls: { ...broker, ca } });
    const policy = `${folder.path}/policy.toml`;
    await Deno.writeTextFile(
      policy,
      `[auth]\ncertificate = "common_name"\nanonymous = true\n` +
        `[[acl.rules]]\neffect = "allow"\ntopics = ["d/%cn/%u/%c"]\n`,
    );
    const parameters = new URLSearchParams({
      ...two,
      "client-ca": ca,
      "client-auth": "required",
    });
    const target = `mqtts://127.0.0.1:${mosquitto.tlsPort}`;
    const listen = [
      ...["--listen", "mqtts://127.0.0.1:0", "--cert", one.cert],
      ...["--key", one.key, "--client-ca", ca, "--client-auth", "optional"],
      ...["--listen", `mqtts://127.0.0.1:0?${parameters}`],
      ...["--policy", policy, "--target", target],
    ];
    const trust = { ca: await Deno.readTextFile(ca) };
    const identity = {
      ...trust,
      cert: await Deno.readTextFile(device.cert),
      key: await Deno.readTextFile(device.key),
    };
    const mine = ["--target-cert", gateway.cert, "--target-key", gateway.key];
    const ways = [
      [...mine, "--target-ca", ca, "--target-server-name", "broker.test"],
      [...mine, "--target-insecure"],
    ];
    for (const way of ways) {
      await using role = startRole("mqtt", [
        ...[...listen, ...way, "--audit", "-", "--audit-messages"],
      ]);
      const [first, second] = await portsOf(role, 2) as [number, number];
      const cases: [number, typeof trust, string | undefined][] = [
        [first, trust, "one"],
        [first, identity, "one"],
        [second, identity, "two"],
        [second, trust, undefined],
      ];
      for (const [port, options, name] of cases) {
        assertEquals(
          [port === first, await publishOnce(port, options)],
          [port === first, name && [name, options === identity]],
        );
      }
      const { code, stdout } = await role.stop();
      assertEquals(code, 0);
      const text = new TextDecoder().decode(stdout);
      const events = text.trim().split("\n").map((line) => JSON.parse(line));
      const named = events.filter(({ event }) => event === "publish");
      assertEquals(
        named.map(({ username, topic }) => [username, topic]),
        [1, 2].map(() => ["device-7", "d/device-7/device-7/tester"]),
      );
      // Payloads are written only where they are asked for.
      assertEquals(text.includes("reading"), false);
    }
  },
);

/**
 * Connects over TLS and publishes; the name that the listener showed and
 * whether the message was taken, or undefined where it let nobody in.
 */
function publishOnce(
  port: number,
  options: object,
): Promise<[name: string, taken: boolean] | undefined> {
  return new Promise((resolve) => {
    const socket = connectTls({ host: "127.0.0.1", port, ...options });
    const received: number[] = [];
    let name = "";
    socket.on("error", () => resolve(undefined));
    socket.on("close", () => resolve(undefined));
    socket.on("secureConnect", () => {
      name = String(socket.getPeerCertificate().subject.CN);
      socket.write(connectPacket({ version: 5, username: "claimed" }));
      socket.write(publishPacket({
        version: 5,
        topic: "d/device-7/device-7/tester",
        payload: "reading",
        qos: 1,
        id: 9,
      }));
    });
    socket.on("data", (part: Uint8Array) => {
      received.push(...part);
      // Behind the CONNACK, the PUBACK: 0x10 where nobody has subscribed.
      const puback = received.slice(2 + (received[1] ?? 0));
      if (puback.length < 4 || puback.length < 2 + puback[1]!) return;
      resolve([name, (puback[4] ?? 0) < 0x80]);
      socket.destroy();
    });
  });
}
