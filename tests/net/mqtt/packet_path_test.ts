import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { deny, type MqttHooks } from "../../../net/mqtt/hooks.ts";
import { openMemorySession } from "../../support/memory_session.ts";
import { settled } from "../../support/memory_stream.ts";
import { join, publishPacket } from "../../support/mqtt_peer.ts";

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

Deno.test("PacketPath pauses reading for as long as the throttle says, and loses nothing", async () => {
  const asked: number[][] = [];
  await using bench = await openMemorySession({
    throttle: {
      pauseMs: (_, messages, bytes) => {
        asked.push([messages, bytes]);
        return messages > 1 ? 60_000 : 0;
      },
    },
  });
  bench.client.push(join(message(1), message(2)), message(3));
  await settled();
  assertEquals(bench.broker.writes, [join(message(1), message(2))]);
  assertEquals(asked.at(-1), [2, join(message(1), message(2)).length]);
  assertEquals(bench.client.isRead, false);
  bench.session.end();
  await bench.over;
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

Deno.test("PacketPath keeps the order of packets in both directions, however hooks interleave", async () => {
  const direction = fc.array(
    fc.record({ n: fc.nat(40), later: fc.boolean(), cut: fc.boolean() }),
    { maxLength: 12 },
  );
  await fc.assert(
    fc.asyncProperty(
      direction,
      direction,
      fc.array(fc.nat(9), { maxLength: 40 }),
      async (up, down, choices) => {
        const later = new Later();
        const laterTopics = new Set<string>();
        const number = (list: typeof up, prefix: string) =>
          list.map(({ n, later }, i) => {
            const topic = `${prefix}/${i}`;
            if (later) laterTopics.add(topic);
            return publishPacket({ topic, payload: "z".repeat(n) });
          });
        const hooks: MqttHooks = {
          authPublish: (_, { topic }) =>
            laterTopics.has(topic) ? later.hook(topic) : undefined,
          deliver: (_, { topic }) =>
            laterTopics.has(topic) ? later.hook(topic) : undefined,
        };
        await using bench = await openMemorySession({ hooks });
        const upPackets = number(up, "up");
        const downPackets = number(down, "down");
        bench.client.push(...chunks(upPackets, up));
        bench.broker.push(...chunks(downPackets, down));
        await settled();
        for (const choice of choices) {
          later.answer(choice);
          await settled();
        }
        while (later.answer(0)) await settled();
        assertEquals(join(...bench.broker.writes), join(...upPackets));
        assertEquals(join(...bench.client.writes), join(...downPackets));
      },
    ),
    { numRuns: 60 },
  );
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
