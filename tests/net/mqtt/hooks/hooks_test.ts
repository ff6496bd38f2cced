import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { UsageError } from "../../../../net/errors.ts";
import { HookChain } from "../../../../net/mqtt/hooks/hook_chain.ts";
import {
  type Denial,
  deny,
  type MqttHooks,
  type MqttSession,
} from "../../../../net/mqtt/hooks/hooks.ts";
import { MqttMetrics } from "../../../../net/mqtt/metrics.ts";
import { Log } from "../../../../net/observe/log.ts";
import { openMemorySession } from "../../../support/memory_session.ts";
import { settled } from "../../../support/memory_stream.ts";
import {
  bytes,
  connectPacket,
  connectPeer,
  join,
  openBench,
  publishPacket,
  ScriptedBroker,
  startTestGateway,
  subscribePacket,
} from "../../../support/mqtt_peer.ts";

Deno.test("deny() takes the reason codes of refusals only", () => {
  assertEquals(deny().reasonCode, 0x87);
  for (const code of [0, 0x7f, 0x100, 0x87 + 0.5]) {
    assertThrows(() => deny(code), RangeError, "0x80 to 0xFF");
  }
});

Deno.test("startMqttGateway() refuses hooks that would never be asked", async () => {
  class Misspelt {
    authPublsh() {}
  }
  const wrong: [hooks: object, says: string][] = [
    [{ authpublish() {} }, '"authpublish" is none of the hooks'],
    [{ authPublish: false }, '"authPublish" must be a function'],
    [{ authPublish: null }, '"authPublish" must be a function'],
    [{ onPublish() {}, authorize() {} }, '"authorize" is none of the hooks'],
    [new Misspelt(), '"authPublsh" is none of the hooks'],
  ];
  for (const [hooks, says] of wrong) {
    await assertRejects(
      () => startTestGateway("mqtt://127.0.0.1:1", { hooks } as never),
      UsageError,
      says,
    );
  }
});

// CONNECT

Deno.test("Session sends the broker what authConnect changed", async () => {
  for (const version of [3, 4, 5] as const) {
    await using bench = await openBench({
      version,
      maxPacketBytes: 1 << 20,
      connect: connectPacket({
        version,
        clientId: "c",
        properties: version === 5 ? [0x27, 0, 0, 1, 0] : [],
      }),
      hooks: {
        authConnect: (_, { clientId }) => ({
          clientId: `t-${clientId}`,
          username: "injected",
          password: "secret",
        }),
      },
    });
    assertEquals(
      bench.connect,
      connectPacket({
        version,
        clientId: "t-c",
        username: "injected",
        password: "secret",
        properties: version === 5 ? [0x27, 0, 0, 1, 0] : [],
      }),
    );
  }
});

Deno.test("Session sends the broker the user properties that authConnect gave, in order", async () => {
  const user = (name: string, value: string) => [
    ...[0x26, 0, name.length, ...new TextEncoder().encode(name)],
    ...[0, value.length, ...new TextEncoder().encode(value)],
  ];
  const limit = [0x27, 0, 0, 1, 0];
  await using bench = await openBench({
    version: 5,
    connect: connectPacket({
      version: 5,
      properties: [...user("b", "1"), ...limit, ...user("a", "2")],
    }),
    hooks: {
      authConnect: (_, { userProperties }) => ({
        userProperties: [...userProperties, ["by", "gateway"], ["a", "3"]],
      }),
    },
  });
  assertEquals(
    bench.connect,
    connectPacket({
      version: 5,
      properties: [
        ...limit,
        ...user("b", "1"),
        ...user("a", "2"),
        ...user("by", "gateway"),
        ...user("a", "3"),
      ],
    }),
  );
});

Deno.test("Session takes credentials away where authConnect says so", async () => {
  await using bench = await openBench({
    connect: connectPacket({ username: "u", password: "p" }),
    hooks: { authConnect: () => ({ username: null }) },
  });
  assertEquals(bench.connect, connectPacket());
});

Deno.test("Session tells an MQTT 5 client the identifier that authConnect gave it", async () => {
  let known = "";
  await using bench = await openBench({
    version: 5,
    connect: connectPacket({
      version: 5,
      clientId: "",
      properties: [0x27, 0, 0, 1, 0],
    }),
    connack: bytes(0x20, 8, 0, 0, 5, 0x27, 0, 0, 1, 0),
    hooks: {
      authConnect: () => ({ clientId: "given" }),
      connect: (session) => void (known = session.clientId),
    },
  });
  assertEquals(known, "given");
  assertEquals(
    bench.connack,
    bytes(
      ...[0x20, 16, 0, 0, 13, 0x27, 0, 0, 1, 0],
      ...[0x12, 0, 5, 0x67, 0x69, 0x76, 0x65, 0x6e],
    ),
  );
});

