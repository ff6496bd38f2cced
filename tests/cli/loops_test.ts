/** Forwarding loops between real proxies, in a namespace whose only network is its loopback. */
import { assert, assertEquals } from "@std/assert";
import { testOnEngines } from "../support/engines.ts";
import { NetworkNamespace } from "../support/namespaces.ts";
import type { TestProcess } from "../support/process.ts";
import { needsNetworkNamespaces, needsProgram } from "../support/skip.ts";

interface Crossing {
  /** What the first proxy takes and gives; the second does the reverse. */
  readonly listen: readonly [string, string];
  readonly flags: readonly string[];
}

const CROSSINGS: readonly Crossing[] = [
  { listen: ["239.9.9.1:5001", "239.9.9.2:5002"], flags: ["--interface=lo"] },
  { listen: ["0.0.0.0:5001", "127.0.0.1:5002"], flags: [] },
];

/** Payload of a datagram that nothing else sends. */
const SENTENCE = "!AIVDM,1,1,,A,loop,0*00";

for (const { listen: [one, two], flags } of CROSSINGS) {
  testOnEngines(
    `two proxies that send to each other, ${one} and ${two}, end their loop within 100 datagrams and name it`,
    async (engine) => {
      await using namespace = await NetworkNamespace.create();
      await namespace.ip(
        "route",
        "add",
        "multicast",
        "224.0.0.0/4",
        "dev",
        "lo",
      );
      const start = (listen: string, to: string) =>
        namespace.start(Deno.execPath(), [
          ...["run", "-A", "cli/proxy/main.ts", `--engine=${engine}`],
          `--udp-listen-addr=${listen}`,
          `--udp-downstream-addr=${to.replace("0.0.0.0", "127.0.0.1")}`,
          ...flags,
        ]);
      await using first = start(one, two);
      await using second = start(two, one);
      for (const proxy of [first, second]) await proxy.line(/ listening /);
      await using sender = namespace.start("socat", [
        "-u",
        "-",
        `UDP4-DATAGRAM:${one.replace("0.0.0.0", "127.0.0.1")}`,
      ], { stdin: true });
      const writer = sender.stdin.getWriter();
      await writer.write(new TextEncoder().encode(SENTENCE));
      await writer.close();
      await first.line(/forwarding loop: .* source=/);
      for (const proxy of [first, second]) {
        const stderr = await stopped(proxy);
        const [, count] = /received on .*?, (\d+) datagrams? /.exec(stderr)!;
        assert(Number(count) < 100, stderr);
      }
      const lines = first.stderr.match(/forwarding loop/g);
      assertEquals(lines?.length, 1);
      assert(/received on .*dropped \(.*loop/.test(first.stderr), first.stderr);
    },
    needsNetworkNamespaces() ?? needsProgram("socat"),
  );
}

for (const origin of ["linux", "portable"]) {
  testOnEngines(
    `two proxies that send to each other end a loop of several datagrams of one size, as the ${origin} engine sends them`,
    async (engine) => {
      await using namespace = await NetworkNamespace.create();
      const start = (port: number, to: number) =>
        namespace.start(Deno.execPath(), [
          ...["run", "-A", "cli/proxy/main.ts", `--engine=${engine}`],
          `--udp-listen-addr=127.0.0.1:${port}`,
          `--udp-downstream-addr=127.0.0.1:${to}`,
        ]);
      await using first = start(5001, 5002);
      await using second = start(5002, 5001);
      for (const proxy of [first, second]) await proxy.line(/ listening /);
      // Three datagrams: joined by their sender (linux), or by the loop alone.
      await using sender = namespace.start(Deno.execPath(), [
        ...["run", "-A", "cli/client/main.ts", "--path=-", "--lines"],
        `--engine=${origin}`,
        ...["--datagram-size=24", "--server-addr=127.0.0.1:5001"],
      ], { stdin: true });
      const writer = sender.stdin.getWriter();
      const lines = [1, 2, 3].map((n) => SENTENCE.replace("00", `0${n}\n`));
      await writer.write(new TextEncoder().encode(lines.join("")));
      await writer.close();
      await Promise.race(
        [first, second].map((proxy) =>
          proxy.line(/forwarding loop: .* source=/)
        ),
      );
      for (const proxy of [first, second]) {
        const stderr = await stopped(proxy);
        const [, count] = /received on .*?, ([\d ]+) datagrams? /.exec(stderr)!;
        assert(Number(count!.replaceAll(" ", "")) < 5_000, stderr);
      }
    },
    needsNetworkNamespaces(),
  );
}

async function stopped(proxy: TestProcess): Promise<string> {
  const { code, stderr } = await proxy.stop();
  assertEquals(code, 0, stderr);
  return stderr;
}
