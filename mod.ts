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
} from "./net/udp/client.ts";
export { startClient } from "./net/udp/client.ts";
export type { SendCounterName } from "./net/udp/sinks/destination.ts";
export type { DestinationStats } from "./net/udp/sinks/destinations.ts";
export type { ListenerStats, ReceiveCounterName } from "./net/udp/listeners.ts";
export type { DispatchOptions } from "./net/udp/options.ts";
export type { ProducersStats } from "./net/udp/sources/producers.ts";
export {
  type ProxyHandle,
  type ProxyOptions,
  type ProxyStats,
} from "./net/udp/proxy.ts";
export { checkProxyAddresses, startProxy } from "./net/udp/proxy.ts";
export { checkDestinations, checkListeners } from "./net/udp/distinct.ts";
export { checkReverseProxyAddresses } from "./net/udp/reverse_proxy.ts";
export { DEFAULT_GROUP, startReverseProxy } from "./net/udp/reverse_proxy.ts";
export type {
  ReverseProxyHandle,
  ReverseProxyOptions,
  ReverseProxyStats,
} from "./net/udp/reverse_proxy.ts";
export type { RoleHandle } from "./net/udp/role.ts";
export {
  FSYNC_CHOICES,
  WRITE_ERROR_CHOICES,
} from "./net/udp/file_log/log_file.ts";
export type {
  Fsync,
  OnWriteError,
  SenderSplit,
} from "./net/udp/file_log/log_file.ts";
export {
  STREAM_FORMATS,
  type StreamFormat,
} from "./net/udp/file_log/log_format.ts";
export type { CutOptions, RecordOptions } from "./net/udp/sources/splitter.ts";
export {
  DATAGRAM_FORMATS,
  type DatagramFormat,
} from "./net/udp/file_log/log_format.ts";
export type { LogCounter } from "./net/udp/file_log/append_file.ts";
export type { FileState } from "./net/udp/file_log/file_state.ts";
export type { Timers } from "./net/udp/timers.ts";
export { LOG_COUNTERS } from "./net/udp/file_log/append_file.ts";
export type { LogFileOptions } from "./net/udp/file_log/log_file.ts";
export { startServer } from "./net/udp/server.ts";
export type {
  ServerHandle,
  ServerOptions,
  ServerStats,
} from "./net/udp/server.ts";
export {
  type LogStats,
  type OutputOptions,
  type Split,
  SPLIT_CHOICES,
  type StreamStats,
} from "./net/udp/server_output.ts";
export {
  SLOW_POLICIES,
  type SlowPolicy,
} from "./net/udp/sinks/subscriber_queue.ts";
export type {
  SubscribersStats,
  SubscriberStats,
} from "./net/udp/sinks/subscribers.ts";
export type { TcpSourceStats, TcpUpstream } from "./net/udp/sources/tcp.ts";
export type { StdoutCounter } from "./net/udp/sinks/stdout.ts";
export { STDOUT_COUNTERS } from "./net/udp/sinks/stdout.ts";
export { RECEIVE_COUNTERS } from "./net/udp/datagram_loop.ts";
export { SEND_COUNTERS } from "./net/engine/datagram.ts";
export type { TeeStats } from "./net/udp/sinks/tee.ts";
export type { EngineChoice, EngineName } from "./net/engine/datagram.ts";
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
export { EchoServer } from "./net/echo/server.ts";
export type { EchoProtocol, EchoServerOptions } from "./net/echo/server.ts";
export { loadChart } from "./net/loadtest/chart.ts";
export {
  LoadConsole,
  type LoadConsoleOptions,
} from "./net/loadtest/console.ts";
export {
  DEFAULT_LOAD_TARGET,
  DEFAULT_SCENARIO,
  type LoadScenario,
  MAX_LOAD_CONNECTIONS,
  MAX_MESSAGE_BYTES,
  readLoadTarget,
  readScenario,
  SHIPPED_MATRIX,
} from "./net/loadtest/plan.ts";
export { loadJson } from "./net/loadtest/report.ts";
export {
  type LoadNow,
  type LoadPhase,
  type LoadResult,
  LoadTest,
  type LoadTestOptions,
} from "./net/loadtest/load_test.ts";
export { LatencyHistogram } from "./net/observe/latency_histogram.ts";
export { type RelayEvent, TcpRelay } from "./net/relay/relay.ts";
export type { RelaySnapshot, TcpRelayOptions } from "./net/relay/relay.ts";
export { bannerLines, RelayConsole } from "./net/relay/console.ts";
export { relayJson, relayMetrics } from "./net/relay/metrics.ts";
export { openHttpDoor } from "./net/tunnel/admin/http_server.ts";
export type { HttpDoorOptions } from "./net/tunnel/admin/http_server.ts";
export type { LostLines } from "./net/line_writer.ts";
export { ADMISSION_COUNTERS, type AdmissionStats } from "./net/admission.ts";
export { openLineDoor } from "./net/tunnel/admin/line_server.ts";
export type {
  ControlDoor,
  LineDoorOptions,
} from "./net/tunnel/admin/line_server.ts";
export { readToken } from "./net/tunnel/admin/token.ts";
export { startTunnelRole } from "./net/tunnel/role.ts";
export type { TunnelRole, TunnelRoleOptions } from "./net/tunnel/role.ts";
export { AccessLog } from "./net/tunnel/access_log.ts";
export type {
  AccessEntry,
  AccessLogFormat,
  AccessLogOptions,
} from "./net/tunnel/access_log.ts";
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
} from "./net/tunnel/spec.ts";
export type {
  GivenTunnelOptions,
  OriginalFailure,
  Strategy,
  TunnelOption,
  TunnelOptions,
  TunnelSpec,
} from "./net/tunnel/spec.ts";
export { Tunnel, TunnelError } from "./net/tunnel/tunnel.ts";
export type {
  TunnelConnection,
  TunnelErrorKind,
  TunnelRemote,
} from "./net/tunnel/tunnel.ts";
export {
  checkTunnelFiles,
  readTunnelArguments,
  readTunnelConfig,
  TUNNEL_SECTIONS,
} from "./net/tunnel/config.ts";
export type { ConfiguredTunnel, TunnelConfig } from "./net/tunnel/config.ts";
export { tunnelHelp } from "./net/tunnel/help.ts";
export { Tunnels } from "./net/tunnel/tunnels.ts";
export type {
  Ending,
  ReloadReport,
  TunnelsConfig,
  TunnelsOptions,
  TunnelTotals,
} from "./net/tunnel/tunnels.ts";
