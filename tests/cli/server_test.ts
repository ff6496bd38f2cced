import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { gunzipSync } from "node:zlib";
import { linuxEngineUnavailable } from "../../net/engine/linux/datagram/engine.ts";
import { numbered } from "../support/batches.ts";
import {
  fileAppears,
  namesIn,
  readRotated,
  withFolder,
} from "../support/folder.ts";
import {
  assertWrongUsage,
  type ProcessEnd,
  startPeer,
  startRole,
} from "../support/process.ts";
import type { TestProcess } from "../support/process.ts";
import { needsLinux, needsProgram, testUnless } from "../support/skip.ts";
import { workerThreads } from "../support/threads.ts";

const needsSocat = needsProgram("socat");
const text = new TextDecoder();
const bytes = (text: string) => new TextEncoder().encode(text);

/** The port of the listener on a host. */
async function portOf(server: TestProcess, host = "\\S+"): Promise<number> {
  const pattern = new RegExp(`listening address=${host}:(\\d+)`);
  const [, port] = await server.line(pattern);
  return Number(port);
}

/** Sends a text as one datagram with socat, and waits until it is sent. */
async function send(datagram: string, to: string): Promise<void> {
  await using peer = startPeer("socat", ["-u", "-", to], { stdin: true });
  const writer = peer.stdin.getWriter();
  await writer.write(bytes(datagram));
  await writer.close();
  const { code, stderr } = await peer.end;
  assertEquals(code, 0, stderr);
}

/** A socket on loopback. */
function openSocket() {
  const hostname = "127.0.0.1";
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  const { port } = socket.addr as Deno.NetAddr;
  return {
    port,
    send: (datagram: Uint8Array, port: number) =>
      socket.send(datagram, { transport: "udp", hostname, port }),
    [Symbol.dispose]: () => socket.close(),
  };
}

/** Sends datagrams of any size from one socket. */
async function sendAll(
  datagrams: readonly Uint8Array[],
  port: number,
): Promise<void> {
  using socket = openSocket();
  for (const datagram of datagrams) await socket.send(datagram, port);
}

/** The metrics of a server that has a door. */
async function metricsOf(server: TestProcess): Promise<string> {
  const [, url] = await server.line(/url=(\S+)/);
  return await (await fetch(url!)).text();
}

/** The value of a metric without labels. */
function valueOf(metrics: string, name: string): number {
  return Number(new RegExp(`^${name} (\\d+)`, "m").exec(metrics)![1]);
}

function assertDone(end: ProcessEnd): void {
  assertEquals([end.code, end.signal], [0, null], end.stderr);
}

testUnless(
  needsSocat,
  "server merges what all addresses receive into one file, and copies it to stdout",
  async () => {
    await withFolder(async (folder) => {
      Deno.writeTextFileSync(join(folder, "logfile.log"), "before\n");
      await using server = startRole("server", [
        "--path",
        "logfile.log",
        "--listen-addr",
        "127.0.0.1:0",
        "--listen_addr=[::1]:0",
        "-t",
      ], { cwd: folder });
      const four = await portOf(server, "127.0.0.1");
      const six = await portOf(server, "\\[::1\\]");
      await send("four\n", `UDP4-SENDTO:127.0.0.1:${four}`);
      await server.stdoutBytes(5);
      await send("six\0\n", `UDP6-SENDTO:[::1]:${six}`);
      server.signal("SIGINT");
      const end = await server.end;
      assertDone(end);
      assertEquals(text.decode(end.stdout), "four\nsix\0\n");
      assertEquals(
        Deno.readTextFileSync(join(folder, "logfile.log")),
        "before\nfour\nsix\0\n",
      );
      assertMatch(
        end.stderr,
        /written to logfile\.log: 10 B, 2 datagrams, 0 dropped/,
      );
    });
  },
);

