import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  deny,
  type MessageRequest,
  type MqttHooks,
} from "../../../../net/mqtt/hooks/hooks.ts";
import {
  type MemorySession,
  type MemorySessionOptions,
  openMemorySession,
} from "../../../support/memory_session.ts";
import { settled } from "../../../support/memory_stream.ts";
import {
  bytes,
  connectPacket,
  field,
  join,
  packet,
  publishPacket,
} from "../../../support/mqtt_peer.ts";

const denyNo: MqttHooks = {
  authPublish: (_, { topic }) => topic.startsWith("no") ? deny() : undefined,
  deliver: (_, { topic }) => topic.startsWith("no") ? deny() : undefined,
};

/** What came to both ends since the last look. */
async function look(bench: MemorySession) {
  await settled();
  const client = join(...bench.client.writes);
  const broker = join(...bench.broker.writes);
  bench.client.writes.length = 0;
  bench.broker.writes.length = 0;
  return { client, broker };
}

const NOTHING = bytes();

// Denied by authPublish: version, QoS -> what the client is told.

const ACKNOWLEDGED: [version: 3 | 4 | 5, qos: number, answer: Uint8Array][] = [
  [3, 0, NOTHING],
  [3, 1, bytes(0x40, 2, 0, 9)],
  [3, 2, bytes(0x50, 2, 0, 9)],
  [4, 0, NOTHING],
  [4, 1, bytes(0x40, 2, 0, 9)],
  [4, 2, bytes(0x50, 2, 0, 9)],
  [5, 0, NOTHING],
  [5, 1, bytes(0x40, 3, 0, 9, 0x87)],
  [5, 2, bytes(0x50, 3, 0, 9, 0x87)],
];

for (const [version, qos, answer] of ACKNOWLEDGED) {
  Deno.test(`UpstreamPath answers a denied PUBLISH of QoS ${qos} in version ${version}, and the next ones go on`, async () => {
    await using bench = await openMemorySession({ version, hooks: denyNo });
    const good = publishPacket({ version, topic: "yes", qos: 1, id: 8 });
    bench.client.push(
      join(publishPacket({ version, topic: "no", qos, id: 9 }), good),
    );
    assertEquals(await look(bench), { client: answer, broker: good });
    assertEquals(bench.session.isOver, false);
  });

  Deno.test(`UpstreamPath closes on a denied PUBLISH of QoS ${qos} in version ${version} where that is asked for`, async () => {
    await using bench = await openMemorySession({
      version,
      hooks: denyNo,
      settings: { onDeny: "close" },
    });
    const good = publishPacket({ version, topic: "yes" });
    const denied = publishPacket({ version, topic: "no", qos, id: 9 });
    bench.client.push(join(good, denied, good));
    const { client, broker } = await look(bench);
    assertEquals(broker, good);
    if (version === 5) assertEquals([client[0], client[2]], [0xe0, 0x87]);
    else assertEquals(client, NOTHING);
    assertEquals(bench.session.isOver, true);
    assertEquals([bench.client.ended, bench.broker.ended], [true, true]);
  });
}

Deno.test("UpstreamPath answers the PUBREL of a denied message itself, in versions 3 and 4", async () => {
  for (const version of [3, 4] as const) {
    await using bench = await openMemorySession({ version, hooks: denyNo });
    const denied = publishPacket({ version, topic: "no", qos: 2, id: 9 });
    bench.client.push(denied);
    await look(bench);
    // A repetition gets the same answer, and no hook is asked.
    denied[0]! |= 8;
    bench.client.push(denied);
    assertEquals((await look(bench)).client, bytes(0x50, 2, 0, 9));
    bench.client.push(bytes(0x62, 2, 0, 9));
    assertEquals(await look(bench), {
      client: bytes(0x70, 2, 0, 9),
      broker: NOTHING,
    });
    // The next one of this identifier is for the broker again.
    bench.client.push(bytes(0x62, 2, 0, 9));
    assertEquals(await look(bench), {
      client: NOTHING,
      broker: bytes(0x62, 2, 0, 9),
    });
  }
});

