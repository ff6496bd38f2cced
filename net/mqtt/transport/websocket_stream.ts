/**
 * MQTT's bytes in binary WebSocket frames over another {@linkcode ByteStream}.
 *
 * The platform's WebSocket reads without limit, whatever the other side takes,
 * and takes frames of any size; here a read is one read of the socket below,
 * and frames are taken off in the reader's own buffer.
 */
import type { Address } from "../../address.ts";
import type { BufferPool } from "../session/buffer_pool.ts";
import type { ByteStream, PeerCertificate } from "./byte_stream.ts";
import {
  BINARY_FRAME,
  CLOSE_FRAME,
  CloseCode,
  FrameDecoder,
  frameHeaderBytes,
  MAX_HEADER_BYTES,
  PONG_FRAME,
  type WebSocketRole,
  WebSocketViolation,
  writeFrame,
} from "../../websocket/frames.ts";
import {
  answerUpgrade,
  checkUpgradeAnswer,
  HEAD_TOO_LONG,
  headEnd,
  MAX_HEAD_BYTES,
  upgradeRequest,
} from "./websocket_handshake.ts";

/** How WebSocket connections are treated. */
export interface WebSocketOptions {
  /** Longest frame that is taken, in bytes. */
  maxFrameBytes: number;
  /** Where frames are put together. */
  pool: BufferPool;
}

/** A connection whose handshake is done. */
export class WebSocketStream implements ByteStream {
  readonly #below: ByteStream;
  readonly #decoder: FrameDecoder;
  readonly #pool: BufferPool;
  readonly #isClient: boolean;
  /** Bytes that came with the handshake. */
  #rest: Uint8Array<ArrayBuffer> | undefined;
  #writing: Promise<void> | undefined;
  #closeSent = false;

  constructor(
    below: ByteStream,
    role: WebSocketRole,
    options: WebSocketOptions,
    rest?: Uint8Array<ArrayBuffer>,
  ) {
    this.#below = below;
    this.#decoder = new FrameDecoder(role, options.maxFrameBytes);
    this.#pool = options.pool;
    this.#isClient = role === "client";
    this.#rest = rest && rest.length > 0 ? rest : undefined;
  }

  get remote(): Address {
    return this.#below.remote;
  }

  get local(): Address {
    return this.#below.local;
  }

  get certificate(): PeerCertificate | undefined {
    return this.#below.certificate;
  }

  get hasUntrustedCertificate(): boolean | undefined {
    return this.#below.hasUntrustedCertificate;
  }

