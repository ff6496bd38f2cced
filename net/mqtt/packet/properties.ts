/**
 * The property list of an MQTT 5 packet: checked whole where it lies, read
 * when asked.
 */
import { checkUtf8, decodeUtf8, UTF8_GOOD } from "./utf8.ts";
import { PropertyId, PropertyKind, propertyRule } from "./property_id.ts";
import { PacketType, ReasonCode } from "./protocol.ts";

/** A property's value: a number, a text, bytes, or name and value of a user property. */
export type PropertyValue =
  | number
  | string
  | Uint8Array
  | readonly [name: string, value: string];

/** A property with its value. */
export interface Property {
  /** One of {@linkcode PropertyId}. */
  readonly id: number;
  /** Of the type that the identifier asks for. */
  readonly value: PropertyValue;
}

/** Whose properties are read: throws what is wrong with them. */
export interface PropertyOwner {
  /** The packet. */
  readonly buffer: Uint8Array;
  /** Whether the packet goes to the broker. */
  readonly upstream: boolean;
  /** Throws a `PacketError` for the packet. */
  fail(
    reasonCode: number,
    problem: string,
    clause4: string,
    clause5?: string,
  ): never;
}

const EMPTY: Uint8Array<ArrayBuffer> = new Uint8Array(0);

/**
 * Properties where they lie in a packet. Iterating yields them in the order of
 * the packet (MQTT-3.3.2-18 wants user properties kept in order). A packet of
 * MQTT 3 has an empty list.
 */
export class PropertyList implements Iterable<Property> {
  /** The packet. */
  buffer: Uint8Array = EMPTY;
  /** Where the length of the list is written; `start` where there is none. */
  lengthStart = 0;
  /** First byte of the first property. */
  start = 0;
  /** One behind the last property. */
  end = 0;
  // One bit for each identifier that is there: below 32, and from 32 on.
  #low = 0;
  #high = 0;

  /** Makes the list empty, at a place where a packet has none. */
  clear(buffer: Uint8Array, at: number): void {
    this.buffer = buffer;
    this.lengthStart = this.start = this.end = at;
    this.#low = this.#high = 0;
  }

  /**
   * Checks the list at `at`, with its length in front, which must end within
   * `limit`; returns where it ends.
   */
  read(
    owner: PropertyOwner,
    at: number,
    limit: number,
    place: number,
  ): number {
    const { buffer } = owner;
    this.buffer = buffer;
    this.lengthStart = at;
    this.#low = this.#high = 0;
    if (at < limit && buffer[at] === 0) {
      return this.start = this.end = at + 1;
    }
    const listStart = varintEnd(owner, at, limit);
    const listEnd = listStart + varintValue(buffer, at);
    if (listEnd > limit) {
      owner.fail(
        ReasonCode.MALFORMED_PACKET,
        "has properties longer than itself",
        "2.2.2.1",
      );
    }
    this.start = listStart;
    this.end = listEnd;
    for (let next = listStart; next < listEnd;) {
      next = this.#readOne(owner, next, listEnd, place);
    }
    return listEnd;
  }

