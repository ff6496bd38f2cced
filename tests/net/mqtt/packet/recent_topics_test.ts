import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { RecentTopics } from "../../../../net/mqtt/packet/recent_topics.ts";

const encoder = new TextEncoder();

Deno.test("RecentTopics tells each topic, whatever others came before", () => {
  // Few, so that they come again; alike, so that they meet in one place.
  const topic = fc.constantFrom(
    "",
    "a",
    "\u00e9",
    "\u00c3\u00a9",
    "\ufeffa",
    "sensors/1/temperature",
    "sensors/2/temperature",
    "x".repeat(256),
    "x".repeat(257),
    ...Array.from({ length: 100 }, (_, i) => `devices/7/${i}`),
  );
  fc.assert(fc.property(fc.array(topic, { maxLength: 300 }), (topics) => {
    const recent = new RecentTopics();
    for (const one of topics) {
      const bytes = encoder.encode(`..${one}..`);
      assertEquals(recent.text(bytes, 2, bytes.length - 2), one);
    }
  }));
});
