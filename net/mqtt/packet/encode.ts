/**
 * The packets that a gateway says itself. Reason codes are those of MQTT 5 in
 * every version; what an older one cannot say is turned into what it can, or
 * refused with `UsageError` where it can say nothing of the kind.
 */
import { UsageError } from "../../errors.ts";
import { connackReturnCode, type PacketError } from "./packet_error.ts";
import { PropertyId } from "./property_id.ts";
import type { Property } from "./properties.ts";
import {
  type Direction,
  hexByte,
  packetName,
  PacketType,
  type ProtocolVersion,
} from "./protocol.ts";
import { isReasonOf } from "./reasons.ts";
import { PacketWriter, varintBytes } from "./writer.ts";

/** What may explain a reason code to an MQTT 5 peer; left out in older versions. */
export interface ExplainOptions {
  /** For people; left out where there is no room for it. */
  reasonString?: string;
  /** Left out where there is no room for all of them. */
  userProperties?: readonly (readonly [name: string, value: string])[];
  /**
   * The peer's Maximum Packet Size; a packet beyond it loses what explains it
   * (MQTT-3.2.2-19, MQTT-3.4.2-2 and the like).
   */
  maxPacketBytes?: number;
  /**
   * The client's Request Problem Information. Where it is false, only CONNACK
   * and DISCONNECT explain themselves (MQTT-3.1.2-29).
   * @default {true}
   */
  problemInformation?: boolean;
}

/** What {@linkcode encodeConnack} writes. */
export interface EncodeConnackOptions extends ExplainOptions {
  /** The version of the connection. */
  version: ProtocolVersion;
  /** A reason code of MQTT 5; 0 accepts. */
  reasonCode: number;
  /** @default {false} */
  sessionPresent?: boolean;
  /** More properties; MQTT 5 only. */
  properties?: readonly Property[];
}

/** What {@linkcode encodeAck} writes. */
export interface EncodeAckOptions extends ExplainOptions {
  /** PUBACK, PUBREC, PUBREL or PUBCOMP. */
  type: 4 | 5 | 6 | 7;
  /** The version of the connection. */
  version: ProtocolVersion;
  /** 1 to 65535. */
  packetId: number;
  /**
   * Before MQTT 5 there is only success.
   * @default {0}
   */
  reasonCode?: number;
  /** Where it goes; it decides which reason codes there are. */
  direction: Direction;
}

/** What {@linkcode encodeSuback} and {@linkcode encodeUnsuback} write. */
export interface EncodeSubackOptions extends ExplainOptions {
  /** The version of the connection. */
  version: ProtocolVersion;
  /** 1 to 65535. */
  packetId: number;
  /** One reason code for each filter; from 0x80 on a refusal. */
  codes: readonly number[] | Uint8Array;
}

/** What {@linkcode encodeDisconnect} writes. */
export interface EncodeDisconnectOptions extends ExplainOptions {
  /** The version of the connection. */
  version: ProtocolVersion;
  /** Where it goes; before MQTT 5 only to the broker. */
  direction: Direction;
  /**
   * Before MQTT 5 there is only 0.
   * @default {0}
   */
  reasonCode?: number;
  /** More properties; MQTT 5 only. */
  properties?: readonly Property[];
}

/** A CONNACK to a client. */
export function encodeConnack(
  options: EncodeConnackOptions,
): Uint8Array<ArrayBuffer> {
  const { version, reasonCode, sessionPresent = false, properties = [] } =
    options;
  checkReason(PacketType.CONNACK, reasonCode, false);
  if (sessionPresent && reasonCode !== 0) {
    throw new UsageError("Cannot refuse a client with a session present");
  }
  const writer = new PacketWriter();
  writer.byte(sessionPresent ? 1 : 0);
  if (version === 5) {
    writer.byte(reasonCode);
    writeList(writer, properties, options);
  } else {
    refuseProperties(properties);
    writer.byte(reasonCode === 0 ? 0 : connackReturnCode(reasonCode));
  }
  return writer.finish(PacketType.CONNACK << 4).packet();
}

