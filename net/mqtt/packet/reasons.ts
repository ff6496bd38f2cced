/** Which reason codes of MQTT 5 a packet may carry, and which side may say them (2.4). */
import { PacketType } from "./protocol.ts";

/** Whether a packet of this type may carry the code in this direction. */
export function isReasonOf(
  type: number,
  code: number,
  upstream: boolean,
): boolean {
  const codes = (upstream ? UPSTREAM : DOWNSTREAM)[type];
  return codes !== undefined && codes.includes(code);
}

const PUBLISH_ACK = [
  ...[0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
];
const RELEASE_ACK = [0x00, 0x92];

type Codes = readonly (readonly number[] | undefined)[];

const UPSTREAM: Codes = byType([
  [PacketType.PUBACK, PUBLISH_ACK],
  [PacketType.PUBREC, PUBLISH_ACK],
  [PacketType.PUBREL, RELEASE_ACK],
  [PacketType.PUBCOMP, RELEASE_ACK],
  [PacketType.DISCONNECT, [
    ...[0x00, 0x04, 0x80, 0x81, 0x82, 0x83],
    ...[0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99],
  ]],
  [PacketType.AUTH, [0x18, 0x19]],
]);

const DOWNSTREAM: Codes = byType([
  [PacketType.CONNACK, [
    ...[0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89],
    ...[0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f],
  ]],
  // Only a server knows that nobody has subscribed (3.4.2.1, 3.5.2.1).
  [PacketType.PUBACK, [...PUBLISH_ACK, 0x10]],
  [PacketType.PUBREC, [...PUBLISH_ACK, 0x10]],
  [PacketType.PUBREL, RELEASE_ACK],
  [PacketType.PUBCOMP, RELEASE_ACK],
  [PacketType.SUBACK, [
    ...[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97],
    ...[0x9e, 0xa1, 0xa2],
  ]],
  [PacketType.UNSUBACK, [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91]],
  [PacketType.DISCONNECT, [
    // 0x8C stands in table 2-6 of 5.0, though not in table 3-10.
    ...[0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8c, 0x8d, 0x8e],
    0x8f,
    ...[0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c],
    ...[0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2],
  ]],
  [PacketType.AUTH, [0x00, 0x18]],
]);

function byType(
  entries: readonly (readonly [number, readonly number[]])[],
): Codes {
  const codes = new Array<readonly number[] | undefined>(16).fill(undefined);
  for (const [type, list] of entries) codes[type] = list;
  return codes;
}
