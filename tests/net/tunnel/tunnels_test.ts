import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import fc from "fast-check";
import {
  type Address,
  formatAddress,
  parseAddress,
} from "../../../net/address.ts";
import { OperationError, UsageError } from "../../../net/errors.ts";
import { AccessLog } from "../../../net/tunnel/access_log.ts";
import {
  DEFAULT_TUNNEL_OPTIONS,
  parseSocket,
  parseTunnel,
  SpecError,
} from "../../../net/tunnel/spec.ts";
import { type Tunnel, TunnelError } from "../../../net/tunnel/tunnel.ts";
import { Tunnels, type TunnelsOptions } from "../../../net/tunnel/tunnels.ts";
import { STREAM_ENGINE } from "../../support/engines.ts";
import { LogWatch } from "../../support/log_watch.ts";
import { needsLinux, needsProgram, testUnless } from "../../support/skip.ts";
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
  resettingServer,
  TestServer,
  writeAll,
} from "../../support/tcp.ts";

const PING = new TextEncoder().encode("ping");

async function start(
  watch: LogWatch,
  tunnels: string[],
  options: TunnelsOptions = {},
): Promise<Tunnels> {
  return await Tunnels.start({
    tunnels,
    log: watch.log,
    engine: STREAM_ENGINE,
    ...options,
  });
}

/** `0=remote,…[options]`. */
function spec(remotes: { address: Address }[], options = ""): string {
  return `0=${remotes.map(({ address }) => formatAddress(address)).join(",")}${
    options && `[${options}]`
  }`;
}

/** Sends a ping through and reads it back. */
async function echoes(conn: Deno.Conn): Promise<void> {
  await writeAll(conn, PING);
  assertEquals(await readExactly(conn, PING.length), PING);
}

async function ping(tunnel: Tunnel): Promise<void> {
  const conn = await connectTo(tunnel.address);
  try {
    await echoes(conn);
  } finally {
    conn.close();
  }
}

function only(tunnels: Tunnels): Tunnel {
  const [tunnel, ...others] = tunnels.list();
  assertEquals(others, []);
  return tunnel!;
}

Deno.test("Tunnels reports the real port of port 0, and finds the tunnel by it", async () => {
  const watch = new LogWatch();
  await using echo = echoServer();
  await using tunnels = await start(watch, [spec([echo])]);
  const tunnel = only(tunnels);
  const [, address] = await watch.line(/listening address=(\S+)/);
  assertEquals(parseAddress(address!), tunnel.address);
  assertEquals(await tunnels.find(parseSocket(tunnel.label)), tunnel);
  await ping(tunnel);
});

Deno.test("Tunnels takes two spellings of one address for one tunnel", async () => {
  const watch = new LogWatch();
  await using tunnels = await start(watch, []);
  const tunnel = await tunnels.open("localhost:0=1");
  const { port } = tunnel.address;
  for (const local of [`127.0.0.1:${port}`, `LOCALHOST:${port}`, `${port}`]) {
    assertEquals(await tunnels.find(parseSocket(local)), tunnel);
    const error = await assertRejects(
      () => tunnels.open(`${local}=2`),
      TunnelError,
    );
    assertEquals(error.kind, "tunnel-exists");
  }
  assertEquals(tunnel.label, `localhost:${port}`);
  await tunnels.close(parseSocket(`${port}`));
  assertEquals(tunnels.list(), []);
});

Deno.test("Tunnels throws for what is not there, twice there, or cannot be read", async () => {
  const watch = new LogWatch();
  await using tunnels = await start(watch, ["0=1"]);
  const local = only(tunnels).address;
  const kind = async (change: () => Promise<unknown>) =>
    (await assertRejects(change, TunnelError)).kind;
  const other = parseSocket("9");
  assertEquals(await kind(() => tunnels.close(other)), "no-tunnel");
  assertEquals(await kind(() => tunnels.addRemote(other, other)), "no-tunnel");
  assertEquals(
    await kind(() => tunnels.addRemote(local, parseSocket("1"))),
    "remote-exists",
  );
  assertEquals(
    await kind(() => tunnels.removeRemote(local, other)),
    "no-remote",
  );
  assertEquals(await kind(() => tunnels.kill("1-1")), "no-connection");
  assertEquals(await kind(() => tunnels.kill("x")), "no-connection");
  await assertRejects(async () => await tunnels.open("x=1"), SpecError);
  await assertRejects(() => tunnels.open("0=1[tls-cert=x]"), UsageError);
  await assertRejects(
    () => tunnels.open("nowhere.invalid:0=1"),
    OperationError,
    "nowhere.invalid",
  );
  await assertRejects(() => tunnels.open("192.0.2.1:0=1"), OperationError);
});

