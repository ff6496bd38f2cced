/**
 * The properties of MQTT 5 (2.2.2.2): their numbers, types and places.
 */
import { PacketType } from "./protocol.ts";

/** Property identifiers of MQTT 5. */
export const PropertyId = {
  PAYLOAD_FORMAT_INDICATOR: 0x01,
  MESSAGE_EXPIRY_INTERVAL: 0x02,
  CONTENT_TYPE: 0x03,
  RESPONSE_TOPIC: 0x08,
  CORRELATION_DATA: 0x09,
  SUBSCRIPTION_IDENTIFIER: 0x0b,
  SESSION_EXPIRY_INTERVAL: 0x11,
  ASSIGNED_CLIENT_IDENTIFIER: 0x12,
  SERVER_KEEP_ALIVE: 0x13,
  AUTHENTICATION_METHOD: 0x15,
  AUTHENTICATION_DATA: 0x16,
  REQUEST_PROBLEM_INFORMATION: 0x17,
  WILL_DELAY_INTERVAL: 0x18,
  REQUEST_RESPONSE_INFORMATION: 0x19,
  RESPONSE_INFORMATION: 0x1a,
  SERVER_REFERENCE: 0x1c,
  REASON_STRING: 0x1f,
  RECEIVE_MAXIMUM: 0x21,
  TOPIC_ALIAS_MAXIMUM: 0x22,
  TOPIC_ALIAS: 0x23,
  MAXIMUM_QOS: 0x24,
  RETAIN_AVAILABLE: 0x25,
  USER_PROPERTY: 0x26,
  MAXIMUM_PACKET_SIZE: 0x27,
  WILDCARD_SUBSCRIPTION_AVAILABLE: 0x28,
  SUBSCRIPTION_IDENTIFIERS_AVAILABLE: 0x29,
  SHARED_SUBSCRIPTION_AVAILABLE: 0x2a,
} as const;

/** A property identifier of MQTT 5. */
export type PropertyId = typeof PropertyId[keyof typeof PropertyId];

/** How a property's value is written (1.5). */
export const PropertyKind = {
  /** One byte: 0 or 1. Every byte-sized property of 5.0 is of this kind. */
  FLAG: 1,
  /** Two bytes. */
  UINT16: 2,
  /** Four bytes. */
  UINT32: 3,
  /** One to four bytes, seven bits each. */
  VARINT: 4,
  /** UTF-8 with its length. */
  TEXT: 5,
  /** Bytes with their length. */
  BINARY: 6,
  /** Two texts. */
  PAIR: 7,
} as const;

/** How a property's value is written. */
export type PropertyKind = typeof PropertyKind[keyof typeof PropertyKind];

/** The place of a will's properties in CONNECT, beside the packet types. */
export const WILL_PLACE = 0;

interface PropertyRule {
  readonly name: string;
  readonly kind: PropertyKind;
  /** Bits of packet types and of {@linkcode WILL_PLACE}. */
  readonly places: number;
  /** The section that forbids a second one or another value. */
  readonly section: string;
  readonly mayBeZero: boolean;
}

/** The kind of a property, or undefined where there is no such property. */
export function propertyKind(id: number): PropertyKind | undefined {
  return RULES[id]?.kind;
}

/** The rule of a property, or undefined where there is no such property. */
export function propertyRule(id: number): PropertyRule | undefined {
  return RULES[id];
}

const { FLAG, UINT16, UINT32, VARINT, TEXT, BINARY, PAIR } = PropertyKind;
const WILL = 1 << WILL_PLACE;
const CONNECT = 1 << PacketType.CONNECT;
const CONNACK = 1 << PacketType.CONNACK;
const PUBLISH = 1 << PacketType.PUBLISH;
const SUBSCRIBE = 1 << PacketType.SUBSCRIBE;
const DISCONNECT = 1 << PacketType.DISCONNECT;
const AUTH = 1 << PacketType.AUTH;
const ACKS = 1 << PacketType.PUBACK | 1 << PacketType.PUBREC |
  1 << PacketType.PUBREL | 1 << PacketType.PUBCOMP | 1 << PacketType.SUBACK |
  1 << PacketType.UNSUBACK;