/** A PUBACK, PUBREC, PUBREL or PUBCOMP. */
export function encodeAck(
  options: EncodeAckOptions,
): Uint8Array<ArrayBuffer> {
  const { type, version, packetId, reasonCode = 0, direction } = options;
  checkReason(type, reasonCode, direction === "upstream");
  const writer = new PacketWriter(16);
  writePacketId(writer, packetId);
  if (version === 5) {
    const explains = options.problemInformation !== false &&
      (options.reasonString !== undefined ||
        (options.userProperties?.length ?? 0) > 0);
    if (reasonCode !== 0 || explains) writer.byte(reasonCode);
    if (explains) writeList(writer, [], options, { mayOmit: true });
  } else if (reasonCode >= 0x80) {
    throw new UsageError(
      `Cannot write ${packetName(type)} with ${
        hexByte(reasonCode)
      }: only MQTT 5 refuses a message`,
    );
  }
  const flags = type === PacketType.PUBREL ? 2 : 0;
  return writer.finish(type << 4 | flags).packet();
}

/** A SUBACK to a client. */
export function encodeSuback(
  options: EncodeSubackOptions,
): Uint8Array<ArrayBuffer> {
  const { version, packetId, codes } = options;
  if (codes.length === 0) {
    throw new UsageError("Cannot write a SUBACK without codes");
  }
  const writer = new PacketWriter(16 + codes.length);
  writePacketId(writer, packetId);
  if (version === 5) writeExplained(writer, options, codes.length);
  for (const code of codes) {
    checkReason(PacketType.SUBACK, code, false);
    if (version === 3 && code >= 0x80) {
      throw new UsageError(
        "Cannot refuse a filter in a SUBACK of MQTT 3.1: it has no code for it",
      );
    }
    writer.byte(version === 5 ? code : Math.min(code, 0x80));
  }
  return writer.finish(PacketType.SUBACK << 4).packet();
}

/** An UNSUBACK to a client; before MQTT 5 it has no codes. */
export function encodeUnsuback(
  options: EncodeSubackOptions,
): Uint8Array<ArrayBuffer> {
  const { version, packetId, codes } = options;
  const writer = new PacketWriter(16 + codes.length);
  writePacketId(writer, packetId);
  if (version === 5) {
    if (codes.length === 0) {
      throw new UsageError("Cannot write an UNSUBACK of MQTT 5 without codes");
    }
    writeExplained(writer, options, codes.length);
    for (const code of codes) {
      checkReason(PacketType.UNSUBACK, code, false);
      writer.byte(code);
    }
  }
  return writer.finish(PacketType.UNSUBACK << 4).packet();
}

/** A PINGREQ to a broker. */
export function encodePingreq(): Uint8Array<ArrayBuffer> {
  return new Uint8Array([PacketType.PINGREQ << 4, 0]);
}

/** A PINGRESP to a client. */
export function encodePingresp(): Uint8Array<ArrayBuffer> {
  return new Uint8Array([PacketType.PINGRESP << 4, 0]);
}

/** A DISCONNECT. */
export function encodeDisconnect(
  options: EncodeDisconnectOptions,
): Uint8Array<ArrayBuffer> {
  const { version, direction, reasonCode = 0, properties = [] } = options;
  const writer = new PacketWriter();
  if (version === 5) {
    checkReason(PacketType.DISCONNECT, reasonCode, direction === "upstream");
    const explains = options.reasonString !== undefined ||
      (options.userProperties?.length ?? 0) > 0 || properties.length > 0;
    if (reasonCode !== 0 || explains) writer.byte(reasonCode);
    if (explains) writeList(writer, properties, options, { mayOmit: true });
  } else {
    refuseProperties(properties);
    if (direction !== "upstream") {
      throw new UsageError(
        "Cannot write a DISCONNECT to a client: it came with MQTT 5",
      );
    }
    if (reasonCode !== 0) {
      throw new UsageError(
        `Cannot write DISCONNECT with ${
          hexByte(reasonCode)
        }: reason codes came with MQTT 5`,
      );
    }
  }
  return writer.finish(PacketType.DISCONNECT << 4).packet();
}

