/**
 * Every side channel, full, unread and closed, for each role: the data goes
 * on, and SIGTERM ends the process in time with the exit code of its work.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { freePort, portTaken } from "../../bench/harness/processes.ts";
import {
  BROKEN_KINDS,
  type BrokenKind,
  BrokenOutput,
} from "../support/broken_output.ts";
import { Receiver, Sender } from "../support/datagram_peer.ts";
import { soon } from "../support/deadline.ts";
import { ENGINES } from "../support/engines.ts";
import { TestFolder } from "../support/folder.ts";
import { startPeer, type TestProcess } from "../support/process.ts";
import { needsLinux, testUnless } from "../support/skip.ts";
import {
  connectTo,
  echoServer,
  readExactly,
  TestServer,
  writeAll,
} from "../support/tcp.ts";

/** With log lines enough that any of them can be the one that blocks. */
const TALKATIVE = ["--stats=0.02", "--log-level=debug", "--grace=2"];

/** After SIGTERM: the grace period and a second; the rest is this loaded machine's. */
const END_MS = 3000 + 10_000;

/** Starts a role with one of its outputs at a path. */
function startWith(
  output: "stdout" | "stderr",
  path: string,
  role: string,
  args: readonly string[],
): TestProcess {
  const number = output === "stdout" ? 1 : 2;
  const main = new URL(`../../cli/${role}/main.ts`, import.meta.url).pathname;
  return startPeer("sh", [
    ...["-c", `exec "$@" ${number}>>"$0"`, path],
    ...[Deno.execPath(), "run", "-A", main, ...args],
  ]);
}

/** SIGTERM ends it in time. */
async function endsInTime(role: TestProcess, code = 0): Promise<void> {
  const start = performance.now();
  const end = await soon(role.stop(), "the end of the role");
  assertEquals([end.code, end.signal], [code, null], end.stderr);
  const ms = performance.now() - start;
  assert(ms < END_MS, `ended after ${Math.round(ms)} ms`);
}

const TEXT = new TextEncoder().encode("past every log line\n");

/** Clients that come one after the other, so that there is something to log. */
async function echoes(port: number, clients: number): Promise<void> {
  for (let i = 0; i < clients; i++) {
    using client = await connectTo({ hostname: "127.0.0.1", port });
    await writeAll(client, TEXT);
    assertEquals(
      await soon(readExactly(client, TEXT.length), `echo ${i}`),
      TEXT,
    );
  }
}

const CONNACK = Uint8Array.of(0x20, 2, 0, 0);

/** MQTT 3.1.1, clean session, the client identifier `a`. */
const CONNECT = Uint8Array.of(
  ...[0x10, 13, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 60, 0, 1, 0x61],
);

/** A broker that knows one answer. */
function broker(): TestServer {
  return new TestServer(async (conn) => {
    await readExactly(conn, CONNECT.length);
    await writeAll(conn, CONNACK);
    await conn.read(new Uint8Array(1));
  });
}

async function connects(port: number, clients: number): Promise<void> {
  for (let i = 0; i < clients; i++) {
    using client = await connectTo({ hostname: "127.0.0.1", port });
    await writeAll(client, CONNECT);
    assertEquals(
      await soon(readExactly(client, CONNACK.length), `CONNACK ${i}`),
      CONNACK,
    );
  }
}

/** Serves while a side channel is broken: started by `start`, with the flags of an engine. */
type Serve = (
  start: (...args: string[]) => TestProcess,
  opened: () => void,
  engine: readonly string[],
) => Promise<void>;

