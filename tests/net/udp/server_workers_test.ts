/** The server with its listeners in Workers. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import type { Address } from "../../../net/address.ts";
import {
  type ServerHandle,
  type ServerOptions,
  startServer,
} from "../../../net/udp/server.ts";
import { linuxEngineUnavailable } from "../../../net/engine/linux/datagram/engine.ts";
import { OperationError } from "../../../net/errors.ts";
import { Log } from "../../../net/observe/log.ts";
import { numbered } from "../../support/batches.ts";
import { Sender } from "../../support/datagram_peer.ts";
import { namesIn, readRotated, withFolder } from "../../support/folder.ts";
import { LogWatch } from "../../support/log_watch.ts";
import { testUnless } from "../../support/skip.ts";
import { needsSmallDisk, withSmallDisk } from "../../support/small_disk.ts";
import { descriptors, holds, workerThreads } from "../../support/threads.ts";

const needsEngine = linuxEngineUnavailable();
const loopback = { hostname: "127.0.0.1", port: 0 };
const quiet = new Log({ level: "error" });
const decoder = new TextDecoder();

/** A server whose listeners are in Workers, as the threads of this process show. */
async function startPlaced(
  options: Omit<ServerOptions, "listen"> & Partial<ServerOptions>,
): Promise<ServerHandle> {
  const { listen = [loopback, loopback], workers = 1 } = options;
  await holds(() => workerThreads() === 0, () => "the end of other Workers");
  const server = await startServer({
    engine: "linux",
    log: quiet,
    ...options,
    listen,
  });
  assertEquals(workerThreads(), listen.length * workers);
  return server;
}

/** Sends lines `NAME NUMBER ...` of several sizes from sockets of their own, side by side. */
async function sendLines(
  addresses: readonly Address[],
  count: number,
): Promise<void> {
  await Promise.all(addresses.map(async ({ hostname, port }, name) => {
    await using sender = await Sender.open({ hostname, port });
    for (let i = 0; i < count; i++) {
      const size = i % 50 === 0 ? 20_000 : 100 + i % 7;
      const line = `${name} ${i} `.padEnd(size - 1, ".") + "\n";
      await sender.send(line);
    }
  }));
}

/** Sums of all listeners and of what was written. */
function sums(server: ServerHandle) {
  const { listeners, log } = server.stats();
  const sum = (figure: (row: typeof listeners[number]) => number) =>
    listeners.reduce((all, row) => all + figure(row), 0);
  return {
    received: sum((row) => row.receivedDatagrams),
    dropped: sum((row) => row.droppedKernel),
    written: log!.writtenDatagrams,
    unwritten: log!.droppedDiskFullDatagrams + log!.droppedWriteErrorDatagrams,
    rotations: log!.rotations,
  };
}

/** The lines of a rotated log, each whole and no more than once. */
function wholeLines(folder: string, most: number): string[] {
  const lines: string[] = [];
  for (const content of readRotated(folder, "feed.log")) {
    assert(content.length <= most, `${content.length} bytes in one file`);
    if (content.length === 0) continue;
    const text = decoder.decode(content);
    assert(text.endsWith("\n"));
    lines.push(...text.slice(0, -1).split("\n"));
  }
  const keys = lines.map((line) => {
    const [, name, number] = /^(\d+) (\d+) \.+$/.exec(line)!;
    const i = Number(number);
    assertEquals(line.length + 1, i % 50 === 0 ? 20_000 : 100 + i % 7);
    return `${name} ${number}`;
  });
  assertEquals(new Set(keys).size, keys.length);
  return lines;
}

testUnless(
  needsEngine,
  "startServer has listeners in Workers write whole datagrams to one file, which is rotated and compressed",
  async () => {
    await withFolder(async (folder) => {
      await using server = await startPlaced({
        path: join(folder, "feed.log"),
        workers: 2,
        rotateBytes: 100_000,
      });
      // Two senders for each address: the kernel spreads them over its shards.
      await sendLines([...server.addresses], 1000);
      await holds(
        () => sums(server).received + sums(server).dropped === 4000,
        () => JSON.stringify(sums(server)),
      );
      await server.drain();
      const { received, written, unwritten, rotations } = sums(server);
      assertEquals(written + unwritten, received);
      assertEquals(unwritten, 0);
      assert(rotations > 3, String(rotations));
      assertEquals(wholeLines(folder, 100_000).length, written);
      assertEquals(
        namesIn(folder).filter((name) => name.endsWith(".gz")).length,
        rotations,
      );
    });
  },
);

