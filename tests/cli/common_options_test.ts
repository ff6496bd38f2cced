/** What every dispatch role takes beside its own options, as processes. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { VERSION } from "../../cli/version.ts";
import {
  freeUdpPort,
  ownGroup,
  Receiver,
  Sender,
} from "../support/datagram_peer.ts";
import { testOnEngines } from "../support/engines.ts";
import { TestFolder } from "../support/folder.ts";
import { startRole, type TestProcess } from "../support/process.ts";
import { scrape } from "../support/prometheus.ts";
import { needsLinux, testUnless } from "../support/skip.ts";
import { placedBytes } from "../support/streams.ts";

const ROLES = ["client", "proxy", "reverseproxy"] as const;

/** Arguments with which a role runs until it is told to end. */
async function running(role: typeof ROLES[number]): Promise<string[]> {
  switch (role) {
    case "client":
      return ["--path=-", "--server-addr=127.0.0.1:9"];
    case "proxy":
      return [
        "--udp-listen-addr=127.0.0.1:0",
        "--udp-downstream-addr=127.0.0.1:9",
      ];
    case "reverseproxy":
      return [
        "--udp-listen-addr=127.0.0.1:0",
        "--interface=lo",
        `--multicast-addr=${ownGroup()}:${await freeUdpPort()}`,
      ];
  }
}