Deno.test("Tunnels starts without a tunnel that cannot be bound, and says which", async () => {
  const watch = new LogWatch();
  await using taken = echoServer();
  const label = formatAddress(taken.address);
  await using tunnels = await start(watch, [`${label}=1`, "0=1"]);
  only(tunnels);
  assertEquals(tunnels.ready(), `not open: ${label}`);
  await watch.line(/error Cannot listen on .*Address already in use/);
});

Deno.test("Tunnels frees the port before close resolves", async () => {
  const watch = new LogWatch();
  await using hanging = hangingServer();
  await using tunnels = await start(watch, []);
  let tunnel = await tunnels.open(spec([hanging]));
  const { label } = tunnel;
  for (let i = 0; i < 20; i++) {
    const conn = await connectTo(tunnel.address);
    const mode = i % 2 === 0 ? "now" as const : "drain" as const;
    await tunnels.close(parseSocket(label), { mode });
    tunnel = await tunnels.open(`${label}=${formatAddress(hanging.address)}`);
    conn.close();
  }
});

Deno.test("Tunnels close now ends connections, drain lets them end, a deadline ends the rest", async () => {
  const watch = new LogWatch();
  await using echo = echoServer();
  await using tunnels = await start(watch, []);
  const open = async () => {
    const tunnel = await tunnels.open(spec([echo]));
    const conn = await connectTo(tunnel.address);
    await echoes(conn);
    return { tunnel, conn };
  };

  const cut = await open();
  await tunnels.close(cut.tunnel.address, { mode: "now" });
  assert(["eof", "ConnectionReset"].includes(await howItEnds(cut.conn)));
  cut.conn.close();

  const drained = await open();
  await tunnels.close(drained.tunnel.address, { mode: "drain" });
  assertEquals(tunnels.draining(), [drained.tunnel]);
  await echoes(drained.conn);
  const [connection] = await tunnels.connections(drained.tunnel.address);
  assertEquals(connection!.bytesUpstream, 8);
  drained.conn.close();
  await drained.tunnel.finished;
  assertEquals(tunnels.draining(), []);

  const late = await open();
  await tunnels.close(late.tunnel.address, { mode: "drain", deadlineMs: 50 });
  await late.tunnel.finished;
  assertEquals(late.tunnel.stats().ended.closed, 1);
  late.conn.close();
  assertEquals(tunnels.totals().accepted, 3);
});

Deno.test("Tunnels removeRemote keeps its connections, or ends them now or at a deadline", async () => {
  const watch = new LogWatch();
  await using one = echoServer();
  await using two = echoServer();
  await using tunnels = await start(watch, [spec([one])]);
  const tunnel = only(tunnels);
  for (const mode of ["drain", "now", "late"] as const) {
    const conn = await connectTo(tunnel.address);
    await echoes(conn);
    const ending = mode === "late"
      ? { mode: "drain" as const, deadlineMs: 20 }
      : { mode };
    const before = await tunnels.removeRemote(
      tunnel.address,
      one.address,
      ending,
    );
    assertEquals([before.open, before.opened], [1, 1]);
    if (mode === "drain") await echoes(conn);
    else assert(["eof", "ConnectionReset"].includes(await howItEnds(conn)));
    conn.close();
    // Added again it counts from zero, whatever its last life left.
    await tunnels.addRemote(tunnel.address, one.address);
    const id = tunnel.remotes.at(-1)!.id;
    const fresh = tunnel.stats().remotes.get(id)!;
    assertEquals([fresh.open, fresh.opened, fresh.pending], [0, 0, 0]);
  }
  await tunnels.addRemote(tunnel.address, two.address);
  assertEquals(tunnel.spec.remotes.length, 2);
});

