/** TLS towards a host: verified unless told otherwise. */
import {
  connect as connectNodeTls,
  getCACertificates,
  type TLSSocket,
} from "node:tls";
import { type Address, hostWithZone, isIp } from "./address.ts";
import { errorText, OperationError } from "./errors.ts";

/** How a TLS host is verified and shown who we are. */
export interface TlsClientOptions {
  /** Roots to trust in place of the system's, PEM. Default: the system's. */
  ca?: string | undefined;
  /** Our certificate chain, PEM. Default: none. */
  cert?: string | undefined;
  /** Its private key, PEM. Default: none. */
  key?: string | undefined;
  /** Name to ask for (SNI, RFC 6066) and to verify. Default: the host's. */
  serverName?: string | undefined;
  /** Whether anybody is believed to be the host. @default {false} */
  insecure?: boolean | undefined;
}

/**
 * Reads the system's roots once, where a host will be verified by them. Throws
 * an OperationError where they cannot be read: each connect would fail by it.
 */
export function checkRoots(tls: TlsClientOptions): void {
  if (tls.ca !== undefined || tls.insecure) return;
  try {
    getCACertificates("system");
  } catch (cause) {
    throw new OperationError(
      `Cannot read the system's certificates: ${
        errorText(cause)
      }; or give a file of roots`,
      { cause },
    );
  }
}

/** Reads of a TLS connection. */
export interface TlsReader extends Disposable {
  /** Reads into memory: bytes read, or null at the end. */
  read(into: Uint8Array<ArrayBuffer>): Promise<number | null>;
}

/**
 * Speaks TLS to one address of a host.
 *
 * `Deno.startTls` serves where the system's roots do; it adds roots but cannot
 * replace them, and takes no client certificate, so `node:tls` does that.
 */
export function connectTls(
  host: Address,
  address: Address,
  tls: TlsClientOptions,
  signal: AbortSignal,
): Promise<TlsReader> {
  const name = tls.serverName ?? host.hostname;
  const plain = tls.ca === undefined && tls.cert === undefined && !tls.insecure;
  return plain
    ? connectDeno(name, address, signal)
    : connectNode(name, address, tls, signal);
}

async function connectDeno(
  name: string,
  address: Address,
  signal: AbortSignal,
): Promise<TlsReader> {
  const hostname = hostWithZone(address);
  const tcp = await Deno.connect({ hostname, port: address.port, signal });
  tcp.setKeepAlive(true);
  // startTls takes the connection over: from then on the TLS one is to be closed.
  let open: Deno.Conn = tcp;
  const close = () => open.close();
  try {
    const caCerts = getCACertificates("system");
    const tls = await Deno.startTls(tcp, { hostname: name, caCerts });
    open = tls;
    signal.throwIfAborted();
    signal.addEventListener("abort", close, { once: true });
    await tls.handshake();
    return {
      read: (into) => tls.read(into),
      [Symbol.dispose]: () => tls.close(),
    };
  } catch (error) {
    try {
      close();
    } catch {
      // The signal or startTls has closed it.
    }
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener("abort", close);
  }
}

function connectNode(
  name: string,
  address: Address,
  tls: TlsClientOptions,
  signal: AbortSignal,
): Promise<TlsReader> {
  return new Promise((resolve, reject) => {
    // Reading the system's roots takes a permission: not where nothing is verified.
    const ca = tls.ca ??
      (tls.insecure ? undefined : getCACertificates("system"));
    const socket = connectNodeTls({
      host: hostWithZone(address),
      port: address.port,
      // RFC 6066, 3: an address is no server name.
      servername: isIp(name) ? "" : name,
      ...(ca === undefined ? {} : { ca }),
      cert: tls.cert,
      key: tls.key,
      rejectUnauthorized: !tls.insecure,
    });
    const abort = () => socket.destroy(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("the connection was closed")));
    socket.on("secureConnect", () => {
      signal.removeEventListener("abort", abort);
      socket.setKeepAlive(true);
      resolve(new NodeTlsReader(socket));
    });
  });
}

/** Pulls from a socket of node, which reads no further than its own high-water mark. */
class NodeTlsReader implements TlsReader {
  readonly #socket: TLSSocket;
  #rest: Uint8Array | undefined;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(socket: TLSSocket) {
    this.#socket = socket;
    const wake = () => this.#wake?.();
    socket.on("readable", wake);
    socket.on("end", () => {
      this.#ended = true;
      wake();
    });
    socket.on("error", (error: Error) => {
      this.#error = error;
      wake();
    });
    socket.on("close", () => {
      this.#ended = true;
      wake();
    });
  }

  async read(into: Uint8Array<ArrayBuffer>): Promise<number | null> {
    for (;;) {
      const chunk = this.#rest ?? this.#socket.read() as Uint8Array | null;
      if (chunk) {
        const taken = Math.min(chunk.length, into.length);
        into.set(chunk.subarray(0, taken));
        this.#rest = taken < chunk.length ? chunk.subarray(taken) : undefined;
        return taken;
      }
      if (this.#error) throw this.#error;
      if (this.#ended) return null;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
