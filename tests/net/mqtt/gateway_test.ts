import { assertEquals, assertRejects } from "@std/assert";
import { once } from "node:events";
import { connect as connectTls } from "node:tls";
import mqtt from "mqtt";
import { WebSocket as WebSocketClient, WebSocketServer } from "ws";
import { OperationError, UsageError } from "../../../net/errors.ts";
import type { MqttGateway } from "../../../net/mqtt/gateway.ts";
import { startMqttGateway } from "../../../net/mqtt/gateway.ts";
import type { MqttSession } from "../../../net/mqtt/hooks/hooks.ts";
import { parseEndpoint } from "../../../net/mqtt/transport/endpoint.ts";
import { dial } from "../../../net/mqtt/transport/dial.ts";
import { BufferPool } from "../../../net/mqtt/session/buffer_pool.ts";
import { formatAddress } from "../../../net/address.ts";
import { freePort, portAnswers } from "../../../bench/harness/processes.ts";
import { TestFolder } from "../../support/folder.ts";
import { CertificateAuthority } from "../../support/certificate_authority.ts";
import {
  mosquittoPub,
  startMosquitto,
  subscriberOf,
} from "../../support/mosquitto.ts";
import {
  bytes,
  connectPacket,
  connectPeer,
  join,
  portOf,
  publishPacket,
  ScriptedBroker,
  startTestGateway,
  subscribeTo,
} from "../../support/mqtt_peer.ts";
import { soon } from "../../support/deadline.ts";
import { startPeer } from "../../support/process.ts";
import { needsProgram, testUnless } from "../../support/skip.ts";

const noMosquitto = needsProgram("mosquitto", "mosquitto_pub", "openssl");

const read = (file: string) => Deno.readTextFileSync(file);

/** Connects the npm client, sends one message of each QoS to itself, and says goodbye. */
async function roundTrip(
  url: string,
  version: 3 | 4 | 5,
  options: Partial<mqtt.IClientOptions> = {},
): Promise<string[]> {
  const client = await mqtt.connectAsync(url, {
    protocolVersion: version,
    ...version === 3 ? { protocolId: "MQIsdp" } : {},
    clientId: `npm-${version}`,
    reconnectPeriod: 0,
    connectTimeout: 5000,
    ...options,
  } as mqtt.IClientOptions, false);
  const received: string[] = [];
  const three = Promise.withResolvers<void>();
  client.on("message", (topic, payload, { qos }) => {
    received.push(`${topic} ${payload} ${qos}`);
    if (received.length === 3) three.resolve();
  });
  await client.subscribeAsync("round/#", { qos: 2 });
  for (const qos of [0, 1, 2] as const) {
    await client.publishAsync(`round/${qos}`, `v${version}`, { qos });
  }
  await three.promise;
  await client.endAsync();
  return received.sort();
}

const expected = (version: number) =>
  [0, 1, 2].map((qos) => `round/${qos} v${version} ${qos}`);

testUnless(
  noMosquitto,
  "startMqttGateway() serves the npm client in versions 3.1, 3.1.1 and 5 over TCP, TLS, mTLS, WebSocket and WebSocket over TLS",
  async () => {
    await using authority = await CertificateAuthority.create();
    const server = await authority.sign("DNS:localhost", "IP:127.0.0.1");
    const device = await authority.issue("/O=Acme/CN=device-7", "DNS:device-7");
    const tls = { cert: read(server.cert), key: read(server.key) };
    const clientCa = read(authority.cert);
    await using mosquitto = await startMosquitto();
    const seen = new Map<string, MqttSession>();
    await using gateway = await startTestGateway(mosquitto.url, {
      listeners: [
        { url: "mqtt://127.0.0.1:0" },
        { url: "mqtts://127.0.0.1:0", tls },
        { url: "mqtts://127.0.0.1:0", tls: { ...tls, clientCa } },
        { url: "ws://127.0.0.1:0/mqtt" },
        { url: "wss://127.0.0.1:0/mqtt", tls },
      ],
      hooks: {
        connect: (session) =>
          void seen.set(`${session.listener} ${session.version}`, session),
      },
    });
    const trust = { ca: clientCa };
    const identity = {
      ...trust,
      cert: read(device.cert),
      key: read(device.key),
    };
    const credentials = [{}, trust, identity, {}, trust];
    for (const [i, url] of gateway.urls.entries()) {
      for (const version of [3, 4, 5] as const) {
        assertEquals(
          await roundTrip(url, version, credentials[i]),
          expected(version),
        );
        const session = seen.get(`${url} ${version}`)!;
        assertEquals(
          session.certificate?.commonName,
          i === 2 ? "device-7" : undefined,
        );
        assertEquals(
          session.certificate?.subject,
          i === 2 ? "CN=device-7,O=Acme" : undefined,
        );
      }
    }
    const connections = gateway.metrics().find(({ name }) =>
      name === "mproxy_mqtt_connections_total"
    )!;
    assertEquals(connections.samples.length, 15);
    assertEquals(connections.samples.every(({ value }) => value === 1), true);
  },
);

