/**
 * MQTT gateway: clients of MQTT 3.1, 3.1.1 and 5 over TCP, TLS and WebSocket,
 * in front of any broker, with a policy file and hooks in TypeScript.
 *
 * ```sh
 * deno run -A jsr:@mproxy/mqtt --listen mqtt://:1884 --target mqtt://127.0.0.1:1883
 * ```
 *
 * @example The same from a program
 * ```ts
 * import { startMqttGateway } from "@mproxy/mproxy/mqtt";
 * import { assertEquals } from "@std/assert";
 *
 * await using gateway = await startMqttGateway({
 *   listeners: [{ url: "mqtt://127.0.0.1:0" }],
 *   targets: ["mqtt://127.0.0.1:1883"],
 * });
 * console.log(`clients come in at ${gateway.urls[0]}`);
 * assertEquals(gateway.stats().openSessions, 0);
 * ```
 *
 * @module
 */
import {
  choice,
  type Command,
  defineCommand,
  flag,
  integer,
  list,
  positiveSeconds,
  runCommand,
  scaled,
  text,
  value,
} from "@mproxy/mproxy/cli";
import {
  hashPasswordFromStdin,
  openMqttGateway,
  watchProcessErrors,
} from "@mproxy/mproxy/mqtt";

const TLS = { group: "TLS of the listeners" };
const BROKER = { group: "Brokers" };
const RULES = { group: "Rules" };
const LIMITS = { group: "Limits" };