  /** Whether a property is there. */
  has(id: number): boolean {
    return id < 32
      ? (this.#low >>> id & 1) === 1
      : (this.#high >>> (id - 32) & 1) === 1;
  }

  /** How many bytes the properties take, without their length. */
  get byteLength(): number {
    return this.end - this.start;
  }

  /** The first value of a numeric property. */
  number(id: number): number | undefined {
    const at = this.#find(id);
    return at < 0 ? undefined : numberAt(this.buffer, at, kindOf(id));
  }

  /** The value of a text property. */
  text(id: number): string | undefined {
    const at = this.#find(id);
    return at < 0 ? undefined : textAt(this.buffer, at);
  }

  /** The value of a binary property, or of a text one undecoded; a view into the packet. */
  binary(id: number): Uint8Array | undefined {
    const at = this.#find(id);
    return at < 0 ? undefined : binaryAt(this.buffer, at);
  }

  /** All user properties in the order of the packet. */
  userProperties(): [name: string, value: string][] {
    const pairs: [string, string][] = [];
    if (!this.has(PropertyId.USER_PROPERTY)) return pairs;
    for (let at = this.start; at < this.end; at = this.next(at)) {
      if (this.buffer[at] === PropertyId.USER_PROPERTY) {
        pairs.push(pairAt(this.buffer, at + 1));
      }
    }
    return pairs;
  }

  /** Yields the properties in the order of the packet; binary values are views into it. */
  *[Symbol.iterator](): Iterator<Property> {
    const { buffer, end } = this;
    for (let at = this.start; at < end; at = this.next(at)) {
      const id = buffer[at]!;
      yield { id, value: valueAt(buffer, at + 1, kindOf(id)) };
    }
  }

  /** Where the property behind the one at `at` starts. */
  next(at: number): number {
    const { buffer } = this;
    const value = at + 1;
    switch (kindOf(buffer[at]!)) {
      case PropertyKind.FLAG:
        return value + 1;
      case PropertyKind.UINT16:
        return value + 2;
      case PropertyKind.UINT32:
        return value + 4;
      case PropertyKind.VARINT: {
        let end = value;
        while (buffer[end]! >= 0x80) end++;
        return end + 1;
      }
      case PropertyKind.PAIR: {
        const second = value + 2 + uint16At(buffer, value);
        return second + 2 + uint16At(buffer, second);
      }
      default:
        return value + 2 + uint16At(buffer, value);
    }
  }

  /** Where the value of the first property `id` starts, or -1. */
  #find(id: number): number {
    if (!this.has(id)) return -1;
    let at = this.start;
    while (this.buffer[at] !== id) at = this.next(at);
    return at + 1;
  }

  #readOne(
    owner: PropertyOwner,
    at: number,
    limit: number,
    place: number,
  ): number {
    const { buffer } = owner;
    const id = buffer[at]!;
    const rule = propertyRule(id);
    if (rule === undefined || (rule.places >> place & 1) === 0) {
      return owner.fail(
        ReasonCode.MALFORMED_PACKET,
        rule === undefined
          ? "has an unknown property"
          : `has a ${rule.name}, which belongs elsewhere`,
        "2.2.2.2",
      );
    }
    if (this.has(id)) {
      // A broker repeats the identifiers of all subscriptions that matched.
      const repeatable = id === PropertyId.USER_PROPERTY ||
        id === PropertyId.SUBSCRIPTION_IDENTIFIER &&
          place === PacketType.PUBLISH;
      if (!repeatable) {
        owner.fail(
          ReasonCode.PROTOCOL_ERROR,
          `has ${rule.name} twice`,
          rule.section,
        );
      }
    } else if (id < 32) this.#low |= 1 << id;
    else this.#high |= 1 << (id - 32);

    const value = at + 1;
    let end: number;
    switch (rule.kind) {
      case PropertyKind.FLAG:
        end = value + 1;
        break;
      case PropertyKind.UINT16:
        end = value + 2;
        break;
      case PropertyKind.UINT32:
        end = value + 4;
        break;
      case PropertyKind.VARINT:
        end = varintEnd(owner, value, limit);
        break;
      case PropertyKind.TEXT:
        return textEnd(owner, value, limit);
      case PropertyKind.BINARY:
        return binaryEnd(owner, value, limit);
      case PropertyKind.PAIR:
        return textEnd(owner, textEnd(owner, value, limit), limit);
    }
    if (end > limit) failProperties(owner);
    const number = numberAt(buffer, value, rule.kind);
    if (
      number === 0 && !rule.mayBeZero ||
      number > 1 && rule.kind === PropertyKind.FLAG
    ) {
      owner.fail(
        id === PropertyId.TOPIC_ALIAS
          ? ReasonCode.TOPIC_ALIAS_INVALID
          : ReasonCode.PROTOCOL_ERROR,
        `has ${rule.name} ${number}`,
        id === PropertyId.TOPIC_ALIAS ? "MQTT-3.3.2-8" : rule.section,
      );
    }
    return end;
  }
}

/** Checks a text with its length at `at`; returns where it ends. */
export function textEnd(
  owner: PropertyOwner,
  at: number,
  limit: number,
): number {
  const end = binaryEnd(owner, at, limit);
  const verdict = checkUtf8(owner.buffer, at + 2, end);
  if (verdict !== UTF8_GOOD) failText(owner, verdict);
  return end;
}

