/**
 * Runs TCP tunnels that are balanced over remotes and can be opened, changed,
 * drained and closed while they run.
 *
 * ```sh
 * deno run -A jsr:@mproxy/tunnel -c 127.0.0.1:9999 3000=4000,4001 5432=db:5432
 * ```
 *
 * @example The same from a program
 * ```ts
 * import { Tunnels } from "@mproxy/mproxy";
 * import { assertEquals } from "@std/assert";
 *
 * await using tunnels = await Tunnels.start({
 *   tunnels: ["0=127.0.0.1:4000,127.0.0.1:4001[strategy=round-robin]"],
 * });
 * const [tunnel] = tunnels.list();
 * console.log(`clients come in at port ${tunnel!.address.port}`);
 * assertEquals(tunnel!.remotes.length, 2);
 * ```
 *
 * @module
 */
import {
  absent,
  address,
  choice,
  type Command,
  configError,
  type ConfigFile,
  defineCommand,
  flag,
  integer,
  list,
  runCommand,
  scaled,
  text,
  value,
  type Values,
  writeStdout,
} from "@mproxy/mproxy/cli";
import {
  checkTunnelFiles,
  DEFAULT_TUNNEL_OPTIONS,
  readCount,
  readDelay,
  readToken,
  readTunnelArguments,
  readTunnelConfig,
  startTunnelRole,
  TUNNEL_SECTIONS,
  tunnelHelp,
  type TunnelOptions,
  type TunnelsConfig,
} from "@mproxy/mproxy";

const readDoor = address({
  defaultHostname: "127.0.0.1",
  allowPortZero: true,
});
const SPECIFICATION_HINT =
  "tunnel has no such option; write LISTEN=REMOTE, such as 3000=4000 or 0.0.0.0:80=web:8080";
const CONTROL = { group: "Control" };
const REMOTES = { group: "Defaults of tunnels" };

const options = {
  tunnel: list("Open a tunnel; the same as an argument", "TUNNEL", text),
  helpTunnel: flag("Show the tunnel syntax"),
  state: value("Keep changes over a restart in this file", "FILE", text),
  accessLog: value("Write a line per client; - for stdout", "FILE|-", text),
  accessLogFormat: choice("How these lines look", ["text", "json"], "text"),
  copyBufferSize: value(
    "Largest buffer of one direction of a connection",
    "BYTES",
    scaled(1024, 16 << 20),
    { defaultText: "256Ki" },
  ),
  caBundle: value(
    "PEM file of roots to trust for remote-tls, beside the built-in ones",
    "FILE",
    text,
  ),
  engine: choice("What moves the bytes", ["auto", "portable", "linux"], "auto"),
  workers: value(
    "Threads that share every listener; the linux engine's",
    "N",
    integer(1, 64),
    { fallback: 1 },
  ),
  controlSocket: value("Take line commands here", "HOST:PORT", readDoor, {
    short: "c",
    ...CONTROL,
  }),
  rpcSocket: value(
    "Take JSON-RPC here, HTTP and WebSocket",
    "HOST:PORT",
    readDoor,
    {
      short: "r",
      ...CONTROL,
    },
  ),
  controlTokenFile: value(
    "File with the token that both doors want; needed where they are not on loopback",
    "FILE",
    readToken,
    { ...CONTROL, secretFile: true },
  ),
  prometheusSocket: value(
    "Serve /metrics here",
    "HOST:PORT",
    readDoor,
    CONTROL,
  ),
  metricsCompat: choice(
    "Also show metrics under another tool's names",
    ["plexy"],
    undefined,
    CONTROL,
  ),
  remoteTimeout: value(
    "Longest connect to a remote, with TLS",
    "SECONDS",
    readDelay(false),
    {
      fallback: DEFAULT_TUNNEL_OPTIONS.connectTimeoutMs,
      defaultText: "10",
      ...REMOTES,
    },
  ),
  remoteRetries: value(
    "Connects tried for one client, in total",
    "N",
    readCount(65535),
    {
      fallback: DEFAULT_TUNNEL_OPTIONS.attempts,
      ...REMOTES,
    },
  ),
  remoteErrors: value(
    "Failed connects in a row until a remote is dead",
    "N",
    readCount(Number.MAX_SAFE_INTEGER),
    {
      fallback: DEFAULT_TUNNEL_OPTIONS.errorsTillDead,
      ...REMOTES,
    },
  ),
  remoteDeadCheckInterval: value(
    "How often a dead remote is probed",
    "SECONDS",
    readDelay(false),
    {
      fallback: DEFAULT_TUNNEL_OPTIONS.checkIntervalMs,
      defaultText: "10",
      ...REMOTES,
    },
  ),
  idleTimeout: value(
    "End a connection without a byte for so long; 0 for never",
    "SECONDS",
    readDelay(true),
    {
      fallback: 0,
      ...REMOTES,
    },
  ),
  halfCloseTimeout: value(
    "End a connection so long after one side has; 0 for never",
    "SECONDS",
    readDelay(true),
    {
      fallback: 0,
      ...REMOTES,
    },
  ),
  listen: absent(SPECIFICATION_HINT),
  target: absent(SPECIFICATION_HINT),
  maxConnections: value(
    "Clients served at once; 0 for no limit",
    "N",
    readCount(1_000_000),
    {
      fallback: 0,
      ...REMOTES,
    },
  ),
  maxConnectionsPerSource: value(
    "Clients of one IPv4 address or IPv6 /64 at once; 0 for no limit",
    "N",
    readCount(1_000_000),
    {
      fallback: 0,
      ...REMOTES,
    },
  ),
};

