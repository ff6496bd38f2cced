/** Which listeners share a port, as real processes. */
import { assertEquals, assertMatch } from "@std/assert";
import { linuxEngineUnavailable } from "../../net/engine/linux/datagram/engine.ts";
import { freeUdpPort, Sender } from "../support/datagram_peer.ts";
import { testOnEngines } from "../support/engines.ts";
import { startRole } from "../support/process.ts";
import { needsIpv6, needsLinux, testUnless } from "../support/skip.ts";

testUnless(
  linuxEngineUnavailable(),
  "server --workers keeps its port from a second process, with workers or without",
  async () => {
    for (const host of ["127.0.0.1", "0.0.0.0"]) {
      const address = `${host}:${await freeUdpPort()}`;
      const start = (...flags: string[]) =>
        startRole("server", ["--path=-", "--listen-addr", address, ...flags]);
      await using first = start("--workers=2");
      await first.lines(/ listening address/, 2);
      for (const flags of [["--workers=2"], [], ["--engine=portable"]]) {
        const { code, stderr } = await start(...flags).end;
        assertEquals(code, 1, stderr);
        assertMatch(stderr, /Cannot listen on .*: Address already in use/);
      }
      await using shared = start("--reuse-port");
      await shared.line(/ listening address/);
    }
  },
);

testOnEngines(
  "a role listens on [::] and 0.0.0.0, each for its own family",
  async (engine) => {
    const port = await freeUdpPort();
    for (const hosts of [["0.0.0.0", "[::]"], ["[::]", "0.0.0.0"]]) {
      await using server = startRole("server", [
        ...["--path=-", "--format=jsonl", "--engine", engine],
        ...hosts.flatMap((host) => ["--listen-addr", `${host}:${port}`]),
      ]);
      await server.lines(/ listening address/, 2);
      await using four = await Sender.open(`127.0.0.1:${port}`);
      await using six = await Sender.open(`[::1]:${port}`);
      await four.send("four");
      await six.send("six");
      await server.stdoutBytes(1);
      const { stdout, stderr, code } = await server.stop();
      assertEquals(code, 0, stderr);
      const lines = new TextDecoder().decode(stdout).trim().split("\n")
        .map((line) => JSON.parse(line))
        .map(({ source, text }) => [source.replace(/:\d+$/, ""), text]);
      assertEquals(lines.sort(), [["127.0.0.1", "four"], ["[::1]", "six"]]);
      for (const host of ["0\\.0\\.0\\.0", "\\[::\\]"]) {
        assertMatch(
          stderr,
          new RegExp(`received on ${host}:\\d+: \\d B, 1 datagram`),
        );
      }
    }
  },
  needsLinux() ?? needsIpv6(),
);

testOnEngines("a destination that is no host's is refused", async (engine) => {
  for (const to of ["0.0.0.0:9", "[::]:9"]) {
    const { code, stderr } = await startRole("proxy", [
      ...["--udp-listen-addr=127.0.0.1:0", "--udp-downstream-addr", to],
      ...["--engine", engine],
    ]).end;
    assertEquals(code, 2, stderr);
    assertMatch(
      stderr,
      /cannot send to ".*": the unspecified address is no destination/,
    );
  }
});
