/** Packets at and beyond the framer's limits: exact sizes, PUBLISH packets that are skipped, and the budget of all framers. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  FREE_HELD_BYTES,
  HeldBudget,
} from "../../../../net/mqtt/packet/held_budget.ts";
import { Framer, PacketError } from "../../../../net/mqtt/packet/mod.ts";
import type { FramerOptions } from "../../../../net/mqtt/packet/framer.ts";
import { byteByByte, hex, splitAt } from "../../../support/mqtt_packet.ts";
import { bytesOf } from "../../../vectors/mqtt/vector.ts";

function framerFor(options: Partial<FramerOptions> = {}): Framer {
  const framer = new Framer({ direction: "upstream", version: 4, ...options });
  framer.established = true;
  return framer;
}

/** What a framer finds in chunks: packets as hex, and the lengths of those that are too large. */
function found(framer: Framer, chunks: readonly Uint8Array[]): unknown[] {
  const all: unknown[] = [];
  for (const chunk of chunks) {
    framer.push(chunk);
    while (framer.next()) {
      const { buffer, start, bodyStart, end, oversizedBytes } = framer;
      all.push([
        hex(buffer.subarray(start, bodyStart)),
        hex(buffer.subarray(bodyStart, end)),
        oversizedBytes,
      ]);
    }
  }
  assertEquals(framer.partialBytes, 0);
  return all;
}

/** Chunks that a stream may arrive in: byte by byte, and in two at every place. */
function* arrivals(bytes: Uint8Array): Generator<Uint8Array[]> {
  yield byteByByte(bytes);
  for (let at = 0; at < bytes.length; at++) yield splitAt(bytes, [at]);
}

function problemOf(framer: Framer, bytes: Uint8Array): PacketError {
  framer.push(bytes);
  return assertThrows(() => {
    while (framer.next());
  }, PacketError);
}

Deno.test("Framer takes a packet of exactly the limit, where it lies or put together", () => {
  const bytes = bytesOf("C0 00 30 [ s't' 41*95 ] C0 00");
  const packet = bytes.subarray(2, 102);
  const expected = [
    ["c0 00", "", 0],
    [hex(packet.subarray(0, 2)), hex(packet.subarray(2)), 0],
    ["c0 00", "", 0],
  ];
  for (const skipsOversized of [false, true]) {
    for (const chunks of arrivals(bytes)) {
      const framer = framerFor({ maxPacketBytes: 100 });
      framer.skipsOversized = skipsOversized;
      assertEquals(found(framer, chunks), expected);
    }
  }
  const framer = framerFor({ maxPacketBytes: 100 });
  framer.push(packet);
  assert(framer.next() && framer.buffer === packet);
});

for (
  const [name, text, front] of [
    ["of QoS 0", "30 [ s'topic' 41*200 ]", "s'topic'"],
    ["of QoS 1", "32 [ s'topic' 1234 41*200 ]", "s'topic' 1234"],
    ["that is all topic", "30 [ 0064 42*100 ]", "0064 42*100"],
    [
      "of QoS 2 without a payload",
      "34 [ 0064 42*100 0001 ]",
      "0064 42*100 0001",
    ],
  ]
) {
  Deno.test(`Framer.skipsOversized yields the front of a PUBLISH ${name}, and finds what follows`, () => {
    const large = bytesOf(text!);
    const bodyAt = large[1]! < 0x80 ? 2 : 3;
    const expected = [
      ["c0 00", "", 0],
      [hex(large.subarray(0, bodyAt)), hex(bytesOf(front!)), large.length],
      ["30 03", hex(bytesOf("s't'")), 0],
      ["c0 00", "", 0],
    ];
    const bytes = bytesOf(`C0 00 ${text} 30 [ s't' ] C0 00`);
    for (const chunks of arrivals(bytes)) {
      const framer = framerFor({ maxPacketBytes: 40 });
      framer.skipsOversized = true;
      assertEquals(found(framer, chunks), expected);
    }
  });
}

Deno.test("Framer.skipsOversized refuses a PUBLISH whose topic or identifier is longer than itself", () => {
  for (const text of ["30 [ 0065 42*100 ]", "32 [ 0063 42*100 ]"]) {
    const framer = framerFor({ maxPacketBytes: 40 });
    framer.skipsOversized = true;
    const { message, reasonCode } = problemOf(framer, bytesOf(text));
    assertEquals(
      [message, reasonCode],
      ["PUBLISH is shorter than its fields [MQTT-4.8.0-1]", 0x81],
    );
  }
});

Deno.test("Framer.skipsOversized skips no other type, and nothing of MQTT 5, whose receivers say what they take", () => {
  const problem = (text: string, options: Partial<FramerOptions> = {}) => {
    const framer = framerFor({ maxPacketBytes: 40, ...options });
    framer.skipsOversized = true;
    return problemOf(framer, bytesOf(text)).message;
  };
  assertEquals(
    problem("82 [ 0001 s'topic' 00 41*100 ]"),
    "SUBSCRIBE is larger than the limit [2.2.3]",
  );
  assertEquals(
    problem("30 [ s'topic' 00 41*100 ]", { version: 5 }),
    "PUBLISH is larger than the limit [MQTT-3.2.2-15]",
  );
  assertEquals(
    problem("30 [ s'topic' 00 41*100 ]", {
      version: 5,
      direction: "downstream",
    }),
    "PUBLISH is larger than the limit [MQTT-3.1.2-24]",
  );
});

