/**
 * Starts and stops a thousand times: no descriptor, no thread and no memory
 * may be left. Prints PASS or FAIL for each and exits with 0 or 1.
 *
 *     deno run -A --v8-flags=--expose-gc tests/soak/start_stop.ts [CYCLES]
 */
// deno-lint-ignore-file no-console
import { startProxy } from "../../mod.ts";
import { DatagramBatch } from "../../net/engine/batch.ts";
import { SEND_COUNTERS } from "../../net/engine/datagram.ts";
import { createLinuxEngine } from "../../net/engine/linux/datagram/engine.ts";
import { Log } from "../../net/observe/log.ts";
import { formatBytes } from "../../net/observe/units.ts";
import { batchOf, pattern, receive } from "../support/datagrams.ts";
import { TestWorker } from "../support/workers.ts";

const cycles = Number(Deno.args[0] ?? 1000);

/**
 * What the second half of the cycles may add to the most that was resident in
 * the first. Each half is looked at twice: what V8 and malloc keep for later
 * moves by 15 MB from look to look, and what leaks adds up.
 */
const GROWTH_BYTES = 8 * 1024 * 1024;

/** Threads of Deno's pool end after ten seconds without work. */
const POOL_IDLE_MS = 11_000;

const loopback = { hostname: "127.0.0.1", port: 0 };

/** Sockets of one engine: opened, used in every way, closed. */
async function sockets(): Promise<void> {
  const engine = createLinuxEngine({ blocking: false });
  const counters = new Float64Array(SEND_COUNTERS.length);
  const listener = await engine.listen({ address: loopback });
  using sender = await engine.connect({
    address: listener.address,
    maxWaitMs: 100,
    counters,
  });
  await sender.send(batchOf([pattern(100)]));
  await receive(listener, 1, new DatagramBatch(2));
  const waiting = listener.readable();
  listener[Symbol.dispose]();
  await waiting;
}

/** A thread that listens, waits and is woken, three times over. */
async function threads(): Promise<void> {
  const engine = createLinuxEngine({ blocking: false });
  using event = engine.openWakeEvent();
  using worker = new TestWorker(
    import.meta.resolve("../support/waiting_worker.ts"),
  );
  worker.post(event.descriptor);
  while (await worker.next() === "waiting") event.wake();
}

/** The proxy role, with its relay in this thread. */
async function proxies(): Promise<void> {
  await using proxy = await startProxy({
    listen: [loopback],
    destinations: [{ hostname: "127.0.0.1", port: 9 }],
    engine: "linux",
    log: new Log({ level: "error" }),
  });
  await proxy.drain();
  await proxy.finished;
}

const stopMs: number[] = [];

/** The proxy role with two relays in threads of their own; how long they take to end is kept. */
async function placedProxies(): Promise<void> {
  await using proxy = await startProxy({
    listen: [loopback],
    destinations: [{ hostname: "127.0.0.1", port: 9 }],
    engine: "linux",
    workers: 2,
    log: new Log({ level: "error" }),
  });
  const told = performance.now();
  await proxy.drain();
  await proxy.finished;
  stopMs.push(performance.now() - told);
}

let failed = false;
for (
  const [name, cycle, share] of [
    ["sockets", sockets, 1],
    ["threads", threads, 0.1],
    ["proxies", proxies, 1],
    ["proxies of two threads", placedProxies, 0.3],
  ] as const
) {
  if (!await leavesNothing(name, cycle, Math.ceil(cycles * share))) {
    failed = true;
  }
}
stopMs.sort((a, b) => a - b);
console.log(
  `two threads ended in ${
    stopMs[stopMs.length >> 1]!.toFixed(0)
  } ms (median), ${stopMs.at(-1)!.toFixed(0)} ms at most, of ${stopMs.length}`,
);
Deno.exit(failed ? 1 : 0);

async function leavesNothing(
  name: string,
  cycle: () => Promise<void>,
  times: number,
): Promise<boolean> {
  // The first half warms up; what leaks does so in the second one as well.
  const quarter = Math.ceil(times / 4);
  const looks: Held[] = [];
  for (let i = 0; i < 4; i++) {
    for (let n = 0; n < quarter; n++) await cycle();
    await settle();
    looks.push(held());
  }
  const [first, half, third, end] = looks as [Held, Held, Held, Held];
  const grown = Math.max(third.resident, end.resident) -
    Math.max(first.resident, half.resident);
  const passed = end.descriptors === half.descriptors &&
    end.threads <= half.threads && grown <= GROWTH_BYTES;
  console.log(`${passed ? "PASS" : "FAIL"} ${name}: ${4 * quarter} cycles`);
  for (const look of looks) {
    console.log(
      `  ${look.descriptors} descriptors, ${look.threads} threads, ${
        formatBytes(look.resident)
      } resident`,
    );
  }
  return passed;
}

async function settle(): Promise<void> {
  const { gc } = globalThis as { gc?: () => void };
  if (!gc) throw new Error("Run with --v8-flags=--expose-gc");
  gc();
  await new Promise((resolve) => setTimeout(resolve, POOL_IDLE_MS));
  gc();
}

interface Held {
  descriptors: number;
  threads: number;
  /** Bytes. */
  resident: number;
}

function held(): Held {
  const entries = (path: string) => Array.from(Deno.readDirSync(path)).length;
  return {
    descriptors: entries("/proc/self/fd"),
    threads: entries("/proc/self/task"),
    resident: Deno.memoryUsage().rss,
  };
}
