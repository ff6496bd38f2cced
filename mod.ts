/**
 * Moves bytes between sockets: UDP and multicast dispatch.
 *
 * @module
 */
export { type Address, formatAddress, parseAddress } from "./net/address.ts";
export type { ParseAddressOptions } from "./net/address.ts";
export { OperationError, UsageError } from "./net/errors.ts";
export type { OperationErrorOptions } from "./net/errors.ts";
export { hashPasswordFromStdin } from "./net/mqtt/policy/password.ts";
export { hashPassword, verifyPassword } from "./net/mqtt/policy/password.ts";
export { Policy } from "./net/mqtt/policy/policy.ts";
export { parsePolicy } from "./net/mqtt/policy/policy_file.ts";
export type {
  LimitScope,
  PolicyConfig,
  PolicyLimits,
  PolicyUser,
} from "./net/mqtt/policy/policy_file.ts";
export { MqttGateway, startMqttGateway } from "./net/mqtt/gateway.ts";
export type {
  DialTlsOptions,
  ListenTlsOptions,
  MqttGatewayOptions,
  MqttGatewayStats,
  MqttListenerOptions,
  NamedHooks,
  OnDeny,
} from "./net/mqtt/gateway.ts";
export { openMqttGateway } from "./net/mqtt/open_gateway.ts";
export type {
  OpenedMqttGateway,
  OpenMqttGatewayOptions,
} from "./net/mqtt/open_gateway.ts";
export { Denial, deny } from "./net/mqtt/hooks.ts";
export type {
  Answer,
  ConnectChange,
  ConnectRequest,
  ConnectResult,
  Direction,
  DisconnectResult,
  EndReason,
  EndSessionOptions,
  FilterAnswers,
  FilterChange,
  FilterResult,
  InterceptedPacket,
  MessageChange,
  MessageRequest,
  MqttHooks,
  MqttSession,
  PeerCertificate,
  ProtocolVersion,
  Qos,
  SubscribeFilter,
  SubscribeRequest,
  UnsubscribeFilter,
  UnsubscribeRequest,
  UserProperty,
  WillChange,
} from "./net/mqtt/hooks.ts";
export { TokenBucket } from "./net/mqtt/policy/token_bucket.ts";
export { filterCovers, topicMatches } from "./net/mqtt/topic.ts";