Deno.test("Session shows hooks who the client is", async () => {
  let seen: MqttSession | undefined;
  await using bench = await openBench({
    version: 5,
    connect: connectPacket({
      version: 5,
      clientId: "c",
      username: "u",
      keepAlive: 30,
      clean: false,
      properties: [0x26, 0, 1, 0x6b, 0, 1, 0x76],
    }),
    hooks: { connect: (session) => void (seen = session) },
  });
  const address = bench.client.connection.localAddr;
  assertEquals(seen!.clientId, "c");
  assertEquals(seen!.username, "u");
  assertEquals(seen!.version, 5);
  assertEquals(seen!.keepAliveSeconds, 30);
  assertEquals(seen!.cleanStart, false);
  assertEquals(seen!.userProperties, [["k", "v"]]);
  assertEquals(seen!.remote, {
    hostname: address.hostname,
    port: address.port,
  });
  assertEquals(seen!.listener, bench.gateway.urls[0]);
  assertEquals(seen!.certificate, undefined);
  assertEquals(seen!.target.startsWith("mqtt://127.0.0.1:"), true);
});

// The will

const willed = (version: 3 | 4 | 5) =>
  connectPacket({
    version,
    will: { topic: "forbidden/will", payload: "boo", qos: 1, retain: true },
    properties: version === 5 ? [0x27, 0, 0, 1, 0] : [],
  });

for (const hook of ["authWill", "authPublish"] as const) {
  Deno.test(`Session refuses a CONNECT whose will ${hook} denies`, async () => {
    for (const version of [3, 4, 5] as const) {
      const seen: unknown[] = [];
      using listener = new ScriptedBroker();
      await using gateway = await startTestGateway(listener.url, {
        hooks: {
          [hook]: (
            _: unknown,
            { topic, qos, retain, isWill, payload }: {
              [name: string]: unknown;
              payload: Uint8Array;
            },
          ) => {
            const text = new TextDecoder().decode(payload);
            seen.push([topic, text, qos, retain, isWill]);
            return deny();
          },
        },
      });
      using client = await connectPeer(gateway, version);
      await client.send(willed(version));
      const connack = await client.expect(2);
      assertEquals(connack[3], version === 5 ? 0x87 : 5);
      assertEquals(await client.rest(), []);
      assertEquals(seen, [["forbidden/will", "boo", 1, true, true]]);
    }
  });
}

Deno.test("Session changes a will, or takes it away", async () => {
  for (const version of [3, 4, 5] as const) {
    const properties = version === 5 ? [0x27, 0, 0, 1, 0] : [];
    const cases: [MqttHooks, Uint8Array][] = [
      [
        { authWill: () => ({ topic: "t/will", payload: "bye", qos: 0 }) },
        connectPacket({
          version,
          properties,
          will: { topic: "t/will", payload: "bye", retain: true },
        }),
      ],
      [
        { authWill: () => ({ remove: true }) },
        connectPacket({ version, properties }),
      ],
    ];
    for (const [hooks, expected] of cases) {
      await using bench = await openBench({
        version,
        connect: willed(version),
        hooks,
      });
      assertEquals(bench.connect, expected);
    }
  }
});

// Hooks that go wrong

Deno.test("HookChain denies for a hook that throws or rejects, logs it, and the session goes on", async () => {
  for (
    const authPublish of [
      () => {
        throw new Error("broken hook");
      },
      () => Promise.reject(new Error("broken hook")),
    ]
  ) {
    await using bench = await openMemorySession({ hooks: { authPublish } });
    bench.client.push(publishPacket({ topic: "a", qos: 1, id: 9 }));
    await settled();
    assertEquals(bench.client.written(), bytes(0x40, 2, 0, 9));
    assertEquals(bench.broker.written(), bytes());
    assertEquals(bench.lines.length, 1);
    assertEquals(bench.lines[0]!.includes("broken hook"), true);
    assertEquals(bench.session.isOver, false);
  }
});