testUnless(
  needsSocat ?? needsLinux(),
  "server joins a group on the interface that --interface names",
  async () => {
    await withFolder(async (folder) => {
      await using server = startRole("server", [
        "--path=group.log",
        "--listen-addr=239.77.12.3:0",
        "--interface=lo",
      ], { cwd: folder });
      const port = await portOf(server);
      await send(
        "to all",
        `UDP4-DATAGRAM:239.77.12.3:${port},ip-multicast-if=127.0.0.1`,
      );
      assertDone(await server.stop());
      assertEquals(Deno.readTextFileSync(join(folder, "group.log")), "to all");
    });
  },
);

testUnless(
  needsProgram("ncat"),
  "server takes what ncat sends",
  async () => {
    await withFolder(async (folder) => {
      await using server = startRole("server", [
        "--path=feed.log",
        "--listen-addr=127.0.0.1:0",
        "--engine=portable",
      ], { cwd: folder });
      const port = await portOf(server);
      await using peer = startPeer(
        "ncat",
        ["-u", "--send-only", "127.0.0.1", String(port)],
        { stdin: true },
      );
      const writer = peer.stdin.getWriter();
      await writer.write(bytes("from ncat\n"));
      await writer.close();
      await peer.end;
      assertDone(await server.stop());
      assertEquals(
        Deno.readTextFileSync(join(folder, "feed.log")),
        "from ncat\n",
      );
    });
  },
);

for (const engine of ["portable", "auto"]) {
  Deno.test(`server keeps datagrams of every size whole (--engine ${engine})`, async () => {
    await withFolder(async (folder) => {
      await using server = startRole("server", [
        "--path=feed.log",
        "--listen-addr=127.0.0.1:0",
        `--engine=${engine}`,
        "--format=jsonl",
      ], { cwd: folder });
      const port = await portOf(server);
      const sent = [0, 1, 1472, 8096, 8192, 65507].map((length, i) =>
        numbered(length, i + 128)
      );
      await sendAll(sent, port);
      assertDone(await server.stop());
      const lines = Deno.readTextFileSync(join(folder, "feed.log")).split("\n");
      assertEquals(lines.pop(), "");
      const received = lines.map((line) => {
        const { text, base64 } = JSON.parse(line);
        return text === undefined ? Uint8Array.fromBase64(base64) : bytes(text);
      });
      assertEquals(received, sent);
    });
  });
}