Deno.test("UpstreamPath frees the identifier of a denied message of QoS 2 at once in version 5", async () => {
  await using bench = await openMemorySession({ version: 5, hooks: denyNo });
  bench.client.push(
    publishPacket({ version: 5, topic: "no", qos: 2, id: 9 }),
  );
  await look(bench);
  const again = publishPacket({ version: 5, topic: "yes", qos: 2, id: 9 });
  bench.client.push(join(again, bytes(0x62, 2, 0, 9)));
  assertEquals(await look(bench), {
    client: NOTHING,
    broker: join(again, bytes(0x62, 2, 0, 9)),
  });
});

Deno.test("UpstreamPath answers nothing to a repetition that is denied when the broker has the message", async () => {
  let denies = false;
  await using bench = await openMemorySession({
    hooks: { authPublish: () => denies ? deny() : undefined },
  });
  const message = publishPacket({ topic: "a", qos: 2, id: 9 });
  bench.client.push(message);
  assertEquals((await look(bench)).broker, message);
  denies = true;
  message[0]! |= 8;
  bench.client.push(message);
  assertEquals(await look(bench), { client: NOTHING, broker: NOTHING });
  bench.broker.push(bytes(0x50, 2, 0, 9));
  assertEquals((await look(bench)).client, bytes(0x50, 2, 0, 9));
  bench.client.push(bytes(0x62, 2, 0, 9));
  assertEquals((await look(bench)).broker, bytes(0x62, 2, 0, 9));
});

Deno.test("UpstreamPath explains a denial only to a client that wants problems, and only where it fits", async () => {
  const hooks: MqttHooks = {
    authPublish: () => deny(0x97, "too much"),
  };
  const reason = [0x1f, ...field("too much")];
  const explained = packet(0x40, [0, 9, 0x97, reason.length, ...reason]);
  const bare = bytes(0x40, 3, 0, 9, 0x97);
  const cases: [properties: number[], answer: Uint8Array][] = [
    [[], explained],
    [[0x17, 0], bare],
    [[0x27, 0, 0, 0, explained.length], explained],
    [[0x27, 0, 0, 0, explained.length - 1], bare],
  ];
  for (const [properties, answer] of cases) {
    await using bench = await openMemorySession({
      version: 5,
      hooks,
      connect: connectPacket({ version: 5, properties }),
    });
    bench.client.push(
      publishPacket({ version: 5, topic: "a", qos: 1, id: 9 }),
    );
    assertEquals((await look(bench)).client, answer);
  }
});

// Denied by deliver: version, QoS -> what the broker is told.

const TAKEN: [version: 3 | 4 | 5, qos: number, answer: Uint8Array][] = [
  [3, 0, NOTHING],
  [3, 1, bytes(0x40, 2, 0, 9)],
  [4, 0, NOTHING],
  [4, 1, bytes(0x40, 2, 0, 9)],
  [4, 2, bytes(0x50, 2, 0, 9)],
  [5, 0, NOTHING],
  [5, 1, bytes(0x40, 3, 0, 9, 0x87)],
  [5, 2, bytes(0x50, 3, 0, 9, 0x87)],
];

for (const [version, qos, answer] of TAKEN) {
  Deno.test(`DownstreamPath takes a message of QoS ${qos} in version ${version} that may not be delivered`, async () => {
    await using bench = await openMemorySession({ version, hooks: denyNo });
    const good = publishPacket({ version, topic: "yes" });
    bench.broker.push(
      join(publishPacket({ version, topic: "no", qos, id: 9 }), good),
    );
    assertEquals(await look(bench), { client: good, broker: answer });
    if (qos === 2 && version !== 5) {
      bench.broker.push(bytes(0x62, 2, 0, 9));
      assertEquals(await look(bench), {
        client: NOTHING,
        broker: bytes(0x70, 2, 0, 9),
      });
    }
  });
}

