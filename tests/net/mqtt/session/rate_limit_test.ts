import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { OverLimit, Throttle } from "../../../../net/mqtt/session/link.ts";
import { Policy } from "../../../../net/mqtt/policy/policy.ts";
import { parsePolicy } from "../../../../net/mqtt/policy/policy_file.ts";
import { PingScanner } from "../../../../net/mqtt/session/ping_ahead.ts";
import { soon } from "../../../support/deadline.ts";
import { openMemorySession } from "../../../support/memory_session.ts";
import { settled } from "../../../support/memory_stream.ts";
import {
  bytes,
  connectPacket,
  connectPeer,
  join,
  publishPacket,
  ScriptedBroker,
  startTestGateway,
} from "../../../support/mqtt_peer.ts";

const PINGREQ = bytes(0xc0, 0);
const PINGRESP = bytes(0xd0, 0);

/** A throttle that lets so many messages pass, and says of the others how late they are. */
function after(
  messages: number,
  overLimit: OverLimit,
  excessMs = 60_000,
): Throttle {
  return {
    overLimit,
    charge: (_session, count) => (messages -= count) < 0 ? excessMs : 0,
  };
}

const message = (i: number, qos = 0, version: 4 | 5 = 4) =>
  publishPacket({ version, topic: `t/${i}`, qos, id: i, payload: "x" });

Deno.test("a slowed client's messages wait one by one, and its keep-alive is answered meanwhile", async () => {
  await using bench = await openMemorySession({ throttle: after(1, "slow") });
  bench.client.push(
    join(message(1), message(2), PINGREQ, message(3).subarray(0, 4)),
  );
  await settled();
  assertEquals(bench.broker.writes, [message(1)]);
  // The PINGREQ stands behind a message that waits.
  assertEquals(bench.client.written(), PINGRESP);
  // So do those that are still to come.
  bench.client.push(join(message(3).subarray(4), PINGREQ), PINGREQ);
  await settled();
  assertEquals(bench.client.written(), join(PINGRESP, PINGRESP, PINGRESP));
  bench.session.end();
  await bench.over;
});

Deno.test("what was read ahead of a slowed client goes on in its order, without the PINGREQs that were answered", async () => {
  await using bench = await openMemorySession({
    throttle: after(1, "slow", 10),
  });
  const count = 6;
  const parts = Array.from(
    { length: count },
    (_, i) => join(message(i + 1), PINGREQ),
  );
  for (const part of parts) bench.client.push(part);
  for (let turn = 0; turn < 200; turn++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    if (bench.client.written().length === 2 * count) break;
  }
  // Each PINGREQ was answered once: here, or by the broker, which gets the rest.
  const sent = bench.broker.written();
  const pings = [...sent].filter((byte) => byte === 0xc0).length;
  assertEquals(bench.client.written().length / 2 + pings, count);
  const messages = [...sent].filter((byte, i) =>
    !(byte === 0xc0 || byte === 0 && sent[i - 1] === 0xc0)
  );
  while (messages.length < count * message(1).length) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    messages.length = 0;
    const now = bench.broker.written();
    messages.push(
      ...[...now].filter((byte, i) =>
        !(byte === 0xc0 || byte === 0 && now[i - 1] === 0xc0)
      ),
    );
  }
  assertEquals(
    Uint8Array.from(messages),
    join(...Array.from({ length: count }, (_, i) => message(i + 1))),
  );
});

Deno.test("beyond the limit, `drop` acknowledges and forwards nothing", async () => {
  await using bench = await openMemorySession({ throttle: after(1, "drop") });
  bench.client.push(
    join(message(1), message(2), message(3, 1), message(4, 2), PINGREQ),
  );
  await settled();
  assertEquals(bench.broker.written(), join(message(1), PINGREQ));
  // PUBACK 3, PUBREC 4.
  assertEquals(
    bench.client.written(),
    bytes(0x40, 2, 0, 3, 0x50, 2, 0, 4),
  );
});

Deno.test("beyond the limit, `refuse` answers 0x97 where the version can say so", async () => {
  await using bench = await openMemorySession({
    version: 5,
    throttle: after(1, "refuse"),
  });
  bench.client.push(
    join(message(1, 0, 5), message(2, 1, 5), message(3, 2, 5)),
  );
  await settled();
  assertEquals(bench.broker.written(), message(1, 0, 5));
  const answers = bench.client.written();
  assertEquals([answers[0], answers[3], answers[4]], [0x40, 2, 0x97]);
  const second = answers.subarray(2 + answers[1]!);
  assertEquals([second[0], second[3], second[4]], [0x50, 3, 0x97]);
});

Deno.test("beyond the limit, `disconnect` ends the session with 0x96", async () => {
  await using bench = await openMemorySession({
    version: 5,
    throttle: after(1, "disconnect"),
  });
  bench.client.push(join(message(1, 0, 5), message(2, 0, 5)));
  await settled();
  const last = bench.client.written();
  assertEquals([last[0], last[2]], [0xe0, 0x96]);
  assertEquals(bench.broker.written(), message(1, 0, 5));
});

Deno.test("a session of a user takes no more of a shared limit than its turn", async () => {
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, {
    policy: new Policy(parsePolicy(
      '[limits]\nper = "address"\nmessages_per_second = 20\nburst_seconds = 0.1',
      "policy.toml",
      () => "",
    )),
  });
  const connect = async (clientId: string) => {
    const client = await connectPeer(gateway, 4);
    await client.send(connectPacket({ clientId }));
    const broker = await listener.accept();
    await broker.expect(1);
    await broker.send([0x20, 2, 0, 0]);
    await client.expect(2);
    return { client, broker };
  };
  const flood = await connect("flood");
  const calm = await connect("calm");
  using _floodClient = flood.client;
  using _floodBroker = flood.broker;
  using _calmClient = calm.client;
  using _calmBroker = calm.broker;
  // Ten seconds' worth.
  await flood.client.send(
    join(...Array.from({ length: 200 }, (_, i) => message(i + 1))),
  );
  await flood.broker.expect(3);
  const startedMs = performance.now();
  await calm.client.send(message(1));
  await soon(calm.broker.expect(3), "the message of the calm one");
  assertEquals(performance.now() - startedMs < 5000, true);
});

Deno.test("PingScanner finds the PINGREQs of any packets, however they are cut", () => {
  const packet = fc.oneof(
    fc.constant(PINGREQ),
    fc.record({ topic: fc.constant("t"), payload: fc.string() }).map((
      { topic, payload },
    ) => publishPacket({ topic, payload })),
    fc.nat(300).map((n) =>
      publishPacket({ topic: "\u00c0", payload: "\0".repeat(n) })
    ),
  );
  fc.assert(fc.property(
    fc.array(packet, { maxLength: 20 }),
    fc.array(fc.nat(40), { minLength: 1 }),
    (packets, cuts) => {
      const all = join(...packets);
      const scanner = new PingScanner();
      let found = 0;
      let at = 0;
      for (let i = 0; at < all.length; i++) {
        const length = 1 + cuts[i % cuts.length]!;
        found += scanner.scan(all.subarray(at, at + length));
        at += length;
      }
      assertEquals(found, packets.filter((one) => one === PINGREQ).length);
    },
  ));
});
