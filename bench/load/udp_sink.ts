/**
 * Counts datagrams, and nothing else, until it is ended.
 *
 *     udp_sink.ts [--listen HOST:PORT] [--engine portable]
 *
 * Prints `listening PORT`, then, at most every 20 ms and only while something
 * comes, `MS BYTES DATAGRAMS DROPPED` on stderr: the clock in milliseconds
 * since 1970, and totals.
 */
import { parseArgs } from "@std/cli/parse-args";
import { parseAddress } from "../../net/address.ts";
import { DatagramBatch } from "../../net/engine/batch.ts";
import { chooseDatagramEngine } from "../../net/engine/choose.ts";
import type { DatagramEngine } from "../../net/engine/engine.ts";
import { createLinuxEngine } from "../../net/engine/linux/engine.ts";

const SAMPLE_MS = 20;

/**
 * How long it looks away when nothing is there. A socket that nobody waits on
 * costs its sender no wake-up, so one that sends single datagrams is not
 * slowed down by who counts them.
 */
const PAUSE_MS = 1;

/** Enough for the stalls of a process that shares two cores with a flood. */
const RECEIVE_BUFFER_BYTES = 64 << 20;

const { listen = "127.0.0.1:0", engine } = parseArgs(Deno.args, {
  string: ["listen", "engine"],
});
const portable = engine === "portable";
// Joined reads, counted or not: this must never be the slow part.
const seam: DatagramEngine = portable
  ? chooseDatagramEngine("portable")
  : createLinuxEngine({ blocking: true, joinReads: "always" });
const listener = await seam.listen({
  address: parseAddress(listen, { allowPortZero: true }),
  receiveBufferBytes: portable ? undefined : RECEIVE_BUFFER_BYTES,
});
say(`listening ${listener.address.port}`);

const batch = new DatagramBatch(listener.batchSize);
let bytes = 0;
let datagrams = 0;
let said = 0;
let saidAt = 0;
const nothing = new Int32Array(new SharedArrayBuffer(4));
// The portable engine's waits are promises, so a timer can sample beside them.
if (portable) setInterval(sample, SAMPLE_MS);
for (;;) {
  if (listener.tryReceive(batch) > 0) {
    bytes += batch.byteLength();
    datagrams += batch.datagrams();
    if (!portable) sample();
    continue;
  }
  if (portable) await listener.readable();
  else {
    sample();
    Atomics.wait(nothing, 0, 0, PAUSE_MS);
  }
}

function sample(): void {
  const now = performance.now();
  if (now - saidAt < SAMPLE_MS || datagrams === said) return;
  saidAt = now;
  said = datagrams;
  const at = (performance.timeOrigin + now).toFixed(3);
  say(`${at} ${bytes} ${datagrams} ${listener.dropped() ?? 0}`);
}

function say(line: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`));
}