// Changes

Deno.test("UpstreamPath splices what authPublish changes and leaves the rest as it is", async () => {
  await using bench = await openMemorySession({
    version: 5,
    hooks: {
      authPublish: (_, message) => ({
        topic: `tenant/${message.topic}`,
        payload: new TextDecoder().decode(message.payload).toUpperCase(),
        retain: false,
        userProperties: [...message.userProperties, ["by", "gateway"]],
      }),
    },
  });
  const user = (name: string, value: string) => [
    0x26,
    ...field(name),
    ...field(value),
  ];
  const before = [
    ...[0x02, 0, 0, 0, 60],
    ...user("b", "1"),
    ...user("a", "2"),
    ...user("b", "3"),
  ];
  bench.client.push(publishPacket({
    version: 5,
    topic: "a/b",
    payload: "hello",
    qos: 1,
    id: 9,
    retain: true,
    properties: before,
  }));
  assertEquals(
    (await look(bench)).broker,
    publishPacket({
      version: 5,
      topic: "tenant/a/b",
      payload: "HELLO",
      qos: 1,
      id: 9,
      properties: [...before, ...user("by", "gateway")],
    }),
  );
});

Deno.test("UpstreamPath denies where a hook's change cannot be done, and says so in the log", async () => {
  const changes = [
    { topic: "a/#" },
    { topic: "" },
    { qos: 2 as const },
    { topic: "\ud800" },
    { topic: "x".repeat(70_000) },
    { userProperties: [["a", "b"]] as const },
  ];
  for (const change of changes) {
    await using bench = await openMemorySession({
      hooks: { authPublish: () => change },
    });
    bench.client.push(publishPacket({ topic: "a", qos: 1, id: 9 }));
    assertEquals(await look(bench), {
      client: bytes(0x40, 2, 0, 9),
      broker: NOTHING,
    });
    assertEquals(bench.lines.length, 1);
  }
});

Deno.test("UpstreamPath denies what becomes larger than the broker takes", async () => {
  await using bench = await openMemorySession({
    version: 5,
    connack: bytes(0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 40),
    hooks: { authPublish: () => ({ payload: "x".repeat(40) }) },
  });
  bench.client.push(publishPacket({ version: 5, topic: "a", qos: 1, id: 9 }));
  const { client, broker } = await look(bench);
  assertEquals([client[0], client[4], broker], [0x40, 0x97, NOTHING]);
});

Deno.test("DownstreamPath keeps from a client what becomes larger than it takes, and takes it from the broker", async () => {
  await using bench = await openMemorySession({
    version: 5,
    connect: connectPacket({ version: 5, properties: [0x27, 0, 0, 0, 40] }),
    hooks: { deliver: () => ({ payload: "x".repeat(40) }) },
  });
  bench.broker.push(publishPacket({ version: 5, topic: "a", qos: 1, id: 9 }));
  const { client, broker } = await look(bench);
  assertEquals([client, broker[0]], [NOTHING, 0x40]);
});

const LOWERED: [from: number, to: 0 | 1][] = [[1, 0], [2, 0], [2, 1]];

