/** The wire suite: each byte sequence whole, byte by byte and split at random. */
import { assert, assertEquals, assertGreaterOrEqual } from "@std/assert";
import fc from "fast-check";
import type { PacketError } from "../../../../net/mqtt/packet/mod.ts";
import {
  byteByByte,
  hex,
  readAll,
  type ReadResult,
  splitAt,
} from "../../../support/mqtt_packet.ts";
import { ACK_VECTORS } from "../../../vectors/mqtt/acks.ts";
import { CONNACK_VECTORS } from "../../../vectors/mqtt/connack.ts";
import { CONNECT_VECTORS } from "../../../vectors/mqtt/connect.ts";
import { FRAMING_VECTORS } from "../../../vectors/mqtt/framing.ts";
import { PUBLISH_VECTORS } from "../../../vectors/mqtt/publish.ts";
import { SUBSCRIBE_VECTORS } from "../../../vectors/mqtt/subscribe.ts";
import type { Vector } from "../../../vectors/mqtt/vector.ts";

const SUITES: Readonly<Record<string, readonly Vector[]>> = {
  "framing": FRAMING_VECTORS,
  "CONNECT": CONNECT_VECTORS,
  "CONNACK, DISCONNECT and AUTH": CONNACK_VECTORS,
  "PUBLISH": PUBLISH_VECTORS,
  "acknowledgements": ACK_VECTORS,
  "subscriptions": SUBSCRIBE_VECTORS,
};
const ALL = Object.values(SUITES).flat();

for (const [name, vectors] of Object.entries(SUITES)) {
  Deno.test(`PacketReader judges ${vectors.length} sequences of ${name} that come whole`, () => {
    for (const vector of vectors) {
      const title = titleOf(vector);
      const result = readAll([vector.bytes], vector);
      assertVerdict(vector, result, title);
      assertPrefix(vector, result, title);
    }
  });

  Deno.test(`PacketReader judges sequences of ${name} byte by byte as it does whole`, () => {
    for (const vector of vectors) {
      assertSame(
        readAll(byteByByte(vector.bytes), vector),
        readAll([vector.bytes], vector),
        titleOf(vector),
      );
    }
  });
}

Deno.test("PacketReader judges sequences split at random as it does whole", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: ALL.length - 1 }),
      fc.array(fc.nat(), { maxLength: 6 }),
      (index, places) => {
        const vector = ALL[index]!;
        assertSame(
          readAll(splitAt(vector.bytes, places), vector),
          readAll([vector.bytes], vector),
          titleOf(vector),
        );
      },
    ),
    { numRuns: 5000 },
  );
});

Deno.test("PacketReader judges good sequences in a row as it does one by one", () => {
  // Sequences that leave the connection as it was can stand behind each other.
  const good = ALL.filter(({ expected, established, maxPacketBytes }) =>
    expected.verdict === "accepted" && established &&
    maxPacketBytes === undefined && expected.packets.length > 0
  );
  fc.assert(
    fc.property(
      fc.constantFrom(...good),
      fc.array(fc.nat(), { minLength: 1, maxLength: 5 }),
      fc.array(fc.nat(), { maxLength: 8 }),
      (first, picks, places) => {
        const fitting = good.filter(({ version, direction }) =>
          version === first.version && direction === first.direction
        );
        const row = [
          first,
          ...picks.map((pick) => fitting[pick % fitting.length]!),
        ];
        const bytes = new Uint8Array(row.flatMap(({ bytes }) => [...bytes]));
        const result = readAll(splitAt(bytes, places), first);
        assertEquals(result.error, undefined);
        assertEquals(
          result.packets,
          row.flatMap((vector) => readAll([vector.bytes], vector).packets),
        );
        assertEquals(hex(result.bytes), hex(bytes));
      },
    ),
    { numRuns: 1000 },
  );
});

Deno.test("the wire suite has at least 400 sequences, of every version and both verdicts", () => {
  const told = new Set(
    ALL.map(({ version, direction, notation }) =>
      `${version} ${direction} ${notation}`
    ),
  );
  assertGreaterOrEqual(told.size, 400);
  for (const version of [3, 4, 5]) {
    for (const verdict of ["accepted", "refused"]) {
      const some = ALL.filter((vector) =>
        vector.version === version && vector.expected.verdict === verdict
      );
      assertGreaterOrEqual(some.length, 50, `${version} ${verdict}`);
    }
  }
});

/** The verdict is what the vector expects. */
function assertVerdict(
  vector: Vector,
  { packets, error }: ReadResult,
  title: string,
): void {
  const { expected } = vector;
  if (expected.verdict === "accepted") {
    assertEquals(error?.message, undefined, title);
    assertEquals(packets.length, expected.packets.length, title);
    for (const [i, fields] of expected.packets.entries()) {
      for (const [key, value] of Object.entries(fields)) {
        assert(key in packets[i]!, `${title}: no field ${key}`);
        assertEquals(packets[i]![key] ?? null, value, `${title}: ${key}`);
      }
    }
    return;
  }
  assert(error, `${title}: taken as ${JSON.stringify(packets)}`);
  assertEquals(
    `${error.clause} ${answerText(error)}`,
    `${expected.clause} ${expected.answer}`,
    `${title}: ${error.message}`,
  );
  assertEquals(packets.length, expected.packetsBefore, title);
  assertEquals(error.direction, vector.direction, title);
}

/** What is taken is the front of what was sent, byte for byte. */
function assertPrefix(
  vector: Vector,
  { bytes }: ReadResult,
  title: string,
): void {
  assertEquals(hex(bytes), hex(vector.bytes.subarray(0, bytes.length)), title);
}

function assertSame(
  actual: ReadResult,
  expected: ReadResult,
  title: string,
): void {
  assertEquals(actual.packets, expected.packets, title);
  assertEquals(actual.bytes, expected.bytes, title);
  assertEquals(actual.error?.message, expected.error?.message, title);
  assertEquals(actual.error?.clause, expected.error?.clause, title);
}

function answerText({ answer }: PacketError): string {
  switch (answer.kind) {
    case "close":
      return "close";
    case "connack":
      return `connack ${hex([answer.code])}`;
    case "disconnect":
      return `disconnect ${hex([answer.reasonCode])}`;
  }
}

function titleOf(vector: Vector): string {
  return `${vector.version} ${vector.direction} ${vector.comment}: ${vector.notation}`;
}
