/**
 * A flood at ten times what the sink takes, for a minute: what was received
 * and what was dropped must be what was sent, exactly, and resident memory must
 * stay flat. Prints PASS or FAIL and exits with 0 or 1.
 *
 *     deno run -A --v8-flags=--expose-gc tests/soak/datagram_flood.ts [SECONDS]
 */
// deno-lint-ignore-file no-console
import { DatagramBatch } from "../../net/engine/batch.ts";
import { SentSlot } from "../../net/engine/datagram.ts";
import { createLinuxEngine } from "../../net/engine/linux/datagram/engine.ts";
import type { LinuxListener } from "../../net/engine/linux/datagram/listener.ts";
import { formatBytes, formatCount } from "../../net/observe/units.ts";
import type { FloodOrder } from "../support/flood_worker.ts";
import { TestWorker } from "../support/workers.ts";

/** Which part of what is sent the file gets. */
const SINK_SHARE = 0.1;

/** The file is written again from its start after this much. */
const FILE_BYTES = 256 * 1024 * 1024;

/** Resident memory is looked at this often, after a time to warm up. */
const LOOK_MS = 1000;
const WARM_UP_LOOKS = 10;

/** How much the last looks may lie above the first ones. */
const GROWTH_BYTES = 8 * 1024 * 1024;

const seconds = Number(Deno.args[0] ?? 60);

interface Flood extends Omit<FloodOrder, "port" | "ms"> {
  name: string;
  /** Datagrams a second that are sent. */
  rate: number;
}

const floods: readonly Flood[] = [
  { name: "joined sends of 1400 bytes", size: 1400, joined: 40, rate: 400_000 },
  { name: "plain sends of 1400 bytes", size: 1400, joined: 1, rate: 150_000 },
];

let failed = false;
for (const flood of floods) {
  if (!await passes(flood)) failed = true;
}
Deno.exit(failed ? 1 : 0);

async function passes({ name, ...flood }: Flood): Promise<boolean> {
  const engine = createLinuxEngine({ blocking: false });
  const path = await Deno.makeTempFile();
  using file = await Deno.open(path, { write: true });
  await Deno.remove(path);
  using listener = await engine.listen({
    address: { hostname: "127.0.0.1", port: 0 },
  });
  using worker = new TestWorker(
    import.meta.resolve("../support/flood_worker.ts"),
  );
  worker.post({
    ...flood,
    port: listener.address.port,
    ms: seconds * 1000,
  });

  const batch = new DatagramBatch(listener.batchSize);
  const resident: number[] = [];
  let received = 0;
  let written = 0;
  let end: unknown;
  const start = performance.now();
  const take = () => {
    received += batch.datagrams();
    for (let slot = 0; slot < batch.count; slot++) {
      const bytes = batch.filled(slot);
      if (written + bytes.length > FILE_BYTES) {
        file.seekSync(0, Deno.SeekMode.Start);
        written = 0;
      }
      for (let at = 0; at < bytes.length;) {
        at += file.writeSync(bytes.subarray(at));
      }
      written += bytes.length;
    }
  };
  while ((end ??= worker.poll()) === undefined) {
    const passed = performance.now() - start;
    if (passed > (resident.length + 1) * LOOK_MS) {
      resident.push(Deno.memoryUsage().rss);
    }
    if (
      received < SINK_SHARE * flood.rate * passed / 1000 &&
      listener.tryReceive(batch) > 0
    ) {
      take();
      continue;
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  while (listener.tryReceive(batch) > 0) take();

  const sent = (end as Float64Array)[SentSlot.datagrams]!;
  const dropped = listener.dropped()!;
  const exact = received + dropped === sent;
  const looks = resident.slice(WARM_UP_LOOKS);
  const third = Math.floor(looks.length / 3);
  const before = mean(looks.slice(0, third));
  const after = mean(looks.slice(-third));
  const flat = third === 0 || after - before <= GROWTH_BYTES;
  console.log(`${exact && flat ? "PASS" : "FAIL"} ${name}, ${seconds} s`);
  console.log(
    `  sent ${formatCount(sent)}, received ${formatCount(received)}, dropped ${
      formatCount(dropped)
    }: ${exact ? "adds up" : `off by ${sent - received - dropped}`}`,
  );
  console.log(
    `  reads are ${
      (listener as LinuxListener).joinsReads ? "" : "not "
    }joined; resident ${formatBytes(before)} after ${WARM_UP_LOOKS} s, ${
      formatBytes(after)
    } at the end (most ${formatBytes(Math.max(...resident))})`,
  );
  return exact && flat;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, one) => sum + one, 0) / Math.max(1, values.length);
}
