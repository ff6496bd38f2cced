/**
 * Packets made up at random, as the plain values that `describePacket` yields,
 * and an encoder of them that shares nothing with the one that is tested.
 */
import fc from "fast-check";
import type { Direction, ProtocolVersion } from "../../net/mqtt/packet/mod.ts";
import { latin1 } from "./mqtt_packet.ts";

/** A packet as plain values; bytes are Latin-1 text. */
export type Model = Readonly<Record<string, unknown>> & {
  readonly type: string;
};

/** A packet with one of the ways to write it. */
export interface WrittenModel {
  readonly model: Model;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

type Properties = readonly (readonly [number, unknown])[];

const TYPES: Readonly<Record<string, number>> = {
  ...{ CONNECT: 1, CONNACK: 2, PUBLISH: 3, PUBACK: 4, PUBREC: 5, PUBREL: 6 },
  ...{ PUBCOMP: 7, SUBSCRIBE: 8, SUBACK: 9, UNSUBSCRIBE: 10, UNSUBACK: 11 },
  ...{ PINGREQ: 12, PINGRESP: 13, DISCONNECT: 14, AUTH: 15 },
};

// Texts: mostly short and alike, so that equal ones meet; some of any characters.
const text = fc.oneof(
  fc.constantFrom("", "a", "b", "1", "0", "__proto__", "\ufeff", "é", "Ã©"),
  fc.string({ unit: "binary", maxLength: 12 }).map((s) =>
    s.replaceAll("\0", "x")
  ),
);
const bytes = fc.uint8Array({ maxLength: 20 }).map(latin1);
const topic: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom("a", "b/c", "/", "é", "Ã©", "$SYS/x"),
  text.map((s) => s.replace(/[#+]/g, "_") || "t"),
);
const plainLevel = text.map((s) => s.replace(/[#+/]/g, "_"));
const filter: fc.Arbitrary<string> = fc.tuple(
  fc.array(fc.oneof(plainLevel, fc.constant("+")), {
    minLength: 1,
    maxLength: 4,
  }),
  fc.boolean(),
).map(([levels, hash]) => [...levels, ...(hash ? ["#"] : [])].join("/") || "/")
  // What starts like a shared filter must be one in MQTT 5.
  .map((f) => f.startsWith("$share/") ? `x${f}` : f);
const sharedFilter = fc.tuple(plainLevel.map((s) => s || "g"), filter)
  .map(([group, f]) => `$share/${group}/${f}`);
const packetId = fc.integer({ min: 1, max: 65535 });
const qos = fc.constantFrom(0, 1, 2);
const uint16 = fc.nat({ max: 65535 });
const uint32 = fc.nat({ max: 0xffffffff });
const flag = fc.constantFrom(0, 1);
const varint = fc.oneof(
  fc.constantFrom(1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455),
  fc.integer({ min: 1, max: 268435455 }),
);
const pair = fc.tuple(text, text);

const VALUES: Readonly<Record<number, fc.Arbitrary<unknown>>> = {
  0x01: flag,
  0x02: uint32,
  0x03: text,
  0x08: topic,
  0x09: bytes,
  0x0b: varint,
  0x11: uint32,
  0x12: text,
  0x13: uint16,
  0x15: text,
  0x16: bytes,
  0x17: flag,
  0x18: uint32,
  0x19: flag,
  0x1a: text,
  0x1c: text,
  0x1f: text,
  0x21: fc.integer({ min: 1, max: 65535 }),
  0x22: uint16,
  0x23: fc.integer({ min: 1, max: 65535 }),
  0x24: flag,
  0x25: flag,
  0x26: pair,
  0x27: fc.integer({ min: 1, max: 0xffffffff }),
  0x28: flag,
  0x29: flag,
  0x2a: flag,
};

/** Some of these properties, once each, in any order, and any user properties among them. */
function propertiesOf(
  version: ProtocolVersion,
  ids: readonly number[],
): fc.Arbitrary<Properties> {
  if (version !== 5) return fc.constant([]);
  const user = fc.array(
    pair.map((value) => [0x26, value] as const),
    { maxLength: 4 },
  );
  return fc.tuple(fc.subarray([...ids]), user).chain(([some, users]) =>
    fc.tuple(
      fc.tuple(
        ...some.map((id) => VALUES[id]!.map((value) => [id, value] as const)),
      ),
      fc.array(fc.nat(), { minLength: users.length, maxLength: users.length }),
    ).map(([list, places]) => {
      const mixed: (readonly [number, unknown])[] = [...list];
      for (const [i, property] of users.entries()) {
        mixed.splice(places[i]! % (mixed.length + 1), 0, property);
      }
      return mixed;
    })
  ).map((list) => {
    // Authentication data belong to a method.
    const hasMethod = list.some(([id]) => id === 0x15);
    return hasMethod ? list : list.filter(([id]) => id !== 0x16);
  });
}

const WILL_IDS = [0x18, 0x01, 0x02, 0x03, 0x08, 0x09];

/** Any CONNECT of a version. */
export function connectModel(version: ProtocolVersion): fc.Arbitrary<Model> {
  return fc.record({
    bridge: version === 5 ? fc.constant(false) : fc.boolean(),
    clientId: text,
    cleanStart: fc.boolean(),
    keepAlive: uint16,
    username: fc.option(text, { nil: undefined }),
    password: fc.option(bytes, { nil: undefined }),
    will: fc.option(
      fc.record({
        topic,
        payload: bytes,
        qos,
        retain: fc.boolean(),
        properties: propertiesOf(version, WILL_IDS),
      }),
      { nil: undefined },
    ),
    properties: propertiesOf(
      version,
      [0x11, 0x21, 0x27, 0x22, 0x19, 0x17, 0x15, 0x16],
    ),
  }).map((fields) => {
    const { will, username } = fields;
    const clientId = version === 3
      ? [...fields.clientId || "c"].slice(0, 23).join("")
      : fields.clientId;
    return {
      type: "CONNECT",
      version,
      bridge: fields.bridge,
      clientId,
      cleanStart: fields.cleanStart || version === 4 && clientId === "",
      keepAlive: fields.keepAlive,
      username,
      password: version !== 5 && username === undefined
        ? undefined
        : fields.password,
      willTopic: will?.topic,
      willPayload: will?.payload,
      willQos: will?.qos ?? 0,
      willRetain: will?.retain ?? false,
      properties: fields.properties,
      willProperties: will?.properties ?? [],
    };
  });
}

/** Any CONNACK of a version. */
export function connackModel(version: ProtocolVersion): fc.Arbitrary<Model> {
  return fc.record({
    sessionPresent: fc.boolean(),
    code: version === 5
      ? fc.constantFrom(0, 0, 0, 0x80, 0x84, 0x87, 0x8c, 0x95, 0x9f)
      : fc.constantFrom(0, 0, 0, 1, 2, 3, 4, 5),
    properties: propertiesOf(version, [
      ...[0x11, 0x21, 0x24, 0x25, 0x27, 0x12, 0x22, 0x1f, 0x28, 0x29, 0x2a],
      ...[0x13, 0x1a, 0x1c, 0x15, 0x16],
    ]),
  }).map(({ sessionPresent, code, properties }) => ({
    type: "CONNACK",
    sessionPresent: sessionPresent && code === 0,
    code,
    properties,
  }));
}

/** Any PUBLISH of a version and direction. */
export function publishModel(
  version: ProtocolVersion,
  direction: Direction,
): fc.Arbitrary<Model> {
  const ids = [0x01, 0x02, 0x03, 0x08, 0x09, 0x23];
  if (direction === "downstream") ids.push(0x0b);
  return fc.record({
    topic,
    aliasOnly: fc.boolean(),
    payload: fc.oneof(bytes, fc.constantFrom("x".repeat(200), "\xc0\x03abc")),
    qos,
    dup: fc.boolean(),
    retain: fc.boolean(),
    id: packetId,
    properties: propertiesOf(version, ids),
  }).map((fields) => {
    const { properties } = fields;
    const alias = (properties.find(([id]) => id === 0x23)?.[1] ?? 0) as number;
    return {
      type: "PUBLISH",
      topic: alias > 0 && fields.aliasOnly ? "" : fields.topic,
      payload: fields.payload,
      qos: fields.qos,
      dup: fields.dup && fields.qos > 0,
      retain: fields.retain,
      id: fields.qos > 0 ? fields.id : 0,
      alias,
      properties,
    };
  });
}

/** Any SUBSCRIBE of a version. */
export function subscribeModel(version: ProtocolVersion): fc.Arbitrary<Model> {
  const options = version === 5
    ? fc.tuple(qos, flag, flag, qos).map(([max, local, keep, handling]) =>
      max | local << 2 | keep << 3 | handling << 4
    )
    : qos;
  const entry = fc.tuple(
    version === 5 ? fc.oneof(filter, filter, sharedFilter) : filter,
    options,
  ).map(([f, o]) => [f, f.startsWith("$share/") ? o & ~4 : o]);
  return fc.record({
    type: fc.constant("SUBSCRIBE"),
    id: packetId,
    filters: fc.array(entry, { minLength: 1, maxLength: 4 }),
    properties: propertiesOf(version, [0x0b]),
  });
}

/** Any UNSUBSCRIBE of a version. */
export function unsubscribeModel(
  version: ProtocolVersion,
): fc.Arbitrary<Model> {
  return fc.record({
    type: fc.constant("UNSUBSCRIBE"),
    id: packetId,
    filters: fc.array(
      version === 5 ? fc.oneof(filter, filter, sharedFilter) : filter,
      { minLength: 1, maxLength: 4 },
    ),
    properties: propertiesOf(version, []),
  });
}

/** Any SUBACK or UNSUBACK of a version. */
export function subackModel(version: ProtocolVersion): fc.Arbitrary<Model> {
  const codes = (of: number[]) =>
    fc.array(fc.constantFrom(...of), { minLength: 1, maxLength: 4 });
  const granted = version === 5
    ? [0, 1, 2, 0x80, 0x87, 0x8f, 0xa2]
    : version === 4
    ? [0, 1, 2, 0x80]
    : [0, 1, 2];
  return fc.oneof(
    fc.record({
      type: fc.constant("SUBACK"),
      id: packetId,
      codes: codes(granted),
      properties: propertiesOf(version, [0x1f]),
    }),
    fc.record({
      type: fc.constant("UNSUBACK"),
      id: packetId,
      codes: version === 5 ? codes([0, 0x11, 0x80, 0x87]) : fc.constant([]),
      properties: propertiesOf(version, [0x1f]),
    }),
  );
}

/** Any PUBACK, PUBREC, PUBREL or PUBCOMP of a version and direction. */
export function ackModel(
  version: ProtocolVersion,
  direction: Direction,
): fc.Arbitrary<Model> {
  return fc.constantFrom("PUBACK", "PUBREC", "PUBREL", "PUBCOMP").chain(
    (type) => {
      const codes = version !== 5
        ? [0]
        : type === "PUBREL" || type === "PUBCOMP"
        ? [0, 0x92]
        : direction === "downstream"
        ? [0, 0x10, 0x80, 0x87, 0x99]
        : [0, 0x80, 0x87, 0x99];
      return fc.record({
        type: fc.constant(type),
        id: packetId,
        code: fc.constantFrom(...codes),
        properties: propertiesOf(version, [0x1f]),
      });
    },
  );
}

/** Any DISCONNECT or, in MQTT 5, AUTH of a version and direction. */
export function lastModel(
  version: ProtocolVersion,
  direction: Direction,
): fc.Arbitrary<Model> {
  const upstream = direction === "upstream";
  const disconnect = fc.record({
    type: fc.constant("DISCONNECT"),
    code: version !== 5
      ? fc.constant(0)
      : fc.constantFrom(...(upstream ? [0, 4, 0x81] : [0, 0x8b, 0x8e, 0x9c])),
    properties: propertiesOf(version, upstream ? [0x11, 0x1f] : [0x1f, 0x1c]),
  });
  if (version !== 5) return disconnect;
  const auth = fc.record({
    type: fc.constant("AUTH"),
    code: fc.constantFrom(...(upstream ? [0x18, 0x19] : [0, 0x18])),
    properties: propertiesOf(5, [0x16, 0x1f]),
    method: text,
  }).map(({ type, code, properties, method }) => ({
    type,
    code,
    properties: [[0x15, method] as const, ...properties],
  }));
  return fc.oneof(disconnect, auth);
}

/** Any packet that may come once a connection is established. */
export function packetModel(
  version: ProtocolVersion,
  direction: Direction,
): fc.Arbitrary<Model> {
  const both = [
    publishModel(version, direction),
    publishModel(version, direction),
    ackModel(version, direction),
  ];
  return direction === "upstream"
    ? fc.oneof(
      ...both,
      subscribeModel(version),
      unsubscribeModel(version),
      lastModel(version, direction),
      fc.constant({ type: "PINGREQ" }),
    )
    : fc.oneof(
      ...both,
      subackModel(version),
      ...(version === 5 ? [lastModel(version, direction)] : []),
      fc.constant({ type: "PINGRESP" }),
    );
}

/** Any packet, written in any of the ways that the version allows. */
export function writtenModel(
  version: ProtocolVersion,
  direction: Direction,
): fc.Arbitrary<WrittenModel> {
  return fc.tuple(packetModel(version, direction), fc.nat({ max: 3 })).map(
    // fast-check's records have no prototype, which counts as a difference.
    ([model, form]) => ({
      model: { ...model },
      bytes: encodeModel(model, version, form),
    }),
  );
}

/**
 * The bytes of a packet. `form` chooses among the ways to write the same: how
 * much of an acknowledgement's end is left out, and before MQTT 5 how many
 * bytes its length takes.
 */
export function encodeModel(
  model: Model,
  version: ProtocolVersion,
  form = 0,
): Uint8Array<ArrayBuffer> {
  // deno-lint-ignore no-explicit-any
  const m = model as any;
  const list = (properties: Properties) =>
    version === 5 ? propertyBytes(properties) : [];
  let flags = 0;
  let body: number[] = [];
  switch (model.type) {
    case "CONNECT": {
      const will = m.willTopic !== undefined;
      const connectFlags = (m.username === undefined ? 0 : 0x80) |
        (m.password === undefined ? 0 : 0x40) | (m.willRetain ? 0x20 : 0) |
        m.willQos << 3 | (will ? 4 : 0) | (m.cleanStart ? 2 : 0);
      body = [
        ...textBytes(version === 3 ? "MQIsdp" : "MQTT"),
        version | (m.bridge ? 0x80 : 0),
        connectFlags,
        ...uint16Bytes(m.keepAlive),
        ...list(m.properties),
        ...textBytes(m.clientId),
        ...(will
          ? [
            ...list(m.willProperties),
            ...textBytes(m.willTopic),
            ...binaryBytes(m.willPayload),
          ]
          : []),
        ...(m.username === undefined ? [] : textBytes(m.username)),
        ...(m.password === undefined ? [] : binaryBytes(m.password)),
      ];
      break;
    }
    case "CONNACK":
      body = [m.sessionPresent ? 1 : 0, m.code, ...list(m.properties)];
      break;
    case "PUBLISH":
      flags = (m.dup ? 8 : 0) | m.qos << 1 | (m.retain ? 1 : 0);
      body = [
        ...textBytes(m.topic),
        ...(m.qos > 0 ? uint16Bytes(m.id) : []),
        ...list(m.properties),
        ...latin1Bytes(m.payload),
      ];
      break;
    case "PUBACK":
    case "PUBREC":
    case "PUBREL":
    case "PUBCOMP":
      flags = model.type === "PUBREL" ? 2 : 0;
      body = [...uint16Bytes(m.id), ...codeBytes(m, version, form)];
      break;
    case "SUBSCRIBE":
      flags = 2;
      body = [
        ...uint16Bytes(m.id),
        ...list(m.properties),
        ...m.filters.flatMap(([f, o]: [string, number]) => [
          ...textBytes(f),
          o,
        ]),
      ];
      break;
    case "UNSUBSCRIBE":
      flags = 2;
      body = [
        ...uint16Bytes(m.id),
        ...list(m.properties),
        ...m.filters.flatMap(textBytes),
      ];
      break;
    case "SUBACK":
    case "UNSUBACK":
      body = [...uint16Bytes(m.id), ...list(m.properties), ...m.codes];
      break;
    case "DISCONNECT":
      body = codeBytes(m, version, form);
      break;
    case "AUTH":
      body = [m.code, ...list(m.properties)];
      break;
  }
  const length = varintBytes(body.length);
  if (version !== 5 && form === 3 && length.length < 4) {
    length[length.length - 1]! |= 0x80;
    length.push(0);
  }
  return new Uint8Array([TYPES[model.type]! << 4 | flags, ...length, ...body]);
}

/** The end of an acknowledgement or DISCONNECT, as short as the form wants and it can be. */
function codeBytes(
  model: { code: number; properties: Properties },
  version: ProtocolVersion,
  form: number,
): number[] {
  if (version !== 5) return [];
  if (model.properties.length === 0) {
    if (form === 0 && model.code === 0) return [];
    if (form <= 1) return [model.code];
  }
  return [model.code, ...propertyBytes(model.properties)];
}

function propertyBytes(properties: Properties): number[] {
  const content = properties.flatMap(([id, value]) => {
    switch (id) {
      case 0x01:
      case 0x17:
      case 0x19:
      case 0x24:
      case 0x25:
      case 0x28:
      case 0x29:
      case 0x2a:
        return [id, value as number];
      case 0x13:
      case 0x21:
      case 0x22:
      case 0x23:
        return [id, ...uint16Bytes(value as number)];
      case 0x02:
      case 0x11:
      case 0x18:
      case 0x27: {
        const number = value as number;
        return [
          id,
          ...uint16Bytes(Math.floor(number / 65536)),
          ...uint16Bytes(number % 65536),
        ];
      }
      case 0x0b:
        return [id, ...varintBytes(value as number)];
      case 0x09:
      case 0x16:
        return [id, ...binaryBytes(value as string)];
      case 0x26: {
        const [name, text] = value as [string, string];
        return [id, ...textBytes(name), ...textBytes(text)];
      }
      default:
        return [id, ...textBytes(value as string)];
    }
  });
  return [...varintBytes(content.length), ...content];
}

function uint16Bytes(value: number): number[] {
  return [value >> 8, value & 0xff];
}

function varintBytes(value: number): number[] {
  const bytes = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push(rest % 128 + 128);
    rest = Math.floor(rest / 128);
  }
  return [...bytes, rest];
}

function textBytes(value: string): number[] {
  const bytes = new TextEncoder().encode(value);
  return [...uint16Bytes(bytes.length), ...bytes];
}

function latin1Bytes(value: string): number[] {
  return Array.from(value, (c) => c.charCodeAt(0));
}

function binaryBytes(value: string): number[] {
  return [...uint16Bytes(value.length), ...latin1Bytes(value)];
}
