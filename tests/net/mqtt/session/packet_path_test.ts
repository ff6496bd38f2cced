import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { deny, type MqttHooks } from "../../../../net/mqtt/hooks/hooks.ts";
import { openMemorySession } from "../../../support/memory_session.ts";
import { settled } from "../../../support/memory_stream.ts";
import {
  bytes,
  join,
  publishPacket,
  subscribePacket,
} from "../../../support/mqtt_peer.ts";

const message = (n: number, more: object = {}) =>
  publishPacket({ topic: `t/${n}`, payload: "x".repeat(n % 50), ...more });

Deno.test("PacketPath writes once for each chunk, however many packets are in it", async () => {
  await using bench = await openMemorySession();
  const chunk = join(...Array.from({ length: 20 }, (_, n) => message(n)));
  bench.client.push(chunk);
  await settled();
  assertEquals(bench.broker.writes, [chunk]);
});

Deno.test("PacketPath writes once for a chunk that begins and ends within a packet", async () => {
  await using bench = await openMemorySession();
  const all = join(...Array.from({ length: 14 }, (_, n) => message(n)));
  const cut = all.length - 5;
  bench.client.push(all.subarray(0, 5));
  await settled();
  bench.client.push(all.subarray(5, cut));
  await settled();
  assertEquals(bench.broker.writes.length, 1);
  bench.client.push(all.subarray(cut));
  await settled();
  assertEquals(bench.broker.writes.length, 2);
  assertEquals(join(...bench.broker.writes), all);
});

Deno.test("PacketPath writes once for a chunk with denied and changed packets in it", async () => {
  await using bench = await openMemorySession({
    hooks: {
      authPublish: (_, { topic }) =>
        topic === "t/2"
          ? deny()
          : topic === "t/4"
          ? { topic: "longer/4" }
          : undefined,
    },
  });
  bench.client.push(join(...[1, 2, 3, 4, 5].map((n) => message(n))));
  await settled();
  assertEquals(bench.broker.writes, [
    join(
      message(1),
      message(3),
      publishPacket({ topic: "longer/4", payload: "xxxx" }),
      message(5),
    ),
  ]);
});

Deno.test("PacketPath writes once for a chunk where hooks answer by promises that are settled", async () => {
  await using bench = await openMemorySession({
    // deno-lint-ignore require-await
    hooks: { authPublish: async () => undefined },
  });
  const chunk = join(...[1, 2, 3, 4, 5].map((n) => message(n)));
  bench.client.push(chunk);
  await settled();
  assertEquals(bench.broker.writes, [chunk]);
});

Deno.test("PacketPath sends what was decided before it waits for a hook", async () => {
  const answer = Promise.withResolvers<undefined>();
  await using bench = await openMemorySession({
    hooks: {
      authPublish: (_, { topic }) =>
        topic === "t/2" ? answer.promise : undefined,
    },
  });
  bench.client.push(join(message(1), message(2), message(3)));
  await settled();
  assertEquals(bench.broker.writes, [message(1)]);
  answer.resolve(undefined);
  await settled();
  assertEquals(bench.broker.writes, [message(1), join(message(2), message(3))]);
});

Deno.test("Session.drain() lets what was read go on before it ends", async () => {
  const answer = Promise.withResolvers<undefined>();
  await using bench = await openMemorySession({
    version: 5,
    hooks: { authPublish: () => answer.promise },
  });
  const sent = publishPacket({ version: 5, topic: "a", payload: "in flight" });
  bench.client.push(sent);
  await settled();
  bench.session.drain();
  await settled();
  assertEquals([bench.session.isOver, bench.broker.writes], [false, []]);
  answer.resolve(undefined);
  await settled();
  assertEquals(bench.broker.writes, [sent]);
  const [disconnect] = bench.client.writes;
  assertEquals([disconnect![0], disconnect![2]], [0xe0, 0x8b]);
  assertEquals(bench.session.isOver, true);
});

Deno.test("PacketPath reads the next chunk only when the last one is taken", async () => {
  for (const upwards of [true, false]) {
    await using bench = await openMemorySession();
    const [from, to] = upwards
      ? [bench.client, bench.broker]
      : [bench.broker, bench.client];
    const readBefore = from.reads;
    to.hold();
    from.push(message(1));
    await settled();
    from.push(message(2), message(3));
    await settled();
    assertEquals([from.reads - readBefore, from.isRead], [1, false]);
    to.release();
    await settled();
    assertEquals(from.reads - readBefore, 3);
    assertEquals(join(...to.writes), join(message(1), message(2), message(3)));
  }
});

