/**
 * mqtt-packet as a second opinion: what it and we read must be the same, for
 * good packets and for whatever a mutated stream still yields. Its known
 * defects are named one by one in tests/support/mqtt_oracle.ts.
 */
import { assert, assertEquals, assertGreater } from "@std/assert";
import fc from "fast-check";
import type {
  Direction,
  ProtocolVersion,
} from "../../../../net/mqtt/packet/mod.ts";
import {
  connackModel,
  connectModel,
  encodeModel,
  type Model,
  type WrittenModel,
  writtenModel,
} from "../../../support/mqtt_models.ts";
import {
  comparable,
  KNOWN_DEFECTS,
  oracleParse,
} from "../../../support/mqtt_oracle.ts";
import {
  cutByHeaders,
  hex,
  readAll,
  splitAt,
} from "../../../support/mqtt_packet.ts";
import { bytesOf } from "../../../vectors/mqtt/vector.ts";

const VERSIONS: readonly ProtocolVersion[] = [3, 4, 5];
const DIRECTIONS: readonly Direction[] = ["upstream", "downstream"];

for (const version of VERSIONS) {
  for (const direction of DIRECTIONS) {
    const place = `of version ${version} going ${direction}`;

    Deno.test(`PacketReader and mqtt-packet take every good stream ${place}`, () => {
      fc.assert(
        fc.property(
          stream(version, direction),
          fc.array(fc.nat(), { maxLength: 4 }),
          (packets, places) => {
            const bytes = joined(packets);
            const ours = readAll(splitAt(bytes, places), {
              direction,
              version,
              established: false,
            });
            assertEquals(ours.error?.message, undefined, hex(bytes));
            assertEquals(
              ours.packets,
              packets.map(({ model }) => model),
              hex(bytes),
            );
            assertEquals(hex(ours.bytes), hex(bytes));
            assertOracleAgrees(packets, version);
          },
        ),
        { numRuns: 600 },
      );
    });

    Deno.test(`PacketReader takes nothing of a mutated stream ${place} that mqtt-packet reads otherwise`, () => {
      let takenWhole = 0;
      let refused = 0;
      fc.assert(
        fc.property(
          stream(version, direction),
          fc.array(mutation, { minLength: 1, maxLength: 4 }),
          (packets, mutations) => {
            const bytes = mutations.reduce(mutate, joined(packets));
            const { packets: models, bytes: taken, error } = readAll(
              [bytes],
              { direction, version, established: false },
            );
            error ? refused++ : takenWhole++;
            // What was taken is the front of the stream, unchanged.
            assertEquals(
              hex(taken),
              hex(bytes.subarray(0, taken.length)),
            );
            const cut = cutByHeaders(new Uint8Array(taken));
            assertEquals(cut.length, models.length, hex(bytes));
            assertOracleAgrees(
              models.map((model, i) => ({
                model: model as Model,
                bytes: cut[i]!,
              })),
              // A mutated CONNECT may have turned into one of another version.
              (models[0]?.version ?? version) as ProtocolVersion,
            );
          },
        ),
        { numRuns: 3000 },
      );
      // Both happen often enough for the test to say something.
      assertGreater(takenWhole, 100);
      assertGreater(refused, 500);
    });
  }
}

Deno.test("PacketReader takes of any bytes only what mqtt-packet reads alike", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...VERSIONS),
      fc.constantFrom(...DIRECTIONS),
      fc.uint8Array({ minLength: 2, maxLength: 40 }),
      (version, direction, bytes) => {
        const { packets, bytes: taken } = readAll([bytes], {
          direction,
          version,
          established: true,
        });
        const cut = cutByHeaders(new Uint8Array(taken));
        assertEquals(cut.length, packets.length);
        assertOracleAgrees(
          packets.map((model, i) => ({
            model: model as Model,
            bytes: cut[i]!,
          })),
          version,
        );
      },
    ),
    { numRuns: 20000 },
  );
});

