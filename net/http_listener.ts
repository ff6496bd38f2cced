/**
 * Connections for an HTTP server, accepted by a loop of ours, one request on
 * each. The loops of `Deno.serve` and `node:http` end for good at the first
 * accept for which a descriptor is wanting (EMFILE), and that of `Deno.serve`
 * takes the process along (Deno 2.9.6).
 *
 * 1. A connection is admitted: its deadline covers the whole request.
 * 2. The handler says when the request is worth to be answered (`prove`), and
 *    when the answer is the client's to take (`unprove`): a second deadline.
 * 3. What follows the request is never looked at: there is no second one.
 */
import { Buffer } from "node:buffer";
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { Duplex } from "node:stream";
import { AcceptLoop } from "./accept_loop.ts";
import type { Address } from "./address.ts";
import type { AdmissionLimits, AdmissionStats } from "./admission.ts";
import { type Admitted, ConnectionGate } from "./connection_gate.ts";
import type { Log } from "./observe/log.ts";

/** Largest read of a connection. */
const READ_BYTES = 16 * 1024;

/**
 * Lets a request's body be read. Without this call, made as soon as the request
 * is there, it has none.
 */
export function allowBody(request: IncomingMessage, maxBytes: number): void {
  const connection = request.socket as Duplex as ConnStream;
  const { "content-length": length, "transfer-encoding": coding } =
    request.headers;
  if (coding === undefined) {
    // The server has refused what is no number.
    connection.allow(Math.min(maxBytes, Number(length ?? 0)));
    return;
  }
  // Chunks have lines of their own, and only their reader sees the last one.
  connection.allow(2 * maxBytes);
  request.once("end", () => connection.allow(0));
}

/** What is done with requests, and with whom they come from. */
export interface HttpHandlers {
  /** Answers the one request of a connection. */
  readonly request: (
    request: IncomingMessage,
    response: ServerResponse,
    peer: Admitted,
  ) => Promise<void>;
  /** Takes an upgrade. Default: there is none, and the connection is closed. */
  readonly upgrade?: (
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    peer: Admitted,
  ) => void;
}

/** Options of an {@linkcode HttpListener}. */
export interface HttpListenerOptions extends AdmissionLimits {
  readonly address: Address;
  /** What it is for, in the log and the figures. */
  readonly listener: string;
  readonly handlers: HttpHandlers;
  /** Where rejected connections are logged. Default: nowhere. */
  readonly log?: Log | undefined;
}

/** An HTTP server; closing it cuts its connections. */
export class HttpListener implements AsyncDisposable {
  /** The bound address, with the real port. */
  readonly address: Address;
  readonly #gate: ConnectionGate;
  readonly #server: Server;
  readonly #accepting: AcceptLoop<Deno.TcpConn>;
  /** Those open; the peer goes with the first request. */
  readonly #connections = new Map<Duplex, Admitted | undefined>();

  /** Binds; throws what `Deno.listen` does. */
  constructor(options: HttpListenerOptions) {
    const { address: { hostname, port }, handlers } = options;
    const listener = Deno.listen({ hostname, port });
    const { addr } = listener;
    this.address = { hostname: addr.hostname, port: addr.port };
    this.#gate = new ConnectionGate(options);
    this.#server = createServer((request, response) => {
      // The server keeps no connection that it has not accepted itself.
      response.shouldKeepAlive = false;
      const peer = this.#firstOf(request.socket);
      if (!peer) return;
      handlers.request(request, response, peer).catch(() => response.destroy());
    });
    this.#server.on("upgrade", (request, socket, head) => {
      const peer = this.#firstOf(socket);
      if (peer && handlers.upgrade) {
        (socket as ConnStream).allow(Infinity);
        handlers.upgrade(request, socket, head, peer);
      } else socket.destroy();
    });
    // A failed accept is tried again: somebody has to leave first.
    this.#accepting = new AcceptLoop(
      listener,
      (conn) => this.#take(conn),
      () => {},
    );
  }

  /** Figures of its connections. */
  stats(): AdmissionStats {
    return this.#gate.stats();
  }

  #take(conn: Deno.TcpConn): void {
    const connection = new ConnStream(conn);
    // The client is gone: nobody is left to answer.
    connection.on("error", () => {});
    const close = () => void connection.destroy();
    const peer = this.#gate.admit({ close }, conn.remoteAddr.hostname);
    if (!peer) return;
    this.#connections.set(connection, peer);
    connection.once("close", () => {
      this.#connections.delete(connection);
      peer.release();
    });
    this.#server.emit("connection", connection);
  }

  /** The peer of a connection's first request; undefined for later ones. */
  #firstOf(socket: Duplex): Admitted | undefined {
    const peer = this.#connections.get(socket);
    if (peer) this.#connections.set(socket, undefined);
    return peer;
  }

  /** Closes the port and every connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#accepting.stop();
    await Promise.all(
      [...this.#connections.keys()].map((connection) => {
        const closed = new Promise((resolve) =>
          connection.once("close", resolve)
        );
        connection.destroy();
        return closed;
      }),
    );
    this.#gate[Symbol.dispose]();
  }
}

/**
 * A connection as Node's streams see it. It shows no more than one request:
 * Node's parser makes objects of all requests of a read at once, of which
 * 16 KiB hold nine hundred. What follows is read and passed over, so that the
 * client's end is seen.
 */
