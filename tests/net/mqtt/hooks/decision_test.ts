/** Every hook with every kind of answer: what is allowed is written here by hand. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  AnswerError,
  decide,
  describe,
  HOOK_SHAPES,
} from "../../../../net/mqtt/hooks/decision.ts";
import {
  Denial,
  denialOf,
  deny,
  type MqttHooks,
} from "../../../../net/mqtt/hooks/hooks.ts";
import {
  type MemorySession,
  openMemorySession,
} from "../../../support/memory_session.ts";
import { settled } from "../../../support/memory_stream.ts";
import {
  connectPacket,
  publishPacket,
  subscribePacket,
} from "../../../support/mqtt_peer.ts";

/** A denial as another copy of the library makes it: another class, the same brand. */
const foreign = await import(
  "../../../../net/mqtt/hooks/hooks.ts?another-copy"
);

/** Answers that are documented nowhere, of no hook. */
const UNDOCUMENTED: [what: string, answer: () => unknown][] = [
  ["false", () => false],
  ["null", () => null],
  ["0", () => 0],
  ["1", () => 1],
  ["NaN", () => NaN],
  ["a bigint", () => 1n],
  ["an empty text", () => ""],
  ["a text", () => "deny"],
  ["allow as a text", () => "allow"],
  ["a symbol", () => Symbol("deny")],
  ["a function", () => () => true],
  ["an Error", () => new Error("no")],
  ["a Map", () => new Map()],
  ["a Date", () => new Date()],
  ["a wrapped false", () => new Boolean(false)],
  ["{deny: true}", () => ({ deny: true })],
  ["{allow: true}", () => ({ allow: true })],
  ["{reasonCode}", () => ({ reasonCode: 0x87 })],
  ["a denial without its class", () => ({ ...deny() })],
  ["an inherited change", () => Object.create({ topic: "x" })],
  ["an instance", () => new (class Change {})()],
  ["a throwing Proxy", () =>
    new Proxy({}, {
      ownKeys: () => {
        throw new Error("trap");
      },
    })],
];

const ALLOWED: [what: string, answer: () => unknown][] = [
  ["undefined", () => undefined],
  ["true", () => true],
];

const DENIED: [what: string, answer: () => unknown][] = [
  ["deny()", () => deny()],
  ["deny() of another copy", () => foreign.deny()],
];

type Way = [how: string, wrap: (answer: () => unknown) => () => unknown];

const WAYS: Way[] = [
  ["returned", (answer) => answer],
  ["promised", (answer) => () => Promise.resolve(answer())],
  ["promised late", (answer) => async () => {
    for (let i = 0; i < 20; i++) await null;
    return answer();
  }],
];

/** For each hook: whether what it decides about went on. */
const WENT_ON: Record<
  string,
  (hooks: MqttHooks) => Promise<[boolean, MemorySession]>
> = {
  authConnect: connects(connectPacket()),
  authWill: connects(
    connectPacket({ will: { topic: "w", payload: "" } }),
  ),
  authPublish: async (hooks) => {
    const bench = await openMemorySession({ hooks });
    bench.client.push(publishPacket({ topic: "t" }));
    await settled();
    return [bench.broker.written().length > 0, bench];
  },
  authSubscribe: async (hooks) => {
    const bench = await openMemorySession({ hooks });
    bench.client.push(subscribePacket(4, 7, [["t", 0]]));
    await settled();
    return [bench.broker.written().length > 0, bench];
  },
  authUnsubscribe: async (hooks) => {
    const bench = await openMemorySession({ hooks });
    bench.client.push(subscribePacket(4, 7, [["t", 0]], 0xa2));
    await settled();
    return [bench.broker.written().length > 0, bench];
  },
  deliver: async (hooks) => {
    const bench = await openMemorySession({ hooks });
    bench.broker.push(publishPacket({ topic: "t" }));
    await settled();
    return [bench.client.written().length > 0, bench];
  },
  intercept: async (hooks) => {
    const bench = await openMemorySession({
      hooks: {
        intercept: (session, packet, direction) =>
          packet.type === 3
            ? hooks.intercept!(session, packet, direction)
            : undefined,
      },
    });
    bench.client.push(publishPacket({ topic: "t" }));
    await settled();
    return [bench.broker.written().length > 0, bench];
  },
};

function connects(connect: Uint8Array) {
  return async (hooks: MqttHooks): Promise<[boolean, MemorySession]> => {
    const bench = await openMemorySession({ hooks, connect });
    await settled();
    return [bench.session.isAccepted, bench];
  };
}

for (const [hook, wentOn] of Object.entries(WENT_ON)) {
  Deno.test(`${hook} allows on documented answers alone, and logs every other one`, async () => {
    const cases = [
      ...ALLOWED.map((one) => [...one, true, 0] as const),
      ...DENIED.map((one) => [...one, false, 0] as const),
      ...UNDOCUMENTED.map((one) => [...one, false, 1] as const),
    ];
    for (const [how, wrap] of WAYS) {
      for (const [what, answer, allowed, lines] of cases) {
        const hooks = { [hook]: wrap(answer) } as MqttHooks;
        const [went, bench] = await wentOn(hooks);
        await using _ = bench;
        const logged = bench.lines.filter((line) =>
          line.includes(`hook ${hook}`)
        );
        assertEquals([how, what, went, logged.length], [
          how,
          what,
          allowed,
          lines,
        ]);
      }
    }
  });
}