Deno.test("every known defect of mqtt-packet is there and is told apart by its cause", () => {
  const shown: [string, ProtocolVersion, string, string][] = [
    ["refuses an AUTH", 5, "F0 00", "downstream"],
    ["refuses PUBREL", 3, "6A 02 00 01", "upstream"],
    ["refuses PUBREL", 3, "8A [ 0001 s't' 00 ]", "upstream"],
    ["refuses connect flag", 3, "10 [ s'MQIsdp' 03 03 003C s'c' ]", "first"],
    ["refuses a CONNECT", 3, "10 [ s'MQIsdp' 03 C2 003C s'c' ]", "first"],
    ["refuses a CONNECT", 3, "10 [ s'MQIsdp' 03 C2 003C s'c' s'u' ]", "first"],
    ["refuses a DISCONNECT", 5, "E0 [ 8C { } ]", "downstream"],
    ["reads code", 5, "E0 01 04 C0 00", "upstream"],
    ["reads code", 5, "E0 00 C0 00", "upstream"],
    [
      "forgets the empty",
      5,
      "30 [ s't' { 26 s'k' s'' 26 s'k' s'v' } ]",
      "upstream",
    ],
  ];
  for (const [cause, version, notation, place] of shown) {
    const bytes = bytesOf(notation);
    const { packets, error } = readAll([bytes], {
      direction: place === "downstream" ? "downstream" : "upstream",
      version,
      established: place !== "first",
    });
    assertEquals(error?.message, undefined, notation);
    const defect = KNOWN_DEFECTS.find((known) =>
      known.cause.startsWith(cause) &&
      known.applies(packets[0] as Model, bytes, version)
    );
    assert(defect, `${cause}: ${notation}`);
    const oracle = oracleParse([bytes], version);
    const agrees = oracle.error === undefined &&
      JSON.stringify(oracle.packets.map((model) => comparable(model))) ===
        JSON.stringify(packets.map((model) => comparable(model as Model)));
    assert(!agrees, `mqtt-packet has mended: ${defect.cause}`);
  }
  const named = new Set(shown.map(([cause]) => cause));
  assertEquals(
    KNOWN_DEFECTS.filter(({ cause }) =>
      ![...named].some((start) => cause.startsWith(start))
    ),
    [],
    "a defect is listed and not shown",
  );
});

/** CONNECT or CONNACK, then some packets. */
function stream(
  version: ProtocolVersion,
  direction: Direction,
): fc.Arbitrary<WrittenModel[]> {
  const first = direction === "upstream"
    ? connectModel(version)
    : connackModel(version).map((model) => ({ ...model, code: 0 }));
  return fc.tuple(
    first.map((model) => ({ model, bytes: encodeModel(model, version) })),
    fc.array(writtenModel(version, direction), { maxLength: 5 }),
  ).map(([packet, packets]) => [packet, ...packets]);
}

/** What mqtt-packet makes of packets that we took is what we made of them. */
function assertOracleAgrees(
  packets: readonly WrittenModel[],
  version: ProtocolVersion,
): void {
  const defectsOf = ({ model, bytes }: WrittenModel) =>
    KNOWN_DEFECTS.filter(({ applies }) => applies(model, bytes, version));
  const judged = packets.filter((packet) =>
    !defectsOf(packet).some(({ effect }) => effect === "refuses")
  );
  const overreads = judged.some((packet) =>
    defectsOf(packet).some(({ effect }) => effect === "overreads")
  );
  // In one chunk, so that to read on behind a packet's end would show.
  const chunks = overreads
    ? judged.map(({ bytes }) => bytes)
    : [joined(judged)];
  const oracle = oracleParse(chunks, version);
  const title = `${version}: ${hex(joined(judged))}`;
  assertEquals(oracle.error, undefined, title);
  assertEquals(oracle.packets.length, judged.length, title);
  for (const [i, packet] of judged.entries()) {
    const withUsers = !defectsOf(packet).some(({ effect }) =>
      effect === "loses user properties"
    );
    assertEquals(
      comparable(oracle.packets[i]!, withUsers),
      comparable(packet.model, withUsers),
      title,
    );
  }
}

type Mutation = readonly [kind: number, place: number, value: number];

const mutation: fc.Arbitrary<Mutation> = fc.tuple(
  fc.nat({ max: 6 }),
  fc.nat(),
  fc.oneof(
    fc.nat({ max: 255 }),
    fc.constantFrom(0, 1, 2, 0x7f, 0x80, 0xff, 0xc0, 0x30, 0x26, 0x23),
  ),
);

function mutate(bytes: Uint8Array, [kind, place, value]: Mutation): Uint8Array {
  if (bytes.length === 0) return bytes;
  const at = place % bytes.length;
  const list = [...bytes];
  switch (kind) {
    case 0: // another byte
      list[at] = value;
      break;
    case 1: // another bit
      list[at]! ^= 1 << (value & 7);
      break;
    case 2: // one more
      list[at] = (list[at]! + 1) & 0xff;
      break;
    case 3: // one less
      list[at] = (list[at]! - 1) & 0xff;
      break;
    case 4: // a byte in between
      list.splice(at, 0, value);
      break;
    case 5: // a byte taken out
      list.splice(at, 1);
      break;
    default: // a part twice
      list.splice(at, 0, ...list.slice(at, at + 1 + value % 16));
  }
  return new Uint8Array(list);
}

function joined(packets: readonly WrittenModel[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(packets.flatMap(({ bytes }) => [...bytes]));
}
