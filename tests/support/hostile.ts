/**
 * Attacks on a listening socket of a real process. While an attack runs, a good
 * client must be served within a second; after it, descriptors and memory must
 * be back within the socket's deadline and one second more, although the
 * attackers have closed nothing.
 *
 * 1. Descriptors, memory and the time of a good client are measured at rest.
 * 2. The attackers connect, all at once, and misbehave; none ends by itself.
 * 3. Good clients come one after the other for as long as that lasts.
 * 4. It has lasted when the process has as many descriptors as before.
 */
import { assert } from "@std/assert";
import { connect, type Socket } from "node:net";
import type { Address } from "../../net/address.ts";

/** A listening socket under attack. */
export interface Victim {
  readonly address: Address;
  /** Process that has the socket. */
  readonly pid: number;
  /** How long the socket lets an unproved peer stay, in milliseconds. */
  readonly deadlineMs: number;
  /** Connects, is served and closes; rejects where it is not. */
  readonly good: () => Promise<void>;
}

/** What attackers of a protocol send. */
export interface Phrases {
  /** Begins a valid request or handshake, and never ends it. */
  readonly half: Uint8Array;
  /** A whole valid request, whose answer is never read. Default: no such attack. */
  readonly whole?: Uint8Array | undefined;
  /** Sent over and over, more than any limit takes. Default: letters without a line end. */
  readonly oversize?: Uint8Array | undefined;
}

/** One way to misbehave. */
export interface Attack {
  readonly name: string;
  /** Misbehaves on a new connection; the socket is closed by who gave it. */
  readonly begin: (socket: Socket) => void;
  /** Attackers at once. Default: 200. */
  readonly count?: number;
  /** Whether its attackers stay until the deadline. */
  readonly waits?: boolean;
}

/** What was measured. */
export interface Damage {
  /** The slowest good client, in milliseconds. */
  readonly worstGoodMs: number;
  /** When the descriptors were back, in milliseconds after the last attacker had connected. */
  readonly descriptorsBackMs: number;
  /** Resident memory more than before, in bytes, when the descriptors were back. */
  readonly rssGrowthBytes: number;
}

/** What an attacker that never stops sends at most. */
const OVERSIZE_BYTES = 8 << 20;

/** Memory that a runtime may keep from a burst of connections: heap pages, not queues. */
const RSS_SLACK_BYTES = 64 << 20;

/** A good client is served within this time. */
const GOOD_MS = 1000;

/** Each way to misbehave that a peer of any protocol has. */
export function attacks({ half, whole, oversize }: Phrases): Attack[] {
  const flood = oversize ?? new Uint8Array(64 * 1024).fill(0x61);
  const list: Attack[] = [
    { name: "silence", waits: true, begin: () => {} },
    {
      name: "a byte a second",
      waits: true,
      begin: (socket) => drip(socket, half),
    },
    {
      name: "half a request",
      waits: true,
      begin: (socket) => socket.write(half),
    },
    {
      name: "more than any limit takes",
      count: 20,
      begin: (socket) => pour(socket, flood),
    },
    {
      name: "garbage",
      begin: (socket) => {
        const noise = new Uint8Array(4096);
        for (let i = 0; i < noise.length; i++) noise[i] = i * 167 + 3 & 0xff;
        socket.write(noise);
      },
    },
    { name: "reset at once", begin: (socket) => reset(socket) },
    {
      name: "reset after half a request",
      begin: (socket) => {
        socket.write(half, () => reset(socket));
      },
    },
  ];
  if (whole) {
    list.push(
      {
        name: "reset after a whole request",
        begin: (socket) => {
          socket.write(whole, () => reset(socket));
        },
      },
      {
        name: "requests whose answers nobody reads",
        waits: true,
        begin: (socket) => {
          for (let i = 0; i < 50; i++) socket.write(whole);
        },
      },
    );
  }
  return list;
}

/**
 * The attacks, with all of those that last until the deadline as one: their
 * attackers take turns, and the deadline is waited for once.
 */
export function inTurns(list: readonly Attack[]): Attack[] {
  const waiting = list.filter(({ waits }) => waits);
  let turn = 0;
  return [
    {
      name: waiting.map(({ name }) => name).join(", "),
      waits: true,
      begin: (socket) => waiting[turn++ % waiting.length]!.begin(socket),
    },
    ...list.filter(({ waits }) => !waits),
  ];
}

function drip(socket: Socket, bytes: Uint8Array): void {
  let at = 0;
  const timer = setInterval(() => {
    socket.write(bytes.subarray(at, at + 1));
    // Over and over: what has no end cannot be whole.
    at = (at + 1) % Math.max(1, bytes.length - 1);
  }, 1000);
  socket.on("close", () => clearInterval(timer));
}

