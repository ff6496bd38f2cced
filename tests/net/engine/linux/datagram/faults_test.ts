/** Each errno as the man pages say, with libc told to give it. */
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { errorCode, OperationError } from "../../../../../net/errors.ts";
import { DatagramBatch } from "../../../../../net/engine/batch.ts";
import {
  type DatagramEngine,
  SentSlot,
} from "../../../../../net/engine/datagram.ts";
import {
  createLinuxEngine,
  linuxEngineUnavailable,
} from "../../../../../net/engine/linux/datagram/engine.ts";
import * as c from "../../../../../net/engine/linux/ffi/constants.ts";
import type { LinuxListener } from "../../../../../net/engine/linux/datagram/listener.ts";
import {
  assertDatagrams,
  batchOf,
  despiteReordering,
  openSender,
  pattern,
  receive,
} from "../../../../support/datagrams.ts";
import { FaultyLibc } from "../../../../support/faulty_libc.ts";
import { testUnless } from "../../../../support/skip.ts";

const loopback = { hostname: "127.0.0.1", port: 0 };

function test(
  name: string,
  fn: (libc: FaultyLibc, engine: DatagramEngine) => Promise<void>,
): void {
  for (const blocking of [false, true]) {
    testUnless(
      linuxEngineUnavailable(),
      `${name}${blocking ? ", in a thread of its own" : ""}`,
      () =>
        despiteReordering(async () => {
          using libc = new FaultyLibc();
          await fn(libc, createLinuxEngine({ blocking, libc }));
          assertEquals(libc.opened, closed(libc), "descriptors left open");
        }),
    );
  }
}

const count = (libc: FaultyLibc, name: string) => libc.calls.get(name) ?? 0;

const closed = (libc: FaultyLibc) => count(libc, "close");

/** Six datagrams in four slots: three that join, one apart, two that join. */
function sixDatagrams(): Uint8Array<ArrayBuffer>[][] {
  return [
    [pattern(900, 1), pattern(900, 2)],
    [pattern(900, 3)],
    [pattern(1000, 4)],
    [pattern(300, 5), pattern(300, 6)],
  ];
}

/** Sends the six with faults and expects all of them, in order. */
async function expectAll(
  engine: DatagramEngine,
  prepare: () => void,
  options: { onWarning?: (message: string) => void } = {},
): Promise<{ counters: Float64Array; maxSegments: number }> {
  using listener = await engine.listen({ address: loopback });
  const { sender, counters } = await openSender(
    engine,
    listener.address,
    options,
  );
  using _ = sender;
  prepare();
  const sent = sixDatagrams();
  await sender.send(batchOf(sent));
  const received = await receive(listener, 6);
  assertDatagrams(received, sent.flat());
  assertEquals(counters[SentSlot.datagrams], 6);
  assertEquals(counters[SentSlot.bytes], 3 * 900 + 1000 + 600);
  return { counters, maxSegments: sender.maxSegments };
}

/** Lets joined messages fail; single datagrams pass. */
function failJoined(
  libc: FaultyLibc,
  errno: number,
  when: (segments: number, segmentSize: number) => boolean = () => true,
): void {
  libc.put("sendmmsg", (real, fd, headers, count, flags) => {
    const words = headers as Uint32Array<ArrayBuffer>;
    for (let i = 0; i < count; i++) {
      if (words[i * 16 + 10] === 0) continue;
      const { segments, size } = joinedMessage(words, i);
      if (!when(segments, size)) continue;
      return i === 0 ? libc.fail(errno) : real(fd, headers, i, flags);
    }
    return real(fd, headers, count, flags);
  });
}

/** What a message header asks for, read through its pointers. */
function joinedMessage(
  words: Uint32Array<ArrayBuffer>,
  index: number,
): { segments: number; size: number } {
  const word = (at: number) =>
    BigInt(words[index * 16 + at]!) |
    BigInt(words[index * 16 + at + 1]!) << 32n;
  const view = (address: bigint) =>
    new Deno.UnsafePointerView(Deno.UnsafePointer.create(address)!);
  const size = view(word(8)).getUint16(16);
  let bytes = 0;
  for (let i = 0; i < Number(word(6)); i++) {
    bytes += Number(view(word(4)).getBigUint64(i * 16 + 8));
  }
  return { segments: Math.ceil(bytes / size), size };
}

