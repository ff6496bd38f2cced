/** Sockets that are opened again, over a network in memory. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { DatagramBatch } from "../../../net/engine/batch.ts";
import {
  type DatagramEngine,
  SEND_COUNTERS,
  SentSlot,
} from "../../../net/engine/datagram.ts";
import { MemoryNetwork } from "../../../net/engine/memory.ts";
import { isRecoverable } from "../../../net/engine/recoverable.ts";
import { ReopeningListener } from "../../../net/engine/reopening_listener.ts";
import { ReopeningSender } from "../../../net/engine/reopening_sender.ts";
import { SocketState } from "../../../net/engine/socket_state.ts";
import { OperationError } from "../../../net/errors.ts";
import { batchOf, pattern, receive } from "../../support/datagrams.ts";

const address = { hostname: "192.0.2.1", port: 9 };

/** An engine over memory whose network a test changes. */
function changingEngine() {
  const memory = new MemoryNetwork().engine;
  const world = { missing: "", path: "a", placement: "1", opened: 0 };
  const fail = () => {
    if (world.missing === "") return;
    throw new OperationError("Cannot open", { code: world.missing });
  };
  const engine: DatagramEngine = {
    ...memory,
    placement: () => {
      fail();
      return world.placement;
    },
    listen: (options) => {
      fail();
      world.opened++;
      return memory.listen(options);
    },
    connect: async (options) => {
      fail();
      world.opened++;
      const sender = await memory.connect(options);
      return Object.defineProperty(sender, "path", { value: world.path });
    },
  };
  return { engine, world };
}

async function openSender(engine: DatagramEngine, state: SocketState) {
  const counters = new Float64Array(SEND_COUNTERS.length);
  const lost: string[] = [];
  const sender = await ReopeningSender.open(engine, {
    address,
    maxWaitMs: 0,
    counters,
    state,
    onLost: (reason) => lost.push(reason),
  });
  return { sender, counters, lost };
}

Deno.test("a sender without a network counts what it drops, and sends after a check", async () => {
  const { engine, world } = changingEngine();
  using listener = await engine.listen({ address });
  world.missing = "ENETUNREACH";
  const state = new SocketState();
  const { sender, counters, lost } = await openSender(engine, state);
  using _ = sender;
  assertEquals([state.open, state.losses, lost.length], [false, 1, 1]);
  await sender.send(batchOf([pattern(3), pattern(4)]));
  assertEquals(counters[SentSlot.unreachable], 2);
  // A check that fails again is the same loss.
  state.requestCheck();
  await sender.send(batchOf([pattern(3)]));
  assertEquals([state.losses, lost.length], [1, 1]);
  world.missing = "";
  await sender.send(batchOf([pattern(3)]));
  assertEquals(counters[SentSlot.unreachable], 4);
  state.requestCheck();
  await sender.send(batchOf([pattern(5)]));
  assertEquals((await receive(listener, 1))[0]!.bytes, pattern(5));
  assertEquals([state.open, state.losses, state.reopens], [true, 1, 1]);
});

Deno.test("a sender is replaced where its path or its name's address has changed, or by force", async () => {
  const { engine, world } = changingEngine();
  using _listener = await engine.listen({ address });
  const state = new SocketState();
  const { sender } = await openSender(engine, state);
  using _ = sender;
  const check = async (force = false) => {
    state.requestCheck(force);
    await sender.check();
    await sender.send(batchOf([pattern(1)]));
    return state.reopens;
  };
  assertEquals(await check(), 0);
  world.path = "b";
  assertEquals(await check(), 1);
  assertEquals(await check(), 1);
  assertEquals(await check(true), 2);
  // Without a request nothing is opened.
  const { opened } = world;
  await sender.check();
  await sender.send(batchOf([pattern(1)]));
  assertEquals(world.opened, opened);
});

