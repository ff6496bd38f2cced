/**
 * Puts itself in front of a TCP service and shows what goes through.
 *
 * ```sh
 * deno run -A jsr:@mproxy/relay 127.0.0.1:8080 127.0.0.1:8081 --events
 * ```
 *
 * @example The same from a program
 * ```ts
 * import { EchoServer, TcpRelay } from "@mproxy/mproxy";
 * import { assertEquals } from "@std/assert";
 *
 * await using echo = await EchoServer.open({
 *   address: { hostname: "127.0.0.1", port: 0 },
 *   protocol: "tcp",
 * });
 * await using relay = await TcpRelay.bind("127.0.0.1:0", echo.address);
 * using client = await Deno.connect(relay.address);
 * await client.write(new TextEncoder().encode("hello"));
 * await client.read(new Uint8Array(5));
 * assertEquals(relay.snapshot().bytesUpstream, 5);
 * ```
 *
 * @module
 */
import {
  address,
  bannerPrinter,
  choice,
  type Command,
  defineCommand,
  flag,
  integer,
  isShown,
  runCommand,
  scaled,
  seconds,
  value,
} from "@mproxy/mproxy/cli";
import {
  bannerLines,
  formatAddress,
  RelayConsole,
  relayJson,
  relayMetrics,
  TcpRelay,
  UsageError,
} from "@mproxy/mproxy";

const LOCAL = "127.0.0.1";
const readListen = address({ defaultHostname: LOCAL, allowPortZero: true });
const readTarget = address({ defaultHostname: LOCAL });

/** The `relay` command. */
export const command: Command = defineCommand({
  name: "relay",
  summary: "Relay TCP connections to one target and show what goes through",
  description:
    "LISTEN and TARGET win over --listen and --target. A client that the target refuses is counted, logged and closed, with a reset where it has sent something. Ctrl+C stops accepting and waits --grace seconds for open connections.",
  positionals: "[LISTEN TARGET]",
  metricsAddress: "127.0.0.1:8998",
  graceSeconds: 60,
  examples: [
    "127.0.0.1:8080 example.com:80",
    "--listen 8080 --target 8081 --events --summary 5",
    "--config proxy.toml",
  ],
  options: {
    listen: value("Where to listen", "HOST:PORT", readListen, {
      aliases: ["listen-addr"],
    }),
    target: value("Where to connect to", "HOST:PORT", readTarget, {
      aliases: ["target-addr"],
    }),
    events: flag("Print a line for what happens on each connection"),
    summary: value(
      "Print a line of figures every so often; 0 for never",
      "SECONDS",
      seconds,
      {
        fallback: 10,
        aliases: ["metrics-log-interval-secs"],
      },
    ),
    maxConnections: value(
      "Clients served at once; 0 for no limit",
      "N",
      integer(0, 1_000_000),
      {
        fallback: 0,
      },
    ),
    maxConnectionsPerSource: value(
      "Clients of one IPv4 address or IPv6 /64 at once; 0 for no limit",
      "N",
      integer(0, 1_000_000),
      {
        fallback: 0,
      },
    ),
    connectTimeout: value(
      "How long the target may take to answer; 0 for ever",
      "SECONDS",
      seconds,
      {
        fallback: 10,
      },
    ),
    idleTimeout: value(
      "End connections on which nothing moves; 0 for never",
      "SECONDS",
      seconds,
      {
        fallback: 0,
      },
    ),
    halfCloseTimeout: value(
      "The same after one side has ended",
      "SECONDS",
      seconds,
      {
        fallback: 0,
      },
    ),
    bufferSize: value(
      "Largest buffer of one direction",
      "BYTES",
      scaled(1024, 16 << 20),
      {
        fallback: 256 * 1024,
        defaultText: "256Ki",
      },
    ),
    engine: choice(
      "What moves the bytes",
      ["auto", "portable", "linux"],
      "auto",
    ),
    workers: value(
      "Threads that share the listener; the linux engine's",
      "N",
      integer(1, 64),
      { fallback: 1 },
    ),
    channelBufferSize: value(
      "Events that may wait to be printed",
      "N",
      integer(1, 1_000_000),
      {
        fallback: 1000,
      },
    ),
  },
  async start(values, { log, print: printAll, terminal, positionals }) {
    if (positionals.length !== 0 && positionals.length !== 2) {
      throw new UsageError(
        `LISTEN and TARGET are wanted, but got ${positionals.length} argument(s)`,
      );
    }
    const [listenText, targetText] = positionals;
    const listen = listenText === undefined
      ? values.listen
      : readListen(listenText);
    const target = targetText === undefined
      ? values.target
      : readTarget(targetText);
    if (!listen || !target) {
      throw new UsageError(
        "LISTEN and TARGET are missing, such as 127.0.0.1:8080 example.com:80",
      );
    }
    const relay = await TcpRelay.bind(listen, target, {
      maxConnections: values.maxConnections,
      maxConnectionsPerSource: values.maxConnectionsPerSource,
      connectTimeoutMs: values.connectTimeout * 1000,
      idleTimeoutMs: values.idleTimeout * 1000,
      halfCloseTimeoutMs: values.halfCloseTimeout * 1000,
      bufferBytes: values.bufferSize,
      eventQueue: values.channelBufferSize,
      eventsFromStart: values.events,
      engine: values.engine,
      workers: values.workers,
      log,
    });
    const print = bannerPrinter(printAll, terminal);
    const role = new RelayConsole(relay, print, {
      events: values.events,
      summarySeconds: values.summary,
    });
    // Last: who has read this line may connect, and no event of theirs is missed.
    log.info("listening", {
      address: relay.boundAddress,
      target: formatAddress(target),
    });
    return {
      role,
      started: (metrics) =>
        bannerLines(relay.address, target, metrics).forEach(print),
      draining: (signal) => role.draining(signal),
      metrics: () => relayMetrics(relay.stats()),
      json: async () => relayJson(relay.snapshot(), await relay.connections()),
      ready: () => role.ready(),
      progress: () => role.progress(),
      summary: () => role.summary().filter((line) => isShown(line, terminal)),
      inFlight: () => ({ count: relay.stats().open, noun: "connection" }),
    };
  },
});

if (import.meta.main) await runCommand(command);
