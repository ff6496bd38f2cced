/** What a gateway says itself: every packet is one that a reader takes. */
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { UsageError } from "../../../../net/errors.ts";
import {
  connackReturnCode,
  type Direction,
  encodeAck,
  encodeAnswer,
  encodeConnack,
  encodeDisconnect,
  encodePingreq,
  encodePingresp,
  encodeSuback,
  encodeUnsuback,
  isReasonOf,
  type PacketError,
  PacketType,
  type ProtocolVersion,
} from "../../../../net/mqtt/packet/mod.ts";
import { hex, readAll } from "../../../support/mqtt_packet.ts";

const versions = fc.constantFrom<ProtocolVersion>(3, 4, 5);
const directions = fc.constantFrom<Direction>("upstream", "downstream");
const text = fc.string({ unit: "binary", maxLength: 20 }).map((s) =>
  s.replaceAll("\0", "x")
);
const explanations = fc.record({
  reasonString: fc.option(text, { nil: undefined }),
  userProperties: fc.option(
    fc.array(fc.tuple(text, text), { maxLength: 3 }),
    { nil: undefined },
  ),
}).map(({ reasonString, userProperties }) => ({
  ...(reasonString === undefined ? {} : { reasonString }),
  ...(userProperties === undefined ? {} : { userProperties }),
}));
const packetIds = fc.integer({ min: 1, max: 65535 });
const codes = fc.nat({ max: 255 });

/** The one packet that the bytes are, as plain values. */
function read(
  bytes: Uint8Array,
  version: ProtocolVersion,
  direction: Direction,
  established = true,
): Record<string, unknown> {
  const { packets, error } = readAll([bytes], {
    direction,
    version,
    established,
  });
  assertEquals(error?.message, undefined, hex(bytes));
  assertEquals(packets.length, 1);
  return packets[0]!;
}

function explained(
  version: ProtocolVersion,
  { reasonString, userProperties = [] }: {
    reasonString?: string;
    userProperties?: readonly (readonly [string, string])[];
  },
): [number, unknown][] {
  if (version !== 5) return [];
  return [
    ...(reasonString === undefined
      ? []
      : [[0x1f, reasonString] as [number, unknown]]),
    ...userProperties.map((pair) => [0x26, [...pair]] as [number, unknown]),
  ];
}

Deno.test("encodeConnack() writes what a reader takes", () => {
  fc.assert(
    fc.property(
      versions,
      codes.filter((code) => isReasonOf(PacketType.CONNACK, code, false)),
      fc.boolean(),
      explanations,
      (version, reasonCode, present, explanation) => {
        const sessionPresent = present && reasonCode === 0;
        const bytes = encodeConnack({
          version,
          reasonCode,
          sessionPresent,
          ...explanation,
        });
        assertEquals(read(bytes, version, "downstream", false), {
          type: "CONNACK",
          sessionPresent,
          code: version === 5
            ? reasonCode
            : reasonCode === 0
            ? 0
            : connackReturnCode(reasonCode),
          properties: explained(version, explanation),
        });
      },
    ),
  );
});

Deno.test("encodeAck() writes what a reader takes", () => {
  fc.assert(
    fc.property(
      versions,
      directions,
      fc.constantFrom<4 | 5 | 6 | 7>(4, 5, 6, 7),
      packetIds,
      codes,
      explanations,
      (version, direction, type, packetId, code, explanation) => {
        const upstream = direction === "upstream";
        const reasonCode =
          isReasonOf(type, code, upstream) && (version === 5 || code < 0x80)
            ? code
            : 0;
        const bytes = encodeAck({
          type,
          version,
          direction,
          packetId,
          reasonCode,
          ...explanation,
        });
        const packet = read(bytes, version, direction);
        assertEquals(packet.id, packetId);
        assertEquals(packet.code, version === 5 ? reasonCode : 0);
        assertEquals(packet.properties, explained(version, explanation));
      },
    ),
  );
});

