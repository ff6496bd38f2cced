import { assertEquals } from "@std/assert";
import { SignJWT } from "jose";
import { startMosquitto } from "../support/mosquitto.ts";
import {
  type ConnectOptions,
  connectPacket,
  field,
  MqttPeer,
  publishPacket,
  subscribePacket,
  subscribeTo,
} from "../support/mqtt_peer.ts";
import { startRole, type TestProcess } from "../support/process.ts";
import { needsProgram, testUnless } from "../support/skip.ts";

const noMosquitto = needsProgram("mosquitto");

/** Runs the gateway with an example, as its first lines say. */
async function withExample(
  example: string,
  env: Record<string, string>,
  use: (
    connect: (options?: ConnectOptions) => Promise<MqttPeer>,
    role: TestProcess,
    brokerPort: number,
  ) => Promise<void>,
): Promise<void> {
  await using mosquitto = await startMosquitto();
  await using role = startRole("mqtt", [
    ...["--listen", "mqtt://127.0.0.1:0", "--target", mosquitto.url],
    ...["--hooks", `examples/mqtt/${example}.ts`],
  ], { env });
  const [, port] = await role.line(/listening address=[^ ]*:(\d+)/);
  await use(
    async (options = {}) => {
      const connection = await Deno.connect({
        hostname: "127.0.0.1",
        port: Number(port),
      });
      const { version = 5 } = options;
      const peer = new MqttPeer(connection, "client", version);
      await peer.send(connectPacket({ ...options, version }));
      return peer;
    },
    role,
    mosquitto.port,
  );
  const { code } = await role.stop();
  assertEquals(code, 0);
}

testUnless(
  noMosquitto,
  "examples/mqtt/simple.ts logs what clients do",
  async () => {
    await withExample("simple", {}, async (connect, role) => {
      using client = await connect({ username: "alice", clientId: "c1" });
      await client.expect(2);
      await role.line(/alice as c1: connected/);
      await client.send(
        subscribePacket(5, 1, [["a", 0]]),
        publishPacket({ version: 5, topic: "a", payload: "four", qos: 1 }),
      );
      await role.line(/wants to publish 4 bytes to a/);
      await role.line(/published to a/);
      await role.line(/subscribed to a: 0/);
      await client.send([0xe0, 0]);
      await role.line(/is gone: client_disconnected/);
    });
  },
);

testUnless(
  noMosquitto,
  "examples/mqtt/jwt.ts goes by the claims of a token",
  async () => {
    const secret = "a secret of thirty-two characters";
    await withExample("jwt", { JWT_SECRET: secret }, async (connect) => {
      const token = await new SignJWT({ publish: ["d/#"], subscribe: ["n/+"] })
        .setProtectedHeader({ alg: "HS256" }).setSubject("alice")
        .setExpirationTime("5s").sign(new TextEncoder().encode(secret));
      {
        using stranger = await connect({ username: "x", password: "y" });
        assertEquals((await stranger.expect(2))[3], 0x86);
      }
      {
        using willed = await connect({
          username: "x",
          password: token,
          will: { topic: "other", payload: "" },
        });
        assertEquals((await willed.expect(2))[3], 0x87);
      }
      using client = await connect({ username: "x", password: token });
      assertEquals((await client.expect(2))[3], 0);
      await client.send(
        publishPacket({ version: 5, topic: "d/1", qos: 1, id: 1 }),
        publishPacket({ version: 5, topic: "e/1", qos: 1, id: 2 }),
      );
      const acks = [await client.expect(4), await client.expect(4)];
      const codes = new Map(acks.map((ack) => [ack[3], ack[4] ?? 0]));
      assertEquals([codes.get(1)! < 0x80, codes.get(2)], [true, 0x87]);
      await client.send(subscribePacket(5, 3, [["n/1", 0], ["n/#", 0]]));
      assertEquals([...(await client.expect(9)).subarray(-2)], [0, 0x87]);
      // The token ends, and with it the session.
      assertEquals((await client.expect(14))[2], 0x87);
    });
  },
);