/** What {@linkcode encodeAnswer} must know beside the error. */
export interface EncodeAnswerOptions extends ExplainOptions {
  /**
   * Whether the client has its CONNACK. Before that a server may not send
   * DISCONNECT (MQTT-3.14.0-1), so a CONNACK refuses in its place.
   */
  connackSent: boolean;
}

/**
 * What the sender of a bad packet is sent before its connection is closed, or
 * undefined where it is only closed.
 */
export function encodeAnswer(
  error: PacketError,
  options: EncodeAnswerOptions,
): Uint8Array<ArrayBuffer> | undefined {
  const { answer, direction } = error;
  if (answer.kind === "close") return undefined;
  if (answer.kind === "connack") {
    return encodeConnack({
      ...options,
      version: answer.version,
      reasonCode: error.reasonCode,
    });
  }
  const { reasonCode } = answer;
  if (direction === "upstream" && !options.connackSent) {
    // Not every code of DISCONNECT is one of CONNACK.
    return encodeConnack({
      ...options,
      version: 5,
      reasonCode: isReasonOf(PacketType.CONNACK, reasonCode, false)
        ? reasonCode
        : 0x82,
    });
  }
  return encodeDisconnect({
    ...options,
    version: 5,
    reasonCode,
    // It goes back to where the bad packet came from.
    direction: direction === "upstream" ? "downstream" : "upstream",
  });
}

/**
 * Writes a property list: what is wanted, then what explains as far as there
 * is room for it beside the `trailingBytes` that follow the list. With
 * `mayOmit`, an empty list is left out.
 */
function writeList(
  writer: PacketWriter,
  properties: readonly Property[],
  options: ExplainOptions,
  { trailingBytes = 0, mayOmit = false } = {},
): void {
  const { reasonString, userProperties = [], maxPacketBytes = Infinity } =
    options;
  const list = new PacketWriter();
  for (const property of properties) list.property(property);
  const otherBytes = writer.end - writer.bodyStart + trailingBytes;
  const addIfRoom = (added: readonly Property[]) => {
    const before = list.end;
    for (const property of added) list.property(property);
    const listBytes = list.end - list.bodyStart;
    const bodyBytes = otherBytes + varintBytes(listBytes) + listBytes;
    if (1 + varintBytes(bodyBytes) + bodyBytes > maxPacketBytes) {
      list.end = before;
    }
  };
  if (reasonString !== undefined) {
    addIfRoom([{ id: PropertyId.REASON_STRING, value: reasonString }]);
  }
  addIfRoom(
    userProperties.map((value) => ({ id: PropertyId.USER_PROPERTY, value })),
  );
  const listBytes = list.end - list.bodyStart;
  if (listBytes === 0 && mayOmit) return;
  writer.varint(listBytes);
  writer.bytes(list.buffer, list.bodyStart, list.end);
}

function writeExplained(
  writer: PacketWriter,
  options: ExplainOptions,
  trailingBytes: number,
): void {
  const explained = options.problemInformation === false ? {} : options;
  writeList(writer, [], explained, { trailingBytes });
}

function writePacketId(writer: PacketWriter, packetId: number): void {
  if (!Number.isInteger(packetId) || packetId < 1 || packetId > 0xffff) {
    throw new UsageError(
      `Cannot use packet identifier ${packetId}: it must be 1 to 65535`,
    );
  }
  writer.uint16(packetId);
}

function checkReason(type: number, code: number, upstream: boolean): void {
  if (!isReasonOf(type, code, upstream)) {
    throw new UsageError(
      `Cannot write ${packetName(type)} with ${
        hexByte(code)
      }: it is no reason code of it`,
    );
  }
}

function refuseProperties(properties: readonly Property[]): void {
  if (properties.length > 0) {
    throw new UsageError("Cannot write properties: they came with MQTT 5");
  }
}
