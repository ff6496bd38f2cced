import { assert, assertEquals, assertMatch } from "@std/assert";
import { Sender } from "../support/datagram_peer.ts";
import { startPeer } from "../support/process.ts";
import { needsLinux, testUnless } from "../support/skip.ts";

for (
  const [rights, drops] of [
    [["--allow-all"], "0 dropped"],
    // Reading /proc takes all rights, so that the kernel's count is not to be had.
    [["--allow-net", "--allow-env"], "drops unknown"],
  ] as const
) {
  testUnless(
    needsLinux(),
    `proxy on the portable engine with ${
      rights[0]
    } shows "${drops}", and has a metric only for what it knows`,
    async () => {
      await using proxy = startPeer(Deno.execPath(), [
        ...["run", "--no-prompt", ...rights, "cli/proxy/main.ts"],
        ...["--udp-listen-addr", "127.0.0.1:0", "--tee", "--engine=portable"],
        ...["--metrics-addr=127.0.0.1:0"],
      ]);
      const [, address] = await proxy.line(/ listening address=(\S+)/);
      const [, url] = await proxy.line(/url=(\S+)/);
      await using sender = await Sender.open(address!);
      await sender.send("one");
      await proxy.stdoutBytes(3);
      const metrics = await (await fetch(url!)).text();
      assertMatch(metrics, /^mproxy_received_datagrams_total\{.*\} 1$/m);
      const value =
        /^mproxy_receive_dropped_datagrams_total\{.*queue_full.*\} (\d+)$/m
          .exec(metrics)?.[1];
      assertEquals(value, drops === "0 dropped" ? "0" : undefined);
      const { code, stderr } = await proxy.stop();
      assertEquals(code, 0, stderr);
      const line = stderr.split("\n").find((one) =>
        one.startsWith("received on")
      );
      assert(line!.endsWith(`, ${drops}`), stderr);
      assert(!/ (warn|error) /.test(stderr), stderr);
    },
  );
}
