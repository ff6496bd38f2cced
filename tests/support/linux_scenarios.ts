// deno-lint-ignore-file no-console
/**
 * What the linux engine does on interfaces of its own, run inside a network
 * namespace with `a0` (10.77.0.1, fe80::a%a0) cabled to `b0` (10.77.0.2) of
 * another. Run as a program, with a scenario's name; fails with its error.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import type { Address } from "../../net/address.ts";
import { parseAddress } from "../../net/address.ts";
import { errorCode, OperationError } from "../../net/errors.ts";
import { DatagramBatch } from "../../net/engine/batch.ts";
import { type DatagramListener, SentSlot } from "../../net/engine/datagram.ts";
import { createLinuxEngine } from "../../net/engine/linux/datagram/engine.ts";
import { startServer } from "../../net/udp/server.ts";
import { batchOf, openSender, pattern, receive } from "./datagrams.ts";
import { TestFolder } from "./folder.ts";

const engine = createLinuxEngine({ blocking: false });

function ip(...args: string[]): void {
  const { success, stderr } = new Deno.Command("ip", { args }).outputSync();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

/** Whether nothing is there; what a group's other sockets have is delivered to all at once. */
function silent(listener: DatagramListener): boolean {
  return listener.tryReceive(new DatagramBatch(listener.batchSize)) === 0;
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  using listener = await engine.listen({
    address: { hostname: "::", port: 0 },
  });
  return listener.address.port;
}

async function say(
  address: Address,
  text: number,
  options: Parameters<typeof openSender>[2] = {},
): Promise<void> {
  const { sender, counters } = await openSender(engine, address, options);
  using _ = sender;
  await sender.send(batchOf([pattern(50, text)]));
  assertEquals(counters[SentSlot.datagrams], 1);
}

async function heard(listener: DatagramListener): Promise<Uint8Array> {
  return (await receive(listener, 1))[0]!.bytes;
}

