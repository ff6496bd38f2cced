/** A {@linkcode ByteStream} over a connection of Deno's: TCP, or TLS as a client. */
import type { Address } from "../../address.ts";
import type { ByteStream } from "./byte_stream.ts";

/** Wraps a connection, which belongs to the stream from then on. */
export class DenoStream implements ByteStream {
  readonly remote: Address;
  readonly local: Address;
  readonly #connection: Deno.TcpConn | Deno.TlsConn;
  #closed = false;

  constructor(connection: Deno.TcpConn | Deno.TlsConn) {
    this.#connection = connection;
    this.remote = addressOf(connection.remoteAddr);
    this.local = addressOf(connection.localAddr);
  }

  async read(buffer: Uint8Array<ArrayBuffer>): Promise<number> {
    return await this.#connection.read(buffer) ?? 0;
  }

  async write(bytes: Uint8Array): Promise<void> {
    let written = await this.#connection.write(bytes);
    while (written < bytes.length) {
      written += await this.#connection.write(bytes.subarray(written));
    }
  }

  end(): Promise<void> {
    return this.#connection.closeWrite();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.#connection.close();
    } catch {
      // A TLS connection whose handshake failed has closed itself.
    }
  }
}

function addressOf(address: Deno.NetAddr): Address {
  return { hostname: address.hostname, port: address.port };
}
