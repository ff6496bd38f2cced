// deno-lint-ignore-file no-console
/**
 * Connections opened, used, ended and reset at random through a relay on the
 * linux engine for a minute; afterwards its descriptors (pipes among them) and
 * its resident memory must be back where they were.
 *
 *     deno run -A tests/soak/stream_churn.ts [SECONDS [AT_ONCE]]
 */
import net from "node:net";
import { formatAddress } from "../../net/address.ts";
import { residentBytes } from "../../bench/harness/processes.ts";
import { startRole } from "../support/process.ts";
import { echoServer } from "../support/tcp.ts";

const seconds = Number(Deno.args[0] ?? 60);
const atOnce = Number(Deno.args[1] ?? 500);

/** A tenth of the time is for caches, pools and compiled code to come to their size. */
const WARM_SHARE = 0.1;
const LEAST_CONNECTIONS = 10_000;
/** Free pipes that a reactor keeps, two descriptors each. */
const KEPT_PIPE_ENDS = 32;
const MOST_GROWTH_BYTES = 16e6;

await using server = echoServer();
await using relay = startRole("relay", [
  ...["127.0.0.1:0", formatAddress(server.address), "--engine", "linux"],
  ...["--metrics-addr", "127.0.0.1:0"],
]);
const [, hostname, port] = await relay.line(
  /listening address=([\d.]+):(\d+)/,
);
const [, metrics] = await relay.line(/metrics door is open url=(\S+)/);

/** One connection, used in one of several ways. */
function use(): Promise<void> {
  return new Promise((resolve) => {
    const socket = net.connect(Number(port), hostname);
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

async function churn(milliseconds: number): Promise<void> {
  const untilMs = performance.now() + milliseconds;
  await Promise.all(Array.from({ length: atOnce }, async () => {
    while (performance.now() < untilMs) await use();
  }));
}

async function figures(): Promise<string> {
  return await (await fetch(metrics!)).text();
}

/** What the relay holds once no connection is left. */
async function holdings() {
  while (!/^connections_active 0$/m.test(await figures()));
  return {
    // The door's own connection is one of them, each time.
    descriptors: [...Deno.readDirSync(`/proc/${relay.pid}/fd`)].length,
    residentBytes: residentBytes([relay.pid]),
  };
}

await churn(seconds * 1000 * WARM_SHARE);
const before = await holdings();
await churn(seconds * 1000);
const after = await holdings();
const [, accepted] = /^mproxy_relay_accepted_total (\d+)$/m.exec(
  await figures(),
)!;
console.log(JSON.stringify({ accepted: Number(accepted), before, after }));
if (Number(accepted) < LEAST_CONNECTIONS) throw new Error("too few");
if (after.descriptors > before.descriptors + KEPT_PIPE_ENDS) {
  throw new Error("descriptors were left open");
}
if (after.residentBytes > before.residentBytes + MOST_GROWTH_BYTES) {
  throw new Error("memory was not given back");
}
