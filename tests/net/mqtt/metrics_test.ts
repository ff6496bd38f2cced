/** What the gateway counts and writes down, against what a test sends. */
import { assertEquals } from "@std/assert";
import { deny, type MqttHooks } from "../../../net/mqtt/hooks/hooks.ts";
import { HookTimes } from "../../../net/mqtt/metrics.ts";
import { Policy } from "../../../net/mqtt/policy/policy.ts";
import { parsePolicy } from "../../../net/mqtt/policy/policy_file.ts";
import type { MqttGateway } from "../../../net/mqtt/gateway.ts";
import { soon } from "../../support/deadline.ts";
import {
  bytes,
  connectPacket,
  connectPeer,
  join,
  openBench,
  portOf,
  publishPacket,
  ScriptedBroker,
  startTestGateway,
  subscribePacket,
} from "../../support/mqtt_peer.ts";

/** The values of a metric by their labels; zeros are left out. */
function valuesOf(gateway: MqttGateway, name: string): Record<string, number> {
  const metric = gateway.metrics().find((one) =>
    one.name === `mproxy_mqtt_${name}`
  )!;
  return Object.fromEntries(
    metric.samples.filter(({ value }) => value !== 0).map((
      { labels = {}, suffix = "", value },
    ) => [Object.values(labels).join(" ") + suffix, value]),
  );
}

Deno.test("MqttMetrics counts connections, packets, messages, bytes, denials, hooks and dials as they were", async () => {
  const hooks: MqttHooks = {
    authConnect: () => Promise.resolve(undefined),
    authPublish(_, { topic }) {
      if (topic === "no") return deny(0x97);
      if (topic === "boom") throw new Error("boom");
    },
    deliver: (_, { topic }) => topic === "no" ? deny() : undefined,
    authSubscribe: (_, { filters }) =>
      filters.map(({ filter }) => filter === "no" ? deny(0x97) : undefined),
    authUnsubscribe: () => deny(),
  };
  const bench = await openBench({ version: 5, hooks });
  const { gateway, client, broker, connect } = bench;
  const up = [
    publishPacket({ version: 5, topic: "yes", payload: "1" }),
    publishPacket({ version: 5, topic: "yes", qos: 2, id: 5 }),
    publishPacket({ version: 5, topic: "no", qos: 1, id: 6 }),
    publishPacket({ version: 5, topic: "no", qos: 1, id: 7 }),
    publishPacket({ version: 5, topic: "boom", qos: 1, id: 8 }),
    subscribePacket(5, 9, [["a", 0], ["no", 0], ["no", 1]]),
    subscribePacket(5, 10, [["a", 0], ["b", 0]], 0xa2),
    bytes(0xc0, 0),
  ];
  await client.send(...up);
  for (const type of [3, 3, 8, 12]) await broker.expect(type);
  for (const type of [4, 4, 4, 11]) await client.expect(type);
  const down = [
    bytes(0x90, 4, 0, 9, 0, 0),
    bytes(0xd0, 0),
    publishPacket({ version: 5, topic: "no", qos: 1, id: 1 }),
    publishPacket({ version: 5, topic: "yes" }),
  ];
  await broker.send(...down);
  for (const type of [9, 13, 3]) await client.expect(type);
  await broker.expect(4);

  const [listener] = gateway.urls;
  assertEquals(valuesOf(gateway, "connections"), { [`5.0 ${listener}`]: 1 });
  assertEquals(valuesOf(gateway, "packets_total"), {
    "upstream CONNECT": 1,
    "upstream PUBLISH": 5,
    "upstream SUBSCRIBE": 1,
    "upstream UNSUBSCRIBE": 1,
    "upstream PINGREQ": 1,
    "downstream CONNACK": 1,
    "downstream SUBACK": 1,
    "downstream PINGRESP": 1,
    "downstream PUBLISH": 2,
  });
  assertEquals(valuesOf(gateway, "messages_total"), {
    "upstream 0": 1,
    "upstream 1": 3,
    "upstream 2": 1,
    "downstream 0": 1,
    "downstream 1": 1,
  });
  assertEquals(valuesOf(gateway, "bytes_total"), {
    upstream: connect.length + join(...up).length,
    downstream: 8 + join(...down).length,
  });
  assertEquals(valuesOf(gateway, "denials_total"), {
    "authPublish 0x97": 2,
    "authPublish 0x80": 1,
    "deliver 0x87": 1,
    // Each answer counts: that of each filter, or one for all of them.
    "authSubscribe 0x97": 2,
    "authUnsubscribe 0x87": 1,
  });
  assertEquals(valuesOf(gateway, "hook_failures_total"), {
    "authPublish hooks": 1,
  });
  const times = valuesOf(gateway, "hook_seconds");
  assertEquals(times["authConnect hooks_count"], 1);
  assertEquals(times["authConnect hooks +Inf_bucket"], 1);
  assertEquals(times["authConnect hooks_sum"]! > 0, true);
  const target = Object.keys(valuesOf(gateway, "dials_total"));
  assertEquals(target.length, 1);
  assertEquals(target[0]!.endsWith(" ok"), true);
  await client.send([0xe0, 0]);
  await broker.expect(14);
  await bench[Symbol.asyncDispose]();
  assertEquals(valuesOf(gateway, "connections"), {});
  assertEquals(valuesOf(gateway, "connections_total"), {
    [`5.0 ${listener}`]: 1,
  });
  assertEquals(valuesOf(gateway, "sessions_ended_total"), {
    client_disconnected: 1,
  });
});

