/** Packets as plain values, and readers fed in every way. */
import {
  AckView,
  AuthView,
  ConnackView,
  ConnectView,
  type Direction,
  DisconnectView,
  type Packet,
  PacketError,
  packetName,
  PacketReader,
  type PropertyList,
  type PropertyValue,
  type ProtocolVersion,
  PublishView,
  SubackView,
  SubscribeView,
  UnsubscribeView,
} from "../../net/mqtt/packet/mod.ts";

/** How a stream is read in a test. */
export interface ReadOptions {
  direction: Direction;
  /** The version of the connection. */
  version: ProtocolVersion;
  /** Whether the CONNECT, or the CONNACK downstream, went before. */
  established: boolean;
  maxPacketBytes?: number | undefined;
}

/** What a reader made of a stream. */
export interface ReadResult {
  /** Each packet as plain values. */
  packets: Record<string, unknown>[];
  /** The bytes of all packets in a row. */
  bytes: number[];
  error: PacketError | undefined;
}

/** Feeds a stream to a reader, chunk by chunk. */
export function readAll(
  chunks: Iterable<Uint8Array>,
  options: ReadOptions,
): ReadResult {
  const { direction, version, established, maxPacketBytes } = options;
  const reader = new PacketReader({
    direction,
    ...(maxPacketBytes === undefined ? {} : { maxPacketBytes }),
  });
  if (established || direction === "downstream") reader.version = version;
  reader.framer.established = established;
  const result: ReadResult = { packets: [], bytes: [], error: undefined };
  try {
    for (const chunk of chunks) {
      // The reader must need nothing of a chunk once it is used up.
      const scratch = chunk.slice();
      reader.push(scratch);
      while (reader.next()) {
        result.packets.push(describePacket(reader.packet));
        result.bytes.push(...reader.packet.bytes());
      }
      scratch.fill(0xee);
    }
  } catch (error) {
    if (!(error instanceof PacketError)) throw error;
    result.error = error;
  }
  return result;
}

/** Cuts bytes at the given places. */
export function splitAt(
  bytes: Uint8Array,
  places: readonly number[],
): Uint8Array[] {
  const cuts = [
    ...new Set([0, ...places.map((place) => place % (bytes.length + 1))]),
  ].sort((a, b) => a - b);
  return cuts.map((cut, i) => bytes.subarray(cut, cuts[i + 1]));
}

/** Cuts bytes one by one. */
export function byteByByte(bytes: Uint8Array): Uint8Array[] {
  return Array.from(bytes, (_, i) => bytes.subarray(i, i + 1));
}

/** Packets as a receiver cuts them that looks at nothing but their lengths. */
export function cutByHeaders(bytes: Uint8Array): Uint8Array<ArrayBuffer>[] {
  const packets: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < bytes.length;) {
    let end = at + 1;
    let remaining = 0;
    let factor = 1;
    for (;;) {
      const byte = bytes[end++]!;
      remaining += (byte & 127) * factor;
      factor *= 128;
      if (byte < 128) break;
    }
    end += remaining;
    packets.push(new Uint8Array(bytes.subarray(at, end)));
    at = end;
  }
  return packets;
}

/** A packet as plain values: every field that its view has. Bytes are Latin-1 text. */
export function describePacket(packet: Packet): Record<string, unknown> {
  const type = packetName(packet.type);
  if (packet instanceof ConnectView) {
    return {
      type,
      version: packet.version,
      bridge: packet.bridge,
      clientId: packet.clientId,
      cleanStart: packet.cleanStart,
      keepAlive: packet.keepAliveSeconds,
      username: packet.username,
      password: packet.password && latin1(packet.password),
      willTopic: packet.willTopic,
      willPayload: packet.willPayload && latin1(packet.willPayload),
      willQos: packet.willQos,
      willRetain: packet.willRetain,
      properties: properties(packet.properties),
      willProperties: properties(packet.willProperties),
    };
  }
  if (packet instanceof ConnackView) {
    return {
      type,
      sessionPresent: packet.sessionPresent,
      code: packet.reasonCode,
      properties: properties(packet.properties),
    };
  }
  if (packet instanceof PublishView) {
    return {
      type,
      topic: packet.topic,
      payload: latin1(packet.payload),
      qos: packet.qos,
      dup: packet.dup,
      retain: packet.retain,
      id: packet.packetId,
      alias: packet.topicAlias,
      properties: properties(packet.properties),
    };
  }
  if (packet instanceof AckView) {
    return {
      type,
      id: packet.packetId,
      code: packet.reasonCode,
      properties: properties(packet.properties),
    };
  }
  if (packet instanceof SubscribeView) {
    return {
      type,
      id: packet.packetId,
      filters: Array.from(
        { length: packet.count },
        (_, i) => [packet.filter(i), packet.options(i)],
      ),
      properties: properties(packet.properties),
    };
  }
  if (packet instanceof UnsubscribeView) {
    return {
      type,
      id: packet.packetId,
      filters: Array.from(
        { length: packet.count },
        (_, i) => packet.filter(i),
      ),
      properties: properties(packet.properties),
    };
  }
  if (packet instanceof SubackView) {
    return {
      type,
      id: packet.packetId,
      codes: [...packet.codes],
      properties: properties(packet.properties),
    };
  }
  if (packet instanceof DisconnectView || packet instanceof AuthView) {
    return {
      type,
      code: packet.reasonCode,
      properties: properties(packet.properties),
    };
  }
  return { type };
}

/** Bytes as a text of the same length. */
export function latin1(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

/** Bytes as hex pairs. */
export function hex(bytes: Iterable<number>): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0"))
    .join(" ");
}

function properties(
  list: PropertyList,
): [number, Exclude<PropertyValue, Uint8Array>][] {
  return [...list].map((
    { id, value },
  ) => [id, value instanceof Uint8Array ? latin1(value) : value]);
}