testUnless(
  noMosquitto,
  "startMqttGateway() turns away a client without a certificate, or lets it in where that is optional",
  async () => {
    await using authority = await CertificateAuthority.create();
    const server = await authority.sign("DNS:localhost", "IP:127.0.0.1");
    const tls = {
      cert: read(server.cert),
      key: read(server.key),
      clientCa: read(authority.cert),
    };
    await using other = await CertificateAuthority.create();
    const stranger = await other.sign("DNS:stranger");
    await using mosquitto = await startMosquitto();
    const names: (string | undefined)[] = [];
    await using gateway = await startTestGateway(mosquitto.url, {
      listeners: [
        { url: "mqtts://127.0.0.1:0", tls },
        { url: "mqtts://127.0.0.1:0", tls: { ...tls, clientAuth: "optional" } },
      ],
      hooks: {
        connect: ({ certificate }) => void names.push(certificate?.commonName),
      },
    });
    const [required, optional] = gateway.urls as [string, string];
    const trust = { ca: tls.clientCa };
    const strange = {
      ...trust,
      cert: read(stranger.cert),
      key: read(stranger.key),
    };
    await assertRejects(() => roundTrip(required, 4, trust));
    await assertRejects(() => roundTrip(required, 4, strange));
    assertEquals(await roundTrip(optional, 4, trust), expected(4));
    // A certificate that nobody vouches for is none.
    assertEquals(await roundTrip(optional, 5, strange), expected(5));
    assertEquals(names, [undefined, undefined]);
  },
);

testUnless(
  needsProgram("openssl"),
  "startMqttGateway() counts a connection from its arrival on, also while its TLS handshake is under way",
  async () => {
    await using authority = await CertificateAuthority.create();
    const { cert, key } = await authority.sign("IP:127.0.0.1", "IP:::1");
    const tls = { cert: read(cert), key: read(key) };
    for (const host of ["127.0.0.1", "[::1]"]) {
      using listener = new ScriptedBroker();
      await using gateway = await startTestGateway(listener.url, {
        listeners: [{ url: `mqtts://${host}:0`, tls }],
        maxConnections: 1,
        connectTimeoutMs: 60_000,
      });
      const port = portOf(gateway.urls[0]!);
      const hostname = host.replace(/[[\]]/g, "");
      const rejected = () =>
        gateway.metrics().find(({ name }) =>
          name === "mproxy_listener_connections_rejected_total"
        )!.samples.filter(({ value }) => value > 0)
          .map(({ labels, value }) => `${labels!.reason} ${value}`);
      {
        // It never says a word of its handshake.
        using silent = await Deno.connect({ hostname, port });
        using _late = await Deno.connect({ hostname, port });
        const end = silent.read(new Uint8Array(1)).catch(() => null);
        assertEquals(await soon(end, "the end of the silent one"), null);
        assertEquals(rejected(), ["displaced 1"]);
      }
      // When it is gone, there is room for another one.
      for (;;) {
        try {
          const client = connectTls({
            host: hostname,
            port,
            ca: read(authority.cert),
          });
          await once(client, "secureConnect");
          client.write(connectPacket());
          using broker = await listener.accept();
          await broker.expect(1);
          client.destroy();
          break;
        } catch {
          // The gateway has not seen it go yet.
        }
      }
    }
  },
);