/** What each role does while stderr is broken. */
const SERVING: Readonly<Record<string, { engines: boolean; serve: Serve }>> = {
  proxy: {
    engines: true,
    serve: async (start, opened, engine) => {
      await using receiver = await Receiver.open();
      const port = freePort("udp");
      await using proxy = start(
        ...["--udp-listen-addr", `127.0.0.1:${port}`, ...engine],
        ...["--udp-downstream-addr", receiver.text],
      );
      await portTaken("udp", port);
      opened();
      await using sender = await Sender.open(`127.0.0.1:${port}`);
      // In small bunches, so that no queue of this machine drops any.
      for (let i = 0; i < 50; i++) {
        for (let j = 0; j < 10; j++) await sender.send(TEXT);
        await receiver.atLeast((i + 1) * 10);
      }
      await endsInTime(proxy);
    },
  },
  server: {
    engines: true,
    serve: async (start, opened, engine) => {
      await using folder = await TestFolder.create();
      const port = freePort("udp");
      const path = `${folder.path}/log`;
      await using server = start(
        ...["--listen-addr", `127.0.0.1:${port}`, "--path", path, ...engine],
      );
      await portTaken("udp", port);
      opened();
      await using sender = await Sender.open(`127.0.0.1:${port}`);
      for (let i = 0; i < 50; i++) await sender.send(TEXT);
      await endsInTime(server);
      assertEquals((await Deno.stat(path)).size, 50 * TEXT.length);
    },
  },
  client: {
    engines: true,
    serve: async (start, opened, engine) => {
      await using receiver = await Receiver.open();
      await using folder = await TestFolder.create();
      const path = await folder.file("in", TEXT);
      await using client = start(
        ...["--path", path, "--server-addr", receiver.text, ...engine],
        "--follow",
      );
      await receiver.atLeastBytes(TEXT.length);
      opened();
      for (let i = 1; i <= 20; i++) {
        await Deno.writeFile(path, TEXT, { append: true });
        await receiver.atLeastBytes((i + 1) * TEXT.length);
      }
      await endsInTime(client);
    },
  },
  relay: {
    engines: true,
    serve: async (start, opened, engine) => {
      await using target = echoServer();
      const port = freePort("tcp");
      await using relay = start(
        ...[`127.0.0.1:${port}`, `127.0.0.1:${target.address.port}`],
        ...[...engine, "--events"],
      );
      await portTaken("tcp", port);
      opened();
      await echoes(port, 50);
      await endsInTime(relay);
    },
  },
  tunnel: {
    engines: true,
    serve: async (start, opened, engine) => {
      await using target = echoServer();
      const port = freePort("tcp");
      await using tunnel = start(
        ...[`${port}=127.0.0.1:${target.address.port}`, ...engine],
      );
      await portTaken("tcp", port);
      opened();
      await echoes(port, 50);
      await endsInTime(tunnel);
    },
  },
  echo: {
    engines: false,
    serve: async (start, opened) => {
      const port = freePort("tcp");
      await using echo = start("--listen", `127.0.0.1:${port}`);
      await portTaken("tcp", port);
      opened();
      await echoes(port, 50);
      await endsInTime(echo);
    },
  },
  mqtt: {
    engines: false,
    serve: async (start, opened) => {
      await using target = broker();
      const port = freePort("tcp");
      await using gateway = start(
        ...["--listen", `mqtt://127.0.0.1:${port}`],
        ...["--target", `mqtt://127.0.0.1:${target.address.port}`],
      );
      await portTaken("tcp", port);
      opened();
      await connects(port, 50);
      await endsInTime(gateway);
    },
  },
};

function article(kind: BrokenKind): string {
  return `${/^[aeiou]/.test(kind) ? "an" : "a"} ${kind}`;
}

