import { assertEquals, assertMatch } from "@std/assert";
import {
  keepAliveAction,
  type KeepAliveState,
} from "../../../../net/mqtt/session/keep_alive.ts";
import { Log } from "../../../../net/observe/log.ts";
import { soon } from "../../../support/deadline.ts";
import { startMosquitto } from "../../../support/mosquitto.ts";
import {
  connectPacket,
  connectPeer,
  openBench,
  publishPacket,
  startTestGateway,
} from "../../../support/mqtt_peer.ts";
import { openMemorySession } from "../../../support/memory_session.ts";
import { settled } from "../../../support/memory_stream.ts";
import { needsLinux, needsProgram, testUnless } from "../../../support/skip.ts";

const state = (changes: Partial<KeepAliveState> = {}): KeepAliveState => ({
  keepAliveSeconds: 0,
  heardMs: 0,
  isReading: true,
  toldBrokerMs: 0,
  pingedMs: undefined,
  isReadingBroker: true,
  unansweredMs: 1000,
  answerTimeoutMs: 10_000,
  ...changes,
});

Deno.test("keepAliveAction() asks a broker that owes an answer after half its time, and gives it up after all of it", () => {
  assertEquals(keepAliveAction(state(), 6000), "nothing");
  assertEquals(keepAliveAction(state(), 6001), "ping_broker");
  assertEquals(keepAliveAction(state({ pingedMs: 6001 }), 7000), "nothing");
  assertEquals(keepAliveAction(state({ pingedMs: 6001 }), 11_000), "nothing");
  assertEquals(
    keepAliveAction(state({ pingedMs: 6001 }), 11_001),
    "broker_is_silent",
  );
  // What is not read is not the broker's silence.
  assertEquals(
    keepAliveAction(state({ isReadingBroker: false }), 60_000),
    "nothing",
  );
  assertEquals(
    keepAliveAction(state({ unansweredMs: undefined }), 60_000),
    "nothing",
  );
});

Deno.test("keepAliveAction() gives a slow link time for what it was given, and none to one that takes nothing", () => {
  const sent = { pingedMs: 6001, unansweredBytes: 1 << 20 };
  // 1 MiB at 64 KB/s.
  assertEquals(keepAliveAction(state(sent), 27_000), "nothing");
  assertEquals(keepAliveAction(state(sent), 27_400), "broker_is_silent");
  const stalled = { ...sent, brokerStalledMs: 2000 };
  assertEquals(keepAliveAction(state(stalled), 12_000), "nothing");
  assertEquals(keepAliveAction(state(stalled), 12_001), "broker_is_silent");
});

Deno.test("keepAliveAction() ends a client that takes nothing, whatever its keep-alive", () => {
  const stuck = {
    unansweredMs: undefined,
    clientStalledMs: 1000,
    clientTimeoutMs: 60_000,
  };
  assertEquals(keepAliveAction(state(stuck), 61_000), "nothing");
  assertEquals(keepAliveAction(state(stuck), 61_001), "client_is_stuck");
});

Deno.test("a client that does not read is ended", async () => {
  const ends: string[] = [];
  await using bench = await openBench({
    clientTimeoutMs: 500,
    lingerMs: 100,
    hooks: { disconnect: (_session, { detail }) => void ends.push(detail) },
  });
  const payload = "x".repeat(60_000);
  const flood = publishPacket({ topic: "t", payload });
  const sending = (async () => {
    // Until the gateway takes no more, and closes.
    for (;;) await bench.broker.send(flood);
  })().catch(() => {});
  await soon(sending, "the end of the session");
  await bench.gateway.drain();
  assertEquals(ends, ["the client took nothing for 0.5 s"]);
});

testUnless(
  needsLinux() ?? needsProgram("mosquitto"),
  "a broker that is stopped ends the session, although its client goes on sending",
  async () => {
    await using mosquitto = await startMosquitto();
    const lines: string[] = [];
    await using gateway = await startTestGateway(mosquitto.url, {
      brokerTimeoutMs: 1000,
      log: new Log({ write: (line) => void lines.push(line) }),
    });
    using client = await connectPeer(gateway, 5);
    await client.send(
      connectPacket({ version: 5, clientId: "writer", keepAlive: 60 }),
    );
    await client.expect(2);
    mosquitto.log.signal("SIGSTOP");
    const message = publishPacket({ version: 5, topic: "t" });
    const timer = setInterval(() => {
      client.send(message).catch(() => {});
    }, 100);
    try {
      const rest = await soon(client.rest(), "the end of the session");
      // 0x89: server busy.
      assertEquals(rest.map(([type, , code]) => [type, code]), [[0xe0, 0x89]]);
    } finally {
      clearInterval(timer);
      mosquitto.log.signal("SIGCONT");
    }
    assertMatch(
      lines.join("\n"),
      /warn broker does not answer .*clientId=writer/,
    );
  },
);

Deno.test("a broker that answers its PINGREQ stays, whatever else it does not say", async () => {
  await using bench = await openBench({ brokerTimeoutMs: 600 });
  const message = publishPacket({ topic: "t" });
  let pings = 0;
  const sending = setInterval(() => {
    bench.client.send(message).catch(() => {});
  }, 50);
  try {
    while (pings < 3) {
      const packet = await soon(bench.broker.next(), "a packet");
      if (packet?.[0] !== 0xc0) continue;
      pings++;
      await bench.broker.send([0xd0, 0]);
    }
  } finally {
    clearInterval(sending);
  }
  // Its PINGRESPs were for the gateway, and the session goes on.
  await bench.broker.send(publishPacket({ topic: "back" }));
  await bench.client.expect(3);
});

Deno.test("a client that takes a large message slowly stays, as its progress shows", async () => {
  await using bench = await openMemorySession({
    settings: { clientTimeoutMs: 1000 },
  });
  // Four slices: each is taken late, and in time.
  bench.client.hold();
  bench.broker.push(
    publishPacket({ topic: "t", payload: "x".repeat(250_000) }),
  );
  await settled();
  const startedMs = performance.now();
  for (let slice = 0; slice < 3; slice++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    bench.client.release();
    bench.client.hold();
    await settled();
  }
  assertEquals(bench.client.writes.length >= 3, true);
  bench.session.tick(startedMs + 1100);
  assertEquals(bench.session.isOver, false);
  bench.session.tick(performance.now() + 1100);
  assertEquals(bench.session.isOver, true);
});
