/**
 * What every stream engine must do, as one suite that is run over each of
 * them. An engine is registered at the end of the file.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import net from "node:net";
import fc from "fast-check";
import type { Address } from "../../net/address.ts";
import type {
  Forwarder,
  ForwardPlan,
  ForwardStats,
  StreamEngine,
} from "../../net/engine/stream.ts";
import { OperationError, UsageError } from "../../net/errors.ts";
import {
  IPPROTO_TCP,
  SO_KEEPALIVE,
  SOL_SOCKET,
  TCP_NODELAY,
} from "../../net/engine/linux/ffi/constants.ts";
import { openLibc } from "../../net/engine/linux/ffi/libc.ts";
import {
  localAddress,
  readIntOption,
} from "../../net/engine/linux/ffi/socket.ts";
import { linuxEngineUnavailable } from "../../net/engine/linux/datagram/engine.ts";
import { linuxStreamEngine } from "../../net/engine/linux/stream/engine.ts";
import { portableStreamEngine } from "../../net/engine/portable/stream/forwarder.ts";
import { openSocketControl } from "../../net/engine/choose_stream.ts";
import { createPolicy } from "../../net/engine/balancing/policies.ts";
import {
  blackhole,
  close,
  connectTo,
  echoServer,
  EventLog,
  hangingServer,
  howItEnds,
  howTurnedAway,
  readExactly,
  readToEnd,
  refusingAddress,
  resettingClient,
  resettingServer,
  TestServer,
  writeAll,
} from "../support/tcp.ts";
import { FaultyLibc } from "../support/faulty_libc.ts";
import { fallShort, inThreadEngine } from "../support/reactor_in_thread.ts";
import { soon } from "../support/deadline.ts";
import { needsIpv6, needsLinux, testUnless } from "../support/skip.ts";

const ANY: Address = { hostname: "127.0.0.1", port: 0 };
const MIB = 1 << 20;

/** Whether a socket listens (asm-generic/socket.h). */
const SO_ACCEPTCONN = 30;