Deno.test("MqttMetrics counts the time for which a receiver or a rate limit holds a sender up", async () => {
  const policy = new Policy(
    parsePolicy("[limits]\nmessages_per_second = 20", "policy.toml", () => ""),
  );
  await using bench = await openBench({ policy });
  const { gateway, client, broker } = bench;
  const some = publishPacket({ topic: "a" });
  await client.send(join(...new Array(24).fill(some)), some);
  for (let i = 0; i < 25; i++) await broker.expect(3);
  await client.send(some);
  await soon(broker.expect(3), "the message behind the pause");
  const { "upstream rate_limit": limited } = valuesOf(
    gateway,
    "back_pressure_seconds_total",
  );
  assertEquals(limited! > 0.1 && limited! < 5, true, `${limited} s`);

  // More than all buffers on the way hold: the broker waits for the client.
  const large = publishPacket({ topic: "b", payload: "x".repeat(1_000_000) });
  const count = 30;
  const sending = (async () => {
    for (let i = 0; i < count; i++) await broker.send(large);
  })();
  for (let i = 0; i < count; i++) await client.expect(3);
  await sending;
  const waited = valuesOf(gateway, "back_pressure_seconds_total");
  assertEquals(waited["downstream receiver"]! > 0, true);
});

Deno.test("MqttMetrics counts connections that never became a session, by their reason", async () => {
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, {
    listeners: [{ url: "ws://127.0.0.1:0/mqtt" }],
    maxConnections: 1,
  });
  const connect = () =>
    Deno.connect({ hostname: "127.0.0.1", port: portOf(gateway.urls[0]!) });
  const buffer = new Uint8Array(100);
  {
    using stranger = await connect();
    await stranger.write(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
    const length = await stranger.read(buffer);
    assertEquals(
      new TextDecoder().decode(buffer.subarray(0, length!)).slice(0, 12),
      "HTTP/1.1 400",
    );
    while (await stranger.read(buffer).catch(() => null) !== null);
  }
  // The oldest connection that has not sent its CONNECT makes room.
  using first = await connect();
  using _second = await connect();
  assertEquals(await first.read(buffer).catch(() => null), null);
  assertEquals(valuesOf(gateway, "turned_away_total"), {
    websocket_handshake: 1,
  });
  assertEquals(valuesOf(gateway, "sessions_ended_total").displaced, 1);
});

Deno.test("HookTimes times every call that answers later, and one in 64 that answers at once", () => {
  const times = new HookTimes("authPublish", "test");
  for (let i = 0; i < 640; i++) times.end(times.start());
  assertEquals(times.count, 10);
  times.isAsync = true;
  for (let i = 0; i < 7; i++) times.end(times.start());
  assertEquals(times.count, 17);
});

Deno.test("AuditLog writes who did what, and neither payloads nor passwords unless it is asked to", async () => {
  const refuse = (topic: string) => topic.startsWith("no");
  const hooks: MqttHooks = {
    authConnect: (_, { username }) =>
      username === "eve" ? deny(0x86, "who are you?") : undefined,
    authWill: (_, { topic }) => refuse(topic) ? deny() : undefined,
    authPublish: (_, { topic }) => refuse(topic) ? deny() : undefined,
    deliver: (_, { topic }) => refuse(topic) ? deny() : undefined,
    authSubscribe: (_, { filters }) =>
      filters.map(({ filter }) => refuse(filter) ? deny() : undefined),
    authUnsubscribe: (_, { filters }) =>
      filters.map(({ filter }) => refuse(filter) ? deny() : undefined),
  };
  for (const messages of [false, true]) {
    for (const payloads of [false, true]) {
      const lines: string[] = [];
      const audit = {
        write: (line: string) => void lines.push(line),
        messages,
        payloads,
      };
      const who = {
        version: 5,
        username: "u",
        password: "top-secret",
      } as const;
      const bench = await openBench({
        version: 5,
        hooks,
        audit,
        connect: connectPacket(who),
      });
      const { gateway, client, broker } = bench;
      for (
        const refused of [
          { ...who, username: "eve" },
          { ...who, will: { topic: "no/will", payload: "private" } },
        ]
      ) {
        using other = await connectPeer(gateway, 5);
        await other.send(connectPacket(refused));
        await other.expect(2);
        await other.rest();
      }
      const message = (topic: string) =>
        publishPacket({ version: 5, topic, payload: "private" });
      await client.send(
        message("a"),
        message("no/a"),
        subscribePacket(5, 1, [["a", 0], ["no/a", 0]]),
        subscribePacket(5, 2, [["a", 0], ["no/a", 0]], 0xa2),
      );
      for (const type of [3, 8, 10]) await broker.expect(type);
      await broker.send(
        [0x90, 4, 0, 1, 0, 0],
        [0xb0, 4, 0, 2, 0, 0],
        message("a"),
        message("no/a"),
        [0xd0, 0],
      );
      for (const type of [9, 11, 3, 13]) await client.expect(type);
      await client.send([0xe0, 0]);
      await bench[Symbol.asyncDispose]();
      const events = lines.map((line) => JSON.parse(line));
      assertEquals(
        events.map(({ event }) => event).sort(),
        [
          "connect",
          ...["connect_allowed", "connect_allowed", "connect_denied"],
          ...messages ? ["deliver"] : [],
          "deliver_denied",
          ...["disconnect", "disconnect", "disconnect"],
          ...messages ? ["publish"] : [],
          ...["publish_denied", "subscribe", "subscribe_denied"],
          ...["unsubscribe", "unsubscribe_denied", "will_denied"],
        ],
      );
      const text = lines.join("\n");
      assertEquals(text.includes("top-secret"), false);
      assertEquals(text.includes("private"), messages && payloads);
      const denied = events.find(({ event }) => event === "publish_denied");
      assertEquals(
        [denied.topic, denied.username, denied.clientId, denied.reasonCode],
        ["no/a", "u", "tester", 0x87],
      );
    }
  }
});
