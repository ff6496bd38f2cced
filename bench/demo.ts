/**
 * The whole network on one machine, over loopback, compared byte for byte.
 *
 *     a 64 MB feed ─> client ─> proxy ─> reverse proxy ─> group ─┬─> server ─> file
 *                                             └─> 2 subscribers  └─ (the same group)
 *
 * Every role is a process of its own, as a user starts it. UDP keeps neither
 * count nor order: a bare forwarder on loopback changes the order of 6
 * datagrams in 1000 where its thread moves between cores. So the demo has one
 * large datagram on its way at a time and feeds the next when every receiver
 * has the last. Whatever is lost on a hop shows as a stall, with that hop's own
 * drop counter.
 *
 *     deno task demo [--megabytes 64] [--engine portable] [--group '[ff15::90%eth0]']
 */
import { parseArgs } from "@std/cli/parse-args";
import { join } from "@std/path";
import { createHash } from "node:crypto";
import {
  formatBytes,
  formatDuration,
  formatRate,
} from "../net/observe/units.ts";
import { bar, ProgressLine } from "../net/observe/terminal.ts";
import { startRole, type TestProcess } from "../tests/support/process.ts";

/** One datagram, and one write to the client; the most is 65 507. */
const DATAGRAM_BYTES = 60_000;

/** Without progress for so long, something is lost. */
const STALL_MS = 5000;

const SUBSCRIBERS = 2;

/** Where bytes arrive in the end. */
interface Receiver {
  name: string;
  received(): number;
  digest(): string;
}