Deno.test("Tunnels connections lists clients, kill ends one of them", async () => {
  const watch = new LogWatch();
  await using echo = echoServer();
  await using tunnels = await start(watch, [spec([echo])]);
  const tunnel = only(tunnels);
  using first = await connectTo(tunnel.address);
  using second = await connectTo(tunnel.address);
  await echoes(first);
  await echoes(second);
  const connections = await tunnels.connections(tunnel.address);
  const client = formatAddress(first.localAddr as Deno.NetAddr);
  const found = connections.find((one) => one.client === client)!;
  assertEquals(connections.length, 2);
  assertEquals(found.remote, formatAddress(echo.address));
  assertEquals([found.bytesUpstream, found.bytesDownstream], [4, 4]);
  await tunnels.kill(found.id);
  assert(["eof", "ConnectionReset"].includes(await howItEnds(first)));
  await echoes(second);
  assertEquals(tunnel.stats().ended.aborted, 1);
});

// ---- remotes that behave badly

Deno.test("Tunnels goes to the next remote when one refuses", async () => {
  const watch = new LogWatch();
  await using echo = echoServer();
  const refusing = { address: refusingAddress() };
  await using tunnels = await start(watch, [
    spec([refusing, echo], "strategy=round-robin,errors=1000"),
  ]);
  const tunnel = only(tunnels);
  for (let i = 0; i < 6; i++) await ping(tunnel);
  const { remotes, rejected, dialErrors } = tunnel.stats();
  assertEquals(rejected["connect-failed"], 0);
  assertEquals(remotes.get(0)!.failures.refused, dialErrors);
  assertEquals(remotes.get(1)!.opened, 6);
  assert(dialErrors >= 3);
});

Deno.test("Tunnels gives up a remote that does not answer in time", async () => {
  const watch = new LogWatch();
  await using echo = echoServer();
  using hole = await blackhole();
  await using tunnels = await start(watch, [
    spec([hole, echo], "strategy=round-robin,timeout=0.1"),
  ]);
  const tunnel = only(tunnels);
  await ping(tunnel);
  const stats = tunnel.stats().remotes.get(0)!;
  assertEquals([stats.failures.timeout, stats.live], [1, false]);
});

Deno.test("Tunnels passes a remote's reset on, and does not hold it against the remote", async () => {
  const watch = new LogWatch();
  await using resetting = await resettingServer();
  await using tunnels = await start(watch, [spec([resetting])]);
  const tunnel = only(tunnels);
  for (let i = 0; i < 3; i++) {
    using conn = await connectTo(tunnel.address);
    await writeAll(conn, PING);
    assert(["eof", "ConnectionReset"].includes(await howItEnds(conn)));
  }
  const stats = tunnel.stats();
  assertEquals(stats.ended["remote-reset"], 3);
  assertEquals(stats.remotes.get(0)!.live, true);
  assertEquals(stats.dialErrors, 0);
});

Deno.test("Tunnels ends a connection to a remote that hangs, after its idle-timeout", async () => {
  const watch = new LogWatch();
  await using hanging = hangingServer();
  await using tunnels = await start(watch, [
    spec([hanging], "idle-timeout=0.05"),
  ]);
  const tunnel = only(tunnels);
  using conn = await connectTo(tunnel.address);
  await writeAll(conn, PING);
  assert(["eof", "ConnectionReset"].includes(await howItEnds(conn)));
  assertEquals(tunnel.stats().ended["idle-timeout"], 1);
});

Deno.test("Tunnels ends a half-closed connection after its half-close-timeout", async () => {
  const watch = new LogWatch();
  await using hanging = hangingServer();
  await using tunnels = await start(watch, [
    spec([hanging], "half-close-timeout=0.05"),
  ]);
  const tunnel = only(tunnels);
  using conn = await connectTo(tunnel.address);
  await conn.closeWrite();
  await howItEnds(conn);
  assertEquals(tunnel.stats().ended["half-close-timeout"], 1);
});

Deno.test("Tunnels brings an answer that trickles byte by byte, after the client's end", async () => {
  const watch = new LogWatch();
  const answer = new Uint8Array(2000).map((_, i) => i % 251);
  await using trickle = new TestServer(async (conn) => {
    await readToEnd(conn);
    conn.setNoDelay(true);
    for (const byte of answer) await writeAll(conn, Uint8Array.of(byte));
    await conn.closeWrite();
  });
  await using tunnels = await start(watch, [spec([trickle])]);
  using conn = await connectTo(only(tunnels).address);
  await writeAll(conn, PING);
  await conn.closeWrite();
  assertEquals(await readToEnd(conn), answer);
});

