import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import type { Address } from "../../../net/address.ts";
import { Destination } from "../../../net/udp/sinks/destination.ts";
import {
  RECEIVE_COUNTERS,
  Relay,
  STOP_LOOK_MS,
} from "../../../net/udp/datagram_loop.ts";
import type { DatagramSink } from "../../../net/udp/sinks/sink.ts";
import { DatagramBatch } from "../../../net/engine/batch.ts";
import type { DatagramListener } from "../../../net/engine/datagram.ts";
import { MemoryNetwork } from "../../../net/engine/memory.ts";
import { CounterBlock } from "../../../net/observe/counters.ts";
import {
  batchOf,
  copiedDatagrams,
  datagramsOf,
  numbered,
} from "../../support/batches.ts";

const HERE: Address = { hostname: "127.0.0.1", port: 9920 };

/** Keeps what it is given, and tells when it has so many datagrams. */
class Collector implements DatagramSink {
  readonly datagrams: Uint8Array[] = [];
  flushes = 0;
  #waiting: { least: number; resolve: () => void } | undefined;

  write(batch: DatagramBatch): Promise<void> | void {
    this.datagrams.push(...copiedDatagrams(batch));
    if (this.#waiting && this.datagrams.length >= this.#waiting.least) {
      this.#waiting.resolve();
    }
  }

  flush(): void {
    this.flushes++;
  }

  /** Resolves when it has at least so many. */
  async atLeast(least: number): Promise<void> {
    if (this.datagrams.length >= least) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting = { least, resolve };
    await promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

interface Rig {
  network: MemoryNetwork;
  listener: DatagramListener;
  sender: Destination;
  counters: CounterBlock<typeof RECEIVE_COUNTERS[number]>;
}

async function rig(queueDatagrams?: number): Promise<Rig> {
  const network = new MemoryNetwork(
    queueDatagrams === undefined ? {} : { queueDatagrams },
  );
  const listener = await network.engine.listen({ address: HERE });
  const sender = await Destination.open(network.engine, {
    address: HERE,
    maxWaitMs: 0,
  });
  return {
    network,
    listener,
    sender,
    counters: new CounterBlock(RECEIVE_COUNTERS),
  };
}

const slots = fc.array(
  fc.record({
    length: fc.oneof(fc.nat({ max: 20 }), fc.nat({ max: 3000 })),
    segmentSize: fc.integer({ min: 1, max: 1452 }),
    seed: fc.nat({ max: 255 }),
  }).map(({ length, segmentSize, seed }) => ({
    bytes: numbered(length, seed),
    segmentSize,
  })),
  { minLength: 1, maxLength: 5 },
);

Deno.test("Relay gives every datagram to every sink in order, and counts them", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(slots, { maxLength: 10 }),
      async (batches) => {
        const { listener, sender, counters } = await rig();
        const sinks = [new Collector(), new Collector()];
        const relay = new Relay({ listener, sinks, counters: counters.slots });
        const running = relay.run();
        const expected: Uint8Array[] = [];
        for (const slots of batches) {
          expected.push(
            ...datagramsOf(slots).map((bytes) => new Uint8Array(bytes)),
          );
          await sender.write(batchOf(...slots));
        }
        await sinks[0]!.atLeast(expected.length);
        relay.drain();
        await running;
        for (const { datagrams } of sinks) assertEquals(datagrams, expected);
        assertEquals(counters.read(), {
          receivedDatagrams: expected.length,
          receivedBytes: expected.reduce((sum, { length }) => sum + length, 0),
          droppedKernel: 0,
          receiveErrors: 0,
          dropsUnknown: 0,
          droppedLoop: 0,
        });
      },
    ),
    { numRuns: 25 },
  );
});

Deno.test("Relay.drain takes what has arrived already", async () => {
  const { listener, sender, counters } = await rig();
  const sink = new Collector();
  for (let i = 0; i < 100; i++) {
    await sender.write(batchOf({ bytes: numbered(100, i) }));
  }
  const relay = new Relay({
    listener,
    sinks: [sink],
    counters: counters.slots,
  });
  relay.drain();
  await relay.run();
  assertEquals(sink.datagrams.length, 100);
  assert(sink.flushes > 0);
});