  async read(buffer: Uint8Array<ArrayBuffer>): Promise<number | null> {
    for (;;) {
      if (this.#decoder.closeCode !== undefined) return null;
      let length: number | null;
      const rest = this.#rest;
      if (rest) {
        length = Math.min(rest.length, buffer.length);
        buffer.set(rest.subarray(0, length));
        this.#rest = length < rest.length ? rest.subarray(length) : undefined;
      } else length = await this.#below.read(buffer);
      if (length === null) return null;
      let data: number;
      try {
        data = this.#decoder.decode(buffer, length);
      } catch (error) {
        if (error instanceof WebSocketViolation) {
          await this.#sendClose(error.closeCode);
        }
        throw error;
      }
      if (this.#decoder.ping) await this.#sendPong();
      if (this.#decoder.closeCode !== undefined) {
        await this.#sendClose(CloseCode.normal);
      }
      if (data > 0) return data;
    }
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.#writeFrame(BINARY_FRAME, bytes);
  }

  /** Sends a close frame; the other end answers with its own, and then nothing more comes. */
  end(): Promise<void> {
    return this.#sendClose(CloseCode.normal);
  }

  close(): void {
    this.#below.close();
  }

  /** Frames wait for each other: a pong must not start inside a binary frame. */
  async #writeFrame(opcode: number, payload: Uint8Array): Promise<void> {
    while (this.#writing) await this.#writing.catch(() => {});
    if (this.#closeSent) throw new Error("the WebSocket was closed");
    if (opcode === CLOSE_FRAME) this.#closeSent = true;
    const frame = this.#pool.take(
      frameHeaderBytes(payload.length, this.#isClient) + payload.length,
    );
    const mask = this.#isClient
      ? crypto.getRandomValues(new Uint8Array(4))
      : undefined;
    const length = writeFrame(frame, opcode, payload, mask);
    const writing = this.#below.write(frame.subarray(0, length));
    this.#writing = writing;
    try {
      await writing;
    } finally {
      this.#writing = undefined;
      this.#pool.give(frame);
    }
  }

  async #sendPong(): Promise<void> {
    const payload = this.#decoder.ping!;
    this.#decoder.ping = undefined;
    if (!this.#closeSent) await this.#writeFrame(PONG_FRAME, payload);
  }

  async #sendClose(code: number): Promise<void> {
    if (this.#closeSent) return;
    await this.#writeFrame(CLOSE_FRAME, Uint8Array.of(code >> 8, code & 0xff));
  }
}

/** What a server wants of the clients that upgrade. */
export interface WebSocketServerOptions extends WebSocketOptions {
  /** Path that is served, and everything beneath it; `/` serves all. */
  path: string;
  /** Values of `Origin` that may connect. Default: the server's own origin. */
  origins?: readonly string[] | undefined;
  /** Whether the connection is TLS. */
  secure?: boolean | undefined;
  /** The name that the listener was given. */
  hostname?: string | undefined;
}

/**
 * Reads a client's upgrade request and answers it. Throws an `Error` that says
 * why where it was refused; the answer is then already sent.
 */
export async function acceptWebSocket(
  below: ByteStream,
  options: WebSocketServerOptions,
): Promise<WebSocketStream> {
  const { head, rest } = await readHead(below, HEAD_TOO_LONG);
  const answer = answerUpgrade(head, options);
  await below.write(new TextEncoder().encode(answer.text));
  if (!answer.accepted) {
    throw new Error(`the WebSocket was refused: ${answer.reason}`);
  }
  return new WebSocketStream(below, "server", options, rest);
}

/** Where a client's upgrade request goes. */
export interface WebSocketClientOptions extends WebSocketOptions {
  /** For the `Host` header: a name, with a port where it is not the scheme's own. */
  host: string;
  /** Path of the request. */
  path: string;
}

/** Asks a server for an upgrade. Throws an `Error` that says why where it refused. */
export async function connectWebSocket(
  below: ByteStream,
  options: WebSocketClientOptions,
): Promise<WebSocketStream> {
  const key = btoa(
    String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16))),
  );
  await below.write(
    new TextEncoder().encode(upgradeRequest(options.host, options.path, key)),
  );
  const { head, rest } = await readHead(below);
  const wrong = checkUpgradeAnswer(head, key);
  if (wrong) throw new Error(`the WebSocket was refused: ${wrong}`);
  return new WebSocketStream(below, "client", options, rest);
}

/** Reads a head; one that is too long is answered with `tooLong`. */
async function readHead(
  below: ByteStream,
  tooLong?: string,
): Promise<{ head: string; rest: Uint8Array<ArrayBuffer> }> {
  const bytes = new Uint8Array(MAX_HEAD_BYTES);
  let length = 0;
  while (length < bytes.length) {
    const taken = await below.read(bytes.subarray(length));
    if (taken === null) {
      throw new Error("the connection ended in its HTTP head");
    }
    length += taken;
    const end = headEnd(bytes, length);
    if (end >= 0) {
      // Latin-1: header values are bytes, and none may become another by decoding.
      const head = Array.from(
        bytes.subarray(0, end),
        (byte) => String.fromCharCode(byte),
      ).join("");
      return { head, rest: bytes.slice(end, length) };
    }
  }
  if (tooLong) await below.write(new TextEncoder().encode(tooLong));
  throw new Error(`the HTTP head is longer than ${MAX_HEAD_BYTES} bytes`);
}

/** Bytes by which a frame may be longer than its payload. */
export const FRAME_OVERHEAD_BYTES: number = MAX_HEADER_BYTES;
