/**
 * What the fixed header of a packet alone can tell (2.2 in 3.1.1, 2.1 in 5.0):
 * its type, the flags of the type, a length that no such packet can have, and
 * whether such a packet may come on this side and now.
 */
import { PacketType, type ProtocolVersion, ReasonCode } from "./protocol.ts";

/** A broken rule, before it is known whose packet it is. */
export interface Problem {
  /** What is wrong, behind the packet's name. */
  readonly problem: string;
  /** The clause of 3.1.1, also named for 3.1. */
  readonly clause4: string;
  /** The clause of 5.0. */
  readonly clause5: string;
  /** The reason code of MQTT 5. */
  readonly reasonCode: number;
}

/** The rule that a fixed header breaks, or undefined. */
export function fixedHeaderProblem(
  first: number,
  remainingBytes: number,
  version: ProtocolVersion | 0,
  upstream: boolean,
  established: boolean,
): Problem | undefined {
  const problem = firstByteProblem(first, version, upstream, established);
  if (problem !== undefined) return problem;
  const type = first >> 4;
  const five = version === 5;
  const least = five ? LEAST_BYTES_5[type]! : LEAST_BYTES[type]!;
  if (remainingBytes < least) return TOO_SHORT;
  const most = five ? MOST_BYTES_5[type]! : MOST_BYTES[type]!;
  if (remainingBytes > most) return TOO_LONG;
  return undefined;
}

/** The rule that the first byte of a packet breaks, whatever its length, or undefined. */
export function firstByteProblem(
  first: number,
  version: ProtocolVersion | 0,
  upstream: boolean,
  established: boolean,
): Problem | undefined {
  const type = first >> 4;
  if (type === PacketType.PUBLISH && established) {
    if ((first & 0x06) === 0x06) return QOS_3;
    if ((first & 0x0e) === 0x08) return DUP_QOS_0;
    return undefined;
  }
  if (type === 0) return RESERVED_TYPE;
  if (!established) {
    const problem = upstream
      ? (type === PacketType.CONNECT ? undefined : CONNECT_FIRST)
      : (type === PacketType.CONNACK ||
          type === PacketType.AUTH && version === 5
        ? undefined
        : CONNACK_FIRST);
    if (problem) return problem;
  } else if (type === PacketType.CONNECT && upstream) return SECOND_CONNECT;
  else if (type === PacketType.CONNACK && !upstream) return SECOND_CONNACK;

  if (type === PacketType.AUTH && version !== 5) return RESERVED_TYPE;
  const directions = upstream ? UPSTREAM : DOWNSTREAM;
  if ((directions >> type & 1) === 0) {
    // A server's DISCONNECT came with 5.0 (3.14).
    if (type !== PacketType.DISCONNECT || version !== 5) return DIRECTION;
  }
  const wantedFlags = (FLAGS_0010 >> type & 1) << 1;
  if ((first & 0x0f) !== wantedFlags) {
    // MQTT 3.1 (2.1) repeats these three with the DUP bit set.
    if (version !== 3 || (first & 0x0f) !== 0x0a || wantedFlags === 0) {
      return FLAGS;
    }
  }
  return undefined;
}

/** Types that a client sends, as bits. */
const UPSTREAM = 1 << PacketType.CONNECT | 1 << PacketType.PUBLISH |
  1 << PacketType.PUBACK | 1 << PacketType.PUBREC | 1 << PacketType.PUBREL |
  1 << PacketType.PUBCOMP | 1 << PacketType.SUBSCRIBE |
  1 << PacketType.UNSUBSCRIBE | 1 << PacketType.PINGREQ |
  1 << PacketType.DISCONNECT | 1 << PacketType.AUTH;

/** Types that a server sends in every version, as bits. */
const DOWNSTREAM = 1 << PacketType.CONNACK | 1 << PacketType.PUBLISH |
  1 << PacketType.PUBACK | 1 << PacketType.PUBREC | 1 << PacketType.PUBREL |
  1 << PacketType.PUBCOMP | 1 << PacketType.SUBACK | 1 << PacketType.UNSUBACK |
  1 << PacketType.PINGRESP | 1 << PacketType.AUTH;

