/**
 * Listens for clients. What a client must do before its first MQTT byte, the
 * WebSocket upgrade, is left to the session, whose deadline covers it.
 */
import { devNull } from "node:os";
import type { Socket } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import type { Address } from "../../address.ts";
import { failedCall } from "../../errors.ts";
import type { BufferPool } from "../buffer_pool.ts";
import type { ByteStream } from "./byte_stream.ts";
import { TcpStream } from "./tcp_stream.ts";
import {
  type Endpoint,
  formatEndpoint,
  isSecure,
  isWebSocket,
  systemHost,
} from "./endpoint.ts";
import { TlsStream } from "./tls_stream.ts";
import { acceptWebSocket } from "./websocket_stream.ts";

/** Certificates of a listener, all in PEM. */
export interface ListenTlsOptions {
  /** The listener's, with those that lead to a root behind it. */
  cert: string;
  /** The key that belongs to it. */
  key: string;
  /** Roots that clients' certificates must come from; none are asked for without it. */
  clientCa?: string | undefined;
  /**
   * Whether a client without a certificate is turned away.
   * @default {"required"}
   */
  clientAuth?: "required" | "optional" | undefined;
}

/** How a listener is opened. */
export interface ListenOptions {
  /** Where; port 0 takes a free one. */
  endpoint: Endpoint;
  /** Wanted for `mqtts://` and `wss://`. */
  tls?: ListenTlsOptions | undefined;
  /** Values of `Origin` from which browsers may connect; any where this is left out. */
  webSocketOrigins?: readonly string[] | undefined;
  /** Longest WebSocket frame that is taken, in bytes. */
  maxFrameBytes: number;
  /** How long the TLS handshake may take, in milliseconds. */
  handshakeTimeoutMs: number;
  pool: BufferPool;
  /**
   * Asked for each connection as soon as it is there: whether it may stay.
   * Each that may is told of once more, by `onConnection` or by `onDeparture`.
   */
  onArrival: () => boolean;
  /** Takes each new connection, its TLS handshake done. */
  onConnection: (connection: AcceptedConnection) => void;
  /** Told that a connection left during its TLS handshake. */
  onDeparture: () => void;
  /** Told about connections that failed before they were one. */
  onFailure: (reason: "accept" | "tls_handshake", error: Error) => void;
}

/** A client's connection, before its WebSocket handshake where there is one. */
export interface AcceptedConnection {
  /** The connection as it was accepted; closing it ends a handshake too. */
  readonly stream: ByteStream;
  /** How long its TLS handshake took, in milliseconds; 0 where there is none. */
  readonly handshakeMs: number;
  /** Resolves to the connection that carries MQTT. */
  open(): Promise<ByteStream>;
}

/** An open listener. */
export interface StreamListener extends Disposable {
  /** Where it listens, with the real port. */
  readonly endpoint: Endpoint;
  /** Takes new certificates for the handshakes from now on. */
  reloadTls(tls: ListenTlsOptions): void;
}

/** Waits before the next accept where the system has no more files (EMFILE). */
const ACCEPT_PAUSE_MS = 100;

/** How long a TLS listener may be silent before it is made to look again. */
const SILENCE_MS = 1000;

/**
 * Connections that wait to be accepted: where a broker comes back, all of its
 * clients come at once, and whoever finds no room tries again only after a second.
 */
const BACKLOG = 4096;

/** Opens a listener; throws an OperationError where it cannot be bound. */
export function listen(options: ListenOptions): Promise<StreamListener> {
  return isSecure(options.endpoint.scheme)
    ? listenTls(options)
    : Promise.resolve(listenTcp(options));
}

function listenTcp(options: ListenOptions): StreamListener {
  const { endpoint, onArrival, onConnection, onFailure } = options;
  const { port } = endpoint.address;
  const hostname = systemHost(endpoint.address);
  let listener: Deno.TcpListener;
  try {
    listener = Deno.listen({ hostname, port, tcpBacklog: BACKLOG });
  } catch (cause) {
    throw failedCall("listen on", formatEndpoint(endpoint), cause);
  }
  let pause: ReturnType<typeof setTimeout> | undefined;
  let closed = false;
  const acceptAll = async () => {
    while (!closed) {
      try {
        const connection = await listener.accept();
        if (!onArrival()) connection.close();
        else onConnection(accepted(tcpStream(connection), 0, options));
      } catch (error) {
        if (closed) return;
        onFailure("accept", error as Error);
        await new Promise((resolve) => {
          pause = setTimeout(resolve, ACCEPT_PAUSE_MS);
        });
      }
    }
  };
  acceptAll();
  return {
    endpoint: withAddress(endpoint, listener.addr as Deno.NetAddr),
    reloadTls: () => {},
    [Symbol.dispose]() {
      closed = true;
      clearTimeout(pause);
      listener.close();
    },
  };
}

function tcpStream(connection: Deno.TcpConn): ByteStream {
  const stream = new TcpStream(connection);
  try {
    connection.setNoDelay(true);
    connection.setKeepAlive(true);
  } catch {
    // Reset already: the first read says so.
  }
  return stream;
}

