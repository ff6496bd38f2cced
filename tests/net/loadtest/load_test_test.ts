import { assert, assertEquals } from "@std/assert";
import type { LoadScenario } from "../../../net/loadtest/plan.ts";
import { LoadPace } from "../../../net/loadtest/pace.ts";
import { LoadTest } from "../../../net/loadtest/load_test.ts";
import {
  close,
  echoServer,
  hangingServer,
  readExactly,
  refusingAddress,
  resettingServer,
  TestServer,
  writeAll,
} from "../../support/tcp.ts";

function scenario(part: Partial<LoadScenario> = {}): LoadScenario {
  return {
    name: "test",
    connections: 4,
    durationMs: 200,
    messageBytes: 100,
    ...part,
  };
}

Deno.test("LoadTest counts every answer once, with its bytes and its latency", async () => {
  await using server = echoServer();
  await using test = new LoadTest({
    target: server.address,
    scenarios: [scenario()],
  });
  await test.finished;
  const [result] = test.results;
  assert(result!.requests > 0);
  assertEquals(result!.errors, 0);
  assertEquals(result!.latency.count, result!.requests);
  assertEquals(result!.bytesSent, result!.requests * 100);
  assertEquals(
    result!.course.reduce((sum, count) => sum + count, 0),
    result!.requests,
  );
  assertEquals(server.accepted, 4);
  assertEquals(test.failed, false);
});

Deno.test("LoadTest runs scenarios one after the other and tells of each", async () => {
  await using server = echoServer();
  const told: string[] = [];
  await using test = new LoadTest({
    target: server.address,
    scenarios: [
      scenario({ name: "one", durationMs: 50 }),
      scenario({ name: "two", durationMs: 50, connections: 7 }),
    ],
    onScenario: ({ name }, index) => told.push(`${index} ${name}`),
    onResult: ({ scenario }) => told.push(`result of ${scenario.name}`),
  });
  await test.finished;
  assertEquals(told, ["0 one", "result of one", "1 two", "result of two"]);
  assertEquals(server.accepted, 11);
});

Deno.test("LoadTest sends messages larger than all buffers on the way", async () => {
  await using server = echoServer();
  await using test = new LoadTest({
    target: server.address,
    scenarios: [
      scenario({ connections: 1, messageBytes: 24 << 20, durationMs: 300 }),
    ],
  });
  await test.finished;
  assertEquals(test.results[0]!.errors, 0);
  assert(test.results[0]!.requests >= 1);
});

Deno.test("LoadTest leaves the warm-up out of its figures", async () => {
  let served = 0;
  await using server = new TestServer(async (conn) => {
    for (;;) {
      const message = await readExactly(conn, 100);
      served++;
      await writeAll(conn, message);
    }
  });
  await using test = new LoadTest({
    target: server.address,
    scenarios: [scenario({ durationMs: 50 })],
    warmUpMs: 100,
  });
  await test.finished;
  const [result] = test.results;
  assert(result!.requests > 0);
  assert(result!.requests < served, `${result!.requests} of ${served}`);
});

Deno.test("LoadTest fails where every connect fails, one error for each connection", async () => {
  await using test = new LoadTest({
    target: refusingAddress(),
    scenarios: [scenario()],
  });
  await test.finished;
  const [result] = test.results;
  assertEquals([result!.requests, result!.errors], [0, 4]);
  assertEquals([...result!.errorTexts.values()], [4]);
  assertEquals(test.failed, true);
});

Deno.test("LoadTest counts requests that are never answered", async () => {
  await using server = hangingServer();
  await using test = new LoadTest({
    target: server.address,
    scenarios: [scenario({ durationMs: 50 })],
  });
  await test.finished;
  const [result] = test.results;
  assertEquals([result!.requests, result!.unanswered], [0, 4]);
  assertEquals(result!.errors, 4);
  assert(result!.latency.min >= 50);
  assertEquals(test.failed, true);
});

Deno.test("LoadTest connects again after a reset and counts each", async () => {
  await using server = await resettingServer();
  await using test = new LoadTest({
    target: server.address,
    scenarios: [scenario({ connections: 1, durationMs: 100 })],
  });
  await test.finished;
  assert(test.results[0]!.errors > 1);
  assertEquals(test.results[0]!.requests, 0);
});

Deno.test("LoadTest counts an answer that is not what was sent as an error", async () => {
  await using server = new TestServer(async (conn) => {
    for (;;) {
      const message = await readExactly(conn, 100);
      await writeAll(conn, message.fill(0x58));
    }
  });
  await using test = new LoadTest({
    target: server.address,
    scenarios: [scenario({ durationMs: 50 })],
  });
  await test.finished;
  const [result] = test.results;
  assertEquals(result!.requests, 0);
  assert(result!.errors > 0);
  assertEquals(test.failed, true);
});

Deno.test("LoadTest counts an answer to another request as an error", async () => {
  // RFC 862 sends back what was received, once.
  await using server = new TestServer(async (conn) => {
    for (;;) {
      const message = await readExactly(conn, 100);
      await writeAll(conn, message);
      await writeAll(conn, message);
    }
  });
  await using test = new LoadTest({
    target: server.address,
    scenarios: [scenario({ connections: 1, durationMs: 100 })],
  });
  await test.finished;
  const [result] = test.results;
  assertEquals(result!.requests, 1);
  assert(result!.errors > 0);
});

