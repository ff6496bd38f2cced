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
import { AcceptLoop } from "../accept_loop.ts";
import { BufferPool, closeQuietly } from "../engine/portable/stream/pipe.ts";
import { errorText } from "../errors.ts";

/** Options of {@linkcode TcpEcho}. */
export interface TcpEchoOptions {
  /** Where to listen; port 0 takes a free one. */
  address: Address;
  /** Takes warnings about clients that could not be accepted. */
  log?: Log;
}

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
  readonly #done = Promise.withResolvers<void>();
  #opened = 0;
  #bytes = 0;
  #errors = 0;

  /** Binds and serves; throws an OperationError where it cannot be bound. */
  constructor({ address, log }: TcpEchoOptions) {
    const listener = listenStream(address);
    this.address = listener.address;
    this.finished = this.#done.promise;
    this.#accepting = new AcceptLoop(listener, (client) => {
      const served: Promise<void> = this.#serve(client).finally(() =>
        this.#serving.delete(served)
      );
      this.#serving.add(served);
    }, (error) =>
      log?.limited("accept", "cannot accept a client", {
        detail: errorText(error),
      }));
  }

  async #serve(client: StreamConn): Promise<void> {
    this.#opened++;
    this.#clients.add(client);
    prepareTcp(client, true);
    const buffers = this.#buffers;
    let buffer: Uint8Array<ArrayBuffer> | undefined;
    let level = 0;
    try {
      for (;;) {
        buffer = buffers.take(level);
        const bytes = await client.read(buffer);
        if (bytes === null) break;
        for (let at = 0; at < bytes;) {
          const written = await client.write(buffer.subarray(at, bytes));
          at += written;
          this.#bytes += written;
        }
        level = buffers.nextLevel(bytes, buffer.length);
        buffers.give(buffer);
        buffer = undefined;
      }
    } catch {
      // A reset ends this client alone.
      this.#errors++;
    } finally {
      if (buffer) buffers.give(buffer);
      this.#clients.delete(client);
      closeQuietly(client);
    }
  }

  /** What it has counted. */
  stats(): TcpEchoStats {
    return {
      open: this.#clients.size,
      opened: this.#opened,
      bytes: this.#bytes,
      errors: this.#errors,
    };
  }

  /** Accepts no one more, and ends when the last client has. */
  async drain(): Promise<void> {
    await this.#accepting.stop();
    while (this.#serving.size > 0) await Promise.all(this.#serving);
    this.#done.resolve();
  }

  /** Ends everything now. */
  async [Symbol.asyncDispose](): Promise<void> {
    const drained = this.drain();
    for (const client of this.#clients) closeQuietly(client);
    await drained;
  }
}
