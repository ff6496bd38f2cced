import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { concat, numbered } from "../support/batches.ts";
import { freeUdpPort, ownGroup, Receiver } from "../support/datagram_peer.ts";
import {
  assertAllPlaced,
  assertSameDatagrams,
  placedBytes,
  slicesOf,
} from "../support/streams.ts";
import { testOnEngines } from "../support/engines.ts";
import { TestFolder } from "../support/folder.ts";
import {
  assertWrongUsage,
  type ProcessOptions,
  startRole,
  TestProcess,
} from "../support/process.ts";
import { needsLinux, needsProgram, testUnless } from "../support/skip.ts";

/** The client on an engine. */
function startClient(
  engine: string,
  args: readonly string[],
  options: ProcessOptions = {},
) {
  return startRole("client", [...args, "--engine", engine], options);
}

testOnEngines(
  "client sends a file byte for byte to several destinations, IPv4 and IPv6, and ends with a summary",
  async (engine) => {
    await using files = await TestFolder.create();
    const bytes = placedBytes(300_001);
    const path = await files.file("data.bin", bytes);
    await using one = await Receiver.open("127.0.0.1:0");
    await using other = await Receiver.open("[::1]:0");
    await using client = startClient(engine, [
      ...["--path", path, "--rate=200M"],
      ...["--server-addr", one.text, "--server_addr", other.text],
    ]);
    const { code, stdout, stderr } = await client.end;
    assertEquals(code, 0, stderr);
    assertEquals(stdout.length, 0);
    for (const receiver of [one, other]) {
      await receiver.atLeastBytes(bytes.length);
      assertSameDatagrams(receiver.datagrams, slicesOf(bytes, 1452));
      assertStringIncludes(
        stderr,
        `sent to ${receiver.text}: 300 kB, 207 datagrams in `,
      );
    }
    assertStringIncludes(stderr, `read from ${path}: 300 kB, 207 datagrams in`);
    assertEquals(stderr.match(/, 0 dropped$/gm)?.length, 2, stderr);
  },
);

testOnEngines(
  "client sends a lone newline, a byte that is no text, and a last short piece",
  async (engine) => {
    await using files = await TestFolder.create();
    const contents = [
      new TextEncoder().encode("\n"),
      Uint8Array.of(0xff),
      // The original lost the newline that comes behind a full buffer.
      concat([placedBytes(8192), new TextEncoder().encode("\n")]),
    ];
    for (const [i, content] of contents.entries()) {
      await using receiver = await Receiver.open();
      const path = await files.file(`${i}`, content);
      const { code, stderr } = await startClient(engine, [
        "--path",
        path,
        "--server-addr",
        receiver.text,
      ])
        .end;
      assertEquals(code, 0, stderr);
      await receiver.atLeastBytes(content.length);
      assertSameDatagrams(receiver.datagrams, slicesOf(content, 1452));
    }
  },
);

testOnEngines(
  "client sends nothing of an empty file and ends well",
  async (engine) => {
    await using files = await TestFolder.create();
    await using receiver = await Receiver.open();
    const path = await files.file("empty", "");
    const { code, stderr } = await startClient(engine, [
      "--path",
      path,
      "--server-addr",
      receiver.text,
    ])
      .end;
    assertEquals(code, 0);
    assertStringIncludes(stderr, "0 B, 0 datagrams");
    assertEquals(receiver.datagrams.length, 0);
  },
);

testOnEngines(
  "client --datagram-size cuts at any size from 1 byte to the most that UDP takes",
  async (engine) => {
    await using files = await TestFolder.create();
    for (const [size, length] of [[1, 50], [700, 5000], [65507, 200_000]]) {
      const bytes = numbered(length!);
      const path = await files.file(`${size}`, bytes);
      await using receiver = await Receiver.open();
      const { code, stderr } = await startClient(engine, [
        ...["--path", path, "--server-addr", receiver.text],
        ...[`--datagram-size=${size}`, "--rate=100M"],
      ]).end;
      assertEquals(code, 0, stderr);
      await receiver.atLeastBytes(length!);
      assertSameDatagrams(receiver.datagrams, slicesOf(bytes, size!));
    }
  },
);

