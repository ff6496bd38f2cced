import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { MqttHooks } from "../../../../net/mqtt/hooks/hooks.ts";
import {
  packetName,
  PacketReader,
  PacketType,
  type ProtocolVersion,
} from "../../../../net/mqtt/packet/mod.ts";
import { startMosquitto } from "../../../support/mosquitto.ts";
import {
  bytes,
  connectPacket,
  connectPeer,
  join,
  type MqttPeer,
  publishPacket,
  ScriptedBroker,
  startTestGateway,
  subscribePacket,
  subscribeTo,
} from "../../../support/mqtt_peer.ts";
import { needsProgram, testUnless } from "../../../support/skip.ts";

const noMosquitto = needsProgram("mosquitto");

testUnless(
  noMosquitto,
  "startMqttGateway() lets no PUBLISH through that stands in the payload of another one behind a PINGREQ with a body",
  async () => {
    await using mosquitto = await startMosquitto();
    const seen: string[] = [];
    await using gateway = await startTestGateway(mosquitto.url, {
      hooks: {
        authPublish: (_, { topic }) => void seen.push(topic),
      },
    });
    using subscriber = await subscribeTo(mosquitto.port, "#");

    const smuggled = publishPacket({
      topic: "forbidden/smuggled",
      payload: "pwned",
    });
    // The broker that gets C0 k without the k bytes takes the front of the
    // next packet for them, and goes on reading inside its payload.
    const carrier = publishPacket({
      topic: "ok",
      payload: String.fromCharCode(...smuggled),
    });
    const hidden = carrier.length - smuggled.length;
    const pad = new Uint8Array(hidden).fill(0x61);
    for (const first of [0xc0, 0xe0, 0xd0]) {
      using client = await connectPeer(gateway, 4);
      await client.send(connectPacket({ clientId: `smuggler-${first}` }));
      await client.expect(PacketType.CONNACK);
      await client.send(join([first, hidden], pad), carrier);
      assertEquals(await client.rest(), []);
    }
    using honest = await connectPeer(gateway, 4);
    await honest.send(
      connectPacket({ clientId: "honest" }),
      publishPacket({ topic: "ok", payload: "last", qos: 1 }),
    );
    await honest.expect(PacketType.CONNACK);
    await honest.expect(PacketType.PUBACK);
    assertEquals(
      await subscriber.expect(PacketType.PUBLISH),
      publishPacket({ topic: "ok", payload: "last" }),
    );
    assertEquals(seen, ["ok"]);
  },
);

const VALID: Record<3 | 4 | 5, Uint8Array[]> = {
  3: validPackets(3),
  4: validPackets(4),
  5: [
    ...validPackets(5),
    bytes(0xf0, 0),
    bytes(0x40, 3, 0, 1, 0),
    bytes(0x40, 4, 0, 1, 0x80, 0),
    publishPacket({
      version: 5,
      topic: "a",
      payload: "x",
      properties: [0x26, 0, 1, 0x61, 0, 1, 0x62, 0x02, 0, 0, 0, 9],
    }),
    publishPacket({ version: 5, topic: "a/b", properties: [0x23, 0, 1] }),
    publishPacket({ version: 5, topic: "", properties: [0x23, 0, 1] }),
  ],
};

function validPackets(version: 3 | 4 | 5): Uint8Array[] {
  return [
    publishPacket({ version, topic: "a", payload: "x" }),
    publishPacket({ version, topic: "a/b", payload: "xyz", qos: 1, id: 7 }),
    publishPacket({ version, topic: "a/b", payload: "", qos: 2, id: 8 }),
    bytes(0xc0, 0),
    subscribePacket(version, 1, [["a", 0]]),
    subscribePacket(version, 2, [["a", 0]], 0xa2),
    bytes(0x40, 2, 0, 1),
    bytes(0x62, 2, 0, 1),
  ];
}

for (const version of [3, 4, 5] as const) {
  Deno.test(`startMqttGateway() sends a broker exactly the packets that the hooks saw, whatever bytes a client of version ${version} sends`, async () => {
    const seen: string[] = [];
    const hooks: MqttHooks = {
      intercept: (_, { name, bytes }, direction) => {
        if (direction === "upstream") seen.push(`${name} ${bytes.toHex()}`);
      },
    };
    using listener = new ScriptedBroker();
    await using gateway = await startTestGateway(listener.url, { hooks });
    const valid = fc.constantFrom(...VALID[version]);
    const broken = valid.chain((packet) =>
      fc.tuple(
        fc.nat(packet.length - 1),
        fc.nat(255),
        fc.constantFrom("change", "insert", "remove"),
      ).map(([at, value, how]) =>
        how === "change"
          ? packet.with(at, value)
          : how === "insert"
          ? join(packet.subarray(0, at), [value], packet.subarray(at))
          : join(packet.subarray(0, at), packet.subarray(at + 1))
      )
    );
    const stream = fc.array(
      fc.oneof(
        { weight: 4, arbitrary: valid },
        { weight: 2, arbitrary: broken },
        { weight: 1, arbitrary: fc.uint8Array({ maxLength: 12 }) },
      ),
      { maxLength: 8 },
    ).map((parts) => join(...parts));
    await fc.assert(
      fc.asyncProperty(stream, fc.nat(), async (sent, cut) => {
        seen.length = 0;
        using client = await connectPeer(gateway, version);
        await client.send(connectPacket({ version }));
        using broker = await listener.accept();
        await broker.expect(PacketType.CONNECT);
        await broker.send(
          version === 5 ? [0x20, 6, 0, 0, 3, 0x22, 0, 2] : [0x20, 2, 0, 0],
        );
        await client.expect(PacketType.CONNACK);
        const at = sent.length === 0 ? 0 : cut % sent.length;
        const drained = collect(broker);
        await client.send(sent.subarray(0, at));
        await client.send(sent.subarray(at));
        await client.connection.closeWrite();
        const got = parse(await drained, version);
        // What breaks a rule of the session (an alias that stands for nothing)
        // is seen by `intercept` and goes no further.
        assertEquals(got, seen.slice(1, 1 + got.length));
        assertEquals(seen.length - 1 - got.length <= 1, true);
        if (version !== 5) assertEquals(got, seen.slice(1));
      }),
      { numRuns: 100 },
    );
  });
}

/** All bytes up to the end. */
async function collect(peer: MqttPeer): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const buffer = new Uint8Array(4096);
  for (;;) {
    const length = await peer.connection.read(buffer);
    if (length === null) return join(...parts);
    parts.push(buffer.slice(0, length));
  }
}

/** What a broker that reads by the book makes of bytes. */
function parse(raw: Uint8Array, version: ProtocolVersion): string[] {
  const reader = new PacketReader({ direction: "upstream", version });
  reader.framer.established = true;
  reader.push(raw);
  const packets: string[] = [];
  while (reader.next()) {
    const { buffer, start, end } = reader.framer;
    packets.push(
      `${packetName(reader.type)} ${buffer.slice(start, end).toHex()}`,
    );
  }
  assertEquals(reader.partialBytes, 0);
  return packets;
}