testUnless(
  needsEngine,
  "startServer writes all that its Workers had received when it is drained in the middle of a stream",
  async () => {
    for (const format of ["raw", "lines", "jsonl"] as const) {
      await withFolder(async (folder) => {
        await using server = await startPlaced({
          path: join(folder, "feed.log"),
          format,
        });
        const sending = sendLines(server.addresses, 600);
        await holds(() => sums(server).received > 100, () => "the stream");
        await server.drain();
        await sending;
        const { received, written, unwritten } = sums(server);
        assertEquals([written, unwritten], [received, 0]);
        const content = Deno.readTextFileSync(join(folder, "feed.log"));
        assertEquals(content.split("\n").length - 1, written);
      });
    }
  },
);

testUnless(
  needsEngine,
  "startServer writes what its Workers gather within moments, with nothing behind it",
  async () => {
    await withFolder(async (folder) => {
      await using server = await startPlaced({
        path: join(folder, "feed.log"),
      });
      for (let i = 1; i <= 5; i++) {
        await sendLines(server.addresses, 1);
        await holds(
          () => sums(server).written === 2 * i,
          () => JSON.stringify(sums(server)),
        );
      }
    });
  },
);

testUnless(
  needsEngine,
  "startServer gives each address in a Worker a file with split address, which its shards share",
  async () => {
    await withFolder(async (folder) => {
      await using server = await startPlaced({
        path: join(folder, "feed.log"),
        split: "address",
        workers: 2,
        format: "lines",
      });
      await sendLines(server.addresses, 20);
      await holds(() => sums(server).written === 80, () => "80 datagrams");
      await server.drain();
      const ports = [...new Set(server.addresses.map(({ port }) => port))];
      assertEquals(
        namesIn(folder),
        ports.map((port) => `feed.127.0.0.1_${port}.log`).sort(),
      );
      for (const port of ports) {
        const path = join(folder, `feed.127.0.0.1_${port}.log`);
        assertEquals(Deno.readTextFileSync(path).split("\n").length, 41);
      }
    });
  },
);

testUnless(
  needsEngine,
  "startServer keeps its listeners in this thread where a log for each source or a named pipe takes all",
  async () => {
    await withFolder(async (folder) => {
      await holds(() => workerThreads() === 0, () => "the end of Workers");
      await using server = await startServer({
        path: join(folder, "feed.log"),
        split: "source-port",
        engine: "linux",
        listen: [loopback],
        workers: 2,
        log: quiet,
      });
      assertEquals(workerThreads(), 0);
      await sendLines(server.addresses, 3);
      await holds(() => sums(server).received === 6, () => "6 datagrams");
      await server.drain();
      assertEquals(namesIn(folder).length, 2);
      assertEquals(sums(server).written, 6);
    });
  },
);

testUnless(
  needsEngine,
  "startServer.reopen has Workers go on in a new file, and lets go of the old one",
  async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "feed.log");
      await using server = await startPlaced({ path });
      await sendLines(server.addresses, 3);
      await holds(() => sums(server).written === 6, () => "6 datagrams");
      Deno.renameSync(path, `${path}.1`);
      server.reopen();
      await sendLines(server.addresses, 2);
      await holds(() => sums(server).written === 10, () => "10 datagrams");
      const held = () =>
        [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => {
          try {
            return Deno.readLinkSync(`/proc/self/fd/${name}`);
          } catch {
            return "";
          }
        });
      assert(!held().includes(`${path}.1`));
      assertEquals(held().filter((name) => name === path).length, 3);
      await server.drain();
      const lines = (name: string) =>
        Deno.readTextFileSync(name).split("\n").length - 1;
      assertEquals([lines(`${path}.1`), lines(path)], [6, 4]);
    });
  },
);

