/**
 * Receives datagrams through an engine and only counts them. Prints as
 * samples.ts says.
 *
 *     udp_receive.ts linux|portable
 */
import { DatagramBatch } from "../../net/engine/batch.ts";
import { chooseDatagramEngine } from "../../net/engine/choose_datagram.ts";
import type { EngineChoice } from "../../net/engine/datagram.ts";
import { SAMPLE_MS, Samples, say } from "./samples.ts";

const [choice] = Deno.args;
const engine = chooseDatagramEngine(choice as EngineChoice, { blocking: true });
const linux = engine.name === "linux";
const listener = await engine.listen({
  address: { hostname: "127.0.0.1", port: 0 },
});
say(`listening ${listener.address.port}`);

const batch = new DatagramBatch(listener.batchSize);
const samples = new Samples();
const dropped = (): number => listener.dropped() ?? 0;
// The portable engine's waits are promises, so a timer can run beside them.
if (!linux) setInterval(() => samples.sayIfDue(dropped), SAMPLE_MS);
for (;;) {
  if (listener.tryReceive(batch) > 0) {
    samples.bytes += batch.byteLength();
    samples.datagrams += batch.datagrams();
    if (linux) samples.sayIfDue(dropped);
    continue;
  }
  if (linux) samples.sayIfDue(dropped);
  const waiting = listener.readable(linux ? SAMPLE_MS : undefined);
  if (waiting) await waiting;
}
