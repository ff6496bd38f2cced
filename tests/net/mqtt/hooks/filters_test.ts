import { assertEquals } from "@std/assert";
import {
  deny,
  type FilterResult,
  type MqttHooks,
  type SubscribeRequest,
} from "../../../../net/mqtt/hooks/hooks.ts";
import { openMemorySession } from "../../../support/memory_session.ts";
import { settled } from "../../../support/memory_stream.ts";
import {
  bytes,
  connectPacket,
  field,
  join,
  packet,
  subscribePacket,
} from "../../../support/mqtt_peer.ts";

const denyNo = (_: unknown, { filters }: SubscribeRequest) =>
  filters.map(({ filter }) => filter.startsWith("no") ? deny() : undefined);

const hooks = {
  authSubscribe: denyNo,
  authUnsubscribe: (_session, { filters }) =>
    filters.map(({ filter }) => filter.startsWith("no") ? deny() : undefined),
} satisfies MqttHooks;

const suback = (version: number, id: number, codes: number[]) =>
  packet(0x90, [id >> 8, id & 0xff, ...version === 5 ? [0] : [], ...codes]);

const unsuback = (version: number, id: number, codes: number[]) =>
  packet(0xb0, [
    id >> 8,
    id & 0xff,
    ...version === 5 ? [0, ...codes] : [],
  ]);

Deno.test("UpstreamPath passes a SUBSCRIBE and its SUBACK as they are where nothing is denied", async () => {
  for (const version of [3, 4, 5] as const) {
    await using bench = await openMemorySession({ version, hooks });
    const subscribe = subscribePacket(version, 7, [["a/#", 1], ["b", 2]]);
    bench.client.push(subscribe);
    await settled();
    assertEquals(bench.broker.written(), subscribe);
    bench.broker.push(suback(version, 7, [1, 2]));
    await settled();
    assertEquals(bench.client.written(), suback(version, 7, [1, 2]));
  }
});

const REFUSED = { 3: [1, 2, 0], 4: [0x80, 0x80, 0x80], 5: [0x87, 0x87, 0x87] };

for (const version of [3, 4, 5] as const) {
  Deno.test(`UpstreamPath takes denied filters out of a SUBSCRIBE of version ${version} and puts their codes into the SUBACK, in order`, async () => {
    await using bench = await openMemorySession({ version, hooks });
    bench.client.push(subscribePacket(version, 7, [
      ["no/1", 1],
      ["a", 0],
      ["no/2", 2],
      ["b", 2],
      ["no/3", 0],
    ]));
    await settled();
    assertEquals(
      bench.broker.written(),
      subscribePacket(version, 7, [["a", 0], ["b", 2]]),
    );
    bench.broker.push(suback(version, 7, [0, 1]));
    await settled();
    const [one, two, three] = REFUSED[version] as [number, number, number];
    assertEquals(
      bench.client.written(),
      suback(version, 7, [one, 0, two, 1, three]),
    );
  });

  Deno.test(`UpstreamPath answers a SUBSCRIBE of version ${version} itself where all is denied`, async () => {
    await using bench = await openMemorySession({ version, hooks });
    bench.client.push(subscribePacket(version, 7, [["no/1", 1], ["no/2", 2]]));
    await settled();
    assertEquals(bench.broker.written(), bytes());
    assertEquals(
      bench.client.written(),
      suback(version, 7, REFUSED[version].slice(0, 2)),
    );
  });

  Deno.test(`UpstreamPath takes denied filters out of an UNSUBSCRIBE of version ${version}`, async () => {
    await using bench = await openMemorySession({ version, hooks });
    const filters = [["no/1", 0], ["a", 0], ["no/2", 0]] as const;
    bench.client.push(subscribePacket(version, 7, filters, 0xa2));
    await settled();
    assertEquals(
      bench.broker.written(),
      subscribePacket(version, 7, [["a", 0]], 0xa2),
    );
    bench.broker.push(unsuback(version, 7, [0x11]));
    await settled();
    assertEquals(
      bench.client.written(),
      unsuback(version, 7, [0x87, 0x11, 0x87]),
    );
    bench.client.writes.length = bench.broker.writes.length = 0;
    bench.client.push(subscribePacket(version, 8, [["no/1", 0]], 0xa2));
    await settled();
    assertEquals(bench.broker.written(), bytes());
    assertEquals(bench.client.written(), unsuback(version, 8, [0x87]));
  });
}

Deno.test("UpstreamPath closes on a denied SUBSCRIBE of version 3, which has no code for it, where denials close", async () => {
  await using bench = await openMemorySession({
    version: 3,
    hooks,
    settings: { onDeny: "close" },
  });
  bench.client.push(subscribePacket(3, 7, [["a", 0], ["no", 0]]));
  await settled();
  assertEquals([bench.client.written(), bench.broker.written()], [
    bytes(),
    bytes(),
  ]);
  assertEquals(bench.session.isOver, true);
});

Deno.test("UpstreamPath says each denial's own code in version 5, and 0x87 where the SUBACK has none such", async () => {
  await using bench = await openMemorySession({
    version: 5,
    hooks: {
      authSubscribe: () => [deny(0x97), deny(0x99), deny(0x8f), undefined],
    },
  });
  bench.client.push(
    subscribePacket(5, 7, [["a", 0], ["b", 0], ["c", 0], ["d", 0]]),
  );
  await settled();
  bench.broker.push(suback(5, 7, [0]));
  await settled();
  assertEquals(bench.client.written(), suback(5, 7, [0x97, 0x87, 0x8f, 0]));
});