testUnless(
  noMosquitto,
  "startMqttGateway() reaches brokers over TCP, TLS, mTLS, WebSocket and WebSocket over TLS, from TCP and WebSocket",
  async () => {
    await using authority = await CertificateAuthority.create();
    const { cert, key } = await authority.sign("DNS:localhost", "IP:127.0.0.1");
    const own = await authority.sign("DNS:gateway");
    const { cert: ca } = authority;
    await using mosquitto = await startMosquitto({
      webSocket: true,
      tls: { cert, key },
    });
    await using strict = await startMosquitto({ tls: { cert, key, ca } });
    const certificate = { cert: read(own.cert), key: read(own.key) };
    const roots = read(ca);
    const targets: [string, object | undefined][] = [
      [mosquitto.url, undefined],
      [`mqtts://localhost:${mosquitto.tlsPort}`, { ca: roots }],
      [`mqtts://127.0.0.1:${mosquitto.tlsPort}`, {
        ca: roots,
        serverName: "localhost",
      }],
      [`mqtts://127.0.0.1:${mosquitto.tlsPort}`, { verify: false }],
      [`mqtts://localhost:${strict.tlsPort}`, { ca: roots, certificate }],
      [`ws://127.0.0.1:${mosquitto.webSocketPort}/mqtt`, undefined],
      [`wss://localhost:${mosquitto.secureWebSocketPort}/mqtt`, { ca: roots }],
    ];
    for (const [target, targetTls] of targets) {
      await using gateway = await startTestGateway(target, {
        listeners: [{ url: "mqtt://127.0.0.1:0" }, { url: "ws://127.0.0.1:0" }],
        targetTls,
      });
      assertEquals(await gateway.ready(), true);
      for (const url of gateway.urls) {
        assertEquals(await roundTrip(url, 5), expected(5));
      }
    }
  },
);

testUnless(
  noMosquitto,
  "startMqttGateway() trusts no broker whose certificate it cannot check",
  async () => {
    await using authority = await CertificateAuthority.create();
    const { cert, key } = await authority.sign("DNS:localhost", "IP:127.0.0.1");
    await using mosquitto = await startMosquitto({ tls: { cert, key } });
    const target = `mqtts://localhost:${mosquitto.tlsPort}`;
    const cases = [
      {},
      { ca: read(authority.cert), serverName: "elsewhere.example" },
    ];
    for (const targetTls of cases) {
      await using gateway = await startTestGateway(target, { targetTls });
      using client = await connectPeer(gateway, 4);
      await client.send(connectPacket());
      assertEquals((await client.expect(2))[3], 3);
      assertEquals(typeof await gateway.ready(), "string");
    }
  },
);

testUnless(
  noMosquitto,
  "startMqttGateway() passes what mosquitto's own clients say, in all versions and QoS",
  async () => {
    await using mosquitto = await startMosquitto();
    await using gateway = await startTestGateway(mosquitto.url);
    const port = portOf(gateway.urls[0]!);
    for (const version of ["31", "311", "5"]) {
      await using subscriber = await subscriberOf(mosquitto, port, [
        ...["-V", version, "-q", "2", "-t", "t/#", "-C", "3", "-F", "%t %p %q"],
      ]);
      for (const qos of ["0", "1", "2"]) {
        const { code } = await mosquittoPub(port, [
          ...["-V", version, "-q", qos, "-t", `t/${qos}`, "-m", `v${version}`],
        ]);
        assertEquals(code, 0);
      }
      const { stdout } = await subscriber.end;
      assertEquals(
        new TextDecoder().decode(stdout).trim().split("\n").sort(),
        [0, 1, 2].map((qos) => `t/${qos} v${version} ${qos}`),
      );
    }
  },
);