Deno.test("encodeSuback() and encodeUnsuback() write what a reader takes", () => {
  fc.assert(
    fc.property(
      versions,
      packetIds,
      fc.array(codes, { minLength: 1, maxLength: 200 }),
      explanations,
      (version, packetId, picks, explanation) => {
        const granted = picks.map((code) =>
          isReasonOf(PacketType.SUBACK, code, false) &&
            (version !== 3 || code < 0x80)
            ? code
            : 1
        );
        assertEquals(
          read(
            encodeSuback({ version, packetId, codes: granted, ...explanation }),
            version,
            "downstream",
          ),
          {
            type: "SUBACK",
            id: packetId,
            codes: version === 5
              ? granted
              : granted.map((code) => Math.min(code, 0x80)),
            properties: explained(version, explanation),
          },
        );
        const given = picks.map((code) =>
          isReasonOf(PacketType.UNSUBACK, code, false) ? code : 0x11
        );
        assertEquals(
          read(
            encodeUnsuback({ version, packetId, codes: given, ...explanation }),
            version,
            "downstream",
          ),
          {
            type: "UNSUBACK",
            id: packetId,
            codes: version === 5 ? given : [],
            properties: explained(version, explanation),
          },
        );
      },
    ),
  );
});

Deno.test("encodeDisconnect() writes what a reader takes", () => {
  fc.assert(
    fc.property(directions, codes, explanations, (direction, code, more) => {
      const upstream = direction === "upstream";
      const reasonCode = isReasonOf(PacketType.DISCONNECT, code, upstream)
        ? code
        : 0x80;
      const bytes = encodeDisconnect({
        version: 5,
        direction,
        reasonCode,
        ...more,
      });
      assertEquals(read(bytes, 5, direction), {
        type: "DISCONNECT",
        code: reasonCode,
        properties: explained(5, more),
      });
    }),
  );
  for (const version of [3, 4] as const) {
    assertEquals(
      hex(encodeDisconnect({ version, direction: "upstream" })),
      "e0 00",
    );
  }
});

Deno.test("encoders leave out what explains where there is no room for it", () => {
  fc.assert(
    fc.property(
      explanations,
      fc.integer({ min: 30, max: 120 }),
      fc.array(fc.constant(0x87), { minLength: 1, maxLength: 20 }),
      (explanation, maxPacketBytes, refusals) => {
        const options = { ...explanation, maxPacketBytes };
        const packets = [
          encodeConnack({ version: 5, reasonCode: 0x87, ...options }),
          encodeDisconnect({
            version: 5,
            direction: "downstream",
            reasonCode: 0x8b,
            ...options,
          }),
          encodeAck({
            type: 4,
            version: 5,
            direction: "downstream",
            packetId: 1,
            reasonCode: 0x87,
            ...options,
          }),
          encodeSuback({
            version: 5,
            packetId: 1,
            codes: refusals,
            ...options,
          }),
        ];
        const wanted = explained(5, explanation);
        for (const [i, bytes] of packets.entries()) {
          assertEquals(bytes.length <= maxPacketBytes, true, hex(bytes));
          const { properties } = read(bytes, 5, "downstream", i > 0);
          // The text is worth more than the user properties, which go all or none.
          const texts = wanted.filter(([id]) => id === 0x1f);
          const users = wanted.filter(([id]) => id === 0x26);
          assertEquals(
            [wanted, texts, users, []].some((some) =>
              JSON.stringify(some) === JSON.stringify(properties)
            ),
            true,
            JSON.stringify(properties),
          );
        }
      },
    ),
  );
});

Deno.test("encoders use room to the last byte", () => {
  const options = { version: 5, reasonCode: 0x87, reasonString: "no" } as const;
  const whole = encodeConnack(options);
  assertEquals(
    encodeConnack({ ...options, maxPacketBytes: whole.length }),
    whole,
  );
  assertEquals(
    hex(encodeConnack({ ...options, maxPacketBytes: whole.length - 1 })),
    "20 03 00 87 00",
  );
});

Deno.test("encodeAck() explains nothing to a client that asked for no problem information", () => {
  const options = {
    type: PacketType.PUBACK,
    version: 5,
    direction: "downstream",
    packetId: 1,
    reasonCode: 0x87,
    reasonString: "not yours",
    problemInformation: false,
  } as const;
  assertEquals(hex(encodeAck(options)), "40 03 00 01 87");
  assertEquals(
    hex(encodeSuback({ ...options, codes: [0x87] })),
    "90 04 00 01 00 87",
  );
  // MQTT-3.1.2-29 excepts CONNACK and DISCONNECT.
  assertEquals(
    hex(encodeDisconnect({ ...options, reasonString: "a" })),
    "e0 06 87 04 1f 00 01 61",
  );
});

Deno.test("encodePingreq() and encodePingresp() are two bytes", () => {
  assertEquals(hex(encodePingreq()), "c0 00");
  assertEquals(hex(encodePingresp()), "d0 00");
});

