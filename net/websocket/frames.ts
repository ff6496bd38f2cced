/**
 * WebSocket framing (RFC 6455, section 5): a decoder that takes the frames off
 * in place, and an encoder. Pure.
 *
 * A protocol whose packets share and span messages, as MQTT's do [MQTT-6.0.0-2],
 * reads the payload bytes as one stream, in binary frames. One that sends a
 * request a message reads message by message, of text or binary frames.
 */

/** Which end this is: servers get masked frames, clients get bare ones. */
export type WebSocketRole = "server" | "client";

/** Why a connection is closed (RFC 6455, 7.4.1). */
export const CloseCode = {
  normal: 1000,
  protocolError: 1002,
  unsupportedData: 1003,
  invalidData: 1007,
  messageTooBig: 1009,
  tryAgainLater: 1013,
} as const;

const OPCODE_CONTINUATION = 0x0;
const OPCODE_TEXT = 0x1;
const OPCODE_BINARY = 0x2;
const OPCODE_CLOSE = 0x8;
const OPCODE_PING = 0x9;
const OPCODE_PONG = 0xa;

/** Longest payload of a control frame (5.5). */
const MAX_CONTROL_BYTES = 125;

/** Longest header that {@linkcode writeFrameHeader} writes. */
export const MAX_HEADER_BYTES = 14;

/** The other end broke the rules of framing. */
export class WebSocketViolation extends Error {
  override name = "WebSocketViolation";
  /** To be sent with the close frame. */
  readonly closeCode: number;

  constructor(closeCode: number, message: string) {
    super(message);
    this.closeCode = closeCode;
  }
}

/** Takes the frames off a stream of bytes, whatever its pieces are. */
export class FrameDecoder {
  /** Payload of the last ping that was not answered yet. */
  ping: Uint8Array<ArrayBuffer> | undefined;
  /** Code of the close frame that came, 1005 where it had none; nothing after it counts. */
  closeCode: number | undefined;
  /** Whether a pong came since this was last set to false. */
  pong = false;
  /** How many bytes the last call of `decode` took: all, or up to the end of a message. */
  taken = 0;
  /** Whether the last call of `decode` ended at the end of a message. */
  messageEnded = false;
  /** Whether the message is of text. */
  isText = false;

  readonly #masked: boolean;
  readonly #maxBytes: number;
  readonly #byMessage: boolean;
  readonly #header = new Uint8Array(MAX_HEADER_BYTES);
  readonly #mask = new Uint8Array(4);
  #headerBytes = 0;
  /** Bytes of the frame's payload still to come; -1 while its header is read. */
  #remaining = -1;
  #maskAt = 0;
  #opcode = 0;
  /** Whether a message was begun and not finished (5.4). */
  #inMessage = false;
  /** Payload of the message's frames so far. */
  #messageBytes = 0;
  #control: Uint8Array<ArrayBuffer> | undefined;
  #controlBytes = 0;

  /**
   * `maxBytes` bounds a frame, or by message the message. By message, text is
   * taken too, and `decode` stops at the end of each message.
   */
  constructor(role: WebSocketRole, maxBytes: number, byMessage = false) {
    this.#masked = role === "server";
    this.#maxBytes = maxBytes;
    this.#byMessage = byMessage;
  }

