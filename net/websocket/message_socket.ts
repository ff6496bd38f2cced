/**
 * A server's WebSocket (RFC 6455) whose messages are texts: requests are read
 * whole and answers sent whole. For a socket of `node:http` whose upgrade was
 * accepted.
 */
import { Buffer } from "node:buffer";
import type { Duplex } from "node:stream";
import {
  CLOSE_FRAME,
  CloseCode,
  FrameDecoder,
  frameHeaderBytes,
  PING_FRAME,
  PONG_FRAME,
  TEXT_FRAME,
  WebSocketViolation,
  writeFrame,
} from "./frames.ts";

/** Options of a {@linkcode MessageSocket}. */
export interface MessageSocketOptions {
  /** Longest message that is taken, in bytes, whatever its frames are. */
  readonly maxMessageBytes: number;
  /** Counts bytes kept of a message that is not whole yet; false where there is no room. */
  readonly hold: (bytes: number) => boolean;
  /** Takes a message; its bytes stay held until the taker releases them. */
  readonly onMessage: (text: string, bytes: number) => void;
  /** The other end has sent a close frame; it is owed one when its messages are answered. */
  readonly onClose: () => void;
  /** This end has sent a close frame, and waits for the other end to close. */
  readonly onClosing: () => void;
}

/** First size of the buffer in which a message is put together. */
const FIRST_BYTES = 4096;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A connection whose handshake is done. */
export class MessageSocket {
  readonly #socket: Duplex;
  readonly #options: MessageSocketOptions;
  readonly #decoder: FrameDecoder;
  /** Bytes that were read, but not decoded yet. */
  #rest: Uint8Array<ArrayBuffer> | undefined;
  /** The message so far. Grows by doubling: a list of parts costs a hundred bytes a part. */
  #message = new Uint8Array(0);
  #messageBytes = 0;
  #paused = false;
  #closing = false;
  #owesPong = false;

  constructor(socket: Duplex, head: Uint8Array, options: MessageSocketOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#decoder = new FrameDecoder("server", options.maxMessageBytes, true);
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("drain", () => this.#sendPong());
    // No close frame came, and none will be read.
    socket.on("end", () => socket.destroy());
    if (head.length > 0) this.#take(head);
  }

  /** Whether messages wait because {@linkcode pause} was called. */
  get paused(): boolean {
    return this.#paused;
  }

  /** Whether a close frame was sent. */
  get closing(): boolean {
    return this.#closing;
  }

  /** Reads no further until {@linkcode resume}. */
  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  /** Reads on. */
  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#pump();
  }

  /** Sends a ping; false where the last one was not answered. */
  ping(): boolean {
    if (this.#owesPong) return false;
    this.#owesPong = true;
    if (!this.#closing) this.#write(PING_FRAME, new Uint8Array(0));
    return true;
  }

  /** Sends a message; resolves where it is written, or the other end is gone. */
  send(text: string): Promise<void> {
    return new Promise((resolve) => {
      if (this.#closing) resolve();
      else this.#write(TEXT_FRAME, Buffer.from(text), resolve);
    });
  }

  /** Sends a close frame; what comes until the other end closes is discarded. */
  close(code: number): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#write(CLOSE_FRAME, Uint8Array.of(code >> 8, code & 0xff));
    this.#socket.end();
    this.#message = new Uint8Array(0);
    this.#rest = undefined;
    // Unread bytes would make the kernel reset the connection, close frame and all.
    this.#socket.resume();
    this.#options.onClosing();
  }

  /** Ends both ways now. */
  terminate(): void {
    this.#socket.destroy();
  }

  #take(chunk: Uint8Array): void {
    if (this.#closing || this.#decoder.closeCode !== undefined) return;
    // The buffer is this connection's own: frames are taken off in place.
    this.#rest = new Uint8Array(
      chunk.buffer as ArrayBuffer,
      chunk.byteOffset,
      chunk.length,
    );
    this.#pump();
  }

  /** Takes messages until there are no more bytes, or one who takes them pauses. */
  #pump(): void {
    try {
      while (this.#rest && !this.#paused && !this.#closing) this.#step();
    } catch (error) {
      this.close(
        error instanceof WebSocketViolation
          ? error.closeCode
          : CloseCode.invalidData,
      );
    }
    if (this.#paused && !this.#closing) this.#socket.pause();
    else this.#socket.resume();
  }

  /** Throws a WebSocketViolation, or a TypeError where a text is not UTF-8. */
  #step(): void {
    const rest = this.#rest!;
    const decoder = this.#decoder;
    const bytes = decoder.decode(rest, rest.length);
    this.#rest = decoder.taken < rest.length
      ? rest.subarray(decoder.taken)
      : undefined;
    if (decoder.pong) this.#owesPong = decoder.pong = false;
    if (bytes > 0 && !this.#append(rest.subarray(0, bytes))) {
      return this.close(CloseCode.tryAgainLater);
    }
    if (decoder.messageEnded) this.#endMessage();
    this.#sendPong();
    if (decoder.closeCode === undefined) return;
    this.#rest = undefined;
    this.#options.onClose();
  }

  #append(data: Uint8Array): boolean {
    if (!this.#options.hold(data.length)) return false;
    const bytes = this.#messageBytes + data.length;
    if (bytes > this.#message.length) {
      const grown = new Uint8Array(
        Math.max(FIRST_BYTES, bytes, 2 * this.#message.length),
      );
      grown.set(this.#message.subarray(0, this.#messageBytes));
      this.#message = grown;
    }
    this.#message.set(data, this.#messageBytes);
    this.#messageBytes = bytes;
    return true;
  }

  #endMessage(): void {
    const bytes = this.#messageBytes;
    const message = this.#message.subarray(0, bytes);
    this.#message = new Uint8Array(0);
    this.#messageBytes = 0;
    const text = this.#decoder.isText
      ? utf8.decode(message)
      : Buffer.from(message.buffer, 0, bytes).toString();
    this.#options.onMessage(text, bytes);
  }

  /**
   * Answers the last ping (5.5.3), but queues no pong for a client that takes
   * none of what it is sent.
   */
  #sendPong(): void {
    const payload = this.#decoder.ping;
    if (!payload || this.#closing || this.#socket.writableNeedDrain) return;
    this.#decoder.ping = undefined;
    this.#write(PONG_FRAME, payload);
  }

  #write(opcode: number, payload: Uint8Array, done?: () => void): void {
    const frame = new Uint8Array(
      frameHeaderBytes(payload.length, false) + payload.length,
    );
    writeFrame(frame, opcode, payload);
    // A client that is gone is no error here: its socket is closed already.
    this.#socket.write(frame, () => done?.());
  }
}
