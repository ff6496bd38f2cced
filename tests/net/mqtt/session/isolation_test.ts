import { assertEquals, assertMatch } from "@std/assert";
import { deny } from "../../../../net/mqtt/hooks/hooks.ts";
import { soon } from "../../../support/deadline.ts";
import { openMemorySession } from "../../../support/memory_session.ts";
import {
  bytes,
  connectPacket,
  connectPeer,
  openBench,
  publishPacket,
  ScriptedBroker,
  startTestGateway,
} from "../../../support/mqtt_peer.ts";
import { Log } from "../../../../net/observe/log.ts";

Deno.test("a promise that a hook drops and that rejects ends the session that it belongs to, and no other", async () => {
  const lines: string[] = [];
  const log = new Log({ write: (line) => void lines.push(line) });
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, {
    log,
    hooks: {
      authPublish: (_session, { topic }) => {
        if (topic === "bad") {
          void Promise.reject(new Error("dropped by a hook"));
        }
      },
    },
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
  const good = await connect("good");
  const bad = await connect("bad");
  using _goodClient = good.client;
  using _goodBroker = good.broker;
  using _badClient = bad.client;
  using _badBroker = bad.broker;
  await bad.client.send(publishPacket({ topic: "bad" }));
  assertEquals(await soon(bad.client.rest(), "the end of the session"), []);
  assertMatch(lines.join("\n"), /session failed .*clientId=bad .*dropped by a/);
  // With the place where it arose.
  assertMatch(lines.join("\n"), /isolation_test\.ts/);

  await good.client.send(publishPacket({ topic: "good" }));
  await good.broker.expect(3);
  good.client[Symbol.dispose]();
  good.broker[Symbol.dispose]();
  bad.broker[Symbol.dispose]();
});

Deno.test("an audit log that throws costs its lines, and no session", async () => {
  const lines: string[] = [];
  await using bench = await openBench({
    log: new Log({ write: (line) => void lines.push(line) }),
    audit: {
      write: () => {
        throw new Error("no space left");
      },
      messages: true,
    },
  });
  await bench.client.send(publishPacket({ topic: "t", payload: "x" }));
  await bench.broker.expect(3);
  const lost =
    bench.gateway.metrics().find(({ name }) =>
      name === "mproxy_mqtt_audit_lines_lost_total"
    )!.samples[0]!.value;
  assertEquals(lost, 3);
  assertMatch(lines.join("\n"), /audit line lost .*no space left/);
});

Deno.test("a required audit log that cannot be written refuses new sessions, and lets the open ones be", async () => {
  using listener = new ScriptedBroker();
  let writable = true;
  await using gateway = await startTestGateway(listener.url, {
    audit: { write: () => writable, required: true },
  });
  using first = await connectPeer(gateway, 4);
  await first.send(connectPacket({ clientId: "first" }));
  using broker = await listener.accept();
  await broker.expect(1);
  await broker.send([0x20, 2, 0, 0]);
  await first.expect(2);
  writable = false;
  {
    using second = await connectPeer(gateway, 4);
    await second.send(connectPacket({ clientId: "second" }));
    // CONNACK 3: server unavailable.
    assertEquals(await second.rest(), [bytes(0x20, 2, 0, 3)]);
    using five = await connectPeer(gateway, 5);
    await five.send(connectPacket({ clientId: "five", version: 5 }));
    assertEquals((await five.expect(2))[3], 0x88);
  }
  await first.send(publishPacket({ topic: "t" }));
  await broker.expect(3);
  writable = true;
  using third = await connectPeer(gateway, 4);
  await third.send(connectPacket({ clientId: "third" }));
  using next = await listener.accept();
  await next.expect(1);
});

Deno.test("an audit line is bounded, however long the client identifier is", async () => {
  const lines: string[] = [];
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, {
    audit: { write: (line) => void lines.push(line) },
    hooks: { authConnect: () => deny() },
  });
  using client = await connectPeer(gateway, 4);
  await client.send(connectPacket({
    clientId: "\u0001".repeat(30_000),
    username: "u".repeat(30_000),
  }));
  await client.rest();
  await gateway.drain();
  assertEquals(lines.length > 0, true);
  for (const line of lines) {
    assertEquals(line.length <= 2048, true, `${line.length} bytes`);
    assertEquals(typeof JSON.parse(line).clientId, "string");
  }
});

Deno.test("an error in a session's clockwork ends that session alone", async () => {
  await using bench = await openMemorySession({
    hooks: {
      disconnect: () => {
        throw new Error("in disconnect");
      },
    },
  });
  bench.client.pushEnd();
  bench.broker.pushEnd();
  await soon(bench.over, "the end of the session");
});
