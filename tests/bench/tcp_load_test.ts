/** The load of the tcp benchmark: what it says is so, and what comes back wrong is found out. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { compileLoad } from "../../bench/tcp/load.ts";
import { TestFolder } from "../support/folder.ts";
import { startPeer, type TestProcess } from "../support/process.ts";
import { needsLinux, needsProgram, testUnless } from "../support/skip.ts";

const skip = needsLinux() ?? needsProgram("gcc");

/** A compiled load, and a server of it on a port. */
async function withServer(
  mode: string,
  fn: (load: string, port: string, server: TestProcess) => Promise<void>,
): Promise<void> {
  await using files = await TestFolder.create();
  const { path, missing } = await compileLoad(files.path);
  assertEquals(missing, undefined);
  await using server = startPeer(path, ["serve", mode]);
  const [, port] = await server.line(/^listening (\d+)$/);
  await fn(path, port!, server);
}

for (const [connections, bytes] of [[1, 1], [3, 15], [7, 1024], [2, 300_000]]) {
  testUnless(
    skip,
    `tcp_load echo has ${bytes} bytes come back on ${connections} connections`,
    () =>
      withServer("echo", async (load, port) => {
        const { code, stderr } = await startPeer(load, [
          ...["echo", port, `${connections}`, `${bytes}`, "0.05", "0.2"],
        ]).end;
        assertEquals(code, 0, stderr);
        const [, seconds, messages, p50, p99] =
          /^measuring\nmeasured (\S+) (\d+) (\d+) (\d+)$/.exec(stderr)!
            .map(Number);
        assert(seconds! >= 0.2 && messages! > 0, stderr);
        assert(0 < p50! && p50! <= p99! && p99! < seconds! * 1e9, stderr);
      }),
  );
}

testUnless(
  skip,
  "tcp_load connect has its message come back on each connection",
  () =>
    withServer("echo", async (load, port) => {
      const { code, stderr } = await startPeer(load, [
        ...["connect", port, "3", "100", "0.05", "0.2"],
      ]).end;
      assertEquals(code, 0, stderr);
      assertMatch(stderr, /^measuring\nmeasured 0\.2\d* [1-9]\d* \d+ \d+$/);
    }),
);

testUnless(
  skip,
  "tcp_load bulk sends what the sink counts",
  () =>
    withServer("sink", async (load, port, server) => {
      const { code, stderr } = await startPeer(load, ["bulk", port, "3", "0.2"])
        .end;
      assertEquals(code, 0, stderr);
      const [, sent] = /^sent ([1-9]\d*)$/.exec(stderr)!;
      await server.line(new RegExp(`^\\d+\\.\\d+ ${sent} \\d+ 0$`));
    }),
);

testUnless(
  skip,
  "tcp_load idle opens as many as it is told, step by step",
  () =>
    withServer("echo", async (load, port, server) => {
      await using idle = startPeer(load, ["idle", port, "10", "25"], {
        stdin: true,
      });
      const writer = idle.stdin.getWriter();
      for (const count of [10, 25]) {
        await idle.line(new RegExp(`^open ${count} `));
        assertEquals(openSockets(server.pid), count + 1);
        await writer.write(new TextEncoder().encode("\n"));
      }
      await writer.close();
      assertEquals((await idle.end).code, 0);
    }),
);

function openSockets(pid: number): number {
  let count = 0;
  for (const { name } of Deno.readDirSync(`/proc/${pid}/fd`)) {
    const target = Deno.readLinkSync(`/proc/${pid}/fd/${name}`);
    if (target.startsWith("socket:")) count++;
  }
  return count;
}

/** Serves one connection: answers its first bytes, and ends it where there is no answer. */
async function answering(
  answer: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer> | null,
  fn: (port: string) => Promise<void>,
): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const served = (async () => {
    using connection = await listener.accept();
    const bytes = new Uint8Array(4096);
    const got = await connection.read(bytes);
    const answered = answer(bytes.subarray(0, got ?? 0));
    if (answered === null) return;
    await connection.write(answered);
    // Its end is whatever it makes of the answer.
    await connection.read(bytes).catch(() => {});
  })();
  await fn(String(listener.addr.port));
  await served;
}

for (
  const [what, at] of [["beginning", 0], ["end", 99]] as const
) {
  testUnless(
    skip,
    `tcp_load echo finds out another byte at a message's ${what}`,
    () =>
      withServer("echo", (load) =>
        answering((bytes) => {
          bytes[at]! ^= 1;
          return bytes;
        }, async (port) => {
          const { code, stderr } = await startPeer(load, [
            ...["echo", port, "1", "100", "0", "5"],
          ]).end;
          assertEquals(code, 1);
          assertMatch(stderr, /other bytes came back than were sent$/);
        })),
  );
}

testUnless(
  skip,
  "tcp_load echo finds out a connection that is ended",
  () =>
    withServer("echo", (load) =>
      answering(() => null, async (port) => {
        const { code, stderr } = await startPeer(load, [
          ...["echo", port, "1", "100", "0", "5"],
        ]).end;
        assertEquals(code, 1);
        assertMatch(stderr, /a connection was ended$/);
      })),
);

testUnless(
  skip,
  "tcp_load names wrong arguments",
  () =>
    withServer("echo", async (load) => {
      for (
        const [args, message] of [
          [["echo", "80", "0", "1", "1", "1"], "0 is not a number from 1 to"],
          [["bulk", "80", "x", "1"], "x is not a number from 1 to"],
          [["nothing"], "no such mode"],
        ] as const
      ) {
        const { code, stderr } = await startPeer(load, args).end;
        assertEquals(code, 1);
        assert(stderr.startsWith(`tcp_load: ${message}`), stderr);
      }
    }),
);
