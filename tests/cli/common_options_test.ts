/** What every role takes beside its own options, as processes. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { VERSION } from "../../cli/version.ts";
import { formatAddress } from "../../net/address.ts";
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
import { echoServer } from "../support/tcp.ts";

/** How one role runs until it is told to end, and what it says meanwhile. */
interface Running {
  /** Options with which it does nothing but wait; `held` ends what they need. */
  args(held: AsyncDisposableStack): Promise<string[]> | string[];
  /** Its line of figures. */
  figures: RegExp;
  /** A line of its summary. */
  summary: RegExp;
  /** What /readyz answers: 503 where its peer is not there. */
  readyz: 200 | 503;
  /** Whether its report goes to stdout. */
  reports?: true;
  /** Its metrics, where they keep another tool's names. */
  metrics?: RegExp;
  /** Its options in a configuration file, where they are tables there. */
  tables?: string;
}

const NOBODY = "127.0.0.1:9";

const ROLES: Record<string, Running> = {
  client: {
    args: () => ["--path=-", `--server-addr=${NOBODY}`],
    figures: /0 B sent, 0 bit\/s, 0 dropped/,
    summary: /^read from - *: 0 B, 0 datagrams/m,
    readyz: 200,
  },
  server: {
    args: () => ["--path=-", "--listen-addr=127.0.0.1:0"],
    figures: /0 B logged, 0 bit\/s, 0 dropped/,
    summary: /^received on .* 0 datagrams/m,
    readyz: 200,
  },
  proxy: {
    args: () => [
      "--udp-listen-addr=127.0.0.1:0",
      `--udp-downstream-addr=${NOBODY}`,
    ],
    figures: /0 B \w+, 0 bit\/s, .*0 dropped/,
    summary: /^received on .* 0 datagrams/m,
    readyz: 200,
  },
  reverseproxy: {
    args: async () => [
      "--udp-listen-addr=127.0.0.1:0",
      "--interface=lo",
      `--multicast-addr=${ownGroup()}:${await freeUdpPort()}`,
    ],
    figures: /0 B \w+, 0 bit\/s, .*0 dropped/,
    summary: /^received on .* 0 datagrams/m,
    readyz: 200,
  },
  echo: {
    args: () => ["--listen=127.0.0.1:0"],
    figures: /0 connections open, 0 in all, 0 B sent back/,
    summary: /^0 connections open, 0 in all/m,
    readyz: 200,
  },
  loadtest: {
    args: (
      held,
    ) => [`--target=${formatAddress(held.use(echoServer()).address)}`],
    figures: /measuring [\d.]+ of 30\.0 s, \d+ req\/s/,
    summary: /^Press Ctrl\+C to stop early$/m,
    readyz: 200,
    reports: true,
  },
  relay: {
    args: () => ["--listen=127.0.0.1:0", `--target=${NOBODY}`],
    figures: /active: 0 \| total: 0 \| up: 0B \| down: 0B/,
    summary: /^Total connections: 0$/m,
    readyz: 200,
    metrics: /^(mproxy_|connections_(active|total)$|bytes_(up|down)stream$)/,
  },
  tunnel: {
    args: () => [`--tunnel=127.0.0.1:0=${NOBODY}`],
    figures: /1 tunnels, 0 open, 0 B up, 0 B down/,
    summary: /^clients {4}0 /m,
    readyz: 200,
    tables: `[[tunnel]]\nlocal = "127.0.0.1:0"\nremotes = ["${NOBODY}"]\n`,
  },
  mqtt: {
    args: () => ["--listen=mqtt://127.0.0.1:0", `--target=mqtt://${NOBODY}`],
    figures: /0 sessions, 0 messages, 0 denied/,
    summary: /^messages: 0, denied: 0$/m,
    readyz: 503,
  },
};

/** A role that runs, what its options need, and its metrics door. */
class Started implements AsyncDisposable {
  readonly #held = new AsyncDisposableStack();
  #process?: TestProcess;