testUnless(
  needsSocat,
  "server ends each datagram with one newline in --format lines, and tells time and source in --format jsonl",
  async () => {
    await withFolder(async (folder) => {
      for (const format of ["lines", "jsonl"]) {
        await using server = startRole("server", [
          `--path=${format}.log`,
          `--format=${format}`,
          "--listen-addr=127.0.0.1:0",
        ], { cwd: folder });
        const port = await portOf(server);
        await send("21.5 C", `UDP4-SENDTO:127.0.0.1:${port}`);
        await send("ö\n", `UDP4-SENDTO:127.0.0.1:${port}`);
        assertDone(await server.stop());
      }
      assertEquals(
        Deno.readTextFileSync(join(folder, "lines.log")),
        "21.5 C\nö\n",
      );
      const objects = Deno.readTextFileSync(join(folder, "jsonl.log"))
        .trimEnd().split("\n").map((line) => JSON.parse(line));
      assertEquals(objects.map(({ text }) => text), ["21.5 C", "ö\n"]);
      for (const { time, source } of objects) {
        assertMatch(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
        assertMatch(source, /^127\.0\.0\.1:\d+$/);
      }
    });
  },
);

testUnless(
  needsSocat,
  "server gives each address a file with --split address, and each source one with --split source-port",
  async () => {
    await withFolder(async (folder) => {
      await using byAddress = startRole("server", [
        "--path=address.log",
        "--split=address",
        "--listen-addr=127.0.0.1:0",
        "--listen-addr=[::1]:0",
      ], { cwd: folder });
      const four = await portOf(byAddress, "127.0.0.1");
      const six = await portOf(byAddress, "\\[::1\\]");
      await send("four", `UDP4-SENDTO:127.0.0.1:${four}`);
      await send("six", `UDP6-SENDTO:[::1]:${six}`);
      assertDone(await byAddress.stop());
      assertEquals(namesIn(folder), [
        `address.127.0.0.1_${four}.log`,
        `address.ip6---1_${six}.log`,
      ]);
      assertEquals(
        Deno.readTextFileSync(join(folder, `address.ip6---1_${six}.log`)),
        "six",
      );

      await using bySource = startRole("server", [
        `--path=${join(folder, "source.log")}`,
        "--split=source-port",
        "--listen-addr=[::1]:0",
      ]);
      const port = await portOf(bySource);
      await send("a", `UDP6-SENDTO:[::1]:${port}`);
      await send("b", `UDP6-SENDTO:[::1]:${port}`);
      assertDone(await bySource.stop());
      const files = namesIn(folder).filter((name) => name.startsWith("source"));
      assertEquals(files.length, 2);
      for (const file of files) assertMatch(file, /^source\.ip6---1_\d+\.log$/);
      assertEquals(
        files.map((name) => Deno.readTextFileSync(join(folder, name))).sort(),
        ["a", "b"],
      );
    });
  },
);

Deno.test("server rotates, compresses and keeps as --rotate-size, --keep and --config say", async () => {
  await withFolder(async (folder) => {
    Deno.writeTextFileSync(
      join(folder, "server.toml"),
      'path = "feed.log"\nrotate-size = "10k"\nkeep = 3\nlisten-addr = ["127.0.0.1:0"]\n',
    );
    await using server = startRole("server", ["--config", "server.toml"], {
      cwd: folder,
    });
    const port = await portOf(server);
    // Few enough for any receive queue.
    const sent = Array.from({ length: 64 }, (_, i) => numbered(999, i));
    await sendAll(sent, port);
    const end = await server.stop();
    assertDone(end);
    assertMatch(end.stderr, /64 datagrams, 0 dropped, rotated 6 times/);
    assertEquals(
      namesIn(folder).filter((name) => name.endsWith(".gz")).length,
      3,
    );
    const files = readRotated(folder, "feed.log");
    assertEquals(files.map(({ length }) => length), [9990, 9990, 9990, 3996]);
    assertEquals(
      files[3],
      new Uint8Array(sent.slice(60).flatMap((d) => [...d])),
    );
  });
});

Deno.test("server that may not read the module of its compressor says so in a line, and keeps rotated files as they are", async () => {
  await withFolder(async (folder) => {
    await using server = startRole("server", [
      `--path=${folder}/feed.log`,
      "--listen-addr=127.0.0.1:0",
      "--rotate-size=1k",
      "--log-format=json",
    ], {
      denoFlags: [
        ...["--no-prompt", "--allow-net"],
        ...[`--allow-read=${folder}`, `--allow-write=${folder}`],
      ],
    });
    const [, port] = await server.line(/"address":"127\.0\.0\.1:(\d+)"/);
    await sendAll(
      Array.from({ length: 4 }, (_, i) => numbered(999, i)),
      Number(port),
    );
    await server.line(/Cannot compress .*permit it with --allow-read=/);
    const { code, stderr } = await server.stop();
    assertEquals(code, 0, stderr);
    // Deno's own report of a thread that failed is no line of the log.
    for (const line of stderr.trim().split("\n")) JSON.parse(line);
    assertEquals(namesIn(folder).filter((name) => /\.gz/.test(name)), []);
    assert(namesIn(folder).length > 1);
  });
});

testUnless(
  needsLinux(),
  "server rotates by time with --rotate-interval and leaves rotated files as they are with --no-gzip",
  async () => {
    await withFolder(async (folder) => {
      Deno.writeTextFileSync(join(folder, "feed.log"), "yesterday");
      Deno.utimeSync(join(folder, "feed.log"), 0, 86_400);
      await using server = startRole("server", [
        "--path=feed.log",
        "--rotate-interval=3600",
        "--no-gzip",
        "--listen-addr=127.0.0.1:0",
      ], { cwd: folder });
      const port = await portOf(server);
      await sendAll([bytes("today")], port);
      assertDone(await server.stop());
      assertEquals(
        readRotated(folder, "feed.log").map((content) => text.decode(content)),
        ["yesterday", "today"],
      );
      assert(namesIn(folder).every((name) => !name.endsWith(".gz")));
    });
  },
);

testUnless(
  needsLinux(),
  "server opens its file anew on SIGHUP, for programs that rename it",
  async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "feed.log");
      await using server = startRole("server", [
        `--path=${path}`,
        "--listen-addr=127.0.0.1:0",
        "--metrics-addr=127.0.0.1:0",
      ]);
      const port = await portOf(server);
      await sendAll([bytes("old")], port);
      const name = "mproxy_log_written_datagrams_total";
      while (valueOf(await metricsOf(server), name) < 1);
      Deno.renameSync(path, `${path}.1`);
      server.signal("SIGHUP");
      await server.line(/opened files anew/);
      await sendAll([bytes("new")], port);
      assertDone(await server.stop());
      assertEquals(Deno.readTextFileSync(`${path}.1`), "old");
      assertEquals(Deno.readTextFileSync(path), "new");
    });
  },
);

