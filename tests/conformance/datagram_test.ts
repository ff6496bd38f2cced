/** What every datagram engine must do, asked of every one. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { Address } from "../../net/address.ts";
import { errorCode, OperationError, UsageError } from "../../net/errors.ts";
import { DatagramBatch, MAX_DATAGRAM_BYTES } from "../../net/engine/batch.ts";
import type {
  DatagramEngine,
  DatagramListener,
  DatagramListenOptions,
} from "../../net/engine/datagram.ts";
import { SentSlot } from "../../net/engine/datagram.ts";
import {
  createLinuxEngine,
  linuxEngineUnavailable,
} from "../../net/engine/linux/datagram/engine.ts";
import { MemoryNetwork } from "../../net/engine/memory.ts";
import { isRecoverable } from "../../net/engine/recoverable.ts";
import {
  denoDatagramEngine,
  hasDenoDatagram,
} from "../../net/engine/portable/datagram/deno.ts";
import { nodeDatagramEngine } from "../../net/engine/portable/datagram/node.ts";
import { copiedDatagrams } from "../support/batches.ts";
import {
  assertDatagrams,
  batchOf,
  despiteReordering,
  openSender,
  pattern,
  receive,
} from "../support/datagrams.ts";
import {
  needsIpv6,
  needsLinux,
  type SkipReason,
  testUnless,
} from "../support/skip.ts";

/** What an engine can do; what it cannot it must refuse with a UsageError. */
interface DatagramAbilities {
  /** Why it cannot be tested here. */
  skip?: SkipReason;
  /** Whether it is over the system's sockets, and so has groups, names and limits. */
  sockets: boolean;
  /** Whether a wait holds the thread, so that nobody here could end it. */
  blocking: boolean;
  /** `receiveBufferBytes`. */
  receiveBuffer: boolean;
  /** `reusePort`. */
  reusePort: boolean;
  /** Groups with a source. */
  sourceSpecific: boolean;
}

