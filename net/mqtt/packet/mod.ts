/**
 * MQTT packets of versions 3.1, 3.1.1 and 5.0: strict framing and validation
 * of both directions, lazy views of the fields, edits as splices, and the
 * packets that a gateway says itself. Pure: no sockets, no clock.
 *
 * ```ts
 * import { PacketReader, PacketType } from "./mod.ts";
 *
 * const reader = new PacketReader({ direction: "upstream", version: 4 });
 * reader.framer.established = true;
 * reader.push(new Uint8Array([0x30, 5, 0, 1, 97, 104, 105]));
 * while (reader.next()) {
 *   if (reader.type !== PacketType.PUBLISH) continue;
 *   const { topic, payload } = reader.publish;
 *   if (topic !== "a" || payload.length !== 2) throw new Error("unlike");
 * }
 * ```
 *
 * @module
 */
export { AckView } from "./ack.ts";
export { AuthView } from "./auth.ts";
export { ConnackView } from "./connack.ts";
export { ConnectView } from "./connect.ts";
export { DisconnectView } from "./disconnect.ts";
export {
  editAck,
  editAuth,
  editConnack,
  editConnect,
  editDisconnect,
  editPublish,
  editSuback,
  editSubscribe,
  editUnsubscribe,
} from "./edit.ts";
export type {
  AckEdit,
  ConnackEdit,
  ConnectEdit,
  PropertyEdit,
  PublishEdit,
  ReasonEdit,
  SubackEdit,
  SubscribeEdit,
  SubscribeEntry,
  UnsubscribeEdit,
  WillEdit,
} from "./edit.ts";
export {
  encodeAck,
  encodeAnswer,
  encodeConnack,
  encodeDisconnect,
  encodePingreq,
  encodePingresp,
  encodeSuback,
  encodeUnsuback,
} from "./encode.ts";
export type {
  EncodeAckOptions,
  EncodeAnswerOptions,
  EncodeConnackOptions,
  EncodeDisconnectOptions,
  EncodeSubackOptions,
  ExplainOptions,
} from "./encode.ts";
export { FiltersView } from "./filters_view.ts";
export {
  DEFAULT_MAX_PACKET_BYTES,
  Framer,
  type FramerOptions,
} from "./framer.ts";
export { HeldBudget } from "./held_budget.ts";
export { limitsOfBroker, limitsOfClient, type PacketLimits } from "./limits.ts";
export {
  type Answer,
  connackReturnCode,
  PacketError,
  type PacketErrorOptions,
} from "./packet_error.ts";
export { PacketView } from "./packet_view.ts";
export { PingView } from "./ping.ts";
export {
  type Property,
  PropertyList,
  type PropertyOwner,
  type PropertyValue,
} from "./properties.ts";
export { PropertyId } from "./property_id.ts";
export {
  type Direction,
  hexByte,
  MAX_PACKET_BYTES,
  MAX_REMAINING_LENGTH,
  packetName,
  PacketType,
  type ProtocolVersion,
  ReasonCode,
} from "./protocol.ts";
export { PublishView } from "./publish.ts";
export {
  type OversizedPublish,
  type Packet,
  PacketReader,
  type PacketReaderOptions,
} from "./reader.ts";
export { isReasonOf } from "./reasons.ts";
export { SubackView } from "./suback.ts";
export { SubscribeView } from "./subscribe.ts";
export { UnsubscribeView } from "./unsubscribe.ts";