test("tryReceive() goes on after EINTR", async (libc, engine) => {
  await expectAll(engine, () => {
    libc.failNext("recvmmsg", [c.EINTR, c.EINTR, 0, c.EINTR]);
  });
});

test("tryReceive() finds nothing at EAGAIN", async (libc, engine) => {
  using listener = await engine.listen({ address: loopback });
  libc.failNext("recvmmsg", [c.EAGAIN]);
  const batch = new DatagramBatch(4);
  batch.count = 2;
  assertEquals(listener.tryReceive(batch), 0);
  assertEquals(batch.count, 0);
});

test(
  "tryReceive() throws what is wrong with the socket",
  async (libc, engine) => {
    using listener = await engine.listen({ address: loopback });
    libc.failNext("recvmmsg", [c.ENOMEM]);
    const error = assertThrows(
      () => listener.tryReceive(new DatagramBatch(4)),
      OperationError,
      "Cannot receive on 127.0.0.1:",
    );
    assertEquals(errorCode(error), "ENOMEM");
    assertEquals(listener.tryReceive(new DatagramBatch(4)), 0);
  },
);

test("tryReceive() takes short counts", async (libc, engine) => {
  await expectAll(engine, () => {
    libc.put(
      "recvmmsg",
      (real, fd, headers, _count, flags, timeout) =>
        real(fd, headers, 1, flags, timeout),
    );
  });
});

test("readable() ends at EINTR", async (libc, engine) => {
  using listener = await engine.listen({ address: loopback });
  libc.failNext("poll", [c.EINTR]);
  listener.wake();
  await listener.readable();
});

test("send() goes on after EINTR", async (libc, engine) => {
  await expectAll(engine, () => {
    libc.failNext("sendmmsg", [c.EINTR, c.EINTR]);
  });
});

test("send() goes on after short counts", async (libc, engine) => {
  await expectAll(engine, () => {
    libc.put(
      "sendmmsg",
      (real, fd, headers, _count, flags) => real(fd, headers, 1, flags),
    );
  });
  assert(count(libc, "sendmmsg") > 2);
});

test("send() waits at EAGAIN and loses nothing", async (libc, engine) => {
  const { counters } = await expectAll(engine, () => {
    libc.failNext("sendmmsg", [c.EAGAIN, c.EAGAIN, 0]);
  });
  assertEquals(counters[SentSlot.queueFull], 0);
  assertEquals(count(libc, "poll") + count(libc, "pollAside") >= 2, true);
});

test("send() waits at ENOBUFS and loses nothing", async (libc, engine) => {
  const { counters } = await expectAll(engine, () => {
    libc.failNext("sendmmsg", [c.ENOBUFS, c.ENOBUFS]);
  });
  assertEquals(counters[SentSlot.queueFull], 0);
});

test(
  "send() waits between short counts and loses nothing",
  async (libc, engine) => {
    await expectAll(engine, () => {
      let turn = 0;
      libc.put(
        "sendmmsg",
        (real, fd, headers, _count, flags) =>
          turn++ % 2 === 0 ? libc.fail(c.EAGAIN) : real(fd, headers, 1, flags),
      );
    });
  },
);

test(
  "send() drops what a full queue does not take in time, and counts it",
  async (libc, engine) => {
    using listener = await engine.listen({ address: loopback });
    for (
      const [errno, maxWaitMs] of [[c.EAGAIN, 0], [c.EAGAIN, 3], [
        c.ENOBUFS,
        3,
      ]] as const
    ) {
      const { sender, counters } = await openSender(engine, listener.address, {
        maxWaitMs,
      });
      using _ = sender;
      // The first message goes, then the queue is full for ever.
      let calls = 0;
      libc.put(
        "sendmmsg",
        (real, fd, headers, _count, flags) =>
          calls++ === 0 ? real(fd, headers, 1, flags) : libc.fail(errno),
      );
      await sender.send(batchOf(sixDatagrams()));
      assertEquals(counters[SentSlot.datagrams], 3);
      assertEquals(counters[SentSlot.queueFull], 3);
      await receive(listener, 3);
      // The next batch starts anew.
      libc.put("sendmmsg", (real, ...args) => real(...args));
      await sender.send(batchOf([pattern(5)]));
      assertEquals((await receive(listener, 1))[0]!.bytes, pattern(5));
    }
  },
);

