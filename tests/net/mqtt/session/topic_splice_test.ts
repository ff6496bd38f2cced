import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { editPublish, PacketReader } from "../../../../net/mqtt/packet/mod.ts";
import { TopicSplice } from "../../../../net/mqtt/session/topic_splice.ts";
import { join, publishPacket } from "../../../support/mqtt_peer.ts";

Deno.test("TopicSplice.front() makes of a PUBLISH what editPublish() makes of it", () => {
  // Lengths about those where a byte more is wanted, and where memory is kept.
  const topic = fc.tuple(
    fc.constantFrom("a", "\u00e9", "\u{1f41f}", "\ufeff"),
    fc.constantFrom(1, 2, 60, 120, 127, 128, 129, 1400, 5000, 16000),
  ).map(([text, count]) => text.repeat(count));
  const message = fc.record({
    version: fc.constantFrom(3 as const, 4 as const, 5 as const),
    topic: fc.constantFrom("x", "devices/7/data"),
    qos: fc.constantFrom(0, 1, 2),
    retain: fc.boolean(),
    payload: fc.constantFrom(0, 1, 100, 120, 127, 16000, 17000).map((count) =>
      "p".repeat(count)
    ),
  });
  fc.assert(fc.property(
    fc.array(fc.tuple(message, topic), { minLength: 1, maxLength: 5 }),
    (edits) => {
      const splice = new TopicSplice();
      for (const [options, topic] of edits) {
        const reader = new PacketReader({
          direction: "upstream",
          version: options.version,
        });
        reader.framer.established = true;
        reader.push(publishPacket(options));
        reader.next();
        const view = reader.publish;
        const wanted = editPublish(view, { topic }).bytes();
        const tail = view.buffer.subarray(view.topicEnd, view.end);
        const front = splice.front(view, topic, wanted.length);
        assertEquals(front && join(front, tail), wanted);
        assertEquals(splice.front(view, topic, wanted.length - 1), undefined);
      }
    },
  ));
});

Deno.test("TopicSplice.front() makes no topic beyond 65535 bytes", () => {
  const reader = new PacketReader({ direction: "upstream", version: 4 });
  reader.framer.established = true;
  reader.push(publishPacket({ topic: "x" }));
  reader.next();
  const splice = new TopicSplice();
  const made = (topic: string) =>
    splice.front(reader.publish, topic, Infinity)?.length;
  assertEquals(made("a".repeat(65535)), 1 + 3 + 2 + 65535);
  assertEquals(made("a".repeat(65536)), undefined);
  assertEquals(made("\u00e9".repeat(32768)), undefined);
});
