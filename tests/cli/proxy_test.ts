import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { formatAddress } from "../../net/address.ts";
import { concat, numbered } from "../support/batches.ts";
import {
  freeUdpPort,
  ownGroup,
  Receiver,
  Sender,
} from "../support/datagram_peer.ts";
import { testOnEngines } from "../support/engines.ts";
import { NetworkNamespace } from "../support/namespaces.ts";
import {
  assertWrongUsage,
  type ProcessOptions,
  startRole,
} from "../support/process.ts";
import {
  assertAllPlaced,
  assertSameDatagrams,
  placedBytes,
} from "../support/streams.ts";
import {
  needsLinux,
  needsNetworkNamespaces,
  needsProgram,
} from "../support/skip.ts";
import { refusingAddress, TestServer, writeAll } from "../support/tcp.ts";

/** The proxy on an engine. */
function startProxy(
  engine: string,
  args: readonly string[],
  options: ProcessOptions = {},
) {
  return startRole("proxy", [...args, "--engine", engine], options);
}

/** The address that a role says it listens on, of those that it has. */
async function listening(
  role: ReturnType<typeof startRole>,
  nth = 0,
): Promise<string> {
  const found = await role.lines(/ listening address=(\S+)/, nth + 1);
  return found[nth]![1]!;
}