testUnless(
  linuxEngineUnavailable(),
  "server --workers has threads write one file, which SIGHUP opens anew, and ends them on SIGTERM",
  async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "feed.log");
      await using server = startRole("server", [
        `--path=${path}`,
        "--listen-addr=127.0.0.1:0",
        "--workers=3",
        "--format=lines",
        "--metrics-addr=127.0.0.1:0",
      ]);
      const found = await server.lines(/listening address=\S+:(\d+)/, 3);
      const ports = found.map(([, port]) => Number(port));
      assertEquals(ports, Array(3).fill(ports[0]));
      assertEquals(workerThreads(server.pid), 3);
      const sendMany = async (count: number) => {
        for (let i = 0; i < count; i++) await sendAll([bytes("x")], ports[0]!);
      };
      const written = async () =>
        valueOf(await metricsOf(server), "mproxy_log_written_datagrams_total");
      await sendMany(20);
      while (await written() < 20);
      Deno.renameSync(path, `${path}.1`);
      server.signal("SIGHUP");
      await server.line(/opened files anew/);
      await sendMany(12);
      const end = await server.stop();
      assertDone(end);
      assertMatch(end.stderr, /written to .*: 64 B, 32 datagrams, 0 dropped/);
      assertEquals(Deno.readTextFileSync(`${path}.1`), "x\n".repeat(20));
      assertEquals(Deno.readTextFileSync(path), "x\n".repeat(12));
    });
  },
);

Deno.test("server --workers is refused by name by the portable engine, and leaves no file", async () => {
  await withFolder(async (folder) => {
    await using server = startRole("server", [
      "--path=feed.log",
      "--listen-addr=127.0.0.1:0",
      "--workers=2",
      "--engine=portable",
    ], { cwd: folder });
    const { code, stderr } = await server.end;
    assertEquals([code, stderr.split("\n").length], [2, 1], stderr);
    assertMatch(stderr, /The portable engine cannot do --workers/);
    assertEquals(namesIn(folder), []);
  });
});

Deno.test("server writes to stdout alone with --path -, in each format", async () => {
  for (
    const [format, pattern] of [
      ["raw", /^a\nb$/],
      ["lines", /^a\nb\n$/],
      [
        "jsonl",
        /^\{"time":"[^"]+","source":"[^"]+","listener":"127[^"]+","text":"a\\n"\}\n\{.*"b"\}\n$/,
      ],
    ] as const
  ) {
    await using server = startRole("server", [
      "--path=-",
      `--format=${format}`,
      "--listen-addr=127.0.0.1:0",
    ]);
    const port = await portOf(server);
    await sendAll([bytes("a\n"), bytes("b")], port);
    const end = await server.stop();
    assertDone(end);
    assertMatch(text.decode(end.stdout), pattern);
    assertMatch(end.stderr, /written to stdout: .*2 datagrams, 0 dropped/);
  }
});

