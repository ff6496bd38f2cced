import { assert, assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import fc from "fast-check";
import { gunzipSync } from "node:zlib";
import type { Address } from "../../../../net/address.ts";
import {
  LogFile,
  type LogFileOptions,
} from "../../../../net/udp/file_log/log_file.ts";
import { OperationError, UsageError } from "../../../../net/errors.ts";
import { Log } from "../../../../net/observe/log.ts";
import {
  anyBatches,
  batchOf,
  concat,
  datagramsOf,
  numbered,
} from "../../../support/batches.ts";
import { namesIn, readRotated, withFolder } from "../../../support/folder.ts";
import { needsLinux, testUnless } from "../../../support/skip.ts";

const text = new TextDecoder();
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

Deno.test("LogFile appends any sequence of batches byte for byte, behind what is there", async () => {
  await withFolder(async (folder) => {
    await fc.assert(
      fc.asyncProperty(
        anyBatches(),
        fc.boolean(),
        async (batches, flushes) => {
          const path = join(folder, "feed.log");
          Deno.writeFileSync(path, bytes("before"));
          await using file = new LogFile({ path });
          for (const slots of batches) {
            file.write(batchOf(...slots));
            if (flushes) file.flush();
          }
          await file.drain();
          const datagrams = batches.flatMap(datagramsOf);
          const expected = concat([bytes("before"), ...datagrams]);
          assertEquals(Deno.readFileSync(path), expected);
          const counted = file.counters.read();
          assertEquals(counted.writtenDatagrams, datagrams.length);
          assertEquals(counted.writtenBytes, expected.length - 6);
        },
      ),
      { numRuns: 60 },
    );
  });
});

Deno.test("LogFile.write takes many more datagrams than it can gather", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    const file = new LogFile({ path });
    const slots = [{ bytes: numbered(3000), segmentSize: 3 }, {
      bytes: new Uint8Array(0),
    }];
    const pieces: Uint8Array[] = [];
    for (let i = 0; i < 9000; i++) {
      file.write(batchOf(...slots.slice(0, i % 10 === 0 ? 2 : 1)));
      pieces.push(slots[0]!.bytes);
    }
    await file[Symbol.asyncDispose]();
    assertEquals(Deno.readFileSync(path), concat(pieces));
    assertEquals(file.counters.read().writtenDatagrams, 9000 * 1000 + 900);
  });
});

Deno.test("LogFile ends every datagram with exactly one newline in lines", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    await fc.assert(fc.asyncProperty(
      fc.array(fc.array(fc.constantFrom("a", "bc", "\n", "\r\n", "ö")), {
        maxLength: 12,
      }),
      fc.integer({ min: 0, max: 3 }),
      async (words, segmentSize) => {
        const slots = words.map((word) => ({
          bytes: bytes(word.join("")),
          segmentSize,
        }));
        {
          await using file = new LogFile({ path, format: "lines" });
          file.write(batchOf(...slots));
        }
        const expected = datagramsOf(slots).map((datagram) => {
          let end = datagram.length;
          while (end > 0 && datagram[end - 1] === 10) end--;
          return concat([datagram.subarray(0, end), bytes("\n")]);
        });
        assertEquals(Deno.readFileSync(path), concat(expected));
        Deno.removeSync(path);
      },
    ));
  });
});

