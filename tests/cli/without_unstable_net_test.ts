/** The roles as `deno run -A jsr:…` starts them: without --unstable-net, over node:dgram. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { formatAddress, parseAddress } from "../../net/address.ts";
import {
  freeUdpPort,
  ownGroup,
  Receiver,
  Sender,
} from "../support/datagram_peer.ts";
import { TestFolder } from "../support/folder.ts";
import { startRole, type TestProcess } from "../support/process.ts";
import { needsLinux, testUnless } from "../support/skip.ts";
import { assertAllPlaced, placedBytes } from "../support/streams.ts";
import { TestReader, TestServer, writeAll } from "../support/tcp.ts";

const WARNING =
  /warn Deno\.listenDatagram is not there, so node:dgram serves, .*: run with --unstable-net/g;

/** Starts roles under a configuration that is the project's but for the unstable API. */
async function stableDeno(): Promise<
  & {
    start: (
      role: string,
      args: readonly string[],
      stdin?: boolean,
    ) => TestProcess;
  }
  & AsyncDisposable
> {
  const root = new URL("../../", import.meta.url);
  const config = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", root)),
  );
  const folder = await TestFolder.create();
  const path = await folder.file(
    "deno.json",
    JSON.stringify({
      imports: {
        ...config.imports,
        "@mproxy/mproxy": new URL("mod.ts", root).href,
        "@mproxy/mproxy/cli": new URL("cli/mod.ts", root).href,
      },
      // Stand-ins of packages, where this checkout has them.
      links: (config.links ?? []).map((link: string) =>
        join(root.pathname, link)
      ),
      compilerOptions: config.compilerOptions,
    }),
  );
  const denoFlags = ["-A", "--no-lock", "--config", path];
  return {
    start: (role, args, stdin = false) =>
      startRole(role, [...args, "--engine=portable"], { denoFlags, stdin }),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

function warnings(stderr: string): number {
  return stderr.match(WARNING)?.length ?? 0;
}

Deno.test("client without --unstable-net says so once and sends all of a file", async () => {
  await using deno = await stableDeno();
  await using files = await TestFolder.create();
  const bytes = placedBytes(100_000);
  const path = await files.file("data", bytes);
  await using one = await Receiver.open();
  await using other = await Receiver.open("[::1]:0");
  const { code, stdout, stderr } = await deno.start("client", [
    ...["--path", path, "--tee", "--rate=50M"],
    ...["--server-addr", one.text, "--server-addr", other.text],
  ]).end;
  assertEquals(code, 0, stderr);
  assertEquals(warnings(stderr), 1, stderr);
  assertEquals(stdout, bytes);
  for (const receiver of [one, other]) {
    await receiver.atLeastBytes(bytes.length);
    assertAllPlaced(receiver.datagrams, bytes);
  }
});

testUnless(
  needsLinux(),
  "proxy without --unstable-net says so once and forwards hosts, groups, broadcasts and TCP",
  async () => {
    await using deno = await stableDeno();
    const [from, to] = [ownGroup(), ownGroup()];
    const port = await freeUdpPort();
    await using one = await Receiver.open();
    await using other = await Receiver.open(`${to}:${port}`, {
      networkInterface: "lo",
    });
    await using everybody = await Receiver.open("0.0.0.0:0");
    await using host = new TestServer(async (conn) => {
      await writeAll(conn, new TextEncoder().encode("tcp"));
      await conn.read(new Uint8Array(1));
    });
    const receivers = [one, other, everybody];
    await using proxy = deno.start("proxy", [
      ...["--udp-listen-addr=127.0.0.1:0", "--udp-listen-addr=[::1]:0"],
      ...["--udp-listen-addr", `${from}:0`, "--interface=lo", "--ttl=2"],
      ...["--udp-downstream-addr", one.text],
      ...["--udp-downstream-addr", `${to}:${port}`],
      ...["--udp-downstream-addr", `127.255.255.255:${everybody.port}`],
      ...["--tcp-connect-addr", formatAddress(host.address)],
    ]);
    const addresses = (await proxy.lines(/ listening address=(\S+)/, 3))
      .map(([, address]) => address!);
    await Promise.all(receivers.map((receiver) => receiver.atLeast(1)));
    for (const [i, address] of addresses.entries()) {
      await using sender = await Sender.open(address, {
        networkInterface: "lo",
      });
      await sender.send(`udp ${i}`, "");
      await Promise.all(
        receivers.map((receiver) => receiver.atLeast(3 + 2 * i)),
      );
    }
    for (const { texts } of receivers) {
      assertEquals(texts.sort(), [
        "",
        "",
        "",
        "tcp",
        "udp 0",
        "udp 1",
        "udp 2",
      ]);
    }
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    assertEquals(warnings(stderr), 1, stderr);
  },
);

testUnless(
  needsLinux(),
  "reverseproxy without --unstable-net says so once and serves subscribers",
  async () => {
    await using deno = await stableDeno();
    await using output = await Receiver.open();
    await using reverse = deno.start("reverseproxy", [
      ...["--udp-listen-addr=127.0.0.1:0", "--tcp-output-addr=127.0.0.1:0"],
      ...["--udp-output-addr", output.text, "--interface=lo"],
      ...["--multicast-addr", `${ownGroup()}:${await freeUdpPort()}`],
    ]);
    const [, outputs] = await reverse.line(/ for subscribers address=(\S+)/);
    await using subscriber = await TestReader.connect(parseAddress(outputs!));
    await reverse.line(/ subscriber connected /);
    const [, address] = await reverse.line(/ listening address=(127\S+)/);
    await using sender = await Sender.open(address!);
    await sender.send("hello");
    await subscriber.atLeast(5);
    await output.atLeast(1);
    assertEquals([subscriber.text, output.texts[0]], ["hello", "hello"]);
    const { code, stderr } = await reverse.stop();
    assertEquals(code, 0, stderr);
    assertEquals(warnings(stderr), 1, stderr);
  },
);

Deno.test("a role without --unstable-net refuses by name what node:dgram cannot do", async () => {
  await using deno = await stableDeno();
  const cases: readonly [args: string[], wanted: string][] = [
    [["--rcvbuf=8M"], "node:dgram cannot do --rcvbuf"],
    [["--workers=2"], "node:dgram cannot do --workers"],
    [
      ["--ttl=2", "--udp-downstream-addr=[::1]:9"],
      "node:dgram cannot do --ttl of an IPv6 destination",
    ],
  ];
  for (const [args, wanted] of cases) {
    const { code, stderr } = await deno.start("proxy", [
      ...["--udp-listen-addr=127.0.0.1:0", "--tee"],
      ...args,
    ]).end;
    assertEquals(code, 2, stderr);
    assertStringIncludes(stderr.split("\n").at(-1)!, wanted);
  }
});
