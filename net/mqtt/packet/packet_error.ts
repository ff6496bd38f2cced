/**
 * What is wrong with a packet, which clause says so, and what the peer that
 * sent it is to be answered before its connection is closed.
 */
import {
  type Direction,
  packetName,
  PacketType,
  type ProtocolVersion,
  ReasonCode,
} from "./protocol.ts";

/**
 * What goes to the sender of a bad packet. The connection is closed in any
 * case (MQTT-4.8.0-1 of 3.1.1, MQTT-4.13.1-1 of 5.0); `connack` and
 * `disconnect` say what to send before that.
 */
export type Answer =
  | { readonly kind: "close" }
  | {
    readonly kind: "connack";
    /** 3 and 4: return code 1 to 5; 5: reason code. */
    readonly code: number;
    /** The version in which the CONNACK must be written. */
    readonly version: ProtocolVersion;
  }
  | {
    readonly kind: "disconnect";
    /** Reason code of MQTT 5, the only version in which this is answered. */
    readonly reasonCode: number;
  };

/** What is known of a packet that breaks a rule. */
export interface PacketErrorOptions {
  /** What is wrong, behind the packet's name: `has QoS 3`. */
  problem: string;
  /** The clause, such as `MQTT-3.3.1-4`, or the section where no clause is numbered. */
  clause: string;
  /** The reason code of MQTT 5 for it. */
  reasonCode: number;
  /** 0 as long as no CONNECT told it. */
  version: ProtocolVersion | 0;
  /** Where the packet was going. */
  direction: Direction;
  /** 0 to 15: the upper four bits of the first byte. */
  packetType: number;
  /** Whether a CONNECT went before on this connection. */
  established: boolean;
}

/**
 * A packet that the specification forbids. The message names the packet, the
 * problem and the clause; it never shows what the packet carries.
 *
 * MQTT 3.1 numbers no clauses: there `clause` is the one of 3.1.1 that states
 * the same rule.
 */
export class PacketError extends Error {
  override name = "PacketError";
  /** The clause, such as `MQTT-3.3.1-4`, or a section such as `3.3.2.3.4`. */
  readonly clause: string;
  /** The reason code of MQTT 5 for it, whatever the version. */
  readonly reasonCode: number;
  /** What the sender is to be told. */
  readonly answer: Answer;
  /** The version of the connection; 0 as long as no CONNECT told it. */
  readonly version: ProtocolVersion | 0;
  /** Where the packet was going. */
  readonly direction: Direction;
  /** 0 to 15: the upper four bits of the first byte. */
  readonly packetType: number;

  constructor(options: PacketErrorOptions) {
    const { problem, clause, reasonCode, version, direction, packetType } =
      options;
    super(`${packetName(packetType)} ${problem} [${clause}]`);
    this.clause = clause;
    this.reasonCode = reasonCode;
    this.version = version;
    this.direction = direction;
    this.packetType = packetType;
    this.answer = answerTo(options);
  }
}

/**
 * The CONNACK return code of MQTT 3.1 and 3.1.1 (3.2.2.3) that says what a
 * reason code of MQTT 5 says: 1 to 5.
 */
export function connackReturnCode(reasonCode: number): number {
  switch (reasonCode) {
    case ReasonCode.UNSUPPORTED_PROTOCOL_VERSION:
      return 1;
    case ReasonCode.CLIENT_IDENTIFIER_NOT_VALID:
      return 2;
    case ReasonCode.BAD_USER_NAME_OR_PASSWORD:
      return 4;
    case ReasonCode.NOT_AUTHORIZED:
    case ReasonCode.BANNED:
    case ReasonCode.BAD_AUTHENTICATION_METHOD:
      return 5;
    default:
      return 3;
  }
}

function answerTo(options: PacketErrorOptions): Answer {
  const { reasonCode, version, direction, packetType, established } = options;
  if (version === 0) return CLOSE;
  if (
    direction === "upstream" && packetType === PacketType.CONNECT &&
    !established
  ) {
    // 5.0, 4.13.1: a bad CONNECT may be answered with a CONNACK.
    if (version === 5) return { kind: "connack", code: reasonCode, version };
    // MQTT-3.1.4-1 of 3.1.1: a bad CONNECT is closed without a CONNACK, but
    // these two are well-formed and refused (MQTT-3.1.2-2, MQTT-3.1.3-8).
    return reasonCode === ReasonCode.UNSUPPORTED_PROTOCOL_VERSION ||
        reasonCode === ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
      ? { kind: "connack", code: connackReturnCode(reasonCode), version }
      : CLOSE;
  }
  // Before 5.0 only a client may send DISCONNECT, and its server then drops
  // the will, so it says nothing either.
  return version === 5 ? { kind: "disconnect", reasonCode } : CLOSE;
}

const CLOSE: Answer = Object.freeze({ kind: "close" });