Deno.test("LogFile writes one JSON object per datagram with time, source and the exact payload in jsonl", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    const source: Address = { hostname: "fe80::1", zone: "eth0", port: 7 };
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.uint8Array({ maxLength: 30 }),
            fc.string({ unit: "binary" }).map(bytes),
            fc.constantFrom(
              bytes("\ufeffmark"),
              bytes('"\\\u2028\0\n'),
              new Uint8Array(65507),
              numbered(65507),
            ),
          ),
          { maxLength: 12 },
        ),
        fc.integer({ min: 0, max: 7 }).map((size) => size < 4 ? 0 : size),
        async (payloads, segmentSize) => {
          const slots = payloads.map((bytes) => ({
            bytes,
            segmentSize: bytes.length > 1000 ? 0 : segmentSize,
            source,
          }));
          {
            await using file = new LogFile({
              path,
              format: "jsonl",
              now: () => Date.UTC(2026, 7, 22, 10, 15, 30, 7),
            });
            file.write(batchOf(...slots));
          }
          const lines = text.decode(Deno.readFileSync(path)).split("\n");
          assertEquals(lines.pop(), "");
          const read = lines.map((line) => {
            const object = JSON.parse(line);
            const { time, source, text, base64, ...rest } = object;
            assertEquals(time, "2026-08-22T10:15:30.007Z");
            assertEquals(source, "[fe80::1%eth0]:7");
            assertEquals(rest, {});
            assert((text === undefined) !== (base64 === undefined));
            return text === undefined
              ? Uint8Array.fromBase64(base64)
              : bytes(text);
          });
          assertEquals(read, datagramsOf(slots).map((d) => new Uint8Array(d)));
          Deno.removeSync(path);
        },
      ),
      { numRuns: 60 },
    );
  });
});

for (const format of ["lines", "jsonl"] as const) {
  Deno.test(`LogFile ends a line that a killed run left unfinished in ${format}`, async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "feed.log");
      Deno.writeTextFileSync(path, "whole\nhal");
      for (let run = 0; run < 2; run++) {
        await using file = new LogFile({ path, format, now: () => 0 });
        file.write(batchOf({ bytes: bytes("next") }));
      }
      const lines = Deno.readTextFileSync(path).split("\n");
      assertEquals(lines.slice(0, 2), ["whole", "hal"]);
      assertEquals(lines.length, 5);
      assert(lines[2]!.includes("next") && lines[3]!.includes("next"));
    });
  });
}

Deno.test("LogFile rotates at a size and never splits a datagram over two files", async () => {
  await withFolder(async (folder) => {
    await fc.assert(
      fc.asyncProperty(
        anyBatches(20_000),
        fc.oneof(
          fc.integer({ min: 300, max: 3000 }),
          fc.integer({ min: 300, max: 60_000 }),
        ),
        fc.constantFrom("raw", "lines" as const),
        async (batches, rotateBytes, format) => {
          const path = join(folder, "feed.log");
          {
            await using file = new LogFile({
              path,
              rotateBytes,
              format,
              gzip: false,
              now: () => 0,
            });
            for (const slots of batches) file.write(batchOf(...slots));
          }
          const files = readRotated(folder, "feed.log");
          const datagrams = batches.flatMap(datagramsOf).map((datagram) => {
            if (format === "raw") return datagram;
            let end = datagram.length;
            while (end > 0 && datagram[end - 1] === 10) end--;
            return concat([datagram.subarray(0, end), bytes("\n")]);
          });
          assertEquals(concat(files), concat(datagrams));
          const ends = new Set<number>([0]);
          let at = 0;
          const lengths = new Map<number, number>();
          for (const { length } of datagrams) {
            if (length === 0) continue;
            lengths.set(at, length);
            ends.add(at += length);
          }
          at = 0;
          for (const { length } of files) {
            assert(
              length <= rotateBytes || length === lengths.get(at),
              `${length} bytes in a file of at most ${rotateBytes}`,
            );
            assert(ends.has(at), `a datagram is split at ${at}`);
            at += length;
          }
          for (const name of namesIn(folder)) {
            Deno.removeSync(join(folder, name));
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});

Deno.test("LogFile compresses rotated files and keeps as many as wanted", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    let nowMs = Date.UTC(2026, 7, 22);
    const file = new LogFile({
      path,
      rotateBytes: 1000,
      keepFiles: 3,
      now: () => nowMs,
    });
    for (let i = 0; i < 8; i++) {
      nowMs += 1000;
      file.write(batchOf({ bytes: numbered(900, i) }));
      await file.drain();
    }
    assertEquals(namesIn(folder), [
      "feed.log",
      "feed.log.20260822T000006000Z.gz",
      "feed.log.20260822T000007000Z.gz",
      "feed.log.20260822T000008000Z.gz",
    ]);
    await file[Symbol.asyncDispose]();
    assertEquals(
      concat(readRotated(folder, "feed.log")),
      concat([4, 5, 6, 7].map((i) => numbered(900, i))),
    );
  });
});

Deno.test("LogFile puts nothing in the wrong order when the clock is set back", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    let nowMs = 1_000_000;
    {
      await using file = new LogFile({
        path,
        rotateBytes: 10,
        gzip: false,
        now: () => nowMs -= 10,
      });
      for (let i = 0; i < 30; i++) {
        file.write(batchOf({ bytes: numbered(10, i) }));
      }
    }
    assertEquals(
      readRotated(folder, "feed.log"),
      Array.from({ length: 30 }, (_, i) => numbered(10, i)),
    );
  });
});