const ALL = 0xffff & ~(1 << PacketType.PINGREQ | 1 << PacketType.PINGRESP);

function rule(
  name: string,
  kind: PropertyKind,
  places: number,
  section: string,
  mayBeZero = true,
): PropertyRule {
  return { name, kind, places, section, mayBeZero };
}

const RULES: readonly (PropertyRule | undefined)[] = table([
  [0x01, rule("Payload Format Indicator", FLAG, PUBLISH | WILL, "3.3.2.3.2")],
  [0x02, rule("Message Expiry Interval", UINT32, PUBLISH | WILL, "3.3.2.3.3")],
  [0x03, rule("Content Type", TEXT, PUBLISH | WILL, "3.3.2.3.9")],
  [0x08, rule("Response Topic", TEXT, PUBLISH | WILL, "3.3.2.3.5")],
  [0x09, rule("Correlation Data", BINARY, PUBLISH | WILL, "3.3.2.3.6")],
  [
    0x0b,
    rule(
      "Subscription Identifier",
      VARINT,
      PUBLISH | SUBSCRIBE,
      "3.8.2.1.2",
      false,
    ),
  ],
  [
    0x11,
    rule(
      "Session Expiry Interval",
      UINT32,
      CONNECT | CONNACK | DISCONNECT,
      "3.1.2.11.2",
    ),
  ],
  [0x12, rule("Assigned Client Identifier", TEXT, CONNACK, "3.2.2.3.7")],
  [0x13, rule("Server Keep Alive", UINT16, CONNACK, "3.2.2.3.14")],
  [
    0x15,
    rule("Authentication Method", TEXT, CONNECT | CONNACK | AUTH, "3.1.2.11.9"),
  ],
  [
    0x16,
    rule(
      "Authentication Data",
      BINARY,
      CONNECT | CONNACK | AUTH,
      "3.1.2.11.10",
    ),
  ],
  [0x17, rule("Request Problem Information", FLAG, CONNECT, "3.1.2.11.7")],
  [0x18, rule("Will Delay Interval", UINT32, WILL, "3.1.3.2.2")],
  [0x19, rule("Request Response Information", FLAG, CONNECT, "3.1.2.11.6")],
  [0x1a, rule("Response Information", TEXT, CONNACK, "3.2.2.3.15")],
  [0x1c, rule("Server Reference", TEXT, CONNACK | DISCONNECT, "3.2.2.3.16")],
  [
    0x1f,
    rule(
      "Reason String",
      TEXT,
      CONNACK | ACKS | DISCONNECT | AUTH,
      "3.2.2.3.9",
    ),
  ],
  [
    0x21,
    rule("Receive Maximum", UINT16, CONNECT | CONNACK, "3.1.2.11.3", false),
  ],
  [0x22, rule("Topic Alias Maximum", UINT16, CONNECT | CONNACK, "3.1.2.11.5")],
  [0x23, rule("Topic Alias", UINT16, PUBLISH, "3.3.2.3.4", false)],
  [0x24, rule("Maximum QoS", FLAG, CONNACK, "3.2.2.3.4")],
  [0x25, rule("Retain Available", FLAG, CONNACK, "3.2.2.3.5")],
  [0x26, rule("User Property", PAIR, ALL, "2.2.2.2")],
  [
    0x27,
    rule("Maximum Packet Size", UINT32, CONNECT | CONNACK, "3.1.2.11.4", false),
  ],
  [0x28, rule("Wildcard Subscription Available", FLAG, CONNACK, "3.2.2.3.11")],
  [
    0x29,
    rule("Subscription Identifiers Available", FLAG, CONNACK, "3.2.2.3.12"),
  ],
  [0x2a, rule("Shared Subscription Available", FLAG, CONNACK, "3.2.2.3.13")],
]);

function table(
  entries: readonly (readonly [number, PropertyRule])[],
): (PropertyRule | undefined)[] {
  const rules = new Array<PropertyRule | undefined>(0x2b).fill(undefined);
  for (const [id, entry] of entries) rules[id] = entry;
  return rules;
}
