/** Serial ports and named pipes, and what is not there yet: pseudo-terminals of socat, as real devices. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { Receiver, Sender } from "../support/datagram_peer.ts";
import { testOnEngines } from "../support/engines.ts";
import { TestFolder } from "../support/folder.ts";
import {
  assertWrongUsage,
  startPeer,
  startRole,
  type TestProcess,
} from "../support/process.ts";
import { needsLinux, needsProgram, testUnless } from "../support/skip.ts";

const needs = needsLinux() ?? needsProgram("socat", "mkfifo");

/** A serial cable: the sensor's end is the peer's stdin and stdout. */
async function plugIn(tty: string): Promise<TestProcess> {
  const cable = startPeer(
    "socat",
    ["-d", "-d", "-", `PTY,link=${tty}`],
    {
      stdin: true,
    },
  );
  await cable.line(/starting data transfer loop/);
  return cable;
}

async function write(peer: TestProcess, text: string): Promise<void> {
  const writer = peer.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  writer.releaseLock();
}

async function mkfifo(path: string): Promise<void> {
  await new Deno.Command("mkfifo", { args: [path] }).output();
}

testOnEngines(
  "client reads a serial port byte for byte, echoes nothing, and goes on after an unplug",
  async (engine) => {
    await using files = await TestFolder.create();
    const tty = join(files.path, "ttyUSB0");
    await using receiver = await Receiver.open();
    const text = () => receiver.texts.join("");
    await using first = await plugIn(tty);
    await using client = startRole("client", [
      ...["--path", tty, "--baud=9600", "--lines", "--engine", engine],
      ...["--server-addr", receiver.text],
    ]);
    await client.line(/ opened path=/);
    const { stdout } = await new Deno.Command("stty", {
      args: ["-F", tty, "-a"],
    }).output();
    const settings = new TextDecoder().decode(stdout);
    for (const setting of ["speed 9600 ", "-icanon", "-echo ", "-icrnl"]) {
      assertStringIncludes(settings, setting);
    }
    await write(first, "$GPGGA,1\r\n\x04\x03binary\x00\r\n");
    await receiver.until(() => text().endsWith("\x00\r\n"), "two lines");
    assertEquals(text(), "$GPGGA,1\r\n\x04\x03binary\x00\r\n");
    assertEquals(first.stdout.length, 0);
    Deno.kill(first.pid, "SIGTERM");
    await first.end;
    await client.line(/starts over /);
    await using second = await plugIn(tty);
    await client.lines(/ opened path=/, 2);
    await write(second, "again\r\n");
    await receiver.until(() => text().endsWith("again\r\n"), "the rest");
    assertEquals((await client.stop()).code, 0);
  },
  needs,
);

testOnEngines(
  "client --follow waits for a named pipe's next writer, and for a file that is missing",
  async (engine) => {
    await using files = await TestFolder.create();
    const fifo = join(files.path, "pipe");
    await mkfifo(fifo);
    await using receiver = await Receiver.open();
    await using client = startRole("client", [
      ...["--path", fifo, "--follow", "--lines", "--engine", engine],
      ...["--server-addr", receiver.text],
    ]);
    await Deno.writeTextFile(fifo, "one\nhalf");
    await client.line(/starts over .* reason="it ended"/);
    await Deno.writeTextFile(fifo, "two\n");
    await receiver.atLeast(3);
    assertEquals(receiver.texts, ["one\n", "half", "two\n"]);
    assertEquals((await client.stop()).code, 0);

    const missing = join(files.path, "later.log");
    await using waiting = startRole("client", [
      ...["--path", missing, "--follow", "--engine", engine],
      ...["--server-addr", receiver.text],
    ]);
    await waiting.line(/it is missing, waiting for it/);
    await Deno.writeTextFile(missing, "there\n");
    await receiver.atLeast(4);
    assertEquals(receiver.texts.at(-1), "there\n");
    assertEquals((await waiting.stop()).code, 0);
  },
  needs,
);

testOnEngines(
  "server --reopen waits for the next reader of a named pipe, and counts as written what a reader could read",
  async (engine) => {
    await using files = await TestFolder.create();
    const fifo = join(files.path, "pipe");
    await mkfifo(fifo);
    await using server = startRole("server", [
      ...["--path", fifo, "--reopen", "--format=lines", "--engine", engine],
      "--listen-addr=127.0.0.1:0",
    ]);
    await server.line(/a named pipe opens when its reader comes/);
    await using one = startPeer("head", ["-n1", fifo]);
    const [, address] = await server.line(/ listening address=(\S+)/);
    await using sender = await Sender.open(address!);
    await sender.send("one");
    assertEquals(new TextDecoder().decode((await one.end).stdout), "one\n");
    await sender.send("two");
    await server.line(/the reader left, waiting for the next one/);
    await using two = startPeer("head", ["-n2", fifo]);
    await sender.send("three");
    assertEquals(
      new TextDecoder().decode((await two.end).stdout),
      "two\nthree\n",
    );
    const { code, stderr } = await server.stop();
    assertEquals(code, 0, stderr);
    assertMatch(stderr, /written to .*: \d+ B, 3 datagrams, 0 dropped/);
  },
  needs,
);

testUnless(
  needs,
  "client --baud refuses what is no speed or no serial port",
  async () => {
    await using files = await TestFolder.create();
    const path = await files.file("file", "x");
    const to = "--server-addr=127.0.0.1:9";
    await assertWrongUsage(
      "client",
      ["--path", path, "--baud=9601", to],
      /cannot use baud 9601: expected one of 300, /,
    );
    await assertWrongUsage(
      "client",
      ["--path", path, "--baud=9600", to],
      /cannot use baud 9600 with ".*": it is no serial port/,
    );
  },
);
