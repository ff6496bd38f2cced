/**
 * The npm package mqtt-packet as a second opinion on packets, and what is known
 * to be wrong with it.
 */
import mqttPacket from "mqtt-packet";
import type { ProtocolVersion } from "../../net/mqtt/packet/mod.ts";
import { latin1 } from "./mqtt_packet.ts";
import type { Model } from "./mqtt_models.ts";

/** What mqtt-packet makes of a stream. */
export interface OracleResult {
  packets: Model[];
  error: string | undefined;
}

/** Where mqtt-packet 9.0.2 is known to differ, by cause. */
export interface KnownDefect {
  /** What it does wrong. */
  readonly cause: string;
  /** Whether it may show with a packet that we take. */
  readonly applies: (
    model: Model,
    bytes: Uint8Array,
    version: ProtocolVersion,
  ) => boolean;
  /**
   * What is lost by it: the packet is refused; it is read on behind its end,
   * so that it can only be judged alone; its user properties are not comparable.
   */
  readonly effect: "refuses" | "overreads" | "loses user properties";
}

/** The connect flags of MQTT 3.1: behind the length, MQIsdp with its own, and the level. */
function connectFlags31(bytes: Uint8Array): number {
  let at = 1;
  while (bytes[at]! >= 0x80) at++;
  return bytes[at + 1 + 9]!;
}

/** Every known defect that shows with good packets. */
export const KNOWN_DEFECTS: readonly KnownDefect[] = [
  {
    cause: "refuses an AUTH of length 0, which means success (3.15.2.1)",
    applies: (model, bytes) => model.type === "AUTH" && bytes[1] === 0,
    effect: "refuses",
  },
  {
    cause:
      "refuses PUBREL, SUBSCRIBE and UNSUBSCRIBE of MQTT 3.1 with the DUP bit set",
    applies: (_model, bytes, version) =>
      version === 3 && [0x6a, 0x8a, 0xaa].includes(bytes[0]!),
    effect: "refuses",
  },
  {
    cause: "refuses connect flag bit 0 in MQTT 3.1, which does not use it",
    applies: (model, bytes) => {
      if (model.type !== "CONNECT" || model.version !== 3) return false;
      return (connectFlags31(bytes) & 0x01) !== 0;
    },
    effect: "refuses",
  },
  {
    cause:
      "refuses a CONNECT of MQTT 3.1 that ends before the username or password that its flags announce",
    applies: (model, bytes) => {
      if (model.type !== "CONNECT" || model.version !== 3) return false;
      const flags = connectFlags31(bytes);
      return (flags & 0x80) !== 0 && model.username === undefined ||
        (flags & 0x40) !== 0 && model.password === undefined;
    },
    effect: "refuses",
  },
  {
    cause: "refuses a DISCONNECT with code 0x8C, which table 2-6 allows",
    applies: (model) => model.type === "DISCONNECT" && model.code === 0x8c,
    effect: "refuses",
  },
  {
    cause:
      "reads code and properties of a short DISCONNECT of MQTT 5 from the packet behind it",
    applies: (model, bytes, version) =>
      version === 5 && model.type === "DISCONNECT" && bytes[1]! < 2,
    effect: "overreads",
  },
  {
    cause:
      "forgets the empty value of a user property where its name comes again",
    applies: (model) => {
      const pairs = [
        ...userPairs(model.properties),
        ...userPairs(model.willProperties),
      ];
      return pairs.some(([name, value], i) =>
        value === "" && pairs.some(([other], j) => j !== i && other === name)
      );
    },
    effect: "loses user properties",
  },
];

/** Parses a stream of packets after the given version was agreed on. */
export function oracleParse(
  chunks: readonly Uint8Array[],
  version: ProtocolVersion,
): OracleResult {
  const result: OracleResult = { packets: [], error: undefined };
  const parser = mqttPacket.parser({ protocolVersion: version });
  parser.on("packet", (packet) => {
    if (result.error === undefined) {
      result.packets.push(describeOracle(packet, version));
    }
  });
  parser.on("error", (error: Error) => {
    result.error ??= error.message;
  });
  for (const chunk of chunks) {
    if (result.error === undefined) parser.parse(chunk as never);
  }
  return result;
}

/**
 * A model as far as mqtt-packet can tell it: user properties grouped by name,
 * other properties by number, since it keeps the order of neither.
 */
export function comparable(model: Model, withUserProperties = true): Model {
  const sorted = (value: unknown) => {
    if (value === undefined) return undefined;
    const list = value as [number, unknown][];
    const others = list.filter(([id]) => id !== 0x26)
      .toSorted(([a], [b]) => a - b);
    const users = withUserProperties
      ? list.filter(([id]) => id === 0x26).map(([, value]) =>
        value as [string, string]
      ).toSorted(([a], [b]) => a < b ? -1 : a > b ? 1 : 0)
      : [];
    return { others, users };
  };
  return {
    ...model,
    properties: sorted(model.properties),
    willProperties: sorted(model.willProperties),
  };
}

