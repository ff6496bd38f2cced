/** A plain connection: `Deno.TcpConn`, and its socket where that can be reached. */
import type { ControlledSocket, SocketControl } from "../../socket_control.ts";
import type { StreamConn } from "./stream_conn.ts";

/**
 * Read ahead of the first `read`, so that a reset is seen meanwhile. Where the
 * platform cannot send a reset, one byte: the kernel resets what is closed with
 * bytes unread (RFC 2525, 2.17), and so a client that nobody serves.
 */
const AHEAD_BYTES = 16_384;
const AHEAD_BYTES_WITHOUT_RESET = 1;

/** A plain connection. */
export class TcpConn implements StreamConn {
  readonly #conn: Deno.TcpConn;
  readonly #socket: ControlledSocket | undefined;
  /** What {@linkcode watch} has read, and where it is read from next. */
  #ahead: Uint8Array<ArrayBuffer> | undefined;
  #aheadFrom = 0;
  #aheadTo = 0;
  /** The read of {@linkcode watch} that is under way. */
  #watching: Promise<number | null> | undefined;
  /** Whether `read` was called: what is read ahead has a taker. */
  #reading = false;

  /** Sets TCP_NODELAY, because a relay's writes are somebody else's messages. */
  constructor(
    conn: Deno.TcpConn,
    keepAlive: boolean,
    control: SocketControl | undefined,
  ) {
    this.#conn = conn;
    this.#socket = control?.find(conn);
    try {
      conn.setNoDelay(true);
      if (!keepAlive) return;
      if (this.#socket) this.#socket.keepAlive();
      else conn.setKeepAlive(true);
    } catch {
      // The peer has left already: the first read tells.
    }
  }

  ready(): Promise<void> {
    return Promise.resolve();
  }

  get localAddr(): Deno.NetAddr {
    return this.#conn.localAddr;
  }

  get remoteAddr(): Deno.NetAddr {
    return this.#conn.remoteAddr;
  }

  watch(onReset: () => void): void {
    this.#ahead = new Uint8Array(
      this.#socket ? AHEAD_BYTES : AHEAD_BYTES_WITHOUT_RESET,
    );
    this.#watching = this.#readAhead(this.#ahead);
    this.#watching.catch(onReset);
  }

  async #readAhead(
    ahead: Uint8Array<ArrayBuffer>,
  ): Promise<number | null> {
    for (;;) {
      const bytes = await this.#conn.read(ahead.subarray(this.#aheadTo));
      if (bytes === null) return null;
      this.#aheadTo += bytes;
      if (this.#reading || this.#aheadTo === ahead.length) return bytes;
    }
  }

  read(buffer: Uint8Array<ArrayBuffer>): Promise<number | null> {
    return this.#ahead
      ? this.#readFrom(this.#ahead, buffer)
      : this.#conn.read(buffer);
  }

  async #readFrom(
    ahead: Uint8Array<ArrayBuffer>,
    buffer: Uint8Array<ArrayBuffer>,
  ): Promise<number | null> {
    this.#reading = true;
    if (this.#aheadFrom === this.#aheadTo) {
      const bytes = await this.#watching!;
      if (this.#aheadFrom === this.#aheadTo) {
        this.#ahead = undefined;
        return bytes === null ? null : await this.#conn.read(buffer);
      }
    }
    const bytes = Math.min(buffer.length, this.#aheadTo - this.#aheadFrom);
    buffer.set(ahead.subarray(this.#aheadFrom, this.#aheadFrom + bytes));
    this.#aheadFrom += bytes;
    return bytes;
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#conn.write(bytes);
  }

  closeWrite(): Promise<void> {
    return this.#conn.closeWrite();
  }

  close(): void {
    this.#socket?.release();
    try {
      this.#conn.close();
    } catch {
      // Closed already.
    }
  }

  reset(): void {
    this.#socket?.reset();
    this.close();
  }
}