Deno.test("encoders refuse what a version cannot say", () => {
  const refused: [() => unknown, string][] = [
    [
      () =>
        encodeAck({
          type: 4,
          version: 4,
          direction: "downstream",
          packetId: 1,
          reasonCode: 0x87,
        }),
      "Cannot write PUBACK with 0x87: only MQTT 5 refuses a message",
    ],
    [
      () => encodeSuback({ version: 3, packetId: 1, codes: [0, 0x80] }),
      "Cannot refuse a filter in a SUBACK of MQTT 3.1: it has no code for it",
    ],
    [
      () => encodeDisconnect({ version: 4, direction: "downstream" }),
      "Cannot write a DISCONNECT to a client: it came with MQTT 5",
    ],
    [
      () =>
        encodeDisconnect({
          version: 4,
          direction: "upstream",
          reasonCode: 4,
        }),
      "Cannot write DISCONNECT with 0x04: reason codes came with MQTT 5",
    ],
    [
      () => encodeConnack({ version: 5, reasonCode: 0x42 }),
      "Cannot write CONNACK with 0x42: it is no reason code of it",
    ],
    [
      () =>
        encodeConnack({ version: 5, reasonCode: 0x87, sessionPresent: true }),
      "Cannot refuse a client with a session present",
    ],
    [
      () =>
        encodeConnack({
          version: 4,
          reasonCode: 0,
          properties: [{ id: 0x13, value: 60 }],
        }),
      "Cannot write properties: they came with MQTT 5",
    ],
    [
      () => encodeUnsuback({ version: 5, packetId: 1, codes: [] }),
      "Cannot write an UNSUBACK of MQTT 5 without codes",
    ],
    [
      () => encodeSuback({ version: 5, packetId: 0, codes: [0] }),
      "Cannot use packet identifier 0: it must be 1 to 65535",
    ],
    [
      () =>
        encodeConnack({
          version: 5,
          reasonCode: 0,
          properties: [{ id: 0x13, value: 70000 }],
        }),
      "Cannot write Server Keep Alive 70000: it must be 0 to 65535",
    ],
    [
      () =>
        encodeConnack({
          version: 5,
          reasonCode: 0,
          reasonString: "\ud800",
        }),
      "Cannot write Reason String: the text has a lone surrogate",
    ],
  ];
  for (const [call, message] of refused) {
    assertThrows(call, UsageError, message);
  }
});

Deno.test("encodeAnswer() answers as the version and the state of the connection want", () => {
  const answer = (
    bytes: number[],
    version: ProtocolVersion,
    direction: Direction,
    established: boolean,
    connackSent: boolean,
  ) => {
    const { error } = readAll([new Uint8Array(bytes)], {
      version,
      direction,
      established,
    });
    const encoded = encodeAnswer(error as PacketError, { connackSent });
    return encoded && hex(encoded);
  };
  const badPublish = [0x36, 5, 0, 1, 97, 0, 1];
  // A client of 5.0 is told, one of 3.1.1 is not.
  assertEquals(answer(badPublish, 5, "upstream", true, true), "e0 01 81");
  assertEquals(answer(badPublish, 4, "upstream", true, true), undefined);
  // MQTT-3.14.0-1: no DISCONNECT before the CONNACK.
  assertEquals(
    answer(badPublish, 5, "upstream", true, false),
    "20 03 00 81 00",
  );
  // A code that CONNACK does not have becomes a protocol error.
  const badAlias = [0x30, 7, 0, 1, 97, 3, 0x23, 0, 0];
  assertEquals(answer(badAlias, 5, "upstream", true, true), "e0 01 94");
  assertEquals(answer(badAlias, 5, "upstream", true, false), "20 03 00 82 00");
  // A broker of 5.0 is told as by a client.
  assertEquals(answer(badPublish, 5, "downstream", true, true), "e0 01 81");
  assertEquals(answer(badPublish, 4, "downstream", true, true), undefined);
  // CONNECT: a level that is not known, and a missing client identifier.
  const connect = (level: number, flags: number, rest: number[]) => {
    const body = [0, 4, 77, 81, 84, 84, level, flags, 0, 60, ...rest];
    return [0x10, body.length, ...body];
  };
  assertEquals(
    answer(connect(3, 2, []), 4, "upstream", false, false),
    "20 02 00 01",
  );
  assertEquals(
    answer(connect(9, 2, []), 4, "upstream", false, false),
    "20 03 00 84 00",
  );
  assertEquals(
    answer(connect(4, 0, [0, 0]), 4, "upstream", false, false),
    "20 02 00 02",
  );
  assertEquals(
    answer(connect(5, 3, [0, 0, 0]), 5, "upstream", false, false),
    "20 03 00 81 00",
  );
});