testUnless(
  needsProgram("mosquitto", "mosquitto_rr"),
  "startMqttGateway() passes request and response with their properties",
  async () => {
    await using mosquitto = await startMosquitto();
    await using gateway = await startTestGateway(mosquitto.url);
    const url = gateway.urls[0]!;
    const server = await mqtt.connectAsync(url, {
      protocolVersion: 5,
      reconnectPeriod: 0,
    });
    server.on("message", (_, payload, { properties }) => {
      server.publish(properties!.responseTopic!, `re: ${payload}`, {
        properties: { correlationData: properties!.correlationData! },
      });
    });
    await server.subscribeAsync("request");
    const { stdout } = await startPeer("mosquitto_rr", [
      ...["-h", "127.0.0.1", "-p", String(portOf(url)), "-V", "5"],
      ...["-t", "request", "-e", "response/1", "-m", "hello", "-W", "5"],
    ]).end;
    assertEquals(new TextDecoder().decode(stdout), "re: hello\n");
    await server.endAsync();
  },
);

testUnless(
  noMosquitto,
  "startMqttGateway() keeps and publishes wills as a broker alone would",
  async () => {
    await using mosquitto = await startMosquitto();
    await using gateway = await startTestGateway(mosquitto.url);
    using watcher = await subscribeTo(mosquitto.port, "wills");
    for (const version of [3, 4, 5] as const) {
      const will = (payload: string) =>
        connectPacket({
          version,
          clientId: `willed-${version}`,
          will: { topic: "wills", payload },
        });
      {
        using client = await connectPeer(gateway, version);
        await client.send(will("never"));
        await client.expect(2);
        await client.send([0xe0, 0]);
        assertEquals(await client.rest(), []);
      }
      {
        using client = await connectPeer(gateway, version);
        await client.send(will(`lost ${version}`));
        await client.expect(2);
      }
      assertEquals(
        await watcher.expect(3),
        publishPacket({ topic: "wills", payload: `lost ${version}` }),
      );
    }
  },
);

testUnless(
  noMosquitto,
  "startMqttGateway() brings a client that comes again to the same of several brokers, and to another one only while that is down",
  async () => {
    const brokers = [
      await startMosquitto(),
      await startMosquitto(),
      await startMosquitto(),
    ];
    const targets = brokers.map(({ url }) => url);
    const went = new Map<string, string[]>();
    const gateway = await startMqttGateway({
      listeners: [{ url: "mqtt://127.0.0.1:0" }],
      targets,
      hooks: {
        connect: ({ clientId, target }) => {
          went.set(clientId, [...went.get(clientId) ?? [], target]);
        },
      },
    });
    try {
      const ids = Array.from({ length: 30 }, (_, i) => `client-${i}`);
      for (let round = 0; round < 2; round++) {
        for (const clientId of ids) await comeAndGo(gateway, clientId);
      }
      assertEquals(new Set([...went.values()].flat()).size, 3);
      assertEquals(
        [...went.values()].every(([first, second]) => first === second),
        true,
      );
      await brokers[0]![Symbol.asyncDispose]();
      for (const clientId of ids) await comeAndGo(gateway, clientId);
      for (const [first, , third] of went.values()) {
        if (first === targets[0]) assertEquals(third !== first, true);
        else assertEquals(third, first);
      }
    } finally {
      await gateway.drain();
      await brokers[1]![Symbol.asyncDispose]();
      await brokers[2]![Symbol.asyncDispose]();
    }
  },
);

async function comeAndGo(gateway: MqttGateway, clientId: string) {
  using client = await connectPeer(gateway, 4);
  await client.send(connectPacket({ clientId }));
  assertEquals(await client.expect(2), bytes(0x20, 2, 0, 0));
  await client.send([0xe0, 0]);
  await client.rest();
}