Deno.test("Relay that holds its thread lets the event loop turn, takes what comes and can be drained", async () => {
  const { listener, sender, counters } = await rig();
  let holds = 0;
  const holding: DatagramListener = {
    engine: listener.engine,
    address: listener.address,
    batchSize: listener.batchSize,
    tryReceive: (batch) => listener.tryReceive(batch),
    readable: () => Promise.reject(new Error("it should hold")),
    hold: () => ++holds > 0,
    wake: () => listener.wake(),
    dropped: () => listener.dropped(),
    [Symbol.dispose]: () => listener[Symbol.dispose](),
  };
  const sink = new Collector();
  const relay = new Relay({
    listener: holding,
    sinks: [sink],
    counters: counters.slots,
    holds: true,
  });
  const running = relay.run();
  await new Promise((resolve) => setTimeout(resolve, 0));
  await sender.write(batchOf({ bytes: numbered(10) }));
  await sink.atLeast(1);
  assert(holds > 0);
  relay.drain();
  // A drain waits for what comes late, and not with the thread.
  holding.readable = () => listener.readable(1);
  await running;
  assertEquals(counters.read().receivedDatagrams, 1);
});

Deno.test("Relay.drain ends although senders never stop", async () => {
  const { listener, sender, counters } = await rig();
  const echoing: DatagramSink = {
    // Each datagram that is taken brings the next one.
    write: () => sender.write(batchOf({ bytes: numbered(10) })),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const relay = new Relay({
    listener,
    sinks: [echoing],
    counters: counters.slots,
  });
  const running = relay.run();
  await sender.write(batchOf({ bytes: numbered(10) }));
  relay.drain();
  await running;
});

/**
 * A thread's clock that only its own waits and reads move. Datagrams come every
 * `everyMs`, for ever; a read takes 0.01 ms.
 */
class ClockedListener implements DatagramListener {
  readonly engine = "linux";
  readonly address = HERE;
  readonly batchSize = 1;
  nowMs = 0;
  #nextMs: number;
  readonly #everyMs: number;
  readonly #onWait: (nowMs: number) => void;

  constructor(everyMs: number, onWait: (nowMs: number) => void) {
    this.#nextMs = this.#everyMs = everyMs;
    this.#onWait = onWait;
  }

  tryReceive(batch: DatagramBatch): number {
    this.nowMs += 0.01;
    this.#onWait(this.nowMs);
    batch.count = 0;
    if (this.nowMs < this.#nextMs) return 0;
    this.#nextMs += this.#everyMs;
    batch.setDatagram(0, 10);
    return batch.count = 1;
  }

  readable(timeoutMs = Infinity): void {
    const until = Math.min(this.nowMs + timeoutMs, this.#nextMs);
    // Nobody wakes it: only its own look finds that it is to stop.
    assert(until < Infinity, "a wait without an end");
    this.nowMs = Math.max(this.nowMs, until);
    this.#onWait(this.nowMs);
  }

  wake(): void {}
  dropped(): number {
    return 0;
  }
  readonly droppedIsLeast = false;
  [Symbol.dispose](): void {}
}

Deno.test("Relay with a thread of its own ends within 100 ms of being told, whatever comes", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.constant(Infinity),
        fc.double({ min: 0.001, max: 200, noNaN: true }),
      ),
      fc.double({ min: 0, max: 300, noNaN: true }),
      async (everyMs, toldMs) => {
        const stop = new Int32Array(new SharedArrayBuffer(4));
        let stopped = 0;
        const listener = new ClockedListener(everyMs, (nowMs) => {
          if (nowMs < toldMs || stopped > 0) return;
          // Told at the worst moment: during the wait that has just ended.
          stopped = Math.max(toldMs, nowMs - STOP_LOOK_MS);
          stop[0] = 1;
        });
        await new Relay({
          listener,
          sinks: [],
          counters: new CounterBlock(RECEIVE_COUNTERS).slots,
          stop,
          lookMs: STOP_LOOK_MS,
          ownThread: true,
          now: () => listener.nowMs,
        }).run();
        assert(listener.nowMs - stopped <= 100, `${listener.nowMs - stopped}`);
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("Relay closes its listener when it ends, so that the address is free", async () => {
  const { network, listener, counters } = await rig();
  const relay = new Relay({ listener, sinks: [], counters: counters.slots });
  const running = relay.run();
  await assertRejects(async () => {
    await network.engine.listen({ address: HERE });
  });
  relay.drain();
  await running;
  (await network.engine.listen({ address: HERE }))[Symbol.dispose]();
});

Deno.test("Relay waits for a sink that takes its time, and the others get the same", async () => {
  const { listener, sender, counters } = await rig();
  const steps: (() => void)[] = [];
  const called = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let calls = 0;
  const slow: DatagramSink = {
    write: () =>
      new Promise<void>((resolve) => {
        steps.push(resolve);
        called[calls++]?.resolve();
      }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const sink = new Collector();
  const relay = new Relay({
    listener,
    sinks: [slow, sink],
    counters: counters.slots,
  });
  const running = relay.run();
  await sender.write(batchOf({ bytes: numbered(5) }));
  await called[0]!.promise;
  await sender.write(batchOf({ bytes: numbered(6) }));
  assertEquals(sink.datagrams.length, 0);
  steps[0]!();
  await called[1]!.promise;
  assertEquals(sink.datagrams.map(({ length }) => length), [5]);
  steps[1]!();
  await sink.atLeast(2);
  relay.drain();
  await running;
});

Deno.test("Relay goes on with the good destinations where one refuses", async () => {
  const { network, listener, sender, counters } = await rig();
  const [good, bad]: Address[] = [
    { hostname: "127.0.0.1", port: 1 },
    { hostname: "127.0.0.1", port: 2 },
  ];
  const receiver = await network.engine.listen({ address: good! });
  const destinations = [
    await Destination.open(network.engine, { address: bad!, maxWaitMs: 0 }),
    await Destination.open(network.engine, { address: good!, maxWaitMs: 0 }),
  ];
  const relay = new Relay({
    listener,
    sinks: destinations,
    counters: counters.slots,
  });
  for (let i = 0; i < 10; i++) {
    await sender.write(batchOf({ bytes: numbered(10, i) }));
  }
  relay.drain();
  await relay.run();
  const batch = new DatagramBatch(16);
  assertEquals(receiver.tryReceive(batch), 10);
  const [refused, sent] = destinations.map(({ counters }) => counters.read());
  assertEquals([refused!.droppedRefused, refused!.sentDatagrams], [10, 0]);
  assertEquals([sent!.droppedRefused, sent!.sentDatagrams], [0, 10]);
  receiver[Symbol.dispose]();
});

Deno.test("Relay counts what the listener's queue dropped", async () => {
  const { listener, sender, counters } = await rig(5);
  for (let i = 0; i < 8; i++) {
    await sender.write(batchOf({ bytes: numbered(10, i) }));
  }
  const relay = new Relay({ listener, sinks: [], counters: counters.slots });
  relay.drain();
  await relay.run();
  const { receivedDatagrams, droppedKernel } = counters.read();
  assertEquals([receivedDatagrams, droppedKernel], [5, 3]);
});

/** A listener whose receive calls fail as often as the test says. */
class FailingListener implements DatagramListener {
  readonly engine = "portable" as const;
  readonly address = HERE;
  readonly batchSize = 1;
  disposed = 0;
  #failures: number;
  #left: number;

  constructor(failures: number, datagrams: number) {
    this.#failures = failures;
    this.#left = datagrams;
  }

  tryReceive(batch: DatagramBatch): number {
    if (this.#failures-- > 0) throw new Error("broken");
    if (this.#left-- <= 0) return batch.count = 0;
    batch.setDatagram(0, 1);
    return batch.count = 1;
  }

  async readable(): Promise<void> {}
  wake(): void {}

  dropped(): undefined {}

  [Symbol.dispose](): void {
    this.disposed++;
  }
}

Deno.test("Relay goes on after a few receive errors, counted", async () => {
  const listener = new FailingListener(9, 3);
  const counters = new CounterBlock(RECEIVE_COUNTERS);
  const sink = new Collector();
  const relay = new Relay({
    listener,
    sinks: [sink],
    counters: counters.slots,
  });
  const running = relay.run();
  await sink.atLeast(3);
  relay.drain();
  await running;
  const { receiveErrors, receivedDatagrams } = counters.read();
  assertEquals([receiveErrors, receivedDatagrams], [9, 3]);
});

Deno.test("Relay gives up a listener that only fails, and closes it", async () => {
  const listener = new FailingListener(Infinity, 0);
  const counters = new CounterBlock(RECEIVE_COUNTERS);
  const relay = new Relay({ listener, sinks: [], counters: counters.slots });
  await assertRejects(() => relay.run(), Error, "broken");
  assertEquals(counters.read().receiveErrors, 10);
  assertEquals(listener.disposed, 1);
});
