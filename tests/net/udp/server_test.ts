import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { type ServerOptions, startServer } from "../../../net/udp/server.ts";
import { OperationError, UsageError } from "../../../net/errors.ts";
import { Log } from "../../../net/observe/log.ts";
import { namesIn, withFolder } from "../../support/folder.ts";
import { needsLinux, testUnless } from "../../support/skip.ts";

const loopback = { hostname: "127.0.0.1", port: 0 };
const quiet = new Log({ level: "error" });

async function send(port: number, ...datagrams: string[]): Promise<void> {
  const { hostname } = loopback;
  const socket = Deno.listenDatagram({ transport: "udp", ...loopback });
  for (const datagram of datagrams) {
    await socket.send(new TextEncoder().encode(datagram), {
      transport: "udp",
      hostname,
      port,
    });
  }
  socket.close();
}

for (const engine of ["portable", "auto"] as const) {
  Deno.test(`startServer logs until drained, and counts (engine ${engine})`, async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "feed.log");
      await using server = await startServer({
        path,
        engine,
        listen: [loopback, loopback],
        log: quiet,
      });
      for (const { port } of server.addresses) await send(port, "ab", "c", "");
      await server.drain();
      await server.finished;
      const { listeners, log, stream, tee } = server.stats();
      assertEquals(listeners.map((one) => one.receivedDatagrams), [3, 3]);
      assertEquals(log?.writtenDatagrams, 6);
      assertEquals(log?.writtenBytes, 6);
      assertEquals([stream, tee], [undefined, undefined]);
      assertEquals(Deno.readTextFileSync(path).length, 6);
    });
  });
}

Deno.test("startServer ends in order when its signal is aborted", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    const abort = new AbortController();
    await using server = await startServer({
      path,
      listen: [loopback],
      log: quiet,
      signal: abort.signal,
    });
    await send(server.addresses[0]!.port, "whole");
    abort.abort();
    await server.finished;
    assertEquals(Deno.readTextFileSync(path), "whole");
  });
});

Deno.test("startServer loses nothing when it is disposed of", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    {
      await using server = await startServer({
        path,
        format: "lines",
        split: "address",
        listen: [loopback],
        log: quiet,
      });
      await send(server.addresses[0]!.port, "one", "two");
    }
    const [name] = namesIn(folder);
    assertEquals(Deno.readTextFileSync(join(folder, name!)), "one\ntwo\n");
  });
});

Deno.test("startServer refuses what cannot be right before it opens anything", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    const listen = [loopback];
    const refused: [ServerOptions, string][] = [
      [{ path, listen: [] }, "No source"],
      [{ path: "-", listen, tee: true }, "both write to stdout"],
      [{ path: "-", listen, rotateBytes: 1 }, "Cannot use `rotateBytes`"],
      [
        { path: "-", listen, onWriteError: "retry" },
        "Cannot use `onWriteError",
      ],
      [{ path: folder, listen }, "it is a folder"],
      [{ path, listen, networkInterface: "no/name" }, "Unknown interface"],
      [{ path, listen, keepFiles: 1 }, "nothing rotates it"],
    ];
    for (const [options, message] of refused) {
      await assertRejects(
        () => startServer({ log: quiet, ...options }),
        UsageError,
        message,
      );
    }
    assertEquals(namesIn(folder), []);
  });
});

Deno.test("startServer closes what it opened when one address is in use", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    await using first = await startServer({
      path,
      listen: [loopback],
      log: quiet,
    });
    const error = await assertRejects(
      () =>
        startServer({
          path: join(folder, "other.log"),
          listen: [loopback, first.addresses[0]!],
          log: quiet,
        }),
      OperationError,
    );
    assertEquals(error.code, "EADDRINUSE");
    assertEquals(namesIn(folder), ["feed.log"]);
  });
});

testUnless(
  needsLinux(),
  "startServer rejects finished where a write fails and is not tried again",
  async () => {
    const server = await startServer({
      path: "/dev/full",
      onWriteError: "end",
      listen: [loopback],
      log: quiet,
    });
    await send(server.addresses[0]!.port, "lost");
    const error = await assertRejects(() => server.finished, OperationError);
    assertEquals(error.code, "ENOSPC");
    assert(error.message.startsWith('Cannot write to "/dev/full": No space'));
    assertEquals(server.stats().log?.droppedDiskFullDatagrams, 1);
    await server[Symbol.asyncDispose]();
  },
);

testUnless(
  needsLinux(),
  "startServer rejects drain where the last write of all fails",
  async () => {
    await using server = await startServer({
      path: "/dev/full",
      onWriteError: "end",
      listen: [loopback],
      log: quiet,
    });
    await send(server.addresses[0]!.port, "lost");
    const error = await assertRejects(() => server.drain(), OperationError);
    assertEquals(error.code, "ENOSPC");
  },
);
