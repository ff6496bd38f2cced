/**
 * A connection as the forwarder uses it, whatever it is made of: `Deno.TcpConn`
 * (`tcp_conn.ts`) or a TLS socket of `node:tls` (`tls_conn.ts`).
 */
export interface StreamConn {
  readonly localAddr: Deno.NetAddr;
  readonly remoteAddr: Deno.NetAddr;
  /** Resolves when bytes can be moved: after the TLS handshake, where there is one. */
  ready(): Promise<void>;
  /** Reads what is there; null at the end; rejects where the peer has reset. */
  read(buffer: Uint8Array<ArrayBuffer>): Promise<number | null>;
  /** Writes some; resolves with how many bytes. */
  write(bytes: Uint8Array): Promise<number>;
  /** Ends the writing side. */
  closeWrite(): Promise<void>;
  /** Closes the descriptor. May be called again. */
  close(): void;
  /**
   * Closes the descriptor with a reset (RST) where the platform can send one,
   * and as `close` elsewhere.
   */
  reset(): void;
  /** Calls back once should the peer reset while nobody reads; up to the first `read`. */
  watch(onReset: () => void): void;
}