Deno.test("startMqttGateway() sends the PROXY protocol's header ahead of the CONNECT", async () => {
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, {
    sendProxyHeader: true,
  });
  using client = await connectPeer(gateway, 4);
  await client.send(connectPacket());
  using broker = await listener.accept();
  const buffer = new Uint8Array(28);
  let length = 0;
  while (length < buffer.length) {
    length += await broker.connection.read(buffer.subarray(length)) ?? 0;
  }
  const { localAddr, remoteAddr } = client.connection;
  assertEquals(
    buffer,
    join(
      ...[[13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10]],
      ...[[0x21, 0x11, 0, 12], [127, 0, 0, 1], [127, 0, 0, 1]],
      [localAddr.port >> 8, localAddr.port & 0xff],
      [remoteAddr.port >> 8, remoteAddr.port & 0xff],
    ),
  );
  assertEquals(await broker.expect(1), connectPacket());
});

testUnless(
  needsProgram("haproxy", "mosquitto", "openssl"),
  "startMqttGateway() sends a header of the PROXY protocol that HAProxy takes, over TCP and ahead of TLS",
  async () => {
    await using authority = await CertificateAuthority.create();
    const { cert, key } = await authority.sign("IP:127.0.0.1");
    await using mosquitto = await startMosquitto();
    await using folder = await TestFolder.create();
    const both = `${folder.path}/both.pem`;
    await Deno.writeTextFile(both, read(cert) + read(key));
    const file = `${folder.path}/haproxy.cfg`;
    const [plain, secure] = [freePort("tcp"), freePort("tcp")];
    await Deno.writeTextFile(
      file,
      `global
        log stderr format raw local0
      defaults
        mode tcp
        log global
        log-format "from %ci:%cp at %fi:%fp"
        timeout connect 5s
        timeout client 10s
        timeout server 10s
        default_backend broker
      frontend plain
        bind 127.0.0.1:${plain} accept-proxy
      frontend secure
        bind 127.0.0.1:${secure} accept-proxy ssl crt ${both}
      backend broker
        server one 127.0.0.1:${mosquitto.port}\n`,
    );
    await using haproxy = startPeer("haproxy", ["-db", "-f", file]);
    await portAnswers(plain);
    const targets = [
      [`mqtt://127.0.0.1:${plain}`, { url: "mqtt://127.0.0.1:0" }],
      [`mqtts://127.0.0.1:${secure}`, {
        url: "mqtts://127.0.0.1:0",
        tls: { cert: read(cert), key: read(key) },
      }],
    ] as const;
    for (const [target, listener] of targets) {
      let from = "";
      await using gateway = await startTestGateway(target, {
        listeners: [listener],
        sendProxyHeader: true,
        targetTls: { ca: read(authority.cert) },
        hooks: {
          connect: ({ remote }) => void (from = formatAddress(remote)),
        },
      });
      const url = gateway.urls[0]!;
      const trust = { ca: read(authority.cert) };
      assertEquals(await roundTrip(url, 5, trust), expected(5));
      // HAProxy believes the client's and the listener's addresses.
      await haproxy.line(
        new RegExp(`from ${from} at 127.0.0.1:${portOf(url)}`),
      );
    }
  },
);

testUnless(
  noMosquitto,
  "startMqttGateway() brings a client's second connection to the broker of its first, which then ends that one",
  async () => {
    const brokers = [await startMosquitto(), await startMosquitto()];
    try {
      await using gateway = await startMqttGateway({
        listeners: [{ url: "mqtt://127.0.0.1:0" }, { url: "ws://127.0.0.1:0" }],
        targets: brokers.map(({ url }) => url),
      });
      for (let i = 0; i < 8; i++) {
        const clientId = `device-${i}`;
        using first = await connectPeer(gateway, 5);
        await first.send(connectPacket({ version: 5, clientId }));
        await first.expect(2);
        // It comes by another door, and as another version.
        const second = await mqtt.connectAsync(gateway.urls[1]!, {
          clientId,
          protocolVersion: 4,
          reconnectPeriod: 0,
        });
        // mosquitto 2.0 closes without a word; later ones say 0x8E.
        await soon(first.rest(), "the end of the first connection");
        await second.endAsync();
      }
    } finally {
      for (const broker of brokers) await broker[Symbol.asyncDispose]();
    }
  },
);

