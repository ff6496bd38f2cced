/**
 * Moves bytes between sockets: UDP and multicast dispatch, TCP relay and tunnels.
 *
 * Every role is a function that takes one object of options and gives back a
 * handle: `stats()`, `drain()`, `finished`, and `await using` ends it.
 *
 * @example Send a file and see what became of it
 * ```ts
 * import { parseAddress, startClient } from "@mproxy/mproxy";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile();
 * await Deno.writeTextFile(path, "21.5 C\n");
 * await using client = await startClient({
 *   path,
 *   destinations: [parseAddress("127.0.0.1:9920")],
 * });
 * await client.finished;
 * assertEquals(client.stats().readBytes, 7);
 * ```
 *
 * @module
 */
export { type Address, formatAddress, parseAddress } from "./net/address.ts";
export type { ParseAddressOptions } from "./net/address.ts";
export {
  type ClientHandle,
  type ClientOptions,
  type ClientStats,
} from "./net/dispatch/client.ts";
export { startClient } from "./net/dispatch/client.ts";
export type { SendCounterName } from "./net/dispatch/destination.ts";
export type { DestinationStats } from "./net/dispatch/destinations.ts";
export type {
  ListenerStats,
  ReceiveCounterName,
} from "./net/dispatch/listeners.ts";
export type { DispatchOptions } from "./net/dispatch/options.ts";
export type { ProducersStats } from "./net/dispatch/producers.ts";
export {
  type ProxyHandle,
  type ProxyOptions,
  type ProxyStats,
} from "./net/dispatch/proxy.ts";
export { checkProxyAddresses, startProxy } from "./net/dispatch/proxy.ts";
export { checkDestinations, checkListeners } from "./net/dispatch/distinct.ts";
export { checkReverseProxyAddresses } from "./net/dispatch/reverse_proxy.ts";
export {
  DEFAULT_GROUP,
  startReverseProxy,
} from "./net/dispatch/reverse_proxy.ts";
export type {
  ReverseProxyHandle,
  ReverseProxyOptions,
  ReverseProxyStats,
} from "./net/dispatch/reverse_proxy.ts";
export type { RoleHandle } from "./net/dispatch/role.ts";
export { FSYNC_CHOICES, WRITE_ERROR_CHOICES } from "./net/dispatch/log_file.ts";
export type {
  Fsync,
  OnWriteError,
  SenderSplit,
} from "./net/dispatch/log_file.ts";
export {
  STREAM_FORMATS,
  type StreamFormat,
} from "./net/dispatch/log_format.ts";
export type { CutOptions, RecordOptions } from "./net/dispatch/cut.ts";
export {
  DATAGRAM_FORMATS,
  type DatagramFormat,
} from "./net/dispatch/log_format.ts";
export type { LogCounter } from "./net/dispatch/append_file.ts";
export type { FileState } from "./net/dispatch/file_state.ts";
export type { Timers } from "./net/dispatch/timers.ts";
export { LOG_COUNTERS } from "./net/dispatch/append_file.ts";
export type { LogFileOptions } from "./net/dispatch/log_file.ts";
export { startServer } from "./net/dispatch/server.ts";
export type {
  ServerHandle,
  ServerOptions,
  ServerStats,
} from "./net/dispatch/server.ts";
export {
  type LogStats,
  type OutputOptions,
  type Split,
  SPLIT_CHOICES,
  type StreamStats,
} from "./net/dispatch/server_output.ts";
export {
  SLOW_POLICIES,
  type SlowPolicy,
} from "./net/dispatch/subscriber_queue.ts";
export type {
  SubscribersStats,
  SubscriberStats,
} from "./net/dispatch/subscribers.ts";
export type { TcpSourceStats, TcpUpstream } from "./net/dispatch/tcp_source.ts";
export type { StdoutCounter } from "./net/dispatch/stdout_sink.ts";
export { STDOUT_COUNTERS } from "./net/dispatch/stdout_sink.ts";
export { RECEIVE_COUNTERS } from "./net/dispatch/relay.ts";
export { SEND_COUNTERS } from "./net/engine/engine.ts";
export type { TeeStats } from "./net/dispatch/tee.ts";
export type { EngineChoice, EngineName } from "./net/engine/engine.ts";
export { failedCall, OperationError, UsageError } from "./net/errors.ts";
export type { OperationErrorOptions } from "./net/errors.ts";
export { CounterBlock } from "./net/observe/counters.ts";
export { Log, LOG_LEVELS } from "./net/observe/log.ts";
export type {
  LogFields,
  LogFormat,
  LogLevel,
  LogOptions,
} from "./net/observe/log.ts";
export type { TlsClientOptions } from "./net/tls_client.ts";
export {
  DIAL_FAILURES,
  END_REASONS,
  REJECT_REASONS,
} from "./net/engine/stream.ts";
export type {
  ConnectionInfo,
  Deadlines,
  DialFailure,
  EndReason,
  ForwardStats,
  RejectReason,
  RemoteSpec,
  RemoteStats,
  Spread,
} from "./net/engine/stream.ts";
export { EchoServer } from "./net/tcp/echo_server.ts";
export type { EchoProtocol, EchoServerOptions } from "./net/tcp/echo_server.ts";
export { loadChart } from "./net/tcp/load_chart.ts";
export {
  LoadConsole,
  type LoadConsoleOptions,
} from "./net/tcp/load_console.ts";
export {
  DEFAULT_LOAD_TARGET,
  DEFAULT_SCENARIO,
  type LoadScenario,
  MAX_LOAD_CONNECTIONS,
  MAX_MESSAGE_BYTES,
  readLoadTarget,
  readScenario,
  SHIPPED_MATRIX,
} from "./net/tcp/load_plan.ts";
export { loadJson } from "./net/tcp/load_report.ts";
export {
  type LoadNow,
  type LoadPhase,
  type LoadResult,
  LoadTest,
  type LoadTestOptions,
} from "./net/tcp/load_test.ts";
export { LatencyHistogram } from "./net/observe/latency_histogram.ts";
export { type RelayEvent, TcpRelay } from "./net/tcp/relay.ts";
export type { RelaySnapshot, TcpRelayOptions } from "./net/tcp/relay.ts";
export { bannerLines, RelayConsole } from "./net/tcp/relay_console.ts";
export { relayJson, relayMetrics } from "./net/tcp/relay_metrics.ts";
export { openHttpDoor } from "./net/control/http_door.ts";
export type { HttpDoorOptions } from "./net/control/http_door.ts";
export type { LostLines } from "./net/line_writer.ts";
export { ADMISSION_COUNTERS, type AdmissionStats } from "./net/admission.ts";
export { openLineDoor } from "./net/control/line_door.ts";
export type { ControlDoor, LineDoorOptions } from "./net/control/line_door.ts";
export { readToken } from "./net/control/token.ts";
export { startTunnelRole } from "./net/control/tunnel_role.ts";
export type {
  TunnelRole,
  TunnelRoleOptions,
} from "./net/control/tunnel_role.ts";
export { AccessLog } from "./net/tcp/access_log.ts";
export type {
  AccessEntry,
  AccessLogFormat,
  AccessLogOptions,
} from "./net/tcp/access_log.ts";
export {
  DEFAULT_TUNNEL_OPTIONS,
  formatTunnel,
  optionOf,
  parseSocket,
  parseTunnel,
  readCount,
  readDelay,
  SpecError,
  STRATEGIES,
  TUNNEL_OPTIONS,
} from "./net/tcp/spec.ts";
export type {
  GivenTunnelOptions,
  OriginalFailure,
  Strategy,
  TunnelOption,
  TunnelOptions,
  TunnelSpec,
} from "./net/tcp/spec.ts";
export { Tunnel, TunnelError } from "./net/tcp/tunnel.ts";
export type {
  TunnelConnection,
  TunnelErrorKind,
  TunnelRemote,
} from "./net/tcp/tunnel.ts";
export {
  checkTunnelFiles,
  readTunnelArguments,
  readTunnelConfig,
  TUNNEL_SECTIONS,
} from "./net/tcp/tunnel_config.ts";
export type {
  ConfiguredTunnel,
  TunnelConfig,
} from "./net/tcp/tunnel_config.ts";
export { tunnelHelp } from "./net/tcp/tunnel_help.ts";
export { Tunnels } from "./net/tcp/tunnels.ts";
export type {
  Ending,
  ReloadReport,
  TunnelsConfig,
  TunnelsOptions,
  TunnelTotals,
} from "./net/tcp/tunnels.ts";