for (
  const [errno, name, slot] of [
    [c.ECONNREFUSED, "refusal", SentSlot.refused],
    [c.EHOSTUNREACH, "host that is not reached", SentSlot.unreachable],
    [c.EMSGSIZE, "path that is too narrow", SentSlot.tooBig],
    [c.EACCES, "prohibition", SentSlot.permission],
    [c.ENOPROTOOPT, "host without UDP", SentSlot.other],
  ] as const
) {
  test(
    `send() that is told of a ${name} for a datagram before sends again and counts that one as dropped alone`,
    async (libc, engine) => {
      using listener = await engine.listen({ address: loopback });
      const { sender, counters } = await openSender(engine, listener.address);
      using _ = sender;
      await sender.send(batchOf([pattern(700)]));
      await receive(listener, 1);
      libc.failNext("sendmmsg", [errno]);
      const sent = sixDatagrams();
      await sender.send(batchOf(sent));
      assertDatagrams(await receive(listener, 6), sent.flat());
      assertEquals(counters[slot], 1);
      assertEquals(counters[SentSlot.datagrams], 6);
      assertEquals(sender.maxSegments, 128);
    },
  );
}

test(
  "send() counts each datagram that ICMP says was refused once, and no longer as sent",
  async (_libc, engine) => {
    const gone = await engine.listen({ address: loopback });
    gone[Symbol.dispose]();
    // Alone, several a call, and joined, for which there is one answer.
    const alone = batchOf([pattern(900)]);
    const several = batchOf([pattern(900), new Uint8Array(0), pattern(900)]);
    const joined = batchOf([[pattern(900, 1), pattern(900, 2), pattern(900)]]);
    for (
      const [batch, most] of [[alone, 20], [several, 60], [joined, 60]] as const
    ) {
      const { sender, counters } = await openSender(engine, gone.address);
      for (let i = 0; i < 20; i++) await sender.send(batch);
      sender[Symbol.dispose]();
      const refused = counters[SentSlot.refused]!;
      assertEquals(counters[SentSlot.datagrams]! + refused, most);
      // A busy machine may answer so late that the sender has closed.
      assert(refused > most / 2, `${refused} of ${most}`);
      assert(
        counters[SentSlot.bytes]! <= 900 * counters[SentSlot.datagrams]!,
        `${counters}`,
      );
    }
  },
);

for (
  const [errno, name, slot] of [
    [c.ECONNREFUSED, "refused", SentSlot.refused],
    [c.ENETUNREACH, "unreachable", SentSlot.unreachable],
    [c.EHOSTUNREACH, "unreachable", SentSlot.unreachable],
    [c.EPERM, "not permitted", SentSlot.permission],
    [c.EMSGSIZE, "too big", SentSlot.tooBig],
    [999, "failing otherwise", SentSlot.other],
  ] as const
) {
  test(
    `send() counts a datagram as ${name} (${errno}) and sends the rest`,
    async (libc, engine) => {
      using listener = await engine.listen({ address: loopback });
      const { sender, counters } = await openSender(engine, listener.address);
      using _ = sender;
      // Sizes that rise are not joined: each is a message of its own.
      const sent = [pattern(10), pattern(20), pattern(30)];
      libc.put("sendmmsg", (real, fd, headers, count, flags) => {
        const words = headers as Uint32Array<ArrayBuffer>;
        const view = (i: number) => {
          const at = BigInt(words[i * 16 + 4]!) |
            BigInt(words[i * 16 + 5]!) << 32n;
          return new Deno.UnsafePointerView(Deno.UnsafePointer.create(at)!);
        };
        for (let i = 0; i < count; i++) {
          if (view(i).getBigUint64(8) !== 20n) continue;
          return i === 0 ? libc.fail(errno) : real(fd, headers, i, flags);
        }
        return real(fd, headers, count, flags);
      });
      await sender.send(batchOf(sent));
      const received = await receive(listener, 2);
      assertDatagrams(received, [sent[0]!, sent[2]!]);
      assertEquals(counters[SentSlot.datagrams], 2);
      assertEquals(counters[slot], 1);
      assertEquals(counters.reduce((sum, one) => sum + one), 2 + 40 + 1);
    },
  );
}