testOnEngines(
  "client --lines ends datagrams at line ends, and still sends a line that is too long and a last one without end",
  async (engine) => {
    await using files = await TestFolder.create();
    const lines = Array.from(
      { length: 400 },
      (_, i) => `${i}${".".repeat(i % 90)}\n`,
    );
    lines[200] = `${"long".repeat(500)}\n`;
    const text = `${lines.join("")}no end`;
    const path = await files.file("lines", text);
    await using receiver = await Receiver.open();
    const { code, stderr } = await startClient(engine, [
      ...["--path", path, "--server-addr", receiver.text],
      ...["--lines", "--datagram-size", "600", "--rate=100M"],
    ]).end;
    assertEquals(code, 0, stderr);
    await receiver.atLeastBytes(text.length);
    const { texts } = receiver;
    const cut = texts.filter((datagram) => !datagram.endsWith("\n"));
    assertEquals(cut.sort(), [
      "long".repeat(150),
      "long".repeat(150),
      "long".repeat(150),
      "no end",
    ]);
    assert(texts.every(({ length }) => length <= 600));
    const whole = texts.filter((datagram) => datagram.endsWith("\n"));
    assertEquals(
      whole.join("").split("\n").sort(),
      `${lines.join("").replace("long".repeat(450), "")}`.split("\n").sort(),
    );
  },
);

testOnEngines("client --rate is never faster than it says", async (engine) => {
  await using files = await TestFolder.create();
  const bytes = placedBytes(400_000);
  const path = await files.file("data", bytes);
  await using receiver = await Receiver.open();
  const { code, stderr } = await startClient(engine, [
    ...["--path", path, "--server-addr", receiver.text, "--rate", "8M"],
    "--log-format=json",
  ]).end;
  assertEquals(code, 0, stderr);
  await receiver.atLeastBytes(bytes.length);
  assertAllPlaced(receiver.datagrams, bytes);
  // 400 000 bytes at 1 000 a millisecond, less the burst at the start.
  const rate = /sent to \S+ 400 kB, \d+ datagrams in ([\d.]+) s/.exec(stderr);
  assert(Number(rate?.[1]) >= 0.35, stderr);
});

testOnEngines(
  "client sends to a group on --interface, where all who joined hear it",
  async (engine) => {
    await using files = await TestFolder.create();
    const group = `${ownGroup()}:${await freeUdpPort()}`;
    const bytes = placedBytes(20_000);
    const path = await files.file("data", bytes);
    await using one = await Receiver.open(group, { networkInterface: "lo" });
    await using other = await Receiver.open(group, { networkInterface: "lo" });
    const { code, stderr } = await startClient(engine, [
      ...["--path", path, "--server-addr", group, "--interface", "lo"],
      ...["--ttl=3", "--loop"],
    ]).end;
    assertEquals(code, 0, stderr);
    for (const receiver of [one, other]) {
      await receiver.atLeastBytes(bytes.length);
      assertAllPlaced(receiver.datagrams, bytes);
    }
  },
  needsLinux(),
);

testOnEngines(
  "client --interface takes an address of the interface",
  async (engine) => {
    await using files = await TestFolder.create();
    const group = `${ownGroup()}:${await freeUdpPort()}`;
    const path = await files.file("data", "over lo");
    await using receiver = await Receiver.open(group, {
      networkInterface: "lo",
    });
    const { code, stderr } = await startClient(engine, [
      ...["--path", path, "--server-addr", group, "--interface=127.0.0.1"],
    ]).end;
    assertEquals(code, 0, stderr);
    await receiver.atLeast(1);
    assertEquals(receiver.texts, ["over lo"]);
  },
  needsLinux(),
);

