/**
 * The UDP echo server (RFC 862): sends each datagram back to where it came
 * from, over `Deno.listenDatagram` or, without `--unstable-net`, `node:dgram`.
 *
 * Two echo servers made to talk to each other never stop, and one forged
 * datagram is enough for that: what comes from the server's own port number is
 * not answered, and counted as an error.
 */
import { createSocket, type Socket } from "node:dgram";
import { type Address, formatAddress, isIpv6 } from "../address.ts";
import { MAX_DATAGRAM_BYTES } from "../engine/batch.ts";
import { hasDenoDatagram } from "../engine/portable/datagram/deno.ts";
import { resolveOne } from "../engine/resolve.ts";
import { failedCall } from "../errors.ts";

/** What a UDP echo server counts. */
export interface UdpEchoStats {
  /** Datagrams sent back. */
  datagrams: number;
  /** Bytes sent back. */
  bytes: number;
  /** Datagrams that could not be sent back. */
  errors: number;
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
): Promise<UdpEcho> {
  const resolved = await resolveOne(address);
  try {
    return over === "deno"
      ? new DenoEcho(resolved)
      : await NodeEcho.open(resolved);
  } catch (cause) {
    throw failedCall("listen on", `${formatAddress(address)}/udp`, cause);
  }
}

class DenoEcho implements UdpEcho {
  readonly address: Address;
  readonly finished: Promise<void>;
  readonly #socket: Deno.DatagramConn;
  readonly #stats: UdpEchoStats = { datagrams: 0, bytes: 0, errors: 0 };
  #closed = false;

  constructor({ hostname, port }: Address) {
    this.#socket = Deno.listenDatagram({ transport: "udp", hostname, port });
    const bound = this.#socket.addr as Deno.NetAddr;
    this.address = { hostname: bound.hostname, port: bound.port };
    this.finished = this.#run();
  }

  async #run(): Promise<void> {
    const buffer = new Uint8Array(MAX_DATAGRAM_BYTES);
    while (!this.#closed) {
      try {
        const [datagram, from] = await this.#socket.receive(buffer);
        if ((from as Deno.NetAddr).port === this.address.port) {
          this.#stats.errors++;
          continue;
        }
        this.#stats.bytes += await this.#socket.send(datagram, from);
        this.#stats.datagrams++;
      } catch {
        // An ICMP error of an earlier send shows up here; the socket is whole.
        if (!this.#closed) this.#stats.errors++;
      }
    }
  }

  stats(): UdpEchoStats {
    return { ...this.#stats };
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
  readonly #stats: UdpEchoStats = { datagrams: 0, bytes: 0, errors: 0 };

  static async open({ hostname, port }: Address): Promise<NodeEcho> {
    const socket = createSocket(isIpv6(hostname) ? "udp6" : "udp4");
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.bind(port, hostname, () => {
        socket.off("error", reject);
        resolve();
      });
    });
    return new NodeEcho(socket);
  }

  constructor(socket: Socket) {
    const bound = socket.address();
    this.address = { hostname: bound.address, port: bound.port };
    this.finished = this.#done.promise;
    this.#socket = socket;
    socket.on("error", () => this.#stats.errors++);
    socket.on("close", () => this.#done.resolve());
    socket.on("message", (datagram, from) => {
      if (from.port === bound.port) {
        this.#stats.errors++;
        return;
      }
      socket.send(datagram, from.port, from.address, (error) => {
        if (error) this.#stats.errors++;
        else {
          this.#stats.datagrams++;
          this.#stats.bytes += datagram.length;
        }
      });
    });
  }

  stats(): UdpEchoStats {
    return { ...this.#stats };
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
