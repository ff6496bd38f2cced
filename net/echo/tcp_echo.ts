/**
 * The TCP echo server (RFC 862): sends back what comes, ends when its client
 * does. A test peer that a reset does not bring down.
 */
import type { Address } from "../address.ts";
import {
  listenStream,
  prepareTcp,
  type StreamConn,
} from "../engine/portable/stream/sockets.ts";
import type { Log } from "../observe/log.ts";
import { ActivityWatch, type Watched } from "../activity_watch.ts";
import type { AdmissionStats } from "../admission.ts";
import { type Admitted, ConnectionGate } from "../connection_gate.ts";
import { AcceptLoop } from "../accept_loop.ts";
import { BufferPool, closeQuietly } from "../engine/portable/stream/pipe.ts";
import { errorText } from "../errors.ts";

/** Options of {@linkcode TcpEcho}. */
export interface TcpEchoOptions {
  /** Where to listen; port 0 takes a free one. */
  address: Address;
  /** Clients at once. @default {1024} */
  maxConnections?: number | undefined;
  /** Clients of one IPv4 address or IPv6 /64 at once. Default: half of `maxConnections`. */
  maxConnectionsPerSource?: number | undefined;
  /** Milliseconds without a byte after which a client is closed. @default {300000} */
  idleTimeoutMs?: number | undefined;
  /** Takes warnings about clients that could not be accepted. */
  log?: Log | undefined;
}

/** Clients at once, by default. */
export const DEFAULT_MAX_CLIENTS = 1024;

/** How long a client may be silent, by default. */
export const DEFAULT_IDLE_MS = 300_000;

/** How long a client may take to send its first byte. */
const FIRST_BYTE_MS = 30_000;

/** What a client costs until it has sent a byte. */
const FIRST_READ_BYTES = 512;

/** What a TCP echo server counts. */
export interface TcpEchoStats {
  /** Connections open now. */
  open: number;
  /** Connections ever opened. */
  opened: number;
  /** Bytes sent back. */
  bytes: number;
  /** Connections that broke off. */
  errors: number;
  /** Connections, rejected ones too. */
  admission: AdmissionStats;
}

/** A running TCP echo server. */
export class TcpEcho implements AsyncDisposable {
  /** The bound address, with the real port. */
  readonly address: Address;
  /** Resolves when it is closed. */
  readonly finished: Promise<void>;

  readonly #buffers = new BufferPool();
  readonly #clients = new Set<StreamConn>();
  readonly #serving = new Set<Promise<void>>();
  readonly #accepting: AcceptLoop<StreamConn>;
  readonly #gate: ConnectionGate;
  readonly #watch: ActivityWatch;
  readonly #done = Promise.withResolvers<void>();
  #opened = 0;
  #bytes = 0;
  #errors = 0;

  /** Binds and serves; throws an OperationError where it cannot be bound. */
  constructor(options: TcpEchoOptions) {
    const { address, log, idleTimeoutMs = DEFAULT_IDLE_MS } = options;
    this.#gate = new ConnectionGate({
      listener: "echo",
      maxConnections: options.maxConnections ?? DEFAULT_MAX_CLIENTS,
      maxConnectionsPerSource: options.maxConnectionsPerSource,
      proveWithinMs: Math.min(FIRST_BYTE_MS, idleTimeoutMs),
      idleMs: idleTimeoutMs,
      log,
    });
    this.#watch = new ActivityWatch(idleTimeoutMs);
    const listener = listenStream(address);
    this.address = listener.address;
    this.finished = this.#done.promise;
    this.#accepting = new AcceptLoop(listener, (client) => {
      const peer = this.#gate.admit(client, client.remoteAddr.hostname);
      if (!peer) return;
      const served: Promise<void> = this.#serve(client, peer).finally(() =>
        this.#serving.delete(served)
      );
      this.#serving.add(served);
    }, (error) =>
      log?.limited("accept", "cannot accept a client", {
        detail: errorText(error),
      }));
  }

  async #serve(client: StreamConn, peer: Admitted): Promise<void> {
    this.#opened++;
    this.#clients.add(client);
    prepareTcp(client, true);
    const buffers = this.#buffers;
    let buffer: Uint8Array<ArrayBuffer> | undefined;
    let level = 0;
    let moved = 0;
    const watched: Watched = {
      peer,
      movedBytes: () => moved,
      isDue: () => true,
    };
    const first = new Uint8Array(FIRST_READ_BYTES);
    try {
      for (;;) {
        if (moved > 0) buffer = buffers.take(level);
        const bytes = await client.read(buffer ?? first);
        if (bytes === null) break;
        const from = buffer ?? first;
        if (moved === 0) {
          peer.prove();
          this.#watch.add(watched);
        }
        moved += bytes;
        for (let at = 0; at < bytes;) {
          const written = await client.write(from.subarray(at, bytes));
          at += written;
          moved += written;
          this.#bytes += written;
        }
        if (buffer) {
          level = buffers.nextLevel(bytes, buffer.length);
          buffers.give(buffer);
          buffer = undefined;
        }
      }
    } catch {
      // A reset ends this client alone.
      this.#errors++;
    } finally {
      if (buffer) buffers.give(buffer);
      this.#watch.delete(watched);
      this.#clients.delete(client);
      closeQuietly(client);
      peer.release();
    }
  }

  /** What it has counted. */
  stats(): TcpEchoStats {
    return {
      open: this.#clients.size,
      opened: this.#opened,
      bytes: this.#bytes,
      errors: this.#errors,
      admission: this.#gate.stats(),
    };
  }

  /** Accepts no one more, and ends when the last client has. */
  async drain(): Promise<void> {
    await this.#accepting.stop();
    while (this.#serving.size > 0) await Promise.all(this.#serving);
    this.#watch[Symbol.dispose]();
    this.#gate[Symbol.dispose]();
    this.#done.resolve();
  }

  /** Ends everything now. */
  async [Symbol.asyncDispose](): Promise<void> {
    const drained = this.drain();
    for (const client of this.#clients) closeQuietly(client);
    await drained;
  }
}