function datagramConformance(
  name: string,
  makeEngine: () => DatagramEngine,
  abilities: DatagramAbilities,
): void {
  const loopback = { hostname: "127.0.0.1", port: 0 };
  const test = (title: string, fn: () => Promise<void>, skip?: SkipReason) =>
    testUnless(
      abilities.skip ?? skip,
      `${name}: ${title}`,
      () => despiteReordering(fn),
    );
  const lo = { networkInterface: "lo" };
  const noSockets = abilities.sockets ? undefined : "it has no sockets";
  const notLinux = noSockets ?? needsLinux();
  const holds = abilities.blocking ? "a wait holds the thread" : undefined;

  test("listen() on port 0 tells the port that it got", async () => {
    using listener = await makeEngine().listen({ address: loopback });
    assertEquals(listener.address.hostname, "127.0.0.1");
    assert(listener.address.port > 0);
    assert(listener.batchSize >= 1);
  });

  test("tryReceive() finds nothing without waiting", async () => {
    using listener = await makeEngine().listen({ address: loopback });
    const batch = new DatagramBatch(listener.batchSize);
    batch.count = 1;
    assertEquals(listener.tryReceive(batch), 0);
    assertEquals(batch.count, 0);
  });

  for (const hostname of ["127.0.0.1", "::1"]) {
    test(
      `send() keeps order and boundaries to ${hostname}`,
      async () => {
        const engine = makeEngine();
        using listener = await engine.listen({
          address: { hostname, port: 0 },
        });
        const { sender, counters } = await openSender(engine, listener.address);
        using _ = sender;
        const sent = [3, 1, 1400, 0, 7].map(pattern);
        await sender.send(batchOf(sent));
        const received = await receive(listener, sent.length);
        assertDatagrams(received, sent);
        assertEquals(counters[SentSlot.datagrams], 5);
        assertEquals(counters[SentSlot.bytes], 1411);
        assertEquals(received[0]!.source.hostname, hostname);
        assert(received[0]!.source.port > 0);
        for (const { source } of received) {
          assertEquals(source, received[0]!.source);
        }
      },
      hostname === "::1" ? noSockets : undefined,
    );
  }

  test("send() takes slots of joined datagrams apart", async () => {
    const engine = makeEngine();
    using listener = await engine.listen({ address: loopback });
    const { sender, counters } = await openSender(engine, listener.address);
    using _ = sender;
    const joined = [pattern(1000, 1), pattern(1000, 2), pattern(10, 3)];
    const sent = [joined, pattern(0), joined.slice(0, 2), pattern(1000, 4)];
    await sender.send(batchOf(sent));
    const received = await receive(listener, 7);
    assertDatagrams(received, sent.flat());
    assertEquals(counters[SentSlot.datagrams], 7);
    assertEquals(counters[SentSlot.bytes], 5010);
  });

  test("send() and tryReceive() keep any boundaries", async () => {
    const engine = makeEngine();
    using listener = await engine.listen({ address: loopback });
    const { sender, counters } = await openSender(engine, listener.address);
    using _ = sender;
    const size = fc.oneof(
      fc.integer({ min: 0, max: 40 }),
      fc.constant(512),
      fc.integer({ min: 0, max: 3000 }),
    );
    const slot = fc.tuple(
      size,
      fc.integer({ min: 0, max: 6 }),
      fc.integer({ min: 0, max: 3000 }),
    ).map(([size, repeats, tail]) =>
      size === 0 ? [0] : [
        ...new Array<number>(repeats + 1).fill(size),
        ...(tail % size > 0 ? [tail % size] : []),
      ]
    );
    // A receive queue that nobody enlarged still takes this much.
    const slots = fc.array(slot, { minLength: 1, maxLength: 20 }).filter((
      sizes,
    ) =>
      sizes.flat().length <= 60 &&
      sizes.flat().reduce((sum, one) => sum + one + 1000, 0) < 80_000
    );
    await fc.assert(
      fc.asyncProperty(slots, (sizes) =>
        despiteReordering(async () => {
          let seed = 0;
          const sent = sizes.map((slot) =>
            slot.map((length) => pattern(length, seed++))
          );
          const before = counters[SentSlot.datagrams]!;
          await sender.send(batchOf(sent));
          assertEquals(counters[SentSlot.datagrams]! - before, seed);
          const received = await receive(listener, seed);
          assertDatagrams(received, sent.flat());
        })),
      { numRuns: 60 },
    );
  });

  test("send() takes the largest datagram", async () => {
    const engine = makeEngine();
    using listener = await engine.listen({ address: loopback });
    const { sender } = await openSender(engine, listener.address);
    using _ = sender;
    const sent = pattern(MAX_DATAGRAM_BYTES);
    await sender.send(batchOf([sent]));
    assertEquals((await receive(listener, 1))[0]!.bytes, sent);
  });

  test(
    "send() counts a datagram that is too big and goes on",
    async () => {
      const engine = makeEngine();
      using listener = await engine.listen({ address: loopback });
      const { sender, counters } = await openSender(engine, listener.address);
      using _ = sender;
      await sender.send(batchOf([pattern(65536), pattern(5)]));
      assertEquals((await receive(listener, 1))[0]!.bytes, pattern(5));
      assertEquals(counters[SentSlot.tooBig], 1);
      assertEquals(counters[SentSlot.datagrams], 1);
    },
    noSockets,
  );

  test(
    "send() to a port where nobody listens goes on",
    async () => {
      const engine = makeEngine();
      const listener = await engine.listen({ address: loopback });
      const { address } = listener;
      listener[Symbol.dispose]();
      const { sender, counters } = await openSender(engine, address);
      using _ = sender;
      for (let i = 0; i < 10; i++) await sender.send(batchOf([pattern(9)]));
      // Where the system tells of it, a datagram counts as refused and not as sent.
      assertEquals(
        counters[SentSlot.datagrams]! + counters[SentSlot.refused]!,
        10,
      );
      assertEquals(
        counters[SentSlot.bytes],
        9 * counters[SentSlot.datagrams]!,
      );
      using again = await listenAgain(engine, listener.address);
      await sender.send(batchOf([pattern(3)]));
      assertEquals((await receive(again, 1))[0]!.bytes, pattern(3));
    },
    noSockets,
  );

  test("tryReceive() takes more than one batch in order", async () => {
    const engine = makeEngine();
    using listener = await engine.listen({ address: loopback });
    const { sender } = await openSender(engine, listener.address);
    using _ = sender;
    // Sizes that fall never join, so that each is a read of its own.
    const sent = Array.from({ length: 90 }, (_, i) => pattern(100 + i, i));
    await sender.send(batchOf(sent));
    const received = await receive(listener, sent.length);
    assertDatagrams(received, sent);
  });

  test("tryReceive() tells the senders apart", async () => {
    const engine = makeEngine();
    using listener = await engine.listen({ address: loopback });
    const senders = [];
    using stack = new DisposableStack();
    for (let i = 0; i < 3; i++) {
      const { sender } = await openSender(engine, listener.address);
      senders.push(stack.use(sender));
    }
    for (let turn = 0; turn < 2; turn++) {
      for (const [i, sender] of senders.entries()) {
        await sender.send(batchOf([pattern(10, i)]));
      }
    }
    const received = await receive(listener, 6);
    for (let i = 0; i < 3; i++) {
      const [first, second, ...more] = received.filter(({ bytes }) =>
        String(bytes) === String(pattern(10, i))
      );
      assertEquals(more, []);
      assertEquals(first!.source, second!.source);
    }
    assertEquals(
      new Set(received.map(({ source }) => source.port)).size,
      3,
    );
  });

  test("readable() ends after its timeout", async () => {
    using listener = await makeEngine().listen({ address: loopback });
    const batch = new DatagramBatch(listener.batchSize);
    assertEquals(listener.tryReceive(batch), 0);
    await listener.readable(1);
    assertEquals(listener.tryReceive(batch), 0);
  });

  test("readable() ends when a datagram comes", async () => {
    const engine = makeEngine();
    using listener = await engine.listen({ address: loopback });
    const batch = new DatagramBatch(listener.batchSize);
    assertEquals(listener.tryReceive(batch), 0);
    const { sender } = await openSender(engine, listener.address);
    using _ = sender;
    const waiting = listener.readable();
    await sender.send(batchOf([pattern(4)]));
    await waiting;
    assertEquals((await receive(listener, 1, batch))[0]!.bytes, pattern(4));
  }, holds);

  test("wake() ends the next wait at once", async () => {
    using listener = await makeEngine().listen({ address: loopback });
    assertEquals(
      listener.tryReceive(new DatagramBatch(listener.batchSize)),
      0,
    );
    listener.wake();
    listener.wake();
    await listener.readable();
  });

  test("wake() ends a wait", async () => {
    using listener = await makeEngine().listen({ address: loopback });
    assertEquals(
      listener.tryReceive(new DatagramBatch(listener.batchSize)),
      0,
    );
    for (let i = 0; i < 3; i++) {
      const waiting = listener.readable();
      listener.wake();
      await waiting;
    }
  }, holds);

  test("[Symbol.dispose]() ends a wait", async () => {
    const listener = await makeEngine().listen({ address: loopback });
    assertEquals(
      listener.tryReceive(new DatagramBatch(listener.batchSize)),
      0,
    );
    const waiting = listener.readable();
    listener[Symbol.dispose]();
    listener[Symbol.dispose]();
    await waiting;
  }, holds);

  test("[Symbol.dispose]() gives the port back", async () => {
    const engine = makeEngine();
    const first = await engine.listen({ address: loopback });
    await assertRejects(
      async () => await engine.listen({ address: first.address }),
      OperationError,
    ).then((error) => assertEquals(errorCode(error), "EADDRINUSE"));
    first[Symbol.dispose]();
    using second = await listenAgain(engine, first.address);
    assertEquals(second.address, first.address);
  });

  test("listen() and connect() resolve names", async () => {
    const engine = makeEngine();
    const address = { hostname: "localhost", port: 0 };
    using listener = await engine.listen({ address });
    const { sender } = await openSender(engine, {
      hostname: "localhost",
      port: listener.address.port,
    });
    using _ = sender;
    await sender.send(batchOf([pattern(8)]));
    assertEquals((await receive(listener, 1))[0]!.bytes, pattern(8));
  }, noSockets);

  test("checkInterface() refuses what can be no interface's name", () => {
    const engine = makeEngine();
    engine.checkInterface("127.0.0.1");
    engine.checkInterface("fe80::1");
    engine.checkInterface("nosuch0");
    for (const text of ["", ".", "a/b", "of more than 15 bytes", "a:b"]) {
      assertThrows(() => engine.checkInterface(text), UsageError, text);
    }
    return Promise.resolve();
  }, notLinux);

  test(
    "listen(), connect() and placement() fail where an interface is missing",
    async () => {
      const engine = makeEngine();
      const group = { hostname: "239.77.1.1", port: 0 };
      for (const networkInterface of ["nosuch0", "192.0.2.254"]) {
        const failing = [
          async () => await engine.listen({ address: group, networkInterface }),
          () => openSender(engine, { ...group, port: 9 }, { networkInterface }),
          () =>
            Promise.resolve().then(() =>
              engine.placement({ address: group, networkInterface })
            ),
        ];
        for (const call of failing) {
          const error = await assertRejects(
            call,
            OperationError,
            networkInterface,
          );
          // An interface may come: whoever opens the socket tries again.
          assert(isRecoverable(error));
        }
      }
    },
    noSockets,
  );

  test(
    "checkConnect() and connect() refuse the unspecified address",
    async () => {
      const engine = makeEngine();
      for (const hostname of ["0.0.0.0", "::"]) {
        const address = { hostname, port: 9 };
        assertThrows(() => engine.checkConnect({ address }), UsageError);
        await assertRejects(() => openSender(engine, address), UsageError);
      }
    },
    noSockets,
  );

  test(
    "listen() on the unspecified address shares its port with groups, and with nobody else",
    async () => {
      const engine = makeEngine();
      const group = { hostname: "239.77.1.9", port: 0 };
      using first = await engine.listen({ address: group, ...lo });
      const { port } = first.address;
      const any = { hostname: "0.0.0.0", port };
      using listener = await engine.listen({ address: any });
      using second = await engine.listen({
        address: { hostname: "239.77.1.10", port },
        ...lo,
      });
      const { sender } = await openSender(engine, {
        hostname: "127.0.0.1",
        port,
      });
      using _ = sender;
      await sender.send(batchOf([pattern(5)]));
      assertEquals((await receive(listener, 1))[0]!.bytes, pattern(5));
      for (const joined of [first, second]) {
        const { sender } = await openSender(engine, joined.address, lo);
        using _ = sender;
        await sender.send(batchOf([pattern(6)]));
        assertEquals((await receive(joined, 1))[0]!.bytes, pattern(6));
      }
      const error = await assertRejects(
        async () => await makeEngine().listen({ address: any }),
        OperationError,
      );
      assertEquals(error.code, "EADDRINUSE");
      using shared = await engine.listen({ address: any, sharePort: true });
      assertEquals(shared.address.port, port);
    },
    notLinux,
  );

  for (const first of ["0.0.0.0", "::"]) {
    test(
      `listen() takes [::] and 0.0.0.0 on one port, ${first} first`,
      async () => {
        const engine = makeEngine();
        using free = await engine.listen({ address: loopback });
        const { port } = free.address;
        free[Symbol.dispose]();
        const open = (hostname: string) =>
          listenAgain(engine, { hostname, port }, {
            v6Only: true,
            // An engine that cannot leave IPv4 out takes its own for another's.
            ownsPort: first === "::" && hostname !== "::" &&
              !abilities.receiveBuffer,
          });
        using one = await open(first);
        using other = await open(first === "::" ? "0.0.0.0" : "::");
        for (const listener of [one, other]) {
          const hostname = listener.address.hostname === "::"
            ? "::1"
            : "127.0.0.1";
          const { sender } = await openSender(engine, { hostname, port });
          using _ = sender;
          await sender.send(batchOf([pattern(7)]));
          const [received] = await receive(listener, 1);
          assertEquals(received!.source.hostname, hostname);
        }
      },
      notLinux ?? needsIpv6(),
    );
  }

  test("an IPv4 sender is an IPv4 address on [::] too", async () => {
    const engine = makeEngine();
    using listener = await engine.listen({
      address: { hostname: "::", port: 0 },
    });
    const { port } = listener.address;
    const { sender } = await openSender(engine, {
      hostname: "127.0.0.1",
      port,
    });
    using _ = sender;
    await sender.send(batchOf([pattern(7)]));
    const [received] = await receive(listener, 1);
    assertEquals(received!.source.hostname, "127.0.0.1");
  }, notLinux ?? needsIpv6());

  test("listen() joins a group that all who joined hear", async () => {
    const engine = makeEngine();
    const hostname = "239.77.1.2";
    using one = await engine.listen({ address: { hostname, port: 0 }, ...lo });
    const { port } = one.address;
    using two = await engine.listen({ address: { hostname, port }, ...lo });
    using other = await engine.listen({
      address: { hostname: "239.77.1.3", port },
      ...lo,
    });
    const { sender } = await openSender(engine, one.address, lo);
    using _ = sender;
    const joined = [pattern(700, 1), pattern(700, 2), pattern(9, 3)];
    await sender.send(batchOf([joined]));
    for (const listener of [one, two]) {
      const received = await receive(listener, 3);
      assertDatagrams(received, joined);
    }
    assertEquals(await silent(other), true);
  }, notLinux);

  test("listen() hears several groups on one socket", async () => {
    const engine = makeEngine();
    const groups = ["239.77.1.4", "239.77.1.5", "239.77.1.6"].map((
      hostname,
    ) => ({ hostname, port: 0 }));
    using all = await engine.listen({
      address: groups[0]!,
      groups: groups.slice(1),
      ...lo,
    });
    const { port } = all.address;
    for (const [i, group] of groups.entries()) {
      const { sender } = await openSender(engine, { ...group, port }, lo);
      using _ = sender;
      await sender.send(batchOf([pattern(20, i)]));
      assertEquals((await receive(all, 1))[0]!.bytes, pattern(20, i));
    }
  }, notLinux);

  test("connect() sends to a broadcast address", async () => {
    const engine = makeEngine();
    using listener = await engine.listen({
      address: { hostname: "0.0.0.0", port: 0 },
    });
    const { port } = listener.address;
    const { sender, counters } = await openSender(engine, {
      hostname: "127.255.255.255",
      port,
    });
    using _ = sender;
    await sender.send(batchOf([[pattern(50, 1), pattern(50, 2)]]));
    const received = await receive(listener, 2);
    assertDatagrams(received, [
      pattern(50, 1),
      pattern(50, 2),
    ]);
    assertEquals(counters[SentSlot.datagrams], 2);
  }, notLinux);

  const source = { hostname: "239.77.1.8", port: 0, source: "127.0.0.1" };
  if (abilities.sourceSpecific) {
    test("listen() hears the source of a group alone", async () => {
      const engine = makeEngine();
      using listener = await engine.listen({ address: source, ...lo });
      using other = await engine.listen({
        address: {
          ...source,
          port: listener.address.port,
          source: "127.0.0.9",
        },
        ...lo,
      });
      const { source: _, ...group } = listener.address;
      const { sender } = await openSender(engine, group, lo);
      using _sender = sender;
      await sender.send(batchOf([pattern(60)]));
      assertEquals((await receive(listener, 1))[0]!.bytes, pattern(60));
      assertEquals(await silent(other), true);
    }, notLinux);
  } else {
    test("checkListen() and listen() refuse a source", async () => {
      const options = { address: source, ...lo };
      assertThrows(() => makeEngine().checkListen(options), UsageError);
      await assertRejects(
        async () => await makeEngine().listen(options),
        UsageError,
      );
    }, notLinux);
  }
  test("checkConnect() and connect() refuse a source", async () => {
    const address = { ...source, port: 9 };
    assertThrows(() => makeEngine().checkConnect({ address }), UsageError);
    await assertRejects(
      () => openSender(makeEngine(), address, lo),
      UsageError,
    );
  }, notLinux);

  if (abilities.reusePort) {
    test("listen() shares a port among several", async () => {
      const engine = makeEngine();
      using one = await engine.listen({ address: loopback, reusePort: true });
      using two = await engine.listen({
        address: one.address,
        reusePort: true,
        ownsPort: true,
      });
      assertEquals(two.address, one.address);
      // Another program that shares a port of its own is a stranger.
      await assertRejects(
        async () =>
          await engine.listen({ address: one.address, reusePort: true }),
        OperationError,
        "EADDRINUSE",
      );
      let received = 0;
      const batch = new DatagramBatch(one.batchSize);
      // The kernel spreads senders by a hash of both ends.
      for (let i = 0; i < 16; i++) {
        const { sender } = await openSender(engine, one.address);
        using _ = sender;
        await sender.send(batchOf([pattern(5)]));
        received += one.tryReceive(batch) + two.tryReceive(batch);
      }
      assertEquals(received, 16);
    });
  } else {
    test("checkListen() and listen() refuse to share a port", async () => {
      const options = { address: loopback, reusePort: true };
      assertThrows(() => makeEngine().checkListen(options), UsageError);
      await assertRejects(
        async () => await makeEngine().listen(options),
        UsageError,
      );
    }, noSockets);
  }

  test(
    abilities.receiveBuffer
      ? "listen() takes the size of the receive queue"
      : "listen() refuses the size of the receive queue",
    async () => {
      const options = { address: loopback, receiveBufferBytes: 100_000 };
      if (abilities.receiveBuffer) {
        using listener = await makeEngine().listen(options);
        assert(listener.address.port > 0);
      } else {
        await assertRejects(
          async () => await makeEngine().listen(options),
          UsageError,
        );
      }
    },
    noSockets,
  );
}