testOnEngines("client sends to a broadcast address", async (engine) => {
  await using files = await TestFolder.create();
  const path = await files.file("data", "to all");
  await using receiver = await Receiver.open("0.0.0.0:0");
  const { code, stderr } = await startClient(engine, [
    ...["--path", path, "--server-addr", `127.255.255.255:${receiver.port}`],
  ]).end;
  assertEquals(code, 0, stderr);
  await receiver.atLeast(1);
  assertEquals(receiver.texts, ["to all"]);
}, needsLinux());

testOnEngines(
  "client goes on with the good destination beside one where nobody listens",
  async (engine) => {
    await using files = await TestFolder.create();
    const bytes = placedBytes(30_000);
    const path = await files.file("data", bytes);
    const nobody = `127.0.0.1:${await freeUdpPort()}`;
    await using receiver = await Receiver.open();
    const { code, stderr } = await startClient(engine, [
      ...["--path", path, "--rate=20M"],
      ...["--server-addr", nobody, "--server-addr", receiver.text],
    ]).end;
    // The portable engine cannot see that nobody listens.
    assertEquals(code, engine === "linux" ? 1 : 0, stderr);
    await receiver.atLeastBytes(bytes.length);
    assertAllPlaced(receiver.datagrams, bytes);
    assertMatch(
      stderr,
      new RegExp(
        `sent to ${receiver.text}: 30.0 kB, 21 datagrams .* 0 dropped`,
      ),
    );
    if (engine === "linux") {
      assertMatch(stderr, new RegExp(`sent to ${nobody}: .*refused \\d+`));
      assertMatch(
        stderr,
        new RegExp(`error destination received nothing address=${nobody} `),
      );
    }
  },
);

testOnEngines(
  "client --tee copies byte for byte to stdout, and nothing else goes there",
  async (engine) => {
    await using files = await TestFolder.create();
    const bytes = placedBytes(500_000);
    const path = await files.file("data", bytes);
    await using receiver = await Receiver.open();
    const { code, stdout, stderr } = await startClient(engine, [
      ...["--path", path, "--server-addr", receiver.text],
      ...["--tee", "--stats=0.01", "--rate=100M", "--log-level=debug"],
    ]).end;
    assertEquals(code, 0, stderr);
    assertEquals(stdout, bytes);
    await receiver.atLeastBytes(bytes.length);
    assertAllPlaced(receiver.datagrams, bytes);
    assertStringIncludes(stderr, "copied to stdout: 500 kB");
  },
);

testOnEngines(
  "client -t alone copies stdin to stdout",
  async (engine) => {
    await using client = startClient(engine, ["--path", "-", "-t"], {
      stdin: true,
    });
    const bytes = numbered(200_000);
    const writer = client.stdin.getWriter();
    await writer.write(bytes);
    await writer.close();
    const { code, stdout, stderr } = await client.end;
    assertEquals(code, 0, stderr);
    assertEquals(stdout, bytes);
  },
);

testOnEngines(
  "client sends what comes on stdin at once, and ends where stdin ends",
  async (engine) => {
    await using receiver = await Receiver.open();
    await using client = startClient(engine, [
      ...["--path", "-", "--server-addr", receiver.text],
    ], { stdin: true });
    const writer = client.stdin.getWriter();
    for (const [i, text] of ["one", "\n", "three\nfour"].entries()) {
      await writer.write(new TextEncoder().encode(text));
      await receiver.atLeast(i + 1);
    }
    assertEquals(receiver.texts, ["one", "\n", "three\nfour"]);
    await writer.close();
    assertEquals((await client.end).code, 0);
  },
);

