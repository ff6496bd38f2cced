/** The proxy with its relays in Workers. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { setImmediate } from "node:timers";
import { formatAddress } from "../../../../net/address.ts";
import { startProxy } from "../../../../net/udp/proxy.ts";
import { linuxEngineUnavailable } from "../../../../net/engine/linux/datagram/engine.ts";
import { OperationError, UsageError } from "../../../../net/errors.ts";
import { Log } from "../../../../net/observe/log.ts";
import {
  freeUdpPort,
  Receiver,
  Sender,
} from "../../../support/datagram_peer.ts";
import { startPeer, startRole } from "../../../support/process.ts";
import { needsProgram, testUnless } from "../../../support/skip.ts";
import { descriptors, holds, workerThreads } from "../../../support/threads.ts";

const needsEngine = linuxEngineUnavailable();
const loopback = { hostname: "127.0.0.1", port: 0 };
const quiet = new Log({ level: "error" });

/** Senders with source ports of their own, as long as the scope. */
async function openSenders(count: number, to: string) {
  const stack = new AsyncDisposableStack();
  const senders: Sender[] = [];
  for (let i = 0; i < count; i++) {
    senders.push(stack.use(await Sender.open(to)));
  }
  return {
    senders,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

testUnless(
  needsEngine,
  "proxy --workers spreads senders over its threads, and the sums are right",
  async () => {
    await using receiver = await Receiver.open();
    await using proxy = startRole("proxy", [
      ...["--udp-listen-addr", "127.0.0.1:0", "--workers=4"],
      ...["--udp-downstream-addr", receiver.text, "--grace=600"],
    ]);
    const found = await proxy.lines(/ listening address=(\S+)/, 4);
    const addresses = found.map(([, address]) => address!);
    assertEquals(new Set(addresses).size, 1);
    assertEquals(workerThreads(proxy.pid), 4);
    // One shard for all of so many ports: one in 4^31 runs.
    await using all = await openSenders(32, addresses[0]!);
    const expected: string[] = [];
    for (let round = 0; round < 10; round++) {
      for (const [i, sender] of all.senders.entries()) {
        const text = `${i} ${round}`;
        expected.push(text);
        await sender.send(text);
      }
      await receiver.atLeast(expected.length);
    }
    assertEquals([...receiver.texts].sort(), [...expected].sort());
    // A sender stays with its shard, so its datagrams stay in order.
    for (let i = 0; i < 32; i++) {
      const own = receiver.texts.filter((text) => text.startsWith(`${i} `));
      assertEquals(own, Array.from({ length: 10 }, (_, n) => `${i} ${n}`));
    }
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    const counts = [
      ...stderr.matchAll(
        /^received on .*?, ([\d ]+) datagrams? .*, 0 dropped/gm,
      ),
    ].map(([, count]) => Number(count));
    assertEquals(counts.length, 4, stderr);
    assertEquals(counts.reduce((all, count) => all + count), 320);
    assert(counts.filter((count) => count > 0).length > 1, counts.join());
    assertMatch(
      stderr,
      new RegExp(`sent to ${receiver.text}: .*, 320 datagrams .*, 0 dropped`),
    );
  },
);

testUnless(
  needsEngine,
  "startProxy counts a destination that fails in its Workers, beside one that does not",
  async () => {
    const nobody = { hostname: "127.0.0.1", port: await freeUdpPort() };
    await using receiver = await Receiver.open();
    await using proxy = await startProxy({
      listen: [loopback],
      workers: 2,
      engine: "linux",
      destinations: [nobody, receiver.address],
      log: quiet,
    });
    assertEquals(workerThreads(), 2);
    await using all = await openSenders(
      16,
      formatAddress(proxy.addresses[0]!),
    );
    let sent = 0;
    for (let round = 0; round < 4; round++) {
      for (const sender of all.senders) {
        await sender.send("datagram");
        await receiver.atLeast(++sent);
      }
    }
    await proxy.drain();
    const [failing, good] = proxy.stats().destinations;
    assertEquals([good!.sentDatagrams, good!.droppedDatagrams], [sent, 0]);
    // What was refused counts no longer as sent.
    assert(failing!.droppedRefused > 0);
    assertEquals(failing!.droppedRefused + failing!.sentDatagrams, sent);
    assertEquals(failing!.droppedDatagrams, failing!.droppedRefused);
    await holds(() => workerThreads() === 0, () => "the end of the Workers");
  },
);

testUnless(
  needsEngine,
  "proxy with Workers ends on SIGTERM within the grace while senders go on, and what it received is sent or counted",
  async () => {
    await using receiver = await Receiver.open();
    await using proxy = startRole("proxy", [
      ...["--udp-listen-addr", "127.0.0.1:0", "--workers=4", "--grace=600"],
      ...["--udp-downstream-addr", receiver.text],
    ]);
    const [, address] = await proxy.line(/ listening address=(\S+)/);
    await using all = await openSenders(8, address!);
    let ended = false;
    const sending = Promise.all(all.senders.map(async (sender) => {
      // Where the proxy has ended, sends are refused and counted there.
      while (!ended) {
        await sender.send("on and on");
        await new Promise((resolve) => setImmediate(resolve));
      }
    }));
    await receiver.atLeast(100);
    const { code, signal, stderr } = await proxy.stop();
    ended = true;
    await sending;
    assertEquals([code, signal], [0, null], stderr);
    const sum = (pattern: RegExp) =>
      [...stderr.matchAll(pattern)].reduce(
        (all, [, count]) => all + Number(count!.replaceAll(" ", "")),
        0,
      );
    const received = sum(/^received on .*?, ([\d ]+) datagrams? /gm);
    const sentOn = sum(/^sent to .*?, ([\d ]+) datagrams? /gm);
    const dropped = sum(/^sent to .*, ([\d ]+) dropped/gm);
    assert(received >= 100, stderr);
    assertEquals(sentOn + dropped, received, stderr);
  },
);

testUnless(
  needsEngine,
  "startProxy leaves no thread and no descriptor of its Workers behind",
  async () => {
    await using receiver = await Receiver.open();
    const cycle = async (i: number) => {
      await using proxy = await startProxy({
        listen: [loopback, loopback],
        engine: "linux",
        destinations: [receiver.address],
        log: quiet,
      });
      assertEquals(workerThreads(), 2);
      if (i % 2 === 0) await proxy.drain();
    };
    const settled = () =>
      holds(() => workerThreads() === 0, () => `${workerThreads()} Workers`);
    // What the runtime opens once, it has opened then.
    for (let i = 0; i < 3; i++) {
      await cycle(i);
      await settled();
    }
    const before = descriptors();
    for (let i = 0; i < 12; i++) {
      await cycle(i);
      await settled();
    }
    await holds(
      () => descriptors() <= before,
      () => `${descriptors()} descriptors, not ${before}`,
    );
  },
);

testUnless(
  needsEngine,
  "proxy tells a port in use in the same line and with the same exit code, in a Worker and in the main thread",
  async () => {
    await using other = await Receiver.open();
    const lines: string[] = [];
    for (const more of [[], ["--udp-listen-addr", "127.0.0.1:0"]]) {
      await using proxy = startRole("proxy", [
        ...["--udp-listen-addr", other.text, ...more],
        ...["--udp-downstream-addr", "127.0.0.1:9"],
      ]);
      const { code, stderr } = await proxy.end;
      assertEquals(code, 1);
      lines.push(stderr);
    }
    assertMatch(
      lines[0]!,
      new RegExp(`^mproxy-proxy: Cannot listen on ${other.text}: .*in use.*$`),
    );
    assertEquals(lines[1], lines[0]);
  },
);

testUnless(
  needsEngine,
  "startProxy rejects with the error class that the main thread would, from a Worker",
  async () => {
    await using other = await Receiver.open();
    const start = (...hostnames: string[]) =>
      startProxy({
        listen: hostnames.map((hostname) => ({ ...loopback, hostname })),
        destinations: [other.address],
        workers: 2,
        engine: "linux",
        log: quiet,
      });
    await assertRejects(
      () => start("239.255.7.7"),
      UsageError,
      "listeners that share a port each get a copy",
    );
    const error = await assertRejects(
      () => start("127.0.0.1", "192.0.2.1"),
      OperationError,
      "Cannot listen on 192.0.2.1:0: ",
    );
    assertEquals(error.code, "EADDRNOTAVAIL");
    await holds(() => workerThreads() === 0, () => "the end of the Workers");
  },
);

testUnless(
  needsEngine ?? needsProgram("setpriv") ??
    (Deno.uid() === 0 ? undefined : "dropping a capability needs root") ??
    (Deno.readTextFileSync("/proc/sys/kernel/unprivileged_bpf_disabled")
        .startsWith("0")
      ? "anybody may count arrivals here"
      : undefined),
  "proxy says once which right would make its Workers faster",
  async () => {
    await using proxy = startPeer("setpriv", [
      ...["--bounding-set=-bpf,-sys_admin", Deno.execPath(), "run", "-A"],
      ...["cli/proxy/main.ts", "--udp-listen-addr", "127.0.0.1:0"],
      ...["--workers=2", "--udp-downstream-addr", "127.0.0.1:9"],
    ]);
    await proxy.lines(/ listening address=/, 2);
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    assertEquals(stderr.match(/ info .* grant CAP_BPF /g)?.length, 1, stderr);
  },
);
