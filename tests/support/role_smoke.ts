/** One short run of each role over loopback, however the role is started. */
import { assertEquals } from "@std/assert";
import { freePort } from "../../bench/harness/processes.ts";
import { type Address, parseAddress } from "../../net/address.ts";
import { concat } from "./batches.ts";
import { Receiver } from "./datagram_peer.ts";
import { soon } from "./deadline.ts";
import { fileAppears, readRotated } from "./folder.ts";
import type { TestProcess } from "./process.ts";
import {
  connectTo,
  echoServer,
  readExactly,
  TestServer,
  writeAll,
} from "./tcp.ts";

const TEXT = new TextEncoder().encode("once over loopback\n");

/** Starts the role with these arguments. */
export type RunRole = (...args: string[]) => TestProcess;

/** Runs a role once over loopback; `folder` may be read and written. */
export const roleSmoke: Readonly<
  Record<string, (run: RunRole, folder: string) => Promise<void>>
> = {
  async client(run, folder) {
    await using receiver = await Receiver.open();
    await Deno.writeFile(`${folder}/in`, TEXT);
    await using client = run(
      "--path",
      `${folder}/in`,
      "--server-addr",
      hostPort(receiver.address),
    );
    const { code, stderr } = await client.end;
    assertEquals(code, 0, stderr);
    await receiver.atLeastBytes(TEXT.length);
    assertEquals(receiver.bytes, TEXT);
  },
  async server(run, folder) {
    const logs = `${folder}/logs`;
    await Deno.mkdir(logs);
    // Two listeners have a thread each, and so has what compresses.
    await using server = run(
      ...["--path", `${logs}/out`, "--rotate-size", "1k"],
      ...["--listen-addr", "127.0.0.1:0", "--listen-addr", "127.0.0.1:0"],
    );
    const addresses = await server.lines(/listening address=(\S+:\d+)/, 2);
    const line = new TextEncoder().encode(`${"x".repeat(599)}\n`);
    for (const [, address] of [...addresses, ...addresses]) {
      await sendDatagram(parseAddress(address!), line);
    }
    await soon(fileAppears(logs, ".gz"), "a compressed file");
    await ends(server);
    // Windows ends it without a chance to write the rest.
    if (Deno.build.os !== "windows") {
      assertEquals(
        concat(readRotated(logs, "out")),
        concat([line, line, line, line]),
      );
    }
    await Deno.remove(logs, { recursive: true });
  },
  async proxy(run) {
    await using receiver = await Receiver.open();
    await using proxy = run(
      ...["--udp-listen-addr", "127.0.0.1:0"],
      ...["--udp-downstream-addr", hostPort(receiver.address)],
    );
    await sendDatagram(await listening(proxy));
    await receiver.atLeastBytes(TEXT.length);
    assertEquals(receiver.bytes, TEXT);
    await ends(proxy);
  },
  async reverseproxy(run) {
    const group = `239.255.90.22:${freePort("udp")}`;
    await using reverse = run(
      ...["--udp-listen-addr", "127.0.0.1:0", "--interface", "127.0.0.1"],
      ...["--multicast-addr", group, "--tcp-output-addr", "127.0.0.1:0"],
    );
    const door = await listening(reverse, /subscribers address=(\S+:\d+)/);
    const inlet = await listening(reverse, /listening address=(127\S+:\d+)/);
    using subscriber = await connectTo(door);
    await reverse.line(/subscriber connected/);
    await sendDatagram(inlet);
    assertEquals(await readExactly(subscriber, TEXT.length), TEXT);
    await ends(reverse);
  },
  async relay(run) {
    await using target = echoServer();
    await using relay = run(
      ...["127.0.0.1:0", hostPort(target.address), "--metrics-addr", "off"],
    );
    await echoes(await listening(relay));
    await ends(relay);
  },
  async tunnel(run) {
    await using target = echoServer();
    await using tunnel = run(`0=${hostPort(target.address)}`);
    await echoes(await listening(tunnel));
    await ends(tunnel);
  },
  async mqtt(run) {
    const connack = Uint8Array.of(0x20, 2, 0, 0);
    // As a broker that knows one answer: MQTT 3.1.1, 3.1 and 3.2.
    const connect = Uint8Array.of(
      ...[0x10, 13, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 60, 0, 1, 0x61],
    );
    await using broker = new TestServer(async (conn) => {
      await readExactly(conn, connect.length);
      await writeAll(conn, connack);
      await conn.read(new Uint8Array(1));
    });
    await using gateway = run(
      ...["--listen", "mqtt://127.0.0.1:0"],
      ...["--target", `mqtt://${hostPort(broker.address)}`],
    );
    using client = await connectTo(await listening(gateway));
    await writeAll(client, connect);
    assertEquals(await readExactly(client, connack.length), connack);
    await ends(gateway);
  },
  async echo(run) {
    await using echo = run("--listen", "127.0.0.1:0");
    await echoes(await listening(echo));
    await ends(echo);
  },
  async loadtest(run) {
    await using target = echoServer();
    await using loadtest = run(
      ...["--target", hostPort(target.address), "--connections", "1"],
      ...["--duration", "0.2", "--json"],
    );
    const { code, stdout, stderr } = await loadtest.end;
    assertEquals(code, 0, stderr);
    JSON.parse(new TextDecoder().decode(stdout));
  },
};

function hostPort({ hostname, port }: Address): string {
  return `${hostname}:${port}`;
}

async function listening(
  role: TestProcess,
  pattern = /listening address=(\S+:\d+)/,
): Promise<Address> {
  const [, address] = await role.line(pattern);
  return parseAddress(address!);
}

/** Sends one datagram from loopback. */
export async function sendDatagram(
  { hostname, port }: Address,
  datagram = TEXT,
): Promise<void> {
  const socket = Deno.listenDatagram({
    transport: "udp",
    hostname: "127.0.0.1",
    port: 0,
  });
  try {
    await socket.send(datagram, { transport: "udp", hostname, port });
  } finally {
    socket.close();
  }
}

async function echoes(address: Address): Promise<void> {
  using client = await connectTo(address);
  await writeAll(client, TEXT);
  assertEquals(await readExactly(client, TEXT.length), TEXT);
}

async function ends(role: TestProcess): Promise<void> {
  const { code, stderr } = await role.stop();
  // Windows knows no signal that asks: it ends the process.
  if (Deno.build.os !== "windows") assertEquals(code, 0, stderr);
}