for (
  const [errno, name] of [
    [c.EIO, "EIO"],
    [c.EINVAL, "EINVAL"],
    [c.ENOSYS, "ENOSYS"],
    [c.EOPNOTSUPP, "EOPNOTSUPP"],
  ] as const
) {
  test(
    `send() sends one by one after ${name} on a joined send, and loses nothing`,
    async (libc, engine) => {
      const warnings: string[] = [];
      const { maxSegments } = await expectAll(
        engine,
        () => failJoined(libc, errno),
        { onWarning: (message) => warnings.push(message) },
      );
      assertEquals(maxSegments, 1);
      assertEquals(warnings.length, 1);
      assert(warnings[0]!.includes(name));
    },
  );
}

test(
  "send() joins at most 64 after EINVAL on more, and loses nothing",
  async (libc, engine) => {
    using listener = await engine.listen({ address: loopback });
    const { sender } = await openSender(engine, listener.address, {
      onWarning: (message) => {
        throw new Error(message);
      },
    });
    using _ = sender;
    assertEquals(sender.maxSegments, 128);
    failJoined(libc, c.EINVAL, (segments) => segments > 64);
    const sent = Array.from({ length: 128 }, (_, i) => pattern(50, i));
    await sender.send(batchOf([sent.slice(0, 100), sent.slice(100)]));
    const received = await receive(listener, 128);
    assertDatagrams(received, sent);
    assertEquals(sender.maxSegments, 64);
  },
);

test(
  "send() sends what is larger than a path that shrank one by one, and joins the rest",
  async (libc, engine) => {
    const warnings: string[] = [];
    libc.put("getsockopt", (real, fd, level, option, value, length) => {
      const result = real(fd, level, option, value, length);
      if (level === c.IPPROTO_IP && option === c.IP_MTU) {
        (value as Int32Array<ArrayBuffer>)[0] = shrunk ? 528 : 1500;
      }
      return result;
    });
    let shrunk = false;
    const { maxSegments } = await expectAll(engine, () => {
      shrunk = true;
      failJoined(libc, c.EMSGSIZE, (_, size) => size > 500);
    }, { onWarning: (message) => warnings.push(message) });
    assertEquals(maxSegments, 128);
    assertEquals(warnings.length, 1);
    assert(warnings[0]!.includes("more than 500 bytes"));
  },
);

test(
  "connect() joins nothing where the kernel does not know how",
  async (libc, engine) => {
    libc.failOptions([[c.SOL_UDP, c.UDP_SEGMENT]], c.ENOPROTOOPT);
    const { maxSegments } = await expectAll(engine, () => {});
    assertEquals(maxSegments, 1);
  },
);

test(
  "listen() does not join reads without the right to count them",
  async (libc, engine) => {
    libc.put("bpfSyscall", () => BigInt(libc.fail(c.EPERM)));
    await expectAll(engine, () => {});
    const notes: string[] = [];
    using listener = await engine.listen({
      address: loopback,
      onNote: (message) => notes.push(message),
    });
    assertEquals((listener as LinuxListener).joinsReads, false);
    assertEquals(notes.length, 1);
    assertStringIncludes(
      notes[0]!,
      "grant CAP_BPF or set sysctl kernel.unprivileged_bpf_disabled=0",
    );
    await expectExactDrops(engine, listener as LinuxListener);
  },
);