Deno.test("Tunnels finds out when a remote that flaps is back, at the check-interval", async () => {
  const watch = new LogWatch();
  await using other = echoServer();
  let flapping: Deno.TcpListener | undefined = Deno.listen({
    hostname: "127.0.0.1",
    port: 0,
  });
  const address = flapping.addr;
  await using tunnels = await start(watch, [
    spec([{ address }, other], "strategy=round-robin,check-interval=0.02"),
  ]);
  const tunnel = only(tunnels);
  for (let round = 0; round < 3; round++) {
    close(flapping!);
    flapping = undefined;
    // The second client comes to the one that is gone, if not the first.
    await ping(tunnel);
    await ping(tunnel);
    await watch.line(/warn remote is dead/, round);
    flapping = Deno.listen({ hostname: "127.0.0.1", port: address.port });
    const probe = await flapping.accept();
    probe.close();
    await watch.line(/warn remote is live again/, round);
    assertEquals(tunnel.stats().remotes.get(0)!.live, true);
  }
  assertEquals(tunnel.stats().remotes.get(0)!.recentErrors, 0);
  close(flapping!);
});

Deno.test("Tunnels tries a dead remote for each client where none is live, and says when it is probed", async () => {
  const watch = new LogWatch();
  await using tunnels = await start(watch, [
    spec([{ address: refusingAddress() }]),
  ]);
  const tunnel = only(tunnels);
  for (let i = 0; i < 3; i++) {
    await howTurnedAway(tunnel.address);
  }
  await watch.line(/remote is dead .*next_try_in=[\d.]+s/);
  await watch.line(/client rejected .*reason=connect-failed/);
  const { rejected, opening, open } = tunnel.stats();
  assertEquals([rejected["connect-failed"], rejected["no-remote"]], [3, 0]);
  assertEquals([opening, open], [0, 0]);
});

