/** An echo server over TCP, UDP or both on one port, as a role. */
import { type Address, formatAddress } from "../address.ts";
import { admissionMetrics } from "../admission_metrics.ts";
import { serveUdpEcho, type UdpEcho } from "./udp_echo.ts";
import type { Log } from "../observe/log.ts";
import type { Metric } from "../observe/metrics.ts";
import { formatBytes, formatCount } from "../observe/units.ts";
import { TcpEcho } from "./tcp_echo.ts";

/** What an {@linkcode EchoServer} speaks. */
export type EchoProtocol = "tcp" | "udp" | "both";

/** Options of {@linkcode EchoServer.open}. */
export interface EchoServerOptions {
  /** Where to listen; port 0 takes a free one, the same for both protocols. */
  address: Address;
  /**
   * What to speak.
   * @default {"both"}
   */
  protocol?: EchoProtocol;
  /** TCP clients at once. @default {1024} */
  maxConnections?: number | undefined;
  /** TCP clients of one IPv4 address or IPv6 /64 at once. Default: half of `maxConnections`. */
  maxConnectionsPerSource?: number | undefined;
  /** Milliseconds without a byte after which a TCP client is closed. @default {300000} */
  idleTimeoutMs?: number | undefined;
  /** UDP datagrams of one IPv4 address or IPv6 /64 that are answered a second; 0 for no limit. @default {10000} */
  maxDatagramsPerSource?: number | undefined;
  /** Takes the bound addresses, and warnings. Default: none. */
  log?: Log;
}

/** A running echo server. Sends back what comes, as RFC 862 has it. */
export class EchoServer implements AsyncDisposable {
  /** Resolves when it is closed. */
  readonly finished: Promise<void>;
  readonly #tcp: TcpEcho | undefined;
  readonly #udp: UdpEcho | undefined;

  /** Binds and serves; throws an OperationError where it cannot be bound. */
  static async open(options: EchoServerOptions): Promise<EchoServer> {
    const { address, protocol = "both", log } = options;
    const tcp = protocol === "udp" ? undefined : new TcpEcho(options);
    let udp: UdpEcho | undefined;
    try {
      udp = protocol === "tcp"
        ? undefined
        : await serveUdpEcho(tcp?.address ?? address, undefined, options);
    } catch (error) {
      await tcp?.[Symbol.asyncDispose]();
      throw error;
    }
    for (const [name, server] of Object.entries({ tcp, udp })) {
      if (!server) continue;
      log?.info("listening", {
        address: formatAddress(server.address),
        protocol: name,
      });
    }
    return new EchoServer(tcp, udp);
  }

  private constructor(tcp: TcpEcho | undefined, udp: UdpEcho | undefined) {
    this.#tcp = tcp;
    this.#udp = udp;
    this.finished = Promise.all([tcp?.finished, udp?.finished]).then(() => {});
  }

  /** The bound address; of TCP where both are served. */
  get address(): Address {
    return (this.#tcp ?? this.#udp)!.address;
  }

  /** What it has counted, as metrics. */
  metrics(): Metric[] {
    const tcp = this.#tcp?.stats();
    const udp = this.#udp?.stats();
    const byProtocol = (counts: Record<string, number | undefined>) =>
      Object.entries(counts).filter(([, value]) => value !== undefined)
        .map(([protocol, value]) => ({ labels: { protocol }, value: value! }));
    return [
      {
        name: "mproxy_echo_connections_open",
        help: "Connections open now.",
        type: "gauge",
        samples: [{ value: tcp?.open ?? 0 }],
      },
      {
        name: "mproxy_echo_connections_total",
        help: "Connections ever opened.",
        type: "counter",
        samples: [{ value: tcp?.opened ?? 0 }],
      },
      {
        name: "mproxy_echo_datagrams_total",
        help: "Datagrams sent back.",
        type: "counter",
        samples: [{ value: udp?.datagrams ?? 0 }],
      },
      {
        name: "mproxy_echo_bytes_total",
        help: "Bytes sent back.",
        type: "counter",
        samples: byProtocol({ tcp: tcp?.bytes, udp: udp?.bytes }),
      },
      {
        name: "mproxy_echo_errors_total",
        help: "Connections that broke off, datagrams not sent back.",
        type: "counter",
        samples: byProtocol({ tcp: tcp?.errors, udp: udp?.errors }),
      },
      {
        name: "mproxy_echo_datagrams_refused_total",
        help:
          "Datagrams not answered, by reason: port (of a service), loop, rate.",
        type: "counter",
        samples: Object.entries(udp?.refused ?? {}).map(([reason, value]) => ({
          labels: { reason },
          value,
        })),
      },
      ...(tcp
        ? admissionMetrics([{ listener: "echo", stats: tcp.admission }])
        : []),
    ];
  }

  /** One line about now. */
  progress(): string {
    const tcp = this.#tcp?.stats();
    const udp = this.#udp?.stats();
    return [
      ...(tcp
        ? [
          `${tcp.open} connections open, ${formatCount(tcp.opened)} in all, ${
            formatBytes(tcp.bytes)
          } sent back`,
        ]
        : []),
      ...(udp
        ? [
          `${formatCount(udp.datagrams)} datagrams, ${
            formatBytes(udp.bytes)
          } sent back`,
        ]
        : []),
    ].join("; ");
  }

  /** Accepts no one more, and ends when the last client has. */
  async drain(): Promise<void> {
    await Promise.all([this.#tcp?.drain(), this.#udp?.[Symbol.asyncDispose]()]);
  }

  /** Ends everything now. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([
      this.#tcp?.[Symbol.asyncDispose](),
      this.#udp?.[Symbol.asyncDispose](),
    ]);
  }
}
