/**
 * The handshakes of QoS 1 and 2 that the gateway itself has a part in, in one
 * direction of a session. As long as messages go through as they are, there
 * are none: sender and receiver see each other's acknowledgements, and packet
 * identifiers stay what they are.
 *
 * - A denied message is acknowledged here, and the receiver never hears of it.
 * - A message whose QoS was lowered is acknowledged to the sender as it asked.
 */
import {
  type AckView,
  type Direction,
  encodeAck,
  isReasonOf,
  PacketType,
  type ProtocolVersion,
  ReasonCode,
} from "../packet/mod.ts";
import type { Denial } from "../hooks/hooks.ts";
import type { StreamWriter } from "./stream_writer.ts";

/** What the sender of messages wants to be told. */
export interface FlowSender {
  readonly version: ProtocolVersion;
  /** Where acknowledgements go. */
  readonly writer: StreamWriter;
  /** The way of the acknowledgements, against that of the messages. */
  readonly direction: Direction;
  /** Whether reasons may be explained to it. */
  readonly problemInformation: boolean;
  /** The largest packet that it takes. */
  readonly maxPacketBytes: number;
}

/** The gateway's part in the handshakes of one direction. */
export class PublishFlow {
  readonly #sender: FlowSender;
  // Made when first needed: most sessions never do.
  /** Answered with PUBREC here: the sender's PUBREL is for the gateway. */
  #owned: Set<number> | undefined;
  /** Of QoS 2, sent on with QoS 1: the receiver's PUBACK becomes a PUBREC. */
  #lowered: Set<number> | undefined;
  /** Of QoS 2 and sent on as such: the receiver may hold the identifier. */
  #open: Set<number> | undefined;

  constructor(sender: FlowSender) {
    this.#sender = sender;
  }

  /** Whether this identifier's PUBREC came from here, so that a repetition gets the same. */
  owns(packetId: number): boolean {
    return this.#owned?.has(packetId) ?? false;
  }

  /** Whether the receiver has this message of QoS 2 already. */
  isOpen(packetId: number): boolean {
    return this.#open?.has(packetId) ?? false;
  }

  /** A message of QoS 2 goes on as it is. */
  forwarded(packetId: number): void {
    this.#owned?.delete(packetId);
    (this.#open ??= new Set()).add(packetId);
  }

  /** A message goes on with a lower QoS. */
  lowered(packetId: number, from: 1 | 2, to: 0 | 1): void {
    if (to === 1) (this.#lowered ??= new Set()).add(packetId);
    else this.#accept(packetId, from);
  }

  /** A message goes no further, and its sender is not to send it again. */
  drop(packetId: number, qos: 1 | 2): void {
    this.#accept(packetId, qos);
  }

  /** A repetition of what was answered here is answered again. */
  repeat(packetId: number): void {
    this.#answer(PacketType.PUBREC, packetId);
  }

  /** A denied message is acknowledged: with the reason, or before MQTT 5 as if it were taken. */
  deny(packetId: number, qos: 1 | 2, denial: Denial): void {
    if (this.#sender.version !== 5) return this.#accept(packetId, qos);
    const type = qos === 1 ? PacketType.PUBACK : PacketType.PUBREC;
    // A PUBREC that refuses ends the handshake (4.3.3): the identifier is free.
    this.#owned?.delete(packetId);
    this.#answer(type, packetId, denial.reasonCode, denial.reason);
  }

  /** The sender's PUBREL: whether it was for the gateway and is answered. */
  released(packetId: number): boolean {
    if (!this.#owned?.delete(packetId)) return false;
    this.#answer(PacketType.PUBCOMP, packetId);
    return true;
  }

  /** The receiver's PUBACK, PUBREC or PUBCOMP: whether something else was said to the sender. */
  acknowledged(ack: AckView): boolean {
    const { type, packetId, reasonCode } = ack;
    if (type === PacketType.PUBACK) {
      if (!this.#lowered?.delete(packetId)) return false;
      if (reasonCode < 0x80) (this.#owned ??= new Set()).add(packetId);
      this.#answer(PacketType.PUBREC, packetId, reasonCode);
      return true;
    }
    if (type === PacketType.PUBCOMP || reasonCode >= 0x80) {
      this.#open?.delete(packetId);
    }
    return false;
  }

  #accept(packetId: number, qos: 1 | 2): void {
    if (qos === 2) (this.#owned ??= new Set()).add(packetId);
    this.#answer(qos === 1 ? PacketType.PUBACK : PacketType.PUBREC, packetId);
  }

  #answer(
    type: 4 | 5 | 7,
    packetId: number,
    reasonCode = 0,
    reasonString?: string,
  ): void {
    const { version, direction, writer, problemInformation, maxPacketBytes } =
      this.#sender;
    writer.add(encodeAck({
      type,
      version,
      packetId,
      direction,
      reasonCode: version === 5
        ? reasonFor(type, reasonCode, direction)
        : ReasonCode.SUCCESS,
      problemInformation,
      maxPacketBytes,
      ...(reasonString === undefined ? {} : { reasonString }),
    }));
  }
}

/** A reason code that the packet may carry. */
export function reasonFor(
  type: number,
  reasonCode: number,
  direction: Direction,
): number {
  return isReasonOf(type, reasonCode, direction === "upstream")
    ? reasonCode
    : ReasonCode.NOT_AUTHORIZED;
}
