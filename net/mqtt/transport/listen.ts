/**
 * Listens for clients. What a client must do before its first MQTT byte, the
 * WebSocket upgrade, is left to the session, whose deadline covers it.
 */
import { X509Certificate } from "node:crypto";
import { devNull } from "node:os";
import type { Socket } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import { AcceptLoop } from "../../accept_loop.ts";
import type { Address } from "../../address.ts";
import { failedCall } from "../../errors.ts";
import type { BufferPool } from "../session/buffer_pool.ts";
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
  /** Values of `Origin` from which browsers may connect. Default: the server's own origin. */
  webSocketOrigins?: readonly string[] | undefined;
  /** Longest WebSocket frame that is taken, in bytes. */
  maxFrameBytes: number;
  /** How long the TLS handshake may take, in milliseconds. */
  handshakeTimeoutMs: number;
  pool: BufferPool;
  /**
   * Admits each connection as soon as it is accepted, or closes it and returns
   * undefined. `close` frees its descriptor also during the TLS handshake.
   */
  onArrival: (hostname: string, close: () => void) => Arrival | undefined;
  /** Takes each new connection after its TLS handshake. */
  onConnection: (connection: AcceptedConnection, arrival: Arrival) => void;
  /** Called for connections that failed before `onConnection`. */
  onFailure: (reason: "accept" | "tls_handshake", error: Error) => void;
}

/** A connection that was admitted; whoever holds it calls `leave` when it is closed. */
export interface Arrival {
  /** Called where it must make room for another one. */
  close: () => void;
  /** It never makes room again. */
  prove(): void;
  /** It is closed. */
  leave(): void;
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
  const loop = new AcceptLoop(
    listener,
    (connection) => {
      const { hostname } = connection.remoteAddr;
      const arrival = onArrival(hostname, () => connection.close());
      if (!arrival) return;
      onConnection(accepted(tcpStream(connection), 0, options), arrival);
    },
    (error) => onFailure("accept", error as Error),
  );
  return {
    endpoint: withAddress(endpoint, listener.addr as Deno.NetAddr),
    reloadTls: () => {},
    [Symbol.dispose]() {
      void loop.stop();
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
  const clientRoots = new ClientRoots(tls!.clientCa);
  const { port } = endpoint.address;
  const hostname = systemHost(endpoint.address);
  const server = createServer({
    ...contextOf(tls!),
    handshakeTimeout: options.handshakeTimeoutMs,
    ALPNProtocols: alpnOf(endpoint),
  }, (socket: TLSSocket) => {
    const done = handshakes.done(socket);
    if (!done) return void socket.destroy();
    const { arrival, handshakeMs } = done;
    if (clientRoots.isRevoked(socket)) {
      socket.destroy();
      arrival.leave();
      onFailure(
        "tls_handshake",
        new Error("resumed session of a client whose root was removed"),
      );
      return;
    }
    onConnection(
      accepted(new TlsStream(socket), handshakeMs, options),
      arrival,
    );
  });
  server.on("connection", (socket: Socket) => handshakes.begin(socket));
  server.on("tlsClientError", (error: Error, socket: TLSSocket) => {
    // Deno's `node:tls` leaves the socket open where the handshake timed out.
    socket.destroy();
    if (!handshakes.wasClosedHere()) onFailure("tls_handshake", error);
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
    reloadTls: (tls) => {
      server.setSecureContext(contextOf(tls));
      clientRoots.replace(tls.clientCa);
    },
    [Symbol.dispose]() {
      silence[Symbol.dispose]();
      server.close();
      handshakes.closeAll();
    },
  };
}

/**
 * Protocols that a client may offer, in the order of preference. `mqtt` is
 * registered (RFC 7301's registry); clients made for AWS IoT offer theirs
 * alone. A WebSocket begins as HTTP/1.1.
 */
function alpnOf(endpoint: Endpoint): string[] {
  return isWebSocket(endpoint.scheme)
    ? ["http/1.1"]
    : ["mqtt", "x-amzn-mqtt-ca"];
}

/**
 * TLS handshakes that are under way. They cost more than all that follows, so
 * limits count them. A TLS socket does not tell which one it stands upon: it is
 * known by both of its addresses, as a client may use one port of its own for
 * several addresses of this machine.
 */
class Handshakes {
  readonly #options: ListenOptions;
  readonly #begun = new Map<string, Handshake>();
  /** Connections that were closed here, of which no error has come yet. */
  #closedHere = 0;

  constructor(options: ListenOptions) {
    this.#options = options;
  }

  begin(socket: Socket): void {
    const arrival = this.#options.onArrival(socket.remoteAddress ?? "", () => {
      this.#closedHere++;
      socket.destroy();
    });
    if (!arrival) return;
    const pair = addressPair(socket);
    const handshake = { arrival, atMs: performance.now(), isDone: false };
    this.#begun.set(pair, handshake);
    socket.on("close", () => {
      // The pair may be in use again.
      if (this.#begun.get(pair) === handshake) this.#begun.delete(pair);
      if (!handshake.isDone) arrival.leave();
    });
  }

  /** The connection and how long it took, or undefined if it is gone already. */
  done(
    socket: TLSSocket,
  ): { arrival: Arrival; handshakeMs: number } | undefined {
    const pair = addressPair(socket);
    const begun = this.#begun.get(pair);
    if (!begun) return undefined;
    this.#begun.delete(pair);
    begun.isDone = true;
    return {
      arrival: begun.arrival,
      handshakeMs: performance.now() - begun.atMs,
    };
  }

  /** Closes those that are under way: the listener ends. */
  closeAll(): void {
    for (const { arrival } of [...this.#begun.values()]) arrival.close();
  }

  /** Whether a failure is one that was made here. */
  wasClosedHere(): boolean {
    if (this.#closedHere === 0) return false;
    this.#closedHere--;
    return true;
  }
}

interface Handshake {
  readonly arrival: Arrival;
  readonly atMs: number;
  /** Whether somebody else holds the arrival now. */
  isDone: boolean;
}

function addressPair(socket: Socket): string {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
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

/**
 * Roots of clients' certificates. Deno's `node:tls` resumes sessions across
 * `setSecureContext`, without a look at the certificate, and neither new ticket
 * keys nor SSL_OP_NO_TICKET prevent that: it is checked here once the roots
 * have changed.
 */
class ClientRoots {
  #pem: string | undefined;
  #roots: X509Certificate[] | undefined;

  constructor(pem: string | undefined) {
    this.#pem = pem;
  }

  replace(pem: string | undefined): void {
    if (pem === this.#pem) return;
    this.#pem = pem;
    const parts = (pem ?? "").match(CERTIFICATE) ?? [];
    this.#roots = parts.map((part) => new X509Certificate(part));
  }

  /** Whether a resumed session has a certificate that no present root issued. */
  isRevoked(socket: TLSSocket): boolean {
    if (!this.#roots || !socket.isSessionReused()) return false;
    const { raw } = socket.getPeerCertificate();
    if (!raw) return false;
    try {
      const leaf = new X509Certificate(raw);
      return !this.#roots.some((root) =>
        leaf.checkIssued(root) && leaf.verify(root.publicKey)
      );
    } catch {
      return true;
    }
  }
}

const CERTIFICATE =
  /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

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
          secure: isSecure(endpoint.scheme),
          hostname: endpoint.address.hostname,
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
