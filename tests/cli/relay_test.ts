/** The relay as users run it: what its original's README shows, typed with ncat and curl. */
import { STREAM_ENGINE } from "../support/engines.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Address } from "../../net/address.ts";
import { linuxEngineUnavailable } from "../../net/engine/linux/datagram/engine.ts";
import { formatAddress } from "../../net/address.ts";
import {
  assertWrongUsage,
  startPeer,
  startRole,
  type TestProcess,
} from "../support/process.ts";
import {
  needsLinux,
  needsMountNamespaces,
  needsOpenFiles,
  needsProgram,
  testUnless,
} from "../support/skip.ts";
import {
  blackhole,
  close,
  connectTo,
  echoServer,
  hangingServer,
  howItEnds,
  howTurnedAway,
  readExactly,
  readToEnd,
  refusingAddress,
  TestServer,
  writeAll,
} from "../support/tcp.ts";

const ANY = "127.0.0.1:0";

/** Starts a relay and learns its real address. */
async function startRelay(
  target: Address,
  ...options: string[]
): Promise<{ relay: TestProcess; address: Address }> {
  const relay = startRole("relay", [
    ANY,
    formatAddress(target),
    `--engine=${STREAM_ENGINE}`,
    ...options.some((option) => option.startsWith("--metrics-addr"))
      ? []
      : ["--metrics-addr", "off"],
    ...options,
  ]);
  return { relay, address: await listening(relay) };
}

async function listening(relay: TestProcess): Promise<Address> {
  const [, hostname, port] = await relay.line(
    /listening address=([\d.]+):(\d+)/,
  );
  return { hostname: hostname!, port: Number(port) };
}

async function metricsUrl(relay: TestProcess): Promise<string> {
  const [, url] = await relay.line(/metrics door is open url=(\S+)/);
  return url!;
}

async function fetchText(url: string): Promise<string> {
  return await (await fetch(url)).text();
}

testUnless(
  needsProgram("ncat"),
  "relay prints the event lines of the original's README",
  async () => {
    await using target = new TestServer(async (conn) => {
      await readExactly(conn, 1024);
      await writeAll(conn, new Uint8Array(512));
    });
    const { relay, address } = await startRelay(target.address, "--events");
    await using _relay = relay;
    await using client = startPeer("ncat", [
      address.hostname,
      String(address.port),
    ], { stdin: true });
    const writer = client.stdin.getWriter();
    await writer.write(new Uint8Array(1024));
    assertEquals((await client.stdoutBytes(512)).length, 512);
    await writer.close();
    await client.end;
    await relay.line(/ConnectionClosed/);
    const lines = relay.stderr.split("\n").filter((line) =>
      line.startsWith("[METRICS]")
    );
    const [, peer] = /ConnectionOpened (\S+)/.exec(lines[0]!)!;
    assertMatch(peer!, /^127\.0\.0\.1:\d+$/);
    assertEquals(lines, [
      `[METRICS] ConnectionOpened ${peer} | active: 1, total: 1`,
      `[METRICS] ${peer} ↑ 1024 | total up: 1.0KB`,
      `[METRICS] ${peer} ↓ 512 | total down: 512B`,
      `[METRICS] ConnectionClosed ${peer} | active: 0`,
    ]);
  },
);

