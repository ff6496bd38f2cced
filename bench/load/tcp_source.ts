/**
 * Writes to the first who connects, as fast as it is read, for a time.
 *
 *     tcp_source.ts --seconds S
 *
 * Prints `listening PORT`, `sending` when somebody has connected, and
 * `sent BYTES` when it has closed, on stderr.
 */
import { parseArgs } from "@std/cli/parse-args";
import { say } from "./samples.ts";

const { seconds } = parseArgs(Deno.args, { string: ["seconds"] });
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
say(`listening ${listener.addr.port}`);
const connection = await listener.accept();
listener.close();
say("sending");
const data = new Uint8Array(256 * 1024);
const end = performance.now() + Number(seconds) * 1000;
let sent = 0;
while (performance.now() < end) sent += await connection.write(data);
connection.close();
say(`sent ${sent}`);