/** What a client gets where a hook neither allows nor denies, and what it had sent. */
const DECIDING: [
  hook: keyof MqttHooks,
  sent: Uint8Array,
  toClient: Uint8Array,
  toBroker: Uint8Array,
][] = [
  [
    "authPublish",
    publishPacket({ version: 5, topic: "a", qos: 1, id: 9 }),
    bytes(0x40, 3, 0, 9, 0x80),
    bytes(),
  ],
  [
    "authSubscribe",
    subscribePacket(5, 9, [["a", 0], ["b", 1]]),
    bytes(0x90, 5, 0, 9, 0, 0x80, 0x80),
    bytes(),
  ],
  [
    "authUnsubscribe",
    subscribePacket(5, 9, [["a", 0], ["b", 1]], 0xa2),
    bytes(0xb0, 5, 0, 9, 0, 0x80, 0x80),
    bytes(),
  ],
  [
    "deliver",
    publishPacket({ version: 5, topic: "a", qos: 1, id: 9 }),
    bytes(),
    bytes(0x40, 3, 0, 9, 0x80),
  ],
  [
    "intercept",
    publishPacket({ version: 5, topic: "a", qos: 1, id: 9 }),
    bytes(0x40, 3, 0, 9, 0x80),
    bytes(),
  ],
];

const FAULTS: [how: string, fails: () => unknown, counted: boolean][] = [
  ["throws", () => {
    throw new Error("broken hook");
  }, true],
  ["rejects", () => Promise.reject(new Error("broken hook")), true],
  ["hangs", () => new Promise(() => {}), false],
];

for (const [name, sent, toClient, toBroker] of DECIDING) {
  Deno.test(`Session denies where ${name} throws, rejects or hangs, says so in the log, and goes on`, async () => {
    for (const [how, fails] of FAULTS) {
      let isBroken = false;
      await using bench = await openMemorySession({
        version: 5,
        settings: { hookTimeoutMs: 20 },
        // A client that wants no explanations.
        connect: connectPacket({ version: 5, properties: [0x17, 0] }),
        hooks: { [name]: () => isBroken ? fails() : undefined },
      });
      isBroken = true;
      const { client, broker } = bench;
      (name === "deliver" ? broker : client).push(sent);
      const answered = name === "deliver" ? broker : client;
      while (answered.writes.length === 0) await settled();
      assertEquals([how, client.written()], [how, toClient]);
      assertEquals([how, broker.written()], [how, toBroker]);
      assertEquals([how, bench.lines.length], [how, 1]);
      assertEquals([how, bench.lines[0]!.includes(`hook ${name} `)], [
        how,
        true,
      ]);
      assertEquals([how, bench.session.isOver], [how, false]);
      isBroken = false;
      const next = publishPacket({ version: 5, topic: "n" });
      client.push(next);
      await settled();
      assertEquals([how, broker.writes.at(-1)], [how, next]);
    }
  });
}

for (const name of ["authConnect", "authWill", "intercept"] as const) {
  Deno.test(`Session refuses a CONNECT where ${name} throws, rejects or hangs`, async () => {
    for (const version of [3, 4, 5] as const) {
      for (const [how, fails] of FAULTS) {
        using listener = new ScriptedBroker();
        const lines: string[] = [];
        await using gateway = await startTestGateway(listener.url, {
          hookTimeoutMs: 20,
          hooks: { [name]: fails },
          log: new Log({ write: (line) => void lines.push(line) }),
        });
        using client = await connectPeer(gateway, version);
        await client.send(willed(version));
        const connack = await client.expect(2);
        // Before MQTT 5: server unavailable, as the client may try again.
        assertEquals([how, connack[3]], [how, version === 5 ? 0x80 : 3]);
        assertEquals(await client.rest(), []);
        const said = lines.filter((line) => line.includes(`hook ${name} `));
        assertEquals([how, said.length], [how, 1]);
      }
    }
  });
}

