/**
 * Soak of the MQTT gateway: 2 000 clients that connect, publish and vanish in
 * every way, for as long as the argument says. Afterwards the gateway's
 * memory and file descriptors are back where they were, and no session is
 * left.
 *
 *     deno run -A tests/soak/mqtt_soak.ts [MINUTES] [CLIENTS]
 *
 * Without arguments: 10 minutes, 2 000 clients. Wants mosquitto.
 */
import { startMosquitto } from "../support/mosquitto.ts";
import {
  connectPacket,
  publishPacket,
  subscribePacket,
} from "../support/mqtt_peer.ts";
import { startRole, type TestProcess } from "../support/process.ts";

/** What the gateway holds. */
interface Holdings {
  residentMiB: number;
  files: number;
  sessions: number;
}

/**
 * How far resident memory may be above where it was: heaps are not given back to
 * the last page. The collector makes a sawtooth of it (200 to 271 MiB over ten
 * minutes), so its floor over the second half and its peak are looked at besides its end.
 */
const ALLOWED_GROWTH = 1.25;
const ALLOWED_PEAK = 1.5;
const ALLOWED_GROWTH_MIB = 24;

/**
 * Each client begins a life so often: without a pause, 2 000 of them wait for
 * the processor longer than a CONNECT may take, and show nothing but that.
 */
const LIFE_MS = 5000;

/** Pools, caches and compiled code are full after this. */
const WARM_UP_MS = 30_000;

/** At the end, memory is looked at so often until it shrinks no more. */
const LOOK_MS = 5000;
const SAME_LOOKS = 4;
const MOST_LOOKS = 24;

const POLICY = `
[acl]
[[acl.rules]]
effect = "allow"
topics = ["soak/%c/#"]
`;

const VANISH = ["disconnect", "close", "reset", "inside a packet"] as const;

const minutes = Number(Deno.args[0] ?? 10);
const clients = Number(Deno.args[1] ?? 2000);

await soak();

async function soak(): Promise<void> {
  const policy = await Deno.makeTempFile({ suffix: ".toml" });
  await Deno.writeTextFile(policy, POLICY);
  await using mosquitto = await startMosquitto({
    quiet: true,
  });
  await using role = startRole("mqtt", [
    ...["--listen", "mqtt://127.0.0.1:0", "--target", mosquitto.url],
    ...["--policy", policy, "--metrics-addr", "127.0.0.1:0"],
  ]);
  try {
    const port = await portOf(role);
    const counts = { sessions: 0, failures: 0 };
    // The first round fills pools, caches and code: what it leaves is the floor.
    await round(port, performance.now() + WARM_UP_MS, counts);
    await idle(port, role);
    const before = await holdings(role);
    say("before", before, counts.sessions);
    const start = performance.now();
    const half = start + minutes * 30_000;
    const until = start + minutes * 60_000;
    let peak = before.residentMiB;
    let floor = Infinity;
    while (performance.now() < until) {
      const next = Math.min(until, performance.now() + 30_000);
      await round(port, next, counts);
      const now = await holdings(role);
      say("under way", now, counts.sessions);
      peak = Math.max(peak, now.residentMiB);
      if (next > half) floor = Math.min(floor, now.residentMiB);
    }
    await idle(port, role);
    await settled(role);
    const after = await holdings(role);
    say("after", after, counts.sessions);
    floor = Math.min(floor, after.residentMiB);
    const mostPeak = before.residentMiB * ALLOWED_PEAK;
    const most = Math.max(
      before.residentMiB * ALLOWED_GROWTH,
      before.residentMiB + ALLOWED_GROWTH_MIB,
    );
    const wrong = [
      after.sessions > 0 && `${after.sessions} sessions are left`,
      after.files > before.files &&
      `${after.files - before.files} files are left open`,
      after.residentMiB > most &&
      `memory grew to ${after.residentMiB} MiB, ${
        Math.round(most)
      } are allowed`,
      floor > most &&
      `memory never came below ${floor} MiB, ${Math.round(most)} are allowed`,
      peak > mostPeak &&
      `memory came to ${peak} MiB, ${Math.round(mostPeak)} are allowed`,
      counts.failures > 0 && `${counts.failures} clients were let down`,
    ].filter(Boolean);
    for (const line of await ends(role)) print(line);
    print(wrong.length === 0 ? "good" : `BAD: ${wrong.join("; ")}`);
    if (wrong.length > 0) Deno.exitCode = 1;
  } finally {
    await role.stop();
    await Deno.remove(policy);
  }
}

/** Lets all clients come and go until a time. */
async function round(
  port: number,
  until: number,
  counts: { sessions: number; failures: number },
): Promise<void> {
  await Promise.all(Array.from({ length: clients }, async (_, i) => {
    // The first lives come all at once, the others spread by themselves.
    while (performance.now() < until) {
      const next = performance.now() + LIFE_MS * (0.5 + Math.random());
      try {
        await live(port, `soak-${i}`);
        counts.sessions++;
      } catch (error) {
        counts.failures++;
        if (counts.failures <= 5) print(`client ${i}: ${error}`);
      }
      const pauseMs = Math.min(next, until) - performance.now();
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, pauseMs)));
    }
  }));
}