async function listenTls(options: ListenOptions): Promise<StreamListener> {
  const { endpoint, tls, onConnection, onFailure } = options;
  const handshakes = new Handshakes(options);
  const { port } = endpoint.address;
  const hostname = systemHost(endpoint.address);
  const server = createServer({
    ...contextOf(tls!),
    handshakeTimeout: options.handshakeTimeoutMs,
    ALPNProtocols: isWebSocket(endpoint.scheme) ? ["http/1.1"] : ["mqtt"],
  }, (socket: TLSSocket) => {
    const handshakeMs = handshakes.done(socket);
    if (handshakeMs === undefined) socket.destroy();
    else onConnection(accepted(new TlsStream(socket), handshakeMs, options));
  });
  server.on("connection", (socket: Socket) => handshakes.begin(socket));
  server.on("tlsClientError", (error: Error, socket: TLSSocket) => {
    // Deno's `node:tls` leaves the socket open where the handshake timed out.
    socket.destroy();
    if (!handshakes.wasRefused()) onFailure("tls_handshake", error);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause: Error) => {
      reject(failedCall("listen on", formatEndpoint(endpoint), cause));
    });
    server.listen(port, hostname, BACKLOG, resolve);
  });
  server.on("error", (error: Error) => onFailure("accept", error));
  const silence = new SilenceWatch(
    server,
    (error) => onFailure("accept", error),
  );
  const { address, port: realPort } = server.address() as {
    address: string;
    port: number;
  };
  return {
    endpoint: withAddress(endpoint, { hostname: address, port: realPort }),
    reloadTls: (tls) => setContext(server, tls),
    [Symbol.dispose]() {
      silence[Symbol.dispose]();
      server.close();
    },
  };
}

/**
 * TLS handshakes that are under way. They cost more than all that follows, so
 * limits count them. A TLS socket does not tell which one it stands upon:
 * it is known by its peer.
 */
class Handshakes {
  readonly #options: ListenOptions;
  readonly #begunMs = new Map<string, number>();
  /** Connections that were closed here, of which no error has come yet. */
  #refused = 0;

  constructor(options: ListenOptions) {
    this.#options = options;
  }

  begin(socket: Socket): void {
    const { onArrival, onDeparture } = this.#options;
    if (!onArrival()) {
      this.#refused++;
      socket.destroy();
      return;
    }
    const peer = peerOf(socket);
    this.#begunMs.set(peer, performance.now());
    socket.on("close", () => {
      if (this.#begunMs.delete(peer)) onDeparture();
    });
  }

  /** How long it took, or undefined where the connection is gone already. */
  done(socket: TLSSocket): number | undefined {
    const peer = peerOf(socket);
    const begunMs = this.#begunMs.get(peer);
    this.#begunMs.delete(peer);
    return begunMs === undefined ? undefined : performance.now() - begunMs;
  }

  /** Whether a failure is one that was made here. */
  wasRefused(): boolean {
    if (this.#refused === 0) return false;
    this.#refused--;
    return true;
  }
}

function peerOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

/** The part of a server that Node keeps to itself: listen(2) on its socket. */
interface ServerHandle {
  _handle?: { listen?(backlog: number): unknown } | null;
}

/**
 * Where the system has no more descriptors (EMFILE), Deno's `node:net` stops
 * to accept, says nothing, and does not begin again when there are some, not
 * even for a new client. To listen once more on the same socket makes it look,
 * and changes nothing where nobody waits; no public function does that.
 */
class SilenceWatch implements Disposable {
  readonly #timer: ReturnType<typeof setInterval>;
  #silent = false;

  constructor(
    server: Server & ServerHandle,
    onShortage: (error: Error) => void,
  ) {
    server.on("connection", () => this.#silent = false);
    this.#timer = setInterval(() => {
      if (this.#silent) {
        server._handle?.listen?.(BACKLOG);
        const shortage = descriptorShortage();
        if (shortage) onShortage(shortage);
      }
      this.#silent = true;
    }, SILENCE_MS);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/**
 * Why nothing can be opened any more, where that is so and may be found out:
 * whoever gave no permission to read is not asked for it here.
 */
function descriptorShortage(): Error | undefined {
  const file = { name: "read", path: devNull } as const;
  if (Deno.permissions.querySync(file).state !== "granted") return undefined;
  try {
    Deno.openSync(devNull).close();
  } catch (error) {
    const { code } = error as Error & { code?: string };
    if (code === "EMFILE" || code === "ENFILE") return error as Error;
  }
  return undefined;
}

function setContext(server: Server, tls: ListenTlsOptions): void {
  server.setSecureContext(contextOf(tls));
}

function contextOf(tls: ListenTlsOptions) {
  const { cert, key, clientCa, clientAuth = "required" } = tls;
  return {
    cert,
    key,
    minVersion: "TLSv1.2",
    ...(clientCa === undefined ? {} : {
      ca: clientCa,
      requestCert: true,
      rejectUnauthorized: clientAuth === "required",
    }),
  } as const;
}

function accepted(
  stream: ByteStream,
  handshakeMs: number,
  options: ListenOptions,
): AcceptedConnection {
  const { endpoint, maxFrameBytes, pool, webSocketOrigins } = options;
  return {
    stream,
    handshakeMs,
    open: () =>
      isWebSocket(endpoint.scheme)
        ? acceptWebSocket(stream, {
          path: endpoint.path,
          origins: webSocketOrigins,
          maxFrameBytes,
          pool,
        })
        : Promise.resolve(stream),
  };
}

function withAddress(
  endpoint: Endpoint,
  bound: { hostname: string; port: number },
): Endpoint {
  const address: Address = { ...endpoint.address, port: bound.port };
  return { ...endpoint, address };
}