test(
  "listen() notes nothing where the kernel, and no right, keeps it from counting",
  async (libc, engine) => {
    libc.put("bpfSyscall", () => BigInt(libc.fail(c.ENOSYS)));
    const notes: string[] = [];
    using listener = await engine.listen({
      address: loopback,
      onNote: (message) => notes.push(message),
    });
    assertEquals((listener as LinuxListener).joinsReads, false);
    assertEquals(notes, []);
  },
);

test(
  "dropped() is told with the next datagram by a kernel without SO_MEMINFO",
  async (libc, engine) => {
    libc.failOptions([[c.SOL_SOCKET, c.SO_MEMINFO]], c.ENOPROTOOPT);
    using listener = await engine.listen({
      address: loopback,
      receiveBufferBytes: 20_000,
    });
    assertEquals((listener as LinuxListener).joinsReads, false);
    await expectExactDrops(engine, listener as LinuxListener);
  },
);

test(
  "dropped() is unknown where the kernel does not tell",
  async (libc, engine) => {
    libc.failOptions([
      [c.SOL_SOCKET, c.SO_MEMINFO],
      [c.SOL_SOCKET, c.SO_RXQ_OVFL],
    ], c.ENOPROTOOPT);
    using listener = await engine.listen({ address: loopback });
    assertEquals(listener.dropped(), undefined);
  },
);

/** Overflows a listener's queue and expects the count to be right. */
async function expectExactDrops(
  engine: DatagramEngine,
  listener: LinuxListener,
): Promise<void> {
  const { sender, counters } = await openSender(engine, listener.address);
  using _ = sender;
  const joined = Array.from({ length: 60 }, (_, i) => pattern(1000, i));
  for (let i = 0; i < 400; i++) await sender.send(batchOf([joined]));
  let received = 0;
  const batch = new DatagramBatch(listener.batchSize);
  while (listener.tryReceive(batch) > 0) received += batch.datagrams();
  // What SO_RXQ_OVFL tells comes with the next datagram.
  await sender.send(batchOf([pattern(3)]));
  received += (await receive(listener, 1, batch)).length;
  assertEquals(received + listener.dropped()!, counters[SentSlot.datagrams]);
  assert(listener.dropped()! > 0);
}

test(
  "listen() warns of a receive queue that the system clamps, and names the limit",
  async (libc, engine) => {
    const warnings: string[] = [];
    const limits = await Deno.readTextFile("/proc/sys/net/core/rmem_max");
    const wanted = Number(limits) * 2;
    libc.failOptions([[c.SOL_SOCKET, c.SO_RCVBUFFORCE]], c.EPERM);
    using _quiet = await engine.listen({
      address: loopback,
      onWarning: (message) => warnings.push(message),
    });
    assertEquals(warnings, []);
    using _ = await engine.listen({
      address: loopback,
      receiveBufferBytes: wanted,
      onWarning: (message) => warnings.push(message),
    });
    assertEquals(warnings, [
      `The receive queue has ${
        Number(limits)
      } bytes and not the ${wanted} that were asked for: raise the limit with sysctl net.core.rmem_max=${wanted}`,
    ]);
  },
);

test(
  "listen() and connect() say what the system refuses, and leave nothing open",
  async (libc, engine) => {
    libc.failNext("socket", [24]);
    const error = await assertRejects(
      async () => await engine.listen({ address: loopback }),
      OperationError,
      "Cannot listen on 127.0.0.1:0: Too many open files (socket: EMFILE); raise",
    );
    assertEquals(errorCode(error), "EMFILE");
    libc.failNext("socket", []).failNext("bind", [c.EACCES]);
    await assertRejects(
      async () => await engine.listen({ address: loopback }),
      OperationError,
      "Permission denied",
    );
    libc.failNext("eventfd", [24]);
    await assertRejects(
      async () => await engine.listen({ address: loopback }),
      OperationError,
      "EMFILE",
    );
    libc.failNext("connect", [c.ENETUNREACH]);
    await assertRejects(
      async () => await openSender(engine, { hostname: "127.0.0.1", port: 9 }),
      OperationError,
      "Cannot send to 127.0.0.1:9: Network is unreachable",
    );
  },
);