testUnless(
  noMosquitto,
  "examples/mqtt/tenant_prefix.ts keeps tenants apart, both ways, with aliases, wills and response topics",
  async () => {
    await withExample("tenant_prefix", {}, async (connect, _, brokerPort) => {
      using all = await subscribeTo(brokerPort, "#");
      using watcher = await connect({ username: "acme:w", clientId: "w" });
      await watcher.expect(2);
      await watcher.send(subscribePacket(5, 1, [["#", 0], ["$share/g/s", 0]]));
      assertEquals([...(await watcher.expect(9)).subarray(-2)], [0, 0]);
      {
        using client = await connect({
          username: "acme:c",
          clientId: "c",
          will: { topic: "gone", payload: "x" },
        });
        await client.expect(2);
        const alias = [0x23, 0, 1];
        const response = [0x08, ...field("answers")];
        await client.send(
          publishPacket({
            version: 5,
            topic: "t",
            payload: "1",
            properties: [...alias, ...response],
          }),
          publishPacket({
            version: 5,
            topic: "",
            payload: "2",
            properties: alias,
          }),
        );
      }
      using stranger = await connect({ username: "other:c", clientId: "c" });
      await stranger.expect(2);
      await stranger.send(
        publishPacket({ version: 5, topic: "t", payload: "not yours" }),
      );
      const first = await watcher.expect(3);
      const second = await watcher.expect(3);
      const third = await watcher.expect(3);
      assertEquals(
        first,
        publishPacket({
          version: 5,
          topic: "t",
          payload: "1",
          properties: [0x08, ...field("answers")],
        }),
      );
      assertEquals(
        second,
        publishPacket({ version: 5, topic: "t", payload: "2" }),
      );
      assertEquals(
        third,
        publishPacket({ version: 5, topic: "gone", payload: "x" }),
      );
      const seen: string[] = [];
      for (let i = 0; i < 4; i++) {
        const [, , , length, ...rest] = await all.expect(3);
        seen.push(String.fromCharCode(...rest.slice(0, length)));
      }
      assertEquals(seen.sort(), [
        "tenants/acme/gone",
        "tenants/acme/t",
        "tenants/acme/t",
        "tenants/other/t",
      ]);
      using nobody = await connect({ username: "noone", clientId: "n" });
      assertEquals((await nobody.expect(2))[3], 0x86);
    });
  },
);

testUnless(
  noMosquitto,
  "examples/mqtt/payload_schema.ts lets good readings through and says what is wrong with others",
  async () => {
    await withExample("payload_schema", {}, async (connect) => {
      using client = await connect();
      await client.expect(2);
      const readings: [string, string, number][] = [
        ["sensors/1", '{"celsius":21.5,"at":"2026-01-01T00:00:00Z"}', 0],
        ["sensors/1", '{"celsius":999,"at":"2026-01-01T00:00:00Z"}', 0x99],
        ["sensors/1", "21.5 degrees", 0x99],
        ["other", "anything", 0],
      ];
      for (const [i, [topic, payload, code]] of readings.entries()) {
        await client.send(
          publishPacket({ version: 5, topic, payload, qos: 1, id: i + 1 }),
        );
        const ack = await client.expect(4);
        // 0x10: nobody has subscribed.
        assertEquals((ack[4] ?? 0) < 0x80 ? 0 : ack[4], code);
      }
    });
  },
);

testUnless(
  noMosquitto,
  "examples/mqtt/rate_limit.ts drops QoS 0 beyond the limit and lets QoS 1 wait",
  async () => {
    await withExample("rate_limit", {}, async (connect, _, brokerPort) => {
      using all = await subscribeTo(brokerPort, "#");
      using client = await connect();
      await client.expect(2);
      const burst = Array.from(
        { length: 150 },
        (_, i) => publishPacket({ version: 5, topic: "zero", payload: `${i}` }),
      );
      await client.send(
        ...burst,
        publishPacket({ version: 5, topic: "one", qos: 1, id: 1 }),
      );
      await client.expect(4);
      let zeros = 0;
      for (;;) {
        const message = await all.expect(3);
        if (message[3] !== 4) break;
        zeros++;
      }
      assertEquals(zeros >= 100 && zeros < 110, true);
    });
  },
);