/** A role that has started, with a metrics door to tell it. */
async function start(
  role: typeof ROLES[number],
  args: readonly string[] = [],
): Promise<{ process: TestProcess; metrics: string }> {
  const process = startRole(role, [
    ...await running(role),
    ...["--metrics-addr=127.0.0.1:0", ...args],
  ], { stdin: true });
  const [, metrics] = await process.line(/url\W+(http[^\s"]+)/);
  return { process, metrics: metrics! };
}

for (const role of ROLES) {
  Deno.test(`${role} -h and --help show the help on stdout and end with 0`, async () => {
    const [short, long] = await Promise.all(
      ["-h", "--help"].map((arg) => startRole(role, [arg]).end),
    );
    assertEquals(short!.code, 0);
    assertEquals(short!.stderr, "");
    assertEquals(short!.stdout, long!.stdout);
    const help = new TextDecoder().decode(short!.stdout);
    for (
      const wanted of [`mproxy-${role}`, "Usage:", "Examples:", "--engine"]
    ) {
      assertStringIncludes(help, wanted);
    }
  });

  Deno.test(`${role} -V and --version show the version on stdout and end with 0`, async () => {
    for (const arg of ["-V", "--version"]) {
      const { code, stdout, stderr } = await startRole(role, [arg]).end;
      assertEquals([code, stderr], [0, ""]);
      assertEquals(
        new TextDecoder().decode(stdout),
        `mproxy-${role} ${VERSION}\n`,
      );
    }
  });

  testUnless(
    needsLinux(),
    `${role} drains on SIGINT and SIGTERM and ends with 0 and a summary`,
    async () => {
      for (const signal of ["SIGINT", "SIGTERM"] as const) {
        const { process } = await start(role);
        await using _ = process;
        process.signal(signal);
        const { code, stdout, stderr } = await process.end;
        assertEquals(code, 0, stderr);
        assertEquals(stdout.length, 0);
        assertMatch(
          stderr,
          /info draining: a second signal ends at once graceSeconds=5/,
        );
        assertMatch(stderr, /^(read from|received on) .* 0 datagrams/m);
      }
    },
  );

  testUnless(
    needsLinux(),
    `${role} --log-format json makes every line on stderr JSON`,
    async () => {
      const { process } = await start(role, [
        ...["--log-format", "json", "--log-level=debug", "--stats=0.01"],
      ]);
      await using _ = process;
      await process.lines(/"dropped|dropped"|0 dropped/, 2);
      const { code, stderr } = await process.stop();
      assertEquals(code, 0, stderr);
      const lines = stderr.split("\n").map((line) => JSON.parse(line));
      for (const { time, level, message } of lines) {
        assert(!Number.isNaN(Date.parse(time)));
        assert(["debug", "info", "warn", "error"].includes(level));
        assert(message.length > 0);
      }
      assertEquals(lines.at(-1).message, "summary");
      assertMatch(lines.at(-1).lines, /0 datagrams/);
    },
  );

  testUnless(
    needsLinux(),
    `${role} --quiet says nothing but errors`,
    async () => {
      const { process: loud, metrics } = await start(role);
      await using _ = loud;
      // Nothing tells that the quiet one runs but its metrics, at an address of our own.
      const address = new URL(metrics).host;
      await loud.stop();
      await using quiet = startRole(role, [
        ...await running(role),
        ...["--quiet", "--stats=0.01", `--metrics-addr=${address}`],
      ], { stdin: true });
      await answers(`http://${address}/healthz`, quiet);
      const { code, stdout, stderr } = await quiet.stop();
      assertEquals([code, stdout.length, stderr], [0, 0, ""]);
      const failed = await startRole(role, ["--quiet", "--nothing"]).end;
      assertEquals([failed.code, failed.stderr.split("\n").length], [2, 1]);
    },
  );

  testUnless(
    needsLinux(),
    `${role} answers /metrics, /healthz and /readyz, and a bare port is one of 127.0.0.1`,
    async () => {
      const process = startRole(role, [
        ...await running(role),
        "--metrics_addr=0",
      ], { stdin: true });
      await using _ = process;
      const [, metrics] = await process.line(
        /url=(http:\/\/127\.0\.0\.1:\d+\/metrics)/,
      );
      const { types } = await scrape(metrics!);
      assert([...types.keys()].every((name) => name.startsWith("mproxy_")));
      for (const path of ["healthz", "readyz"]) {
        const response = await fetch(new URL(path, metrics));
        await response.body?.cancel();
        assertEquals(response.status, 200);
      }
      assertEquals((await process.stop()).code, 0);
    },
  );

  testUnless(
    needsLinux(),
    `${role} --stats logs a line of figures every so often`,
    async () => {
      const { process } = await start(role, ["--stats", "0.02"]);
      await using _ = process;
      await process.lines(/ info 0 B \w+, 0 bit\/s, .*0 dropped/, 3);
      assertEquals((await process.stop()).code, 0);
    },
  );

  testUnless(
    needsLinux(),
    `${role} --config reads the flags' names from TOML, and the command line wins`,
    async () => {
      await using files = await TestFolder.create();
      const args = await running(role);
      const config = args.map((arg) => {
        const [name, value] = arg.slice(2).split("=");
        return `${name!.replaceAll("-", "_")} = ${JSON.stringify(value)}`;
      });
      const path = await files.file(
        "role.toml",
        `${
          config.join("\n")
        }\nmetrics-addr = "127.0.0.1:0"\nlog-format = "json"\nlog-level = "error"\n`,
      );
      await using process = startRole(role, [
        "--config",
        path,
        "--log-level=info",
      ], {
        stdin: true,
      });
      await process.line(/"message":"metrics door is open"/);
      const { code, stderr } = await process.stop();
      assertEquals(code, 0, stderr);
    },
  );
}

/** Resolves when a URL answers, unless the process ends before. */
async function answers(url: string, process: TestProcess): Promise<void> {
  let ended = false;
  process.end.then(() => ended = true);
  while (!ended) {
    try {
      const response = await fetch(url);
      await response.body?.cancel();
      return;
    } catch {
      // Not yet.
    }
  }
  throw new Error(`Ended before it answered:\n${process.stderr}`);
}

testUnless(needsLinux(), "client ends at once on a second signal", async () => {
  // Nobody reads stdout and the grace period is long: the first signal cannot end it.
  await using receiver = await Receiver.open();
  await using client = startRole("client", [
    ...["--path=/dev/zero", "--tee", "--grace=600", "--rate=400M"],
    ...["--server-addr", receiver.text],
  ], { stdout: "unread" });
  await receiver.atLeast(Math.floor((4 << 20) / 1452));
  client.signal("SIGINT");
  await client.line(/draining/);
  client.signal("SIGTERM");
  assertEquals((await client.end).code, 130);
});

testOnEngines(
  "proxy's metrics equal its summary and what was sent",
  async (engine) => {
    await using receiver = await Receiver.open();
    const nobody = `127.0.0.1:${await freeUdpPort()}`;
    await using proxy = startRole("proxy", [
      ...["--udp-listen-addr=127.0.0.1:0", "--udp-listen-addr=[::1]:0"],
      ...[
        "--udp-downstream-addr",
        receiver.text,
        "--udp-downstream-addr",
        nobody,
      ],
      ...["--metrics-addr=127.0.0.1:0", "--tee", "--engine", engine],
    ]);
    const [, metrics] = await proxy.line(/url=(\S+)/);
    const addresses = (await proxy.lines(/ listening address=(\S+)/, 2))
      .map(([, address]) => address!);
    const bytes = [0, 0];
    for (const [i, address] of addresses.entries()) {
      await using sender = await Sender.open(address);
      for (let n = 1; n <= 20 + i; n++) {
        await sender.send(placedBytes(n * 10));
        bytes[i]! += n * 10;
        await receiver.atLeast(i * 20 + n);
      }
    }
    const all = bytes[0]! + bytes[1]!;
    await proxy.stdoutBytes(all);
    const scraped = await scrape(metrics!);
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    for (const [i, listener] of addresses.entries()) {
      const count = 20 + i;
      assertEquals(
        [
          scraped.sum("mproxy_received_datagrams_total", { listener }),
          scraped.sum("mproxy_received_bytes_total", { listener }),
          scraped.sum("mproxy_receive_dropped_datagrams_total", { listener }),
          scraped.sum("mproxy_receive_errors_total", { listener }),
        ],
        [count, bytes[i], 0, 0],
      );
      assertMatch(
        stderr,
        new RegExp(
          `^received on ${escape(listener)}: [\\d.]+ kB, ${count} datagrams`,
          "m",
        ),
      );
    }
    const destination = receiver.text;
    assertEquals(
      scraped.sum("mproxy_sent_datagrams_total", { destination }),
      41,
    );
    assertEquals(scraped.sum("mproxy_sent_bytes_total", { destination }), all);
    assertEquals(
      scraped.sum("mproxy_send_dropped_datagrams_total", { destination }),
      0,
    );
    assertStringIncludes(
      stderr,
      `sent to ${destination}: 4.41 kB, 41 datagrams`,
    );
    assertEquals(scraped.sum("mproxy_tee_bytes_total"), all);
    assertStringIncludes(
      stderr,
      "copied to stdout: 4.41 kB, 41 datagrams, 0 dropped",
    );
    const refused = scraped.sum("mproxy_send_dropped_datagrams_total", {
      destination: nobody,
      reason: "refused",
    });
    if (engine === "linux") {
      // The answer to the last datagram of each listener is read at the close.
      assert(refused > 0 && refused <= 41);
      assertMatch(
        stderr,
        new RegExp(`sent to ${nobody}: 0 B, 0 .* 41 dropped \\(refused 41\\)`),
      );
    }
  },
  needsLinux(),
);

testOnEngines(
  "client's metrics equal its summary and the file",
  async (engine) => {
    await using files = await TestFolder.create();
    const path = await files.file("data", placedBytes(100_000));
    await using receiver = await Receiver.open();
    await using client = startRole("client", [
      ...["--path", path, "--follow", "--server-addr", receiver.text],
      ...["--metrics-addr=127.0.0.1:0", "--engine", engine, "--rate=100M"],
    ]);
    const [, metrics] = await client.line(/url=(\S+)/);
    await receiver.atLeastBytes(100_000);
    const scraped = await scrape(metrics!);
    assertEquals(
      scraped.sum("mproxy_stream_read_bytes_total", { source: path }),
      100_000,
    );
    assertEquals(
      scraped.sum("mproxy_stream_cut_datagrams_total"),
      receiver.datagrams.length,
    );
    assertEquals(
      scraped.sum("mproxy_sent_bytes_total", { destination: receiver.text }),
      100_000,
    );
    const { code, stderr } = await client.stop();
    assertEquals(code, 0);
    assertStringIncludes(
      stderr,
      `read from ${path}: 100 kB, ${receiver.datagrams.length} datagrams`,
    );
  },
  needsLinux(),
);

function escape(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