testUnless(
  needsProgram("curl"),
  "relay serves the figures of the original's README as text and JSON",
  async () => {
    // Each client sends its share of 1 MiB, and gets twice as much.
    await using target = new TestServer(async (conn) => {
      const buffer = new Uint8Array(65536);
      for (;;) {
        const bytes = await conn.read(buffer);
        if (bytes === null) break;
        await writeAll(conn, buffer.subarray(0, bytes));
        await writeAll(conn, buffer.subarray(0, bytes));
      }
    });
    const { relay, address } = await startRelay(
      target.address,
      "--metrics-addr=127.0.0.1:0",
    );
    await using _relay = relay;
    const url = await metricsUrl(relay);
    const share = Math.floor(1048576 / 42);
    const left: Deno.Conn[] = [];
    for (let i = 0; i < 42; i++) {
      const bytes = i < 41 ? share : 1048576 - 41 * share;
      const client = await connectTo(address);
      const received = readExactly(client, 2 * bytes);
      await writeAll(client, new Uint8Array(bytes));
      await received;
      if (i < 39) {
        await client.closeWrite();
        await readToEnd(client);
        client.close();
      } else left.push(client);
    }
    let text = "";
    while (!text.includes("connections_active 3\n")) {
      const curl = startPeer("curl", ["-s", url]);
      text = new TextDecoder().decode((await curl.end).stdout);
    }
    const figures = text.split("\n").filter((line) =>
      /^(connections|bytes)_/.test(line)
    );
    assertEquals(figures, [
      "connections_active 3",
      "connections_total 42",
      "bytes_upstream 1048576",
      "bytes_downstream 2097152",
    ]);
    const curl = startPeer("curl", ["-s", `${url}?format=json`]);
    const json = JSON.parse(
      new TextDecoder().decode((await curl.end).stdout),
    );
    const { clients, ...original } = json;
    assertEquals(original, {
      active_connections: 3,
      total_connections: 42,
      bytes_upstream: 1048576,
      bytes_downstream: 2097152,
    });
    assertEquals(
      clients.map((client: { bytes_upstream: number }) =>
        client.bytes_upstream
      ),
      [share, share, 1048576 - 41 * share],
    );
    for (const client of left) client.close();
  },
);

Deno.test("relay prints the summary line of the original's README", async () => {
  await using target = new TestServer(async (conn) => {
    await readExactly(conn, 100_000);
    await writeAll(conn, new Uint8Array(800_000 / 15 + 1).subarray(1));
    await readToEnd(conn);
  });
  const { relay, address } = await startRelay(
    target.address,
    "--summary=0.05",
  );
  await using _relay = relay;
  const left: Deno.Conn[] = [];
  for (let i = 0; i < 15; i++) {
    const client = await connectTo(address);
    await writeAll(client, new Uint8Array(100_000));
    await readExactly(client, Math.floor(800_000 / 15));
    if (i < 12) {
      await client.closeWrite();
      await readToEnd(client);
      client.close();
    } else left.push(client);
  }
  // 15 times 53 333 bytes are 799 995.
  await relay.line(
    /^\[METRICS\] active: 3 \| total: 15 \| up: 1\.5MB \| down: 800\.0KB$/,
  );
  for (const client of left) client.close();
});

Deno.test("relay prints its banner with the real addresses", async () => {
  await using target = echoServer();
  const { relay, address } = await startRelay(
    target.address,
    "--metrics-addr=127.0.0.1:0",
  );
  await using _relay = relay;
  const url = await metricsUrl(relay);
  await relay.line(/^Press Ctrl\+C to shutdown gracefully$/);
  await relay.line(new RegExp(`^Proxy listening on:    ${at(address)}$`));
  await relay.line(
    new RegExp(`^Forwarding to:         ${at(target.address)}$`),
  );
  await relay.line(
    new RegExp(`^Metrics endpoint:      ${RegExp.escape(url)}$`),
  );
});

