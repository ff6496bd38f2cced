/**
 * Memory in which a packet is put together: the body first, then the fixed
 * header in front of it, for which room is kept.
 */
import { UsageError } from "../../errors.ts";
import type { Property, PropertyValue } from "./properties.ts";
import { PropertyKind, propertyRule } from "./property_id.ts";
import { MAX_REMAINING_LENGTH } from "./protocol.ts";
import { writeUtf8 } from "./utf8.ts";

/** A first byte and a length of four bytes. */
const HEADER_BYTES = 5;

/** Puts a packet together. */
export class PacketWriter {
  /** The packet lies here from `start` to `end` once it is finished. */
  buffer: Uint8Array<ArrayBuffer>;
  /** First byte of the finished packet. */
  start: number = HEADER_BYTES;
  /** First byte of the body. */
  readonly bodyStart: number = HEADER_BYTES;
  /** One behind the last byte written. */
  end: number = HEADER_BYTES;

  /** Takes a guess of the body's length; more is made room for. */
  constructor(bodyBytes = 64) {
    this.buffer = new Uint8Array(HEADER_BYTES + bodyBytes);
  }

  /** Writes one byte. */
  byte(value: number): void {
    // The memory would cut it down to another byte, such as 256 to a success.
    if (!Number.isInteger(value) || value < 0 || value > 0xff) {
      throw new UsageError(
        `Cannot write ${value} as a byte: it must be 0 to 255`,
      );
    }
    this.#room(1);
    this.buffer[this.end++] = value;
  }

  /** Writes two bytes, the higher first. */
  uint16(value: number): void {
    this.#room(2);
    this.buffer[this.end++] = value >>> 8;
    this.buffer[this.end++] = value;
  }

  /** Writes four bytes, the highest first. */
  uint32(value: number): void {
    this.uint16(value >>> 16);
    this.uint16(value & 0xffff);
  }

  /** Writes a variable byte integer in as few bytes as it needs. */
  varint(value: number): void {
    this.#room(4);
    this.end = writeVarint(this.buffer, this.end, value);
  }

  /** Writes bytes as they are. */
  bytes(source: Uint8Array, from = 0, to: number = source.length): void {
    this.#room(to - from);
    this.buffer.set(
      from === 0 && to === source.length ? source : source.subarray(from, to),
      this.end,
    );
    this.end += to - from;
  }

  /** Writes bytes with their length; `field` names them where they are too many. */
  binary(value: Uint8Array, field: string): void {
    if (value.length > 0xffff) failLength(field, value.length);
    this.uint16(value.length);
    this.bytes(value);
  }

  /** Writes a text with its length; `field` names it where it cannot be written. */
  text(value: string, field: string): void {
    if (!value.isWellFormed()) {
      throw new UsageError(
        `Cannot write ${field}: the text has a lone surrogate`,
      );
    }
    this.#room(2 + 3 * value.length);
    const start = this.end + 2;
    const end = writeUtf8(value, this.buffer, start);
    if (end - start > 0xffff) failLength(field, end - start);
    this.uint16(end - start);
    this.end = end;
  }

  /** Writes one property with its identifier. */
  property(property: Property): void {
    const { id, value } = property;
    const rule = propertyRule(id);
    if (rule === undefined) {
      throw new UsageError(`Cannot write property ${id}: there is none`);
    }
    this.byte(id);
    switch (rule.kind) {
      case PropertyKind.FLAG:
        return this.byte(checkedNumber(value, rule.name, 1));
      case PropertyKind.UINT16:
        return this.uint16(checkedNumber(value, rule.name, 0xffff));
      case PropertyKind.UINT32:
        return this.uint32(checkedNumber(value, rule.name, 0xffffffff));
      case PropertyKind.VARINT:
        return this.varint(
          checkedNumber(value, rule.name, MAX_REMAINING_LENGTH),
        );
      case PropertyKind.TEXT:
        if (typeof value !== "string") failType(rule.name, "a text");
        return this.text(value, rule.name);
      case PropertyKind.BINARY:
        if (!(value instanceof Uint8Array)) failType(rule.name, "bytes");
        return this.binary(value, rule.name);
      case PropertyKind.PAIR:
        if (!Array.isArray(value)) failType(rule.name, "two texts");
        this.text(value[0], rule.name);
        return this.text(value[1], rule.name);
    }
  }

  /** Writes the fixed header in front of the body. */
  finish(firstByte: number): this {
    const remainingBytes = this.end - HEADER_BYTES;
    if (remainingBytes > MAX_REMAINING_LENGTH) {
      throw new UsageError(
        `Cannot write a packet of ${remainingBytes} bytes: at most ${MAX_REMAINING_LENGTH} fit`,
      );
    }
    this.start = HEADER_BYTES - 1 - varintBytes(remainingBytes);
    this.buffer[this.start] = firstByte;
    writeVarint(this.buffer, this.start + 1, remainingBytes);
    return this;
  }

  /** The finished packet. */
  packet(): Uint8Array<ArrayBuffer> {
    return this.buffer.subarray(this.start, this.end);
  }

  #room(bytes: number): void {
    if (this.end + bytes <= this.buffer.length) return;
    const larger = new Uint8Array(
      Math.max(2 * this.buffer.length, this.end + bytes),
    );
    larger.set(this.buffer.subarray(0, this.end));
    this.buffer = larger;
  }
}

/** How many bytes a variable byte integer takes: 1 to 4. */
export function varintBytes(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : 4;
}

/** Writes a length of variable bytes; returns its end. */
export function writeVarint(
  buffer: Uint8Array,
  at: number,
  value: number,
): number {
  let rest = value;
  while (rest >= 0x80) {
    buffer[at++] = rest & 0x7f | 0x80;
    rest >>>= 7;
  }
  buffer[at++] = rest;
  return at;
}

function checkedNumber(
  value: PropertyValue,
  name: string,
  most: number,
): number {
  if (typeof value !== "number" || !Number.isInteger(value)) {
    return failType(name, "a whole number");
  }
  if (value < 0 || value > most) {
    throw new UsageError(
      `Cannot write ${name} ${value}: it must be 0 to ${most}`,
    );
  }
  return value;
}

function failLength(field: string, bytes: number): never {
  throw new UsageError(
    `Cannot write ${field} of ${bytes} bytes: at most 65535 fit`,
  );
}

function failType(name: string, wanted: string): never {
  throw new UsageError(`Cannot write ${name}: it must be ${wanted}`);
}