Deno.test("LogFile rotates when an interval is over, written to or not, and leaves an empty file alone", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    let nowMs = Date.UTC(2026, 7, 22, 10, 59, 59);
    await using file = new LogFile({
      path,
      rotateIntervalMs: 3_600_000,
      gzip: false,
      now: () => nowMs,
    });
    const write = (word: string) => file.write(batchOf({ bytes: bytes(word) }));
    write("ten");
    file.flush();
    nowMs += 1000;
    write("eleven");
    file.flush();
    await file.tick();
    nowMs += 3_600_000;
    await file.tick();
    nowMs += 3_600_000;
    await file.tick();
    nowMs += 3_600_000;
    write("fourteen");
    await file.drain();
    assertEquals(
      readRotated(folder, "feed.log").map((content) => text.decode(content)),
      ["ten", "eleven", "fourteen"],
    );
    assertEquals(namesIn(folder), [
      "feed.log",
      "feed.log.20260822T110000000Z",
      "feed.log.20260822T120000000Z",
    ]);
  });
});

Deno.test("LogFile rotates what an earlier run wrote in an interval that is over", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    Deno.writeTextFileSync(path, "yesterday");
    Deno.utimeSync(path, 0, 86_400);
    await using file = new LogFile({
      path,
      rotateIntervalMs: 3_600_000,
      gzip: false,
      now: () => 2 * 86_400_000,
    });
    file.write(batchOf({ bytes: bytes("today") }));
    await file.drain();
    assertEquals(
      readRotated(folder, "feed.log").map((content) => text.decode(content)),
      ["yesterday", "today"],
    );
  });
});

Deno.test("LogFile picks up what a killed run left of rotated files", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    const stamp = "20260822T000000000Z";
    const at = (name: string) => join(folder, `feed.log.${name}`);
    // Killed before the compression, in it, and before the original was removed.
    Deno.writeTextFileSync(at(`${stamp}`), "one");
    Deno.writeTextFileSync(at(`${stamp}-1`), "two");
    Deno.writeTextFileSync(at(`${stamp}-1.gz.tmp`), "half");
    Deno.writeTextFileSync(at(`${stamp}-2`), "three");
    Deno.writeTextFileSync(at(`${stamp}-3.gz.tmp`), "of no use");
    const gz = new Response("three").body!
      .pipeThrough(new CompressionStream("gzip"));
    await Deno.writeFile(at(`${stamp}-2.gz`), gz);
    // Not ours.
    Deno.writeTextFileSync(join(folder, `other.log.${stamp}`), "other");
    Deno.writeTextFileSync(at("bak"), "bak");
    const file = new LogFile({ path, rotateBytes: 1000 });
    await file.drain();
    await file[Symbol.asyncDispose]();
    assertEquals(namesIn(folder), [
      "feed.log",
      `feed.log.${stamp}-1.gz`,
      `feed.log.${stamp}-2.gz`,
      `feed.log.${stamp}.gz`,
      "feed.log.bak",
      `other.log.${stamp}`,
    ]);
    assertEquals(
      readRotated(folder, "feed.log").map((content) => text.decode(content)),
      ["one", "two", "three", ""],
    );
  });
});