class ConnStream extends Duplex {
  readonly #conn: Deno.TcpConn;
  readonly #head = new HeadEnd();
  #buffer: Uint8Array<ArrayBuffer> | undefined;
  /** Bytes behind the head that are shown yet. */
  #allowedBytes = 0;
  /** Read already, behind the head. */
  #held: Uint8Array<ArrayBuffer> | undefined;

  constructor(conn: Deno.TcpConn) {
    super();
    this.#conn = conn;
  }

  /** Shows so many bytes behind the head; to be called where the head is dealt with. */
  allow(bytes: number): void {
    this.#allowedBytes = bytes;
  }

  override _read(): void {
    const held = this.#held;
    this.#held = undefined;
    if (held && this.#show(held)) return;
    const buffer = this.#buffer ??= new Uint8Array(READ_BYTES);
    this.#conn.read(buffer).then(
      (bytes) => {
        if (bytes === null) this.push(null);
        else if (!this.#show(buffer.slice(0, bytes))) this._read();
      },
      (error) => this.destroy(error),
    );
  }

  /** Shows what may be shown; false where that is nothing. */
  #show(bytes: Uint8Array<ArrayBuffer>): boolean {
    let shown = bytes.length;
    if (this.#head.found) {
      shown = Math.min(shown, this.#allowedBytes);
      this.#allowedBytes -= shown;
      if (shown === 0) return false;
    } else shown = this.#head.find(bytes);
    // Before the push: what it calls may read on.
    if (shown < bytes.length) this.#held = bytes.subarray(shown);
    this.push(Buffer.from(bytes.buffer, bytes.byteOffset, shown));
    return true;
  }

  override _write(
    chunk: Buffer,
    _encoding: string,
    done: (error?: Error) => void,
  ): void {
    writeAll(this.#conn, chunk).then(() => done(), done);
  }

  override _final(done: (error?: Error) => void): void {
    this.#conn.closeWrite().then(() => done(), () => done());
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void) {
    try {
      this.#conn.close();
    } catch {
      // It is closed already.
    }
    done(error);
  }
}

async function writeAll(conn: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    at += await conn.write(bytes.subarray(at));
  }
}

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/** Finds the empty line behind a request's head (RFC 9112, 2.1), however it is cut. */
class HeadEnd {
  found = false;
  #begun = false;
  #lineBytes = 0;

  /** How many bytes belong to the head. */
  find(bytes: Uint8Array): number {
    for (const [i, byte] of bytes.entries()) {
      if (byte === CARRIAGE_RETURN) continue;
      if (byte !== LINE_FEED) {
        this.#begun = true;
        this.#lineBytes++;
        continue;
      }
      // Empty lines before the request are to be passed over (RFC 9112, 2.2).
      if (this.#begun && this.#lineBytes === 0) {
        this.found = true;
        return i + 1;
      }
      this.#lineBytes = 0;
    }
    return bytes.length;
  }
}
