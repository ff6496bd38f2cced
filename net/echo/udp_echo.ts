/**
 * The UDP echo server (RFC 862): sends each datagram back to where it came
 * from, over `Deno.listenDatagram` or, without `--unstable-net`, `node:dgram`.
 *
 * What is not answered, because it may be another server's or too much, the
 * guard decides; it is counted and logged.
 */
import { createSocket, type Socket } from "node:dgram";
import { type Address, formatAddress, isIpv6 } from "../address.ts";
import { MAX_DATAGRAM_BYTES } from "../engine/batch.ts";
import { hasDenoDatagram } from "../engine/portable/datagram/deno.ts";
import { resolveOne } from "../engine/resolve.ts";
import { failedCall } from "../errors.ts";
import type { Log } from "../observe/log.ts";
import { EchoGuard, type Refusal } from "./echo_guard.ts";

/** What a UDP echo server counts. */
export interface UdpEchoStats {
  /** Datagrams sent back. */
  datagrams: number;
  /** Bytes sent back. */
  bytes: number;
  /** Datagrams that could not be sent back. */
  errors: number;
  /** Datagrams that were not answered, by reason. */
  refused: Record<Refusal, number>;
}

/** What a UDP echo server is made with, beside its address. */
export interface UdpEchoOptions {
  /** Datagrams of one IPv4 address or IPv6 /64 a second; 0 for no limit. @default {10000} */
  maxDatagramsPerSource?: number | undefined;
  /** Takes a line for datagrams that are not answered, at a limited rate. */
  log?: Log | undefined;
}

/** A running UDP echo server. */
export interface UdpEcho extends AsyncDisposable {
  /** The bound address, with the real port. */
  readonly address: Address;
  /** Resolves when it is closed. */
  readonly finished: Promise<void>;
  /** What it has counted. */
  stats(): UdpEchoStats;
}

/**
 * Binds and serves; throws an OperationError where it cannot be bound. `over`
 * is by default the faster of the two that is there.
 */
export async function serveUdpEcho(
  address: Address,
  over: "deno" | "node" = hasDenoDatagram() ? "deno" : "node",
  options: UdpEchoOptions = {},
): Promise<UdpEcho> {
  const resolved = await resolveOne(address);
  try {
    return over === "deno"
      ? new DenoEcho(resolved, options)
      : await NodeEcho.open(resolved, options);
  } catch (cause) {
    throw failedCall("listen on", `${formatAddress(address)}/udp`, cause);
  }
}

/** What both kinds count and refuse. */
class EchoCounts {
  readonly stats: UdpEchoStats = {
    datagrams: 0,
    bytes: 0,
    errors: 0,
    refused: { port: 0, loop: 0, rate: 0 },
  };
  readonly #guard: EchoGuard;
  readonly #log: Log | undefined;

  constructor(port: number, options: UdpEchoOptions) {
    this.#guard = new EchoGuard({ port, ...options });
    this.#log = options.log;
  }

  /** Whether a datagram is to be answered; counts it where not. */
  admits(datagram: Uint8Array, hostname: string, port: number): boolean {
    const now = performance.now();
    const reason = this.#guard.check(datagram, hostname, port, now);
    if (reason === undefined) return true;
    // The first of each reason; the counters have the others.
    if (this.stats.refused[reason]++ === 0) {
      this.#log?.warn(REFUSAL_TEXT[reason], {
        source: formatAddress({ hostname, port }),
        metric: "mproxy_echo_datagrams_refused_total",
      });
    }
    return false;
  }

  /** A copy of the figures. */
  read(): UdpEchoStats {
    return { ...this.stats, refused: { ...this.stats.refused } };
  }
}

/** Bytes of answers that may wait in `node:dgram`. */
const MAX_SEND_QUEUE_BYTES = 4 << 20;

const REFUSAL_TEXT: Readonly<Record<Refusal, string>> = {
  port: "datagram not answered: its source port belongs to a service",
  loop: "datagram not answered: the same payload comes back again and again",
  rate: "datagram not answered: too many of this source",
};

class DenoEcho implements UdpEcho {
  readonly address: Address;
  readonly finished: Promise<void>;
  readonly #socket: Deno.DatagramConn;
  readonly #counts: EchoCounts;
  #closed = false;

  constructor({ hostname, port }: Address, options: UdpEchoOptions) {
    this.#socket = Deno.listenDatagram({ transport: "udp", hostname, port });
    const bound = this.#socket.addr as Deno.NetAddr;
    this.address = { hostname: bound.hostname, port: bound.port };
    this.#counts = new EchoCounts(bound.port, options);
    this.finished = this.#run();
  }

  async #run(): Promise<void> {
    const buffer = new Uint8Array(MAX_DATAGRAM_BYTES);
    const { stats } = this.#counts;
    while (!this.#closed) {
      try {
        const [datagram, from] = await this.#socket.receive(buffer);
        const { hostname, port } = from as Deno.NetAddr;
        if (!this.#counts.admits(datagram, hostname, port)) continue;
        const bytes = await this.#socket.send(datagram, from);
        stats.bytes += bytes;
        stats.datagrams++;
      } catch {
        // An ICMP error of an earlier send shows up here; the socket is whole.
        if (!this.#closed) stats.errors++;
      }
    }
  }

  stats(): UdpEchoStats {
    return this.#counts.read();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#socket.close();
    }
    await this.finished;
  }
}

class NodeEcho implements UdpEcho {
  readonly address: Address;
  readonly finished: Promise<void>;
  readonly #socket: Socket;
  readonly #done = Promise.withResolvers<void>();
  readonly #counts: EchoCounts;

  static async open(
    { hostname, port }: Address,
    options: UdpEchoOptions,
  ): Promise<NodeEcho> {
    const socket = createSocket(isIpv6(hostname) ? "udp6" : "udp4");
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.bind(port, hostname, () => {
        socket.off("error", reject);
        resolve();
      });
    });
    return new NodeEcho(socket, options);
  }

  constructor(socket: Socket, options: UdpEchoOptions) {
    const bound = socket.address();
    this.address = { hostname: bound.address, port: bound.port };
    this.finished = this.#done.promise;
    this.#socket = socket;
    const counts = this.#counts = new EchoCounts(bound.port, options);
    const { stats } = counts;
    socket.on("error", () => stats.errors++);
    socket.on("close", () => this.#done.resolve());
    socket.on("message", (datagram, from) => {
      if (!counts.admits(datagram, from.address, from.port)) return;
      // Sends that the system does not take at once would pile up here.
      if (socket.getSendQueueSize() > MAX_SEND_QUEUE_BYTES) {
        stats.errors++;
        return;
      }
      socket.send(datagram, from.port, from.address, (error) => {
        if (error) stats.errors++;
        else {
          stats.datagrams++;
          stats.bytes += datagram.length;
        }
      });
    });
  }

  stats(): UdpEchoStats {
    return this.#counts.read();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#socket.close();
    } catch {
      // Closed already.
    }
    await this.finished;
  }
}
