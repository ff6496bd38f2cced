/**
 * Moves bytes between sockets: UDP and multicast dispatch, TCP relay.
 *
 * @module
 */
export { type Address, formatAddress, parseAddress } from "./net/address.ts";
export type { ParseAddressOptions } from "./net/address.ts";
export { OperationError, UsageError } from "./net/errors.ts";
export type { OperationErrorOptions } from "./net/errors.ts";
export { Log } from "./net/observe/log.ts";
export type { LogFields, LogOptions } from "./net/observe/log.ts";
export { type RelayEvent, TcpRelay } from "./net/tcp/relay.ts";
export type { RelaySnapshot, TcpRelayOptions } from "./net/tcp/relay.ts";
export { bannerLines, RelayConsole } from "./net/tcp/relay_console.ts";
export { relayJson, relayMetrics } from "./net/tcp/relay_metrics.ts";
export { EchoServer } from "./net/tcp/echo_server.ts";
export type { EchoProtocol, EchoServerOptions } from "./net/tcp/echo_server.ts";
