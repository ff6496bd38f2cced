/**
 * TCP and TLS sockets of the portable plane: bind, dial, and what their
 * failures mean. What is done with them is `net/engine/portable/stream/forwarder.ts`.
 */
import { connect, type Socket } from "node:net";
import { type Address, formatAddress } from "../../../address.ts";
import {
  errorCode,
  failedCall,
  OperationError,
  UsageError,
} from "../../../errors.ts";
import type { RemoteTls, TlsTermination } from "../../../tls_files.ts";
import type { SocketControl } from "../../socket_control.ts";
import type { DialFailure } from "../../stream.ts";
import type { StreamConn as Conn } from "./stream_conn.ts";
import { TcpConn } from "./tcp_conn.ts";
import { connectTls } from "./tls_dial.ts";
import { TlsListener } from "./tls_listener.ts";

/** A client of a plain listener. */
export type StreamConn = Deno.TcpConn;

/** Binds a plain listener; throws an OperationError where that fails. */
export function listenStream(address: Address) {
  try {
    const listener = Deno.listen({
      hostname: hostOf(address),
      port: address.port,
      tcpBacklog: BACKLOG,
    });
    return {
      address: boundAddress(listener.addr, address),
      accept: (): Promise<StreamConn> => listener.accept(),
      close: (): void => listener.close(),
    };
  } catch (cause) {
    throw failedCall("listen on", formatAddress(address), cause);
  }
}

/**
 * TCP_NODELAY, because a relay's writes are somebody else's messages: Nagle
 * with delayed ACKs makes 40 ms of each one; and keepalive.
 */
export function prepareTcp(conn: StreamConn, keepAlive: boolean): void {
  try {
    conn.setNoDelay(true);
    if (keepAlive) conn.setKeepAlive(true);
  } catch {
    // The peer has left already: the first read tells.
  }
}

/** A bound listener of a forwarder, plain or TLS. */
export interface ForwardListener {
  /** The bound address, with the real port. */
  readonly address: Address;
  /** The next client, before its handshake; rejects with BadResource when closed. */
  accept(): Promise<Conn>;
  /** Certificate and key for handshakes from now on. */
  setTls(tls: TlsTermination): void;
  close(): void;
}

/** Connections that may wait to be accepted; the kernel lowers it to net.core.somaxconn. */
const BACKLOG = 4096;

/** What holds for every connection. */
export interface SocketOptions {
  /** TCP keepalive. */
  readonly keepAlive: boolean;
  /** Reaches the sockets, where the platform can. */
  readonly control?: SocketControl | undefined;
}

/** Binds; rejects with an OperationError where that fails. */
export async function listenForward(
  address: Address,
  options: SocketOptions,
  tls?: TlsTermination,
): Promise<ForwardListener> {
  const { keepAlive, control } = options;
  try {
    if (tls) {
      const listener = await TlsListener.open({
        hostname: hostOf(address),
        port: address.port,
        tcpBacklog: BACKLOG,
        ...options,
      }, tls);
      return {
        address: boundAddress(listener.addr, address),
        accept: () => listener.accept(),
        setTls: (next) => listener.setTls(next),
        close: () => listener.close(),
      };
    }
    const listener = listenStream(address);
    return {
      address: listener.address,
      accept: async () =>
        new TcpConn(await listener.accept(), keepAlive, control),
      setTls: () => {
        throw new UsageError(
          "cannot turn TLS on for an open listener; open it again",
        );
      },
      close: () => listener.close(),
    };
  } catch (cause) {
    if (cause instanceof OperationError) throw cause;
    throw failedCall("listen on", formatAddress(address), plainError(cause));
  }
}

function boundAddress(
  { hostname, port }: Deno.NetAddr,
  { zone }: Address,
): Address {
  return { hostname, port, ...(zone === undefined ? {} : { zone }) };
}

/** An error of `node:net` in the words of the system alone: it names call, errno and address too. */
function plainError(error: unknown): unknown {
  const code = errorCode(error);
  const words = /^(?:listen|connect) [A-Z0-9]+: ([^:]+?)(?: \S+:\d+)?$/.exec(
    error instanceof Error ? error.message : "",
  );
  if (!words || code === undefined) return error;
  return Object.assign(new Error(words[1]), { code });
}

/** How a dial is made. */
export interface DialOptions extends SocketOptions {
  /** Limit of the whole dial, in milliseconds; 0 for none. */
  readonly timeoutMs: number;
  /** Speaks TLS and verifies the remote. */
  readonly tls?: RemoteTls | undefined;
  /** Gives the dial up. */
  readonly signal: AbortSignal;
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
 * turn (RFC 8305, which `Deno.connect` and `node:net` do). Rejects with a
 * {@linkcode DialError}; no descriptor is open then.
 */
export async function dialStream(
  address: Address,
  options: DialOptions,
): Promise<Conn> {
  const { timeoutMs, tls, signal } = options;
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
  let conn: Conn | undefined;
  let connected = false;
  try {
    if (signal.aborted) give();
    if (tls) {
      const socket = await connectSocket(address, ended.signal);
      connected = true;
      conn = connectTls(socket, address, tls, options);
      const cut = () => conn!.close();
      ended.signal.addEventListener("abort", cut);
      await conn.ready().finally(() =>
        ended.signal.removeEventListener("abort", cut)
      );
    } else conn = await connectTcp(address, options, ended.signal);
    if (ended.signal.aborted) throw ended.signal.reason;
    return conn;
  } catch (cause) {
    conn?.close();
    throw timedOut
      ? new DialError("timeout", `no connection in ${timeoutMs} ms`, { cause })
      : dialError(cause, connected);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", give);
  }
}

function dialError(cause: unknown, connected: boolean): DialError {
  const plain = plainError(cause);
  const text = plain instanceof Error ? plain.message : String(plain);
  const detail = text.replace(/ \(os error \d+\)$/, "");
  const failure = connected ? "tls" : dialFailure(cause);
  return new DialError(failure, detail, { cause });
}

async function connectTcp(
  address: Address,
  { keepAlive, control }: SocketOptions,
  signal: AbortSignal,
): Promise<Conn> {
  const conn = await Deno.connect({
    hostname: hostOf(address),
    port: address.port,
    signal,
  });
  return new TcpConn(conn, keepAlive, control);
}

/** A socket of `node:net`, which `node:tls` needs. */
function connectSocket(
  address: Address,
  signal: AbortSignal,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: hostOf(address),
      port: address.port,
      allowHalfOpen: true,
      noDelay: true,
      autoSelectFamily: true,
    });
    const settle = () => {
      signal.removeEventListener("abort", cut);
      socket.off("error", fail);
    };
    const fail = (error: unknown) => {
      settle();
      socket.on("error", () => {});
      socket.destroy();
      reject(error);
    };
    const cut = () => fail(signal.reason);
    socket.on("error", fail);
    socket.once("connect", () => {
      settle();
      resolve(socket);
    });
    if (signal.aborted) cut();
    else signal.addEventListener("abort", cut);
  });
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
    case "ENETDOWN":
    case "EHOSTDOWN":
    case "EACCES":
    case "EPERM":
      return "unreachable";
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return "resolve";
    // Every port of this machine towards that address is in use.
    case "EADDRNOTAVAIL":
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