Deno.test("LogFile leaves no half compressed file when it ends in the middle", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    const content = crypto.getRandomValues(new Uint8Array(65536));
    const file = new LogFile({ path, rotateBytes: 40 * 65536, now: () => 0 });
    for (let i = 0; i < 41; i++) {
      file.write(batchOf({ bytes: content.subarray(0, 65000) }));
    }
    assertEquals(file.counters.read().rotations, 1);
    await file[Symbol.asyncDispose]();
    for (const name of namesIn(folder)) {
      if (name.endsWith(".gz")) {
        gunzipSync(Deno.readFileSync(join(folder, name)));
      }
    }
    const later = new LogFile({ path, rotateBytes: 40 * 65536 });
    await later.drain();
    await later[Symbol.asyncDispose]();
    assertEquals(namesIn(folder), [
      "feed.log",
      "feed.log.19700101T000000000Z.gz",
    ]);
    assertEquals(concat(readRotated(folder, "feed.log")).length, 41 * 65000);
  });
});

Deno.test("LogFile gives each source a file and keeps few of them open", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    const expected = new Map<string, string>();
    const file = new LogFile({
      path,
      splitBy: "source-port",
      maxOpenFiles: 4,
      rotateBytes: 40,
      now: () => 0,
    });
    for (let i = 0; i < 200; i++) {
      const port = 1000 + (i * 7) % 20;
      const hostname = i % 2 ? "10.0.0.1" : "::1";
      const word = `${hostname} ${port} ${i};`;
      file.write(
        batchOf({ bytes: bytes(word), source: { hostname, port } }),
      );
      assert(file.openFiles <= 4);
      const name = i % 2
        ? `feed.10.0.0.1_${port}.log`
        : `feed.ip6---1_${port}.log`;
      expected.set(name, (expected.get(name) ?? "") + word);
    }
    await file.drain();
    await file[Symbol.asyncDispose]();
    for (const [name, content] of expected) {
      assertEquals(text.decode(concat(readRotated(folder, name))), content);
    }
    assertEquals(file.counters.read().writtenDatagrams, 200);
    assert(
      namesIn(folder).every((name) =>
        name.endsWith(".log") || name.endsWith(".gz")
      ),
    );
  });
});

Deno.test("LogFile gives each address a file, whatever its ports, and no more files than maxSources", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    const file = new LogFile({ path, splitBy: "source", maxSources: 3 });
    const write = (hostname: string, port: number, word: string) =>
      file.write(batchOf({ bytes: bytes(word), source: { hostname, port } }));
    for (let port = 1; port <= 500; port++) write("10.0.0.1", port, "a");
    // The same sender on an IPv6 socket.
    write("::ffff:10.0.0.1", 1, "a");
    write("fe80::1", 1, "b");
    write("10.0.0.2", 1, "c");
    for (let n = 3; n < 200; n++) write(`10.0.0.${n}`, 1, "d");
    write("10.0.0.1", 1, "a");
    await file[Symbol.asyncDispose]();
    const read = (name: string) => Deno.readTextFileSync(join(folder, name));
    assertEquals(namesIn(folder), [
      "feed.10.0.0.1.log",
      "feed.10.0.0.2.log",
      "feed.ip6-fe80--1.log",
      "feed.other.log",
    ]);
    assertEquals(read("feed.10.0.0.1.log"), "a".repeat(502));
    assertEquals(read("feed.other.log"), "d".repeat(197));
  });
});

Deno.test("LogFile names files of one millisecond so that they sort in order, compressed or not", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    const file = new LogFile({ path, rotateBytes: 4, now: () => 0 });
    for (let i = 0; i < 30; i++) {
      file.write(batchOf({ bytes: bytes(`${i}`.padStart(4, "0")) }));
      file.flush();
    }
    await file.drain();
    await file[Symbol.asyncDispose]();
    const rotated = namesIn(folder).filter((name) => name !== "feed.log");
    assertEquals(rotated.length, 29);
    assert(rotated.every((name) => name.endsWith(".gz")));
    const stream = await Promise.all(
      rotated.toSorted().map((name) =>
        new Response(
          new Blob([Deno.readFileSync(join(folder, name))]).stream()
            .pipeThrough(new DecompressionStream("gzip")),
        ).text()
      ),
    );
    assertEquals(stream.map(Number), Array.from({ length: 29 }, (_, i) => i));
  });
});

