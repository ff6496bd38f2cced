import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import fc from "fast-check";
import {
  AppendFile,
  LOG_COUNTERS,
} from "../../../net/udp/file_log/append_file.ts";
import { LogFile } from "../../../net/udp/file_log/log_file.ts";
import { parseRotatedName } from "../../../net/udp/file_log/log_name.ts";
import { CounterBlock } from "../../../net/observe/counters.ts";
import { Log } from "../../../net/observe/log.ts";
import {
  anyBatches,
  batchOf,
  concat,
  datagramsOf,
  numbered,
} from "../../support/batches.ts";
import { testUnless } from "../../support/skip.ts";
import { needsSmallDisk, withSmallDisk } from "../../support/small_disk.ts";

const reason = needsSmallDisk();

/** A log whose lines can be waited for. */
class AwaitedLog {
  readonly lines: string[] = [];
  #arrival = Promise.withResolvers<void>();
  readonly log = new Log({
    level: "debug",
    write: (line) => {
      this.lines.push(line);
      this.#arrival.resolve();
    },
  });

  readonly line = async (part: string): Promise<void> => {
    while (!this.lines.some((line) => line.includes(part))) {
      await this.#arrival.promise;
      this.#arrival = Promise.withResolvers<void>();
    }
  };
}

testUnless(
  reason,
  "LogFile leaves whole datagrams on a full disk where it ends, and counts the others",
  async () => {
    await withSmallDisk(256, async (folder) => {
      const path = join(folder, "feed.log");
      await fc.assert(
        fc.asyncProperty(
          anyBatches(),
          fc.nat({ max: 250_000 }),
          fc.constantFrom("raw", "lines" as const),
          fc.option(fc.integer({ min: 5_000, max: 100_000 }), {
            nil: undefined,
          }),
          async (batches, fillerBytes, format, rotateBytes) => {
            Deno.writeFileSync(join(folder, "filler"), numbered(fillerBytes));
            const file = new LogFile({
              path,
              format,
              rotateBytes,
              gzip: false,
              onWriteError: "end",
            });
            for (const slots of batches) {
              file.write(batchOf(...slots));
              file.flush();
            }
            await file[Symbol.asyncDispose]();
            const content = concat(
              [...Deno.readDirSync(folder)].map(({ name }) => name)
                .filter((name) => name !== "filler")
                .sort((a, b) => order(a) < order(b) ? -1 : 1)
                .map((name) => Deno.readFileSync(join(folder, name))),
            );
            const datagrams = batches.flatMap(datagramsOf).map((datagram) =>
              format === "raw" ? datagram : asLine(datagram)
            );
            const counted = file.counters.read();
            const written = datagrams.slice(0, counted.writtenDatagrams);
            assertEquals(content.length, counted.writtenBytes);
            assertEquals(content, concat(written));
            assertEquals(
              counted.droppedDiskFullDatagrams,
              datagrams.length - written.length,
            );
            assertEquals(
              counted.droppedDiskFullBytes,
              concat(datagrams).length - content.length,
            );
            for (const { name } of [...Deno.readDirSync(folder)]) {
              Deno.removeSync(join(folder, name));
            }
          },
        ),
        { numRuns: 80 },
      );
    });
  },
);

testUnless(
  reason,
  "LogFile goes on when there is space again, with all that it had kept",
  async () => {
    await withSmallDisk(1024, async (folder) => {
      const path = join(folder, "feed.log");
      const { lines, log, line } = new AwaitedLog();
      Deno.writeFileSync(join(folder, "filler"), numbered(950_000));
      const file = new LogFile({ path, log });
      const kept: Uint8Array[] = [];
      for (let i = 0; i < 400; i++) {
        const before = file.counters.read().droppedDiskFullDatagrams;
        // Every third is large enough to go to the file without being gathered.
        const bytes = numbered(i % 3 === 0 ? 17_001 : 1_003, i);
        file.write(batchOf({ bytes }));
        if (i % 5 === 0) file.flush();
        if (file.counters.read().droppedDiskFullDatagrams === before) {
          kept.push(bytes);
        }
      }
      // Whole datagrams, although the disk was full in the middle of one.
      const present = Deno.readFileSync(path);
      assert(present.length > 0);
      assertEquals(present, startOf(kept, present.length));
      assertEquals(lines.length, 1, lines.join("\n"));
      assert(kept.length < 400);

      await line("still not writing");
      Deno.removeSync(join(folder, "filler"));
      await line("writing again");
      await file[Symbol.asyncDispose]();
      const counted = file.counters.read();
      const content = Deno.readFileSync(path);
      assertEquals(content, concat(kept));
      assertEquals(content.length, counted.writtenBytes);
      assertEquals(
        counted.writtenDatagrams + counted.droppedDiskFullDatagrams,
        400,
      );
    });
  },
);

