/** The tunnel as users run it: flags, files, signals, and real programs through it. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  type Address,
  formatAddress,
  parseAddress,
} from "../../net/address.ts";
import { CertificateAuthority } from "../support/certificate_authority.ts";
import {
  type ProcessEnd,
  startPeer,
  startRole,
  type TestProcess,
} from "../support/process.ts";
import { STREAM_ENGINE } from "../support/engines.ts";
import { needsLinux, needsProgram, testUnless } from "../support/skip.ts";
import {
  connectTo,
  echoServer,
  howItEnds,
  readExactly,
  readToEnd,
  refusingAddress,
  writeAll,
} from "../support/tcp.ts";

/** Starts a tunnel on the engine that this run of the tests is for. */
function startTunnel(args: readonly string[]): TestProcess {
  return startRole("tunnel", [
    ...args,
    ...STREAM_ENGINE === "auto" ? [] : [`--engine=${STREAM_ENGINE}`],
  ]);
}

const ANY = "127.0.0.1:0";
const PING = new TextEncoder().encode("ping");
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A tunnel of `JSON STATUS`. */
interface ShownTunnel {
  tunnel: string;
  remotes: { remote: string; opened: number }[];
}

function free(): string {
  return formatAddress(refusingAddress());
}

/** The address that a line of the log names. */
async function named(
  process: TestProcess,
  pattern: RegExp,
): Promise<Address> {
  const [, address] = await process.line(pattern);
  return parseAddress(address!);
}

const LISTENING = /info listening address=(\S+)/;
const CONTROL = /control door is open address=(\S+)/;
const RPC = /JSON-RPC door is open address=(\S+)/;
const PROMETHEUS = /prometheus door is open address=(\S+)/;

/** Sends control lines and reads all replies. */
async function talk(door: Address, text: string): Promise<string> {
  using conn = await connectTo(door);
  await writeAll(conn, encoder.encode(text));
  await conn.closeWrite();
  return decoder.decode(await readToEnd(conn));
}