for (const fsync of ["interval", "always"] as const) {
  Deno.test(`LogFile writes the same with fsync ${fsync}`, async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "feed.log");
      const file = new LogFile({ path, fsync, rotateBytes: 100, gzip: false });
      for (let i = 0; i < 9; i++) {
        file.write(batchOf({ bytes: numbered(40, i) }));
        file.flush();
        await file.tick();
      }
      if (fsync === "always") {
        assertEquals(Deno.statSync(path).size, 40);
      }
      await file[Symbol.asyncDispose]();
      assertEquals(
        concat(readRotated(folder, "feed.log")),
        concat(Array.from({ length: 9 }, (_, i) => numbered(40, i))),
      );
      assertEquals(file.counters.read().syncErrors, 0);
    });
  });
}

Deno.test("LogFile.reopen goes on in a new file when another program has renamed the old one", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    const file = new LogFile({ path });
    file.write(batchOf({ bytes: bytes("old") }));
    file.flush();
    Deno.renameSync(path, join(folder, "feed.log.1"));
    file.write(batchOf({ bytes: bytes(" still old") }));
    file.reopen();
    file.write(batchOf({ bytes: bytes("new") }));
    await file[Symbol.asyncDispose]();
    assertEquals(
      Deno.readTextFileSync(join(folder, "feed.log.1")),
      "old still old",
    );
    assertEquals(Deno.readTextFileSync(path), "new");
  });
});

Deno.test("LogFile begins a removed file anew, when it is due to rotate and once a second", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    const lines: string[] = [];
    const file = new LogFile({
      path,
      rotateBytes: 10,
      gzip: false,
      log: new Log({ write: (line) => lines.push(line) }),
    });
    const write = (text: string) => {
      file.write(batchOf({ bytes: bytes(text) }));
      return file.drain();
    };
    await write("12345678");
    Deno.removeSync(path);
    await write("next");
    assertEquals(Deno.readTextFileSync(path), "next");
    Deno.removeSync(path);
    await file.tick();
    await write("last");
    await file[Symbol.asyncDispose]();
    assertEquals(Deno.readTextFileSync(path), "last");
    assertEquals(namesIn(folder), ["feed.log"]);
    assertEquals(file.counters.read().rotationErrors, 0);
    assert(lines.some((line) => line.includes("was removed")), lines.join());
  });
});

Deno.test("LogFile that rotates does not take another program's file for its own", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    const file = new LogFile({ path, rotateBytes: 10, gzip: false });
    file.write(batchOf({ bytes: bytes("12345678") }));
    await file.drain();
    Deno.renameSync(path, join(folder, "moved"));
    Deno.writeTextFileSync(path, "theirs");
    file.write(batchOf({ bytes: bytes("mine") }));
    await file[Symbol.asyncDispose]();
    assertEquals(Deno.readTextFileSync(path), "theirsmine");
    assertEquals(Deno.readTextFileSync(join(folder, "moved")), "12345678");
  });
});

for (
  const [first, second, expected] of [
    [10, 10, "refused"],
    [10, undefined, "refused"],
    [undefined, 10, "refused"],
    [undefined, undefined, "shared"],
  ] as const
) {
  testUnless(
    Deno.build.os === "windows" ? "needs advisory locks" : undefined,
    `LogFile of ${first ?? "no"} bytes a file and a second one of ${
      second ?? "no"
    } on one path: ${expected}`,
    async () => {
      await withFolder(async (folder) => {
        const path = join(folder, "feed.log");
        await using file = new LogFile({ path, rotateBytes: first });
        const open = () => new LogFile({ path, rotateBytes: second });
        if (expected === "refused") {
          assertThrows(open, OperationError, "another process writes to it");
        } else await open()[Symbol.asyncDispose]();
        // The first one keeps its lock over a rotation and a reopening.
        for (let i = 0; i < 3; i++) {
          file.write(batchOf({ bytes: numbered(9, i) }));
          await file.drain();
        }
        file.reopen();
        file.write(batchOf({ bytes: numbered(1) }));
        await file.drain();
        if (expected === "refused") {
          assertThrows(open, OperationError, "another process writes to it");
        }
        assertEquals(file.counters.read().writtenDatagrams, 4);
      });
    },
  );
}