function pour(socket: Socket, bytes: Uint8Array): void {
  let poured = 0;
  const more = () => {
    while (!socket.destroyed && poured < OVERSIZE_BYTES) {
      poured += bytes.length;
      if (!socket.write(bytes)) {
        socket.once("drain", more);
        return;
      }
    }
  };
  more();
}

function reset(socket: Socket): void {
  socket.resetAndDestroy();
}

/** Attacks, and throws where the victim does not withstand it. */
export async function assertWithstands(
  victim: Victim,
  attack: Attack,
): Promise<Damage> {
  const atRest = await goodMs(victim);
  // A machine under load is slow with every client, attack or not.
  const goodLimitMs = GOOD_MS + 10 * atRest;
  await settled(victim.pid);
  const descriptors = descriptorsOf(victim.pid);
  const rss = rssOf(victim.pid);
  const attackers = new Attackers(victim.address, attack);
  try {
    let worstGoodMs = 0;
    const good = async () => {
      const ms = await goodMs(victim);
      worstGoodMs = Math.max(worstGoodMs, ms);
      assert(
        ms <= goodLimitMs,
        `${attack.name}: a good client took ${ms.toFixed(0)} ms`,
      );
    };
    const connecting = attackers.connect();
    await good();
    await connecting;
    const begun = performance.now();
    const limitMs = victim.deadlineMs + 1000 + 10 * atRest;
    let backMs = 0;
    for (;;) {
      await good();
      // The good client's own descriptor goes first.
      await new Promise((resolve) => setTimeout(resolve, 50));
      backMs = performance.now() - begun;
      if (descriptorsOf(victim.pid) <= descriptors) break;
      assert(
        backMs <= limitMs,
        `${attack.name}: ${descriptorsOf(victim.pid)} descriptors after ${
          backMs.toFixed(0)
        } ms, ${descriptors} at rest`,
      );
    }
    const rssGrowthBytes = rssOf(victim.pid) - rss;
    assert(
      rssGrowthBytes <= RSS_SLACK_BYTES,
      `${attack.name}: ${rssGrowthBytes >> 20} MiB more than at rest`,
    );
    return { worstGoodMs, descriptorsBackMs: backMs, rssGrowthBytes };
  } finally {
    await attackers[Symbol.asyncDispose]();
  }
}

/** Connections that misbehave, and stay until the victim or the end of the test closes them. */
class Attackers implements AsyncDisposable {
  readonly #address: Address;
  readonly #attack: Attack;
  readonly #sockets: Socket[] = [];

  constructor(address: Address, attack: Attack) {
    this.#address = address;
    this.#attack = attack;
  }

  /** Resolves when each has connected, or was not let in. */
  async connect(): Promise<void> {
    const { hostname: host, port } = this.#address;
    const { begin, count = 200 } = this.#attack;
    await Promise.all(Array.from({ length: count }, () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      // Its own end stays open: what frees the victim's descriptor is the victim.
      const socket = connect({ host, port, allowHalfOpen: true });
      this.#sockets.push(socket);
      socket.on("error", () => resolve());
      socket.on("close", () => resolve());
      socket.on("connect", () => {
        begin(socket);
        resolve();
      });
      return promise;
    }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#sockets.map((socket) => {
      if (socket.closed) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      socket.on("close", () => resolve());
      socket.destroy();
      return promise;
    }));
  }
}

async function goodMs({ good }: Victim): Promise<number> {
  const begun = performance.now();
  await good();
  return performance.now() - begun;
}

/** Waits until a process has as many descriptors at two times in a row. */
async function settled(pid: number): Promise<void> {
  let before = -1;
  for (let tries = 0; tries < 100; tries++) {
    const now = descriptorsOf(pid);
    if (now === before) return;
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Descriptors that a process has open. */
export function descriptorsOf(pid: number): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}

/** Resident memory of a process, in bytes. */
export function rssOf(pid: number): number {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)![1]) * 1024;
}

/** Opens a good client's connection; it is closed with its scope. */
export async function withConnection<T>(
  { hostname, port }: Address,
  use: (connection: Deno.TcpConn) => Promise<T>,
): Promise<T> {
  using connection = await Deno.connect({ hostname, port });
  return await use(connection);
}

/** Reads until the text so far matches; throws at the end of the connection. */
export async function readUntil(
  connection: Deno.Conn,
  pattern: RegExp,
): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(16 * 1024);
  let text = "";
  while (!pattern.test(text)) {
    const bytes = await connection.read(buffer);
    if (bytes === null) throw new Error(`ended after ${JSON.stringify(text)}`);
    text += decoder.decode(buffer.subarray(0, bytes), { stream: true });
  }
  return text;
}