function userPairs(properties: unknown): [string, string][] {
  return ((properties ?? []) as [number, [string, string]][])
    .filter(([id]) => id === 0x26).map(([, value]) => value);
}

// deno-lint-ignore no-explicit-any
function describeOracle(packet: any, connection: ProtocolVersion): Model {
  const type = (packet.cmd as string).toUpperCase();
  const version: ProtocolVersion = packet.protocolVersion ?? connection;
  const properties = propertiesOf(packet.properties);
  switch (type) {
    case "CONNECT":
      return {
        type,
        version,
        bridge: packet.bridgeMode === true,
        clientId: packet.clientId,
        cleanStart: packet.clean,
        keepAlive: packet.keepalive,
        username: packet.username,
        password: packet.password && latin1(packet.password),
        willTopic: packet.will?.topic,
        willPayload: packet.will && latin1(packet.will.payload),
        willQos: packet.will?.qos ?? 0,
        willRetain: packet.will?.retain ?? false,
        properties,
        willProperties: propertiesOf(packet.will?.properties),
      };
    case "CONNACK":
      return {
        type,
        sessionPresent: packet.sessionPresent,
        code: packet.reasonCode ?? packet.returnCode,
        properties,
      };
    case "PUBLISH":
      return {
        type,
        topic: packet.topic,
        payload: latin1(packet.payload),
        qos: packet.qos,
        dup: packet.dup,
        retain: packet.retain,
        id: packet.qos > 0 ? packet.messageId : 0,
        alias: packet.properties?.topicAlias ?? 0,
        properties,
      };
    case "SUBSCRIBE":
      return {
        type,
        id: packet.messageId,
        filters: packet.subscriptions.map((
          s: {
            topic: string;
            qos: number;
            nl?: boolean;
            rap?: boolean;
            rh?: number;
          },
        ) => [
          s.topic,
          version === 5
            ? s.qos | (s.nl ? 4 : 0) | (s.rap ? 8 : 0) | (s.rh ?? 0) << 4
            : s.qos,
        ]),
        properties,
      };
    case "UNSUBSCRIBE":
      return {
        type,
        id: packet.messageId,
        filters: packet.unsubscriptions,
        properties,
      };
    case "SUBACK":
    case "UNSUBACK":
      return {
        type,
        id: packet.messageId,
        codes: packet.granted ?? [],
        properties,
      };
    case "PUBACK":
    case "PUBREC":
    case "PUBREL":
    case "PUBCOMP":
      return {
        type,
        id: packet.messageId,
        code: packet.reasonCode ?? 0,
        properties,
      };
    case "DISCONNECT":
    case "AUTH":
      return { type, code: packet.reasonCode ?? 0, properties };
    default:
      return { type };
  }
}

const IDS: Readonly<Record<string, number>> = {
  payloadFormatIndicator: 0x01,
  messageExpiryInterval: 0x02,
  contentType: 0x03,
  responseTopic: 0x08,
  correlationData: 0x09,
  subscriptionIdentifier: 0x0b,
  sessionExpiryInterval: 0x11,
  assignedClientIdentifier: 0x12,
  serverKeepAlive: 0x13,
  authenticationMethod: 0x15,
  authenticationData: 0x16,
  requestProblemInformation: 0x17,
  willDelayInterval: 0x18,
  requestResponseInformation: 0x19,
  responseInformation: 0x1a,
  serverReference: 0x1c,
  reasonString: 0x1f,
  receiveMaximum: 0x21,
  topicAliasMaximum: 0x22,
  topicAlias: 0x23,
  maximumQoS: 0x24,
  retainAvailable: 0x25,
  maximumPacketSize: 0x27,
  wildcardSubscriptionAvailable: 0x28,
  subscriptionIdentifiersAvailable: 0x29,
  sharedSubscriptionAvailable: 0x2a,
};

function propertiesOf(
  properties: Record<string, unknown> | undefined,
): [number, unknown][] {
  const list: [number, unknown][] = [];
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name === "userProperties") {
      for (
        const [key, texts] of Object.entries(
          value as Record<string, string | string[]>,
        )
      ) {
        for (const text of Array.isArray(texts) ? texts : [texts]) {
          list.push([0x26, [key, text]]);
        }
      }
      continue;
    }
    for (const one of Array.isArray(value) ? value : [value]) {
      list.push([
        IDS[name]!,
        one instanceof Uint8Array
          ? latin1(one)
          : typeof one === "boolean"
          ? Number(one)
          : one,
      ]);
    }
  }
  return list;
}