const scenarios: Record<string, () => Promise<void>> = {
  /** Groups of IPv6: by zone, by interface, apart from others, with a source. */
  async "ipv6 groups"() {
    const port = await freePort();
    const group = parseAddress(`[ff12::77%a0]:${port}`);
    using byZone = await engine.listen({ address: group });
    using byInterface = await engine.listen({
      address: parseAddress(`[ff12::77]:${port}`),
      networkInterface: "a0",
    });
    using byAddress = await engine.listen({
      address: parseAddress(`[ff12::77]:${port}`),
      networkInterface: "fe80::a",
    });
    using other = await engine.listen({
      address: parseAddress(`[ff12::78%a0]:${port}`),
    });
    using several = await engine.listen({
      address: parseAddress(`[ff12::77%a0]:${port}`),
      groups: [parseAddress(`[ff12::79%a0]:${port}`)],
    });
    using fromSource = await engine.listen({
      address: parseAddress(`[fe80::a]@[ff12::77%a0]:${port}`),
    });
    using fromOther = await engine.listen({
      address: parseAddress(`[fe80::b]@[ff12::77%a0]:${port}`),
    });
    await say(group, 1);
    for (const one of [byZone, byInterface, byAddress, several, fromSource]) {
      const [{ bytes, source }] = await receive(one, 1) as [
        { bytes: Uint8Array; source: Address },
      ];
      assertEquals(bytes, pattern(50, 1));
      assertEquals(source.hostname, "fe80::a");
      assertEquals(source.zone, "a0");
    }
    assert(silent(other));
    assert(silent(fromOther));
    await say(parseAddress(`[ff12::79%a0]:${port}`), 2);
    assertEquals(await heard(several), pattern(50, 2));
    assert(silent(byZone));
    // Nobody here joined this one for any of the sockets above.
    await say(parseAddress(`[ff12::7a%a0]:${port}`), 3);
    assert(silent(several));
  },

  /** Loop decides whether this machine hears itself. */
  async "loop"() {
    for (
      const group of [
        { hostname: "239.77.2.1", port: await freePort() },
        { hostname: "ff12::2", port: await freePort() },
      ]
    ) {
      const on = { networkInterface: "a0" };
      using listener = await engine.listen({ address: group, ...on });
      await say(group, 1, { ...on, loop: false });
      await say(group, 2, { ...on, loop: true });
      assertEquals(await heard(listener), pattern(50, 2));
      await say(group, 3, on);
      assertEquals(await heard(listener), pattern(50, 3));
      assert(silent(listener));
    }
  },

  /** A group is joined on one interface and not heard on another. */
  async "one interface"() {
    const port = await freePort();
    const group = { hostname: "239.77.2.2", port };
    using onA0 = await engine.listen({
      address: group,
      networkInterface: "a0",
    });
    using onLo = await engine.listen({
      address: group,
      networkInterface: "lo",
    });
    using byAddress = await engine.listen({
      address: group,
      networkInterface: "10.77.0.1",
    });
    await say(group, 1, { networkInterface: "lo" });
    assertEquals(await heard(onLo), pattern(50, 1));
    await say(group, 2, { networkInterface: "10.77.0.1" });
    for (const one of [onA0, byAddress]) {
      const [received] = await receive(one, 1);
      assertEquals(received!.bytes, pattern(50, 2));
      assertEquals(received!.source.hostname, "10.77.0.1");
    }
    assert(silent(onLo));
  },

  /** A role takes an interface that has no address, which Deno does not list. */
  async "no address"() {
    ip("address", "flush", "dev", "a0");
    assert(!Deno.networkInterfaces().some(({ name }) => name === "a0"));
    await using folder = await TestFolder.create();
    for (
      const options of [
        { listen: ["239.77.2.3"], networkInterface: "a0" },
        { listen: ["[ff12::7b%a0]"] },
      ]
    ) {
      const port = await freePort();
      const server = await startServer({
        ...options,
        listen: options.listen.map((host) => parseAddress(`${host}:${port}`)),
        path: join(folder.path, "log"),
        engine: "linux",
      });
      await server.drain();
      await server.finished;
    }
  },

  /** Hosts: a link-local address with its zone, an interface or an address to send from. */
  async "unicast"() {
    using listener = await engine.listen({
      address: parseAddress("[fe80::a%a0]:0", { allowPortZero: true }),
    });
    const { port } = listener.address;
    await say({ hostname: "fe80::a", port, zone: "a0" }, 1);
    const [received] = await receive(listener, 1);
    assertEquals(received!.source.zone, "a0");
    using here = await engine.listen({
      address: { hostname: "10.77.0.1", port: 0 },
    });
    await say(here.address, 2, { networkInterface: "127.0.0.1" });
    assertEquals(
      (await receive(here, 1))[0]!.source.hostname,
      "127.0.0.1",
    );
    using dual = await engine.listen({ address: { hostname: "::", port: 0 } });
    await say({ hostname: "127.0.0.1", port: dual.address.port }, 3);
    assertEquals(
      (await receive(dual, 1))[0]!.source.hostname,
      "127.0.0.1",
    );
  },

  /** Datagrams larger than the path go in fragments, also when the path shrinks. */
  async "path mtu"() {
    const warnings: string[] = [];
    const { sender, counters } = await openSender(engine, {
      hostname: "10.77.0.2",
      port: Number(Deno.args[1]),
    }, { onWarning: (message) => warnings.push(message) });
    using _ = sender;
    const slot = (size: number) =>
      Array.from({ length: 10 }, (_, i) => pattern(size, i));
    await sender.send(batchOf([slot(1472), slot(1473)]));
    assertEquals(warnings, []);
    ip("link", "set", "a0", "mtu", "1000");
    await sender.send(batchOf([slot(900), slot(1400), slot(972)]));
    assertEquals(warnings.length, 1);
    assert(warnings[0]!.includes("more than 972 bytes"), warnings[0]);
    assertEquals(counters[SentSlot.datagrams], 50);
    assertEquals(sender.maxSegments, 128);
  },

  /** An interface that is slower than the sender holds it up and loses nothing. */
  async "slow interface"() {
    const { sender, counters } = await openSender(engine, {
      hostname: "10.77.0.2",
      port: Number(Deno.args[1]),
    }, { maxWaitMs: Infinity });
    using _ = sender;
    const plain = batchOf(
      Array.from({ length: 16 }, (_, i) => pattern(1200 + i, i)),
    );
    const joined = batchOf([
      Array.from({ length: 20 }, (_, i) => pattern(1400, i)),
    ]);
    for (let i = 0; i < 100; i++) {
      await sender.send(plain);
      await sender.send(joined);
    }
    assertEquals(counters[SentSlot.datagrams], 3600);
    assertEquals(counters.subarray(2), new Float64Array(6));
  },

  /** Receives as many datagrams as it is told, on the far end. */
  async "receiver"() {
    const count = Number(Deno.args[1]);
    using listener = await engine.listen({
      address: { hostname: "10.77.0.2", port: 0 },
    });
    console.error(`listening port=${listener.address.port}`);
    const received = await receive(listener, count);
    assertEquals(received.length, count);
    assertEquals(listener.dropped(), 0);
  },

  /** A destination without a way to it. */
  async "no route"() {
    const error = await assertRejects(
      () => openSender(engine, { hostname: "192.0.2.1", port: 9 }),
      OperationError,
      "Cannot send to 192.0.2.1:9: Network is unreachable",
    );
    assertEquals(errorCode(error), "ENETUNREACH");
    await assertRejects(
      async () =>
        await engine.listen({ address: { hostname: "192.0.2.1", port: 0 } }),
      OperationError,
      "use an address of this machine",
    );
    const { sender, counters } = await openSender(engine, {
      hostname: "10.77.0.2",
      port: 9,
    });
    using _ = sender;
    ip("link", "set", "a0", "down");
    await sender.send(batchOf([pattern(20), [pattern(9), pattern(9)]]));
    assertEquals(counters[SentSlot.datagrams], 0);
    assertEquals(counters[SentSlot.unreachable], 3);
  },
};

if (import.meta.main) await scenarios[Deno.args[0]!]!();
