import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import fc from "fast-check";
import { OperationError } from "../../net/errors.ts";
import { openLineSink } from "../../net/line_sinks.ts";
import {
  type LineSink,
  LineWriter,
  type LineWriterOptions,
} from "../../net/line_writer.ts";
import { soon } from "../support/deadline.ts";
import { TestFolder } from "../support/folder.ts";
import { needsLinux, testUnless } from "../support/skip.ts";

const LINE = "x".repeat(99);

function openFile(
  path: string,
  options: Partial<LineWriterOptions> = {},
): Promise<LineWriter> {
  return LineWriter.open({
    open: () => openLineSink(path),
    subject: `"${path}"`,
    lostLine: ({ lines, reason }) => `lost ${lines}: ${reason}`,
    ...options,
  });
}

/** A named pipe with a reader that has read nothing yet. */
async function unreadPipe(
  folder: TestFolder,
): Promise<{ path: string; reader: Deno.FsFile }> {
  const path = `${folder.path}/pipe`;
  await new Deno.Command("mkfifo", { args: [path] }).output();
  // Both ways: open(2) of a FIFO waits for the other end.
  const reader = await Deno.open(path, { read: true, write: true });
  return { path, reader };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** Reads lines until one fits. */
async function readUntil(
  reader: Deno.FsFile,
  last: RegExp,
): Promise<string[]> {
  let text = "";
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(65536);
  for (;;) {
    const lines = text.split("\n").slice(0, -1);
    if (last.test(lines.at(-1) ?? "")) return lines;
    const count = await soon(reader.read(buffer), `a line like ${last}`);
    text += decoder.decode(buffer.subarray(0, count ?? 0), { stream: true });
  }
}

Deno.test("LineWriter appends lines in order, and flush says when they are there", async () => {
  await using folder = await TestFolder.create();
  const path = await folder.file("log", "before\n");
  await using writer = await openFile(path);
  for (let i = 0; i < 2000; i++) assert(writer.write(`line ${i}`));
  assert(await writer.flush(60_000));
  assertEquals(
    await Deno.readTextFile(path),
    "before\n" + Array.from({ length: 2000 }, (_, i) => `line ${i}\n`).join(""),
  );
  assertEquals(writer.stats.writtenLines, 2000);
  assertEquals(writer.stats.queuedBytes, 0);
  assert(writer.healthy);
});

testUnless(
  needsLinux(),
  "LineWriter makes a file that others may not read",
  async () => {
    await using folder = await TestFolder.create();
    const path = `${folder.path}/log`;
    await using _writer = await openFile(path);
    assertEquals((await Deno.stat(path)).mode! & 0o137, 0);
  },
);

testUnless(
  needsLinux(),
  "LineWriter does not wait for a pipe that nobody reads, and states what was lost when somebody does",
  async () => {
    await using folder = await TestFolder.create();
    const { path, reader } = await unreadPipe(folder);
    using _ = reader;
    const reasons: string[] = [];
    let nowMs = 0;
    await using writer = await openFile(path, {
      queueBytes: 100_000,
      onLost: (reason) => reasons.push(reason),
      now: () => nowMs,
    });
    let taken = 0;
    for (let i = 0; i < 5000; i++) if (writer.write(LINE)) taken++;
    assertEquals(taken, 1000);
    assertEquals(writer.stats.droppedLines, 4000);
    assertEquals(writer.stats.droppedBytes, 400_000);
    assertEquals(reasons, ["queue full"]);
    assert(!writer.healthy);
    assert(writer.stats.queuedBytes <= 100_000);
    const lines = await readUntil(reader, /^lost/);
    // The first batch was in the pipe before the queue was full, or was not.
    assertEquals(lines.length, taken + 1);
    assertEquals(lines.at(-1), "lost 4000: queue full");
    assertEquals(lines.filter((line) => line === LINE).length, taken);
    nowMs = 0;
    assert(writer.write("after"));
    assertEquals(await readUntil(reader, /^after$/), ["after"]);
    assert(await writer.flush(60_000));
    assert(writer.healthy);
  },
);

testUnless(
  needsLinux(),
  "LineWriter is not healthy once a write takes too long, and ends by its deadline",
  async () => {
    await using folder = await TestFolder.create();
    const { path, reader } = await unreadPipe(folder);
    let nowMs = 0;
    const writer = await openFile(path, { now: () => nowMs });
    for (let i = 0; i < 1000; i++) writer.write(LINE);
    assert(writer.healthy);
    assertEquals(await writer.flush(0), false);
    nowMs = 10_000;
    assert(!writer.healthy);
    await soon(writer.close(0), "the end of a writer that hangs");
    const { droppedLines, writtenLines } = writer.stats;
    assertEquals(droppedLines + writtenLines, 1000);
    assert(droppedLines > 0);
    assertEquals(writer.write("late"), false);
    // Lets the thread of the hanging write go.
    const rest = new Uint8Array(1 << 20);
    await reader.read(rest);
    reader.close();
  },
);

testUnless(
  needsLinux(),
  "LineWriter counts what a pipe without a reader refuses",
  async () => {
    await using folder = await TestFolder.create();
    const { path, reader } = await unreadPipe(folder);
    const writer = await openFile(path);
    reader.close();
    assert(writer.write("lost"));
    assertEquals(await writer.flush(60_000), false);
    assert(!writer.healthy);
    assertEquals(writer.stats.errors, 1);
    await writer.close();
    assertEquals(writer.stats.droppedLines, 1);
  },
);

testUnless(
  needsLinux(),
  "LineWriter goes on in a new file after a full disk, with a whole line and none lost",
  async () => {
    await using folder = await TestFolder.create();
    const path = `${folder.path}/log`;
    await Deno.symlink("/dev/full", path);
    await using writer = await openFile(path);
    writer.write("one");
    writer.write("two");
    assertEquals(await writer.flush(60_000), false);
    assert(!writer.healthy);
    await Deno.remove(path);
    await writer.reopen();
    assert(await writer.flush(60_000));
    assert(writer.healthy);
    assertEquals(await Deno.readTextFile(path), "one\ntwo\n");
    assertEquals(writer.stats.droppedLines, 0);
  },
);

testUnless(
  needsLinux(),
  "LineWriter.reopen leaves a pipe that nobody reads",
  async () => {
    await using folder = await TestFolder.create();
    const { path, reader } = await unreadPipe(folder);
    await using writer = await openFile(path);
    for (let i = 0; i < 1000; i++) writer.write(LINE);
    // The first batch fills the pipe; the write of the second one hangs.
    while (writer.stats.writtenBytes === 0) await nextTurn();
    await Deno.rename(path, `${path}.old`);
    await soon(writer.reopen(), "the reopening");
    writer.write("after");
    assert(await writer.flush(60_000));
    const text = await Deno.readTextFile(path);
    assertMatch(text, /^lost \d+: a write hung$/m);
    assert(text.endsWith("after\n"));
    const { droppedLines, writtenLines } = writer.stats;
    // The line that states the loss is one of those written.
    assertEquals(droppedLines + writtenLines, 1002);
    await reader.read(new Uint8Array(1 << 20));
    reader.close();
  },
);

Deno.test("LineWriter.open and reopen refuse what cannot be opened; the old file stays", async () => {
  await using folder = await TestFolder.create();
  const error = await assertRejects(
    () => openFile(folder.path),
    OperationError,
  );
  assertEquals(error.message.split("\n").length, 1);
  const path = `${folder.path}/log`;
  await using writer = await openFile(path);
  await Deno.remove(path);
  await Deno.mkdir(path);
  await assertRejects(() => writer.reopen(), OperationError);
  assert(writer.write("still"));
  assert(await writer.flush(60_000));
  assertEquals(writer.stats.writtenLines, 1);
});

Deno.test("LineWriter cuts a long line, with a mark", async () => {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/log`;
  await using writer = await openFile(path, { maxLineBytes: 100 });
  writer.write("y".repeat(100));
  writer.write("z".repeat(101));
  await writer.flush(60_000);
  assertEquals(
    await Deno.readTextFile(path),
    `${"y".repeat(100)}\n${"z".repeat(68)}...[33 bytes cut]\n`,
  );
  assertEquals(writer.stats.truncatedLines, 1);
});

Deno.test("LineWriter.offer leaves out a text where much waits", async () => {
  const first = Promise.withResolvers<void>();
  let written = "";
  const writer = writerTo({
    async write(bytes) {
      await first.promise;
      written += new TextDecoder().decode(bytes);
      return bytes.length;
    },
  });
  assert(writer.offer("\rone"));
  writer.write("a".repeat(5000));
  assert(!writer.offer("\rtwo"));
  first.resolve();
  assert(await writer.flush(60_000));
  assertEquals(written, `\rone${"a".repeat(5000)}\n`);
  assertEquals(writer.stats.droppedLines, 0);
});

function writerTo(sink: LineSink, queueBytes = 1 << 20): LineWriter {
  return new LineWriter(sink, {
    open: () => sink,
    subject: "a sink",
    queueBytes,
    lostLine: ({ lines }) => `lost ${lines}`,
  });
}

Deno.test("LineWriter accounts for every line, however the sink takes them", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 60 }),
      fc.array(fc.integer({ min: -1, max: 90 }), { maxLength: 40 }),
      async (lengths, script) => {
        const decoder = new TextDecoder();
        let written = "";
        // -1 fails, any other number is how much a write takes at most.
        const writer = writerTo({
          write(bytes) {
            const take = script.shift() ?? bytes.length;
            if (take < 0) return Promise.reject(new Error("full"));
            const count = Math.min(bytes.length, take + 1);
            written += decoder.decode(bytes.subarray(0, count), {
              stream: true,
            });
            return Promise.resolve(count);
          },
        }, 200);
        for (const [i, length] of lengths.entries()) {
          writer.write(`${i}:${"é".repeat(length)}`);
          if (i % 7 === 0) await writer.flush(1000);
        }
        while (!await writer.flush(1000));
        await writer.close();
        const lines = written.split("\n").slice(0, -1);
        let lost = 0;
        let next = 0;
        for (const line of lines) {
          const [, count] = /^lost (\d+)$/.exec(line) ?? [];
          if (count) {
            // Where the loss is stated is where the lines are missing.
            lost += Number(count);
            next += Number(count);
            continue;
          }
          assertEquals(line, `${next}:${"é".repeat(lengths[next]!)}`);
          next++;
        }
        assertEquals(next, lengths.length);
        assertEquals(writer.stats.droppedLines, lost);
        assertEquals(writer.stats.writtenLines, lines.length);
      },
    ),
    { numRuns: 200 },
  );
});

testUnless(
  needsLinux(),
  "a process whose stderr nobody reads ends with its own exit code",
  async () => {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", SCRIPT],
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const { code } = await soon(child.status, "the end of the process");
    await child.stderr.cancel();
    assertEquals(code, 7);
  },
);

const SCRIPT = `
  import { stderrLines } from "${
  new URL("../../net/line_sinks.ts", import.meta.url).href
}";
  const lines = stderrLines();
  for (let i = 0; i < 100_000; i++) lines.write("x".repeat(99));
  const { droppedLines } = lines.stats;
  Deno.exit(await lines.flush(100) === false && droppedLines > 0 ? 7 : 1);
`;

testUnless(
  needsLinux(),
  "LineWriter reports why the sink refused lines, also when it is closed before the queue is full",
  async () => {
    const reasons: string[] = [];
    const writer = await openFile("/dev/full", {
      onLost: (reason) => reasons.push(reason),
    });
    writer.write(LINE);
    await writer.close(100);
    assertEquals(reasons.length, 1);
    assertMatch(reasons[0]!, /No space left on device/);
  },
);