  /** Starts a role with `args`; waits for the door only where it would tell. */
  static async role(role: string, args: readonly string[] = []) {
    const started = new Started();
    started.#process = startRole(role, [
      ...await ROLES[role]!.args(started.#held),
      ...["--metrics-addr=127.0.0.1:0", ...args],
    ], { stdin: true });
    return started;
  }

  get process(): TestProcess {
    return this.#process!;
  }

  /** Where its metrics are. */
  async metrics(): Promise<string> {
    const [, url] = await this.process.line(/url\W+(http[^\s"]+)/);
    return url!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process[Symbol.asyncDispose]();
    await this.#held.disposeAsync();
  }
}

for (const [role, wanted] of Object.entries(ROLES)) {
  Deno.test(`${role} -h and --help show the help on stdout and end with 0`, async () => {
    const [short, long] = await Promise.all(
      ["-h", "--help"].map((arg) => startRole(role, [arg]).end),
    );
    assertEquals(short!.code, 0);
    assertEquals(short!.stderr, "");
    assertEquals(short!.stdout, long!.stdout);
    const help = new TextDecoder().decode(short!.stdout);
    for (
      const text of [`mproxy-${role}`, "Usage:", "Examples:", "--grace"]
    ) {
      assertStringIncludes(help, text);
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
        await using started = await Started.role(role);
        await started.metrics();
        started.process.signal(signal);
        const { code, stdout, stderr } = await started.process.end;
        assertEquals(code, 0, stderr);
        assertEquals(stdout.length > 0, wanted.reports ?? false);
        assertMatch(
          stderr,
          /info draining: a second signal ends at once graceSeconds=\d+/,
        );
        assertMatch(stderr, wanted.summary);
      }
    },
  );

  testUnless(
    needsLinux(),
    `${role} --log-format json makes every line on stderr JSON`,
    async () => {
      await using started = await Started.role(role, [
        ...["--log-format", "json", "--log-level=debug", "--stats=0.01"],
      ]);
      await started.process.lines(wanted.figures, 2);
      const { code, stderr } = await started.process.stop();
      assertEquals(code, 0, stderr);
      const lines = stderr.split("\n").map((line) => JSON.parse(line));
      for (const { time, level, message } of lines) {
        assert(!Number.isNaN(Date.parse(time)));
        assert(["debug", "info", "warn", "error"].includes(level));
        assert(message.length > 0);
      }
      assertEquals(lines.at(-1).message, "summary");
    },
  );

  testUnless(
    needsLinux(),
    `${role} --quiet says nothing but errors`,
    async () => {
      await using loud = await Started.role(role);
      // Nothing tells that the quiet one runs but its metrics, at an address of our own.
      const address = new URL(await loud.metrics()).host;
      await loud.process.stop();
      await using held = new AsyncDisposableStack();
      await using quiet = startRole(role, [
        ...await wanted.args(held),
        ...["--quiet", "--stats=0.01", `--metrics-addr=${address}`],
      ], { stdin: true });
      await answers(`http://${address}/healthz`, quiet);
      const { code, stdout, stderr } = await quiet.stop();
      assertEquals([code, stderr], [0, ""]);
      assertEquals(stdout.length > 0, wanted.reports ?? false);
      const failed = await startRole(role, ["--quiet", "--nothing"]).end;
      assertEquals([failed.code, failed.stderr.split("\n").length], [2, 1]);
    },
  );

  testUnless(
    needsLinux(),
    `${role} answers /metrics, /healthz and /readyz, and a bare port is one of 127.0.0.1`,
    async () => {
      await using held = new AsyncDisposableStack();
      await using process = startRole(role, [
        ...await wanted.args(held),
        "--metrics_addr=0",
      ], { stdin: true });
      const [, metrics] = await process.line(
        /url=(http:\/\/127\.0\.0\.1:\d+\/metrics)/,
      );
      const { types } = await scrape(metrics!);
      assert(
        [...types.keys()].every((name) =>
          (wanted.metrics ?? /^mproxy_/).test(name)
        ),
      );
      for (
        const [path, status] of [["healthz", 200], [
          "readyz",
          wanted.readyz,
        ]] as const
      ) {
        const response = await fetch(new URL(path, metrics));
        await response.body?.cancel();
        assertEquals(response.status, status, path);
      }
      assertEquals((await process.stop()).code, 0);
    },
  );

  testUnless(
    needsLinux(),
    `${role} --stats logs a line of figures every so often`,
    async () => {
      await using started = await Started.role(role, ["--stats", "0.02"]);
      await started.process.lines(wanted.figures, 3);
      assertEquals((await started.process.stop()).code, 0);
    },
  );

  testUnless(
    needsLinux(),
    `${role} --config reads the flags' names from TOML, and the command line wins`,
    async () => {
      await using files = await TestFolder.create();
      await using held = new AsyncDisposableStack();
      const args = await wanted.args(held);
      const options = wanted.tables ? [] : args.map((arg) => {
        const [, name, value] = /^--([^=]+)=(.*)$/.exec(arg)!;
        return `${name!.replaceAll("-", "_")} = ${JSON.stringify(value)}`;
      });
      const path = await files.file(
        "role.toml",
        [
          ...options,
          'metrics-addr = "127.0.0.1:0"',
          'log-format = "json"',
          'log-level = "error"',
          wanted.tables ?? "",
        ].join("\n"),
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

for (const role of Object.keys(ROLES)) {
  Deno.test(`${role} --check-config shows all that is wrong with a file, and exits`, async () => {
    await using files = await TestFolder.create();
    const good = await files.file("good.toml", 'log-level = "warn"\n');
    const bad = await files.file(
      "bad.toml",
      'grace = -1\nlog-levle = "warn"\n',
    );
    const check = async (path: string) => {
      const required = role === "client" || role === "server"
        ? ["--path=-"]
        : [];
      return await startRole(role, [
        ...["--config", path, "--check-config"],
        ...required,
      ]).end;
    };
    const { code, stdout, stderr } = await check(good);
    assertEquals([code, stderr], [0, ""]);
    assertEquals(new TextDecoder().decode(stdout), `${good}: ok\n`);
    const wrong = await check(bad);
    assertEquals([wrong.code, wrong.stdout.length], [2, 0]);
    const lines = wrong.stderr.split("\n");
    assertEquals(lines.length, 2, wrong.stderr);
    assertStringIncludes(lines[0]!, `${bad}:1:9: `);
    assertStringIncludes(lines[1]!, `${bad}:2:1: `);
  });
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