/** Types whose flags are 0010; those of all others but PUBLISH are 0000. */
const FLAGS_0010 = 1 << PacketType.PUBREL | 1 << PacketType.SUBSCRIBE |
  1 << PacketType.UNSUBSCRIBE;

const ANY = 0x0fffffff;

// By type, 0 to 15: what a body measures at least and at most. The exact ones
// close the hole that a body behind PINGREQ, DISCONNECT or PINGRESP opens: a
// receiver that skips it and forwards the header makes the next packets' bytes
// the body of this one.
const LEAST_BYTES = [0, 0, 2, 0, 2, 2, 2, 2, 2, 3, 2, 2, 0, 0, 0, 0];
const MOST_BYTES = [
  ...[0, ANY, 2, ANY, 2, 2, 2, 2],
  ...[ANY, ANY, ANY, 2, 0, 0, 0, 0],
];
const LEAST_BYTES_5 = [0, 0, 3, 0, 2, 2, 2, 2, 3, 4, 3, 4, 0, 0, 0, 0];
const MOST_BYTES_5 = [
  ...[0, ANY, ANY, ANY, ANY, ANY, ANY, ANY],
  ...[ANY, ANY, ANY, ANY, 0, 0, ANY, ANY],
];

const RESERVED_TYPE: Problem = {
  problem: "is no packet of this version",
  clause4: "2.2.1",
  clause5: "2.1.2",
  reasonCode: ReasonCode.MALFORMED_PACKET,
};
const CONNECT_FIRST: Problem = {
  problem: "came before CONNECT",
  clause4: "MQTT-3.1.0-1",
  clause5: "MQTT-3.1.0-1",
  reasonCode: ReasonCode.PROTOCOL_ERROR,
};
const SECOND_CONNECT: Problem = {
  problem: "came a second time",
  clause4: "MQTT-3.1.0-2",
  clause5: "MQTT-3.1.0-2",
  reasonCode: ReasonCode.PROTOCOL_ERROR,
};
const CONNACK_FIRST: Problem = {
  problem: "came before CONNACK",
  clause4: "MQTT-3.2.0-1",
  clause5: "MQTT-3.2.0-1",
  reasonCode: ReasonCode.PROTOCOL_ERROR,
};
const SECOND_CONNACK: Problem = {
  problem: "came a second time",
  clause4: "3.2",
  clause5: "MQTT-3.2.0-2",
  reasonCode: ReasonCode.PROTOCOL_ERROR,
};
const DIRECTION: Problem = {
  problem: "is not for this side to send",
  clause4: "2.2.1",
  clause5: "2.1.2",
  reasonCode: ReasonCode.PROTOCOL_ERROR,
};
const FLAGS: Problem = {
  problem: "has wrong flags in its first byte",
  clause4: "MQTT-2.2.2-2",
  clause5: "MQTT-2.1.3-1",
  reasonCode: ReasonCode.MALFORMED_PACKET,
};
const QOS_3: Problem = {
  problem: "has QoS 3",
  clause4: "MQTT-3.3.1-4",
  clause5: "MQTT-3.3.1-4",
  reasonCode: ReasonCode.MALFORMED_PACKET,
};
const DUP_QOS_0: Problem = {
  problem: "repeats a message of QoS 0",
  clause4: "MQTT-3.3.1-2",
  clause5: "MQTT-3.3.1-2",
  reasonCode: ReasonCode.MALFORMED_PACKET,
};
const TOO_SHORT: Problem = {
  problem: "is shorter than its fields",
  clause4: "MQTT-4.8.0-1",
  clause5: "MQTT-4.13.1-1",
  reasonCode: ReasonCode.MALFORMED_PACKET,
};
const TOO_LONG: Problem = {
  problem: "is longer than its fields",
  clause4: "MQTT-4.8.0-1",
  clause5: "MQTT-4.13.1-1",
  reasonCode: ReasonCode.MALFORMED_PACKET,
};