function streamSuite(name: string, openEngine: () => StreamEngine): void {
  const test = (
    title: string,
    run: (
      forward: (
        remote: Address,
        plan?: Partial<ForwardPlan>,
      ) => Promise<Forwarder>,
      log: EventLog,
      engine: StreamEngine,
    ) => Promise<void>,
    unless?: string,
  ) =>
    testUnless(unless, `${name} stream engine ${title}`, async () => {
      await using engine = openEngine();
      const log = new EventLog();
      const forward = (remote: Address, plan: Partial<ForwardPlan> = {}) =>
        engine.forward({
          listen: ANY,
          remotes: [{ id: 1, address: remote }],
          policy: { kind: "single" },
          report: "connections",
          ...plan,
        }, log.sink);
      await run(forward, log, engine);
    });

  test("moves bytes both ways at once, byte for byte", async (forward, log) => {
    await using server = echoServer();
    const forwarder = await forward(server.address);
    using client = await connectTo(forwarder.address);
    const sent = randomBytes(8 * MIB);
    const [received] = await Promise.all([
      readToEnd(client),
      writeAll(client, sent).then(() => client.closeWrite()),
    ]);
    assertEquals(await digest(received), await digest(sent));
    const closed = await log.next("closed");
    assertEquals(closed.reason, "eof");
    assertEquals(closed.bytesUpstream, sent.length);
    assertEquals(closed.bytesDownstream, sent.length);
    const stats = forwarder.stats();
    assertEquals(stats.bytesUpstream, sent.length);
    assertEquals(stats.bytesDownstream, sent.length);
    assertEquals(stats.remotes.get(1)!.bytesUpstream, sent.length);
    assertEquals(stats.ended.eof, 1);
    assertEquals(stats.open, 0);
  });

  test("moves what the server says first", async (forward) => {
    await using server = new TestServer(async (conn) => {
      await writeAll(conn, new TextEncoder().encode("220 ready\r\n"));
    });
    const forwarder = await forward(server.address);
    using client = await connectTo(forwarder.address);
    assertEquals(
      new TextDecoder().decode(await readToEnd(client)),
      "220 ready\r\n",
    );
  });

  test("passes on one byte at a time without waiting for more", async (forward) => {
    await using server = echoServer();
    const forwarder = await forward(server.address);
    using client = await connectTo(forwarder.address);
    for (let i = 0; i < 300; i++) {
      await writeAll(client, new Uint8Array([i & 0xff]));
      assertEquals((await readExactly(client, 1))[0], i & 0xff);
    }
    assertEquals(forwarder.stats().bytesUpstream, 300);
  });

  test(
    "sets TCP_NODELAY and keepalive on both sides",
    async (forward) => {
      const dialled = Promise.withResolvers<Address>();
      await using server = new TestServer(async (conn) => {
        await readExactly(conn, 1);
        dialled.resolve(conn.remoteAddr);
        await readToEnd(conn);
      });
      const forwarder = await forward(server.address);
      using client = await connectTo(forwarder.address);
      await writeAll(client, new Uint8Array(1));
      // What listens there too has nothing to delay.
      const dialledFrom = await dialled.promise;
      const sides = [
        ...socketsOn(forwarder.address).filter((side) => !side.listens),
        ...socketsOn(dialledFrom),
      ];
      const both = { listens: false, noDelay: true, keepAlive: true };
      assertEquals(sides, [both, both]);
    },
    linuxEngineUnavailable(),
  );

  test(
    "keeps the answer after the client's half-close",
    async (forward, log) => {
      await using server = new TestServer(async (conn) => {
        const request = await readToEnd(conn);
        await writeAll(conn, request.map((byte) => byte ^ 0xff));
      });
      const forwarder = await forward(server.address);
      using client = await connectTo(forwarder.address);
      const request = randomBytes(MIB);
      await writeAll(client, request);
      await client.closeWrite();
      assertEquals(
        await digest(await readToEnd(client)),
        await digest(request.map((byte) => byte ^ 0xff)),
      );
      assertEquals((await log.next("closed")).reason, "eof");
    },
  );

  test(
    "keeps the request after the server's half-close",
    async (forward, log) => {
      const received = Promise.withResolvers<Uint8Array>();
      await using server = new TestServer(async (conn) => {
        await conn.closeWrite();
        received.resolve(await readToEnd(conn));
      });
      const forwarder = await forward(server.address);
      using client = await connectTo(forwarder.address);
      assertEquals((await readToEnd(client)).length, 0);
      const [half] = await forwarder.connections();
      assertEquals(half!.halfClosed, true);
      const request = randomBytes(MIB);
      await writeAll(client, request);
      await client.closeWrite();
      assertEquals(await digest(await received.promise), await digest(request));
      assertEquals((await log.next("closed")).reason, "eof");
    },
  );

  test(
    "counts a remote that refuses and lets its client go",
    async (forward, log) => {
      const forwarder = await forward(refusingAddress());
      await howTurnedAway(forwarder.address);
      const failed = await log.next("dial-failed");
      assertEquals(failed.failure, "refused");
      const rejected = await log.next("rejected");
      assertEquals(rejected.reason, "connect-failed");
      assertEquals(rejected.attempts, 1);
      const stats = forwarder.stats();
      assertEquals(stats.rejected["connect-failed"], 1);
      assertEquals(stats.remotes.get(1)!.failures.refused, 1);
      assertEquals(stats.remotes.get(1)!.errors, 1);
      assertEquals(stats.opened, 0);
      assertEquals(stats.opening, 0);
    },
  );

  test(
    "resets a client that has spoken to a remote that refuses",
    async (forward, log) => {
      using hole = await blackhole();
      const forwarder = await forward(hole.address, {
        deadlines: { connectTimeoutMs: 100 },
      });
      using client = await connectTo(forwarder.address);
      // The dial hangs for its deadline: the request is there before the end.
      await writeAll(client, new TextEncoder().encode("hello"));
      await howItEnds(client);
      assertEquals((await log.next("rejected")).reason, "connect-failed");
      // After a mere end (FIN) a first write would still succeed.
      await assertRejects(() => writeAll(client, new Uint8Array(1)));
    },
  );

  test("counts a name that cannot be resolved", async (forward, log) => {
    const forwarder = await forward({ hostname: "no.invalid", port: 80 });
    await howTurnedAway(forwarder.address);
    assertEquals((await log.next("dial-failed")).failure, "resolve");
    assertEquals(forwarder.stats().remotes.get(1)!.failures.resolve, 1);
  });

  test("resolves a name at each dial", async (forward) => {
    await using server = echoServer();
    const forwarder = await forward({
      hostname: "localhost",
      port: server.address.port,
    });
    for (let i = 0; i < 2; i++) {
      using client = await connectTo(forwarder.address);
      await writeAll(client, new Uint8Array([7]));
      assertEquals((await readExactly(client, 1))[0], 7);
    }
  });

  test("gives up a connect that hangs", async (forward, log) => {
    using hole = await blackhole();
    const forwarder = await forward(hole.address, {
      deadlines: { connectTimeoutMs: 100 },
    });
    using client = await connectTo(forwarder.address);
    await howItEnds(client);
    assertEquals((await log.next("dial-failed")).failure, "timeout");
    assertEquals(forwarder.stats().remotes.get(1)!.pending, 0);
  });

  test("serves others while a connect hangs", async (forward) => {
    using hole = await blackhole();
    await using server = echoServer();
    const forwarder = await forward(hole.address, {
      deadlines: { connectTimeoutMs: 0 },
    });
    using stuck = await connectTo(forwarder.address);
    await writeAll(stuck, new Uint8Array([1]));
    await until(() => forwarder.stats().opening === 1, forwarder);
    await forwarder.update({ remotes: [{ id: 2, address: server.address }] });
    for (let i = 0; i < 20; i++) {
      using client = await connectTo(forwarder.address);
      await writeAll(client, new Uint8Array([i]));
      assertEquals((await readExactly(client, 1))[0], i);
    }
    assertEquals(forwarder.stats().opening, 1);
    await forwarder.close();
    assertEquals(forwarder.stats().opening, 0);
    assertEquals(forwarder.stats().rejected.closed, 1);
    await howItEnds(stuck);
  });

  test(
    "serves others while one connection is stuck with full buffers",
    async (forward, log) => {
      const stuckForever = Promise.withResolvers<void>();
      let connections = 0;
      await using server = new TestServer(async (conn) => {
        if (++connections === 1) return await stuckForever.promise;
        for (;;) await writeAll(conn, await readExactly(conn, 1000));
      });
      const forwarder = await forward(server.address, { report: "traffic" });
      using stuck = await connectTo(forwarder.address);
      const sending = writeAll(stuck, new Uint8Array(64 * MIB)).catch(() => {});
      await log.next("traffic");
      for (let i = 0; i < 20; i++) {
        using client = await connectTo(forwarder.address);
        const message = randomBytes(1000);
        await writeAll(client, message);
        assertEquals(await readExactly(client, 1000), message);
      }
      assert(forwarder.stats().bytesUpstream < 64 * MIB);
      stuckForever.resolve();
      await forwarder.close();
      await sending;
    },
  );

  test("ends both sides where the remote resets", async (forward, log) => {
    await using server = await resettingServer();
    const forwarder = await forward(server.address);
    using client = await connectTo(forwarder.address);
    const sending = writeAll(client, new Uint8Array(4 * MIB)).catch(() => {});
    await howItEnds(client);
    await sending;
    assertEquals((await log.next("closed")).reason, "remote-reset");
    assertEquals(forwarder.stats().ended["remote-reset"], 1);
  });

  test("ends both sides where the client resets", async (forward, log) => {
    const ended = Promise.withResolvers<string>();
    await using server = new TestServer(async (conn) => {
      await writeAll(conn, new Uint8Array(1000));
      ended.resolve(await howItEnds(conn));
    });
    const forwarder = await forward(server.address);
    await resettingClient(forwarder.address);
    await ended.promise;
    assertEquals((await log.next("closed")).reason, "client-reset");
  });

  test("passes a reset of the remote on as a reset", async (forward) => {
    await using server = await resettingServer();
    const forwarder = await forward(server.address);
    using client = await connectTo(forwarder.address);
    await writeAll(client, new Uint8Array(10));
    assertEquals(await howItEnds(client), "ConnectionReset");
  }, needsLinux());

  test("passes a reset of the client on as a reset", async (forward) => {
    const ends: string[] = [];
    const ended = Promise.withResolvers<void>();
    await using server = new TestServer(async (conn) => {
      await writeAll(conn, new Uint8Array(1));
      ends.push(await howItEnds(conn));
      ended.resolve();
    });
    const forwarder = await forward(server.address);
    await resettingClient(forwarder.address);
    await soon(ended.promise, "the server's end");
    assertEquals(ends, ["ConnectionReset"]);
  }, needsLinux());

  test(
    "sees a client that resets while its remote is dialled",
    async (forward, log) => {
      using hole = await blackhole();
      const forwarder = await forward(hole.address);
      for (const saying of [new Uint8Array(), new Uint8Array(100)]) {
        const socket = net.connect(
          forwarder.address.port,
          forwarder.address.hostname,
        );
        socket.on("error", () => {});
        if (saying.length > 0) socket.write(saying);
        await new Promise<void>((resolve) => socket.once("connect", resolve));
        await until(() => forwarder.stats().opening === 1, forwarder);
        socket.resetAndDestroy();
        // The connect itself would take 10 s.
        assertEquals((await log.next("rejected")).reason, "client-gone");
        await until(() => forwarder.stats().opening === 0, forwarder);
      }
    },
    needsLinux(),
  );

  test("counts every client that resets at once", async (forward) => {
    await using server = hangingServer();
    const forwarder = await forward(server.address);
    const { port, hostname } = forwarder.address;
    const clients = 50;
    // In a process of its own, for which this thread waits: an engine in this
    // thread accepts them after their resets.
    const { success } = new Deno.Command(Deno.execPath(), {
      args: [
        "eval",
        `import net from "node:net";
        for (let i = 0; i < ${clients}; i++) {
          const socket = net.connect(${port}, "${hostname}");
          socket.on("error", () => {});
          socket.once("connect", () => socket.resetAndDestroy());
        }`,
      ],
      stderr: "inherit",
    }).outputSync();
    assert(success);
    const sum = (counts: Record<string, number>) =>
      Object.values(counts).reduce((a, b) => a + b, 0);
    await until(() => {
      const { accepted, rejected, ended } = forwarder.stats();
      return accepted === clients && sum(rejected) + sum(ended) === clients;
    }, forwarder);
    const { opening, open } = forwarder.stats();
    assertEquals([opening, open], [0, 0]);
  }, needsLinux());

  test(
    "rejects clients of one source above its limit",
    async (forward, log) => {
      await using server = hangingServer();
      const forwarder = await forward(server.address, {
        maxConnectionsPerSource: 1,
      });
      using _first = await connectTo(forwarder.address);
      await log.next("opened");
      assert(await howTurnedAway(forwarder.address) !== "");
      assertEquals((await log.next("rejected")).reason, "source-limit");
      assertEquals(forwarder.stats().rejected["source-limit"], 1);
      await howTurnedAway(forwarder.address);
      assertEquals((await log.next("rejected")).reason, "source-limit");
      await forwarder.update({ maxConnectionsPerSource: 2 });
      using _second = await connectTo(forwarder.address);
      await log.next("opened");
      server.release();
    },
  );

  test("ends an idle connection at its deadline", async (forward, log) => {
    await using server = hangingServer();
    const forwarder = await forward(server.address, {
      deadlines: { idleTimeoutMs: 150 },
    });
    using client = await connectTo(forwarder.address);
    await writeAll(client, new Uint8Array(10));
    await howItEnds(client);
    const closed = await log.next("closed");
    assertEquals(closed.reason, "idle-timeout");
    assertEquals(closed.bytesUpstream, 10);
  });

  test("lets a connection live as long as bytes move", async (forward, log) => {
    await using server = echoServer();
    const forwarder = await forward(server.address, {
      report: "traffic",
      deadlines: { idleTimeoutMs: 60_000 },
    });
    using client = await connectTo(forwarder.address);
    for (let i = 0; i < 3; i++) {
      await writeAll(client, new Uint8Array([i]));
      await readExactly(client, 1);
      // Told by the tick, which is also what looks at deadlines.
      await log.next("traffic", i);
    }
    assertEquals(forwarder.stats().open, 1);
    const [connection] = await forwarder.connections();
    assertEquals(connection!.bytesUpstream, 3);
  });

  test(
    "ends a half-closed connection at its deadline",
    async (forward, log) => {
      await using server = hangingServer();
      const forwarder = await forward(server.address, {
        deadlines: { halfCloseTimeoutMs: 150 },
      });
      using client = await connectTo(forwarder.address);
      await client.closeWrite();
      await howItEnds(client);
      assertEquals((await log.next("closed")).reason, "half-close-timeout");
    },
  );

  test(
    "leaves a quiet connection alone that is not half-closed",
    async (forward, log) => {
      await using server = hangingServer();
      const forwarder = await forward(server.address, {
        deadlines: { halfCloseTimeoutMs: 100 },
      });
      using _quiet = await connectTo(forwarder.address);
      await log.next("opened");
      using half = await connectTo(forwarder.address);
      await log.next("opened");
      await half.closeWrite();
      assertEquals((await log.next("closed")).reason, "half-close-timeout");
      // The quiet one is older, and would have been ended before.
      const left = await forwarder.connections();
      assertEquals(left.map(({ halfClosed }) => halfClosed), [false]);
      server.release();
    },
  );

  test("ends a connection at the end of its lifetime", async (forward, log) => {
    await using server = echoServer();
    const forwarder = await forward(server.address, {
      deadlines: { lifetimeMs: 150 },
    });
    using client = await connectTo(forwarder.address);
    const talk = async () => {
      for (;;) {
        await writeAll(client, new Uint8Array(1));
        await readExactly(client, 1);
      }
    };
    await assertRejects(talk);
    assertEquals((await log.next("closed")).reason, "lifetime");
  });

  test("holds back a sender whose peer never reads", async (forward, log) => {
    const all = 256 * MIB;
    await using server = new TestServer(async (conn) => {
      const block = new Uint8Array(MIB);
      for (let sent = 0; sent < all; sent += block.length) {
        await writeAll(conn, block);
      }
    });
    const forwarder = await forward(server.address, {
      deadlines: { idleTimeoutMs: 300 },
    });
    using client = await connectTo(forwarder.address);
    const closed = await log.next("closed");
    assertEquals(closed.reason, "idle-timeout");
    // What moved is what the kernel's buffers took, far from all.
    assert(closed.bytesDownstream < all / 2, `${closed.bytesDownstream}`);
    close(client);
  });

  test("aborts one connection and leaves the others", async (forward, log) => {
    await using server = echoServer();
    const forwarder = await forward(server.address);
    using first = await connectTo(forwarder.address);
    const opened = await log.next("opened");
    using second = await connectTo(forwarder.address);
    await log.next("opened", 1);
    assertEquals(await forwarder.abort({ connection: opened.connection }), 1);
    await howItEnds(first);
    assertEquals((await log.next("closed")).reason, "aborted");
    await writeAll(second, new Uint8Array([9]));
    assertEquals((await readExactly(second, 1))[0], 9);
    assertEquals(await forwarder.abort({ connection: opened.connection }), 0);
    assertEquals(await forwarder.abort({ remote: 1 }), 1);
    await howItEnds(second);
    assertEquals(forwarder.stats().ended.aborted, 2);
  });

  test("frees the port when it stops accepting, open connections go on", async (forward) => {
    await using server = echoServer();
    const forwarder = await forward(server.address);
    using client = await connectTo(forwarder.address);
    await writeAll(client, new Uint8Array([1]));
    await readExactly(client, 1);
    await forwarder.stopAccepting();
    const again = await forward(server.address, { listen: forwarder.address });
    assertEquals(again.address.port, forwarder.address.port);
    await writeAll(client, new Uint8Array([2]));
    assertEquals((await readExactly(client, 1))[0], 2);
    assertEquals(forwarder.stats().open, 1);
  });

  test("drains: ends when its last connection does", async (forward, log) => {
    await using server = echoServer();
    const forwarder = await forward(server.address);
    const client = await connectTo(forwarder.address);
    await log.next("opened");
    const drained = forwarder.drain();
    await writeAll(client, new Uint8Array([5]));
    assertEquals((await readExactly(client, 1))[0], 5);
    client.close();
    await drained;
    await forwarder.finished;
    assertEquals(forwarder.stats().ended.eof, 1);
  });

  test(
    "drains: closes what is left after the deadline",
    async (forward, log) => {
      await using server = echoServer();
      const forwarder = await forward(server.address);
      using client = await connectTo(forwarder.address);
      await log.next("opened");
      await forwarder.drain(50);
      await howItEnds(client);
      assertEquals(forwarder.stats().ended.closed, 1);
      assertEquals((await log.next("closed")).reason, "closed");
    },
  );

  test(
    "takes new remotes, and keeps connections to removed ones",
    async (forward, log) => {
      await using one = new TestServer(async (conn) => {
        for (;;) {
          const byte = (await readExactly(conn, 1))[0]!;
          await writeAll(conn, new Uint8Array([byte + 1]));
        }
      });
      await using two = echoServer();
      const forwarder = await forward(one.address);
      using old = await connectTo(forwarder.address);
      await log.next("opened");
      await forwarder.update({ remotes: [{ id: 2, address: two.address }] });
      using fresh = await connectTo(forwarder.address);
      await writeAll(fresh, new Uint8Array([1]));
      assertEquals((await readExactly(fresh, 1))[0], 1);
      await writeAll(old, new Uint8Array([1]));
      assertEquals((await readExactly(old, 1))[0], 2);
      assertEquals([...forwarder.stats().remotes.keys()].sort(), [1, 2]);
      old.close();
      await log.next("closed");
      assertEquals([...forwarder.stats().remotes.keys()], [2]);
    },
  );

  test("rejects clients where there is no remote", async (forward, log) => {
    const forwarder = await forward(refusingAddress(), { remotes: [] });
    await howTurnedAway(forwarder.address);
    const rejected = await log.next("rejected");
    assertEquals(rejected.reason, "no-remote");
    assertEquals(rejected.attempts, 0);
  });

  test(
    "rejects clients above the limit, and takes more when some have left",
    async (forward, log) => {
      await using server = echoServer();
      const forwarder = await forward(server.address, { maxConnections: 1 });
      const first = await connectTo(forwarder.address);
      await log.next("opened");
      await howTurnedAway(forwarder.address);
      assertEquals((await log.next("rejected")).reason, "limit");
      first.close();
      await log.next("closed");
      using third = await connectTo(forwarder.address);
      await writeAll(third, new Uint8Array([3]));
      assertEquals((await readExactly(third, 1))[0], 3);
    },
  );

  test("changes deadlines of open connections", async (forward, log) => {
    await using server = hangingServer();
    const forwarder = await forward(server.address);
    using client = await connectTo(forwarder.address);
    await log.next("opened");
    await forwarder.update({ deadlines: { idleTimeoutMs: 100 } });
    await howItEnds(client);
    assertEquals((await log.next("closed")).reason, "idle-timeout");
  });

  test("tells what is asked for and nothing more", async (forward, log) => {
    await using server = echoServer();
    const forwarder = await forward(server.address, { report: "problems" });
    const talk = async () => {
      using client = await connectTo(forwarder.address);
      await writeAll(client, new Uint8Array(3));
      await readExactly(client, 3);
      await client.closeWrite();
      await readToEnd(client);
    };
    await talk();
    await until(() => forwarder.stats().ended.eof === 1, forwarder);
    await forwarder.update({ report: "traffic" });
    await talk();
    await log.next("closed");
    assertEquals(log.events.map(({ type }) => type), [
      "opened",
      "traffic",
      "closed",
    ]);
    const traffic = await log.next("traffic");
    assertEquals([traffic.upstream, traffic.downstream], [3, 3]);
  });

  test("has all counters back where they belong after many connections", async (forward) => {
    await using server = echoServer();
    const forwarder = await forward(server.address);
    const message = randomBytes(2000);
    await Promise.all(Array.from({ length: 100 }, async () => {
      using client = await connectTo(forwarder.address);
      await writeAll(client, message);
      await readExactly(client, message.length);
      await client.closeWrite();
      await readToEnd(client);
    }));
    await until(() => forwarder.stats().open === 0, forwarder);
    const stats = forwarder.stats();
    assertEquals(stats.accepted, 100);
    assertEquals(stats.opened, 100);
    assertEquals(stats.ended.eof, 100);
    assertEquals(stats.opening, 0);
    assertEquals(stats.bytesUpstream, 200_000);
    assertEquals(stats.bytesDownstream, 200_000);
    const remote = stats.remotes.get(1)!;
    assertEquals([remote.open, remote.pending, remote.opened], [0, 0, 100]);
    assertEquals(sum(remote.connectMs.buckets), 100);
    assertEquals(sum(stats.durationMs.buckets), 100);
    assertEquals(await forwarder.connections(), []);
  });

  test("listens and dials over IPv6", async (forward, log) => {
    await using server = echoServer("::1");
    const forwarder = await forward(server.address, {
      listen: { hostname: "::1", port: 0 },
    });
    using client = await connectTo(forwarder.address);
    await writeAll(client, new Uint8Array([6]));
    assertEquals((await readExactly(client, 1))[0], 6);
    const { port } = client.localAddr as Deno.NetAddr;
    assertEquals((await log.next("opened")).client, `[::1]:${port}`);
  }, needsIpv6());

  test("counts right and never below zero, whatever comes in which order", async (forward) => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.constant("connect" as const) },
      { weight: 4, arbitrary: fc.constant("talk" as const) },
      fc.constantFrom(
        "finish" as const,
        "close" as const,
        "abort one" as const,
        "abort remote" as const,
        "to another" as const,
        "to none" as const,
        "to a dead one" as const,
      ),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ step, pick: fc.nat(1000) }), {
          minLength: 10,
          maxLength: 40,
        }),
        async (steps) => {
          await using one = echoServer();
          await using two = echoServer();
          const forwarder = await forward(one.address);
          const clients: Deno.TcpConn[] = [];
          let remote = 1;
          const turnTo = (...addresses: Address[]) =>
            forwarder.update({
              remotes: addresses.map((address) => ({ id: ++remote, address })),
            });
          for (const { step, pick } of steps) {
            const [client] = clients.splice(pick % (clients.length || 1), 1);
            switch (step) {
              case "connect": {
                // One that is turned away may have its reset before this ends.
                const fresh = await connectTo(forwarder.address)
                  .catch(() => undefined);
                if (fresh) clients.push(fresh);
                break;
              }
              case "talk":
                await client?.write(new Uint8Array(1 + pick * 5)).catch(
                  () => {},
                );
                break;
              case "finish":
                await client?.closeWrite().catch(() => {});
                if (client) await howItEnds(client);
                break;
              case "close":
                client?.close();
                continue;
              case "abort one":
                await forwarder.abort({ connection: 1 + pick % 5 });
                break;
              case "abort remote":
                await forwarder.abort({ remote });
                break;
              case "to another":
                await turnTo(pick % 2 ? one.address : two.address);
                break;
              case "to none":
                await turnTo();
                break;
              case "to a dead one":
                await turnTo(refusingAddress());
                break;
            }
            if (client) clients.push(client);
            await countersHold(forwarder);
          }
          for (const client of clients) close(client);
          await forwarder.drain(1000);
          await countersHold(forwarder);
          const stats = forwarder.stats();
          assertEquals([stats.open, stats.opening], [0, 0]);
          for (const { open, pending } of stats.remotes.values()) {
            assertEquals([open, pending], [0, 0]);
          }
        },
      ),
      { numRuns: 15 },
    );
  });

  test("refuses an address that is taken, with its errno", async (forward) => {
    await using server = echoServer();
    const error = await assertRejects(
      async () => await forward(server.address, { listen: server.address }),
      OperationError,
      `Cannot listen on 127.0.0.1:${server.address.port}`,
    );
    assertEquals(error.code, "EADDRINUSE");
  });

  test("closes twice, and drains what is closed", async (forward) => {
    const forwarder = await forward(refusingAddress());
    await Promise.all([forwarder.close(), forwarder.close()]);
    await forwarder.drain();
    await forwarder.finished;
    assertEquals(await forwarder.abort({ remote: 1 }), 0);
  });

  test(
    "speaks TLS on both sides, or refuses it by name",
    async (forward, log, engine) => {
      const vectors = new URL("../vectors/tls/", import.meta.url);
      const cert = await Deno.readTextFile(new URL("localhost.pem", vectors));
      const key = await Deno.readTextFile(new URL("localhost.key", vectors));
      const ca = await Deno.readTextFile(new URL("ca.pem", vectors));
      await using server = echoServer();
      const inner = () => forward(server.address, { tls: { cert, key } });
      if (!engine.features.tls) {
        await assertRejects(inner, UsageError, "TLS");
        return;
      }
      const terminating = await inner();
      const { port } = terminating.address;
      const originating = await forward({ hostname: "localhost", port }, {
        remoteTls: { caCerts: [ca] },
      });
      using client = await connectTo(originating.address);
      const sent = randomBytes(MIB);
      const [received] = await Promise.all([
        readToEnd(client),
        writeAll(client, sent).then(() => client.closeWrite()),
      ]);
      assertEquals(await digest(received), await digest(sent));
      const untrusting = await forward({ hostname: "localhost", port }, {
        remoteTls: {},
      });
      using other = await connectTo(untrusting.address);
      await howItEnds(other);
      assertEquals((await log.next("dial-failed")).failure, "tls");
      using plain = await connectTo(terminating.address);
      await writeAll(plain, new TextEncoder().encode("GET / HTTP/1.0\r\n\r\n"));
      await howItEnds(plain);
      await until(() => terminating.stats().rejected.tls >= 1, terminating);
    },
  );
}

