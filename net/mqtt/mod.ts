/**
 * An MQTT gateway with hooks, in front of any broker: authorizes, inspects,
 * changes and logs MQTT 3.1, 3.1.1 and 5.0.
 *
 * @example Refuse a topic
 * ```ts
 * import { deny, type MqttHooks } from "@mproxy/mproxy/mqtt";
 * import { assert } from "@std/assert";
 *
 * const hooks: MqttHooks = {
 *   authPublish(_session, message) {
 *     if (message.topic.startsWith("private/")) return deny();
 *   },
 * };
 * assert(hooks.authPublish);
 * ```
 *
 * @module
 */
export { hashPasswordFromStdin } from "./policy/password.ts";
export { hashPassword, verifyPassword } from "./policy/password.ts";
export { Policy } from "./policy/policy.ts";
export { parsePolicy } from "./policy/policy_file.ts";
export type {
  CertificateName,
  LimitScope,
  PolicyConfig,
  PolicyLimits,
  PolicyUser,
} from "./policy/policy_file.ts";
export { startMqttGateway } from "./gateway.ts";
export type {
  DialTlsOptions,
  ListenTlsOptions,
  MqttGateway,
  MqttGatewayOptions,
  MqttGatewayStats,
  MqttListenerOptions,
  NamedHooks,
  OnDeny,
} from "./gateway.ts";
export { openMqttGateway } from "./open_gateway.ts";
export type {
  OpenedMqttGateway,
  OpenMqttGatewayOptions,
  PassedOptions,
} from "./open_gateway.ts";
export { Denial, deny, END_REASONS } from "./hooks/hooks.ts";
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
} from "./hooks/hooks.ts";
export { TokenBucket } from "./policy/token_bucket.ts";
export { filterCovers, topicMatches } from "./topic.ts";
export type { AclAction, AclRule } from "./policy/acl.ts";
export type { HttpAuthOptions } from "./policy/http_auth.ts";
export {
  HTTP_AUTH_FORMATS,
  type HttpAuthFormat,
} from "./policy/http_answer.ts";
export { JWT_ALGORITHMS } from "./policy/jwt.ts";
export type { JwtAlgorithm, JwtOptions } from "./policy/jwt.ts";
export type { VerdictCacheOptions } from "./policy/verdict.ts";
export type { OverLimit, Throttle } from "./session/link.ts";
export type { AuditOptions } from "./audit.ts";
export { watchProcessErrors } from "./session/stray_errors.ts";
export type { Address } from "../address.ts";
export { Log, LOG_LEVELS } from "../observe/log.ts";
export type {
  LogFields,
  LogFormat,
  LogLevel,
  LogOptions,
} from "../observe/log.ts";
export type { Metric, MetricLabels, MetricSample } from "../observe/metrics.ts";