/** The command's table of options and its start. */
export const command: Command = defineCommand({
  name: "mqtt",
  summary: "Gateway for MQTT with a policy and hooks, in front of any broker",
  description:
    `Each client gets a connection of its own to its broker, which is chosen by its client identifier. Packets go on byte for byte as they came unless a rule or a hook changes them.

SIGHUP reads policy and certificates again; SIGTERM tells MQTT 5 clients that the server shuts down and ends. The environment variables of mProxy and mGate (MPROXY_MQTT_HOST, MGATE_MQTT_WITH_TLS_PORT, ...) are read where no --listen is given.`,
  options: {
    listen: list(
      "Listener: PORT, HOST:PORT, or mqtt, mqtts, ws, wss://HOST:PORT; ?cert=, key=, client-ca=, client-auth= for it alone",
      "URL",
      text,
      { short: "l" },
    ),
    target: list(
      "Broker: HOST:PORT, or mqtt, mqtts, ws, wss://HOST:PORT",
      "URL",
      text,
      { short: "t" },
    ),
    cert: value("Certificate in PEM", "FILE", text, TLS),
    key: value("Its key in PEM", "FILE", text, { ...TLS, secretFile: true }),
    clientCa: value(
      "Ask for client certificates that come from these roots",
      "FILE",
      text,
      TLS,
    ),
    clientAuth: choice(
      "Whether a client must have a certificate",
      ["required", "optional"],
      undefined,
      TLS,
    ),
    wsOrigin: list(
      "Origin that browsers may connect from (default: the listener's own)",
      "URL",
      text,
      TLS,
    ),
    targetCa: value("More roots in PEM", "FILE", text, BROKER),
    targetCert: value("The gateway's own certificate", "FILE", text, BROKER),
    targetKey: value("Its key", "FILE", text, { ...BROKER, secretFile: true }),
    targetServerName: value(
      "Name that the broker's certificate must have",
      "NAME",
      text,
      BROKER,
    ),
    targetInsecure: flag("Do not check the broker's certificate", BROKER),
    proxyProtocol: flag("Send the PROXY protocol's header, version 2", BROKER),
    passServerReference: flag(
      "Let clients see the broker's Server Reference",
      BROKER,
    ),
    policy: value("Users, rules and limits in TOML", "FILE", text, RULES),
    hooks: list("Module whose default export is hooks", "FILE", text, RULES),
    onDeny: choice(
      "What a denied message comes to",
      ["ack", "close"],
      "ack",
      RULES,
    ),
    audit: value(
      "Write who did what as JSON lines; - is stdout",
      "FILE",
      text,
      RULES,
    ),
    auditMessages: flag("Write every message, not only denied ones", RULES),
    auditPayloads: flag("Write payloads too", RULES),
    auditRequired: flag(
      "Refuse new sessions while the audit log cannot be written",
      RULES,
    ),
    hashPassword: flag(
      "Read a password from stdin, print its hash for the policy, and end",
      RULES,
    ),
    connectTimeout: value(
      "From connection to CONNECT",
      "SECONDS",
      positiveSeconds,
      {
        ...LIMITS,
        fallback: 10,
      },
    ),
    brokerTimeout: value(
      "From dial to CONNACK, and for the answer to a PINGREQ",
      "SECONDS",
      positiveSeconds,
      { ...LIMITS, fallback: 10 },
    ),
    clientTimeout: value(
      "How long a client may not read what it is sent",
      "SECONDS",
      positiveSeconds,
      { ...LIMITS, fallback: 300 },
    ),
    hookTimeout: value(
      "For all hooks of a packet",
      "SECONDS",
      positiveSeconds,
      {
        ...LIMITS,
        fallback: 5,
      },
    ),
    maxPacketSize: value(
      "Largest packet",
      "BYTES",
      scaled(128, 268_435_460),
      { ...LIMITS, fallback: 268_435_460, defaultText: "256Mi" },
    ),
    maxHeldSize: value(
      "Memory for all incomplete packets above 128 KiB",
      "BYTES",
      scaled(1 << 17, 2 ** 40),
      { ...LIMITS, fallback: 268_435_460, defaultText: "256Mi" },
    ),
    maxConnectSize: value(
      "Largest packet before the broker's CONNACK",
      "BYTES",
      scaled(128, 268_435_460),
      { ...LIMITS, fallback: 65536, defaultText: "64Ki" },
    ),
    maxFrameSize: value(
      "Longest WebSocket frame",
      "BYTES",
      scaled(128, 2 ** 32),
      {
        ...LIMITS,
        fallback: 268_435_460,
        defaultText: "256Mi",
      },
    ),
    maxConnections: value(
      "Connections at a time",
      "COUNT",
      integer(1, 1e9),
      LIMITS,
    ),
    maxConnectionsPerSource: value(
      "Connections at once from one address (/64 for IPv6)",
      "COUNT",
      integer(1, 1e9),
      LIMITS,
    ),
    connectRate: value(
      "New connections in a second",
      "COUNT",
      integer(1, 1e9),
      LIMITS,
    ),
    maxClientIdLength31: value(
      "Longest client identifier of MQTT 3.1",
      "CHARACTERS",
      integer(1, 65535),
      { ...LIMITS, fallback: 65_535 },
    ),
  },
  renamedOptions: { webSocketOrigins: "wsOrigin" },
  examples: [
    "--listen mqtt://:1884 --target mqtt://127.0.0.1:1883",
    "--listen mqtts://0.0.0.0:8883 --cert cert.pem --key key.pem --target mqtt://broker:1883 --policy policy.toml",
    "--listen ws://0.0.0.0:8080/mqtt --target mqtts://broker:8883 --hooks hooks.ts",
  ],
  start: async (values, { log }) => {
    if (values.hashPassword) {
      await hashPasswordFromStdin();
      return undefined;
    }
    // Its listeners stay as long as the process: an error in a hook's timer
    // must not end all sessions.
    watchProcessErrors((error) =>
      log.limited("stray error", "error outside of any session", {
        error: error instanceof Error ? error.stack : String(error),
      })
    );
    const { gateway, reload } = await openMqttGateway({
      ...values,
      webSocketOrigins: values.wsOrigin,
      sendProxyHeader: values.proxyProtocol,
      connectTimeoutMs: values.connectTimeout * 1000,
      brokerTimeoutMs: values.brokerTimeout * 1000,
      clientTimeoutMs: values.clientTimeout * 1000,
      hookTimeoutMs: values.hookTimeout * 1000,
      maxPacketBytes: values.maxPacketSize,
      maxHeldBytes: values.maxHeldSize,
      maxConnectBytes: values.maxConnectSize,
      maxFrameBytes: values.maxFrameSize,
      maxConnectionsPerSecond: values.connectRate,
      maxClientIdChars31: values.maxClientIdLength31,
      // To read it wants a permission that nobody else need give.
      environment: values.listen.length > 0 && !mayReadEnvironment()
        ? {}
        : Deno.env.toObject(),
      log,
    });
    return {
      role: gateway,
      metrics: () => gateway.metrics(),
      progress: () => gateway.progress(),
      summary: () => gateway.summary(),
      inFlight: () => ({
        count: gateway.stats().openSessions,
        noun: "session",
      }),
      ready: () => gateway.ready(),
      reload,
    };
  },
});

function mayReadEnvironment(): boolean {
  return Deno.permissions.querySync({ name: "env" }).state === "granted";
}

if (import.meta.main) await runCommand(command);
