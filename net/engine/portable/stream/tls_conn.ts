/**
 * A TLS connection of `node:tls`.
 *
 * `Deno.TlsConn` has no way to end a handshake: its close waits for the peer,
 * with the descriptor open. Here the socket beneath is destroyed.
 */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { ControlledSocket, SocketControl } from "../../socket_control.ts";
import type { StreamConn } from "./stream_conn.ts";

/** Bytes that wait to be read; the peer is held back until they are. */
const MAX_WAITING_BYTES = 65_536;

/** How a {@linkcode TlsConn} is made. */
export interface TlsConnOptions {
  /** Begins the handshake. */
  readonly secure: (raw: Socket) => TLSSocket;
  /** What `node:tls` says after it, on this side. */
  readonly readyEvent: "secure" | "secureConnect";
  /** Looks at the peer after the handshake; gives what is wrong with it. */
  readonly verify?: ((tls: TLSSocket) => Error | undefined) | undefined;
  /** TCP keepalive. */
  readonly keepAlive: boolean;
  readonly control: SocketControl | undefined;
}

/** TLS over a socket of `node:net`; both belong to it from now on. */
export class TlsConn implements StreamConn {
  readonly localAddr: Deno.NetAddr;
  readonly remoteAddr: Deno.NetAddr;
  readonly #raw: Socket;
  readonly #tls: TLSSocket;
  readonly #socket: ControlledSocket | undefined;
  readonly #ready = Promise.withResolvers<void>();
  readonly #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  /** Bytes of the first one that were read. */
  #taken = 0;
  #paused = false;
  #ended = false;
  #closed = false;
  #writingEnded = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #failWrite: ((error: Error) => void) | undefined;
  #onReset: (() => void) | undefined;

  constructor(raw: Socket, options: TlsConnOptions) {
    const { secure, readyEvent, verify, keepAlive, control } = options;
    this.#raw = raw;
    this.localAddr = address(raw.localAddress, raw.localPort);
    this.remoteAddr = address(raw.remoteAddress, raw.remotePort);
    this.#socket = control?.find(this);
    if (keepAlive) {
      if (this.#socket) this.#socket.keepAlive();
      else raw.setKeepAlive(true, KEEPALIVE_IDLE_MS);
    }
    this.#ready.promise.catch(() => {});
    raw.on("error", (error) => this.#fail(error));
    raw.on("close", () => this.#onClose());
    const tls = this.#tls = secure(raw);
    tls.on("error", (error) => this.#fail(error));
    tls.on("close", () => this.#onClose());
    tls.on("end", () => this.#onEnd());
    tls.on("data", (bytes: Uint8Array) => this.#onData(bytes));
    tls.once(readyEvent, () => {
      const error = verify?.(tls);
      if (error) this.#fail(error);
      else this.#ready.resolve();
    });
  }

  ready(): Promise<void> {
    return this.#ready.promise;
  }

  #onData(bytes: Uint8Array): void {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#waitingBytes >= MAX_WAITING_BYTES && !this.#paused) {
      this.#paused = true;
      readHandle(this.#raw)?.readStop();
    }
    this.#wake?.();
  }

  /** A reset reaches `node:tls` as an end: the socket knows better. */
  #onEnd(): void {
    // A socket that has ended both ways is as closed as one that was reset.
    if (!this.#writingEnded && this.#socket?.wasReset()) {
      return this.#fail(resetByPeer());
    }
    this.#ready.reject(new Error("the peer ended the connection"));
    this.#ended = true;
    this.#wake?.();
  }

  #onClose(): void {
    if (!this.#ended) this.#fail(resetByPeer());
    this.#socket?.release();
    this.#failWrite?.(this.#error ?? resetByPeer());
  }

  #fail(error: Error): void {
    this.#error ??= error;
    this.#ready.reject(error);
    this.#wake?.();
    this.#failWrite?.(error);
    if (!this.#closed) this.#onReset?.();
  }

  watch(onReset: () => void): void {
    this.#onReset = onReset;
    if (this.#error) onReset();
  }

  async read(buffer: Uint8Array<ArrayBuffer>): Promise<number | null> {
    this.#onReset = undefined;
    for (;;) {
      if (this.#waitingBytes > 0) return this.#take(buffer);
      if (this.#error) throw this.#error;
      if (this.#ended) return null;
      await new Promise<void>((resolve) => this.#wake = resolve);
      this.#wake = undefined;
    }
  }

  #take(buffer: Uint8Array<ArrayBuffer>): number {
    let bytes = 0;
    while (bytes < buffer.length && this.#waiting.length > 0) {
      const first = this.#waiting[0]!;
      const end = Math.min(
        first.length,
        this.#taken + buffer.length - bytes,
      );
      buffer.set(first.subarray(this.#taken, end), bytes);
      bytes += end - this.#taken;
      this.#taken = end;
      if (end < first.length) break;
      this.#waiting.shift();
      this.#taken = 0;
    }
    this.#waitingBytes -= bytes;
    if (this.#paused && this.#waitingBytes < MAX_WAITING_BYTES) {
      this.#paused = false;
      readHandle(this.#raw)?.readStart();
    }
    return bytes;
  }

  /** All of it: resolves when it has gone to the kernel. */
  write(bytes: Uint8Array): Promise<number> {
    if (this.#error) return Promise.reject(this.#error);
    return new Promise((resolve, reject) => {
      this.#failWrite = reject;
      this.#tls.write(bytes, (error) => {
        this.#failWrite = undefined;
        if (error) reject(error);
        else resolve(bytes.length);
      });
    });
  }

  closeWrite(): Promise<void> {
    this.#writingEnded = true;
    if (this.#error) return Promise.reject(this.#error);
    return new Promise((resolve, reject) => {
      this.#failWrite = reject;
      this.#tls.end(() => {
        this.#failWrite = undefined;
        resolve();
      });
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket?.release();
    this.#tls.destroy();
    this.#raw.destroy();
    this.#fail(new Deno.errors.BadResource("the connection is closed"));
  }

  reset(): void {
    if (this.#closed) return;
    if (this.#socket) this.#socket.reset();
    else this.#raw.resetAndDestroy();
    this.close();
  }
}

/**
 * What stops reading, and with it the peer. `TLSSocket.pause` does not serve:
 * Deno 2.9 forgets the end of a TLS socket that was paused once, and
 * `Socket.resume` does not start reading again below a TLS socket.
 */
function readHandle(
  raw: Socket,
): { readStop(): void; readStart(): void } | undefined {
  const { _handle } = raw as unknown as {
    _handle?: { readStop(): void; readStart(): void } | null;
  };
  return _handle ?? undefined;
}

/** All that `node:net` can set: the kernel's interval and count come after it. */
const KEEPALIVE_IDLE_MS = 30_000;

function address(
  hostname: string | undefined,
  port: number | undefined,
): Deno.NetAddr {
  return { transport: "tcp", hostname: hostname ?? "", port: port ?? 0 };
}

function resetByPeer(): Error {
  return new Deno.errors.ConnectionReset("connection reset by peer");
}