Deno.test("PacketPath stops reading a client that does not take the gateway's own answers", async () => {
  await using bench = await openMemorySession({
    hooks: { authPublish: () => deny() },
  });
  bench.client.hold();
  const burst = join(
    ...Array.from(
      { length: 5000 },
      (_, n) => publishPacket({ topic: "a", qos: 1, id: n + 1 }),
    ),
  );
  for (let i = 0; i < 20; i++) bench.client.push(burst);
  await settled();
  assertEquals(bench.client.isRead, false);
  const readSoFar = bench.metrics.upstream.bytes;
  assertEquals(readSoFar < 10 * burst.length, true);
  await settled();
  assertEquals(bench.metrics.upstream.bytes, readSoFar);
  bench.client.release();
  await settled();
  assertEquals(join(...bench.client.writes).length, 20 * 5000 * 4);
});

/** Hooks that answer in an order that the test chooses. */
class Later {
  readonly #waiting: (() => void)[] = [];
  readonly seen: string[] = [];

  hook(label: string): Promise<undefined> {
    this.seen.push(label);
    return new Promise((resolve) => {
      this.#waiting.push(() => resolve(undefined));
    });
  }

  answer(choice: number): boolean {
    const [next] = this.#waiting.splice(
      choice % (this.#waiting.length || 1),
      1,
    );
    next?.();
    return next !== undefined;
  }
}

/** A packet of one of the kinds that go in a direction, told apart from the others by `i`. */
function packetOf(kind: number, i: number, n: number, up: boolean) {
  const id = [(i + 1) >> 8, (i + 1) & 0xff];
  switch (kind) {
    case 0:
      return up ? subscribePacket(4, i + 1, [[`s/${i}`, 1]]) : undefined;
    case 1:
      return up ? subscribePacket(4, i + 1, [[`s/${i}`, 0]], 0xa2) : undefined;
    case 2:
      return bytes(up ? 0xc0 : 0xd0, 0);
    case 3:
      return bytes(0x40, 2, ...id);
    case 4:
      return bytes(0x62, 2, ...id);
    default:
      return publishPacket({ topic: `t/${i}`, payload: "z".repeat(n) });
  }
}

Deno.test("PacketPath keeps the order of packets of all types in both directions, however hooks interleave", async () => {
  const direction = fc.array(
    fc.record({
      kind: fc.nat(9),
      n: fc.nat(40),
      later: fc.boolean(),
      cut: fc.boolean(),
    }),
    { maxLength: 12 },
  );
  let waited = 0;
  await fc.assert(
    fc.asyncProperty(
      direction,
      direction,
      fc.array(fc.nat(9), { maxLength: 40 }),
      async (up, down, choices) => {
        const later = new Later();
        const laterPackets = new Set<string>();
        const number = (list: typeof up, isUp: boolean) =>
          list.map(({ kind, n, later }, i) => {
            const packet = packetOf(kind, i, n, isUp) ??
              publishPacket({ topic: `t/${i}` });
            if (later) laterPackets.add(`${isUp} ${packet.toHex()}`);
            return packet;
          });
        const upPackets = number(up, true);
        const downPackets = number(down, false);
        const decide = (topic: string) =>
          topic.length % 2 === 0 ? later.hook(topic) : undefined;
        const hooks: MqttHooks = {
          intercept: (_, { bytes }, direction) =>
            laterPackets.has(`${direction === "upstream"} ${bytes.toHex()}`)
              ? later.hook("intercept")
              : undefined,
          authPublish: (_, { topic }) => decide(topic),
          deliver: (_, { topic }) => decide(topic),
          authSubscribe: (_, { filters }) => decide(filters[0]!.filter),
          authUnsubscribe: (_, { filters }) => decide(filters[0]!.filter),
        };
        await using bench = await openMemorySession({ hooks });
        bench.client.push(...chunks(upPackets, up));
        bench.broker.push(...chunks(downPackets, down));
        await settled();
        for (const choice of choices) {
          if (later.answer(choice)) waited++;
          await settled();
        }
        while (later.answer(0)) await settled();
        assertEquals(join(...bench.broker.writes), join(...upPackets));
        assertEquals(join(...bench.client.writes), join(...downPackets));
      },
    ),
    { numRuns: 60 },
  );
  assertEquals(waited > 100, true, `hooks were waited for ${waited} times`);
});

/** Packets as chunks, cut behind those that say so. */
function chunks(
  packets: readonly Uint8Array[],
  marks: readonly { cut: boolean }[],
): Uint8Array[] {
  const groups: Uint8Array[][] = [[]];
  for (const [i, packet] of packets.entries()) {
    groups.at(-1)!.push(packet);
    if (marks[i]!.cut) groups.push([]);
  }
  return groups.filter((group) => group.length > 0).map((group) =>
    join(...group)
  );
}