testUnless(
  needsProgram("bash", "head"),
  "server ends in order when the reader of --path - leaves, and goes on when that of --tee does",
  async () => {
    await withFolder(async (folder) => {
      const piped = (...args: string[]) =>
        // The server itself is the process, so that it ends with the test.
        startPeer("bash", [
          "-c",
          'exec "$0" run -A cli/server/main.ts "$@" > >(head -c 1 >/dev/null)',
          Deno.execPath(),
          "--listen-addr=127.0.0.1:0",
          "--metrics-addr=127.0.0.1:0",
          ...args,
        ]);
      // Nothing tells when a reader has left, so datagrams come until it shows;
      // the answers of the metrics door let the server react in between.
      await using alone = piped("--path=-");
      const port = await portOf(alone);
      while (!alone.stderr.includes("the reader left")) {
        await sendAll([bytes("x\n")], port);
        await metricsOf(alone).catch(() => {});
      }
      assertDone(await alone.end);

      const path = join(folder, "feed.log");
      await using tee = piped(`--path=${path}`, "--tee");
      const teePort = await portOf(tee);
      let sent = 0;
      while (!tee.stderr.includes("going on without tee")) {
        await sendAll([bytes("x\n")], teePort);
        sent++;
        await metricsOf(tee);
      }
      await sendAll([bytes("last\n")], teePort);
      const name = "mproxy_log_written_datagrams_total";
      while (valueOf(await metricsOf(tee), name) <= sent);
      assertEquals(
        Deno.readTextFileSync(path),
        "x\n".repeat(sent) + "last\n",
      );
    });
  },
);

testUnless(
  needsLinux() ?? needsProgram("mkfifo", "cat"),
  "server writes to a named pipe when its reader comes",
  async () => {
    await withFolder(async (folder) => {
      const pipe = join(folder, "pipe");
      new Deno.Command("mkfifo", { args: [pipe] }).outputSync();
      await using server = startRole("server", [
        `--path=${pipe}`,
        "--format=lines",
        "--listen-addr=127.0.0.1:0",
      ]);
      await server.line(/a named pipe opens when its reader comes/);
      await using reader = startPeer("cat", [pipe]);
      const port = await portOf(server);
      await sendAll([bytes("through")], port);
      await reader.stdoutBytes(8);
      assertDone(await server.stop());
      assertEquals(text.decode((await reader.end).stdout), "through\n");
    });
  },
);

testUnless(
  needsLinux(),
  "server says a failing write at once and goes on, or ends, as --on-write-error says",
  async () => {
    await using retrying = startRole("server", [
      "--path=/dev/full",
      "--on-write-error=retry",
      "--listen-addr=127.0.0.1:0",
    ]);
    const port = await portOf(retrying);
    await sendAll([bytes("lost"), bytes("too")], port);
    await retrying.line(/Cannot write to .*\/dev\/full.*: No space left/);
    const end = await retrying.stop();
    assertDone(end);
    assertMatch(
      end.stderr,
      /written to \/dev\/full: 0 B, 0 datagrams, 2 dropped \(disk full 2\)/,
    );

    await using ending = startRole("server", [
      "--path=/dev/full",
      "--on-write-error=end",
      "--listen-addr=127.0.0.1:0",
    ]);
    const other = await portOf(ending);
    await sendAll([bytes("lost")], other);
    const { code, stderr } = await ending.end;
    assertEquals(code, 1);
    assertMatch(
      stderr.split("\n").at(-1)!,
      /^mproxy-server: Cannot write to "\/dev\/full": No space left on device; free space on its disk$/,
    );
  },
);

