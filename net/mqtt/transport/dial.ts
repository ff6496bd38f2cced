/** Connects to a broker: TCP, the PROXY header, TLS, WebSocket, in this order. */
import { connect as connectTcp } from "node:net";
import { connect as connectTls, rootCertificates } from "node:tls";
import { type Address, isIp } from "../../address.ts";
import { errorText, OperationError } from "../../errors.ts";
import type { BufferPool } from "../session/buffer_pool.ts";
import type { ByteStream } from "./byte_stream.ts";
import { TcpStream } from "./tcp_stream.ts";
import {
  type Endpoint,
  formatEndpoint,
  hostHeader,
  isSecure,
  isWebSocket,
  systemHost,
} from "./endpoint.ts";
import { TlsStream } from "./tls_stream.ts";
import { proxyHeader } from "./proxy_header.ts";
import { connectWebSocket } from "./websocket_stream.ts";

/** How TLS to a broker is done. */
export interface DialTlsOptions {
  /** Roots in PEM that are trusted beside the runtime's. Default: the runtime's alone. */
  ca?: string | undefined;
  /** The gateway's own certificate and key in PEM. Default: none. */
  certificate?: { readonly cert: string; readonly key: string } | undefined;
  /** The name that the broker's certificate must have. Default: the target's host. */
  serverName?: string | undefined;
  /**
   * Whether the broker's certificate is checked.
   * @default {true}
   */
  verify?: boolean | undefined;
}

/**
 * The roots that brokers are verified by, where some are given beside the
 * runtime's own. Throws an OperationError where these cannot be read.
 */
export function trustedRoots(ca: string): string[] {
  try {
    return [...rootCertificates, ca];
  } catch (cause) {
    throw new OperationError(
      `Cannot read the runtime's certificates, beside which the given ones are trusted: ${
        errorText(cause)
      }`,
      { cause },
    );
  }
}

/** How brokers are dialled. */
export interface DialOptions {
  tls?: DialTlsOptions | undefined;
  /** Whether the PROXY protocol's header is sent ahead. */
  sendProxyHeader?: boolean | undefined;
  /** Longest WebSocket frame that is taken from a broker, in bytes. */
  maxFrameBytes: number;
  pool: BufferPool;
}

/** The client on whose behalf a broker is dialled. */
export interface DialClient {
  readonly remote: Address;
  readonly local: Address;
  readonly secure: boolean;
  readonly commonName?: string | undefined;
}

/**
 * Connects to a broker. All addresses of its name are tried.
 *
 * @throws {OperationError} where that fails or the signal fires.
 */
export async function dial(
  endpoint: Endpoint,
  options: DialOptions,
  client: DialClient | undefined,
  signal: AbortSignal,
): Promise<ByteStream> {
  const open = new OpenedStreams(signal);
  try {
    const header = options.sendProxyHeader && client
      ? proxyHeader({
        source: client.remote,
        destination: client.local,
        secure: client.secure,
        commonName: client.commonName,
      })
      : undefined;
    let stream = open.hold(
      isSecure(endpoint.scheme)
        ? await dialTls(endpoint, options.tls ?? {}, header, open)
        : await dialTcp(endpoint, header, open, signal),
    );
    if (isWebSocket(endpoint.scheme)) {
      stream = await connectWebSocket(stream, {
        host: hostHeader(endpoint),
        path: endpoint.path,
        maxFrameBytes: options.maxFrameBytes,
        pool: options.pool,
      });
    }
    return open.release(stream);
  } catch (cause) {
    open.close();
    const reason = signal.aborted ? signal.reason : cause;
    throw new OperationError(
      `Cannot connect to ${formatEndpoint(endpoint)}: ${errorText(reason)}`,
      { cause: reason },
    );
  }
}

async function dialTcp(
  endpoint: Endpoint,
  header: Uint8Array<ArrayBuffer> | undefined,
  open: OpenedStreams,
  signal: AbortSignal,
): Promise<ByteStream> {
  const { port } = endpoint.address;
  const hostname = systemHost(endpoint.address);
  const connection = await Deno.connect({ hostname, port, signal });
  const stream = open.hold(new TcpStream(connection));
  connection.setNoDelay(true);
  connection.setKeepAlive(true);
  if (header) await stream.write(header);
  return stream;
}

/**
 * By `node:tls`: `Deno.startTls` takes no client certificate, and a connection
 * of it that is closed during its handshake keeps its socket for ever.
 */
function dialTls(
  endpoint: Endpoint,
  tls: DialTlsOptions,
  header: Uint8Array<ArrayBuffer> | undefined,
  open: OpenedStreams,
): Promise<ByteStream> {
  const { hostname, port } = endpoint.address;
  const name = tls.serverName ?? hostname;
  const roots = tls.ca === undefined ? {} : { ca: trustedRoots(tls.ca) };
  return new Promise((resolve, reject) => {
    const host = systemHost(endpoint.address);
    const plain = connectTcp({ host, port, keepAlive: true });
    open.onClose(() => plain.destroy());
    plain.on("error", reject);
    plain.on("close", () => reject(new Error("the connection was closed")));
    plain.on("connect", () => {
      if (header) plain.write(header);
      const secure = connectTls({
        socket: plain,
        host: name,
        // RFC 6066, 3: an address is not announced.
        servername: isIp(name) ? "" : name,
        ...roots,
        ...(tls.certificate ?? {}),
        rejectUnauthorized: tls.verify !== false,
        ALPNProtocols: [alpnOf(endpoint)],
      });
      open.onClose(() => secure.destroy());
      secure.on("error", reject);
      secure.on("close", () => reject(new Error("the connection was closed")));
      secure.on("secureConnect", () => resolve(new TlsStream(secure)));
    });
  });
}

/** `mqtt` is registered for MQTT (RFC 7301's registry); a WebSocket begins as HTTP/1.1. */
function alpnOf(endpoint: Endpoint): string {
  return isWebSocket(endpoint.scheme) ? "http/1.1" : "mqtt";
}

/** What was opened on the way, so that a failure or the signal leaves nothing behind. */
class OpenedStreams {
  readonly #closers: (() => void)[] = [];
  readonly #signal: AbortSignal;
  readonly #abort = () => this.close();

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.throwIfAborted();
    signal.addEventListener("abort", this.#abort);
  }

  hold<Stream extends ByteStream>(stream: Stream): Stream {
    this.onClose(() => stream.close());
    return stream;
  }

  onClose(close: () => void): void {
    this.#closers.push(close);
    if (this.#signal.aborted) this.close();
  }

  release(stream: ByteStream): ByteStream {
    this.#signal.throwIfAborted();
    this.#signal.removeEventListener("abort", this.#abort);
    return stream;
  }

  close(): void {
    this.#signal.removeEventListener("abort", this.#abort);
    for (const close of this.#closers.splice(0).reverse()) close();
  }
}