/** Throws what {@linkcode checkUtf8} found. */
export function failText(owner: PropertyOwner, verdict: number): never {
  return verdict === 3
    ? owner.fail(
      ReasonCode.MALFORMED_PACKET,
      "has U+0000 in a text",
      "MQTT-1.5.3-2",
      "MQTT-1.5.4-2",
    )
    : owner.fail(
      ReasonCode.MALFORMED_PACKET,
      verdict === 2
        ? "has a surrogate in a text"
        : "has a text that is not UTF-8",
      "MQTT-1.5.3-1",
      "MQTT-1.5.4-1",
    );
}

/** Checks bytes with their length at `at`; returns where they end. */
export function binaryEnd(
  owner: PropertyOwner,
  at: number,
  limit: number,
): number {
  const end = at + 2 > limit ? limit + 1 : at + 2 + uint16At(owner.buffer, at);
  if (end > limit) failFields(owner);
  return end;
}

/** Throws: a field is longer than what holds it. */
export function failFields(owner: PropertyOwner): never {
  return owner.fail(
    ReasonCode.MALFORMED_PACKET,
    "is shorter than its fields",
    "MQTT-4.8.0-1",
    "MQTT-4.13.1-1",
  );
}

function failProperties(owner: PropertyOwner): never {
  return owner.fail(
    ReasonCode.MALFORMED_PACKET,
    "has a property longer than their list",
    "2.2.2.1",
  );
}

function varintEnd(owner: PropertyOwner, at: number, limit: number): number {
  const { buffer } = owner;
  let end = at;
  for (;;) {
    if (end >= limit) failFields(owner);
    if (end - at === 4) {
      owner.fail(
        ReasonCode.MALFORMED_PACKET,
        "has a variable byte integer of more than four bytes",
        "1.5.5",
      );
    }
    if (buffer[end++]! < 0x80) break;
  }
  if (end - at > 1 && buffer[end - 1] === 0) {
    owner.fail(
      ReasonCode.MALFORMED_PACKET,
      "has a variable byte integer in more bytes than it needs",
      "MQTT-1.5.5-1",
    );
  }
  return end;
}

function varintValue(buffer: Uint8Array, at: number): number {
  let value = 0;
  let shift = 0;
  let byte: number;
  do {
    byte = buffer[at++]!;
    value |= (byte & 0x7f) << shift;
    shift += 7;
  } while (byte >= 0x80);
  return value;
}

/** Two bytes, the higher first. */
export function uint16At(buffer: Uint8Array, at: number): number {
  return buffer[at]! << 8 | buffer[at + 1]!;
}

function kindOf(id: number): PropertyKind {
  return propertyRule(id)!.kind;
}

function numberAt(buffer: Uint8Array, at: number, kind: PropertyKind): number {
  switch (kind) {
    case PropertyKind.FLAG:
      return buffer[at]!;
    case PropertyKind.UINT16:
      return uint16At(buffer, at);
    case PropertyKind.UINT32:
      return (uint16At(buffer, at) << 16 | uint16At(buffer, at + 2)) >>> 0;
    case PropertyKind.VARINT:
      return varintValue(buffer, at);
    default:
      throw new TypeError("Cannot read a number: the property is none");
  }
}

function textAt(buffer: Uint8Array, at: number): string {
  return decodeUtf8(buffer, at + 2, at + 2 + uint16At(buffer, at));
}

function binaryAt(buffer: Uint8Array, at: number): Uint8Array {
  return buffer.subarray(at + 2, at + 2 + uint16At(buffer, at));
}

function pairAt(buffer: Uint8Array, at: number): [string, string] {
  const second = at + 2 + uint16At(buffer, at);
  return [textAt(buffer, at), textAt(buffer, second)];
}

function valueAt(
  buffer: Uint8Array,
  at: number,
  kind: PropertyKind,
): PropertyValue {
  switch (kind) {
    case PropertyKind.TEXT:
      return textAt(buffer, at);
    case PropertyKind.BINARY:
      return binaryAt(buffer, at);
    case PropertyKind.PAIR:
      return pairAt(buffer, at);
    default:
      return numberAt(buffer, at, kind);
  }
}