Deno.test("Tunnels counts right under any order of connect, end, add, remove and kill", async () => {
  const watch = new LogWatch();
  await using one = echoServer();
  await using two = echoServer();
  const refusing = { address: refusingAddress() };
  const peers = [one, two, refusing];
  const step = fc.record({
    kind: fc.constantFrom(
      "connect",
      "connect",
      "end",
      "add",
      "remove",
      "remove now",
      "kill",
    ),
    which: fc.nat({ max: 2 }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("random", "round-robin", "minimum-open-connections"),
      fc.array(step, { maxLength: 25 }),
      async (strategy, steps) => {
        await using tunnels = await start(watch, [
          spec(peers, `strategy=${strategy},check-interval=0.01`),
        ]);
        const tunnel = only(tunnels);
        const conns: Deno.TcpConn[] = [];
        for (const { kind, which } of steps) {
          const peer = peers[which]!.address;
          const has = tunnel.spec.remotes.some(({ port }) =>
            port === peer.port
          );
          if (kind === "connect") {
            // One that is turned away may have its reset before this ends.
            const conn = await connectTo(tunnel.address)
              .catch(() => undefined);
            await (conn && echoes(conn))
              ?.then(() => conns.push(conn!), () => conn!.close());
          } else if (kind === "end") {
            const conn = conns.splice(which, 1)[0];
            if (conn) close(conn);
          } else if (kind === "add") {
            if (!has) await tunnels.addRemote(tunnel.address, peer);
          } else if (kind === "kill") {
            const [connection] = await tunnels.connections(tunnel.address);
            if (connection) await tunnels.kill(connection.id).catch(() => {});
          } else if (has) {
            const mode = kind === "remove" ? "drain" : "now";
            await tunnels.removeRemote(tunnel.address, peer, { mode });
          }
          await countsHold(tunnel);
        }
        for (const conn of conns) close(conn);
        await tunnels.drain();
        const { remotes, open, opening, accepted, opened, rejected, ended } =
          tunnel.stats();
        const sum = (counts: Record<string, number>) =>
          Object.values(counts).reduce((a, b) => a + b, 0);
        assertEquals([open, opening], [0, 0]);
        assertEquals(sum(ended), opened);
        assertEquals(sum(rejected) + opened, accepted);
        for (const remote of remotes.values()) {
          assertEquals([remote.open, remote.pending], [0, 0]);
        }
      },
    ),
    { numRuns: 15 },
  );
});

/** Figures are read while another thread may write them, so they may take a moment to agree. */
async function countsHold(tunnel: Tunnel): Promise<void> {
  for (let i = 0; i < 100; i++) {
    try {
      return assertCounts(tunnel);
    } catch {
      await tunnel.connections();
    }
  }
  assertCounts(tunnel);
}

function assertCounts(tunnel: Tunnel): void {
  const stats = tunnel.stats();
  let open = 0;
  for (const remote of stats.remotes.values()) {
    assert(remote.open >= 0 && remote.pending >= 0 && remote.recentErrors >= 0);
    assert(remote.open <= remote.opened);
    open += remote.open;
  }
  assertEquals(open, stats.open);
  assert(stats.opening >= 0 && stats.open >= 0);
}

// ---- reload

Deno.test("Tunnels reload keeps 1000 connections of unchanged and of changed tunnels", async () => {
  const watch = new LogWatch();
  await using echo = echoServer();
  await using other = echoServer();
  const echoLabel = formatAddress(echo.address);
  const otherLabel = formatAddress(other.address);
  let configured = [
    `0=${echoLabel}`,
    `[::1]:0=${echoLabel}`,
    `localhost:0=${echoLabel}`,
  ];
  await using tunnels = await start(watch, [], {
    load: () => ({
      tunnels: configured.map(parseTunnel),
      defaults: DEFAULT_TUNNEL_OPTIONS,
    }),
  });
  const [same, changed, gone] = tunnels.list() as [Tunnel, Tunnel, Tunnel];
  const conns = await Promise.all(
    Array.from({ length: 1000 }, async (_, i) => {
      const conn = await connectTo([same, changed, gone][i % 3]!.address);
      await echoes(conn);
      return conn;
    }),
  );
  configured = [
    `0=${echoLabel}`,
    `[::1]:0=${otherLabel}[strategy=round-robin,timeout=5]`,
    `127.0.0.1:0=${otherLabel}`,
  ];
  const report = await tunnels.reload();
  assertEquals(report.unchanged, [same.label]);
  assertEquals(report.changed, [changed.label]);
  assertEquals(report.closed, [gone.label]);
  assertEquals(report.opened.length, 1);
  assertEquals(report.failed, []);
  assertEquals(tunnels.list()[0], same);
  assertEquals(tunnels.list()[1], changed);
  await Promise.all(conns.map(echoes));
  for (const conn of conns) conn.close();
  // New clients of the changed tunnel go where it points now.
  const before = other.accepted;
  await ping(changed);
  assertEquals(other.accepted, before + 1);
});

Deno.test("Tunnels reload that cannot be read changes nothing", async () => {
  const watch = new LogWatch();
  await using echo = echoServer();
  let broken = false;
  await using tunnels = await start(watch, [], {
    load: () => {
      if (broken) throw new UsageError("no such file");
      const tunnels = [parseTunnel(spec([echo]))];
      return { tunnels, defaults: DEFAULT_TUNNEL_OPTIONS };
    },
  });
  broken = true;
  await assertRejects(() => tunnels.reload(), UsageError, "no such file");
  await ping(only(tunnels));
  broken = false;
  assertEquals((await tunnels.reload()).unchanged, [only(tunnels).label]);
});

Deno.test("Tunnels reload keeps a tunnel open whose new certificate cannot be read", async () => {
  const watch = new LogWatch();
  await using echo = echoServer();
  let options = "";
  let local = "0";
  await using tunnels = await start(watch, [], {
    load: () => ({
      tunnels: [parseTunnel(`${local}=${echo.address.port}${options}`)],
      defaults: DEFAULT_TUNNEL_OPTIONS,
    }),
  });
  const tunnel = only(tunnels);
  local = String(tunnel.address.port);
  options = "[tls-cert=/nowhere/c,tls-key=/nowhere/k]";
  // As nginx and HAProxy: what cannot be loaded replaces nothing.
  const { failed } = await tunnels.reload();
  assertEquals(failed.map(({ tunnel }) => tunnel), [tunnel.label]);
  assertEquals(only(tunnels), tunnel);
  await ping(tunnel);
  options = "";
  assertEquals((await tunnels.reload()).unchanged, [tunnel.label]);
  assertEquals(tunnels.ready(), true);
});

Deno.test("Tunnels reload with other defaults changes the tunnels that rely on them", async () => {
  const watch = new LogWatch();
  let attempts = 3;
  await using tunnels = await start(watch, [], {
    load: () => ({
      tunnels: [parseTunnel("0=1"), parseTunnel("[::1]:0=1[retries=3]")],
      defaults: { ...DEFAULT_TUNNEL_OPTIONS, attempts },
    }),
  });
  const [relies, says] = tunnels.list() as [Tunnel, Tunnel];
  attempts = 7;
  const report = await tunnels.reload();
  assertEquals(report.changed, [relies.label]);
  assertEquals(report.unchanged, [says.label]);
  assertEquals([relies.options.attempts, says.options.attempts], [7, 3]);
});

Deno.test("Tunnels reload keeps what was changed while it ran", async () => {
  const watch = new LogWatch();
  const stateFile = await Deno.makeTempFile();
  await Deno.remove(stateFile);
  const free = formatAddress(refusingAddress());
  const tunnels = await start(watch, [`${free}=1`], { stateFile });
  await tunnels.addRemote(parseSocket(free), parseSocket("2"));
  const opened = await tunnels.open("0=3");
  const report = await tunnels.reload();
  assertEquals(report.unchanged.toSorted(), [free, opened.label].toSorted());
  await tunnels.close();
  // And over a restart.
  await using again = await start(watch, [`${free}=1`], { stateFile });
  const shown = again.list().map((
    { label, remotes },
  ) => [label, remotes.length]);
  assertEquals(shown, [[free, 2], [opened.label, 1]]);
  await again.close(parseSocket(free));
  assertEquals((await again.reload()).unchanged, [opened.label]);
  await Deno.remove(stateFile);
});

Deno.test("Tunnels says that a change could not be saved, and keeps it", async () => {
  const watch = new LogWatch();
  const folder = await Deno.makeTempDir();
  await using tunnels = await start(watch, [], {
    stateFile: `${folder}/state`,
  });
  await Deno.remove(folder, { recursive: true });
  await assertRejects(
    () => tunnels.open("0=1"),
    OperationError,
    "is lost with a restart",
  );
  only(tunnels);
});

Deno.test("Tunnels does not write over a state file that another process has changed", async () => {
  const watch = new LogWatch();
  const folder = await Deno.makeTempDir();
  const stateFile = `${folder}/state`;
  await using first = await start(watch, [], { stateFile });
  await using second = await start(watch, [], { stateFile });
  const { label } = await first.open("0=1");
  await assertRejects(
    () => second.open("0=2"),
    OperationError,
    "another process has changed it",
  );
  const { opened } = JSON.parse(await Deno.readTextFile(stateFile));
  assertEquals(
    opened.map(({ local }: { local: string }) => local),
    [label],
  );
  // The one that wrote it goes on, and anyone once it is gone.
  await first.open("0=1");
  await Deno.remove(stateFile);
  await second.open("0=2");
  await Deno.remove(folder, { recursive: true });
});

testUnless(
  needsLinux(),
  "Tunnels starts and reloads with a state that it cannot write but need not",
  async () => {
    const watch = new LogWatch();
    const folder = await Deno.makeTempDir();
    const stateFile = `${folder}/state`;
    const tunnelsBefore = await start(watch, [], { stateFile });
    const { address } = await tunnelsBefore.open("0=1");
    await tunnelsBefore.close();
    const before = (await Deno.stat(stateFile)).ino;
    await using tunnels = await start(watch, [], { stateFile });
    assertEquals(only(tunnels).address, address);
    await tunnels.reload();
    // A write would have put a new file in place.
    assertEquals((await Deno.stat(stateFile)).ino, before);
    await Deno.remove(folder, { recursive: true });
  },
);

// ---- TLS

const VECTORS = new URL("../../vectors/tls/", import.meta.url).pathname;

Deno.test("Tunnels terminates TLS for clients, and reads the certificate again when it changes", async () => {
  const watch = new LogWatch();
  const folder = await Deno.makeTempDir();
  const cert = `${folder}/cert.pem`;
  const key = `${folder}/key.pem`;
  await Deno.copyFile(`${VECTORS}localhost.pem`, cert);
  await Deno.copyFile(`${VECTORS}localhost.key`, key);
  const caCerts = [await Deno.readTextFile(`${VECTORS}ca.pem`)];
  await using echo = echoServer();
  await using tunnels = await start(watch, [
    spec([echo], `tls-cert=${cert},tls-key=${key}`),
  ], { tlsCheckMs: 10 });
  const { port } = only(tunnels).address;
  const greet = async () => {
    using conn = await Deno.connectTls({
      hostname: "localhost",
      port,
      caCerts,
    });
    await echoes(conn);
  };
  await greet();
  // A half-written pair is not taken.
  await Deno.writeTextFile(key, "-----BEGIN PRIVATE KEY-----\n");
  await watch.line(/warn Certificates stay as they were/);
  await greet();
  await Deno.copyFile(`${VECTORS}localhost.key`, key);
  await watch.line(/certificates read again/);
  await greet();
  // RELOAD does not wait for the next look.
  await Deno.utime(cert, 1, 1);
  await tunnels.reload();
  assertEquals(
    watch.lines.filter((line) => line.includes("read again")).length,
    2,
  );
  await greet();
  assertEquals(only(tunnels).stats().rejected.tls, 0);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Tunnels verifies the name of a TLS remote", async () => {
  const watch = new LogWatch();
  await using remote = tlsEcho();
  const { port } = remote.address;
  const roots = `remote-tls=true,remote-ca=${VECTORS}ca.pem`;
  await using tunnels = await start(watch, [
    `0=localhost:${port}[${roots}]`,
    `[::1]:0=localhost:${port}[remote-tls=true]`,
  ]);
  const [trusted, untrusted] = tunnels.list() as [Tunnel, Tunnel];
  await ping(trusted);
  using conn = await connectTo(untrusted.address);
  // Rejected with a reset where libc can be called, with an end elsewhere.
  await howItEnds(conn);
  await watch.line(/cannot connect to remote .*reason=tls/);
  const stats = untrusted.stats().remotes.get(0)!;
  assertEquals([stats.failures.tls > 0, stats.live], [true, false]);
});

testUnless(
  needsProgram("openssl"),
  "Tunnels trusts a remote by its own certificate as CA, by name, by pin, or blindly",
  async () => {
    const folder = await Deno.makeTempDir();
    const file = (name: string) => `${folder}/${name}`;
    // `openssl req -x509` makes CA:TRUE; a runtime of today refuses that for a server.
    const made = await new Deno.Command("openssl", {
      args: [
        ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1".split(
          " ",
        ),
        ..."-nodes -days 2 -subj /CN=db.internal".split(" "),
        ...["-addext", "subjectAltName=DNS:db.internal"],
        ...["-keyout", file("key.pem"), "-out", file("cert.pem")],
      ],
    }).output();
    assert(made.success);
    const pin = new TextDecoder().decode(
      (await new Deno.Command("sh", {
        args: [
          "-c",
          'openssl x509 -in "$0" -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64',
          file("cert.pem"),
        ],
      }).output()).stdout,
    ).trim();
    const watch = new LogWatch();
    await using echo = echoServer();
    const remotePort = echo.address.port;
    await using tunnels = await start(watch, [
      `0=${remotePort}[tls-cert=${file("cert.pem")},tls-key=${
        file("key.pem")
      }]`,
    ]);
    const { port } = only(tunnels).address;
    const cases: [string, boolean][] = [
      [`remote-ca=${file("cert.pem")},remote-tls-name=db.internal`, true],
      [`remote-ca=${file("cert.pem")}`, false],
      [`remote-ca=${file("cert.pem")},remote-tls-name=other`, false],
      [`remote-tls-name=db.internal`, false],
      [`remote-tls-pin=${pin}`, true],
      [`remote-tls-pin=${"A".repeat(43)}=`, false],
      [`remote-tls-insecure=true`, true],
    ];
    for (const [options, served] of cases) {
      const tunnel = await tunnels.open(
        `0=${port}[remote-tls=true,retries=1,${options}]`,
      );
      if (served) await ping(tunnel);
      else {
        using conn = await connectTo(tunnel.address);
        await howItEnds(conn);
        assertEquals(tunnel.stats().rejected["connect-failed"], 1, options);
        assertEquals(tunnel.stats().remotes.get(0)!.failures.tls, 1, options);
      }
    }
    await watch.line(/certificates of remotes are not verified/);
    await Deno.remove(folder, { recursive: true });
  },
);