Deno.test("LogFile goes on in a file that it cannot rotate, and says so", async () => {
  await withFolder(async (folder) => {
    // Too long a name with a time behind it.
    const path = join(folder, "n".repeat(250));
    const lines: string[] = [];
    const file = new LogFile({
      path,
      rotateBytes: 10,
      log: new Log({ write: (line) => lines.push(line) }),
      now: () => 0,
    });
    for (let i = 0; i < 20; i++) {
      file.write(batchOf({ bytes: numbered(9, i) }));
      file.flush();
    }
    await file[Symbol.asyncDispose]();
    assertEquals(
      Deno.readFileSync(path),
      concat(Array.from({ length: 20 }, (_, i) => numbered(9, i))),
    );
    const counted = file.counters.read();
    assertEquals([counted.rotations, counted.writtenDatagrams], [0, 20]);
    assert(counted.rotationErrors > 0);
    assert(lines[0]!.includes("Cannot rotate"), lines[0]);
  });
});

Deno.test("LogFile refuses a folder, a missing folder and options that do not fit", async () => {
  await withFolder((folder) => {
    const path = join(folder, "feed.log");
    const refused: [LogFileOptions, string][] = [
      [{ path, rotateBytes: 0 }, "rotateBytes 0"],
      [{ path, rotateIntervalMs: 10 }, "rotateIntervalMs 10"],
      [{ path, keepFiles: 3 }, "nothing rotates it"],
      [{ path, maxOpenFiles: 0 }, "maxOpenFiles 0"],
    ];
    for (const [options, message] of refused) {
      assertThrows(() => new LogFile(options), UsageError, message);
    }
    assertThrows(() => new LogFile({ path: folder }), OperationError, folder);
    const missing = join(folder, "missing", "feed.log");
    assertThrows(
      () => new LogFile({ path: missing }),
      OperationError,
      `Cannot open "${missing}"`,
    );
    assertEquals(namesIn(folder), []);
    return Promise.resolve();
  });
});

testUnless(
  needsLinux(),
  "LogFile says a failing write at once, keeps what fits and counts the rest",
  async () => {
    const lines: string[] = [];
    const file = new LogFile({
      path: "/dev/full",
      log: new Log({ write: (line) => lines.push(line) }),
    });
    const slot = { bytes: numbered(60_000), segmentSize: 1000 };
    file.write(batchOf(slot));
    assertEquals(lines.length, 1);
    assert(
      lines[0]!.includes(
        'Cannot write to "/dev/full": No space left on device; free space',
      ),
      lines[0],
    );
    assertEquals(file.failure?.code, "ENOSPC");
    for (let i = 0; i < 19; i++) file.write(batchOf(slot));
    assertEquals(lines.length, 1);
    const early = file.counters.read();
    // Eight runs of 60 000 bytes wait for space, the others are lost.
    assertEquals(early.droppedDiskFullDatagrams, 12 * 60);
    assertEquals(early.droppedDiskFullBytes, 12 * 60_000);
    await file[Symbol.asyncDispose]();
    const counted = file.counters.read();
    assertEquals(counted.writtenBytes, 0);
    assertEquals(counted.droppedDiskFullDatagrams, 20 * 60);
    assertEquals(counted.droppedDiskFullBytes, 20 * 60_000);
  },
);

testUnless(
  needsLinux(),
  "LogFile ends at the first failing write where that is wanted",
  async () => {
    const reasons: OperationError[] = [];
    const file = new LogFile({
      path: "/dev/full",
      onWriteError: "end",
      onEnd: (reason) => reasons.push(reason),
    });
    file.write(batchOf({ bytes: numbered(100) }, { bytes: numbered(200) }));
    assertEquals(reasons, []);
    file.flush();
    file.write(batchOf({ bytes: numbered(20_000) }));
    await file[Symbol.asyncDispose]();
    assertEquals(reasons.map(({ code }) => code), ["ENOSPC"]);
    assertEquals(file.counters.read().droppedDiskFullDatagrams, 3);
    assertEquals(file.counters.read().droppedDiskFullBytes, 20_300);
  },
);
