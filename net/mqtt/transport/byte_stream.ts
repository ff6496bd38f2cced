/**
 * The seam between the gateway and what carries its bytes: TCP, TLS,
 * WebSocket over either. Types only.
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
  /** Whether the other end sent a certificate that was not verified. Default: it did not. */
  readonly hasUntrustedCertificate?: boolean | undefined;
  /**
   * Waits for bytes and puts them at the front of the buffer. Returns how many;
   * null at the orderly end. Rejects where the connection broke or was closed
   * here.
   */
  read(buffer: Uint8Array<ArrayBuffer>): Promise<number | null>;
  /** Writes all bytes; resolves when the next layer has taken them (back-pressure). */
  write(bytes: Uint8Array): Promise<void>;
  /** Tells the other end, behind all that was written, that no more comes. */
  end(): Promise<void>;
  /** Ends both ways now. Never throws; a second call does nothing. */
  close(): void;
}