testOnEngines("client reads a named pipe", async (engine) => {
  await using files = await TestFolder.create();
  const path = `${files.path}/pipe`;
  await new Deno.Command("mkfifo", { args: [path] }).output();
  await using receiver = await Receiver.open();
  await using client = startClient(engine, [
    ...["--path", path, "--server-addr", receiver.text],
  ]);
  {
    // Opening waits for the reader.
    using pipe = await Deno.open(path, { write: true });
    for (const [i, text] of ["first", "second"].entries()) {
      await pipe.write(new TextEncoder().encode(text));
      await receiver.atLeast(i + 1);
    }
  }
  const { code, stderr } = await client.end;
  assertEquals(code, 0, stderr);
  assertEquals(receiver.texts, ["first", "second"]);
}, needsProgram("mkfifo"));

testOnEngines(
  "client reads a device until Ctrl+C, then ends well with a summary",
  async (engine) => {
    await using receiver = await Receiver.open();
    await using client = startClient(engine, [
      ...["--path", "/dev/zero", "--server-addr", receiver.text, "--rate=40M"],
    ]);
    await receiver.atLeast(50);
    client.signal("SIGINT");
    const { code, stderr } = await client.end;
    assertEquals(code, 0, stderr);
    assertStringIncludes(stderr, "draining");
    assertMatch(stderr, /read from \/dev\/zero: .* datagrams/);
    assert(receiver.bytes.every((byte) => byte === 0));
  },
  needsLinux(),
);

testOnEngines(
  "client --follow waits for more, starts over where the file is cut off or replaced, and ends by a signal",
  async (engine) => {
    await using files = await TestFolder.create();
    const path = await files.file("log", "one\n");
    await using receiver = await Receiver.open();
    await using client = startClient(engine, [
      ...["--path", path, "--server-addr", receiver.text, "--follow"],
    ]);
    const text = () => receiver.texts.join("");
    const sees = (wanted: string) =>
      receiver.until(() => text() === wanted, JSON.stringify(wanted));
    await sees("one\n");
    await Deno.writeTextFile(path, "two\n", { append: true });
    await sees("one\ntwo\n");
    // Shorter than before: it was cut off and begun anew.
    await Deno.writeTextFile(path, "3\n");
    await sees("one\ntwo\n3\n");
    await client.line(/starts over.* reason="it was cut off"/);
    // Rotated: what is written to the old one last is still sent.
    await Deno.writeTextFile(path, "four\n", { append: true });
    await Deno.rename(path, `${path}.1`);
    await Deno.writeTextFile(path, "five, a longer line\n");
    await sees("one\ntwo\n3\nfour\nfive, a longer line\n");
    await client.line(/starts over.* reason="it was replaced"/);
    await Deno.remove(path);
    await Deno.writeTextFile(path, "six\n");
    await sees("one\ntwo\n3\nfour\nfive, a longer line\nsix\n");
    const { code, stderr } = await client.stop();
    assertEquals(code, 0, stderr);
    assertStringIncludes(stderr, "read from");
  },
);

testOnEngines(
  "client --follow --lines never glues the last partial line of a rotated file to the first of the new one",
  async (engine) => {
    await using files = await TestFolder.create();
    const path = await files.file("log", "one\npart");
    await using receiver = await Receiver.open();
    await using client = startClient(engine, [
      ...["--path", path, "--server-addr", receiver.text],
      ...["--follow", "--lines"],
    ]);
    await receiver.atLeast(1);
    await Deno.rename(path, `${path}.1`);
    await Deno.writeTextFile(path, "two\n");
    await receiver.atLeast(3);
    assertEquals(receiver.texts, ["one\n", "part", "two\n"]);
    await client.stop();
  },
);

testOnEngines(
  "client --datagram-size of whole MPEG-TS packets keeps them whole from a pipe, however they are written",
  async (engine) => {
    await using receiver = await Receiver.open();
    await using client = startClient(engine, [
      ...["--path=-", "--datagram-size=1316", "--fill-wait=60000"],
      ...["--server-addr", receiver.text],
    ], { stdin: true });
    const writer = client.stdin.getWriter();
    const bytes = placedBytes(1316 * 20);
    for (let at = 0; at < bytes.length; at += 1000) {
      await writer.write(bytes.slice(at, at + 1000));
    }
    await receiver.atLeastBytes(bytes.length);
    await writer.close();
    assertSameDatagrams(receiver.datagrams, slicesOf(bytes, 1316));
    assertEquals((await client.end).code, 0);
  },
);