/** Calls a method by JSON-RPC. */
async function post(
  door: Address,
  method: string,
  params: unknown[] = [],
): Promise<unknown> {
  const response = await fetch(`http://${formatAddress(door)}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
  });
  return (await response.json()).result;
}

async function echoes(conn: Deno.Conn): Promise<void> {
  await writeAll(conn, PING);
  assertEquals(await readExactly(conn, PING.length), PING);
}

async function ping(address: Address): Promise<void> {
  using conn = await connectTo(address);
  await echoes(conn);
}

/** Runs to the end, without a tunnel that stays. */
function run(...args: string[]): Promise<ProcessEnd> {
  return startTunnel(args).end;
}

Deno.test("tunnel takes every flag of its original, long and short", async () => {
  await using echo = echoServer();
  await using tunnel = startTunnel([
    "-c",
    ANY,
    "-r",
    ANY,
    `--prometheus-socket=${ANY}`,
    "--copy-buffer-size",
    "8192",
    "--remote-timeout=2.5",
    "--remote_retries",
    "5",
    "--remote-errors",
    "2",
    "--remote-dead-check-interval",
    "0.5",
    `0=${formatAddress(echo.address)}`,
  ]);
  await ping(await named(tunnel, LISTENING));
  const control = await named(tunnel, CONTROL);
  const rpc = await named(tunnel, RPC);
  const prometheus = await named(tunnel, PROMETHEUS);
  const [, label] = /\t(\S+) =/.exec(await talk(control, "status full\n"))!;
  assertMatch(
    await talk(control, `detail ${label}\n`),
    /^OK: Remotes: 1, Dead Remotes: 0, Options: strategy=random,retries=5,timeout=2\.5, errors=2,check-interval=0\.5,remote-tls=false,.*\n\t.* total conns 1, bytes sent 4, received 4, /,
  );
  // deno-lint-ignore no-explicit-any -- as the original shows it
  const info = await post(rpc, "tunnelInfo", [label]) as any;
  assertEquals(info.options.options.dead_retry, 0.5);
  const metrics = await fetch(`http://${formatAddress(prometheus)}/metrics`);
  assertMatch(
    await metrics.text(),
    /mproxy_tunnel_bytes_total\{tunnel="[^"]+",direction="upstream"\} 4/,
  );
  const missing = await fetch(`http://${formatAddress(prometheus)}/`);
  assertEquals(missing.status, 404);
  await missing.body?.cancel();
  const end = await tunnel.stop();
  assertEquals(end.code, 0);
  assertMatch(end.stderr, /^clients {4}1 \(0 let go/m);
});

Deno.test("tunnel --help-tunnel shows the grammar with every option, --help every flag", async () => {
  const { code, stdout } = await run("--help-tunnel");
  assertEquals(code, 0);
  const text = decoder.decode(stdout);
  for (
    const option of [
      "strategy=random|round-robin|minimum-open-connections",
      "half-close-timeout=SECONDS",
      "local=remote",
    ]
  ) {
    assert(text.includes(option), text);
  }
  assert(!text.includes("\\"), text);
  const help = decoder.decode((await run("--help")).stdout);
  assert(!help.includes("\\"), help);
  for (
    const flag of [
      "-c, --control-socket",
      "-r, --rpc-socket",
      "--ca-bundle",
      "--check-config",
      "--state",
      "--access-log",
    ]
  ) {
    assert(help.includes(flag), help);
  }
});

Deno.test("tunnel says what is wrong with its arguments, in one line, before it binds", async () => {
  for (
    const [args, message] of [
      [
        ["3000=bad-:1"],
        /column 9: a label of a host name does not end with "-"$/,
      ],
      [["3000"], /column 5: expected "=" and a remote$/],
      [
        ["3000=1[timeout=-1]"],
        /column 16: "-1" is not a number of seconds from 0\.001 /,
      ],
      [
        ["--remote-timeout=NaN", "3000=1"],
        /--remote-timeout: "NaN" is not a number of seconds/,
      ],
      [
        ["--remote-retries=-1", "3000=1"],
        /--remote-retries: "-1" is not a whole number up to 65535/,
      ],
      [["-c", "0.0.0.0:0"], /--control-token-file or use a loopback address$/],
      [
        ["-c", ANY, "--control-token-file", "/nowhere"],
        /--control-token-file: Cannot read "\/nowhere"/,
      ],
      [
        [],
        /No tunnel and no way to open one: .* or --control-socket or --rpc-socket$/,
      ],
      [
        ["3000=1", "127.0.0.1:3000=2"],
        /Cannot use "127\.0\.0\.1:3000=2" as a tunnel: "3000=1" is on 127\.0\.0\.1:3000 too$/,
      ],
      [
        ["3000=1[tls-cert=/x]"],
        /Cannot use "3000=1\[tls-cert=\/x\]" as a tunnel: tls-cert requires tls-key$/,
      ],
      [["--check-config"], /--check-config wants --config FILE too$/],
      [["--weights", "1"], /Unknown option --weights/],
      [["31801:31802"], /column 6: expected "=" .*, such as 31801=31802$/],
      [["*:31801=1"], /column 1: "\*" is not an address; use 0\.0\.0\.0 or/],
      [[":8080=1"], /column 1: missing host before ":"; use 8080 for 127/],
      [
        ["--listen", "3000", "--target", "4000"],
        /LISTEN=REMOTE, such as 3000=4000/,
      ],
      [["--target=4000"], /--target: .*LISTEN=REMOTE, such as 3000=4000/],
    ] as [string[], RegExp][]
  ) {
    const { code, stderr } = await run(...args);
    assertEquals(code, 2, stderr);
    assertMatch(stderr, message);
    assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
  }
});

Deno.test("tunnel fails where a door cannot be opened, but goes on without a tunnel that cannot", async () => {
  await using taken = echoServer();
  const busy = formatAddress(taken.address);
  const { code, stderr } = await run("-c", busy, "0=1");
  assertEquals(code, 1, stderr);
  assertMatch(
    stderr,
    /Cannot listen on .*Address already in use; stop the program/,
  );
  await using tunnel = startTunnel([
    `${busy}=1`,
    "0=1",
    "--metrics-addr",
    ANY,
  ]);
  await tunnel.line(/error Cannot listen on .* tunnel=/);
  const [, url] = await tunnel.line(/metrics door is open url=(\S+)\/metrics/);
  const ready = await fetch(`${url}/readyz`);
  assertEquals([ready.status, await ready.text()], [
    503,
    `not open: ${busy}\n`,
  ]);
});

testUnless(
  needsProgram("ncat"),
  "tunnel answers ncat as the original's README shows",
  async () => {
    const [one, two] = [free(), free()];
    await using tunnel = startTunnel([
      "-c",
      ANY,
      `${one}=3333`,
      `${two}=3333`,
    ]);
    const { hostname, port } = await named(tunnel, CONTROL);
    await using ncat = startPeer("ncat", [hostname, String(port)], {
      stdin: true,
    });
    const stdin = ncat.stdin.getWriter();
    const none =
      "open conns 0, total conns 0, bytes sent 0, received 0, total errors 0";
    let shown = "";
    for (
      const [command, reply] of [
        ["status", "OK: Tunnels: 2\n"],
        [
          "status full",
          `OK: Tunnels: 2\n\t${one} = ${none}\n\t${two} = ${none}\n`,
        ],
        [`close ${two}`, "OK\n"],
        ["status", "OK: Tunnels: 1\n"],
        [`open ${two}=127.0.0.1:3333`, "OK\n"],
        [
          "status full",
          `OK: Tunnels: 2\n\t${one} = ${none}\n\t${two} = ${none}\n`,
        ],
      ]
    ) {
      await stdin.write(encoder.encode(`${command}\n`));
      shown += reply;
      assertEquals(decoder.decode(await ncat.stdoutBytes(shown.length)), shown);
    }
    await stdin.write(encoder.encode("help\nexit\n"));
    await stdin.close();
    const help =
      "OK: commands\n\tOPEN tunnel\n\tCLOSE tunnel [now|drain [SECONDS]]\n\tADD tunnel remote\n" +
      "\tREMOVE tunnel remote [now|drain [SECONDS]]\n\tSTATUS [full|long]\n\tDETAIL tunnel\n\tEXIT\n\tHELP\n";
    const { code, stdout } = await ncat.end;
    assertEquals(code, 0);
    assert(decoder.decode(stdout).startsWith(shown + help));
  },
);

Deno.test("tunnel drains on SIGTERM, and QUIT ends it in the asked mode", async () => {
  await using echo = echoServer();
  for (const ending of ["SIGTERM", "quit", "quit now", "quit drain 0.05"]) {
    await using tunnel = startTunnel([
      "-c",
      ANY,
      `0=${formatAddress(echo.address)}`,
    ]);
    const address = await named(tunnel, LISTENING);
    const control = await named(tunnel, CONTROL);
    const conn = await connectTo(address);
    await echoes(conn);
    if (ending === "SIGTERM") {
      tunnel.signal("SIGTERM");
      await tunnel.line(/draining/);
    } else assertEquals(await talk(control, `${ending}\n`), "OK\n");
    if (ending === "SIGTERM" || ending === "quit") {
      await echoes(conn);
      conn.close();
    } else {
      await howItEnds(conn);
      conn.close();
    }
    const { code, stderr } = await tunnel.end;
    assertEquals(code, 0, stderr);
  }
});

// ---- configuration

const CONFIG = `control-socket = "127.0.0.1:0"
remote-timeout = 2.5
tunnels = ["0=127.0.0.1:1"]

[[tunnel]]
local = "[::1]:0"
remotes = ["127.0.0.1:1", 2]
strategy = "round-robin"
idle-timeout = 30
`;

async function withFolder(
  test: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("tunnel --config opens the tunnels of a file, the command line wins over its options", async () => {
  await withFolder(async (folder) => {
    const file = `${folder}/tunnels.toml`;
    await Deno.writeTextFile(file, CONFIG);
    await using tunnel = startTunnel([
      "--config",
      file,
      "--remote-timeout",
      "4",
    ]);
    const control = await named(tunnel, CONTROL);
    const status = JSON.parse(await talk(control, "JSON STATUS\n"));
    const [first, second] = status.result.tunnels;
    assertEquals(first.options.timeout, 4);
    assertEquals(second.remotes.length, 2);
    assertEquals([second.options.strategy, second.options["idle-timeout"]], [
      "round-robin",
      30,
    ]);
    const check = await run("--config", file, "--check-config");
    assertEquals([check.code, decoder.decode(check.stdout)], [
      0,
      `${file}: ok\n`,
    ]);
  });
});

Deno.test("tunnel --check-config tells every error with its line and column", async () => {
  await withFolder(async (folder) => {
    const file = `${folder}/bad.toml`;
    await Deno.writeTextFile(
      file,
      `remote-timeout = -1
remote-retrys = 3
control-socket = ["127.0.0.1:1", "127.0.0.1:2"]
log-level = "loud"
tunnels = ["3000=4000,x", 5, "3001=1[timeout=0]"]
[[tunnel]]
local = "3002"
remotes = ["127.0.0.1", "a:1", "A:1"]
strategy = "best"
weight = 3
[[tunnel]]
remotes = []
[[tunnel]]
local = 3003
remotes = [1]
tls-cert = "/nowhere/c"
tls-key = "/nowhere/k"
[[tunnel]]
local = "127.0.0.1:3003"
remotes = 1
[[tunnel]]
local = 3004
remotes = [2]
remote-ca = "x"
[[tunnel]]
local = 3005
remotes = [2]
remote-tls = true
remote_tls = false
`,
    );
    const { code, stdout, stderr } = await run(
      "--config",
      file,
      "--check-config",
    );
    assertEquals([code, stdout.length], [2, 0]);
    const found = stderr.trimEnd().split("\n").map((line) =>
      line.replace(`${file}:`, "")
    );
    const wanted = [
      /^1:18: "remote-timeout": "-1" is not a number of seconds/,
      /^2:1: the key "remote-retrys" is unknown/,
      /^3:1: "control-socket" takes one value/,
      /^4:13: "log-level": "loud" is none of/,
      /^5:24: expected a port/,
      /^5:27: .*column 2: expected "=" and a remote|^5:29: expected "=" and a remote/,
      /^5:46: "0" is not a number of seconds/,
      /^8:22: expected a port/,
      /^8:32: duplicate remote a:1/,
      /^9:12: unknown strategy "best"/,
      /^10:1: the key "weight" is unknown/,
      /^11:3: "local" is missing/,
      /^12:11: at least one remote is wanted/,
      /^13:3: Cannot read "\/nowhere\/[ck]"/,
      /^18:3: there is a tunnel on 127\.0\.0\.1:3003 in line 13/,
      /^21:3: remote-ca requires remote-tls=true/,
      /^29:1: duplicate option "remote_tls"/,
    ];
    assertEquals(found.length, wanted.length, stderr);
    for (const [i, pattern] of wanted.entries()) {
      assertMatch(found[i]!, pattern);
    }
    // Without the flag the first is enough.
    const start = await run("--config", file);
    assertEquals(start.code, 2);
    assertMatch(
      start.stderr,
      /bad\.toml:1:18": .* \(and \d+ more; --check-config shows all\)$/,
    );
    await Deno.writeTextFile(file, "a = 1\na = 2\n");
    assertMatch(
      (await run("--config", file, "--check-config")).stderr,
      /bad\.toml:2:1": /,
    );
  });
});

Deno.test("tunnel reloads on SIGHUP: what did not change keeps its connections", async () => {
  await withFolder(async (folder) => {
    await using echo = echoServer();
    await using other = echoServer();
    const [kept, dropped] = [free(), free()];
    const file = `${folder}/tunnels.toml`;
    const remote = formatAddress(echo.address);
    await Deno.writeTextFile(
      file,
      `tunnels = ["${kept}=${remote}", "${dropped}=${remote}"]\n`,
    );
    await using tunnel = startTunnel([
      "-c",
      ANY,
      "--config",
      file,
      "--grace",
      "1",
    ]);
    const control = await named(tunnel, CONTROL);
    const conns = await Promise.all(
      [kept, dropped].flatMap((label) =>
        Array.from({ length: 100 }, () => connectTo(parseAddress(label)))
      ),
    );
    await Promise.all(conns.map(echoes));

    const added = free();
    await Deno.writeTextFile(
      file,
      `tunnels = ["${kept}=${remote}", "${added}=${
        formatAddress(other.address)
      }"]\n`,
    );
    tunnel.signal("SIGHUP");
    await tunnel.line(
      /info reloaded opened=1 closed=1 changed=0 unchanged=1 failed=0/,
    );
    await Promise.all(conns.map(echoes));
    await ping(parseAddress(added));
    assertEquals(other.accepted, 1);

    await Deno.writeTextFile(file, `tunnels = ["${kept}=x"]\n`);
    tunnel.signal("SIGHUP");
    await tunnel.line(
      /error Cannot reload: Cannot use .*tunnels\.toml:1:\d+": /,
    );
    assertMatch(await talk(control, "reload\n"), /^SORRY: .*tunnels\.toml:1:/);
    await Promise.all(conns.map(echoes));
    for (const conn of conns) conn.close();
  });
});

Deno.test("tunnel --state keeps what was changed over a restart", async () => {
  await withFolder(async (folder) => {
    await using echo = echoServer();
    const remote = formatAddress(echo.address);
    const [configured, closed, opened] = [free(), free(), free()];
    const args = [
      "-c",
      ANY,
      "--state",
      `${folder}/state.json`,
      `${configured}=1`,
      `${closed}=1`,
    ];
    {
      await using tunnel = startTunnel(args);
      const control = await named(tunnel, CONTROL);
      const script =
        `open ${opened}=${remote}[retries=7]\nclose ${closed}\nadd ${configured} ${remote}\nremove ${configured} 1\n`;
      assertEquals(await talk(control, script), "OK\nOK\nOK\nOK\n");
      // Not even a clean end is needed.
      tunnel.signal("SIGKILL");
      await tunnel.end;
    }
    await using again = startTunnel(args);
    const control = await named(again, CONTROL);
    const { result } = JSON.parse(await talk(control, "json status\n"));
    const shown = result.tunnels.map((
      one: ShownTunnel,
    ) => [one.tunnel, one.remotes.map(({ remote }) => remote)]);
    assertEquals(shown, [[configured, [remote]], [opened, [remote]]]);
    assertEquals(result.tunnels[1].options.retries, 7);
    await ping(parseAddress(configured));
    await ping(parseAddress(opened));
  });
});

testUnless(
  needsLinux(),
  "tunnel killed while it writes its state leaves the old or the new one, whole",
  async () => {
    await withFolder(async (folder) => {
      const state = `${folder}/state.json`;
      const local = free();
      const port = (round: number, i: number) => 1000 + 60 * round + i;
      let before = 0;
      for (let round = 0; round < 5; round++) {
        await using tunnel = startTunnel([
          "-c",
          ANY,
          "--state",
          state,
          `${local}=1`,
        ]);
        const control = await named(tunnel, CONTROL);
        using conn = await connectTo(control);
        // The kill comes in the middle of what follows so many replies.
        const enough = 3 * (10 + 7 * round);
        const replies = (async () => {
          const buffer = new Uint8Array(4096);
          let bytes = 0;
          try {
            for (let read; (read = await conn.read(buffer)) !== null;) {
              bytes += read;
              if (bytes > enough) tunnel.signal("SIGKILL");
            }
          } catch {
            // The kill resets the connection.
          }
          return Math.floor(bytes / "OK\n".length);
        })();
        const script = Array.from(
          { length: 60 },
          (_, i) => `add ${local} ${port(round, i)}\n`,
        );
        await writeAll(conn, encoder.encode(script.join(""))).catch(() => {});
        const confirmed = await replies;
        await tunnel.end;
        const { remotes } = JSON.parse(await Deno.readTextFile(state));
        const { added } = Object.values(remotes)[0] as { added: string[] };
        // All that was confirmed is saved, in order, and at most what came next.
        const saved = added.length - before;
        assert(saved >= confirmed, `${saved} of ${confirmed}`);
        assertEquals(
          added.slice(before),
          Array.from(
            { length: saved },
            (_, i) => `127.0.0.1:${port(round, i)}`,
          ),
        );
        before = added.length;
      }
      const files = [...Deno.readDirSync(folder)].map(({ name }) => name)
        .filter((name) => !/^state\.json\..*\.tmp$/.test(name));
      assertEquals(files, ["state.json"]);
    });
  },
);

// ---- metrics and access log

testUnless(
  needsProgram("promtool"),
  "tunnel's metrics are accepted by promtool, under both names",
  async () => {
    await using echo = echoServer();
    await using tunnel = startTunnel([
      "--prometheus-socket",
      ANY,
      "--metrics-compat",
      "plexy",
      `0=${formatAddress(echo.address)},${free()}[strategy=round-robin]`,
    ]);
    const address = await named(tunnel, LISTENING);
    for (let i = 0; i < 3; i++) await ping(address);
    const text = await (await fetch(
      `http://${formatAddress(await named(tunnel, PROMETHEUS))}/metrics`,
    )).text();
    const promtool = new Deno.Command("promtool", {
      args: ["check", "metrics"],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const stdin = promtool.stdin.getWriter();
    await stdin.write(encoder.encode(text));
    await stdin.close();
    const { code, stdout, stderr } = await promtool.output();
    const said = decoder.decode(stdout) + decoder.decode(stderr);
    // Lint of the original's own names is not ours to mend; an error would be.
    assert(code === 0 || code === 3, said);
    assertEquals(
      said.split("\n").filter((line) => line.startsWith("mproxy_")),
      [],
    );
    assertMatch(text, /^mproxy_tunnel_remote_up\{.*\} 0$/m);
    assertMatch(
      text,
      /^mproxy_tunnel_remote_connect_errors_total\{.*reason="refused"\} 1$/m,
    );
    for (
      const name of [
        "number_of_tunnels 1",
        "tunnel_bytes_received_total{",
        "tunnel_errors_total{tunnel=",
        "remote_streams_pending{",
        "retote_total_error_total{",
      ]
    ) assert(text.includes(`\n${name}`), name);
  },
);

Deno.test("tunnel --access-log - writes lines to stdout and nothing else", async () => {
  await using echo = echoServer();
  await using tunnel = startTunnel([
    "--access-log",
    "-",
    "--access-log-format=json",
    `0=${formatAddress(echo.address)}`,
  ]);
  await ping(await named(tunnel, LISTENING));
  const { stdout } = await tunnel.stop();
  const entry = JSON.parse(decoder.decode(stdout));
  assertEquals([entry.bytesUpstream, entry.remote], [
    4,
    formatAddress(echo.address),
  ]);
});

// ---- real programs

/** Waits until a program listens. */
async function serving(address: Address): Promise<void> {
  for (;;) {
    try {
      (await connectTo(address)).close();
      return;
    } catch {
      // Not yet: the program binds when it is ready.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** Runs a program to its end; gives what it has said. */
async function program(name: string, args: string[]): Promise<string> {
  const { code, stdout, stderr } = await startPeer(name, args).end;
  const said = decoder.decode(stdout);
  assertEquals(code, 0, said + stderr);
  return said;
}

async function tunnelTo(...remotes: Address[]) {
  const tunnel = startTunnel([
    "-c",
    ANY,
    `0=${remotes.map(formatAddress).join(",")}[strategy=round-robin]`,
  ]);
  return {
    tunnel,
    address: await named(tunnel, LISTENING),
    control: await named(tunnel, CONTROL),
  };
}

testUnless(
  needsLinux() ?? needsProgram("bash"),
  "tunnel's doors wait where descriptors are wanting, and answer again",
  async () => {
    await using echo = echoServer();
    const script =
      `ulimit -n 96; exec "$0" run -A cli/tunnel/main.ts -c ${ANY} -r ${ANY} --prometheus-socket=${ANY} 0=${
        formatAddress(echo.address)
      }`;
    await using tunnel = startPeer("bash", ["-c", script, Deno.execPath()]);
    const address = await named(tunnel, LISTENING);
    const control = await named(tunnel, CONTROL);
    const rpc = await named(tunnel, RPC);
    const prometheus = await named(tunnel, PROMETHEUS);
    const clients = await Promise.allSettled(
      Array.from({ length: 100 }, () => connectTo(address)),
    );
    await tunnel.line(/cannot accept a client .*code=EMFILE/);
    // They wait in the backlogs: nobody has a descriptor for them.
    const answers = Promise.all([
      talk(control, "status\n"),
      post(rpc, "numberOfTunnels"),
      fetch(`http://${formatAddress(prometheus)}/metrics`),
    ]);
    for (const client of clients) {
      if (client.status === "fulfilled") client.value.close();
    }
    const [status, count, metrics] = await answers;
    assertEquals([status, count], ["OK: Tunnels: 1\n", 1]);
    assertMatch(await metrics.text(), /^number_of_tunnels|^mproxy_tunnel/m);
  },
);

testUnless(
  needsProgram("redis-server", "redis-benchmark"),
  "tunnel carries redis-benchmark",
  async () => {
    const remote = refusingAddress();
    await using _redis = startPeer("redis-server", [
      "--port",
      String(remote.port),
      "--bind",
      "127.0.0.1",
      "--save",
      "",
      "--appendonly",
      "no",
    ]);
    await serving(remote);
    const { tunnel, address, control } = await tunnelTo(remote);
    await using _tunnel = tunnel;
    const said = await program("redis-benchmark", [
      "-h",
      address.hostname,
      "-p",
      String(address.port),
      "-n",
      "2000",
      "-c",
      "20",
      "-q",
      "-t",
      "set,get,lrange_100",
    ]);
    assertMatch(said, /GET: [\d.]+ requests per second/);
    assertMatch(await talk(control, "status full\n"), /total errors 0\n$/);
  },
);

testUnless(
  needsProgram("nginx", "wrk"),
  "tunnel carries wrk to two nginx",
  async () => {
    await withFolder(async (folder) => {
      const remotes = [refusingAddress(), refusingAddress()];
      const servers = remotes.map(({ port }, i) => {
        const config = `${folder}/nginx${i}.conf`;
        Deno.writeTextFileSync(
          config,
          `daemon off; error_log stderr; pid ${folder}/nginx${i}.pid; events { worker_connections 1024; }
http { access_log off; client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder};
uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
server { listen 127.0.0.1:${port}; location / { return 200 "nginx ${i}"; } } }`,
        );
        return startPeer("nginx", ["-e", "stderr", "-c", config]);
      });
      try {
        await Promise.all(remotes.map(serving));
        const { tunnel, address, control } = await tunnelTo(...remotes);
        await using _tunnel = tunnel;
        const said = await program("wrk", [
          "-t1",
          "-c20",
          "-d1s",
          `http://${formatAddress(address)}/`,
        ]);
        assertMatch(said, /Requests\/sec: +[1-9]/);
        assertEquals(/Socket errors|Non-2xx/.test(said), false, said);
        const { result } = JSON.parse(await talk(control, "json status\n"));
        // Round robin: both have had their share of wrk's connections.
        const opened = result.tunnels[0].remotes.map((
          remote: ShownTunnel["remotes"][number],
        ) => remote.opened);
        assert(Math.abs(opened[0] - opened[1]) <= 1, `${opened}`);
      } finally {
        for (const server of servers) await server.stop();
      }
    });
  },
);

testUnless(
  needsProgram("iperf3"),
  "tunnel carries iperf3 in both directions",
  async () => {
    for (const direction of [[], ["-R"]]) {
      const remote = refusingAddress();
      await using server = startPeer("iperf3", [
        "-s",
        "-1",
        "-B",
        "127.0.0.1",
        "-p",
        String(remote.port),
        "--forceflush",
      ]);
      // Its banner: a connect to see whether it is there would be its one test.
      await server.stdoutBytes("Server listening on".length);
      const { tunnel, address } = await tunnelTo(remote);
      await using _tunnel = tunnel;
      const said = await program("iperf3", [
        "-c",
        address.hostname,
        "-p",
        String(address.port),
        "-n",
        "50M",
        "-P",
        "2",
        "-J",
        ...direction,
      ]);
      const { end } = JSON.parse(said);
      // What has arrived when the sender says stop is less than what was sent.
      assert(end.sum_sent.bytes > 0 && end.sum_received.bytes > 0, said);
      assertEquals(end.streams.length, 2);
    }
  },
);

testUnless(
  needsProgram("openssl"),
  "tunnel terminates TLS 1.2 and 1.3 for openssl s_client, with the certificate of the moment",
  async () => {
    await withFolder(async (folder) => {
      await using authority = await CertificateAuthority.create();
      await renew(folder, authority, "first.test");
      await using echo = echoServer();
      const options = `tls-cert=${folder}/cert.pem,tls-key=${folder}/key.pem`;
      await using tunnel = startTunnel([
        `0=${formatAddress(echo.address)}[${options}]`,
      ]);
      const address = await named(tunnel, LISTENING);
      const greet = async (...args: string[]) => {
        await using client = startPeer("openssl", [
          "s_client",
          "-connect",
          formatAddress(address),
          "-CAfile",
          authority.cert,
          ...args,
        ], { stdin: true });
        const stdin = client.stdin.getWriter();
        // A handshake that is refused may have ended the client already.
        await stdin.write(encoder.encode("ping\n")).then(() => stdin.close())
          .catch(() => {});
        const { stdout, stderr } = await client.end;
        return decoder.decode(stdout) + stderr;
      };
      for (
        const [flag, version] of [["-tls1_2", "TLSv1.2"], [
          "-tls1_3",
          "TLSv1.3",
        ]]
      ) {
        const said = await greet(
          flag!,
          "-servername",
          "first.test",
          "-verify_hostname",
          "first.test",
          "-verify_return_error",
        );
        assert(said.includes(version!), said);
        assertMatch(said, /Verif(y return code|ication): (0 \(ok\)|OK)/);
        assertMatch(said, /subject=CN ?= ?first\.test/);
      }
      assert(!/New, TLSv1\.1/.test(await greet("-tls1_1")));
      assertMatch(
        await greet("-verify_hostname", "other.test", "-verify_return_error"),
        /[Hh]ostname mismatch/,
      );
      await renew(folder, authority, "second.test");
      await tunnel.line(/certificates read again/);
      assertMatch(await greet(), /subject=CN ?= ?second\.test/);
    });
  },
);

/** Puts a certificate for a name in place of the last one, as an ACME client does. */
async function renew(
  folder: string,
  authority: CertificateAuthority,
  name: string,
): Promise<void> {
  const { cert, key } = await authority.sign(`DNS:${name}`);
  await Deno.rename(cert, `${folder}/cert.pem`);
  await Deno.rename(key, `${folder}/key.pem`);
}

testUnless(
  needsProgram("openssl"),
  "tunnel --ca-bundle trusts its roots for remote-tls, and only for the right name",
  async () => {
    const vectors = new URL("../vectors/tls/", import.meta.url).pathname;
    const remote = refusingAddress();
    await using _server = startPeer("openssl", [
      "s_server",
      "-accept",
      formatAddress(remote),
      "-cert",
      `${vectors}localhost.pem`,
      "-key",
      `${vectors}localhost.key`,
      "-www",
    ]);
    await serving(remote);
    await using tunnel = startTunnel([
      "--ca-bundle",
      `${vectors}ca.pem`,
      "-c",
      ANY,
      `0=localhost:${remote.port}[remote-tls=true]`,
    ]);
    const address = await named(tunnel, LISTENING);
    using conn = await connectTo(address);
    await writeAll(conn, encoder.encode("GET / HTTP/1.0\r\n\r\n"));
    assertMatch(decoder.decode(await readToEnd(conn)), /^HTTP\/1\.0 200 ok/);
  },
);