/** What holds where a tunnel says nothing. */
function defaultsOf(values: Values<typeof options>): TunnelOptions {
  return {
    ...DEFAULT_TUNNEL_OPTIONS,
    connectTimeoutMs: values.remoteTimeout,
    attempts: values.remoteRetries,
    errorsTillDead: values.remoteErrors,
    checkIntervalMs: values.remoteDeadCheckInterval,
    idleTimeoutMs: values.idleTimeout,
    halfCloseTimeoutMs: values.halfCloseTimeout,
    maxConnections: values.maxConnections,
    maxConnectionsPerSource: values.maxConnectionsPerSource,
  };
}

/** The `tunnel` command. */
export const command: Command = defineCommand({
  name: "tunnel",
  summary:
    "Run balanced TCP tunnels that can be opened, changed and closed while they run",
  description:
    "TUNNEL is LISTEN=REMOTE[,REMOTE...], with options in brackets after it if needed: 3000=4000,4001[strategy=round-robin]. --help-tunnel shows all of it. SIGHUP reads the configuration again: what did not change keeps its connections.",
  positionals: "[TUNNEL...]",
  graceSeconds: 10,
  examples: [
    "3000=4000",
    "-c 127.0.0.1:9999 0.0.0.0:80=web1:8080,web2:8080[strategy=round-robin]",
    "--config tunnels.toml --state tunnels.json --prometheus-socket 127.0.0.1:9100",
  ],
  options,
  renamedOptions: { controlToken: "controlTokenFile" },
  configSections: TUNNEL_SECTIONS,
  async checkConfig(root, values) {
    const defaults = defaultsOf(values);
    const { tunnels, problems } = readTunnelConfig(root, defaults);
    return [...problems, ...await checkTunnelFiles(tunnels, defaults)];
  },
  async start(values, { log, positionals, config, reread }) {
    if (values.helpTunnel) {
      await writeStdout(tunnelHelp());
      return undefined;
    }
    const given = (
      values: Values<typeof options>,
      config: ConfigFile | undefined,
    ): TunnelsConfig => {
      const defaults = defaultsOf(values);
      const read = config && readTunnelConfig(config.root, defaults);
      if (config && read && read.problems.length > 0) {
        throw configError(config.file, read.problems);
      }
      const texts = [...positionals, ...values.tunnel];
      return {
        defaults,
        tunnels: [
          ...readTunnelArguments(texts, defaults),
          ...read?.tunnels.map(({ spec }) => spec) ?? [],
        ],
      };
    };
    let first: TunnelsConfig | undefined = given(values, config);
    const role = await startTunnelRole({
      load: () => {
        const loaded = first;
        first = undefined;
        if (loaded) return loaded;
        const { values, config } = reread();
        return given(values, config);
      },
      caBundle: values.caBundle,
      bufferBytes: values.copyBufferSize,
      stateFile: values.state,
      accessLog: values.accessLog,
      accessLogFormat: values.accessLogFormat,
      engine: values.engine,
      workers: values.workers,
      controlSocket: values.controlSocket,
      rpcSocket: values.rpcSocket,
      controlToken: values.controlTokenFile,
      prometheusSocket: values.prometheusSocket,
      metricsCompat: values.metricsCompat,
      log,
    });
    return {
      role,
      metrics: role.metrics,
      json: role.json,
      ready: () => role.tunnels.ready(),
      progress: role.progress,
      summary: role.summary,
      inFlight: () => ({
        count: role.tunnels.totals().open,
        noun: "connection",
      }),
      reload: role.reload,
    };
  },
});

if (import.meta.main) await runCommand(command);