Deno.test("UpstreamPath shows and changes only the filter of a shared subscription, and keeps its options", async () => {
  const seen: unknown[] = [];
  await using bench = await openMemorySession({
    version: 5,
    hooks: {
      authSubscribe: (_, { filters }) => {
        seen.push(filters.map(({ filter, share }) => [filter, share]));
        return filters.map(({ filter }) => ({
          filter: `tenant/${filter}`,
          qos: 0 as const,
        }));
      },
    },
  });
  bench.client.push(
    subscribePacket(5, 7, [["$share/g/a/#", 0x2a], ["b/+", 0x1d]]),
  );
  await settled();
  assertEquals(seen, [[["a/#", "g"], ["b/+", undefined]]]);
  assertEquals(
    bench.broker.written(),
    subscribePacket(5, 7, [["$share/g/tenant/a/#", 0x28], [
      "tenant/b/+",
      0x1c,
    ]]),
  );
});

Deno.test("UpstreamPath shows the filter of a share in all versions: brokers honour it for MQTT 3.1.1 clients too", async () => {
  for (const version of [3, 4, 5] as const) {
    const seen: unknown[] = [];
    await using bench = await openMemorySession({
      version,
      hooks: {
        authSubscribe: (_, { filters }) =>
          filters.map(({ filter, share }) => {
            seen.push([filter, share]);
            return filter.startsWith("no") ? deny() : undefined;
          }),
      },
    });
    bench.client.push(
      subscribePacket(version, 7, [["$share/g/a", 0], ["$share/g/no", 0]]),
    );
    await settled();
    assertEquals(seen, [["a", "g"], ["no", "g"]]);
    assertEquals(
      bench.broker.written(),
      subscribePacket(version, 7, [["$share/g/a", 0]]),
    );
  }
});

Deno.test("UpstreamPath refuses malformed shares before MQTT 5, where its own form does not, and asks no hook", async () => {
  // [MQTT-4.8.2-1], [MQTT-4.8.2-2]: a name without wildcards, and a filter.
  const malformed = [
    "$share",
    "$share/",
    "$share/g",
    "$share/g/",
    "$share//a",
    "$share/+/a",
    "$share/#",
    "$share/g/$share/h/a",
  ];
  let asked = 0;
  await using bench = await openMemorySession({
    version: 4,
    hooks: { authSubscribe: () => void asked++ },
  });
  bench.client.push(
    subscribePacket(4, 7, malformed.map((filter) => [filter, 0] as const)),
  );
  await settled();
  assertEquals(bench.broker.written(), bytes());
  assertEquals(
    bench.client.written(),
    suback(4, 7, malformed.map(() => 0x80)),
  );
  assertEquals(asked, 0);
});

Deno.test("DownstreamPath drops what explains a SUBACK where the codes leave no room for it", async () => {
  await using bench = await openMemorySession({
    version: 5,
    hooks,
    connect: connectPacket({ version: 5, properties: [0x27, 0, 0, 0, 16] }),
  });
  bench.client.push(subscribePacket(5, 7, [["no", 0], ["a", 0]]));
  await settled();
  const reason = [0x1f, ...field("granted")];
  bench.broker.push(packet(0x90, [0, 7, reason.length, ...reason, 0]));
  await settled();
  assertEquals(bench.client.written(), suback(5, 7, [0x87, 0]));
});

Deno.test("DownstreamPath pairs answers with repeated identifiers, as MQTT 3.1 clients may send them", async () => {
  await using bench = await openMemorySession({ version: 3, hooks });
  const first = subscribePacket(3, 7, [["no", 1], ["a", 0]]);
  const again = subscribePacket(3, 7, [["a", 0]]);
  again[0]! |= 8;
  bench.client.push(join(first, again));
  await settled();
  bench.broker.push(join(suback(3, 7, [0]), suback(3, 7, [2])));
  await settled();
  assertEquals(
    bench.client.written(),
    join(suback(3, 7, [1, 0]), suback(3, 7, [2])),
  );
});

Deno.test("DownstreamPath ends where a broker answers with another number of codes", async () => {
  await using bench = await openMemorySession({ hooks });
  bench.client.push(subscribePacket(4, 7, [["no", 1], ["a", 0]]));
  await settled();
  bench.broker.push(suback(4, 7, [0, 0]));
  await settled();
  assertEquals(bench.client.written(), bytes());
  assertEquals(bench.session.isOver, true);
});

Deno.test("Session tells `subscribe` and `unsubscribe` what the client is told", async () => {
  const told: [string, FilterResult][] = [];
  await using bench = await openMemorySession({
    version: 5,
    hooks: {
      ...hooks,
      subscribe: (_, result) => void told.push(["subscribe", result]),
      unsubscribe: (_, result) => void told.push(["unsubscribe", result]),
    },
  });
  bench.client.push(subscribePacket(5, 7, [["no", 1], ["a", 1]]));
  bench.client.push(subscribePacket(5, 8, [["no", 1]]));
  bench.client.push(subscribePacket(5, 9, [["a", 1]], 0xa2));
  await settled();
  bench.broker.push(join(suback(5, 7, [1]), unsuback(5, 9, [0])));
  await settled();
  assertEquals(told, [
    ["subscribe", { filters: ["no"], reasonCodes: [0x87] }],
    ["subscribe", { filters: ["no", "a"], reasonCodes: [0x87, 1] }],
    ["unsubscribe", { filters: ["a"], reasonCodes: [0] }],
  ]);
});