Deno.test("LoadTest counts an answer to another connection as an error", async () => {
  const messages: Uint8Array<ArrayBuffer>[] = [];
  const both = Promise.withResolvers<void>();
  await using server = new TestServer(async (conn) => {
    const own = messages.push(await readExactly(conn, 100)) - 1;
    if (messages.length === 2) both.resolve();
    await both.promise;
    await writeAll(conn, messages[1 - own]!);
    await readExactly(conn, 100);
  });
  await using test = new LoadTest({
    target: server.address,
    scenarios: [scenario({ connections: 2, durationMs: 100 })],
  });
  await test.finished;
  assertEquals(test.results[0]!.requests, 0);
  assert(test.results[0]!.errors >= 2);
});

Deno.test("LoadTest at a rate counts all that was due over an outage, and goes on after it", async () => {
  const echo = async (conn: Deno.TcpConn, answers: number) => {
    for (let i = 0; i < answers; i++) {
      await writeAll(conn, await readExactly(conn, 100));
    }
  };
  // The first server goes after a few answers, and its port is refused for a while.
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { hostname, port } = listener.addr;
  await using test = new LoadTest({
    target: { hostname, port },
    scenarios: [scenario({ connections: 1, durationMs: 1500 })],
    ratePerSecond: 100,
  });
  const conn = await listener.accept();
  listener.close();
  await echo(conn, 10);
  close(conn);
  while (test.now()!.errors < 20) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const before = test.now()!.requests;
  using back = Deno.listen({ hostname, port });
  using again = await back.accept();
  await echo(again, Infinity).catch(() => {});
  await test.finished;
  const [result] = test.results;
  assertEquals(result!.requests + result!.errors, 150);
  assert(result!.requests > before, "nothing was sent after the outage");
  assert(result!.errors >= 20);
});

Deno.test("LoadTest.drain() ends early with the figures so far and runs no more", async () => {
  await using server = echoServer();
  const begun = Promise.withResolvers<void>();
  const test = new LoadTest({
    target: server.address,
    scenarios: [scenario({ durationMs: 3_600_000 }), scenario()],
    onScenario: () => begun.resolve(),
  });
  await begun.promise;
  while (test.now()!.requests < 100) {
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  await test.drain();
  assertEquals(test.results.length, 1);
  assert(test.results[0]!.stopped);
  assert(test.results[0]!.requests >= 100);
});

Deno.test("LoadTest at a rate sends what is due, no more and no less", async () => {
  await using server = echoServer();
  await using test = new LoadTest({
    target: server.address,
    scenarios: [scenario({ durationMs: 500 })],
    ratePerSecond: 200,
  });
  await test.finished;
  const [result] = test.results;
  assertEquals(result!.requests + result!.errors, 100);
  assertEquals(result!.latency.count, 100);
});

Deno.test("LoadTest at a rate shows a stall in every request that it held up", async () => {
  // One answer takes 300 ms; at 200 requests per second 60 fall due meanwhile.
  const stallMs = 300;
  const run = async (ratePerSecond: number | undefined) => {
    let answers = 0;
    await using server = new TestServer(async (conn) => {
      for (;;) {
        const message = await readExactly(conn, 100);
        if (++answers === 20) {
          await new Promise((resolve) => setTimeout(resolve, stallMs));
        }
        await writeAll(conn, message);
      }
    });
    await using test = new LoadTest({
      target: server.address,
      scenarios: [scenario({ connections: 1, durationMs: 800 })],
      ratePerSecond,
    });
    await test.finished;
    return test.results[0]!;
  };
  const open = await run(200);
  assertEquals(open.latency.count, 160);
  // A quarter of all was due in the stall and waited for at least 100 ms of it.
  assert(open.latency.percentile(75) >= stallMs / 3, "the stall is hidden");
  const closed = await run(undefined);
  assert(closed.latency.max >= stallMs);
  assert(closed.latency.percentile(75) < open.latency.percentile(75));
});

Deno.test("LoadPace gives connections their turns and keeps due times of late ones", async () => {
  let nowMs = 0;
  const pace = new LoadPace(4, 1000, 0, () => nowMs);
  try {
    assertEquals([0, 1, 2, 3].map((i) => pace.dueMs(i)), [0, 1, 2, 3]);
    assertEquals(pace.due(0), undefined);
    pace.advance(0);
    assertEquals(pace.dueMs(0), 4);
    nowMs = 100;
    // Late as they are, the next requests are due at once, in their own time.
    for (let turn = 1; turn <= 25; turn++) {
      assertEquals(pace.dueMs(0), 4 * turn);
      assertEquals(pace.due(0), undefined);
      pace.advance(0);
    }
    const waiting = pace.due(0);
    assert(waiting);
    nowMs = 104;
    await waiting;
    assertEquals(pace.dueMs(0), 104);
  } finally {
    await pace.stop();
  }
});

Deno.test("LoadPace.stop() ends every wait at once, however far away", async () => {
  const pace = new LoadPace(
    2,
    0.001,
    performance.now(),
    () => performance.now(),
  );
  pace.advance(0);
  const waiting = pace.due(0);
  await pace.stop();
  await waiting;
});
