/**
 * Every fixed header against the tables of the standards: types and directions
 * (2.2.1 in 3.1.1, 2.1.2 in 5.0), flags (2.2.2, 2.1.3) and the lengths of
 * bodies whose fields are all of fixed size (3.2 to 3.15).
 */
import { assertEquals } from "@std/assert";
import { fixedHeaderProblem } from "../../../../net/mqtt/packet/fixed_header.ts";
import type { ProtocolVersion } from "../../../../net/mqtt/packet/protocol.ts";

/** A row of the standards' tables. */
interface Row {
  readonly name: string;
  /** Who sends it: client, server, or both. */
  readonly from: "C" | "S" | "CS";
  readonly flags: number;
  /** Shortest and longest body, in 3.1.1 and in 5.0. */
  readonly bytes4: readonly [number, number];
  readonly bytes5: readonly [number, number];
}

function row(
  name: string,
  from: Row["from"],
  flags: number,
  bytes4: Row["bytes4"],
  bytes5: Row["bytes5"],
): Row {
  return { name, from, flags, bytes4, bytes5 };
}

/** From 1 to 14; AUTH is one more in 5.0. The fields of CONNECT and PUBLISH are for who reads their bodies. */
const ROWS: readonly Row[] = [
  row("CONNECT", "C", 0, [0, Infinity], [0, Infinity]),
  row("CONNACK", "S", 0, [2, 2], [3, Infinity]),
  row("PUBLISH", "CS", 0, [0, Infinity], [0, Infinity]),
  row("PUBACK", "CS", 0, [2, 2], [2, Infinity]),
  row("PUBREC", "CS", 0, [2, 2], [2, Infinity]),
  row("PUBREL", "CS", 2, [2, 2], [2, Infinity]),
  row("PUBCOMP", "CS", 0, [2, 2], [2, Infinity]),
  row("SUBSCRIBE", "C", 2, [2, Infinity], [3, Infinity]),
  row("SUBACK", "S", 0, [3, Infinity], [4, Infinity]),
  row("UNSUBSCRIBE", "C", 2, [2, Infinity], [3, Infinity]),
  row("UNSUBACK", "S", 0, [2, 2], [4, Infinity]),
  row("PINGREQ", "C", 0, [0, 0], [0, 0]),
  row("PINGRESP", "S", 0, [0, 0], [0, 0]),
  row("DISCONNECT", "C", 0, [0, 0], [0, Infinity]),
];
const DISCONNECT_5 = row("DISCONNECT", "CS", 0, [0, 0], [0, Infinity]);
const AUTH_5 = row("AUTH", "CS", 0, [0, 0], [0, Infinity]);

function rowOf(type: number, version: number): Row | undefined {
  if (version === 5 && type === 14) return DISCONNECT_5;
  if (version === 5 && type === 15) return AUTH_5;
  return ROWS[type - 1];
}

/** What the standards say is wrong with an established connection's header. */
function expected(
  first: number,
  bytes: number,
  version: ProtocolVersion,
  from: "C" | "S",
): string | undefined {
  const found = rowOf(first >> 4, version);
  if (found === undefined) return "is no packet of this version";
  const { name, flags } = found;
  if (name === "CONNECT" && from === "C") return "came a second time";
  if (name === "CONNACK" && from === "S") return "came a second time";
  if (!found.from.includes(from)) return "is not for this side to send";
  if (name === "PUBLISH") {
    const qos = first >> 1 & 3;
    if (qos === 3) return "has QoS 3";
    if (qos === 0 && (first & 8) !== 0) return "repeats a message of QoS 0";
  } else if ((first & 15) !== flags) {
    // MQTT 3.1 (2.1): PUBREL, SUBSCRIBE and UNSUBSCRIBE have QoS 1 and may be repeated.
    const repeated = version === 3 && flags === 2 && (first & 15) === 10;
    if (!repeated) return "has wrong flags in its first byte";
  }
  return lengthProblem(found, bytes, version);
}

function lengthProblem(
  { bytes4, bytes5 }: Row,
  bytes: number,
  version: number,
): string | undefined {
  const [min, max] = version === 5 ? bytes5 : bytes4;
  if (bytes < min) return "is shorter than its fields";
  if (bytes > max) return "is longer than its fields";
  return undefined;
}

/** Around every length of the table, and the longest that four bytes say. */
const LENGTHS = [0, 1, 2, 3, 4, 5, 127, 268_435_455];
const VERSIONS = [3, 4, 5] as const;

Deno.test("fixedHeaderProblem() goes by the tables of the standards, for every first byte", () => {
  for (const version of VERSIONS) {
    for (const from of ["C", "S"] as const) {
      for (let first = 0; first < 256; first++) {
        for (const bytes of LENGTHS) {
          const problem = fixedHeaderProblem(
            first,
            bytes,
            version,
            from === "C",
            true,
          );
          assertEquals(
            problem?.problem,
            expected(first, bytes, version, from),
            `${from} ${version} ${first.toString(16)} ${bytes}`,
          );
        }
      }
    }
  }
});

Deno.test("fixedHeaderProblem() takes only a CONNECT first of a client (3.1)", () => {
  for (const version of [0, ...VERSIONS] as const) {
    for (let first = 0; first < 256; first++) {
      const problem = fixedHeaderProblem(first, 10, version, true, false);
      const type = first >> 4;
      assertEquals(
        problem?.problem,
        type === 0
          ? "is no packet of this version"
          : type !== 1
          ? "came before CONNECT"
          : first === 0x10
          ? undefined
          : "has wrong flags in its first byte",
        `${version} ${first.toString(16)}`,
      );
    }
  }
});

Deno.test("fixedHeaderProblem() takes only a CONNACK first of a server (3.2), or an AUTH of 5.0 (4.12)", () => {
  for (const version of VERSIONS) {
    for (let first = 0; first < 256; first++) {
      for (const bytes of LENGTHS) {
        const problem = fixedHeaderProblem(first, bytes, version, false, false);
        const type = first >> 4;
        const row = rowOf(type, version);
        assertEquals(
          problem?.problem,
          type === 0
            ? "is no packet of this version"
            : row?.name !== "CONNACK" && row?.name !== "AUTH"
            ? "came before CONNACK"
            : (first & 15) !== 0
            ? "has wrong flags in its first byte"
            : lengthProblem(row, bytes, version),
          `${version} ${first.toString(16)} ${bytes}`,
        );
      }
    }
  }
});

Deno.test("fixedHeaderProblem() calls a broken form malformed, and a wrong order a protocol error", () => {
  const codes = [
    // QoS 3, DUP with QoS 0, type 0, wrong flags, too short, too long.
    ...[0x36, 0x38, 0x00, 0xc1].map((first) =>
      fixedHeaderProblem(first, 0, 5, true, true)
    ),
    fixedHeaderProblem(0x40, 1, 5, true, true),
    fixedHeaderProblem(0xc0, 1, 5, true, true),
    // A second CONNECT, another type before it, a server's packet from a client.
    fixedHeaderProblem(0x10, 9, 5, true, true),
    fixedHeaderProblem(0xc0, 0, 5, true, false),
    fixedHeaderProblem(0x20, 3, 5, true, true),
    fixedHeaderProblem(0x20, 3, 5, false, true),
    fixedHeaderProblem(0xd0, 0, 5, false, false),
  ].map((problem) => problem?.reasonCode);
  assertEquals(codes, [...Array(6).fill(0x81), ...Array(5).fill(0x82)]);
});