testOnEngines(
  "proxy forwards what its IPv4 and IPv6 listeners get to every destination, whole and in order",
  async (engine) => {
    await using one = await Receiver.open("127.0.0.1:0");
    await using other = await Receiver.open("[::1]:0");
    await using proxy = startProxy(engine, [
      ...["--udp-listen-addr", "127.0.0.1:0", "--udp_listen_addr=[::1]:0"],
      ...[
        "--udp-downstream-addr",
        one.text,
        "--udp_downstream_addr",
        other.text,
      ],
    ]);
    const sizes = [0, 1, 1400, 1452, 9000, 65507, 3];
    const datagrams = sizes.map((size, i) => numbered(size, i));
    for (let nth = 0; nth < 2; nth++) {
      await using sender = await Sender.open(await listening(proxy, nth));
      for (const [i, datagram] of datagrams.entries()) {
        await sender.send(datagram);
        // One at a time, because a receive queue of the system's size holds two large ones.
        const count = nth * sizes.length + i + 1;
        await Promise.all([one.atLeast(count), other.atLeast(count)]);
      }
    }
    for (const { datagrams: found } of [one, other]) {
      assertEquals(found, [...datagrams, ...datagrams]);
    }
    const { code, stdout, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    assertEquals(stdout.length, 0);
    assertEquals(
      stderr.match(/^received on \S+: 77.4 kB, 7 datagrams/gm)?.length,
      2,
      stderr,
    );
    assertStringIncludes(stderr, `sent to ${one.text}: 155 kB, 14 datagrams`);
  },
);

testOnEngines(
  "proxy takes the older tool's --listen_addr and --downstream_addr",
  async (engine) => {
    await using receiver = await Receiver.open();
    await using proxy = startProxy(engine, [
      ...["--listen_addr", "127.0.0.1:0", "--downstream_addr", receiver.text],
    ]);
    await using sender = await Sender.open(await listening(proxy));
    await sender.send("hello");
    await receiver.atLeast(1);
    assertEquals(receiver.texts, ["hello"]);
    assertEquals((await proxy.stop()).code, 0);
  },
);

testOnEngines(
  "proxy joins a group on --interface, and sends to another with --ttl",
  async (engine) => {
    const [from, to] = [ownGroup(), ownGroup()];
    const port = await freeUdpPort();
    await using receiver = await Receiver.open(`${to}:${port}`, {
      networkInterface: "lo",
    });
    await using proxy = startProxy(engine, [
      ...["--udp-listen-addr", `${from}:0`, "--interface", "lo", "--ttl=2"],
      ...["--udp-downstream-addr", `${to}:${port}`],
    ]);
    const address = await listening(proxy);
    assert(address.startsWith(`${from}:`), address);
    await using sender = await Sender.open(address, { networkInterface: "lo" });
    await sender.send("one", "two");
    await receiver.atLeast(2);
    assertEquals(receiver.texts, ["one", "two"]);
    assertEquals((await proxy.stop()).code, 0);
  },
  needsLinux(),
);

testOnEngines(
  "proxy hears of two groups on one port only what each listener has joined",
  async (engine) => {
    const [joined, foreign] = [ownGroup(), ownGroup()];
    await using receiver = await Receiver.open();
    await using proxy = startProxy(engine, [
      ...["--udp-listen-addr", `${joined}:0`, "--interface", "lo"],
      ...["--udp-downstream-addr", receiver.text],
    ]);
    const port = (await listening(proxy)).split(":").at(-1)!;
    // Somebody on this machine joins the other group on the same port.
    await using bystander = await Receiver.open(`${foreign}:${port}`, {
      networkInterface: "lo",
    });
    const options = { networkInterface: "lo" };
    await using wrong = await Sender.open(`${foreign}:${port}`, options);
    await using right = await Sender.open(`${joined}:${port}`, options);
    await wrong.send("foreign");
    await bystander.atLeast(1);
    await right.send("joined");
    await receiver.atLeast(1);
    assertEquals(receiver.texts, ["joined"]);
    assertEquals((await proxy.stop()).code, 0);
  },
  needsLinux(),
);

testOnEngines(
  "proxy's own senders never take the port that it listens on",
  async (engine) => {
    await using namespace = await NetworkNamespace.create();
    // Senders get their ports from here, and one of four is the listener's.
    const range = "net.ipv4.ip_local_port_range=40000 40003";
    await namespace.run("sysctl", "-q", "-w", range);
    const destinations = [1, 2, 3].map((n) =>
      `--udp-downstream-addr=127.0.0.1:${n}`
    );
    for (let i = 0; i < 4; i++) {
      await using proxy = namespace.start(Deno.execPath(), [
        ...["run", "-A", "cli/proxy/main.ts", `--engine=${engine}`],
        ...["--udp-listen-addr=127.0.0.1:40001", ...destinations],
      ]);
      await proxy.line(/ listening address=127\.0\.0\.1:40001$/);
    }
  },
  needsNetworkNamespaces() ?? needsProgram("sysctl"),
);

testOnEngines(
  "proxy hears broadcasts and sends them",
  async (engine) => {
    await using receiver = await Receiver.open("0.0.0.0:0");
    await using proxy = startProxy(engine, [
      ...["--udp-listen-addr", "0.0.0.0:0"],
      ...["--udp-downstream-addr", `127.255.255.255:${receiver.port}`],
    ]);
    const port = (await listening(proxy)).split(":")[1];
    await using sender = await Sender.open(`127.255.255.255:${port}`);
    await sender.send("to all");
    await receiver.atLeast(1);
    assertEquals(receiver.texts, ["to all"]);
    assertEquals((await proxy.stop()).code, 0);
  },
  needsLinux(),
);

testOnEngines(
  "proxy goes on with the good destination beside one where nobody listens",
  async (engine) => {
    const nobody = `127.0.0.1:${await freeUdpPort()}`;
    await using receiver = await Receiver.open();
    await using proxy = startProxy(engine, [
      ...["--udp-listen-addr", "127.0.0.1:0"],
      ...["--udp-downstream-addr", nobody],
      ...["--udp-downstream-addr", receiver.text],
    ]);
    await using sender = await Sender.open(await listening(proxy));
    for (let i = 0; i < 50; i++) {
      await sender.send(`${i}`);
      await receiver.atLeast(i + 1);
    }
    assertEquals(receiver.texts, Array.from({ length: 50 }, (_, i) => `${i}`));
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    assertMatch(
      stderr,
      new RegExp(`sent to ${receiver.text}: \\d+ B, 50 datagrams .* 0 dropped`),
    );
    if (engine === "linux") {
      // A refusal is told after the datagram was sent.
      assertMatch(
        stderr,
        new RegExp(`sent to ${nobody}: .* dropped \\(refused [1-9]\\d*\\)`),
      );
    }
  },
);

testOnEngines(
  "proxy --tee copies byte for byte to stdout, and nothing else goes there",
  async (engine) => {
    await using receiver = await Receiver.open();
    await using proxy = startProxy(engine, [
      ...["--udp-listen-addr", "127.0.0.1:0"],
      ...["--udp-downstream-addr", receiver.text],
      ...["-t", "--stats=0.01", "--log-level=debug"],
    ]);
    await using sender = await Sender.open(await listening(proxy));
    const datagrams = [1, 0, 700, 60_000, 2].map((size, i) =>
      numbered(size, i)
    );
    for (const [i, datagram] of datagrams.entries()) {
      await sender.send(datagram);
      await receiver.atLeast(i + 1);
    }
    const bytes = concat(datagrams);
    await proxy.stdoutBytes(bytes.length);
    const { code, stdout, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    assertEquals(stdout, new Uint8Array(bytes));
    assertStringIncludes(stderr, "copied to stdout: 60.7 kB, 5 datagrams");
  },
);

testOnEngines("proxy --tee needs no destination", async (engine) => {
  await using proxy = startProxy(engine, [
    ...["--udp-listen-addr", "127.0.0.1:0", "--tee"],
  ]);
  await using sender = await Sender.open(await listening(proxy));
  await sender.send("only to stdout");
  await proxy.stdoutBytes(14);
  const { code, stdout } = await proxy.stop();
  assertEquals(code, 0);
  assertEquals(new TextDecoder().decode(stdout), "only to stdout");
});

testOnEngines(
  "proxy forwards what had arrived when it was told to end",
  async (engine) => {
    await using receiver = await Receiver.open();
    await using proxy = startProxy(engine, [
      ...["--udp-listen-addr", "127.0.0.1:0"],
      ...["--udp-downstream-addr", receiver.text],
    ]);
    await using sender = await Sender.open(await listening(proxy));
    // Fewer than a receive queue of the system's size holds.
    const datagrams = Array.from({ length: 60 }, (_, i) => numbered(1000, i));
    await sender.send(...datagrams);
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    await receiver.atLeast(60);
    assertSameDatagrams(receiver.datagrams, datagrams);
    assertStringIncludes(stderr, "60.0 kB, 60 datagrams");
  },
);

testOnEngines(
  "proxy sends a TCP host's stream straight to the destinations, and connects again when it ends",
  async (engine) => {
    const bytes = placedBytes(40_000);
    const half = bytes.length / 2;
    let connections = 0;
    await using host = new TestServer(async (conn) => {
      const nth = connections++;
      if (nth < 2) {
        await writeAll(conn, bytes.subarray(nth * half, (nth + 1) * half));
      } else await conn.read(new Uint8Array(1));
    });
    await using one = await Receiver.open();
    await using other = await Receiver.open("[::1]:0");
    await using proxy = startProxy(engine, [
      ...["--tcp-connect-addr", formatAddress(host.address)],
      ...["--datagram-size=500"],
      ...[
        "--udp-downstream-addr",
        one.text,
        "--udp-downstream-addr",
        other.text,
      ],
    ]);
    for (const receiver of [one, other]) {
      await receiver.atLeastBytes(bytes.length);
      assertAllPlaced(receiver.datagrams, bytes);
      assert(receiver.datagrams.every(({ length }) => length <= 500));
    }
    await proxy.lines(/ connected address=/, 3);
    await proxy.line(
      /not connected, trying again .*reason="the host ended the connection" retrySeconds=0\.[345]/,
    );
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    assertMatch(
      stderr,
      /read from \S+: 40.0 kB, 80 datagrams .*, 3 connections, 0 failed attempts/,
    );
  },
);

testOnEngines(
  "proxy --lines cuts TCP streams at line ends, and merges several hosts",
  async (engine) => {
    const hosts = ["a", "b"].map((name) =>
      new TestServer(async (conn) => {
        const lines = Array.from({ length: 50 }, (_, i) => `${name}${i}\n`);
        await writeAll(conn, new TextEncoder().encode(lines.join("")));
        await conn.read(new Uint8Array(1));
      })
    );
    await using stack = new AsyncDisposableStack();
    for (const host of hosts) stack.use(host);
    await using receiver = await Receiver.open();
    await using proxy = startProxy(engine, [
      ...hosts.flatMap((
        host,
      ) => ["--tcp-connect-addr", formatAddress(host.address)]),
      ...["--lines", "--udp-downstream-addr", receiver.text],
    ]);
    await receiver.atLeastBytes(2 * (10 * 3 + 40 * 4));
    assert(receiver.texts.every((text) => text.endsWith("\n")));
    for (const name of ["a", "b"]) {
      assertEquals(
        receiver.texts.join("").split("\n").filter((line) =>
          line.startsWith(name)
        ).sort(),
        Array.from({ length: 50 }, (_, i) => `${name}${i}`).sort(),
      );
    }
    assertEquals((await proxy.stop()).code, 0);
  },
);

testOnEngines(
  "proxy --lines drops the half line of a TCP host that went away, and counts it",
  async (engine) => {
    let connections = 0;
    await using host = new TestServer(async (conn) => {
      const text = ++connections === 1 ? "one\nhal" : "two\n";
      await writeAll(conn, new TextEncoder().encode(text));
      if (connections > 1) await conn.read(new Uint8Array(1));
    });
    await using receiver = await Receiver.open();
    await using proxy = startProxy(engine, [
      ...["--tcp-connect-addr", formatAddress(host.address), "--lines"],
      ...["--udp-downstream-addr", receiver.text],
    ]);
    await receiver.atLeast(2);
    assertEquals(receiver.texts, ["one\n", "two\n"]);
    const { stderr } = await proxy.stop();
    assertMatch(stderr, /read from .*, 1 unfinished line or record dropped/);
  },
);

testOnEngines(
  "proxy --idle-timeout connects again to a TCP host that has fallen silent",
  async (engine) => {
    let connections = 0;
    await using host = new TestServer(async (conn) => {
      await writeAll(conn, new TextEncoder().encode(`${++connections}\n`));
      await conn.read(new Uint8Array(1));
    });
    await using receiver = await Receiver.open();
    await using proxy = startProxy(engine, [
      ...["--tcp-connect-addr", formatAddress(host.address)],
      ...["--idle-timeout=0.2", "--udp-downstream-addr", receiver.text],
      "--metrics-addr=127.0.0.1:0",
    ]);
    const [, url] = await proxy.line(/ url=(\S+)/);
    await receiver.atLeast(1);
    const metrics = await (await fetch(url!)).text();
    assertMatch(metrics, /^mproxy_tcp_source_last_received_seconds\{.*\} 0$/m);
    await proxy.line(/not connected, .* reason="idle timeout"/);
    await receiver.atLeast(2);
    assertEquals(receiver.texts.slice(0, 2), ["1\n", "2\n"]);
    assertEquals((await proxy.stop()).code, 0);
  },
);

Deno.test("proxy refuses options of streams without one, addresses given twice and 0.0.0.0 as a destination", async () => {
  const listen = "--udp-listen-addr=127.0.0.1:0";
  const to = "--udp-downstream-addr=127.0.0.1:9";
  const cases: [string[], RegExp][] = [
    [[listen, to, "--lines"], /cannot use --lines .* requires --tcp-connect/],
    [[listen, to, "--datagram-size=100"], /cannot use --datagram-size /],
    [[listen, to, to], /cannot send to "127\.0\.0\.1:9" twice/],
    [
      [to, ...["", ""].map(() => "--udp-listen-addr=127.0.0.1:39999")],
      /cannot listen on "127\.0\.0\.1:39999" twice/,
    ],
    [
      [listen, "--udp-downstream-addr=0.0.0.0:9"],
      /cannot send to "0\.0\.0\.0:9": .* use 127\.0\.0\.1:9/,
    ],
    // Never plain text where TLS was asked for.
    [
      [
        "--tcp-connect-addr=127.0.0.1:9",
        "--tls-ca=missing.pem",
        "--udp-downstream-addr=127.0.0.1:8",
      ],
      /cannot use --tls-ca: no --tcp-connect-addr speaks TLS; add --tls/,
    ],
    [
      [listen, "--udp-downstream-addr=127.0.0.1:9", "--tls"],
      /cannot use --tls without --tcp-connect-addr/,
    ],
  ];
  for (const [args, line] of cases) await assertWrongUsage("proxy", args, line);
});

testOnEngines(
  "proxy waits for a TCP host that is not there yet, and forwards UDP meanwhile",
  async (engine) => {
    const address = refusingAddress();
    await using receiver = await Receiver.open();
    await using proxy = startProxy(engine, [
      ...["--tcp-connect-addr", formatAddress(address)],
      ...["--udp-listen-addr", "127.0.0.1:0"],
      ...["--udp-downstream-addr", receiver.text],
    ]);
    await using sender = await Sender.open(await listening(proxy));
    await proxy.line(/not connected, trying again .*refused/);
    await sender.send("udp");
    await receiver.atLeast(1);
    using listener = Deno.listen({ ...address });
    using conn = await listener.accept();
    await writeAll(conn, new TextEncoder().encode("tcp"));
    await receiver.atLeast(2);
    assertEquals(receiver.texts, ["udp", "tcp"]);
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    assertMatch(stderr, /1 connection, [1-9]\d* failed attempts?/);
  },
);

testOnEngines(
  "proxy ends at once although a TCP host says nothing or cannot be reached",
  async (engine) => {
    await using silent = new TestServer(async (conn) => {
      await conn.read(new Uint8Array(1));
    });
    await using proxy = startProxy(engine, [
      ...["--tcp-connect-addr", formatAddress(silent.address)],
      ...["--tcp-connect-addr", formatAddress(refusingAddress())],
      ...["--udp-downstream-addr", "127.0.0.1:9", "--grace=600"],
    ]);
    await proxy.line(/ connected /);
    await proxy.line(/trying again/);
    assertEquals((await proxy.stop()).code, 0);
  },
);

testOnEngines(
  "proxy --workers spreads senders over threads, or is refused by name",
  async (engine) => {
    await using receiver = await Receiver.open();
    await using proxy = startProxy(engine, [
      ...[
        "--udp-listen-addr",
        "127.0.0.1:0",
        "--workers=2",
        "--metrics-addr=0",
      ],
      ...["--udp-downstream-addr", receiver.text],
    ]);
    if (engine === "portable") {
      const { code, stderr } = await proxy.end;
      assertEquals([code, stderr.split("\n").length], [2, 1], stderr);
      assertStringIncludes(stderr, "The portable engine cannot do --workers");
      return;
    }
    const addresses = (await proxy.lines(/ listening address=(\S+)/, 2)).map((
      [, address],
    ) => address!);
    assertEquals(addresses[0], addresses[1]);
    for (let i = 0; i < 10; i++) {
      await using sender = await Sender.open(addresses[0]!);
      await sender.send(`${i}`);
      await receiver.atLeast(i + 1);
    }
    assertEquals(receiver.texts.sort(), [..."0123456789"]);
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    const counts = [...stderr.matchAll(/^received on .* (\d+) datagrams? /gm)]
      .map(([, count]) => Number(count));
    assertEquals(counts.length, 2);
    assertEquals(counts[0]! + counts[1]!, 10);
  },
);

testOnEngines(
  "proxy --workers works beside --tee, or is refused by name",
  async (engine) => {
    await using proxy = startProxy(engine, [
      ...["--udp-listen-addr", "127.0.0.1:0", "--workers=2", "--tee"],
    ]);
    if (engine === "portable") {
      assertEquals((await proxy.end).code, 2);
      return;
    }
    for (let i = 0; i < 10; i++) {
      await using sender = await Sender.open(await listening(proxy));
      await sender.send(`${i}`);
      await proxy.stdoutBytes(i + 1);
    }
    const { code, stdout } = await proxy.stop();
    assertEquals(code, 0);
    assertEquals(new TextDecoder().decode(stdout), "0123456789");
  },
);

testOnEngines(
  "proxy --rcvbuf is granted, or told as less, or refused by name",
  async (engine) => {
    await using proxy = startProxy(engine, [
      ...["--udp-listen-addr", "127.0.0.1:0", "--rcvbuf=2G", "--tee"],
    ]);
    if (engine === "portable") {
      const { code, stderr } = await proxy.end;
      assertEquals([code, stderr.split("\n").length], [2, 1], stderr);
      assertStringIncludes(stderr, "The portable engine cannot do --rcvbuf");
      return;
    }
    await listening(proxy);
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0);
    // No system grants 2 GB: twice that is more than its counter holds.
    assertMatch(
      stderr,
      /The receive queue has \d+ bytes and not the 2000000000/,
    );
  },
);

testOnEngines(
  "proxy hears only the source of SOURCE@GROUP, or refuses it by name",
  async (engine) => {
    const group = ownGroup().replace("239.255", "232.255");
    await using receiver = await Receiver.open();
    await using proxy = startProxy(engine, [
      ...["--udp-listen-addr", `127.0.0.1@${group}:0`, "--interface=lo"],
      ...["--udp-downstream-addr", receiver.text],
    ]);
    if (engine === "portable") {
      const { code, stderr } = await proxy.end;
      assertEquals([code, stderr.split("\n").length], [2, 1], stderr);
      assertStringIncludes(stderr, "a source before @");
      return;
    }
    const port = (await listening(proxy)).split(":").at(-1);
    await using right = await Sender.open(`${group}:${port}`, {
      networkInterface: "lo",
    });
    await right.send("from the source");
    await receiver.atLeast(1);
    assertEquals((await proxy.stop()).code, 0);
  },
  needsLinux(),
);