for (const kind of BROKEN_KINDS) {
  for (const [role, { engines, serve }] of Object.entries(SERVING)) {
    for (const { engine, reason } of engines ? ENGINES : [ENGINES[0]!]) {
      testUnless(
        needsLinux() ?? reason,
        `${role} works and ends while stderr is ${article(kind)}${
          engines ? ` [${engine}]` : ""
        }`,
        async () => {
          await using folder = await TestFolder.create();
          using stderr = await BrokenOutput.create(kind, folder.path);
          await serve(
            (...args) =>
              startWith("stderr", stderr.path, role, [...args, ...TALKATIVE]),
            () => stderr.opened(),
            engines ? ["--engine", engine] : [],
          );
        },
      );
    }
  }

  testUnless(
    needsLinux(),
    `reverseproxy works and ends while stderr is ${article(kind)}`,
    async () => {
      await using folder = await TestFolder.create();
      using stderr = await BrokenOutput.create(kind, folder.path);
      const [inlet, outlet] = [freePort("udp"), freePort("tcp")];
      await using reverse = startWith("stderr", stderr.path, "reverseproxy", [
        ...["--udp-listen-addr", `127.0.0.1:${inlet}`],
        ...["--interface", "127.0.0.1"],
        ...["--multicast-addr", `239.255.90.23:${freePort("udp")}`],
        ...["--tcp-output-addr", `127.0.0.1:${outlet}`, ...TALKATIVE],
      ]);
      await portTaken("udp", inlet);
      await portTaken("tcp", outlet);
      stderr.opened();
      using subscriber = await connectTo({
        hostname: "127.0.0.1",
        port: outlet,
      });
      await using sender = await Sender.open(`127.0.0.1:${inlet}`);
      // What is sent before the subscription counts is not for it.
      let isThere = false;
      const first = readExactly(subscriber, TEXT.length).then((text) => {
        isThere = true;
        return text;
      });
      while (!isThere) {
        await sender.send(TEXT);
        await Promise.race([first, new Promise((done) => setTimeout(done, 5))]);
      }
      assertEquals(await first, TEXT);
      await endsInTime(reverse);
    },
  );

  for (const output of ["file", "-"] as const) {
    testUnless(
      needsLinux(),
      `tunnel works and ends while --access-log ${output} is ${article(kind)}`,
      async () => {
        await using folder = await TestFolder.create();
        using log = await BrokenOutput.create(kind, folder.path);
        const path = output === "file" ? log.path : "-";
        await SERVING["tunnel"]!.serve(
          (...args) =>
            startWith(
              "stdout",
              output === "file" ? "/dev/null" : log.path,
              "tunnel",
              [...args, "--access-log", path, "--grace=2"],
            ),
          () => log.opened(),
          [],
        );
      },
    );
  }
}

testUnless(
  needsLinux(),
  "a stderr that is read again shows how many lines were lost",
  async () => {
    await using folder = await TestFolder.create();
    using stderr = await BrokenOutput.create("unread pipe", folder.path);
    await using target = echoServer();
    const [port, metrics] = [freePort("tcp"), freePort("tcp")];
    await using relay = startWith("stderr", stderr.path, "relay", [
      ...[`127.0.0.1:${port}`, `127.0.0.1:${target.address.port}`],
      ...["--stats=0.001", "--log-format=json", "--events"],
      ...["--metrics-addr", `127.0.0.1:${metrics}`],
    ]);
    await portTaken("tcp", metrics);
    for (;;) {
      await echoes(port, 100);
      const response = await fetch(`http://127.0.0.1:${metrics}/metrics`);
      const text = await response.text();
      const [, dropped] = /^mproxy_log_dropped_lines_total (\d+)$/m.exec(text)!;
      if (Number(dropped) > 0) break;
    }
    const reader = await Deno.open(stderr.path, { read: true });
    const decoder = new TextDecoder();
    let text = "";
    while (!/"message":"log lines were lost".*\n/.test(text)) {
      const buffer = new Uint8Array(65_536);
      const count = await soon(reader.read(buffer), "the line of the loss");
      text += decoder.decode(buffer.subarray(0, count ?? 0), { stream: true });
    }
    reader.close();
    assertMatch(text, /"lines":[1-9]\d*,.*"reason":"queue full"/);
    stderr[Symbol.dispose]();
    await endsInTime(relay);
  },
);
