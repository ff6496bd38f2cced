/** What a reader keeps of a connection, and how long its views last. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type ConnectView,
  type Direction,
  limitsOfBroker,
  limitsOfClient,
  PacketError,
  type PacketLimits,
  PacketReader,
} from "../../../../net/mqtt/packet/mod.ts";
import { describePacket, hex, latin1 } from "../../../support/mqtt_packet.ts";
import { bytesOf } from "../../../vectors/mqtt/vector.ts";

function established(direction: Direction): PacketReader {
  const reader = new PacketReader({ direction, version: 5 });
  reader.framer.established = true;
  return reader;
}

function readOne(reader: PacketReader, notation: string): void {
  reader.push(bytesOf(notation));
  assert(reader.next());
}

Deno.test("PacketReader learns the version from the CONNECT", () => {
  for (
    const [notation, version] of [
      ["10 [ s'MQIsdp' 03 02 003C s'c' ]", 3],
      ["10 [ s'MQTT' 84 02 003C s'c' ]", 4],
      ["10 [ s'MQTT' 05 02 003C { } s'c' ]", 5],
    ] as const
  ) {
    const reader = new PacketReader({ direction: "upstream" });
    assertEquals(reader.version, 0);
    readOne(reader, notation);
    assertEquals(reader.version, version);
    assertEquals(reader.connect.version, version);
  }
});

Deno.test("PacketReader.packet is the view of the current packet", () => {
  const reader = established("upstream");
  reader.push(bytesOf("C0 00 30 [ s't' { } 'x' ] 40 02 00 01"));
  const types: number[] = [];
  while (reader.next()) {
    assertEquals(reader.packet.type, reader.type);
    types.push(reader.packet.type);
  }
  assertEquals(types, [12, 3, 4]);
  assertThrows(
    () => reader.subscribe,
    TypeError,
    "Cannot read a packet of a type that did not arrive",
  );
});

Deno.test("a copy of a view keeps its packet when the reader goes on", () => {
  const reader = established("upstream");
  const chunk = bytesOf("30 [ s'kept' { 26 s'k' s'v' } 'x' ]");
  reader.push(chunk);
  assert(reader.next());
  const kept = reader.publish.copy();
  assert(!reader.next());
  chunk.fill(0);
  readOne(reader, "30 [ s'other' { } 'y' ]");
  assertEquals(describePacket(kept), {
    type: "PUBLISH",
    topic: "kept",
    payload: "x",
    qos: 0,
    dup: false,
    retain: false,
    id: 0,
    alias: 0,
    properties: [[0x26, ["k", "v"]]],
  });
  assertEquals(reader.publish.topic, "other");
});

Deno.test("a copy of a CONNECT is judged by the rules of its reader", () => {
  const reader = new PacketReader({
    direction: "upstream",
    maxClientIdChars31: 65535,
  });
  readOne(reader, "10 [ s'MQIsdp' 03 02 003C 0028 63*40 ]");
  const copy: ConnectView = reader.connect.copy();
  assertEquals(copy.clientId, "c".repeat(40));
  assertEquals(hex(copy.bytes()), hex(reader.connect.bytes()));
});

Deno.test("PublishView.topic is not taken over from the message before", () => {
  const reader = established("upstream");
  const topics = ["a", "b", "a", "a", "Ã©", "é", "é", "ab", "a", "Ã©"];
  for (const topic of topics) {
    readOne(reader, `30 [ s'${topic}' { } ]`);
    assertEquals(reader.publish.topic, topic);
  }
  readOne(reader, "30 [ 0000 { 23 0001 } ]");
  assertEquals(reader.publish.topic, "");
});

Deno.test("PropertyList reads single properties and tells which are there", () => {
  const reader = established("upstream");
  readOne(
    reader,
    "30 [ s't' { 26 s'a' s'1' 02 80000001 08 s'answer' 09 0002 00FF 26 s'a' s'2' } 'x' ]",
  );
  const { properties } = reader.publish;
  assertEquals(properties.has(0x02), true);
  assertEquals(properties.has(0x22), false);
  assertEquals(properties.has(0x26), true);
  assertEquals(properties.number(0x02), 2147483649);
  assertEquals(properties.number(0x23), undefined);
  assertEquals(properties.text(0x08), "answer");
  assertEquals(properties.text(0x03), undefined);
  assertEquals(latin1(properties.binary(0x09)!), "\x00\xff");
  assertEquals(properties.userProperties(), [["a", "1"], ["a", "2"]]);
  // Nothing is left of it in the next packet.
  readOne(reader, "30 [ s't' { } 'x' ]");
  assertEquals([...properties], []);
  assertEquals(properties.has(0x02), false);
  assertEquals(properties.number(0x02), undefined);
  assertEquals(properties.userProperties(), []);
});

Deno.test("PacketReader takes nothing more after an error", () => {
  const reader = established("upstream");
  reader.push(bytesOf("C1 00 C0 00"));
  assertThrows(() => reader.next(), PacketError);
  assertThrows(() => reader.next(), PacketError);
});

Deno.test("PacketReader.limits refuses what the receiver said it does not take", () => {
  const broker = new PacketReader({ direction: "downstream", version: 5 });
  readOne(
    broker,
    "20 [ 00 00 { 24 01 25 00 22 0005 28 00 29 00 2A 00 } ]",
  );
  const limits = limitsOfBroker(broker.connack);
  const judge = (notation: string, some: PacketLimits) => {
    const reader = established("upstream");
    reader.limits = some;
    try {
      readOne(reader, notation);
      return "taken";
    } catch (error) {
      assert(error instanceof PacketError);
      return `${error.clause} ${error.reasonCode.toString(16)}`;
    }
  };
  const cases: [string, string][] = [
    ["32 [ s't' 0001 { 23 0005 } 'x' ]", "taken"],
    ["34 [ s't' 0001 { } 'x' ]", "MQTT-3.2.2-11 9b"],
    ["31 [ s't' { } 'x' ]", "MQTT-3.2.2-14 9a"],
    ["30 [ s't' { 23 0006 } 'x' ]", "MQTT-3.3.2-9 94"],
    ["82 [ 0001 { } s't' 02 ]", "taken"],
    ["82 [ 0001 { 0B 01 } s't' 00 ]", "3.2.2.3.12 a1"],
    ["82 [ 0001 { } s't' 00 s'$share/g/t' 00 ]", "3.2.2.3.13 9e"],
    ["82 [ 0001 { } s't' 00 s'a/+' 00 ]", "3.2.2.3.11 a2"],
    ["82 [ 0001 { } s'#' 00 ]", "3.2.2.3.11 a2"],
  ];
  for (const [notation, verdict] of cases) {
    assertEquals(judge(notation, limits), verdict, notation);
  }
  // A CONNACK that says nothing forbids nothing but aliases.
  readOne(broker, "D0 00");
  const free = new PacketReader({ direction: "downstream", version: 5 });
  readOne(free, "20 03 00 00 00");
  const none = limitsOfBroker(free.connack);
  for (const [notation] of cases.slice(1)) {
    assertEquals(
      judge(notation, none),
      notation.includes("23 0006") ? "MQTT-3.3.2-9 94" : "taken",
      notation,
    );
  }
});

Deno.test("PacketReader.limits checks text payloads where asked", () => {
  const reader = new PacketReader({ direction: "upstream" });
  readOne(reader, "10 [ s'MQTT' 05 02 003C { 22 0002 } s'c' ]");
  const limits = { ...limitsOfClient(reader.connect), payloadFormat: true };
  assertEquals(limits.topicAliasMaximum, 2);
  reader.limits = limits;
  readOne(reader, "30 [ s't' { 01 01 } C3A9 00 ]");
  readOne(reader, "30 [ s't' { 01 00 } FF ]");
  readOne(reader, "30 [ s't' { } FF ]");
  const error = assertThrows(
    () => readOne(reader, "30 [ s't' { 01 01 } FF ]"),
    PacketError,
  );
  assertEquals(error.reasonCode, 0x99);
  assertEquals(error.answer, { kind: "disconnect", reasonCode: 0x99 });
});

Deno.test("PacketError names the packet and the clause and nothing of what it carries", () => {
  const reader = established("upstream");
  const error = assertThrows(
    () => readOne(reader, "30 [ s'secret/#' { } 'payload' ]"),
    PacketError,
  );
  assertEquals(
    error.message,
    "PUBLISH has a wildcard in a topic name [MQTT-3.3.2-2]",
  );
  assertEquals(error.packetType, 3);
  assertEquals(error.version, 5);
  assertEquals(error.direction, "upstream");
});