/** One life: connect, subscribe, publish allowed and denied messages, vanish. */
async function live(port: number, clientId: string): Promise<void> {
  const version = pick([3, 4, 5] as const);
  const vanish = pick(VANISH);
  // Before the connection: two thousand clients of this one process would have
  // theirs wait for all the others' messages to be made.
  const messages = Array.from({ length: random(8) }, (_, i) =>
    publishPacket({
      version,
      topic: pick([`soak/${clientId}/${i}`, "elsewhere"]),
      payload: "x".repeat(random(2000)),
      qos: random(3),
      id: i + 1,
    }));
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  try {
    await sendAll(
      connection,
      connectPacket({
        version,
        clientId,
        keepAlive: 30,
        will: { topic: `soak/${clientId}/will`, payload: "gone" },
      }),
    );
    const buffer = new Uint8Array(4096);
    const length = await connection.read(buffer);
    if (length === null || buffer[0] !== 0x20 || buffer[3] !== 0) {
      throw new Error(
        `it was not let in: ${
          length === null ? "closed" : buffer.slice(0, length).toHex()
        }`,
      );
    }
    await sendAll(
      connection,
      subscribePacket(version, 100, [[`soak/${clientId}/#`, 1], ["#", 0]]),
    );
    for (const message of messages) await sendAll(connection, message);
    if (random(2) === 0) await connection.read(buffer);
    if (vanish === "disconnect") {
      await sendAll(connection, Uint8Array.of(0xe0, 0));
      await connection.closeWrite();
      while (await connection.read(buffer) !== null);
    } else if (vanish === "inside a packet") {
      await sendAll(connection, Uint8Array.of(0x30, 0x7f, 0));
    } else if (vanish === "close") {
      await connection.closeWrite();
      while (await connection.read(buffer) !== null);
    }
    // A socket that is closed with unread bytes in it resets the connection.
  } finally {
    connection.close();
  }
}

async function sendAll(
  connection: Deno.TcpConn,
  bytes: Uint8Array,
): Promise<void> {
  let sent = 0;
  while (sent < bytes.length) {
    sent += await connection.write(bytes.subarray(sent));
  }
}

/** Waits until no session is left, as the gateway itself tells. */
async function idle(port: number, role: TestProcess): Promise<void> {
  for (let look = 0; look < 100; look++) {
    // A connection that is turned away shows that those before were taken.
    const probe = await Deno.connect({ hostname: "127.0.0.1", port });
    probe.close();
    const { sessions } = await holdings(role);
    if (sessions === 0) break;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  // Two looks at the heap apart: what the collector takes back, it takes by then.
  await new Promise((resolve) => setTimeout(resolve, 3000));
}

/**
 * Waits until memory is given back no more. V8 looks for garbage in an idle
 * process 8 s after its last collection, and again after that.
 */
async function settled(role: TestProcess): Promise<void> {
  let least = Infinity;
  let sameLooks = 0;
  for (let look = 0; look < MOST_LOOKS && sameLooks < SAME_LOOKS; look++) {
    const { residentMiB } = await holdings(role);
    sameLooks = residentMiB < least ? 0 : sameLooks + 1;
    least = Math.min(least, residentMiB);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** Why sessions ended, as the gateway counts. */
async function ends(role: TestProcess): Promise<string[]> {
  return (await metricsOf(role)).match(
    /^mproxy_mqtt_sessions_ended_total.*$/gm,
  ) ?? [];
}

async function metricsOf(role: TestProcess): Promise<string> {
  const [, url] = await role.line(/metrics door is open url=(\S+)/);
  return await (await fetch(url!)).text();
}

async function holdings(role: TestProcess): Promise<Holdings> {
  const { pid } = role;
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const [, kib] = /VmRSS:\s+(\d+)/.exec(status)!;
  let files = 0;
  for await (const _ of Deno.readDir(`/proc/${pid}/fd`)) files++;
  const open = [
    ...(await metricsOf(role)).matchAll(
      /^mproxy_mqtt_connections\{.*\} (\d+)$/gm,
    ),
  ]
    .reduce((sum, [, count]) => sum + Number(count), 0);
  return { residentMiB: Math.round(Number(kib) / 1024), files, sessions: open };
}

async function portOf(role: TestProcess): Promise<number> {
  const [, port] = await role.line(/listening address=[^ ]*:(\d+)/);
  return Number(port);
}

function say(when: string, now: Holdings, sessions: number): void {
  print(
    `${when}: ${now.residentMiB} MiB resident, ${now.files} files, ${now.sessions} sessions open, ${sessions} were`,
  );
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

function random(below: number): number {
  return Math.floor(Math.random() * below);
}

function pick<Value>(values: readonly Value[]): Value {
  return values[random(values.length)]!;
}
