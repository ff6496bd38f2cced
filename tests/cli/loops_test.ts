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

async function stopped(proxy: TestProcess): Promise<string> {
  const { code, stderr } = await proxy.stop();
  assertEquals(code, 0, stderr);
  return stderr;
}