for (const [from, to] of LOWERED) {
  for (const version of [4, 5] as const) {
    Deno.test(`PublishFlow acknowledges a message of QoS ${from} that goes on with QoS ${to}, in version ${version}, both ways`, async () => {
      const change = () => ({ qos: to });
      for (const upwards of [true, false]) {
        await using bench = await openMemorySession({
          version,
          hooks: { authPublish: change, deliver: change },
        });
        const [sender, receiver] = upwards
          ? [bench.client, bench.broker]
          : [bench.broker, bench.client];
        const seen = async () => {
          const { client, broker } = await look(bench);
          return upwards ? [client, broker] : [broker, client];
        };
        const given = { version, topic: "a", payload: "x", id: 9 };
        const sent = publishPacket({ ...given, qos: from });
        sender.push(sent);
        const ack = bytes(from === 1 ? 0x40 : 0x50, 2, 0, 9);
        const forwarded = publishPacket({ ...given, qos: to });
        if (to === 0) assertEquals(await seen(), [ack, forwarded]);
        else {
          assertEquals(await seen(), [NOTHING, forwarded]);
          receiver.push(bytes(0x40, 2, 0, 9));
          assertEquals(await seen(), [ack, NOTHING]);
        }
        if (from !== 2) continue;
        sender.push(bytes(0x62, 2, 0, 9));
        assertEquals(await seen(), [bytes(0x70, 2, 0, 9), NOTHING]);
      }
    });
  }
}

Deno.test("PublishFlow never has more messages open at the receiver than it allows, whatever is denied or lowered", async () => {
  const receiveMaximum = 3;
  const step = fc.record({
    qos: fc.constantFrom(1, 2),
    fate: fc.constantFrom("pass", "deny", "lower"),
    answers: fc.nat(3),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.boolean(),
      fc.array(step, { minLength: 1, maxLength: 25 }),
      async (upwards, steps) => {
        const fate = (_: unknown, { topic, qos }: MessageRequest) =>
          topic.startsWith("deny")
            ? deny()
            : topic.startsWith("lower") && qos === 2
            ? { qos: 1 as const }
            : undefined;
        await using bench = await openMemorySession({
          version: 5,
          hooks: { authPublish: fate, deliver: fate },
        });
        const [sender, receiver] = upwards
          ? [bench.client, bench.broker]
          : [bench.broker, bench.client];
        // Both ends go by the book: 4.9 of MQTT 5.
        const sending = new Map<number, number>();
        const held = new Map<number, number>();
        let most = 0;
        const senderHears = async () => {
          await settled();
          for (const packet of split(sender.writes)) {
            const [first, , high, low, code = 0] = packet;
            const id = high! << 8 | low!;
            if (first === 0x50 && code < 0x80) {
              sender.push(bytes(0x62, 2, high!, low!));
            } else sending.delete(id);
          }
          sender.writes.length = 0;
          await settled();
        };
        const receiverHears = () => {
          for (const packet of split(receiver.writes)) {
            if (packet[0]! >> 4 === 3) {
              const topicEnd = 4 + packet[3]!;
              const id = packet[topicEnd]! << 8 | packet[topicEnd + 1]!;
              held.set(id, packet[0]! >> 1 & 3);
            } else held.set(packet[2]! << 8 | packet[3]!, 3);
          }
          receiver.writes.length = 0;
          most = Math.max(most, held.size);
        };
        const receiverSays = async () => {
          const [next] = held;
          if (!next) return;
          const [id, state] = next;
          held.delete(id);
          const type = state === 1 ? 0x40 : state === 2 ? 0x50 : 0x70;
          receiver.push(bytes(type, 2, id >> 8, id & 0xff));
          if (state === 2) held.set(id, 4);
          await senderHears();
          receiverHears();
        };
        let id = 0;
        for (const { qos, fate, answers } of steps) {
          while (sending.size >= receiveMaximum) {
            if (held.size === 0) throw new Error("nobody may go on");
            await receiverSays();
            await senderHears();
          }
          sending.set(++id, qos);
          sender.push(publishPacket({ version: 5, topic: fate, qos, id }));
          await senderHears();
          receiverHears();
          for (let i = 0; i < answers; i++) await receiverSays();
        }
        while (held.size > 0) await receiverSays();
        await senderHears();
        assertEquals(most <= receiveMaximum, true, `${most} were open`);
        assertEquals(sending.size, 0);
        assertEquals(bench.session.isOver, false);
      },
    ),
    { numRuns: 60 },
  );
});