Deno.test("startMqttGateway() says what is wrong before it opens anything", async () => {
  const base = {
    listeners: [{ url: "mqtt://127.0.0.1:0" }],
    targets: ["mqtt://127.0.0.1:1"],
  };
  const wrong = [
    { ...base, listeners: [] },
    { ...base, targets: [] },
    { ...base, listeners: [{ url: "mqtts://127.0.0.1:0" }] },
    { ...base, listeners: [{ url: "http://127.0.0.1:0" }] },
    { ...base, targets: ["1883"] },
    {
      ...base,
      listeners: [{ url: "1884" }],
      targets: ["tcp://127.0.0.1:1884"],
    },
  ];
  for (const options of wrong) {
    await assertRejects(() => startMqttGateway(options), UsageError);
  }
});

Deno.test("startMqttGateway() names the address that it cannot bind, and leaves nothing open", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const error = await assertRejects(
    () =>
      startMqttGateway({
        listeners: [
          { url: "mqtt://127.0.0.1:0" },
          { url: `mqtt://127.0.0.1:${taken.addr.port}` },
        ],
        targets: ["mqtt://127.0.0.1:1"],
      }),
    OperationError,
  ) as OperationError;
  assertEquals(error.code, "EADDRINUSE");
});

Deno.test("MqttGateway.ready() says which broker does not answer", async () => {
  const listener = new ScriptedBroker();
  const { url } = listener;
  listener[Symbol.dispose]();
  await using gateway = await startTestGateway(url);
  const answer = await gateway.ready();
  assertEquals(typeof answer === "string" && answer.includes(url), true);
});

Deno.test("dial() closes what it has opened when it is aborted", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  for (const scheme of ["ws", "mqtts", "wss"]) {
    const abort = new AbortController();
    const dialling = dial(
      parseEndpoint(`${scheme}://127.0.0.1:${port}`),
      { maxFrameBytes: 1024, pool: new BufferPool() },
      undefined,
      abort.signal,
    );
    using connection = await listener.accept();
    // Something of its handshake has come; nothing is answered.
    await connection.read(new Uint8Array(1));
    abort.abort(new Error("enough"));
    await assertRejects(() => dialling, OperationError, "enough");
    const waste = new Uint8Array(4096);
    while ((await connection.read(waste).catch(() => null)) !== null);
  }
});

Deno.test("startMqttGateway() closes a WebSocket that sends text, with 1003, and one that is not upgraded in time", async () => {
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, {
    listeners: [{ url: "ws://127.0.0.1:0/mqtt" }],
    connectTimeoutMs: 200,
  });
  const url = gateway.urls[0]!;
  const socket = new WebSocket(url, "mqtt");
  const closed = new Promise<CloseEvent>((resolve) => {
    socket.onclose = resolve;
  });
  socket.onopen = () => socket.send("text");
  socket.onerror = () => {};
  assertEquals((await closed).code, 1003);

  const idle = await Deno.connect({ hostname: "127.0.0.1", port: portOf(url) });
  assertEquals(await idle.read(new Uint8Array(10)).catch(() => null), null);
  idle.close();
});