/** The first datagrams that have so many bytes together; fails where that cuts one. */
function startOf(datagrams: readonly Uint8Array[], bytes: number): Uint8Array {
  let count = 0;
  let sum = 0;
  while (sum < bytes) sum += datagrams[count++]!.length;
  assertEquals(sum, bytes, "a datagram is cut");
  return concat(datagrams.slice(0, count));
}

testUnless(
  reason,
  "AppendFile cuts off the part of a datagram at every try, until all is written",
  async () => {
    await withSmallDisk(64, (folder) => {
      const path = join(folder, "feed.log");
      Deno.writeFileSync(join(folder, "filler"), numbered(40_000));
      const { file, counters } = openAppendFile(path);
      const datagrams = Array.from(
        { length: 50 },
        (_, i) => numbered(997, i),
      );
      for (const datagram of datagrams) {
        file.append(datagram, datagram.length);
      }
      assertEquals(file.writeOut(), false);
      for (let i = 0; i < 3; i++) {
        const present = Deno.readFileSync(path);
        assert(present.length > 0);
        assertEquals(present, startOf(datagrams, present.length));
        assertEquals(present.length, counters.read().writtenBytes);
        assertEquals(file.retry(), false);
      }
      Deno.removeSync(join(folder, "filler"));
      assertEquals(file.retry(), true);
      file.close();
      assertEquals(Deno.readFileSync(path), concat(datagrams));
      assertEquals(counters.read().writtenDatagrams, 50);
      assertEquals(counters.read().writeErrors, 4);
      return Promise.resolve();
    });
  },
);

testUnless(
  reason,
  "AppendFile completes a datagram that it could not cut off again",
  async () => {
    await withSmallDisk(64, (folder) => {
      const path = join(folder, "feed.log");
      Deno.writeFileSync(join(folder, "filler"), numbered(40_000));
      const { file, counters, told } = openAppendFile(path, 1_000);
      file.open();
      // Another program appends behind: what stands there may not be cut.
      using other = Deno.openSync(path, { append: true });
      other.writeSync(numbered(10));
      const datagram = numbered(30_000, 1);
      file.append(datagram, datagram.length);
      assertEquals(told, ["error"]);
      assertEquals(counters.read().writtenDatagrams, 0);
      const part = Deno.statSync(path).size;
      assert(part > 10 && part < 30_010, String(part));
      file.append(numbered(500, 2), 500);
      assertEquals(file.retry(), false);
      Deno.removeSync(join(folder, "filler"));
      assertEquals(file.retry(), true);
      assertEquals(told, ["error", "rotated", "recovered"]);
      file.close();
      // Its rest belongs to the part, whatever the size; then the file is full.
      const rotated = [...Deno.readDirSync(folder)].map(({ name }) => name)
        .find((name) => name !== "feed.log")!;
      assertEquals(
        Deno.readFileSync(join(folder, rotated)),
        concat([numbered(10), datagram]),
      );
      assertEquals(Deno.readFileSync(path), numbered(500, 2));
      assertEquals(counters.read().writtenDatagrams, 2);
      assertEquals(counters.read().writtenBytes, 30_500);
      return Promise.resolve();
    });
  },
);

function openAppendFile(path: string, maxBytes?: number) {
  const counters = new CounterBlock(LOG_COUNTERS);
  const told: string[] = [];
  const file = new AppendFile({
    path,
    retry: true,
    maxBytes,
    counters,
    now: () => 0,
    events: {
      onError: () => told.push("error"),
      onRecovered: () => told.push("recovered"),
      onRotated: () => told.push("rotated"),
      onRotationError: () => told.push("rotation error"),
      onRemoved: () => 0,
    },
  });
  return { file, counters, told };
}

/** The present file has no stamp and is the youngest. */
function order(name: string): string {
  return parseRotatedName(name)?.order ?? "present";
}

function asLine(datagram: Uint8Array): Uint8Array {
  let end = datagram.length;
  while (end > 0 && datagram[end - 1] === 10) end--;
  return concat([datagram.subarray(0, end), new Uint8Array([10])]);
}