/** Waits for a figure; every connection that comes or goes changes one. */
async function until(
  holds: () => boolean,
  forwarder: Forwarder,
): Promise<void> {
  while (!holds()) {
    await forwarder.connections();
    // An answer of the same thread leaves no turn to what is waited for.
    await new Promise((resolve) => setTimeout(resolve));
  }
}

/** Figures are read while another thread may write them, so they may take a moment to agree. */
async function countersHold(forwarder: Forwarder): Promise<void> {
  for (let i = 0; i < 100; i++) {
    try {
      return assertCountersHold(forwarder.stats());
    } catch {
      await forwarder.connections();
    }
  }
  assertCountersHold(forwarder.stats());
}

function assertCountersHold(stats: ForwardStats): void {
  const { accepted, opened, opening, open, ended, rejected } = stats;
  const figures = [
    ...Object.values(stats),
    ...Object.values(ended),
    ...Object.values(rejected),
    ...[...stats.remotes.values()].flatMap((remote) => Object.values(remote)),
  ].filter((figure) => typeof figure === "number");
  assert(figures.every((figure) => figure >= 0), `${figures}`);
  assertEquals(opened, open + sum(Object.values(ended)));
  assertEquals(accepted, opened + opening + sum(Object.values(rejected)));
}

function randomBytes(count: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count; at += 65536) {
    crypto.getRandomValues(bytes.subarray(at, at + 65536));
  }
  return bytes;
}

