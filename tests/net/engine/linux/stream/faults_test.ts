/** What the reactor does where a call fails, with libc told to make it fail. */
import { assert, assertEquals } from "@std/assert";
import net from "node:net";
import { linuxEngineUnavailable } from "../../../../../net/engine/linux/datagram/engine.ts";
import {
  ECONNABORTED,
  EMFILE,
  ENFILE,
  ENOMEM,
  EPERM,
} from "../../../../../net/engine/linux/ffi/constants.ts";
import type { Forwarder } from "../../../../../net/engine/stream.ts";
import { FaultyLibc } from "../../../../support/faulty_libc.ts";
import { inThreadEngine } from "../../../../support/reactor_in_thread.ts";
import { testUnless } from "../../../../support/skip.ts";
import {
  connectTo,
  echoServer,
  EventLog,
  howTurnedAway,
  readExactly,
  readToEnd,
  TestServer,
  writeAll,
} from "../../../../support/tcp.ts";

function test(
  title: string,
  fn: (
    libc: FaultyLibc,
    forwarder: Forwarder,
    log: EventLog,
  ) => Promise<void>,
): void {
  testUnless(linuxEngineUnavailable(), title, async () => {
    const libc = new FaultyLibc();
    await using engine = inThreadEngine(libc);
    await using server = echoServer();
    const log = new EventLog();
    const forwarder = await engine.forward({
      listen: { hostname: "127.0.0.1", port: 0 },
      remotes: [{ id: 1, address: server.address }],
      policy: { kind: "single" },
      report: "connections",
    }, log.sink);
    await fn(libc, forwarder, log);
  });
}

async function echoes(forwarder: Forwarder, bytes = 1000): Promise<void> {
  using client = await connectTo(forwarder.address);
  const sent = new Uint8Array(bytes).map((_, i) => i * 7 + (i >> 8));
  const [received] = await Promise.all([
    readToEnd(client),
    writeAll(client, sent).then(() => client.closeWrite()),
  ]);
  assertEquals(received.length, sent.length);
  assert(received.every((byte, i) => byte === sent[i]));
}

test(
  "Reactor serves on after clients that left before accept",
  async (libc, forwarder, log) => {
    libc.failNext("accept4", [ECONNABORTED, ECONNABORTED]);
    await echoes(forwarder);
    assertEquals((await log.next("accept-failed")).code, "ECONNABORTED");
    assertEquals(forwarder.stats().acceptErrors, 2);
  },
);

for (const errno of [EMFILE, ENFILE, ENOMEM]) {
  test(
    `Reactor accepts again after a pause where accept4 fails (${errno})`,
    async (libc, forwarder, log) => {
      libc.failNext("accept4", [errno, errno]);
      await echoes(forwarder);
      await log.next("accept-failed", 1);
      assertEquals(forwarder.stats().acceptErrors, 2);
      assertEquals(forwarder.stats().opened, 1);
    },
  );
}

test(
  "Reactor has a client wait where no socket is to be had, and serves it when one is",
  async (libc, forwarder, log) => {
    libc.failNext("socket", [EMFILE, ENFILE, ENOMEM]);
    await echoes(forwarder);
    assertEquals((await log.next("dial-failed")).failure, "resources");
    const { accepted, opened, dialErrors, opening } = forwarder.stats();
    assertEquals([accepted, opened, dialErrors, opening], [1, 1, 3, 0]);
  },
);

test(
  "Reactor serves a client that waits for a socket although nobody is accepted any more",
  async (libc, forwarder, log) => {
    libc.failNext("socket", [EMFILE]);
    using client = await connectTo(forwarder.address);
    await log.next("dial-failed");
    await forwarder.stopAccepting();
    await writeAll(client, new Uint8Array(10));
    await readExactly(client, 10);
  },
);

test(
  "Reactor turns a client away that has waited for a socket as long as for a connect",
  async (libc, forwarder, log) => {
    await forwarder.update({ deadlines: { connectTimeoutMs: 30 } });
    libc.put("socket", () => libc.fail(EMFILE));
    await howTurnedAway(forwarder.address);
    assertEquals((await log.next("rejected")).reason, "connect-failed");
    libc.failNext("socket", []);
    await echoes(forwarder);
  },
);

test(
  "Reactor forgets a client that was reset while it waited for a socket",
  async (libc, forwarder, log) => {
    libc.put("socket", () => libc.fail(EMFILE));
    const { hostname, port } = forwarder.address;
    const client = net.connect(port, hostname);
    await log.next("dial-failed");
    client.resetAndDestroy();
    assertEquals((await log.next("rejected")).reason, "client-gone");
    // What waits is dialled again at the end of the pause: the slot is free now.
    libc.failNext("socket", []);
    await echoes(forwarder);
    const { accepted, opened, rejected, opening } = forwarder.stats();
    assertEquals([accepted, opened, rejected["client-gone"], opening], [
      2,
      1,
      1,
      0,
    ]);
  },
);

test(
  "Reactor turns a client away that epoll has no room for",
  async (libc, forwarder, log) => {
    libc.failNext("epoll_ctl", [ENOMEM]);
    await howTurnedAway(forwarder.address);
    assertEquals((await log.next("rejected")).reason, "connect-failed");
    await echoes(forwarder);
    const { accepted, opened, rejected, opening } = forwarder.stats();
    assertEquals([accepted, opened, rejected["connect-failed"], opening], [
      2,
      1,
      1,
      0,
    ]);
  },
);

test(
  "Reactor copies bulk where no pipe is to be had",
  async (libc, forwarder) => {
    libc.put("pipe2", () => libc.fail(EMFILE));
    await echoes(forwarder, 20_000_000);
  },
);

test(
  "Reactor copies bulk where pipes are too small",
  async (libc, forwarder) => {
    libc.put(
      "fcntl",
      (_, _fd, command) => command === 1031 ? libc.fail(EPERM) : 4096,
    );
    await echoes(forwarder, 20_000_000);
  },
);

testUnless(
  linuxEngineUnavailable(),
  "Reactor splices bulk and gives its pipe back",
  async () => {
    const libc = new FaultyLibc();
    await using engine = inThreadEngine(libc);
    const bytes = 50_000_000;
    await using server = new TestServer(async (conn) => {
      await writeAll(conn, new Uint8Array(bytes).fill(7));
    });
    const forwarder = await engine.forward({
      listen: { hostname: "127.0.0.1", port: 0 },
      remotes: [{ id: 1, address: server.address }],
      policy: { kind: "single" },
    });
    for (let i = 0; i < 2; i++) {
      using client = await connectTo(forwarder.address);
      assertEquals((await readToEnd(client)).length, bytes);
    }
    assert(libc.calls.get("splice")! > 0);
    assertEquals(libc.calls.get("pipe2"), 1);
    using client = await connectTo(forwarder.address);
    await readExactly(client, 1);
  },
);