Deno.test("Session goes on where a hook that is told something throws or rejects, and says so in the log", async () => {
  for (const [how, fails] of FAULTS.filter(([, , counted]) => counted)) {
    const told = ["connect", "publish", "subscribe", "unsubscribe"] as const;
    const bench = await openMemorySession({
      hooks: Object.fromEntries(
        [...told, "disconnect"].map((name) => [name, fails]),
      ),
    });
    const { client, broker } = bench;
    const sent = [
      publishPacket({ topic: "a" }),
      subscribePacket(4, 7, [["a", 0]]),
      subscribePacket(4, 8, [["a", 0]], 0xa2),
    ];
    const answers = [bytes(0x90, 3, 0, 7, 0), bytes(0xb0, 2, 0, 8)];
    client.push(...sent);
    await settled();
    broker.push(...answers);
    await settled();
    assertEquals([how, join(...broker.writes)], [how, join(...sent)]);
    assertEquals([how, join(...client.writes)], [how, join(...answers)]);
    await bench[Symbol.asyncDispose]();
    for (const name of [...told, "disconnect"]) {
      const said = bench.lines.filter((line) =>
        line.includes(`hook ${name} failed`) && line.includes("broken hook")
      );
      assertEquals([how, name, said.length], [how, name, 1]);
    }
  }
});

Deno.test("HookChain takes a thrown Denial for an answer", async () => {
  await using bench = await openMemorySession({
    version: 5,
    hooks: {
      authPublish: () => {
        throw deny(0x97);
      },
    },
  });
  bench.client.push(publishPacket({ version: 5, topic: "a", qos: 1, id: 9 }));
  await settled();
  assertEquals(bench.client.written(), bytes(0x40, 3, 0, 9, 0x97));
  assertEquals(bench.lines, []);
});

Deno.test("Session cuts a hook that does not answer, and a late answer changes nothing", async () => {
  const late = Promise.withResolvers<{ topic: string }>();
  let calls = 0;
  await using bench = await openMemorySession({
    settings: { hookTimeoutMs: 20 },
    hooks: {
      authPublish: () => calls++ === 0 ? late.promise : undefined,
    },
  });
  bench.client.push(publishPacket({ topic: "a", qos: 1, id: 9 }));
  while (bench.client.writes.length === 0) await settled();
  assertEquals(bench.client.written(), bytes(0x40, 2, 0, 9));
  late.resolve({ topic: "changed" });
  const next = publishPacket({ topic: "b", payload: "next" });
  bench.client.push(next);
  await settled();
  assertEquals(bench.broker.written(), next);
});

Deno.test("Session ends a client whose CONNECT waits for a hook that hangs", async () => {
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, {
    hookTimeoutMs: 20,
    hooks: { authConnect: () => new Promise(() => {}) },
  });
  using client = await connectPeer(gateway, 5);
  await client.send(connectPacket({ version: 5 }));
  assertEquals((await client.expect(2))[3], 0x80);
  assertEquals(await client.rest(), []);
});

Deno.test("Session is not held up by a hook that was told something and hangs", async () => {
  const forever = () => new Promise<void>(() => {});
  await using bench = await openMemorySession({
    settings: { hookTimeoutMs: 20 },
    hooks: { connect: forever, publish: forever, disconnect: forever },
  });
  // The CONNACK comes when the `connect` hook's time is over.
  while (!bench.session.isAccepted) await settled();
  const message = publishPacket({ topic: "a" });
  bench.client.push(message, message);
  while (bench.broker.writes.length < 2) await settled();
  bench.session.end();
  await bench.over;
});

Deno.test("Session tells `disconnect` once, whatever ends it and however often", async () => {
  const ends: string[] = [];
  await using bench = await openMemorySession({
    hooks: { disconnect: (_, { reason }) => void ends.push(reason) },
  });
  bench.session.end();
  bench.session.end();
  bench.session.drain();
  bench.client.pushEnd();
  bench.broker.push(bytes(0xff, 0xff));
  bench.broker.pushEnd();
  await bench.over;
  assertEquals(ends, ["ended"]);
});

// Several sets

Deno.test("HookChain asks sets in order, each with what the one before changed, and `deliver` in reverse", async () => {
  const metrics = new MqttMetrics();
  const seen: string[] = [];
  const set = (name: string): MqttHooks => ({
    authPublish: (_, { topic }) => {
      seen.push(`${name} up ${topic}`);
      return { topic: `${topic}/${name}` };
    },
    deliver: (_, { topic }) => {
      seen.push(`${name} down ${topic}`);
      return { topic: topic.replace(`/${name}`, "") };
    },
  });
  const merged = new HookChain(
    [{ name: "one", hooks: set("1") }, { name: "two", hooks: set("2") }],
    metrics,
    new Log({ write: () => {} }),
  );
  await using bench = await openMemorySession({
    hooks: {
      authPublish: (session, message) =>
        merged.authPublish(session, message as never) as undefined,
      deliver: (session, message) =>
        merged.deliver(session, message as never) as undefined,
    },
  });
  bench.client.push(publishPacket({ topic: "t" }));
  bench.broker.push(publishPacket({ topic: "t/1/2" }));
  await settled();
  assertEquals(bench.broker.written(), publishPacket({ topic: "t/1/2" }));
  assertEquals(bench.client.written(), publishPacket({ topic: "t" }));
  assertEquals(seen, ["1 up t", "2 up t/1", "2 down t/1/2", "1 down t/1"]);
});