Deno.test("a sender moves to another address of its name, and stays at one that still is", async () => {
  const { engine } = changingEngine();
  const state = new SocketState();
  state.hostnames = ["192.0.2.1", "192.0.2.2"];
  const counters = new Float64Array(SEND_COUNTERS.length);
  using sender = await ReopeningSender.open(engine, {
    address: { hostname: "name.example", port: 9 },
    maxWaitMs: 0,
    counters,
    state,
  });
  using old = await engine.listen({ address });
  using other = await engine.listen({
    address: { hostname: "192.0.2.2", port: 9 },
  });
  const sends = async (hostnames: string[], byte: number) => {
    state.hostnames = hostnames;
    state.requestCheck();
    await sender.send(batchOf([pattern(byte)]));
  };
  await sends(["192.0.2.2", "192.0.2.1"], 1);
  assertEquals((await receive(old, 1)).length, 1);
  await sends(["192.0.2.2"], 2);
  assertEquals((await receive(other, 1))[0]!.bytes, pattern(2));
});

Deno.test("a listener stays while its placement is the same, and is opened again at another", async () => {
  const { engine, world } = changingEngine();
  const state = new SocketState();
  const lost: string[] = [];
  using listener = await ReopeningListener.open(engine, {
    address,
    state,
    onLost: (reason) => lost.push(reason),
  });
  const check = async () => {
    state.requestCheck();
    await listener.readable();
    return world.opened;
  };
  assertEquals(await check(), 1);
  world.placement = "2";
  assertEquals(await check(), 2);
  assertEquals(state.reopens, 1);
  world.missing = "ENODEV";
  await check();
  await check();
  assertEquals([state.open, state.losses, lost.length], [false, 1, 1]);
  world.missing = "";
  await check();
  assertEquals([state.open, state.reopens], [true, 2]);
  // Nothing was missing but the interface: the socket is the one of before.
  assertEquals(world.opened, 2);
});

Deno.test("a listener receives what is queued before it is checked, and waits to be opened", async () => {
  const { engine, world } = changingEngine();
  const state = new SocketState();
  world.missing = "EADDRNOTAVAIL";
  using listener = await ReopeningListener.open(engine, { address, state });
  const batch = new DatagramBatch(listener.batchSize);
  assertEquals(listener.tryReceive(batch), 0);
  const waiting = listener.readable();
  assert(waiting instanceof Promise);
  world.missing = "";
  state.requestCheck();
  listener.wake();
  await waiting;
  await listener.readable();
  const { sender } = await openSender(engine, new SocketState());
  using _ = sender;
  await sender.send(batchOf([pattern(1)]));
  state.requestCheck();
  assertEquals(listener.tryReceive(batch), 1);
});

Deno.test("conflicts and mistakes are not waited out, nor is a listener on any port", async () => {
  const { engine, world } = changingEngine();
  for (
    const [code, port] of [["EADDRINUSE", 9], ["EACCES", 9], ["ENODEV", 0]]
  ) {
    world.missing = code as string;
    await assertRejects(
      () =>
        ReopeningListener.open(engine, {
          address: { ...address, port: port as number },
          state: new SocketState(),
        }),
      OperationError,
    );
  }
  assert(isRecoverable(new OperationError("", { code: "ENOTFOUND" })));
  assert(!isRecoverable(new OperationError("")));
  const cause = new Deno.errors.NotCapable("");
  assert(!isRecoverable(new OperationError("", { code: "ENODEV", cause })));
});

Deno.test("SocketState keeps as many addresses as there is room for", () => {
  const state = new SocketState();
  assertEquals(state.hostnames, []);
  const many = Array.from({ length: 500 }, (_, i) => `2001:db8::${i}`);
  state.hostnames = many;
  const kept = new SocketState(state.buffer).hostnames;
  assert(kept.length >= 20);
  assertEquals(kept, many.slice(0, kept.length));
  state.hostnames = ["192.0.2.1"];
  assertEquals(state.hostnames, ["192.0.2.1"]);
});