/** Packets of less than 128 bytes. */
function split(writes: readonly Uint8Array[]): Uint8Array[] {
  const all = join(...writes);
  const packets: Uint8Array[] = [];
  for (let at = 0; at < all.length; at += 2 + all[at + 1]!) {
    packets.push(all.subarray(at, at + 2 + all[at + 1]!));
  }
  return packets;
}

Deno.test("UpstreamPath tells the `publish` hook what went on, as it went on", async () => {
  const published: string[] = [];
  await using bench = await openMemorySession({
    hooks: {
      authPublish: (_, { topic }) =>
        topic === "no" ? deny() : { topic: `x/${topic}` },
      publish: (session, { topic, payload, qos }) => {
        published.push(
          `${session.clientId} ${topic} ${
            new TextDecoder().decode(payload)
          } ${qos}`,
        );
      },
    },
  });
  bench.client.push(join(
    publishPacket({ topic: "no", payload: "1" }),
    publishPacket({ topic: "a", payload: "2", qos: 1 }),
  ));
  await look(bench);
  assertEquals(published, ["tester x/a 2 1"]);
});

// Topic aliases

const alias = (number: number) => [0x23, 0, number];

function aliased(topic: string, number: number, payload: string) {
  return publishPacket({
    version: 5,
    topic,
    payload,
    properties: alias(number),
  });
}

function openAliasSession(options: MemorySessionOptions) {
  return openMemorySession({
    version: 5,
    connect: connectPacket({ version: 5, properties: [0x22, 0, 10] }),
    ...options,
  });
}

for (const upwards of [true, false]) {
  const way = upwards ? "UpstreamPath" : "DownstreamPath";
  const hookName = upwards ? "authPublish" : "deliver";

  Deno.test(`${way} shows hooks the topic behind an alias, and passes aliases as they came`, async () => {
    const seen: string[] = [];
    await using bench = await openAliasSession({
      hooks: {
        [hookName]: (_: unknown, m: { topic: string }) =>
          void seen.push(m.topic),
      },
    });
    const sent = join(aliased("a/b", 1, "1"), aliased("", 1, "2"));
    (upwards ? bench.client : bench.broker).push(sent);
    const { client, broker } = await look(bench);
    assertEquals(upwards ? broker : client, sent);
    assertEquals(seen, ["a/b", "a/b"]);
  });

  Deno.test(`${way} names the topic again where the message that made the alias was denied`, async () => {
    await using bench = await openAliasSession({
      hooks: {
        [hookName]: (_: unknown, m: { payload: Uint8Array }) =>
          m.payload[0] === 0x31 ? deny() : undefined,
      },
    });
    const from = upwards ? bench.client : bench.broker;
    from.push(join(
      aliased("a/b", 1, "1"),
      aliased("", 1, "2"),
      aliased("", 1, "3"),
    ));
    const { client, broker } = await look(bench);
    assertEquals(
      upwards ? broker : client,
      join(aliased("a/b", 1, "2"), aliased("", 1, "3")),
    );
  });

  Deno.test(`${way} keeps an alias right when the topic behind it is changed, differently each time`, async () => {
    await using bench = await openAliasSession({
      hooks: {
        [hookName]: (_: unknown, m: { topic: string; payload: Uint8Array }) => {
          const text = new TextDecoder().decode(m.payload);
          return text === "as it is"
            ? undefined
            : { topic: `${text}/${m.topic}` };
        },
      },
    });
    const from = upwards ? bench.client : bench.broker;
    from.push(join(
      aliased("t", 1, "x"),
      aliased("", 1, "x"),
      aliased("", 1, "y"),
      aliased("", 1, "y"),
      aliased("", 1, "as it is"),
      aliased("u", 1, "x"),
      aliased("", 1, "x"),
    ));
    const { client, broker } = await look(bench);
    assertEquals(
      upwards ? broker : client,
      join(
        aliased("x/t", 1, "x"),
        aliased("", 1, "x"),
        aliased("y/t", 1, "y"),
        aliased("", 1, "y"),
        aliased("t", 1, "as it is"),
        aliased("x/u", 1, "x"),
        aliased("", 1, "x"),
      ),
    );
  });
}

