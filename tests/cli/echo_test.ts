import { assertEquals, assertMatch } from "@std/assert";
import { startPeer, startRole, type TestProcess } from "../support/process.ts";
import { needsProgram, testUnless } from "../support/skip.ts";
import {
  connectTo,
  readExactly,
  resettingClient,
  writeAll,
} from "../support/tcp.ts";

async function listening(echo: TestProcess, protocol: string) {
  const [, hostname, port] = await echo.line(
    new RegExp(`listening address=([\\d.]+):(\\d+) protocol=${protocol}`),
  );
  return { hostname: hostname!, port: Number(port) };
}

testUnless(
  needsProgram("ncat", "socat"),
  "echo sends back what ncat and socat send, over TCP and UDP on one port",
  async () => {
    await using echo = startRole("echo", ["127.0.0.1:0"]);
    const tcp = await listening(echo, "tcp");
    const udp = await listening(echo, "udp");
    assertEquals(tcp, udp);
    await using ncat = startPeer("ncat", [tcp.hostname, String(tcp.port)], {
      stdin: true,
    });
    await using socat = startPeer("socat", [
      "-",
      `UDP:${udp.hostname}:${udp.port}`,
    ], { stdin: true });
    for (const peer of [ncat, socat]) {
      const writer = peer.stdin.getWriter();
      await writer.write(new TextEncoder().encode("hello\n"));
      assertEquals(
        new TextDecoder().decode(await peer.stdoutBytes(6)),
        "hello\n",
      );
      await writer.close();
    }
    await ncat.end;
    const { code, stderr } = await echo.stop();
    assertEquals(code, 0);
    assertMatch(stderr, /1 in all, 6 B sent back; 1 datagrams, 6 B sent back$/);
  },
);

Deno.test("echo outlives a client that resets", async () => {
  await using echo = startRole("echo", ["127.0.0.1:0", "--protocol=tcp"]);
  const address = await listening(echo, "tcp");
  await resettingClient(address, new Uint8Array([1]));
  using client = await connectTo(address);
  await writeAll(client, new Uint8Array([7]));
  assertEquals((await readExactly(client, 1))[0], 7);
});

Deno.test("echo reads the original's echo.toml", async () => {
  const file = await Deno.makeTempFile({ suffix: ".toml" });
  try {
    await Deno.writeTextFile(file, 'listen_addr = "127.0.0.1:0"\n');
    await using echo = startRole("echo", ["--config", file]);
    await listening(echo, "udp");
  } finally {
    await Deno.remove(file);
  }
});
