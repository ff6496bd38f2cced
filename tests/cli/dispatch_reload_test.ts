/** SIGHUP changes destinations while a role runs: nothing ends, nothing is lost. */
import { assertEquals, assertMatch } from "@std/assert";
import {
  freeUdpPort,
  ownGroup,
  Receiver,
  Sender,
} from "../support/datagram_peer.ts";
import { testOnEngines } from "../support/engines.ts";
import { TestFolder } from "../support/folder.ts";
import { startRole, type TestProcess } from "../support/process.ts";
import { needsLinux } from "../support/skip.ts";

const skip = needsLinux();

async function listening(role: TestProcess, nth: number): Promise<string> {
  const found = await role.lines(/ listening address=(\S+)/, nth + 1);
  return found[nth]![1]!;
}

for (const listeners of [1, 2]) {
  testOnEngines(
    `proxy with ${listeners} listeners sends to the destinations of its configuration from SIGHUP on`,
    async (engine) => {
      await using files = await TestFolder.create();
      await using one = await Receiver.open();
      await using other = await Receiver.open();
      const config = (...to: string[]) =>
        `udp-downstream-addr = ${JSON.stringify(to)}\n`;
      const path = await files.file("proxy.toml", config(one.text));
      await using proxy = startRole("proxy", [
        ...["--config", path, "--engine", engine],
        ...Array(listeners).fill("--udp-listen-addr=127.0.0.1:0"),
      ]);
      await using sender = await Sender.open(
        await listening(proxy, listeners - 1),
      );
      await sender.send("before");
      await one.atLeast(1);

      await Deno.writeTextFile(path, config(other.text));
      Deno.kill(proxy.pid, "SIGHUP");
      await proxy.line(/ configuration reloaded .*destinations=1/);
      await sender.send("after");
      await other.atLeast(1);
      assertEquals([one.texts, other.texts], [["before"], ["after"]]);

      // A wrong configuration changes nothing.
      await Deno.writeTextFile(path, config(one.text, one.text));
      Deno.kill(proxy.pid, "SIGHUP");
      await proxy.line(/ error .*[Cc]annot reload: cannot send to .* twice/);
      await Deno.writeTextFile(path, config());
      Deno.kill(proxy.pid, "SIGHUP");
      await proxy.line(/ error .*[Cc]annot reload: No destination/);
      await sender.send("still");
      await other.atLeast(2);

      const { code, stderr } = await proxy.stop();
      assertEquals(code, 0, stderr);
      // What went to a destination that is gone stays in the summary.
      for (
        const [{ text }, count] of [[one, "1 datagram "], [
          other,
          "2 datagrams ",
        ]] as const
      ) {
        assertMatch(stderr, new RegExp(`sent to ${text}: .*, ${count}`));
      }
    },
    skip,
  );
}

testOnEngines(
  "client sends the rest of its input to the destinations of its configuration from SIGHUP on, and names what requires a restart",
  async (engine) => {
    await using files = await TestFolder.create();
    await using one = await Receiver.open();
    await using other = await Receiver.open();
    const path = await files.file(
      "client.toml",
      `server-addr = ["${one.text}"]\n`,
    );
    await using client = startRole("client", [
      ...["--config", path, "--path=-", "--lines", "--engine", engine],
    ], { stdin: true });
    const writer = client.stdin.getWriter();
    const write = (text: string) =>
      writer.write(new TextEncoder().encode(text));
    await write("before\n");
    await one.atLeast(1);
    await Deno.writeTextFile(
      path,
      `server-addr = ["${one.text}", "${other.text}"]\nrate = "1M"\n`,
    );
    Deno.kill(client.pid, "SIGHUP");
    await client.line(/ configuration reloaded .*destinations=2/);
    await client.line(/ some changes require a restart options=rate/);
    await write("after\n");
    await Promise.all([one.atLeast(2), other.atLeast(1)]);
    await writer.close();
    assertEquals((await client.end).code, 0);
  },
  skip,
);

testOnEngines(
  "reverseproxy sends to the UDP outputs of its configuration from SIGHUP on",
  async (engine) => {
    await using files = await TestFolder.create();
    await using one = await Receiver.open();
    await using other = await Receiver.open();
    const group = `${ownGroup()}:${await freeUdpPort()}`;
    const path = await files.file(
      "r.toml",
      `udp-output-addr = ["${one.text}"]\n`,
    );
    await using reverse = startRole("reverseproxy", [
      ...["--config", path, "--engine", engine],
      ...["--multicast-addr", group, "--interface=lo"],
    ]);
    await listening(reverse, 0);
    await using sender = await Sender.open(group, { networkInterface: "lo" });
    await sender.send("before");
    await one.atLeast(1);
    await Deno.writeTextFile(path, `udp-output-addr = ["${other.text}"]\n`);
    Deno.kill(reverse.pid, "SIGHUP");
    await reverse.line(/ configuration reloaded /);
    await sender.send("after");
    await other.atLeast(1);
    assertEquals([one.texts, other.texts], [["before"], ["after"]]);
    assertEquals((await reverse.stop()).code, 0);
  },
  skip,
);

Deno.test("proxy without a configuration file goes on at SIGHUP", async () => {
  if (Deno.build.os === "windows") return;
  await using receiver = await Receiver.open();
  await using proxy = startRole("proxy", [
    ...[
      "--udp-listen-addr=127.0.0.1:0",
      "--udp-downstream-addr",
      receiver.text,
    ],
  ]);
  await using sender = await Sender.open(await listening(proxy, 0));
  Deno.kill(proxy.pid, "SIGHUP");
  await proxy.line(/ nothing to reload: requires --config/);
  await sender.send("on");
  await receiver.atLeast(1);
  assertEquals((await proxy.stop()).code, 0);
});