for (const upwards of [true, false]) {
  const way = upwards ? "UpstreamPath" : "DownstreamPath";

  Deno.test(`${way} knows an alias that came with a message which \`intercept\` denied`, async () => {
    const denied = aliased("a/b", 1, "1");
    await using bench = await openAliasSession({
      hooks: {
        intercept: (_, { bytes }) =>
          bytes.toHex() === denied.toHex() ? deny() : undefined,
      },
    });
    const from = upwards ? bench.client : bench.broker;
    from.push(join(denied, aliased("", 1, "2")));
    const { client, broker } = await look(bench);
    assertEquals(upwards ? broker : client, aliased("a/b", 1, "2"));
    assertEquals(bench.session.isOver, false);
  });
}

Deno.test("UpstreamPath answers a message that the broker cannot take once its topic is named again", async () => {
  const topic = "a/topic/of/thirty-two/characters";
  // The broker takes 40 bytes: the topic, or some payload behind an alias.
  const denied = aliased(topic, 1, "1");
  await using bench = await openMemorySession({
    version: 5,
    connack: bytes(0x20, 11, 0, 0, 8, 0x22, 0, 9, 0x27, 0, 0, 0, 40),
    hooks: {
      intercept: (_, { bytes }) =>
        bytes.toHex() === denied.toHex() ? deny() : undefined,
    },
  });
  bench.client.push(join(
    denied,
    publishPacket({
      version: 5,
      topic: "",
      qos: 1,
      id: 9,
      properties: [0x23, 0, 1],
      payload: "x".repeat(20),
    }),
  ));
  const { client, broker } = await look(bench);
  assertEquals([client[0], client[4], broker], [0x40, 0x97, NOTHING]);
});

Deno.test("UpstreamPath refuses an alias that stands for nothing, and one beyond the broker's maximum", async () => {
  const cases: [Uint8Array, number][] = [
    [aliased("", 1, "x"), 0x82],
    [aliased("a", 11, "x"), 0x94],
  ];
  for (const [sent, code] of cases) {
    await using bench = await openAliasSession({});
    bench.client.push(sent);
    const { client, broker } = await look(bench);
    assertEquals([client[0], client[2], broker], [0xe0, code, NOTHING]);
  }
});

Deno.test("DownstreamPath ends where a broker uses an alias that its client did not allow", async () => {
  for (const sent of [aliased("", 1, "x"), aliased("a", 11, "x")]) {
    await using bench = await openAliasSession({});
    bench.broker.push(sent);
    const { client, broker } = await look(bench);
    assertEquals([client, broker[0]], [NOTHING, 0xe0]);
    assertEquals(bench.session.isOver, true);
  }
});

// What CONNACK says is enforced and shown

Deno.test("Session tells an MQTT 5 client the highest QoS and the retain rule of authConnect, and holds it to them", async () => {
  const hooks: MqttHooks = {
    authConnect: () => ({ maximumQos: 1, retainAvailable: false }),
  };
  for (
    const [sent, code] of [
      [publishPacket({ version: 5, topic: "a", qos: 2 }), 0x9b],
      [publishPacket({ version: 5, topic: "a", retain: true }), 0x9a],
    ] as const
  ) {
    await using bench = await openMemorySession({ version: 5, hooks });
    bench.client.push(publishPacket({ version: 5, topic: "a", qos: 1 }));
    assertEquals((await look(bench)).broker.length, 8);
    bench.client.push(sent);
    const { client } = await look(bench);
    assertEquals([client[0], client[2]], [0xe0, code]);
  }
});