Deno.test("client --rate refuses bytes, and names the same rate in bits", async () => {
  const args = ["--path=-", "--server-addr=127.0.0.1:9"];
  for (
    const [rate, bits] of [["10MB", "80Mbit/s"], ["1.5KiB/s", "12Kibit/s"]]
  ) {
    await assertWrongUsage(
      "client",
      [...args, `--rate=${rate}`],
      new RegExp(`"${rate}" is bytes, .* use ${bits}$`),
    );
  }
});

testOnEngines(
  "client ends with 1 and one line where reading fails, and says what it had sent",
  async (engine) => {
    // The first byte of its memory is no process's: EIO.
    const { code, stdout, stderr } = await startClient(engine, [
      ...["--path", "/proc/self/mem", "--tee"],
    ]).end;
    assertEquals(code, 1);
    assertEquals(stdout.length, 0);
    const lines = stderr.split("\n");
    assertEquals(
      lines.at(-1),
      'mproxy-client: Cannot read "/proc/self/mem": Input/output error',
    );
    assertMatch(stderr, /^read from \/proc\/self\/mem: 0 B/m);
  },
  needsLinux(),
);

testOnEngines(
  "client ends after --grace although the reader of stdout takes nothing",
  async (engine) => {
    await using receiver = await Receiver.open();
    await using client = startClient(engine, [
      ...["--path", "/dev/zero", "--tee", "--grace=0.1"],
      ...["--server-addr", receiver.text, "--rate=400M"],
    ], { stdout: "unread" });
    // More than fits before stdout: 4 MiB of queue and the pipe's 64 KiB.
    await receiver.atLeast(Math.floor((4 << 20) / 1452));
    client.signal("SIGTERM");
    const { code, stderr } = await client.end;
    // 1: what waited for stdout was cut.
    assertEquals(code, 1, stderr);
    assertStringIncludes(stderr, "the grace period is over");
    assertMatch(stderr, /copied to stdout: .* MB never written/);
  },
  needsLinux(),
);

testOnEngines(
  "client goes on without --tee where the reader of stdout has left",
  async (engine) => {
    await using files = await TestFolder.create();
    const bytes = placedBytes(300_000);
    const path = await files.file("data", bytes);
    await using receiver = await Receiver.open();
    await using client = startClient(engine, [
      ...["--path", path, "--tee", "--server-addr", receiver.text],
      ...["--rate=100M"],
    ], { stdout: "closed" });
    const { code, stderr } = await client.end;
    assertEquals(code, 0, stderr);
    assertMatch(
      stderr,
      /warn Cannot write to stdout: Broken pipe.*; going on without tee/,
    );
    assertMatch(stderr, /copied to stdout: .* dropped \(closed \d+\)/);
    await receiver.atLeastBytes(bytes.length);
    assertAllPlaced(receiver.datagrams, bytes);
  },
);

testUnless(
  needsLinux(),
  "client reads a file that a shell redirects to stdin, to its end",
  async () => {
    await using files = await TestFolder.create();
    const bytes = numbered(123_456);
    const path = await files.file("data", bytes);
    const main = new URL("../../cli/client/main.ts", import.meta.url).pathname;
    await using pipe = new TestProcess("sh", [
      ...["-c", `path="$1"; shift; "$@" < "$path"`, "sh", path],
      ...[Deno.execPath(), "run", "-A", main, "--path", "-", "--tee"],
    ]);
    const { code, stdout, stderr } = await pipe.end;
    assertEquals(code, 0, stderr);
    assertEquals(stdout, bytes);
  },
);