Deno.test("Tunnels refuses certificates that are missing or do not fit, before it binds", async () => {
  const watch = new LogWatch();
  await using tunnels = await start(watch, []);
  const open = (options: string) => tunnels.open(`0=1[${options}]`);
  const cert = `${VECTORS}localhost.pem`;
  await assertRejects(
    () => open("tls-cert=/nowhere/c,tls-key=/nowhere/k"),
    OperationError,
    "/nowhere/",
  );
  await assertRejects(
    () => open(`tls-cert=${cert},tls-key=${cert}`),
    OperationError,
    "no PEM private key",
  );
  await assertRejects(
    () => open(`remote-tls=true,remote-ca=${VECTORS}localhost.key`),
    OperationError,
    "no PEM certificate",
  );
  assertEquals(tunnels.list(), []);
});

/** An echo server that speaks TLS as localhost. */
function tlsEcho(): AsyncDisposable & { address: Address } {
  const listener = Deno.listenTls({
    hostname: "127.0.0.1",
    port: 0,
    cert: Deno.readTextFileSync(`${VECTORS}localhost.pem`),
    key: Deno.readTextFileSync(`${VECTORS}localhost.key`),
  });
  const serve = async (conn: Deno.TlsConn) => {
    const buffer = new Uint8Array(1024);
    try {
      for (;;) {
        const bytes = await conn.read(buffer);
        if (bytes === null) break;
        await writeAll(conn, buffer.subarray(0, bytes));
      }
    } catch {
      // A client that does not trust us breaks off.
    }
    close(conn);
  };
  const serving: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const conn of listener) serving.push(serve(conn));
  })();
  const { hostname, port } = listener.addr as Deno.NetAddr;
  return {
    address: { hostname, port },
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting.catch(() => {});
      await Promise.all(serving);
    },
  };
}

