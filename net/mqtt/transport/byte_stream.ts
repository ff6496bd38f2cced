/**
 * The seam between the gateway and what carries its bytes: TCP, TLS,
 * WebSocket over either. Types only, and the one orderly way to end.
 */
import type { Address } from "../../address.ts";

/** How a connection carries MQTT. */
export type Scheme = "mqtt" | "mqtts" | "ws" | "wss";

/** What a client's certificate says, where the listener asked for one and it was verified. */
export interface PeerCertificate {
  /** Common name of the subject, or an empty text. */
  readonly commonName: string;
  /** The subject as `CN=device-7,O=Acme`. */
  readonly subject: string;
  /** SHA-256 of the certificate, in hexadecimal with colons. */
  readonly fingerprint: string;
  /** Serial number, in hexadecimal. */
  readonly serialNumber: string;
}

/**
 * A connection. Reading and writing are independent; at most one read and one
 * write are under way at a time. A buffer given to a call belongs to it until
 * its promise is settled.
 */
export interface ByteStream {
  /** The other end. */
  readonly remote: Address;
  /** This end. */
  readonly local: Address;
  /** The verified certificate of the other end. */
  readonly certificate?: PeerCertificate | undefined;
  /**
   * Waits for bytes and puts them at the front of the buffer. Returns how many;
   * 0 at the orderly end. Rejects where the connection broke or was closed here.
   */
  read(buffer: Uint8Array<ArrayBuffer>): Promise<number>;
  /** Writes all bytes; resolves when the next layer has taken them (back-pressure). */
  write(bytes: Uint8Array): Promise<void>;
  /** Tells the other end, behind all that was written, that no more comes. */
  end(): Promise<void>;
  /** Ends both ways now. Never throws; a second call does nothing. */
  close(): void;
}

/**
 * Ends a connection so that the last bytes arrive: a socket that is closed
 * with unread bytes in it answers with RST, and the peer's system then
 * discards what it has not read yet (RFC 2525, 2.17). So: end, read until the
 * peer ends too or `lingerMs` have passed, close.
 */
export async function endAndClose(
  stream: ByteStream,
  lingerMs: number,
): Promise<void> {
  const timer = setTimeout(() => stream.close(), lingerMs);
  try {
    await stream.end();
    const waste = new Uint8Array(4096);
    while (await stream.read(waste) > 0);
  } catch {
    // The peer was faster, or the timer.
  } finally {
    clearTimeout(timer);
    stream.close();
  }
}