async function digest(bytes: Uint8Array): Promise<string> {
  const hash = await crypto.subtle.digest(
    "SHA-256",
    bytes as Uint8Array<ArrayBuffer>,
  );
  return new Uint8Array(hash).toHex();
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

streamSuite(
  "portable",
  () => portableStreamEngine(createPolicy, openSocketControl),
);
if (linuxEngineUnavailable() === undefined) {
  streamSuite("linux", () => linuxStreamEngine());
  streamSuite(
    "linux, of two threads",
    () => linuxStreamEngine({ workers: 2 }),
  );
  streamSuite(
    "linux, with calls that fall short,",
    () => inThreadEngine(fallShort(new FaultyLibc())),
  );
}

/** Options of the sockets of this process whose own end an address is. */
function socketsOn({ hostname, port }: Address) {
  using libc = openLibc();
  const found = [];
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    const fd = Number(name);
    try {
      const own = localAddress(libc, fd);
      if (own.hostname !== hostname || own.port !== port) continue;
    } catch {
      continue; // No socket, or gone.
    }
    const isOn = (level: number, option: number) =>
      readIntOption(libc, fd, level, option) !== 0;
    found.push({
      listens: isOn(SOL_SOCKET, SO_ACCEPTCONN),
      noDelay: isOn(IPPROTO_TCP, TCP_NODELAY),
      keepAlive: isOn(SOL_SOCKET, SO_KEEPALIVE),
    });
  }
  return found;
}
