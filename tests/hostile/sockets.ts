/** Every place that opens a socket, and what bounds it; tests/rules/sockets_test.ts compares it with the code. */

/** What bounds the sockets of one call. */
export interface SocketBounds {
  readonly file: string;
  /** The call, and how often the file has it. */
  readonly call: string;
  readonly times?: number;
  /** What makes it open one. */
  readonly openedBy: string;
  /** What bounds how many there are. */
  readonly limit: string;
  /** What ends a wait for a peer. */
  readonly deadline: string;
  /** Where its connections or bytes are shown. */
  readonly gauge: string;
}

const CONFIGURED = "one per configured address";
const NO_PEER = "none: has no peer";
const DATAGRAM = {
  openedBy: "a UDP listener or destination",
  limit: CONFIGURED,
  deadline: NO_PEER,
  gauge: "rows of listeners and destinations",
};
const TUNNEL = {
  limit: "--max-connections, --max-connections-per-source",
  gauge: "rows of relay and tunnel",
};
const MQTT = {
  limit: "--max-connections, --max-connections-per-source",
  gauge: "rows of mqtt",
};
const MQTT_DIAL = {
  ...MQTT,
  openedBy: "an admitted client",
  deadline: "--broker-timeout",
};

/** The table. */
export const SOCKETS: readonly SocketBounds[] = [
  {
    file: "cli/service_manager.ts",
    call: "Deno.listenDatagram",
    openedBy: "NOTIFY_SOCKET",
    limit: "one per notification",
    deadline: NO_PEER,
    gauge: "none: closed at once",
  },
  {
    file: "net/echo/udp_echo.ts",
    call: "Deno.listenDatagram",
    openedBy: "echo --listen",
    limit: CONFIGURED,
    deadline: NO_PEER,
    gauge: "mproxy_echo_datagrams_total",
  },
  {
    file: "net/echo/udp_echo.ts",
    call: "createSocket",
    openedBy: "echo --listen",
    limit: CONFIGURED,
    deadline: NO_PEER,
    gauge: "mproxy_echo_datagrams_total",
  },
  {
    file: "net/engine/linux/ffi/socket.ts",
    call: "symbols.socket",
    ...DATAGRAM,
  },
  {
    file: "net/engine/linux/ffi/stream.ts",
    call: "symbols.socket",
    openedBy: "an admitted client of relay or tunnel",
    deadline: "connect timeout",
    ...TUNNEL,
  },
  {
    file: "net/engine/portable/datagram/deno.ts",
    call: "Deno.listenDatagram",
    times: 3,
    ...DATAGRAM,
  },
  {
    file: "net/engine/portable/datagram/node.ts",
    call: "createSocket",
    times: 3,
    ...DATAGRAM,
  },
  {
    file: "net/engine/portable/stream/sockets.ts",
    call: "Deno.listen",
    openedBy: "relay, tunnel, echo and the line protocol",
    deadline: "idle timeout; first request of the line protocol and of echo",
    ...TUNNEL,
  },
  {
    file: "net/engine/portable/stream/sockets.ts",
    call: "Deno.connect",
    openedBy: "an admitted client of relay or tunnel",
    deadline: "connect timeout",
    ...TUNNEL,
  },
  {
    file: "net/engine/portable/stream/sockets.ts",
    call: "connect",
    openedBy: "an admitted client of relay or tunnel",
    deadline: "connect timeout",
    ...TUNNEL,
  },
  {
    file: "net/engine/portable/stream/tls_dial.ts",
    call: "connect",
    openedBy: "an admitted client of tunnel",
    deadline: "connect timeout",
    ...TUNNEL,
  },
  {
    file: "net/engine/portable/stream/tls_listener.ts",
    call: "createServer",
    openedBy: "a tunnel with tls-cert",
    deadline: "handshake timeout",
    ...TUNNEL,
  },
  {
    file: "net/http_listener.ts",
    call: "Deno.listen",
    openedBy: "--metrics-addr, --rpc-socket",
    limit: "512 connections, half of them per source",
    deadline: "10 s for a request and for its answer",
    gauge: "mproxy_listener_connections_open",
  },
  {
    file: "net/http_listener.ts",
    call: "createServer",
    openedBy: "--metrics-addr, --rpc-socket",
    limit: "as its listener",
    deadline: "as its listener",
    gauge: "mproxy_listener_connections_open",
  },
  {
    file: "net/mqtt/policy/http_auth.ts",
    call: "fetch",
    openedBy: "a CONNECT with a policy that asks a web service",
    limit: "clients of mqtt",
    deadline: "timeout of the service",
    gauge: "rows of mqtt",
  },
  { file: "net/mqtt/transport/dial.ts", call: "Deno.connect", ...MQTT_DIAL },
  { file: "net/mqtt/transport/dial.ts", call: "connectTcp", ...MQTT_DIAL },
  { file: "net/mqtt/transport/dial.ts", call: "connectTls", ...MQTT_DIAL },
  {
    file: "net/mqtt/transport/listen.ts",
    call: "Deno.listen",
    openedBy: "mqtt --listen",
    deadline: "a CONNECT in time, then keep-alive",
    ...MQTT,
  },
  {
    file: "net/mqtt/transport/listen.ts",
    call: "createServer",
    openedBy: "mqtt --listen mqtts://, wss://",
    deadline: "a handshake and a CONNECT in time, then keep-alive",
    ...MQTT,
  },
  {
    file: "net/tls_client.ts",
    call: "Deno.connect",
    openedBy: "proxy --tls",
    limit: "one per configured source",
    deadline: "connect timeout",
    gauge: "rows of streams",
  },
  {
    file: "net/tls_client.ts",
    call: "Deno.startTls",
    openedBy: "proxy --tls",
    limit: "one per configured source",
    deadline: "connect timeout",
    gauge: "rows of streams",
  },
  {
    file: "net/tls_client.ts",
    call: "connectNodeTls",
    openedBy: "proxy --tls",
    limit: "one per configured source",
    deadline: "connect timeout",
    gauge: "rows of streams",
  },
  {
    file: "net/udp/sources/accept.ts",
    call: "Deno.listen",
    openedBy: "reverseproxy --tcp-listen-addr, --tcp-output-addr",
    limit: "--max-connections, --max-connections-per-source",
    deadline:
      "a producer's first byte and --idle-timeout; a minute for a subscriber that takes nothing",
    gauge: "mproxy_listener_connections_open",
  },
  {
    file: "net/udp/sources/tcp.ts",
    call: "Deno.connect",
    openedBy: "proxy --tcp-connect-addr",
    limit: "one per configured source",
    deadline: "connect timeout, --idle-timeout",
    gauge: "rows of streams",
  },
];