Deno.test("HookChain asks no later set where one denies", () => {
  let asked = false;
  const chain = new HookChain(
    [
      { name: "one", hooks: { authPublish: () => deny(0x97) } },
      { name: "two", hooks: { authPublish: () => void (asked = true) } },
    ],
    new MqttMetrics(),
    new Log({ write: () => {} }),
  );
  const decision = chain.authPublish({} as MqttSession, {} as never);
  assertEquals((decision as Denial).reasonCode, 0x97);
  assertEquals(asked, false);
});

// intercept

Deno.test("Session shows `intercept` every packet of both directions", async () => {
  const seen: string[] = [];
  await using bench = await openBench({
    hooks: {
      intercept: (_, { name }, direction) =>
        void seen.push(`${direction} ${name}`),
    },
  });
  await bench.client.send(subscribePacket(4, 7, [["a", 0]]), [0xc0, 0]);
  await bench.broker.expect(8);
  await bench.broker.expect(12);
  await bench.broker.send([0x90, 3, 0, 7, 0], [0xd0, 0]);
  await bench.client.expect(9);
  await bench.client.expect(13);
  assertEquals(seen, [
    "upstream CONNECT",
    "downstream CONNACK",
    "upstream SUBSCRIBE",
    "upstream PINGREQ",
    "downstream SUBACK",
    "downstream PINGRESP",
  ]);
});

Deno.test("Session puts the packet of `intercept` in place, which the other hooks then see", async () => {
  const seen: string[] = [];
  await using bench = await openMemorySession({
    hooks: {
      intercept: (_, { type }) =>
        type === 3
          ? publishPacket({ topic: "other", payload: "x" }) as Uint8Array<
            ArrayBuffer
          >
          : undefined,
      authPublish: (_, { topic }) => void seen.push(topic),
    },
  });
  bench.client.push(publishPacket({ topic: "a", payload: "y" }));
  await settled();
  assertEquals(
    bench.broker.written(),
    publishPacket({ topic: "other", payload: "x" }),
  );
  assertEquals(seen, ["other"]);
});

Deno.test("Session takes no packet of `intercept` that is broken, of another type or more than one", async () => {
  const answers = [
    bytes(0xc0, 1, 0),
    bytes(0xc0, 0),
    bytes(0x30, 3, 0, 1, 0x61, 0xc0, 0),
    bytes(0x30, 3, 0, 1),
    bytes(0x30, 3, 0, 1, 0x23),
  ];
  for (const answer of answers) {
    await using bench = await openMemorySession({
      hooks: {
        intercept: (_, { type }) =>
          type === 3 ? answer as Uint8Array<ArrayBuffer> : undefined,
      },
    });
    bench.client.push(publishPacket({ topic: "a", qos: 1, id: 9 }));
    await settled();
    assertEquals(bench.broker.written(), bytes());
    assertEquals(bench.client.written(), bytes(0x40, 2, 0, 9));
  }
});

Deno.test("Session treats a Denial of `intercept` as its own hook's, or as the end", async () => {
  const cases: [Uint8Array, Uint8Array, boolean][] = [
    [
      publishPacket({ topic: "a", qos: 1, id: 9 }),
      bytes(0x40, 2, 0, 9),
      false,
    ],
    [subscribePacket(4, 7, [["a", 0]]), bytes(0x90, 3, 0, 7, 0x80), false],
    [subscribePacket(4, 7, [["a", 0]], 0xa2), bytes(0xb0, 2, 0, 7), false],
    [bytes(0xc0, 0), bytes(), true],
  ];
  for (const [sent, answer, ends] of cases) {
    // The CONNECT passes.
    let denies = false;
    await using bench = await openMemorySession({
      hooks: { intercept: () => denies ? deny() : undefined },
    });
    denies = true;
    bench.client.push(sent);
    await settled();
    assertEquals(bench.client.written(), answer);
    assertEquals(bench.broker.written(), bytes());
    assertEquals(bench.session.isOver, ends);
  }
});
