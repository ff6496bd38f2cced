/**
 * The migration guides beside what their originals have: every flag, command,
 * metric, variable, key and function stands in a table, with something behind
 * it. The lists are those of the originals' READMEs and sources.
 */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { checkCommand, simpleCommands } from "../support/command_lines.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

/** What an original has, by guide and by kind. */
const ORIGINALS: Readonly<Record<string, Readonly<Record<string, string[]>>>> =
  {
    // matt24smith/mproxy-dispatcher 0.1.8, and the first MPROXY.
    "docs/migration_mproxy.md": {
      programs: [
        ...["mproxy-client", "mproxy-proxy", "mproxy-forward"],
        ...["mproxy-reverseproxy", "mproxy-reverse", "mproxy-server"],
        ...["cargo run --bin client", "cargo run --bin proxy"],
        ...["cargo run --bin reverse_proxy", "cargo run --bin server"],
        "cargo install",
      ],
      "flags of the client": ["--path", "--server-addr", "--server_addr"],
      "flags of the proxy": [
        ...["--udp-listen-addr", "--udp-downstream-addr"],
        ...["--tcp-connect-addr", "--listen_addr", "--downstream_addr"],
      ],
      "flags of the reverse proxy": [
        ...["--udp-listen-addr", "--udp_listen_addr", "--tcp_listen_addr"],
        ...["--tcp-listen-addr", "--multicast-addr", "--multicast_addr"],
        ...["--tcp-output-addr", "--udp_output_addr", "--udp-output-addr"],
      ],
      "flags of the server": ["--path", "--listen-addr", "--listen_addr"],
      "flags of all": ["-h", "--help", "-t", "--tee"],
      functions: [
        ...["client_socket_stream", "target_socket_interface"],
        ...["upstream_socket_interface", "listener", "forward_udp"],
        ...["proxy_gateway", "proxy_tcp_udp", "tls_connection"],
        ...["reverse_proxy_udp_tcp", "reverse_proxy_udp"],
        "reverse_proxy_tcp_udp",
      ],
    },
    // izderadicka/plexy 0.4.0.
    "docs/migration_plexy.md": {
      flags: [
        ...["-c", "--control-socket", "-r", "--rpc-socket"],
        ...["--prometheus-socket", "--copy-buffer-size", "--remote-timeout"],
        ...["--remote-retries", "--remote-errors", "--ca-bundle"],
        ...["--remote-dead-check-interval", "--help-tunnel"],
        ...["-h", "--help", "-V", "--version", "TUNNEL..."],
      ],
      variables: [
        ...["RUST_LOG", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"],
      ],
      "options of a tunnel": [
        ...["strategy", "retries", "timeout", "errors", "check-interval"],
        "remote-tls",
      ],
      commands: [
        ...["STATUS", "OPEN", "CLOSE", "DETAIL", "ADD", "REMOVE"],
        ...["HELP", "EXIT"],
      ],
      methods: [
        ...["numberOfTunnels", "listTunnels", "tunnelInfo", "remotes"],
        ...["openTunnel", "closeTunnel", "addRemote", "removeRemote"],
      ],
      metrics: [
        ...["number_of_tunnels", "tunnel_bytes_sent_total"],
        ...["tunnel_bytes_received_total", "tunnel_streams_open"],
        ...["tunnel_total_connections_total", "tunnel_errors_total"],
        ...["remote_bytes_sent_total", "remote_bytes_received_total"],
        ...["remote_streams_open", "remote_streams_pending", "remote_errors"],
        ...["remote_total_connections_total", "retote_total_error_total"],
        ...["otel_scope_info", "otel_scope_name", "otel_scope_version"],
        "service_name",
      ],
    },
    // kuchmenko/monkey-d-tcp, at its README and at its newest.
    "docs/migration_monkey_d_tcp.md": {
      "keys of proxy.toml": [
        ...["listen_addr", "target_addr", "metrics_addr"],
        ...["grace_period_secs", "metrics_log_interval_secs"],
        "channel_buffer_size",
      ],
      "keys of load_test.toml": [
        ...["connections", "duration_secs", "message_size", "[[scenarios]]"],
      ],
      recipes: [
        ...["just proxy", "just echo", "just test", "just quality"],
        ...["just fmt", "just clippy", "just fix"],
      ],
      metrics: [
        ...["connections_active", "connections_total", "bytes_upstream"],
        ...["bytes_downstream", "active_connections", "total_connections"],
        ...["GET /metrics", "GET /metrics?format=json", "GET /"],
      ],
      events: [
        ...["ConnectionOpened", "ConnectionClosed", "BytesUpstream"],
        "BytesDownstream",
      ],
      output: ["[METRICS]", "[SHUTDOWN]", "[ERROR]"],
      library: [
        ...["Proxy::bind", "Config::from_file", "Proxy::new", "run()"],
        ...["shutdown()", "metrics()", "load-balancer"],
      ],
    },
    // mainflux/mproxy and absmach/mgate.
    "docs/migration_mproxy_mqtt.md": {
      "variables of mProxy": [
        ...["MPROXY_MQTT_HOST", "MPROXY_MQTT_PORT", "MPROXY_MQTTS_PORT"],
        ...["MPROXY_MQTT_TARGET_HOST", "MPROXY_MQTT_TARGET_PORT"],
        ...["MPROXY_WS_HOST", "MPROXY_WS_PORT", "MPROXY_WS_PATH"],
        ...["MPROXY_WSS_PORT", "MPROXY_WSS_PATH", "MPROXY_WS_TARGET_SCHEME"],
        ...["MPROXY_WS_TARGET_HOST", "MPROXY_WS_TARGET_PORT"],
        ...["MPROXY_WS_TARGET_PATH", "MPROXY_CLIENT_TLS", "MPROXY_CA_CERTS"],
        ...["MPROXY_SERVER_CERT", "MPROXY_SERVER_KEY", "MPROXY_LOG_LEVEL"],
        ...["MPROXY_HTTP_HOST", "MPROXY_HTTP_PORT"],
        ...["MPROXY_HTTP_TARGET_HOST", "MPROXY_HTTP_TARGET_PORT"],
      ],
      "variables of mGate": [
        ...["HOST", "PORT", "PATH_PREFIX", "PREFIX_PATH", "ADDRESS"],
        ...["TARGET_HOST", "TARGET_PORT", "TARGET_PROTOCOL", "TARGET_PATH"],
        ...["TARGET", "CERT_FILE", "KEY_FILE", "SERVER_CA_FILE"],
        ...["CLIENT_CA_FILE", "CERT_VERIFICATION_METHODS", "OCSP_DEPTH"],
        ...["OCSP_RESPONDER_URL", "CRL_DEPTH", "CRL_DISTRIBUTION_POINTS"],
        "CRL_DISTRIBUTION_POINTS_ISSUER_CERT_FILE",
        ...["OFFLINE_CRL_FILE", "OFFLINE_CRL_ISSUER_CERT_FILE"],
        ...["MGATE_HTTP_WITH_TLS_PORT", "MGATE_COAP_WITH_DTLS_PORT"],
      ],
      programs: ["./mproxy", ".env"],
      hooks: [
        ...["AuthConnect", "AuthPublish", "AuthSubscribe", "Connect"],
        ...["Publish", "Subscribe", "Unsubscribe", "Disconnect", "Intercept"],
      ],
    },
  };

/** Left and right of each row of a guide's tables: the last column says what is here. */
function rows(guide: string): { there: string; here: string }[] {
  const text = Deno.readTextFileSync(join(ROOT, guide));
  return text.split("\n").filter((line) => /^\s*\| /.test(line)).map((line) => {
    const cells = line.replaceAll("\\|", "¦").split("|").slice(1, -1)
      .map((cell) => cell.trim().replaceAll("¦", "|"));
    return { there: cells.slice(0, -1).join(" "), here: cells.at(-1)! };
  });
}

/** Whether a cell names something: as it is, with arguments behind it, or by a prefix with `*`. */
function names(cell: string, name: string): boolean {
  return [...cell.matchAll(/`([^`]+)`/g)].some(([, code]) =>
    code === name ||
    (code!.startsWith(name) && !/^[\w-]/.test(code!.slice(name.length))) ||
    code!.split(/[ ,=]/).includes(name) ||
    (code!.endsWith("*") && name.startsWith(code!.slice(0, -1)))
  );
}

for (const [guide, kinds] of Object.entries(ORIGINALS)) {
  Deno.test(`${guide} maps all that its original has`, () => {
    const all = rows(guide);
    const missing = Object.entries(kinds).flatMap(([kind, wanted]) =>
      wanted.filter((name) =>
        !all.some(({ there, here }) => names(there, name) && here.length > 2)
      ).map((name) => `${kind}: ${name}`)
    );
    assertEquals(missing, []);
  });
}

Deno.test("every command line of the originals' READMEs is one that is taken", () => {
  for (
    const line of [
      "mproxy-client --path /dev/random --server-addr '127.0.0.1:9920' --server-addr '[::1]:9921'",
      "mproxy-client --path - --server-addr '224.0.0.1:9922' --server-addr '[ff02::1]:9923' --tee",
      "mproxy-proxy --udp-listen-addr '0.0.0.0:9920' --udp-downstream-addr '[::1]:9921' --udp-downstream-addr 'localhost:9922' --tcp-connect-addr 'localhost:9925' --tee",
      "mproxy-reverseproxy --udp-listen-addr '0.0.0.0:9920' --tcp-output-addr '[::1]:9921' --multicast-addr '224.0.0.1:9922'",
      "mproxy-reverseproxy --tcp_listen_addr 127.0.0.1:9921 --udp_output_addr 127.0.0.1:9923",
      "mproxy-server --path logfile.log --listen-addr '127.0.0.1:9920' --listen-addr '[::1]:9921'",
      "mproxy-client --path '/dev/random' --server_addr '127.0.0.1:9921'",
      "mproxy-proxy --listen_addr '0.0.0.0:9921' --downstream_addr '[::1]:9922' --tee",
      "mproxy-reverseproxy --udp_listen_addr '0.0.0.0:9921' --tcp_listen_addr '0.0.0.0:9921' --multicast_addr '224.0.0.1:9922'",
      "mproxy-server --path logfile.log --listen_addr '0.0.0.0:9921' --listen_addr '[::]:9922'",
      "mproxy-tunnel localhost:4444=some.remote.host.net:3333",
      "mproxy-tunnel --control-socket 127.0.0.1:9999 0.0.0.0:4444=192.168.33.5:3333,192.168.34.23:3333[strategy=random]",
      "mproxy-tunnel 3000=3001,3002,3003[strategy=min-open-connections]",
      "mproxy-tunnel '[::1]:3000=[::1]:3001,[::1]:3002,[::1]:3003[strategy=round-robin,timeout=2]'",
      "mproxy-tunnel --copy-buffer-size 8192 --remote-timeout 2.5 --remote-retries 3 --remote-errors 1 --remote-dead-check-interval 10.0 --help-tunnel",
    ]
  ) {
    for (const argv of simpleCommands(line)) assert(checkCommand(argv), line);
  }
});
