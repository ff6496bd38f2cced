/**
 * A relay of the linux engine whose choice between copy and splice is given.
 *
 *     splice_relay.ts FROM TO READ_BYTES READS PIPE_BYTES
 */
import { linuxStreamEngine } from "../../net/engine/linux/stream/engine.ts";

const [from, to, readBytes, reads, pipeBytes] = Deno.args.map(Number);
const hostname = "127.0.0.1";
const engine = linuxStreamEngine({
  splicing: { readBytes: readBytes!, reads: reads!, pipeBytes: pipeBytes! },
});
await engine.forward({
  listen: { hostname, port: from! },
  remotes: [{ id: 1, address: { hostname, port: to! } }],
  policy: { kind: "single" },
});
Deno.addSignalListener("SIGTERM", () => Deno.exit(0));
