/**
 * TCP and TLS sockets of the portable plane: bind, dial, and what their
 * failures mean. What is done with them is `net/tcp/forward.ts`.
 */
import { type Address, formatAddress } from "../../address.ts";
import { errorCode, failedCall, UsageError } from "../../errors.ts";
import type { RemoteTls, TlsTermination } from "../../tls_files.ts";
import type { DialFailure } from "../stream.ts";
import { TlsListener } from "./tls_listener.ts";

/** A connection of either kind. */
export type StreamConn = Deno.TcpConn | Deno.TlsConn;

/** A bound listener of either kind. */
export interface StreamListener {
  /** The bound address, with the real port. */
  readonly address: Address;
  /** The next client; rejects with BadResource when closed. */
  accept(): Promise<StreamConn>;
  /** Certificate and key for handshakes from now on. */
  setTls(tls: TlsTermination): Promise<void>;
  close(): void;
}

/** Connections that may wait to be accepted; the kernel lowers it to net.core.somaxconn. */
const BACKLOG = 4096;

/** Binds; throws an OperationError where that fails. */
export function listenStream(
  address: Address,
  tls?: TlsTermination,
): StreamListener {
  const options = {
    hostname: hostOf(address),
    port: address.port,
    tcpBacklog: BACKLOG,
  };
  try {
    const listener = tls ? new TlsListener(options, tls) : Deno.listen(options);
    const { hostname, port } = listener.addr;
    return {
      address: {
        hostname,
        port,
        ...(address.zone === undefined ? {} : { zone: address.zone }),
      },
      accept: () => listener.accept(),
      setTls: async (next) => {
        if (!(listener instanceof TlsListener)) {
          throw new UsageError(
            "Cannot turn TLS on for an open listener: open it anew",
          );
        }
        await listener.setTls(next);
      },
      close: () => listener.close(),
    };
  } catch (cause) {
    throw failedCall("listen on", formatAddress(address), cause);
  }
}

/** How a dial is made. */
export interface DialOptions {
  /** Limit of the whole dial, in milliseconds; 0 for none. */
  timeoutMs: number;
  /** Speaks TLS and verifies the address's host. */
  tls?: RemoteTls | undefined;
  /** TCP keepalive. */
  keepAlive: boolean;
  /** Gives the dial up. */
  signal: AbortSignal;
}

/** Why a dial failed, in one word and in the system's text. */
export class DialError extends Error {
  override name = "DialError";
  /** The one word. */
  readonly failure: DialFailure;

  constructor(failure: DialFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.failure = failure;
  }
}

/**
 * Resolves and connects. Every address of a name is tried, IPv6 and IPv4 in
 * turn (RFC 8305, which `Deno.connect` does). Throws a {@linkcode DialError}.
 */
export async function dialStream(
  address: Address,
  options: DialOptions,
): Promise<StreamConn> {
  const { timeoutMs, tls, keepAlive, signal } = options;
  const ended = new AbortController();
  let timedOut = false;
  const timer = timeoutMs > 0
    ? setTimeout(() => {
      timedOut = true;
      ended.abort();
    }, timeoutMs)
    : undefined;
  const give = () => ended.abort();
  signal.addEventListener("abort", give);
  let conn: StreamConn | undefined;
  let handshaking = false;
  try {
    if (signal.aborted) give();
    const tcp = await Deno.connect({
      hostname: hostOf(address),
      port: address.port,
      signal: ended.signal,
    });
    conn = tcp;
    prepareTcp(tcp, keepAlive);
    if (tls) {
      handshaking = true;
      const secure = await Deno.startTls(tcp, {
        hostname: address.hostname,
        caCerts: [...tls.caCerts ?? []],
      });
      conn = secure;
      // A handshake takes no signal: closing the connection makes it fail.
      const cut = () => secure.close();
      ended.signal.addEventListener("abort", cut);
      try {
        if (ended.signal.aborted) cut();
        await secure.handshake();
      } finally {
        ended.signal.removeEventListener("abort", cut);
      }
    }
    if (ended.signal.aborted) throw ended.signal.reason;
    return conn;
  } catch (cause) {
    try {
      conn?.close();
    } catch {
      // The handshake's end has closed it.
    }
    const detail = cause instanceof Error
      ? cause.message.replace(/ \(os error \d+\)$/, "")
      : String(cause);
    if (timedOut) {
      throw new DialError("timeout", `no connection in ${timeoutMs} ms`, {
        cause,
      });
    }
    throw new DialError(
      handshaking ? "tls" : dialFailure(cause),
      detail,
      { cause },
    );
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", give);
  }
}

/**
 * TCP_NODELAY, because a relay's writes are somebody else's messages: Nagle
 * with delayed ACKs makes 40 ms of each one; and keepalive.
 */
export function prepareTcp(conn: StreamConn, keepAlive: boolean): void {
  if (!("setNoDelay" in conn)) return;
  try {
    conn.setNoDelay(true);
    if (keepAlive) conn.setKeepAlive(true);
  } catch {
    // The peer has left already: the first read tells.
  }
}

function hostOf({ hostname, zone }: Address): string {
  return zone === undefined ? hostname : `${hostname}%${zone}`;
}

/** What an error of a dial means. */
export function dialFailure(error: unknown): DialFailure {
  switch (errorCode(error)) {
    case "ECONNREFUSED":
      return "refused";
    case "ETIMEDOUT":
      return "timeout";
    case "ECONNRESET":
    case "ECONNABORTED":
      return "reset";
    case "ENETUNREACH":
    case "EHOSTUNREACH":
    case "EADDRNOTAVAIL":
    case "EACCES":
      return "unreachable";
    case "EMFILE":
    case "ENFILE":
    case "ENOBUFS":
    case "ENOMEM":
      return "resources";
  }
  // Resolver errors have no code: their text is the C library's.
  const text = error instanceof Error ? error.message : "";
  return /failed to lookup|No address associated|not known|resolution/i.test(
      text,
    )
    ? "resolve"
    : "other";
}
