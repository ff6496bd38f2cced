/** TCP peers of a test, good ones and bad ones, all on port 0. */
import net from "node:net";
import type { Address } from "../../net/address.ts";
import type { StreamEvent } from "../../net/engine/stream.ts";
import { soon } from "./deadline.ts";

/** A server that runs a function for each client. */
export class TestServer implements AsyncDisposable {
  readonly #listener: Deno.TcpListener;
  readonly #serving = new Set<Promise<void>>();
  readonly #conns = new Set<Deno.TcpConn>();
  readonly #accepting: Promise<void>;
  readonly #handle: (conn: Deno.TcpConn) => Promise<void>;
  /** Clients accepted. */
  accepted = 0;

  constructor(
    handle: (conn: Deno.TcpConn) => Promise<void>,
    hostname = "127.0.0.1",
  ) {
    this.#handle = handle;
    this.#listener = Deno.listen({ hostname, port: 0 });
    this.#accepting = this.#accept();
  }

  get address(): Address {
    const { hostname, port } = this.#listener.addr;
    return { hostname, port };
  }

  async #accept(): Promise<void> {
    for (;;) {
      let conn: Deno.TcpConn;
      try {
        conn = await this.#listener.accept();
      } catch (error) {
        // A client that was reset while it waited fails the accept (ENOTCONN).
        if (error instanceof Deno.errors.NotConnected) continue;
        if (error instanceof Deno.errors.BadResource) return;
        if (error instanceof Deno.errors.Interrupted) return;
        throw error;
      }
      this.accepted++;
      this.#conns.add(conn);
      const served = this.#handle(conn)
        // A peer that resets is what some tests are about.
        .catch(() => {})
        .then(() => {
          this.#conns.delete(conn);
          this.#serving.delete(served);
          close(conn);
        });
      this.#serving.add(served);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    close(this.#listener);
    await this.#accepting;
    for (const conn of this.#conns) close(conn);
    await Promise.all(this.#serving);
  }
}

/** Sends back what comes, and ends when the client does. */
export function echoServer(hostname?: string): TestServer {
  return new TestServer(async (conn) => {
    const buffer = new Uint8Array(65536);
    for (;;) {
      const bytes = await conn.read(buffer);
      if (bytes === null) break;
      await writeAll(conn, buffer.subarray(0, bytes));
    }
    await conn.closeWrite();
  }, hostname);
}

/** Reads nothing, says nothing, stays. `release` lets all clients go. */
export function hangingServer(): TestServer & { release(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const server = new TestServer(() => promise);
  const dispose = server[Symbol.asyncDispose].bind(server);
  return Object.assign(server, {
    release: () => resolve(),
    [Symbol.asyncDispose]: () => {
      resolve();
      return dispose();
    },
  });
}

/**
 * Accepts, waits for a first byte and resets. Deno's own close sends an end
 * (FIN) before anything else, node's can send a bare reset.
 */
export async function resettingServer(): Promise<
  AsyncDisposable & { address: Address }
> {
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.resetAndDestroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  return {
    address: { hostname: "127.0.0.1", port },
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => server.close(() => resolve())),
  };
}

/** Connects, says something, reads something and resets. */
export function resettingClient(
  { hostname, port }: Address,
  saying: Uint8Array = new Uint8Array(),
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = net.connect(port, hostname);
  socket.on("error", reject);
  socket.on("close", () => resolve());
  socket.once("data", () => socket.resetAndDestroy());
  socket.write(saying);
  return promise;
}

/** An address where nobody listens. */
export function refusingAddress(): Address {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { hostname, port } = listener.addr;
  listener.close();
  return { hostname, port };
}

/** A listener whose backlog is full: a SYN to it is dropped, a connect hangs. */
export async function blackhole(): Promise<
  { address: Address } & Disposable
> {
  const listener = Deno.listen({
    hostname: "127.0.0.1",
    port: 0,
    tcpBacklog: 1,
  });
  const { hostname, port } = listener.addr;
  const waiting: Deno.TcpConn[] = [];
  for (;;) {
    const conn = await Deno.connect({
      hostname,
      port,
      signal: AbortSignal.timeout(200),
    }).catch(() => undefined);
    if (!conn) break;
    waiting.push(conn);
  }
  return {
    address: { hostname, port },
    [Symbol.dispose]: () => {
      for (const conn of waiting) conn.close();
      listener.close();
    },
  };
}

/** Connects as a client. */
export function connectTo(
  { hostname, port }: Address,
): Promise<Deno.TcpConn> {
  return Deno.connect({ hostname, port });
}

/** Writes all of it. */
export async function writeAll(
  conn: Deno.Conn,
  bytes: Uint8Array,
): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    at += await conn.write(bytes.subarray(at));
  }
}