/** Entries of the list that authSubscribe answers with. */
Deno.test("authSubscribe decides each filter by its own entry, and needs one for each", async () => {
  const lists: [list: unknown, allowed: boolean[]][] = [
    [[undefined, undefined], [true, true]],
    [[true, { qos: 0 }], [true, true]],
    [[{}, deny()], [true, false]],
    [[foreign.deny(), true], [false, true]],
    [[false, true], [false, true]],
    [[null, undefined], [false, true]],
    [[new Error("no"), true], [false, true]],
    [["no", 0], [false, false]],
    [[{ deny: true }, { topic: "x" }], [false, false]],
    [[{ filter: "a/#/b" }, { qos: 2 }], [false, false]],
    [[{ filter: "$share/g/t" }, true], [false, true]],
    [[], [false, false]],
    [[undefined], [false, false]],
    [[undefined, undefined, undefined], [false, false]],
    [new Array(2), [false, false]],
    [{ 0: true, 1: true, length: 2 }, [false, false]],
    [new Set([true, true]), [false, false]],
  ];
  for (const name of ["authSubscribe", "authUnsubscribe"] as const) {
    for (const [list, allowed] of lists) {
      await using bench = await openMemorySession({
        hooks: { [name]: () => list } as MqttHooks,
      });
      const first = name === "authSubscribe" ? 0x82 : 0xa2;
      bench.client.push(subscribePacket(4, 7, [["a", 0], ["b", 0]], first));
      await settled();
      const sent = new TextDecoder("latin1").decode(bench.broker.written());
      assertEquals(
        [name, describe(list), sent.includes("a"), sent.includes("b")],
        [name, describe(list), ...allowed],
      );
    }
  }
});

Deno.test("decide() takes changes with known keys and values of their type alone", () => {
  const { authConnect, authPublish, authWill } = HOOK_SHAPES;
  const good: [keyof typeof HOOK_SHAPES, unknown][] = [
    ["authPublish", {}],
    ["authPublish", { topic: "t", payload: "p", qos: 1, retain: false }],
    ["authPublish", { payload: new Uint8Array(1), topic: undefined }],
    ["authPublish", { userProperties: [["a", "b"]], responseTopic: null }],
    ["authWill", { remove: true }],
    ["authConnect", { clientId: "c", username: null, password: "p" }],
    ["authConnect", { identity: "i", maximumQos: 1, retainAvailable: false }],
  ];
  for (const [hook, answer] of good) {
    assertEquals(decide<unknown>(HOOK_SHAPES[hook], answer), answer);
  }
  const bad: [typeof authConnect, unknown][] = [
    [authPublish, { topic: null }],
    [authPublish, { topic: 1 }],
    [authPublish, { topic: "a\0b" }],
    [authPublish, { topic: "\ud800" }],
    [authPublish, { payload: null }],
    [authPublish, { payload: [1, 2] }],
    [authPublish, { qos: "0" }],
    [authPublish, { qos: 3 }],
    [authPublish, { retain: 0 }],
    [authPublish, { remove: true }],
    [authPublish, { username: "x" }],
    [authPublish, { constructor: "x" }],
    [authPublish, { toString: "x" }],
    [authPublish, { userProperties: [["a"]] }],
    [authPublish, { userProperties: { a: "b" } }],
    [authPublish, []],
    [authPublish, [deny()]],
    [authPublish, new Uint8Array(2)],
    [authWill, { remove: "yes" }],
    [authConnect, { identity: false }],
    [authConnect, { maximumQos: 3 }],
    [authConnect, { password: 7 }],
    [authConnect, { admit: true }],
  ];
  for (const [shape, answer] of bad) {
    assertThrows(() => decide(shape, answer), AnswerError, describe(answer));
  }
});

Deno.test("denialOf() knows denials by their brand, and never one that would allow", () => {
  assertEquals(foreign.deny() instanceof Denial, false);
  assertEquals(denialOf(foreign.deny(0x97, "why")), deny(0x97, "why"));
  const changed = deny() as { reasonCode: number };
  changed.reasonCode = 0;
  assertEquals(denialOf(changed)?.reasonCode, 0x87);
  assertEquals(denialOf({ reasonCode: 0x87 }), undefined);
  assertEquals(deny(0x87, "a\0\ud800").reason, "a\ufffd");
  assertEquals(deny(0x87, "x".repeat(99_999)).reason!.length, 1024);
});

Deno.test("describe() shows what came in one short line, whatever came", () => {
  const cases: [unknown, string][] = [
    [false, "false"],
    ["deny", '"deny"'],
    ["a\nb", '"a\\nb"'],
    [{ result: "deny" }, '{result: "deny"}'],
    [[false, {}], "[false, {…}]"],
    [new Error("no"), "Error: no"],
    [() => 1, "a function"],
    [
      Object.fromEntries([..."abcdef"].map((key) => [key, 1])),
      "{a: 1, b: 1, c: 1, d: 1, …}",
    ],
  ];
  for (const [answer, text] of cases) assertEquals(describe(answer), text);
  for (
    const long of ["x".repeat(1e6), { ["k".repeat(1e6)]: "v".repeat(1e6) }]
  ) {
    assertEquals(describe(long).length <= 121, true);
  }
});