Deno.test("Framer.partialBytes counts what is put aside and what is unread", () => {
  const framer = framerFor();
  framer.push(bytesOf("C0 00 30 [ s't' 41*10 ]"));
  assert(framer.next());
  assertEquals([framer.partialBytes, framer.unread.length], [15, 15]);
  assert(framer.next() && !framer.next());
  framer.push(bytesOf("30 0D 00"));
  assert(!framer.next());
  framer.push(bytesOf("01 74 41"));
  assertEquals([framer.partialBytes, framer.unread.length], [6, 3]);
});

Deno.test("Framer refuses another packet than CONNECT as the first, from its first byte", () => {
  const framer = new Framer({ direction: "upstream" });
  assertEquals(
    problemOf(framer, bytesOf("C0")).message,
    "PINGREQ came before CONNECT [MQTT-3.1.0-1]",
  );
});

Deno.test("Framer takes a length in more bytes than needed before MQTT 5 alone, and never in five", () => {
  assertEquals(
    found(framerFor(), byteByByte(bytesOf("C0 80 00 C0 80 80 80 00"))),
    [["c0 80 00", "", 0], ["c0 80 80 80 00", "", 0]],
  );
  assertEquals(
    problemOf(framerFor({ version: 5 }), bytesOf("C0 80 00")).message,
    "PINGREQ has a remaining length in more bytes than it needs [MQTT-1.5.5-1]",
  );
  assertEquals(
    problemOf(framerFor(), bytesOf("C0 80 80 80 80 00")).message,
    "PINGREQ has a remaining length of more than four bytes [2.2.3]",
  );
});

Deno.test("Framer names the version of a too large CONNECT only where it can be MQTT 3.1.1 or 5", () => {
  const versions = ["3", "4", "5", "6"].map((level) => {
    const framer = new Framer({ direction: "upstream", maxPacketBytes: 64 });
    return problemOf(framer, bytesOf(`10 FF 7F s'MQTT' 0${level} 02`)).version;
  });
  assertEquals(versions, [0, 4, 5, 0]);
  const other = new Framer({ direction: "upstream", maxPacketBytes: 64 });
  assertEquals(problemOf(other, bytesOf("10 FF 7F s'MQTX' 04 02")).version, 0);
});

/** A packet that no framer holds for free. */
const LARGE_BYTES = 300_000;
const large = bytesOf(`30 [ s't' 41*${LARGE_BYTES - 7} ]`);

Deno.test("Framer takes a large packet out of the budget of all while it is incomplete", () => {
  assertEquals(large.length, LARGE_BYTES);
  const budget = new HeldBudget(LARGE_BYTES);
  const framer = framerFor({ budget, maxPacketBytes: LARGE_BYTES });
  for (let i = 0; i < 2; i++) {
    framer.push(large.subarray(0, 2 * FREE_HELD_BYTES));
    assert(!framer.next());
    // So much of a packet is free.
    assertEquals(budget.usedBytes, 0);
    framer.push(large.subarray(2 * FREE_HELD_BYTES, LARGE_BYTES - 1));
    assert(!framer.next());
    assertEquals(budget.usedBytes, LARGE_BYTES);
    framer.push(large.subarray(LARGE_BYTES - 1));
    assert(framer.next());
    assertEquals(budget.usedBytes, 0);
    assert(!framer.next());
  }
  framer.push(large.subarray(0, LARGE_BYTES - 1));
  assert(!framer.next());
  framer.release();
  framer.release();
  assertEquals(budget.usedBytes, 0);
});

Deno.test("Framer refuses a packet for which the budget of all has no byte left", () => {
  for (const places of [[], [1], [100_000], [100_000, 200_000]]) {
    const budget = new HeldBudget(LARGE_BYTES - 1);
    const framer = framerFor({ budget, maxPacketBytes: LARGE_BYTES });
    const { message, reasonCode } = assertThrows(
      () => found(framer, splitAt(large.subarray(0, LARGE_BYTES - 1), places)),
      PacketError,
    );
    assertEquals([message, reasonCode], [
      "PUBLISH is larger than the memory that is left for such packets [2.2.3]",
      0x97,
    ]);
  }
});

Deno.test("Framer.skipsOversized skips a PUBLISH for which the budget of all has no byte left", () => {
  for (const places of [[299_999], [100_000, 200_000, 299_999]]) {
    const budget = new HeldBudget(0);
    const framer = framerFor({ budget, maxPacketBytes: LARGE_BYTES });
    framer.skipsOversized = true;
    const chunks = splitAt(new Uint8Array([...large, 0xc0, 0]), places);
    assertEquals(found(framer, chunks), [
      [hex(large.subarray(0, 4)), hex(bytesOf("s't'")), LARGE_BYTES],
      ["c0 00", "", 0],
    ]);
  }
});