/** Reads exactly so many bytes. */
export async function readExactly(
  conn: Deno.Conn,
  count: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count;) {
    const read = await conn.read(bytes.subarray(at));
    if (read === null) {
      throw new Error(`Connection ended after ${at} of ${count} bytes`);
    }
    at += read;
  }
  return bytes;
}

/** Reads to the end. */
export async function readToEnd(conn: Deno.Conn): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const buffer = new Uint8Array(65536);
  for (;;) {
    const bytes = await conn.read(buffer);
    if (bytes === null) break;
    parts.push(buffer.slice(0, bytes));
  }
  return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
}

/** How a connection ends: `eof`, or the name of the error. */
export async function howItEnds(conn: Deno.Conn): Promise<string> {
  try {
    await readToEnd(conn);
    return "eof";
  } catch (error) {
    return (error as Error).name;
  }
}

/**
 * Connects to who turns it away, and tells how: a reset may come before the
 * connect has returned, which then fails with it.
 */
export async function howTurnedAway(address: Address): Promise<string> {
  let client: Deno.TcpConn;
  try {
    client = await connectTo(address);
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return error.name;
    throw error;
  }
  using _ = client;
  return await howItEnds(client);
}

/** Closes what may be closed already. */
export function close(resource: { close(): void }): void {
  try {
    resource.close();
  } catch {
    // Closed by the code under test.
  }
}

/** Collects what a forwarder tells, and waits for more. */
export class EventLog {
  readonly events: StreamEvent[] = [];
  readonly #waiting = new Set<() => void>();

  /** The sink to give to the engine. */
  readonly sink = (events: readonly StreamEvent[]): void => {
    this.events.push(...events);
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  };

  /** The first event of a type, now or later, after `skip` others. */
  async next<Type extends StreamEvent["type"]>(
    type: Type,
    skip = 0,
  ): Promise<Extract<StreamEvent, { type: Type }>> {
    for (;;) {
      const found = this.events.filter((event) => event.type === type)[skip];
      if (found) return found as Extract<StreamEvent, { type: Type }>;
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }
}

/** A client that reads all that comes, as it comes. */
export class TestReader implements AsyncDisposable {
  readonly conn: Deno.TcpConn;
  readonly #parts: Uint8Array[] = [];
  readonly #reading: Promise<void>;
  readonly #waiting = new Set<() => void>();
  #bytes = 0;
  #end: string | undefined;

  private constructor(conn: Deno.TcpConn) {
    this.conn = conn;
    this.#reading = this.#read();
  }

  /** Connects and reads from now on. */
  static async connect(address: Address): Promise<TestReader> {
    return new TestReader(await connectTo(address));
  }

  /** Reads what waits for a connection that nobody has read from. */
  static of(conn: Deno.TcpConn): TestReader {
    return new TestReader(conn);
  }

  /** All that came. */
  get bytes(): Uint8Array<ArrayBuffer> {
    const all = new Uint8Array(this.#bytes);
    let at = 0;
    for (const part of this.#parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }

  /** What came, as text. */
  get text(): string {
    return new TextDecoder().decode(this.bytes);
  }

  /** Resolves when so many bytes have come; rejects where it ends before. */
  async atLeast(count: number): Promise<Uint8Array<ArrayBuffer>> {
    while (this.#bytes < count) {
      if (this.#end !== undefined) {
        throw new Error(
          `Ended (${this.#end}) with ${this.#bytes} of ${count} bytes`,
        );
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      await soon(promise, () => `${count} bytes, only ${this.#bytes}`);
    }
    return this.bytes;
  }

  /** Resolves when the connection has ended: `eof`, or the name of the error. */
  async ended(): Promise<string> {
    await soon(this.#reading, "the end of a connection");
    return this.#end!;
  }

  async #read(): Promise<void> {
    const buffer = new Uint8Array(65536);
    try {
      for (;;) {
        const bytes = await this.conn.read(buffer);
        if (bytes === null) break;
        this.#parts.push(buffer.slice(0, bytes));
        this.#bytes += bytes;
        this.#notify();
      }
      this.#end = "eof";
    } catch (error) {
      this.#end = (error as Error).name;
    }
    this.#notify();
  }

  #notify(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    close(this.conn);
    await this.#reading;
  }
}
