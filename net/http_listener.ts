/**
 * Connections for an HTTP server, accepted by a loop of ours, one request on
 * each. The loops of `Deno.serve` and `node:http` end for good at the first
 * accept for which a descriptor is wanting (EMFILE), and that of `Deno.serve`
 * takes the process along (Deno 2.9.6).
 */
import { Buffer } from "node:buffer";
import type { Server } from "node:http";
import { Duplex } from "node:stream";
import { AcceptLoop } from "./accept_loop.ts";
import type { Address } from "./address.ts";

/** A client has this long for its request, and again to take the answer. */
const CLIENT_TIMEOUT_MS = 30_000;

/** Largest read of a connection. */
const READ_BYTES = 16 * 1024;

/** Feeds a server with connections; closing it cuts them. */
export class HttpListener implements AsyncDisposable {
  /** The bound address, with the real port. */
  readonly address: Address;
  readonly #server: Server;
  readonly #maxConnections: number;
  readonly #accepting: AcceptLoop<Deno.TcpConn>;
  /** With the timer that cuts each. */
  readonly #connections = new Map<Duplex, ReturnType<typeof setTimeout>>();

  /**
   * Binds; throws what `Deno.listen` does. `server` must not listen itself.
   * Connections above `maxConnections` are closed unanswered.
   */
  constructor(
    { hostname, port }: Address,
    server: Server,
    maxConnections: number,
  ) {
    this.#server = server;
    this.#maxConnections = maxConnections;
    const listener = Deno.listen({ hostname, port });
    const { addr } = listener;
    this.address = { hostname: addr.hostname, port: addr.port };
    server.prependListener("request", (request, response) => {
      // The server keeps no connection that it has not accepted itself.
      response.shouldKeepAlive = false;
      // Both forget it at their ends.
      const { socket } = request;
      request.once("end", () => this.#stopTimer(socket));
      response.once("finish", () => this.#startTimer(socket));
    });
    // Whoever has upgraded has done with HTTP.
    server.on("upgrade", ({ socket }) => this.#stopTimer(socket));
    // A failed accept is tried again: somebody has to leave first.
    this.#accepting = new AcceptLoop(
      listener,
      (conn) => this.#take(conn),
      () => {},
    );
  }

  #take(conn: Deno.TcpConn): void {
    if (this.#connections.size >= this.#maxConnections) return conn.close();
    const connection = new ConnStream(conn);
    connection.once("close", () => {
      this.#stopTimer(connection);
      this.#connections.delete(connection);
    });
    // The client is gone: nobody is left to tell.
    connection.on("error", () => {});
    this.#startTimer(connection);
    this.#server.emit("connection", connection);
  }

  #startTimer(connection: Duplex): void {
    if (connection.destroyed) return;
    this.#stopTimer(connection);
    this.#connections.set(
      connection,
      setTimeout(() => connection.destroy(), CLIENT_TIMEOUT_MS),
    );
  }

  #stopTimer(connection: Duplex): void {
    clearTimeout(this.#connections.get(connection));
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
  }
}

/** A connection as Node's streams see it. */
class ConnStream extends Duplex {
  readonly #conn: Deno.TcpConn;
  readonly #buffer = new Uint8Array(READ_BYTES);

  constructor(conn: Deno.TcpConn) {
    super();
    this.#conn = conn;
  }

  override _read(): void {
    this.#conn.read(this.#buffer).then(
      (bytes) =>
        this.push(
          bytes === null ? null : Buffer.from(this.#buffer.subarray(0, bytes)),
        ),
      (error) => this.destroy(error),
    );
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