Deno.test("relay reads the original's proxy.toml", async () => {
  await using target = echoServer();
  const folder = await Deno.makeTempDir();
  try {
    const file = `${folder}/proxy.toml`;
    await Deno.writeTextFile(
      file,
      `listen_addr = "${ANY}"
target_addr = "${formatAddress(target.address)}"
metrics_addr = "${ANY}"
grace_period_secs = 30
metrics_log_interval_secs = 10
channel_buffer_size = 1000
`,
    );
    await using relay = startRole("relay", ["--config", file]);
    const address = await listening(relay);
    assertMatch(
      await fetchText(await metricsUrl(relay)),
      /^connections_total 0$/m,
    );
    using client = await connectTo(address);
    await writeAll(client, new Uint8Array([1]));
    await readExactly(client, 1);
    relay.signal("SIGINT");
    await relay.line(/draining.*graceSeconds=30/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("relay ends and turns away connections as its limits say", async () => {
  await using echo = echoServer();
  await using silent = hangingServer();
  using nowhere = await blackhole();
  const cases = [
    {
      option: "--idle-timeout=0.1",
      target: silent.address,
      figure: 'connections_ended_total{reason="idle-timeout"} 1',
    },
    {
      option: "--half-close-timeout=0.1",
      target: silent.address,
      halfClose: true,
      figure: 'connections_ended_total{reason="half-close-timeout"} 1',
    },
    {
      option: "--connect-timeout=0.1",
      target: nowhere.address,
      figure: 'connect_errors_total{reason="timeout"} 1',
    },
    {
      option: "--max-connections=1",
      target: echo.address,
      held: true,
      figure: 'rejected_total{reason="limit"} 1',
    },
  ];
  for (const { option, target, halfClose, held, figure } of cases) {
    const { relay, address } = await startRelay(
      target,
      ...[option, "--buffer-size=4Ki", "--metrics-addr=127.0.0.1:0"],
    );
    await using _relay = relay;
    using first = await connectTo(address);
    await writeAll(first, new Uint8Array(10_000));
    if (held) {
      await readExactly(first, 10_000);
      await howTurnedAway(address);
    } else {
      if (halfClose) await first.closeWrite();
      await howItEnds(first);
    }
    const figures = await fetchText(await metricsUrl(relay));
    assert(
      figures.includes(`mproxy_relay_${figure}\n`),
      `${option}\n${figures}`,
    );
  }
});

testUnless(
  STREAM_ENGINE === "portable"
    ? "threads are the linux engine's"
    : linuxEngineUnavailable(),
  "relay --workers shares the listener among threads",
  async () => {
    await using echo = echoServer();
    const threads: number[] = [];
    for (const workers of [1, 3]) {
      const { relay, address } = await startRelay(
        echo.address,
        `--workers=${workers}`,
      );
      await using _relay = relay;
      for (let i = 0; i < 16; i++) {
        using client = await connectTo(address);
        await writeAll(client, new Uint8Array(1000));
        await readExactly(client, 1000);
      }
      threads.push(
        [...Deno.readDirSync(`/proc/${relay.pid}/task`)].filter(({ name }) =>
          Deno.readTextFileSync(`/proc/${relay.pid}/task/${name}/comm`)
            .startsWith("worker-")
        ).length,
      );
      assertEquals((await relay.stop()).code, 0);
    }
    assertEquals(echo.accepted, 32);
    assertEquals(threads, [1, 3]);
  },
);

Deno.test("relay waits for open connections after Ctrl+C and says for how many", async () => {
  await using target = echoServer();
  const { relay, address } = await startRelay(target.address);
  await using _relay = relay;
  const client = await connectTo(address);
  await writeAll(client, new Uint8Array([1]));
  await readExactly(client, 1);
  relay.signal("SIGINT");
  await relay.line(
    /^\[SHUTDOWN\] Received Ctrl\+C, starting graceful shutdown\.\.\.$/,
  );
  await relay.line(/^\[SHUTDOWN\] Waiting for 1 active connection\(s\)\.\.\.$/);
  await relay.line(/draining: a second signal ends at once graceSeconds=60/);
  await writeAll(client, new Uint8Array(100_000));
  await readExactly(client, 100_000);
  await assertRefused(address);
  client.close();
  const { code, stderr } = await relay.end;
  assertEquals(code, 0);
  assert(
    stderr.endsWith(
      `
         Shutdown complete
Total connections: 1
Bytes upstream:    100001
Bytes downstream:  100001`,
    ),
    stderr,
  );
  // Rules are for a terminal.
  assert(!/^[=-]+$/m.test(stderr), stderr);
});

Deno.test("relay closes and counts what is left when the grace period is over", async () => {
  await using target = echoServer();
  const { relay, address } = await startRelay(
    target.address,
    "--grace=0.2",
    "--events",
  );
  await using _relay = relay;
  using client = await connectTo(address);
  await relay.line(/ConnectionOpened/);
  relay.signal("SIGTERM");
  await relay.line(/^\[SHUTDOWN\] Received shutdown signal, starting/);
  await howItEnds(client);
  const { code, stderr } = await relay.end;
  // 0 is for an end that cut nothing off.
  assertEquals(code, 1);
  assertMatch(stderr, /the grace period is over: /);
  assertMatch(stderr, /^cut {8}1 connection when the grace period was over$/m);
  assertMatch(
    stderr,
    /^\[SHUTDOWN\] Grace period expired, force exiting\.\.\.$/m,
  );
  assertMatch(stderr, /^\[METRICS\] ConnectionClosed .* \| active: 0$/m);
  assertMatch(stderr, /^Closed in flight: {2}1$/m);
});

Deno.test("relay ends at once on a second signal", async () => {
  await using target = echoServer();
  const { relay, address } = await startRelay(target.address, "--events");
  await using _relay = relay;
  using client = await connectTo(address);
  await relay.line(/ConnectionOpened/);
  relay.signal("SIGINT");
  await relay.line(/Waiting for 1 active/);
  relay.signal("SIGINT");
  assertEquals((await relay.end).code, 130);
  close(client);
});

Deno.test("relay counts, logs and lets go clients of a target that refuses", async () => {
  const target = refusingAddress();
  const { relay, address } = await startRelay(
    target,
    "--metrics-addr=127.0.0.1:0",
    "--events",
  );
  await using _relay = relay;
  const url = await metricsUrl(relay);
  for (let i = 0; i < 3; i++) {
    await howTurnedAway(address);
  }
  await relay.line(
    new RegExp(
      `cannot connect to the target target=${
        at(target)
      } client=\\S+ reason=refused`,
    ),
  );
  await relay.line(/ConnectionRejected \S+ \| reason: connect-failed/);
  const text = await fetchText(url);
  assertMatch(
    text,
    /^mproxy_relay_rejected_total\{reason="connect-failed"\} 3$/m,
  );
  assertMatch(
    text,
    /^mproxy_relay_connect_errors_total\{reason="refused"\} 3$/m,
  );
  assertMatch(text, /^connections_total 0$/m);
  // Rate-limited: one line for all of them.
  assertEquals(relay.stderr.match(/cannot connect to the target/g)!.length, 1);
});

Deno.test("relay says what is wrong with its arguments, in one line, before it binds", async () => {
  const cases: [string[], RegExp][] = [
    [[], /LISTEN and TARGET are missing/],
    [["8080"], /LISTEN and TARGET are wanted, but got 1 argument/],
    [["8080", "example.com"], /Cannot use "example\.com" as an address/],
    [["--listen=8080", "--target=example.com:0"], /port 0 cannot be sent to/],
    [["8080", "8081", "--summry=1"], /did you mean --summary\?/],
    [["8080", "8081", "--channel-buffer-size=0"], /not a whole number/],
  ];
  for (const [args, line] of cases) await assertWrongUsage("relay", args, line);
});

Deno.test("relay fails with the errno's remedy where its port is taken", async () => {
  await using taken = echoServer();
  await using relay = startRole("relay", [
    formatAddress(taken.address),
    "127.0.0.1:9",
    "--metrics-addr=off",
  ]);
  const { code, stderr } = await relay.end;
  assertEquals(code, 1);
  assertMatch(stderr, /Cannot listen on .*choose another port/);
});

testUnless(
  needsProgram("promtool", "curl"),
  "relay's metrics are accepted by promtool",
  async () => {
    await using target = echoServer();
    const { relay, address } = await startRelay(
      target.address,
      "--metrics-addr=127.0.0.1:0",
    );
    await using _relay = relay;
    using client = await connectTo(address);
    await writeAll(client, new Uint8Array(10));
    await readExactly(client, 10);
    const text = await fetchText(await metricsUrl(relay));
    await using promtool = startPeer("promtool", ["check", "metrics"], {
      stdin: true,
    });
    const writer = promtool.stdin.getWriter();
    await writer.write(new TextEncoder().encode(text));
    await writer.close();
    const { code, stderr } = await promtool.end;
    assertEquals(`${code} ${stderr}`, "0 ");
  },
);

testUnless(
  needsLinux() ?? needsProgram("bash"),
  "relay out of file descriptors waits, logs once, and serves again",
  async () => {
    await using target = echoServer();
    const script = `ulimit -n 96; exec "$0" run -A cli/relay/main.ts ${ANY} ${
      formatAddress(target.address)
    } --metrics-addr=127.0.0.1:0 --engine=${STREAM_ENGINE}`;
    await using relay = startPeer("bash", ["-c", script, Deno.execPath()]);
    const address = await listening(relay);
    const url = await metricsUrl(relay);
    const clients = await Promise.all(
      Array.from({ length: 100 }, () => connectTo(address)),
    );
    await relay.line(/cannot accept a client code=EMFILE/);
    for (const client of clients) client.close();
    // The next client is served when those before it are gone.
    for (let figures = ""; !/^connections_active 0$/m.test(figures);) {
      do figures = await fetchText(url); while (
        !/^mproxy_relay_accepted_total 100$/m.test(figures)
      );
    }
    using client = await connectTo(address);
    await writeAll(client, new Uint8Array([42]));
    assertEquals((await readExactly(client, 1))[0], 42);
    const text = await fetchText(url);
    const [, errors] = /^mproxy_relay_accept_errors_total (\d+)$/m.exec(text)!;
    assert(Number(errors) > 0 && Number(errors) < 100, errors);
    assertEquals(relay.stderr.match(/cannot accept a client/g)!.length, 1);
  },
);

testUnless(
  needsOpenFiles(8192),
  "relay holds a thousand connections in less than 150 MB",
  async () => {
    await using target = echoServer();
    const { relay, address } = await startRelay(target.address);
    await using _relay = relay;
    const clients: Deno.TcpConn[] = [];
    const message = new Uint8Array(1024);
    try {
      for (let i = 0; i < 1000; i++) {
        const client = await connectTo(address);
        clients.push(client);
        await writeAll(client, message);
        await readExactly(client, message.length);
      }
      const status = await Deno.readTextFile(`/proc/${relay.pid}/status`);
      const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(status)!;
      assert(Number(kilobytes) * 1024 < 150e6, `${kilobytes} kB`);
    } finally {
      for (const client of clients) client.close();
    }
  },
);

testUnless(
  needsMountNamespaces(),
  "relay resolves its target anew for each client and tries all its addresses",
  async () => {
    await using target = echoServer();
    const { port } = target.address;
    const hosts = await Deno.makeTempFile();
    try {
      // Nobody listens on the first two.
      await Deno.writeTextFile(
        hosts,
        "::1 target.test\n127.0.0.2 target.test\n127.0.0.1 target.test\n",
      );
      const script =
        `mount --bind ${hosts} /etc/hosts; exec "$0" run -A cli/relay/main.ts ${ANY} target.test:${port} --metrics-addr=off`;
      await using relay = startPeer("unshare", [
        "-m",
        "sh",
        "-c",
        script,
        Deno.execPath(),
      ]);
      const address = await listening(relay);
      const talk = async () => {
        using client = await connectTo(address);
        await writeAll(client, new Uint8Array([5]));
        return (await readExactly(client, 1))[0];
      };
      assertEquals(await talk(), 5);
      await Deno.writeTextFile(hosts, "127.0.0.2 target.test\n");
      await howTurnedAway(address);
      await relay.line(/cannot connect to the target .* reason=refused/);
      await Deno.writeTextFile(hosts, "127.0.0.1 target.test\n");
      assertEquals(await talk(), 5);
    } finally {
      await Deno.remove(hosts);
    }
  },
);

/** An address as a pattern. */
function at(address: Address): string {
  return RegExp.escape(formatAddress(address));
}

async function assertRefused(address: Address): Promise<void> {
  try {
    (await connectTo(address)).close();
  } catch (error) {
    assert(error instanceof Deno.errors.ConnectionRefused);
    return;
  }
  throw new Error("The relay still accepts");
}
