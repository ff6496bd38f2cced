/** The roles as functions of the library: handles, signals, ends; the sanitizers find what they leave open. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Address, parseAddress } from "../../../net/address.ts";
import { startClient } from "../../../net/udp/client.ts";
import { startProxy } from "../../../net/udp/proxy.ts";
import { startReverseProxy } from "../../../net/udp/reverse_proxy.ts";
import { OperationError, UsageError } from "../../../net/errors.ts";
import { Log } from "../../../net/observe/log.ts";
import {
  freeUdpPort,
  ownGroup,
  Receiver,
  Sender,
} from "../../support/datagram_peer.ts";
import { testOnEngines } from "../../support/engines.ts";
import { TestFolder } from "../../support/folder.ts";
import { needsLinux } from "../../support/skip.ts";
import { assertAllPlaced, placedBytes } from "../../support/streams.ts";
import {
  refusingAddress,
  TestReader,
  TestServer,
  writeAll,
} from "../../support/tcp.ts";

const ANY: Address = { hostname: "127.0.0.1", port: 0 };

/** A log that tells nobody. */
const log = new Log({ write: () => {} });

testOnEngines(
  "startClient sends a file, then `finished` resolves and the figures stay",
  async (engine) => {
    await using files = await TestFolder.create();
    const bytes = placedBytes(50_000);
    const path = await files.file("data", bytes);
    await using receiver = await Receiver.open();
    await using client = await startClient({
      path,
      destinations: [receiver.address],
      bitsPerSecond: 100e6,
      engine,
      log,
    });
    await client.finished;
    await receiver.atLeastBytes(bytes.length);
    assertAllPlaced(receiver.datagrams, bytes);
    const stats = client.stats();
    assertEquals(
      [stats.readBytes, stats.sizeBytes, stats.cutDatagrams],
      [50_000, 50_000, 35],
    );
    const [sent] = stats.destinations;
    assertEquals([sent!.sentBytes, sent!.droppedDatagrams], [50_000, 0]);
  },
);

testOnEngines(
  "startClient ends by its signal, by drain and by disposal",
  async (engine) => {
    await using files = await TestFolder.create();
    const path = await files.file("log", "one\n");
    const options = { path, follow: true, engine, log };
    const abort = new AbortController();
    await using receiver = await Receiver.open();
    const destinations = [receiver.address];
    const bySignal = await startClient({
      ...options,
      destinations,
      signal: abort.signal,
    });
    await receiver.atLeast(1);
    abort.abort();
    await bySignal.finished;

    const byDrain = await startClient({ ...options, destinations });
    await receiver.atLeast(2);
    await byDrain.drain();

    {
      await using _ = await startClient({ ...options, destinations });
      await receiver.atLeast(3);
    }
    const before = await startClient({
      ...options,
      destinations,
      signal: AbortSignal.abort(),
    });
    await before.finished;
  },
);

testOnEngines(
  "startClient rejects `finished` where reading fails, and leaves nothing open",
  async (engine) => {
    await using receiver = await Receiver.open();
    const client = await startClient({
      path: "/proc/self/mem",
      destinations: [receiver.address],
      engine,
      log,
    });
    const { message } = await assertRejects(
      () => client.finished,
      OperationError,
    );
    assertEquals(message, 'Cannot read "/proc/self/mem": Input/output error');
  },
  needsLinux(),
);

testOnEngines(
  "startProxy forwards until its signal, and tells real ports",
  async (engine) => {
    await using one = await Receiver.open();
    const abort = new AbortController();
    await using host = new TestServer(async (conn) => {
      await writeAll(conn, new TextEncoder().encode("tcp"));
      await conn.read(new Uint8Array(1));
    });
    const proxy = await startProxy({
      listen: [ANY, { hostname: "::1", port: 0 }],
      connect: [{ address: host.address }, { address: refusingAddress() }],
      destinations: [one.address],
      engine,
      log,
      signal: abort.signal,
    });
    await one.atLeast(1);
    for (const [i, address] of proxy.addresses.entries()) {
      assert(address.port > 0);
      await using sender = await Sender.open(address);
      await sender.send(`udp ${i}`);
      await one.atLeast(i + 2);
    }
    assertEquals(one.texts, ["tcp", "udp 0", "udp 1"]);
    abort.abort();
    await proxy.finished;
    const { listeners, sources, destinations } = proxy.stats();
    assertEquals(listeners.map((stats) => stats.receivedDatagrams), [1, 1]);
    assertEquals(sources.map((stats) => stats.connects), [1, 0]);
    assertEquals(destinations.map((stats) => stats.sentDatagrams), [3]);
  },
);

testOnEngines("startProxy opens all or nothing", async (engine) => {
  await using held = await Receiver.open();
  const free: Address = { ...ANY, port: await freeUdpPort() };
  await assertRejects(
    () =>
      startProxy({
        listen: [free, held.address],
        destinations: [parseAddress("127.0.0.1:9")],
        engine,
        log,
      }),
    OperationError,
    "Address already in use",
  );
  // What was opened before is closed: the port can be had.
  await using _ = await Receiver.open(`127.0.0.1:${free.port}`);
  await assertRejects(
    () => startProxy({ listen: [], destinations: [], engine, log }),
    UsageError,
    "No source",
  );
});

testOnEngines(
  "startReverseProxy serves subscribers until it is disposed of",
  async (engine) => {
    const group = { hostname: ownGroup(), port: await freeUdpPort() };
    let reader: TestReader;
    {
      await using reverse = await startReverseProxy({
        udpListen: [ANY],
        tcpListen: [ANY],
        tcpOutput: [ANY],
        group,
        networkInterface: "lo",
        engine,
        log,
      });
      reader = await TestReader.connect(reverse.tcpOutput[0]!);
      while (reverse.stats().subscribers.connected === 0) {
        await new Promise((resolve) => setTimeout(resolve));
      }
      await using sender = await Sender.open(reverse.udpListen[0]!);
      await sender.send("one;");
      await reader.atLeast(4);
      using producer = await Deno.connect({ ...reverse.tcpListen[0]! });
      await writeAll(producer, new TextEncoder().encode("two;"));
      await reader.atLeast(8);
      const { subscribers, producers } = reverse.stats();
      assertEquals(
        [
          subscribers.sentBytes,
          subscribers.sentDatagrams,
          producers[0]!.readBytes,
        ],
        [8, 2, 4],
      );
    }
    assertEquals(await reader.ended(), "eof");
    assertEquals(reader.text, "one;two;");
    await reader[Symbol.asyncDispose]();
  },
  needsLinux(),
);
