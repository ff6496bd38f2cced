// deno-lint-ignore-file no-console
/**
 * Connections opened, used, ended and reset at random through a relay on the
 * linux engine; afterwards its descriptors and memory must be back.
 *
 *     deno run -A tests/soak/stream_churn.ts [CONNECTIONS [AT_ONCE]]
 */
import net from "node:net";
import { TcpRelay } from "../../net/tcp/relay.ts";
import { echoServer } from "../support/tcp.ts";

const connections = Number(Deno.args[0] ?? 10_000);
const atOnce = Number(Deno.args[1] ?? 200);

await using server = echoServer();
await using relay = await TcpRelay.bind("127.0.0.1:0", server.address, {
  engine: "linux",
});
const { hostname, port } = relay.address;

/** One connection, used in one of several ways. */
function use(): Promise<void> {
  return new Promise((resolve) => {
    const socket = net.connect(port, hostname);
    const way = Math.random();
    const size = way < 0.05 ? 2_000_000 : 1 + Math.floor(way * 5000);
    let received = 0;
    socket.on("error", () => {});
    socket.on("close", () => resolve());
    socket.on("connect", () => {
      if (way > 0.95) return socket.resetAndDestroy();
      socket.write(new Uint8Array(size));
    });
    socket.on("data", (bytes: Uint8Array) => {
      received += bytes.length;
      if (way > 0.6) socket.resetAndDestroy();
      else if (received === size) {
        if (way > 0.3) socket.destroy();
        else socket.end();
      }
    });
  });
}

async function churn(count: number): Promise<void> {
  let left = count;
  await Promise.all(Array.from({ length: atOnce }, async () => {
    while (left-- > 0) await use();
  }));
  while (relay.stats().open + relay.stats().opening > 0) {
    await relay.connections();
  }
}

function descriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}

// Sockets of the peers close a little later than the relay's.
async function settled(): Promise<number> {
  let least = descriptors();
  for (let i = 0; i < 50; i++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    least = Math.min(least, descriptors());
  }
  return least;
}

await churn(Math.min(connections, 1000));
const before = { descriptors: await settled(), rss: Deno.memoryUsage().rss };
await churn(connections);
const after = { descriptors: await settled(), rss: Deno.memoryUsage().rss };
const { accepted, opened, ended, rejected } = relay.stats();
console.log(JSON.stringify({ accepted, opened, ended, rejected }));
console.log(JSON.stringify({ before, after }));
// Up to sixteen free pipes are kept, and none need be kept yet before.
if (after.descriptors > before.descriptors + 32) {
  throw new Error("descriptors were left open");
}
if (after.rss > before.rss + 64e6) throw new Error("memory was not given back");
