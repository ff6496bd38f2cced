import { assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import {
  Framer,
  HeldBudget,
  MAX_PACKET_BYTES,
  PacketError,
  PacketReader,
} from "../../../../net/mqtt/packet/mod.ts";
import { Log } from "../../../../net/observe/log.ts";
import { assertThrows } from "@std/assert";
import { soon } from "../../../support/deadline.ts";
import {
  mosquittoPub,
  startMosquitto,
  subscriberOf,
} from "../../../support/mosquitto.ts";
import {
  bytes,
  connectPacket,
  join,
  openBench,
  portOf,
  publishPacket,
  startTestGateway,
} from "../../../support/mqtt_peer.ts";
import { needsProgram, testUnless } from "../../../support/skip.ts";

Deno.test("PacketReader skips a PUBLISH that is too large, whole, and reads on behind it, however it is cut", () => {
  const message = fc.record({
    topic: fc.string({ minLength: 1, maxLength: 40 }).filter((text) =>
      !/[#+\0]/.test(text) && text.isWellFormed()
    ),
    payload: fc.nat(400).map((n) => "p".repeat(n)),
    qos: fc.nat(2),
    id: fc.integer({ min: 1, max: 65535 }),
  });
  fc.assert(fc.property(
    fc.array(message, { maxLength: 8 }),
    fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 }),
    (messages, cuts) => {
      const limit = 100;
      const packets = messages.map((one) => publishPacket(one));
      const all = join(...packets);
      const reader = new PacketReader({
        direction: "downstream",
        version: 4,
        maxPacketBytes: limit,
      });
      reader.framer.established = true;
      reader.framer.skipsOversized = true;
      const seen: unknown[] = [];
      let at = 0;
      for (let i = 0; at < all.length; i++) {
        const cut = cuts[i % cuts.length]!;
        reader.push(all.subarray(at, at + cut));
        at += cut;
        while (reader.next()) {
          const large = reader.oversized;
          if (large) {
            seen.push([large.topic, large.qos, large.packetId, true]);
          } else {
            const { topic, qos, packetId } = reader.publish;
            seen.push([topic, qos, packetId, false]);
          }
        }
      }
      assertEquals(
        seen,
        messages.map(({ topic, qos, id }, i) => [
          topic,
          qos,
          qos === 0 ? 0 : id,
          packets[i]!.length > limit,
        ]),
      );
    },
  ));
});

Deno.test("a PUBLISH that is too large and shorter than its topic is an error", () => {
  const framer = new Framer({
    direction: "downstream",
    version: 4,
    maxPacketBytes: 10,
  });
  framer.established = true;
  framer.skipsOversized = true;
  framer.push(bytes(0x30, 20, 0xff, 0xff, 1));
  assertThrows(() => framer.next(), PacketError, "shorter");
});

Deno.test("framers hold no more of large packets together than their budget", () => {
  const budget = new HeldBudget(1 << 20);
  const make = () => {
    const framer = new Framer({
      direction: "upstream",
      version: 5,
      maxPacketBytes: MAX_PACKET_BYTES,
      budget,
    });
    framer.established = true;
    // A PUBLISH of 256 MiB: what it announces costs nothing.
    framer.push(bytes(0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, 0x74, 0));
    assertEquals(framer.next(), false);
    return framer;
  };
  const framers = Array.from({ length: 4 }, make);
  assertEquals(budget.usedBytes, 0);
  const piece = new Uint8Array(50_000);
  const error = assertThrows(() => {
    for (let i = 0; i < 100; i++) {
      for (const framer of framers) {
        framer.push(piece);
        framer.next();
      }
    }
  }, PacketError);
  assertEquals(error.reasonCode, 0x97);
  assertEquals(budget.usedBytes <= 1 << 20, true);
  for (const framer of framers) framer.release();
  assertEquals(budget.usedBytes, 0);
});

for (const version of [3, 4] as const) {
  Deno.test(`a message that is too large for MQTT ${version === 3 ? "3.1" : "3.1.1"} is dropped, acknowledged and logged, and the session goes on`, async () => {
    const lines: string[] = [];
    await using bench = await openBench({
      version,
      maxPacketBytes: 1000,
      connect: connectPacket({ version, clientId: "keeper", clean: false }),
      log: new Log({ write: (line) => void lines.push(line) }),
    });
    const payload = "x".repeat(5000);
    const small = (id: number) =>
      publishPacket({ topic: "s", qos: 1, id, payload: "y" });
    await bench.broker.send(
      publishPacket({ topic: "big/0", payload }),
      publishPacket({ topic: "big/1", payload, qos: 1, id: 7 }),
      small(8),
      publishPacket({ topic: "big/2", payload, qos: 2, id: 9 }),
      small(10),
    );
    assertEquals(await bench.client.expect(3), small(8));
    assertEquals(await bench.client.expect(3), small(10));
    assertEquals(await bench.broker.expect(4), bytes(0x40, 2, 0, 7));
    assertEquals(await bench.broker.expect(5), bytes(0x50, 2, 0, 9));
    await bench.broker.send([0x62, 2, 0, 9]);
    assertEquals(await bench.broker.expect(7), bytes(0x70, 2, 0, 9));
    const dropped = bench.gateway.metrics().find(({ name }) =>
      name === "mproxy_mqtt_oversized_total"
    )!.samples[0]!.value;
    assertEquals(dropped, 3);
    assertMatch(
      lines.join("\n"),
      /message dropped: .*clientId=keeper topic=big\/0 bytes=5\d+ limit=1000/,
    );
  });
}

Deno.test("what a client sends beyond the limit ends its session, and the log names client, size and limit", async () => {
  const lines: string[] = [];
  await using bench = await openBench({
    maxPacketBytes: 1000,
    connect: connectPacket({ clientId: "large" }),
    log: new Log({ write: (line) => void lines.push(line) }),
  });
  await bench.client.send(
    publishPacket({ topic: "t", payload: "x".repeat(2000) }),
  );
  assertEquals(await soon(bench.client.rest(), "the end"), []);
  assertMatch(lines.join("\n"), /clientId=large .*larger.* limit=1000/);
});

testUnless(
  needsProgram("mosquitto", "mosquitto_pub", "mosquitto_sub"),
  "by default a message of 20 MiB passes, as it does without the gateway",
  async () => {
    await using mosquitto = await startMosquitto();
    await using gateway = await startTestGateway(mosquitto.url);
    const port = portOf(gateway.urls[0]!);
    const file = await Deno.makeTempFile();
    try {
      const size = 20 << 20;
      await Deno.writeFile(file, new Uint8Array(size).fill(0x61));
      await using subscriber = await subscriberOf(mosquitto, port, [
        ...["-t", "large", "-C", "1", "-F", "%l"],
      ]);
      const { code } = await mosquittoPub(port, ["-t", "large", "-f", file]);
      assertEquals(code, 0);
      const { stdout } = await soon(subscriber.end, "the message");
      assertEquals(new TextDecoder().decode(stdout).trim(), String(size));
    } finally {
      await Deno.remove(file);
    }
  },
);