Deno.test("server loses nothing that it received when SIGINT comes in the middle of a stream", async () => {
  await withFolder(async (folder) => {
    await using server = startRole("server", [
      "--path=feed.log",
      "--rotate-size=100k",
      "--listen-addr=127.0.0.1:0",
      "--metrics-addr=127.0.0.1:0",
    ], { cwd: folder });
    const port = await portOf(server);
    using socket = openSocket();
    let number = 0;
    const sendSome = async () => {
      for (let i = 0; i < 20; i++) {
        const line = `${number++} `.padEnd(999, ".") + "\n";
        await socket.send(bytes(line), port);
      }
    };
    const name = "mproxy_log_rotations_total";
    do await sendSome(); while (valueOf(await metricsOf(server), name) < 2);
    let ended = false;
    const sending = (async () => {
      while (!ended) await sendSome();
    })();
    server.signal("SIGINT");
    const end = await server.end;
    ended = true;
    await sending;
    assertDone(end);
    const [, received] = /received on .*?, ([\d ]+) datagram/.exec(end.stderr)!;
    const count = Number(received!.replaceAll(" ", ""));
    const files = readRotated(folder, "feed.log");
    for (const file of files) {
      assertEquals(file.length % 1000, 0);
      assert(file.length <= 100_000);
    }
    const lines = files.map((file) => text.decode(file)).join("").split("\n");
    assertEquals(lines.pop(), "");
    assertEquals(lines.length, count);
    // Each once; the kernel may pass two on in another order, sent from two CPUs.
    assertEquals(new Set(lines.map((line) => parseInt(line))).size, count);
  });
});

for (const [signal, grace] of [["SIGKILL", "5"], ["SIGINT", "0"]] as const) {
  testUnless(
    needsLinux(),
    `server leaves no half compressed file when ${signal} comes in the middle of gzip, and goes on with it at the next start`,
    async () => {
      await withFolder(async (folder) => {
        const before = new Uint8Array(40_000_000);
        for (let i = 0; i < before.length; i += 65536) {
          crypto.getRandomValues(before.subarray(i, i + 65536));
        }
        Deno.writeFileSync(join(folder, "feed.log"), before);
        const args = [
          "--path=feed.log",
          "--rotate-size=1M",
          "--listen-addr=127.0.0.1:0",
        ];
        {
          await using server = startRole(
            "server",
            [...args, "--grace", grace],
            { cwd: folder },
          );
          const port = await portOf(server);
          const appears = fileAppears(folder, ".gz.tmp");
          await sendAll([bytes("next")], port);
          await appears;
          server.signal(signal);
          const { code } = await server.end;
          // 1: the compression was cut.
          assertEquals(code, signal === "SIGKILL" ? 137 : 1);
        }
        const left = namesIn(folder);
        assert(left.every((name) => !name.endsWith(".gz")), left.join());
        if (signal === "SIGINT") {
          assert(left.every((name) => !name.endsWith(".tmp")), left.join());
        }

        await using server = startRole("server", args, { cwd: folder });
        await portOf(server);
        assertDone(await server.stop());
        const names = namesIn(folder);
        assertEquals(names.length, 2);
        assertMatch(names[1]!, /^feed\.log\.\d{8}T\d{9}Z\.gz$/);
        const unpacked = gunzipSync(
          Deno.readFileSync(join(folder, names[1]!)),
        );
        assertEquals(unpacked.length, before.length);
        assert(unpacked.equals(before));
        assertEquals(
          Deno.readTextFileSync(join(folder, "feed.log")),
          "next",
        );
      });
    },
  );
}

