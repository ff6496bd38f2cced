/**
 * Clients of MQTT 3.1.1 that come and then say nothing.
 *
 *     mqtt_idle.ts --to 127.0.0.1:PORT --first COUNT --more COUNT
 *
 * Prints `first` when the first are let in; goes on when a line comes on
 * stdin, and prints `more MS` when the others are let in too. Ends when stdin
 * does.
 */
import { parseArgs } from "@std/cli/parse-args";
import { connectPacket } from "../../tests/support/mqtt_peer.ts";
import { say } from "./samples.ts";

/** Of the clients that are not let in yet: a backlog must take them. */
const AT_A_TIME = 64;

const { to, first, more } = parseArgs(Deno.args, {
  string: ["to", "first", "more"],
});
const [hostname, port] = to!.split(":") as [string, string];
const connections: Deno.TcpConn[] = [];

await come(Number(first));
say("first");
const line = new Uint8Array(64);
await Deno.stdin.read(line);
const start = performance.now();
await come(Number(more));
say(`more ${(performance.now() - start).toFixed(1)}`);
await Deno.stdin.read(line);

async function come(count: number): Promise<void> {
  let left = count;
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    while (left-- > 0) {
      const connection = await Deno.connect({ hostname, port: Number(port) });
      const clientId = `idle-${connections.push(connection)}`;
      await connection.write(connectPacket({ clientId, keepAlive: 0 }));
      const answer = new Uint8Array(4);
      await connection.read(answer);
      if (answer[0] !== 0x20 || answer[3] !== 0) {
        throw new Error(`${clientId} was not let in: ${answer.toHex()}`);
      }
    }
  }));
}