Deno.test("startMqttGateway() answers WebSocket pings, takes packets across frames and refuses a frame beyond the limit, on both sides", async () => {
  const brokers = new WebSocketServer({
    host: "127.0.0.1",
    port: 0,
    handleProtocols: (offered) => offered.has("mqtt") && "mqtt",
  });
  await once(brokers, "listening");
  const { port } = brokers.address() as { port: number };
  await using gateway = await startTestGateway(
    `ws://127.0.0.1:${port}/broker`,
    {
      listeners: [{ url: "ws://127.0.0.1:0/mqtt" }],
      maxFrameBytes: 1000,
    },
  );
  const message = publishPacket({ topic: "a", payload: "x".repeat(700) });
  const [front, middle, back] = [
    message.subarray(0, 1),
    message.subarray(1, 300),
    message.subarray(300),
  ];
  const tooLong = publishPacket({ topic: "a", payload: "x".repeat(1000) });
  for (const breaksLimit of ["client", "broker"]) {
    const client = new WebSocketClient(gateway.urls[0]!, "mqtt");
    client.on("error", () => {});
    const accepted = once(brokers, "connection");
    await once(client, "open");
    client.send(connectPacket());
    const [broker, request] = await accepted;
    assertEquals([broker.protocol, request.url], ["mqtt", "/broker"]);
    await once(broker, "message");
    const connack = once(client, "message");
    broker.send(bytes(0x20, 2, 0, 0));
    await connack;
    for (const [from, to] of [[client, broker], [broker, client]]) {
      const pong = once(from, "pong");
      from.ping("are you there");
      assertEquals(String((await pong)[0]), "are you there");
      // One message of three fragments, then two of part of a packet each.
      const got = collectMessages(to, 2 * message.length);
      from.send(front, { fin: false });
      from.send(middle, { fin: false });
      from.send(back, { fin: true });
      from.send(join(front, middle));
      from.send(back);
      assertEquals(await got, join(message, message));
    }
    const [breaker, other] = breaksLimit === "client"
      ? [client, broker]
      : [broker, client];
    const closes = [once(breaker, "close"), once(other, "close")];
    breaker.send(tooLong);
    const [[code]] = await Promise.all(closes) as [number[], number[]];
    assertEquals([breaksLimit, code], [breaksLimit, 1009]);
  }
  await gateway.drain();
  brokers.close();
});

/** So many bytes of a WebSocket's messages. */
function collectMessages(
  socket: WebSocketClient,
  count: number,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  return new Promise((resolve) => {
    const take = (part: Uint8Array) => {
      parts.push(new Uint8Array(part));
      if (join(...parts).length < count) return;
      socket.off("message", take);
      resolve(join(...parts));
    };
    socket.on("message", take);
  });
}

Deno.test("startMqttGateway() lets in no WebSocket that asks for another subprotocol", async () => {
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, {
    listeners: [{ url: "ws://127.0.0.1:0/mqtt" }],
  });
  const socket = new WebSocket(gateway.urls[0]!, "amqp");
  const failed = new Promise<void>((resolve) => {
    socket.onerror = () => resolve();
  });
  const closed = new Promise<void>((resolve) => {
    socket.onclose = () => resolve();
  });
  await failed;
  await closed;
});

testUnless(
  needsProgram("openssl"),
  "startMqttGateway() takes clients that offer mqtt, x-amzn-mqtt-ca or nothing by ALPN, and no others",
  async () => {
    await using authority = await CertificateAuthority.create();
    const { cert, key } = await authority.sign("IP:127.0.0.1");
    using listener = new ScriptedBroker();
    await using gateway = await startTestGateway(listener.url, {
      listeners: [{
        url: "mqtts://127.0.0.1:0",
        tls: { cert: read(cert), key: read(key) },
      }],
    });
    const cases: [string[], string | false | undefined][] = [
      [["mqtt"], "mqtt"],
      [["x-amzn-mqtt-ca"], "x-amzn-mqtt-ca"],
      [["h2", "mqtt"], "mqtt"],
      [[], false],
      [["h2"], undefined],
    ];
    for (const [ALPNProtocols, expected] of cases) {
      const client = connectTls({
        host: "127.0.0.1",
        port: portOf(gateway.urls[0]!),
        ca: read(authority.cert),
        ...ALPNProtocols.length > 0 ? { ALPNProtocols } : {},
      });
      const chosen = await Promise.race([
        once(client, "secureConnect").then(() => client.alpnProtocol),
        once(client, "error").then(() => undefined),
      ]).catch(() => undefined);
      assertEquals(chosen || false, expected || false, `${ALPNProtocols}`);
      assertEquals(chosen === undefined, expected === undefined);
      client.on("error", () => {});
      const closed = client.closed || once(client, "close");
      client.destroy();
      await closed;
    }
  },
);
