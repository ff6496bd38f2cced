/** A {@linkcode ByteStream} over TCP. */
import type { Address } from "../../address.ts";
import type { ByteStream } from "./byte_stream.ts";

/** Wraps a connection, which belongs to the stream from then on. */
export class TcpStream implements ByteStream {
  readonly remote: Address;
  readonly local: Address;
  readonly #connection: Deno.TcpConn;
  #closed = false;

  constructor(connection: Deno.TcpConn) {
    this.#connection = connection;
    this.remote = addressOf(connection.remoteAddr);
    this.local = addressOf(connection.localAddr);
  }

  read(buffer: Uint8Array<ArrayBuffer>): Promise<number | null> {
    return this.#connection.read(buffer);
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
    this.#connection.close();
  }
}

function addressOf(address: Deno.NetAddr): Address {
  return { hostname: address.hostname, port: address.port };
}