testUnless(
  needsEngine,
  "startServer in Workers syncs what all of them wrote, once a second or before more is taken",
  async () => {
    for (const fsync of ["interval", "always"] as const) {
      await withFolder(async (folder) => {
        const path = join(folder, "feed.log");
        await using server = await startPlaced({
          path,
          fsync,
          rotateBytes: 30_000,
          gzip: false,
        });
        await sendLines(server.addresses, 60);
        await holds(() => sums(server).received === 120, () => "120 datagrams");
        await server.drain();
        assertEquals(server.stats().log!.syncErrors, 0);
        assertEquals(wholeLines(folder, 30_000).length, 120);
      });
    }
  },
);

testUnless(
  needsEngine,
  "startServer leaves no file and no thread behind where one of several addresses is in use",
  async () => {
    await withFolder(async (folder) => {
      await using first = await startServer({
        path: join(folder, "first.log"),
        engine: "linux",
        listen: [loopback],
        log: quiet,
      });
      const error = await assertRejects(
        () =>
          startServer({
            path: join(folder, "feed.log"),
            engine: "linux",
            listen: [loopback, first.addresses[0]!],
            log: quiet,
          }),
        OperationError,
        `Cannot listen on 127.0.0.1:${first.addresses[0]!.port}: `,
      );
      assertEquals(error.code, "EADDRINUSE");
      assertEquals(namesIn(folder), ["first.log"]);
      await holds(() => workerThreads() === 0, () => "the end of the Workers");
    });
  },
);

testUnless(
  needsEngine ?? needsSmallDisk(),
  "startServer ends where a Worker finds the disk full and is told to end, with all that it did not write counted",
  async () => {
    await withSmallDisk(64, async (folder) => {
      const path = join(folder, "feed.log");
      await using server = await startPlaced({ path, onWriteError: "end" });
      await sendLines([server.addresses[0]!], 200);
      const error = await assertRejects(() => server.finished, OperationError);
      assertEquals(error.code, "ENOSPC");
      assert(error.message.startsWith(`Cannot write to "${path}": No space`));
      const { received, written, unwritten } = sums(server);
      assert(unwritten > 0);
      assertEquals(written + unwritten, received);
      const lines = Deno.readTextFileSync(path).split("\n");
      assertEquals([lines.pop(), lines.length], ["", written]);
    });
    await holds(() => workerThreads() === 0, () => "the end of the Workers");
  },
);

testUnless(
  needsEngine ?? needsSmallDisk(),
  "startServer goes on where a Worker finds the disk full for a while, and counts what it dropped",
  async () => {
    await withSmallDisk(1024, async (folder) => {
      const path = join(folder, "feed.log");
      const watch = new LogWatch();
      Deno.writeFileSync(join(folder, "filler"), numbered(950_000));
      await using server = await startPlaced({ path, log: watch.log });
      await sendLines([server.addresses[0]!], 200);
      await watch.line(/warn Cannot write to .*No space left/);
      await watch.line(/debug still not writing/);
      Deno.removeSync(join(folder, "filler"));
      await watch.line(/warn writing again/);
      await sendLines([server.addresses[1]!], 10);
      await holds(
        () => sums(server).written + sums(server).unwritten === 210,
        () => JSON.stringify(sums(server)),
      );
      await server.drain();
      const { received, written, unwritten } = sums(server);
      assertEquals([received, written + unwritten], [210, 210]);
      const lines = Deno.readTextFileSync(path).split("\n");
      assertEquals([lines.pop(), lines.length], ["", written]);
    });
  },
);

testUnless(
  needsEngine,
  "startServer leaves no thread and no descriptor behind, however often it is started and ended",
  async () => {
    await withFolder(async (folder) => {
      const cycle = async (i: number) => {
        await using server = await startServer({
          path: join(folder, "feed.log"),
          engine: "linux",
          listen: [loopback, loopback],
          log: quiet,
        });
        await sendLines(server.addresses, i % 3);
        if (i % 2 === 0) await server.drain();
      };
      const settled = () =>
        holds(() => workerThreads() === 0, () => `${workerThreads()} Workers`);
      // What the runtime opens once, it has opened then.
      for (let i = 0; i < 3; i++) await cycle(i);
      await settled();
      const before = descriptors();
      for (let i = 0; i < 24; i++) await cycle(i);
      await settled();
      await holds(
        () => descriptors() <= before,
        () => `${descriptors()} descriptors, not ${before}`,
      );
    });
  },
);
