/** Framing: where packets lie, what is kept of them and for how long. */
import { assert, assertEquals, assertLess, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Framer, PacketError } from "../../../../net/mqtt/packet/mod.ts";
import { hex, splitAt } from "../../../support/mqtt_packet.ts";
import { bytesOf } from "../../../vectors/mqtt/vector.ts";

function framerFor(maxPacketBytes = 65536): Framer {
  const framer = new Framer({
    direction: "upstream",
    version: 4,
    maxPacketBytes,
  });
  framer.established = true;
  return framer;
}

Deno.test("Framer.next() yields packets where they lie in the chunk", () => {
  const framer = framerFor();
  const chunk = bytesOf("30 [ s'a' '1' ] C0 00 32 [ s'b' 0001 41*200 ]");
  framer.push(chunk);
  const places: number[][] = [];
  while (framer.next()) {
    assert(framer.buffer === chunk);
    places.push([framer.start, framer.bodyStart, framer.end]);
  }
  assertEquals(places, [[0, 2, 6], [6, 8, 8], [8, 11, 216]]);
  assertEquals(framer.partialBytes, 0);
});

Deno.test("Framer.next() copies only the packet that two chunks share", () => {
  const framer = framerFor();
  const bytes = bytesOf("C0 00 30 [ s'topic' 'split here' ] C0 00");
  const [front, back] = splitAt(bytes, [9]) as [Uint8Array, Uint8Array];
  framer.push(front);
  assert(framer.next() && framer.buffer === front);
  assert(!framer.next());
  assertEquals(framer.partialBytes, 7);
  framer.push(back);
  assert(framer.next());
  assert(framer.buffer !== front && framer.buffer !== back);
  assertEquals(
    hex(framer.buffer.subarray(framer.start, framer.end)),
    hex(bytes.subarray(2, bytes.length - 2)),
  );
  assert(framer.next() && framer.buffer === back);
  assert(!framer.next());
});

Deno.test("Framer keeps all packets of a chunk valid until the next push()", () => {
  const framer = framerFor();
  const first = bytesOf("30 [ s'first' '11111' ]");
  const second = bytesOf("30 [ s'second' '22222' ]");
  const third = bytesOf("30 [ s'third' '33333' ]");
  const all = new Uint8Array([...first, ...second, ...third]);
  // Every chunk ends one packet and begins the next, so that one is completed
  // in the framer's memory while the other is put aside there.
  const ends = [
    first.length - 3,
    first.length + second.length - 3,
  ];
  const seen: string[] = [];
  for (const chunk of splitAt(all, ends)) {
    framer.push(chunk);
    const views: Uint8Array[] = [];
    while (framer.next()) {
      views.push(framer.buffer.subarray(framer.start, framer.end));
    }
    seen.push(...views.map((view) => hex(view)));
  }
  assertEquals(seen, [first, second, third].map((packet) => hex(packet)));
});

Deno.test("Framer needs nothing of a chunk once next() returned false", () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat({ max: 700 }), { minLength: 1, maxLength: 8 }),
      fc.array(fc.nat(), { maxLength: 12 }),
      (sizes, places) => {
        const packets = sizes.map((size, i) =>
          bytesOf(
            `30 [ s't' ${(i % 10).toString().padStart(2, "4")}*${size + 1} ]`,
          )
        );
        const all = new Uint8Array(packets.flatMap((packet) => [...packet]));
        const framer = framerFor();
        const shared = new Uint8Array(all.length);
        const seen: string[] = [];
        for (const chunk of splitAt(all, places)) {
          shared.fill(0xee);
          shared.set(chunk);
          framer.push(shared.subarray(0, chunk.length));
          while (framer.next()) {
            seen.push(hex(framer.buffer.subarray(framer.start, framer.end)));
          }
        }
        assertEquals(seen, packets.map((packet) => hex(packet)));
        assertEquals(framer.partialBytes, 0);
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("Framer takes memory for what arrived, not for what a header promises", () => {
  const before = Deno.memoryUsage();
  const framers: Framer[] = [];
  for (let i = 0; i < 1000; i++) {
    const framer = framerFor(268_435_460);
    framer.push(bytesOf("30 FF FF FF 7F 0001 'a' 41*100"));
    assert(!framer.next());
    framers.push(framer);
  }
  const grownBytes = Deno.memoryUsage().external - before.external;
  // A thousand promises of 256 MB.
  assertLess(grownBytes, 4 * 1024 * 1024);
  assertEquals(framers.reduce((sum, f) => sum + f.partialBytes, 0), 108_000);
});

Deno.test("Framer completes a packet of many chunks", () => {
  const framer = framerFor(10_000_000);
  const bytes = bytesOf("30 [ s't' 41*1000000 ] C0 00");
  let packets = 0;
  for (let at = 0; at < bytes.length; at += 1460) {
    framer.push(bytes.subarray(at, at + 1460));
    while (framer.next()) {
      packets++;
      if (packets === 1) assertEquals(framer.end - framer.bodyStart, 1_000_003);
    }
  }
  assertEquals(packets, 2);
});

Deno.test("Framer.maxPacketBytes refuses from the header alone", () => {
  const framer = framerFor(100);
  framer.push(bytesOf("30 [ s't' 41*95 ] 30 63"));
  assert(framer.next());
  const error = assertThrows(() => framer.next(), PacketError);
  assertEquals(error.message, "PUBLISH is larger than the limit [2.2.3]");
});

Deno.test("Framer.maxPacketBytes may be raised between packets", () => {
  const framer = framerFor(100);
  framer.push(bytesOf("C0 00 30 [ s't' 41*500 ]"));
  assert(framer.next());
  framer.maxPacketBytes = 1000;
  assert(framer.next());
});

Deno.test("Framer says which version a too large CONNECT has, where it can be seen", () => {
  const answers = ["4", "5"].flatMap((level) =>
    ["", `s'MQTT'`, `s'MQTT' 0${level} 02`].map((seen) => {
      const framer = new Framer({ direction: "upstream", maxPacketBytes: 64 });
      framer.push(bytesOf(`10 FF 7F ${seen}`));
      const error = assertThrows(() => framer.next(), PacketError);
      return `${error.answer.kind} ${error.reasonCode}`;
    })
  );
  assertEquals(answers, [
    "close 149",
    "close 149",
    "close 149",
    "close 149",
    "close 149",
    "connack 149",
  ]);
});

Deno.test("Framer.push() wants the chunk before it to be used up", () => {
  const framer = framerFor();
  framer.push(bytesOf("C0 00 C0 00"));
  assert(framer.next());
  assertThrows(
    () => framer.push(bytesOf("C0 00")),
    RangeError,
    "Cannot take a chunk before next() returned false for the one before",
  );
});