  /**
   * Takes the frames off the first `length` bytes of a buffer and moves their
   * data to its front; returns how much that is. Throws a
   * {@linkcode WebSocketViolation}.
   */
  decode(buffer: Uint8Array<ArrayBuffer>, length: number): number {
    let at = 0;
    let out = 0;
    this.messageEnded = false;
    while (
      at < length && this.closeCode === undefined && !this.messageEnded
    ) {
      if (this.#remaining < 0) {
        at = this.#takeHeader(buffer, at, length);
        if (this.#remaining !== 0) continue;
      }
      const taken = Math.min(this.#remaining, length - at);
      if (this.#opcode < OPCODE_CLOSE) {
        if (out !== at) buffer.copyWithin(out, at, at + taken);
        if (this.#masked) {
          this.#maskAt = applyMask(
            buffer,
            out,
            out + taken,
            this.#mask,
            this.#maskAt,
          );
        }
        out += taken;
      } else {
        const control = this.#control!;
        control.set(buffer.subarray(at, at + taken), this.#controlBytes);
        this.#controlBytes += taken;
      }
      at += taken;
      this.#remaining -= taken;
      if (this.#remaining === 0) {
        if (this.#opcode >= OPCODE_CLOSE) this.#endControl();
        else this.messageEnded = this.#byMessage && !this.#inMessage;
        this.#remaining = -1;
      }
    }
    this.taken = at;
    return out;
  }

  /** Takes header bytes; sets `#remaining` when the header is whole. */
  #takeHeader(buffer: Uint8Array, at: number, length: number): number {
    const header = this.#header;
    for (;;) {
      while (this.#headerBytes < 2) {
        if (at === length) return at;
        header[this.#headerBytes++] = buffer[at++]!;
        if (this.#headerBytes === 1) this.#checkFirstByte(header[0]!);
      }
      const short = header[1]! & 0x7f;
      const masked = (header[1]! & 0x80) !== 0;
      if (masked !== this.#masked) {
        throw new WebSocketViolation(
          CloseCode.protocolError,
          masked ? "a server must not mask" : "a client must mask",
        );
      }
      if ((header[0]! & 0x0f) >= OPCODE_CLOSE && short > MAX_CONTROL_BYTES) {
        throw new WebSocketViolation(
          CloseCode.protocolError,
          "a control frame is too long",
        );
      }
      const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0;
      const whole = 2 + lengthBytes + (masked ? 4 : 0);
      while (this.#headerBytes < whole) {
        if (at === length) return at;
        header[this.#headerBytes++] = buffer[at++]!;
      }
      this.#beginFrame(short, lengthBytes, masked);
      return at;
    }
  }

  #checkFirstByte(first: number): void {
    const fail = (message: string, code: number = CloseCode.protocolError) => {
      throw new WebSocketViolation(code, message);
    };
    // No extension was agreed on, so all reserved bits are 0 (5.2).
    if (first & 0x70) fail("a reserved bit is set");
    const last = (first & 0x80) !== 0;
    switch (first & 0x0f) {
      case OPCODE_CONTINUATION:
        if (!this.#inMessage) fail("a continuation without a beginning");
        this.#inMessage = !last;
        break;
      case OPCODE_TEXT:
        // [MQTT-6.0.0-1]
        if (!this.#byMessage) {
          fail(
            "a text frame, where binary is required",
            CloseCode.unsupportedData,
          );
        }
        // falls through
      case OPCODE_BINARY:
        if (this.#inMessage) fail("a message inside a message");
        this.#inMessage = !last;
        this.isText = (first & 0x0f) === OPCODE_TEXT;
        this.#messageBytes = 0;
        break;
      case OPCODE_CLOSE:
      case OPCODE_PING:
      case OPCODE_PONG:
        if (!last) fail("a control frame in fragments");
        break;
      default:
        fail("an unknown opcode");
    }
  }

  #beginFrame(short: number, lengthBytes: number, masked: boolean): void {
    const header = this.#header;
    let payloadBytes = short;
    if (lengthBytes > 0) {
      payloadBytes = 0;
      for (let i = 0; i < lengthBytes; i++) {
        payloadBytes = payloadBytes * 256 + header[2 + i]!;
      }
      if (payloadBytes < (lengthBytes === 2 ? 126 : 65536)) {
        throw new WebSocketViolation(
          CloseCode.protocolError,
          "a length is not in its shortest form",
        );
      }
    }
    this.#opcode = header[0]! & 0x0f;
    let bytes = payloadBytes;
    if (this.#byMessage && this.#opcode < OPCODE_CLOSE) {
      bytes = this.#messageBytes += payloadBytes;
    }
    if (bytes > this.#maxBytes) {
      throw new WebSocketViolation(
        CloseCode.messageTooBig,
        `a ${
          this.#byMessage ? "message" : "frame"
        } of ${bytes} bytes, where ${this.#maxBytes} are taken`,
      );
    }
    if (masked) {
      this.#mask.set(header.subarray(2 + lengthBytes, 6 + lengthBytes));
    }
    this.#maskAt = 0;
    this.#remaining = payloadBytes;
    this.#headerBytes = 0;
    this.#controlBytes = 0;
    if (this.#opcode >= OPCODE_CLOSE) {
      this.#control ??= new Uint8Array(MAX_CONTROL_BYTES);
    }
  }

  #endControl(): void {
    const payload = this.#control!.slice(0, this.#controlBytes);
    if (this.#masked) applyMask(payload, 0, payload.length, this.#mask, 0);
    // Of several pings, only the last one must be answered (5.5.3).
    if (this.#opcode === OPCODE_PING) this.ping = payload;
    else if (this.#opcode === OPCODE_PONG) this.pong = true;
    else if (this.#opcode === OPCODE_CLOSE) {
      this.closeCode = checkClosePayload(payload);
    }
  }
}

/** Code of a close frame (5.5.1, 7.4): 1005 stands for none. */
function checkClosePayload(payload: Uint8Array): number {
  if (payload.length === 0) return 1005;
  const code = payload.length === 1 ? 0 : payload[0]! << 8 | payload[1]!;
  const known = code >= 1000 && code <= 1014 && code !== 1004 &&
    code !== 1005 && code !== 1006;
  if (!known && !(code >= 3000 && code <= 4999)) {
    throw new WebSocketViolation(
      CloseCode.protocolError,
      `${code} is no close code`,
    );
  }
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(payload.subarray(2));
  } catch {
    throw new WebSocketViolation(
      CloseCode.invalidData,
      "a close reason is not UTF-8",
    );
  }
  return code;
}

/**
 * XORs bytes with a mask that starts at its byte `phase`; returns the phase
 * behind them. Four bytes at a time where there are many.
 */
export function applyMask(
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
  mask: Uint8Array,
  phase: number,
): number {
  let at = start;
  if (end - start >= 32) {
    while ((bytes.byteOffset + at) & 3) {
      bytes[at]! ^= mask[phase]!;
      at++;
      phase = (phase + 1) & 3;
    }
    const words = new Int32Array(
      bytes.buffer,
      bytes.byteOffset + at,
      (end - at) >> 2,
    );
    // A word of the mask as this machine orders bytes: all we run on are little-endian.
    const word = mask[phase]! | mask[(phase + 1) & 3]! << 8 |
      mask[(phase + 2) & 3]! << 16 | mask[(phase + 3) & 3]! << 24;
    for (let i = 0; i < words.length; i++) words[i]! ^= word;
    at += words.length * 4;
  }
  for (; at < end; at++) {
    bytes[at]! ^= mask[phase]!;
    phase = (phase + 1) & 3;
  }
  return phase;
}

/** Bytes of the header of a frame. */
export function frameHeaderBytes(
  payloadBytes: number,
  masked: boolean,
): number {
  return (payloadBytes < 126 ? 2 : payloadBytes < 65536 ? 4 : 10) +
    (masked ? 4 : 0);
}

/**
 * Writes a whole frame of one message to the front of `target`; returns its
 * length. With a mask (four bytes) it is a client's frame.
 */
export function writeFrame(
  target: Uint8Array<ArrayBuffer>,
  opcode: number,
  payload: Uint8Array,
  mask?: Uint8Array,
): number {
  const { length } = payload;
  target[0] = 0x80 | opcode;
  const maskBit = mask ? 0x80 : 0;
  let at = 2;
  if (length < 126) target[1] = maskBit | length;
  else {
    const wide = length >= 65536;
    target[1] = maskBit | (wide ? 127 : 126);
    const view = new DataView(target.buffer, target.byteOffset);
    if (wide) {
      view.setUint32(2, Math.floor(length / 2 ** 32));
      view.setUint32(6, length >>> 0);
      at = 10;
    } else {
      view.setUint16(2, length);
      at = 4;
    }
  }
  if (mask) {
    target.set(mask, at);
    at += 4;
  }
  target.set(payload, at);
  if (mask) applyMask(target, at, at + length, mask, 0);
  return at + length;
}

/** A text frame. */
export const TEXT_FRAME: number = OPCODE_TEXT;
/** A binary frame. */
export const BINARY_FRAME: number = OPCODE_BINARY;
/** A close frame. */
export const CLOSE_FRAME: number = OPCODE_CLOSE;
/** A ping. */
export const PING_FRAME: number = OPCODE_PING;
/** A pong. */
export const PONG_FRAME: number = OPCODE_PONG;