if (import.meta.main) {
  const { megabytes = "64", engine = "auto", group } = parseArgs(Deno.args, {
    string: ["megabytes", "engine", "group"],
  }) as { megabytes?: string; engine?: string; group?: string };
  const folder = await Deno.makeTempDir({ prefix: "mproxy-demo-" });
  let ok = false;
  try {
    ok = await runDemo(folder, Number(megabytes) * 1e6, engine, group);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  Deno.exit(ok ? 0 : 1);
}

async function runDemo(
  folder: string,
  bytes: number,
  engine: string,
  groupHost: string | undefined,
): Promise<boolean> {
  const started = performance.now();
  const input = makeFeed(bytes);
  const expected = createHash("sha256").update(input).digest("hex");
  say(
    `feed: ${
      formatBytes(input.length)
    } of lines and binary parts, SHA-256 ${expected}`,
  );

  const group = groupHost === undefined
    ? `239.255.90.21:${freeUdpPort()}`
    : `${groupHost}:${freeUdpPort()}`;
  const log = join(folder, "received.log");
  const onGroup = [
    "--engine",
    engine,
    ...groupHost === undefined ? ["--interface", loopbackName()] : [],
  ];
  await using stack = new AsyncDisposableStack();
  const start = (role: string, args: string[], stdin = false) =>
    stack.use(startRole(role, args, { stdin }));

  const server = start("server", [
    "--path",
    log,
    "--listen-addr",
    group,
    ...onGroup,
  ]);
  const reverse = start("reverseproxy", [
    ...["--udp-listen-addr", "127.0.0.1:0", "--multicast-addr", group],
    ...["--tcp-output-addr", "127.0.0.1:0", ...onGroup],
  ]);
  await server.line(/ listening address=/);
  const [, door] = await reverse.line(
    /listening for subscribers address=\S+:(\d+)/,
  );
  const [, inlet] = await reverse.line(/ listening address=(127\.0\.0\.1:\d+)/);
  const proxy = start("proxy", [
    ...["--udp-listen-addr", "127.0.0.1:0", "--udp-downstream-addr", inlet!],
    ...["--engine", engine],
  ]);
  const receivers: Receiver[] = [fileReceiver("server's file", log)];
  for (let i = 1; i <= SUBSCRIBERS; i++) {
    const { receiver, port } = await subscribe(
      `subscriber ${i}`,
      Number(door),
      stack,
    );
    await reverse.line(
      new RegExp(`subscriber connected address=\\S+:${port}$`),
    );
    receivers.push(receiver);
  }
  const [, entry] = await proxy.line(/ listening address=(127\.0\.0\.1:\d+)/);
  const client = start(
    "client",
    [
      ...["--path", "-", "--server-addr", entry!, "--engine", engine],
      ...["--datagram-size", String(DATAGRAM_BYTES)],
    ],
    true,
  );
  say(
    `up in ${
      formatDuration(performance.now() - started)
    }: 4 roles, ${SUBSCRIBERS} subscribers`,
  );

  const fed = performance.now();
  const complete = await feed(client, input, receivers);
  const elapsed = performance.now() - fed;
  say(
    `${formatBytes(input.length)} in ${formatDuration(elapsed)}: ${
      formatRate(input.length, elapsed)
    } from end to end`,
  );

  const processes = { client, proxy, "reverse proxy": reverse, server };
  for (const [name, process] of Object.entries(processes)) {
    // The client ends by itself, at the end of what it was fed.
    const { code, stderr } =
      await (process === client ? client.end : process.stop());
    say(`${name} (exit ${code})`);
    for (const line of summaryLines(stderr)) say(`  ${line}`);
    if (code !== 0) say(stderr);
  }
  let same = complete;
  for (const receiver of receivers) {
    const equal = receiver.digest() === expected;
    same &&= equal;
    say(
      `${receiver.name}: ${formatBytes(receiver.received())}, ${
        equal ? "the same, byte for byte" : "DIFFERENT from the feed"
      }`,
    );
  }
  say(
    `${same ? "PASSED" : "FAILED"} in ${
      formatDuration(performance.now() - started)
    }`,
  );
  return same;
}

/** Feeds the client, a datagram ahead of the slowest receiver; whether all arrived. */
async function feed(
  client: TestProcess,
  input: Uint8Array<ArrayBuffer>,
  receivers: readonly Receiver[],
): Promise<boolean> {
  const writer = client.stdin.getWriter();
  const terminal = Deno.stderr.isTerminal();
  const progress = new ProgressLine();
  const started = performance.now();
  let sent = 0;
  let slowest = 0;
  let movedAt = performance.now();
  let shownAt = 0;
  while (slowest < input.length) {
    if (sent === slowest) {
      const piece = input.subarray(sent, sent + DATAGRAM_BYTES);
      await writer.write(piece);
      sent += piece.length;
    } else await new Promise((resolve) => setTimeout(resolve, 1));
    const now = performance.now();
    const arrived = Math.min(
      ...receivers.map((receiver) => receiver.received()),
    );
    if (arrived > slowest) movedAt = now;
    slowest = arrived;
    if (now - shownAt > 200 && terminal) {
      shownAt = now;
      progress.show(
        `${bar(slowest / input.length)} ${formatBytes(slowest)}, ${
          formatRate(slowest, now - started)
        }; ${
          receivers.map((one) => `${one.name} ${formatBytes(one.received())}`)
            .join(", ")
        }`,
      );
    }
    if (now - movedAt > STALL_MS) break;
  }
  progress.clear();
  await writer.close();
  if (slowest < input.length) {
    say(
      `STALLED at ${slowest} of ${input.length} bytes: something was lost on the way`,
    );
  }
  return slowest === input.length;
}

async function subscribe(
  name: string,
  port: number,
  stack: AsyncDisposableStack,
): Promise<{ receiver: Receiver; port: number }> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const hash = createHash("sha256");
  let received = 0;
  const read = async () => {
    const buffer = new Uint8Array(256 * 1024);
    for (;;) {
      const bytes = await connection.read(buffer).catch(() => null);
      if (bytes === null) return;
      hash.update(buffer.subarray(0, bytes));
      received += bytes;
    }
  };
  const reading = read();
  stack.defer(async () => {
    try {
      connection.close();
    } catch {
      // The reverse proxy's end has closed it.
    }
    await reading;
  });
  const receiver: Receiver = {
    name,
    received: () => received,
    digest: () => hash.copy().digest("hex"),
  };
  return { receiver, port: connection.localAddr.port };
}

function fileReceiver(name: string, path: string): Receiver {
  return {
    name,
    received: () => Deno.statSync(path).size,
    digest: () =>
      createHash("sha256").update(Deno.readFileSync(path)).digest("hex"),
  };
}

/** Lines of a sensor, with binary parts of random bytes between them. */
function makeFeed(bytes: number): Uint8Array<ArrayBuffer> {
  const feed = new Uint8Array(bytes);
  const encoder = new TextEncoder();
  let at = 0;
  for (let i = 0; at < bytes; i++) {
    const binary = i % 50 === 49;
    const part = binary
      ? crypto.getRandomValues(new Uint8Array(65536))
      : encoder.encode(
        `sensor ${i % 97} reading ${i} value ${
          (Math.sin(i) * 1e6).toFixed(3)
        }\n`.repeat(40),
      );
    feed.set(part.subarray(0, bytes - at), at);
    at += part.length;
  }
  return feed;
}

function freeUdpPort(): number {
  const socket = Deno.listenDatagram({
    transport: "udp",
    hostname: "127.0.0.1",
    port: 0,
  });
  const { port } = socket.addr as Deno.NetAddr;
  socket.close();
  return port;
}

function loopbackName(): string {
  return Deno.networkInterfaces().find(({ address }) =>
    address === "127.0.0.1"
  )!.name;
}

function summaryLines(stderr: string): string[] {
  return stderr.split("\n").filter((line) =>
    /^(read|received|sent|wrote|copied)\b/.test(line)
  );
}

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}