// ---- access log

Deno.test("AccessLog has a line for every client, in both formats, and reopens its file", async () => {
  const folder = await Deno.makeTempDir();
  for (const format of ["text", "json"] as const) {
    const path = `${folder}/${format}.log`;
    const watch = new LogWatch();
    await using echo = echoServer();
    const accessLog = await AccessLog.open({ path, format });
    const tunnels = await start(watch, [
      spec([echo]),
      spec([{ address: refusingAddress() }]),
    ], { accessLog });
    const [good, bad] = tunnels.list() as [Tunnel, Tunnel];
    await ping(good);
    await Deno.rename(path, `${path}.1`);
    await tunnels.drain();
    await accessLog.reopen();
    const rest = await start(watch, [spec([{ address: refusingAddress() }])], {
      accessLog,
    });
    await howTurnedAway(only(rest).address);
    await rest.drain();
    await accessLog[Symbol.asyncDispose]();
    const first = await Deno.readTextFile(`${path}.1`);
    const second = await Deno.readTextFile(path);
    const remote = formatAddress(echo.address);
    assertEquals(bad.stats().accepted, 0);
    if (format === "text") {
      assert(
        first.includes(
          `tunnel=${good.label} remote=${remote} upstream=4 downstream=4 durationMs=`,
        ),
      );
      assert(/ end=\S+\n$/.test(first));
      assertMatch(
        second,
        /remote=127\.0\.0\.1:\d+(,127\.0\.0\.1:\d+)* upstream=0 downstream=0 durationMs=[1-9][\d.]* end=rejected-connect-failed\n/,
      );
    } else {
      const entry = JSON.parse(first);
      assertEquals([
        entry.tunnel,
        entry.remote,
        entry.bytesUpstream,
        entry.bytesDownstream,
      ], [good.label, remote, 4, 4]);
      assertEquals(JSON.parse(second).end, "rejected-connect-failed");
    }
  }
  await Deno.remove(folder, { recursive: true });
});
