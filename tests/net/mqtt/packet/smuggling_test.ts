/**
 * Packets that two receivers read differently let a client hide one packet
 * from the gateway and show it to the broker. What the gateway lets pass must
 * be cut by every receiver into the packets that the gateway saw.
 */
import { assert, assertEquals } from "@std/assert";
import {
  type Direction,
  encodeAnswer,
  type PacketError,
  type ProtocolVersion,
} from "../../../../net/mqtt/packet/mod.ts";
import {
  byteByByte,
  cutByHeaders,
  hex,
  readAll,
} from "../../../support/mqtt_packet.ts";
import { bytesOf } from "../../../vectors/mqtt/vector.ts";

// A receiver that drops the body of a PINGREQ and forwards its header takes
// the PINGREQ away with what follows it: here the front of the PUBLISH to "ok",
// so that its payload becomes a packet of its own.
const HIDDEN: Readonly<Record<number, string>> = {
  3: "30 [ s'forbidden/smuggled' 'pwned' ]",
  4: "30 [ s'forbidden/smuggled' 'pwned' ]",
  5: "30 [ s'forbidden/smuggled' { } 'pwned' ]",
};

for (const version of [3, 4, 5] as const) {
  Deno.test(`PacketReader refuses a PINGREQ with a body in version ${version}, so that nothing hides behind it`, () => {
    const cover = `30 [ s'ok' ${version === 5 ? "{ }" : ""} ${
      HIDDEN[version]
    } ]`;
    const frontBytes = bytesOf(cover).length - bytesOf(HIDDEN[version]!).length;
    const k = frontBytes.toString(16).padStart(2, "0").toUpperCase();
    // What a receiver reads of which the body was dropped and the header not.
    const forwarded = cutByHeaders(bytesOf(`C0 ${k} ${cover}`));
    assertEquals(hex(forwarded[1]!), hex(bytesOf(HIDDEN[version]!)));
    assertRefusedAtOnce(
      bytesOf(`C0 ${k} 58*${frontBytes} ${cover}`),
      version,
      "upstream",
      "PINGREQ",
    );
  });

  Deno.test(`PacketReader refuses a PINGRESP with a body in version ${version}`, () => {
    assertRefusedAtOnce(
      bytesOf(`D0 03 'abc' ${HIDDEN[version]}`),
      version,
      "downstream",
      "PINGRESP",
    );
  });
}

for (const version of [3, 4] as const) {
  Deno.test(`PacketReader refuses a DISCONNECT with a body in version ${version}`, () => {
    assertRefusedAtOnce(
      bytesOf(`E0 03 'abc' ${HIDDEN[version]}`),
      version,
      "upstream",
      "DISCONNECT",
    );
  });
}

Deno.test("PacketReader refuses a DISCONNECT of MQTT 5 whose body is no code and properties", () => {
  for (const bytes of ["E0 03 'abc'", "E0 03 00 00 30", "E0 02 00 30"]) {
    const { packets, error } = readAll([bytesOf(bytes)], {
      direction: "upstream",
      version: 5,
      established: true,
    });
    assertEquals(packets, [], bytes);
    assert(error, bytes);
  }
});

Deno.test("PacketReader refuses a client identifier longer than its packet, which a broker would pad", () => {
  const { error } = readAll([
    bytesOf("10 [ s'MQTT' 04 02 003C FFFF 'x' ] 30 [ s'ok' 'y' ]"),
  ], { direction: "upstream", version: 4, established: false });
  assertEquals(error?.clause, "MQTT-4.8.0-1");
});

function assertRefusedAtOnce(
  bytes: Uint8Array,
  version: ProtocolVersion,
  direction: Direction,
  name: string,
): void {
  for (
    const chunks of [
      [bytes],
      byteByByte(bytes),
      byteByByte(bytes.subarray(0, 2)),
    ]
  ) {
    const { packets, bytes: taken, error } = readAll(chunks, {
      direction,
      version,
      established: true,
    });
    assertEquals(packets, []);
    assertEquals(taken, []);
    assert(error);
    assertEquals(
      error.message,
      `${name} is longer than its fields [${
        version === 5 ? "MQTT-4.13.1-1" : "MQTT-4.8.0-1"
      }]`,
    );
    assertAnswer(error, version);
  }
}

function assertAnswer(error: PacketError, version: ProtocolVersion): void {
  const answer = encodeAnswer(error, { connackSent: true });
  assertEquals(
    answer && [...answer],
    version === 5 ? [0xe0, 0x01, 0x81] : undefined,
  );
}