testUnless(
  needsLinux() ?? needsProgram("strace"),
  "server has the disk take each batch with --fsync always and none with --fsync none",
  async () => {
    await withFolder(async (folder) => {
      for (const fsync of ["always", "none"]) {
        const trace = join(folder, "trace");
        await using server = startPeer("strace", [
          "-f",
          "-e",
          "trace=fdatasync,fsync",
          "-o",
          trace,
          Deno.execPath(),
          "run",
          "-A",
          "cli/server/main.ts",
          `--path=${join(folder, "feed.log")}`,
          `--fsync=${fsync}`,
          "--listen-addr=127.0.0.1:0",
          "--metrics-addr=127.0.0.1:0",
        ]);
        const port = await portOf(server);
        await sendAll([bytes("safe")], port);
        const name = "mproxy_log_written_datagrams_total";
        while (valueOf(await metricsOf(server), name) < 1);
        const pid = Number(
          /^(\d+)/.exec(
            text.decode(
              new Deno.Command("ps", {
                args: ["--ppid", String(server.pid), "-o", "pid="],
              }).outputSync().stdout,
            ).trim(),
          )![1],
        );
        Deno.kill(pid, "SIGTERM");
        assertDone(await server.end);
        const synced = /fdatasync\(/.test(Deno.readTextFileSync(trace));
        assertEquals(synced, fsync === "always");
      }
    });
  },
);

Deno.test("server refuses wrong usage in one line with exit code 2 before it opens anything", async () => {
  await withFolder(async (folder) => {
    Deno.mkdirSync(join(folder, "folder"));
    const listen = "--listen-addr=127.0.0.1:0";
    const cases: [string[], RegExp][] = [
      [[], /--path FILE\|- is missing/],
      [["--path=a.log"], /No source: pass --listen-addr/],
      [["--path=a.log", "--path=b.log", listen], /--path can be given once/],
      [["--path=a.log", listen, "--nope"], /Unknown option --nope/],
      [["--path=a.log", "--listen-addr=127.0.0.1"], /--listen-addr: .*port/],
      [["--path=a.log", "--listen-addr=127.0.0.1:65536"], /65535/],
      [["--path=folder", listen], /Cannot log to "folder": it is a folder/],
      [["--path=missing/a.log", listen], /the folder "missing" is missing/],
      [
        ["--path=a.log", listen, "--interface=no/name"],
        /Unknown interface "no\/name"/,
      ],
      [["--path=a.log", "--listen-addr=[fe80::1%no/name]:0"], /no\/name/],
      [["--path=a.log", listen, "--format=xml"], /"xml" is none of raw, lines/],
      [["--path=a.log", listen, "--split=port"], /"port" is none of address/],
      [["--path=a.log", listen, "--keep=3"], /nothing rotates it/],
      [["--path=a.log", listen, "--rotate-size=0"], /--rotate-size/],
      [["--path=a.log", listen, "--rotate-interval=0.5"], /less than 1 second/],
      [["--path=-", listen, "--tee"], /both write to stdout/],
      [
        ["--path=-", listen, "--split=source"],
        /Cannot use --split with --path -/,
      ],
      [["--path=-", listen, "--fsync=always"], /Cannot use --fsync/],
      [["--path=/dev/null", listen, "--rotate-size=1k"], /it is a device/],
    ];
    for (const [args, pattern] of cases) {
      await assertWrongUsage("server", args, pattern, { cwd: folder });
      assertEquals(namesIn(folder), ["folder"], args.join(" "));
    }
  });
});

Deno.test("server names the address and the remedy where a port is in use, and leaves no file", async () => {
  await withFolder(async (folder) => {
    using other = openSocket();
    const { port } = other;
    for (const engine of ["portable", "auto"]) {
      await using server = startRole("server", [
        "--path=feed.log",
        `--listen-addr=127.0.0.1:${port}`,
        `--engine=${engine}`,
      ], { cwd: folder });
      const { code, stderr } = await server.end;
      assertEquals(code, 1);
      assertMatch(
        stderr,
        new RegExp(
          `^mproxy-server: Cannot listen on 127\\.0\\.0\\.1:${port}: .*in use.*; stop the program`,
        ),
      );
      assertEquals(namesIn(folder), []);
    }
  });
});

testUnless(
  needsLinux() ?? needsProgram("setpriv") ??
    (Deno.uid() === 0 ? undefined : "dropping a capability needs root"),
  "server names the remedy where a port is privileged",
  async () => {
    await withFolder(async (folder) => {
      await using server = startPeer("setpriv", [
        "--bounding-set=-net_bind_service",
        Deno.execPath(),
        "run",
        "-A",
        "cli/server/main.ts",
        `--path=${join(folder, "feed.log")}`,
        "--listen-addr=127.0.0.1:81",
      ]);
      const { code, stderr } = await server.end;
      assertEquals(code, 1, stderr);
      assertMatch(
        stderr,
        /Cannot listen on 127\.0\.0\.1:81: .*port above 1023/,
      );
      assertEquals(namesIn(folder), []);
    });
  },
);