/**
 * Whether a listener has heard nothing. Loopback delivers within the send, so
 * what another listener has received already would be here too.
 */
async function silent(listener: DatagramListener): Promise<boolean> {
  const batch = new DatagramBatch(listener.batchSize);
  if (listener.tryReceive(batch) > 0) return false;
  // An engine that receives by promises needs the event loop to know.
  await listener.readable(20);
  return listener.tryReceive(batch) === 0;
}

/** Listens where a closed listener was; some close their socket in a later turn of the event loop. */
async function listenAgain(
  engine: DatagramEngine,
  address: Address,
  options: Partial<DatagramListenOptions> = {},
): Promise<DatagramListener> {
  for (let turn = 0;; turn++) {
    try {
      return await engine.listen({ address, ...options });
    } catch (error) {
      if (turn === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }
}

const linux = {
  skip: linuxEngineUnavailable(),
  sockets: true,
  blocking: false,
  receiveBuffer: true,
  reusePort: true,
  sourceSpecific: true,
} as const satisfies DatagramAbilities;

const portable = {
  sockets: true,
  blocking: false,
  receiveBuffer: false,
  reusePort: false,
  sourceSpecific: false,
} as const satisfies DatagramAbilities;

datagramConformance(
  "linux",
  () => createLinuxEngine({ blocking: false }),
  linux,
);
datagramConformance(
  "linux in a thread of its own",
  () => createLinuxEngine({ blocking: true }),
  { ...linux, blocking: true },
);
datagramConformance(
  "linux without joined reads",
  () => createLinuxEngine({ blocking: false, joinReads: "never" }),
  linux,
);
datagramConformance("Deno.listenDatagram", () => denoDatagramEngine, {
  ...portable,
  skip: hasDenoDatagram() ? undefined : "it wants --unstable-net",
});
datagramConformance("node:dgram", () => nodeDatagramEngine, {
  ...portable,
  sourceSpecific: true,
});
datagramConformance("memory", () => new MemoryNetwork().engine, {
  ...portable,
  sockets: false,
});

Deno.test("copiedDatagrams() finds what batchOf() was given", () => {
  const slots = [[pattern(4), pattern(4, 1), pattern(1, 2)], pattern(0)];
  assertEquals(copiedDatagrams(batchOf(slots)), slots.flat());
});
