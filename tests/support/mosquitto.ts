/** The broker mosquitto as a process, and its clients. */
import { startPeer, type TestProcess } from "./process.ts";

/** A running mosquitto. */
export interface Mosquitto extends AsyncDisposable {
  /** Of its plain listener. */
  readonly port: number;
  /** Of its WebSocket listener, where one was asked for. */
  readonly webSocketPort: number;
  /** Of its TLS listener, where one was asked for. */
  readonly tlsPort: number;
  /** Of its listener for WebSocket over TLS, where both were asked for. */
  readonly secureWebSocketPort: number;
  /** `mqtt://127.0.0.1:PORT`. */
  readonly url: string;
  /** What it says with `-v`. */
  readonly log: TestProcess;
}

/** How mosquitto is started. */
export interface MosquittoOptions {
  /** Of its plain listener. Default: a free one. */
  port?: number;
  webSocket?: boolean;
  /** Files in PEM; with `ca`, clients must have a certificate. */
  tls?: { cert: string; key: string; ca?: string };
  /** Whether it logs all that it does; else only errors. */
  quiet?: boolean;
  /** More lines of its configuration. */
  lines?: readonly string[];
}

/** Starts mosquitto on free ports. */
export async function startMosquitto(
  options: MosquittoOptions = {},
): Promise<Mosquitto> {
  const [freePort, webSocketPort, tlsPort, secureWebSocketPort] = freePorts(
    4,
  ) as [
    number,
    number,
    number,
    number,
  ];
  const { port = freePort, webSocket, tls, lines = [] } = options;
  const root = Deno.uid() === 0 ? ["user root"] : [];
  const configuration = [
    ...root,
    "persistence false",
    "allow_anonymous true",
    "max_queued_messages 100000",
    ...lines,
    ...options.quiet
      ? ["log_type information", "connection_messages false"]
      : [],
    `listener ${port} 127.0.0.1`,
    ...webSocket
      ? [`listener ${webSocketPort} 127.0.0.1`, "protocol websockets"]
      : [],
    ...tls ? [`listener ${tlsPort} 127.0.0.1`, ...tlsLines(tls)] : [],
    ...tls && webSocket
      ? [
        `listener ${secureWebSocketPort} 127.0.0.1`,
        "protocol websockets",
        ...tlsLines(tls),
      ]
      : [],
    "",
  ].join("\n");
  const file = await Deno.makeTempFile({ suffix: ".conf" });
  await Deno.writeTextFile(file, configuration);
  const process = startPeer(
    "mosquitto",
    ["-c", file, ...options.quiet ? [] : ["-v"]],
  );
  await process.line(/mosquitto version .* running/);
  return {
    port,
    webSocketPort,
    tlsPort,
    secureWebSocketPort,
    url: `mqtt://127.0.0.1:${port}`,
    log: process,
    async [Symbol.asyncDispose]() {
      await process[Symbol.asyncDispose]();
      await Deno.remove(file);
    },
  };
}

function tlsLines(tls: NonNullable<MosquittoOptions["tls"]>): string[] {
  return [
    `certfile ${tls.cert}`,
    `keyfile ${tls.key}`,
    ...tls.ca ? [`cafile ${tls.ca}`, "require_certificate true"] : [],
  ];
}

/** Starts `mosquitto_sub` at a port, and waits until the broker has its subscription. */
export async function subscriberOf(
  broker: Mosquitto,
  port: number,
  args: readonly string[],
): Promise<TestProcess> {
  const id = `sub-${crypto.randomUUID().slice(0, 8)}`;
  const process = startPeer("mosquitto_sub", [
    ...["-h", "127.0.0.1", "-p", String(port), "-i", id, "-W", "20"],
    ...args,
  ]);
  await broker.log.line(new RegExp(`Sending SUBACK to ${id}`));
  return process;
}

/** Runs `mosquitto_pub` to its end. */
export function mosquittoPub(port: number, args: readonly string[]) {
  return startPeer("mosquitto_pub", [
    "-h",
    "127.0.0.1",
    "-p",
    String(port),
    ...args,
  ]).end;
}

/** Ports that were free just now: mosquitto takes none of its own choice. */
function freePorts(count: number): number[] {
  const listeners = Array.from(
    { length: count },
    () => Deno.listen({ hostname: "127.0.0.1", port: 0 }),
  );
  const ports = listeners.map(({ addr }) => addr.port);
  for (const listener of listeners) listener.close();
  return ports;
}
