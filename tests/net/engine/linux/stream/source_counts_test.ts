import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { encodeSockaddr } from "../../../../../net/engine/linux/ffi/sockaddr.ts";
import {
  SourceCounts,
  sourceCountsBuffer,
} from "../../../../../net/engine/linux/stream/source_counts.ts";

const of = (hostname: string) => encodeSockaddr(hostname, 1);

Deno.test("SourceCounts takes an IPv6 network of 64 bits and a mapped IPv4 address for one source", () => {
  const counts = new SourceCounts(sourceCountsBuffer());
  assertEquals(counts.enter(of("192.0.2.1"), 0, 1), true);
  assertEquals(counts.enter(of("::ffff:192.0.2.1"), 0, 1), false);
  assertEquals(counts.enter(of("192.0.2.2"), 0, 1), true);
  assertEquals(counts.enter(of("2001:db8::1"), 0, 1), true);
  assertEquals(counts.enter(of("2001:db8::2"), 0, 1), false);
  assertEquals(counts.enter(of("2001:db8:0:1::1"), 0, 1), true);
  assertEquals(counts.size, 4);
});

Deno.test("SourceCounts counts as a map does, in two views of one memory", () => {
  const step = fc.record({
    source: fc.nat({ max: 300 }),
    enters: fc.boolean(),
    second: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const buffer = sourceCountsBuffer();
      const views = [new SourceCounts(buffer), new SourceCounts(buffer)];
      const model = new Map<number, number>();
      for (const { source, enters, second } of steps) {
        const sockaddr = of(`10.0.${source >> 8}.${source & 255}`);
        const view = views[Number(second)]!;
        const count = model.get(source) ?? 0;
        if (enters) {
          assertEquals(view.enter(sockaddr, 0, 3), count < 3);
          if (count < 3) model.set(source, count + 1);
        } else {
          view.leave(sockaddr, 0);
          if (count <= 1) model.delete(source);
          else model.set(source, count - 1);
        }
        assertEquals(view.size, model.size);
      }
      for (const [source, count] of model) {
        const sockaddr = of(`10.0.${source >> 8}.${source & 255}`);
        assertEquals(views[0]!.enter(sockaddr, 0, count), false);
        assertEquals(views[0]!.enter(sockaddr, 0, count + 1), true);
      }
    }),
    { numRuns: 30 },
  );
});
