/**
 * One turn of one relay.
 *
 * 1. Who answers behind it is started, then the relay, then the load.
 * 2. After some time in which all get warm, the seconds that count begin; CPU
 *    time is read at their start and their end.
 * 3. The load ends its connections, then the relay and its children are ended.
 */
import { SinkArrivals } from "../harness/arrivals.ts";
import type { Figures } from "../harness/bench.ts";
import {
  cpuSeconds,
  freePort,
  peakBytes,
  portAnswers,
  processTree,
  residentBytes,
  sleep,
  until,
} from "../harness/processes.ts";
import { startPeer, type TestProcess } from "../../tests/support/process.ts";
import type { Relay, Traffic } from "./contenders.ts";

const WARM_MS = 300;
const SPARE_MS = 200;
const SETTLE_MS = 200;
const CHILDREN_MS = 1000;
const END_MS = 3000;

/** Columns of latency. */
export const P50 = "p50 µs";
export const P99 = "p99 µs";

/** What all turns need. */
export interface Place {
  /** The compiled load; see bench/load/tcp_load.c. */
  load: string;
  relay: Relay;
  traffic: Traffic;
}

/** Bytes one way on so many connections, as fast as they go. */
export async function bulkTurn(
  place: Place,
  connections: number,
  seconds: number,
): Promise<Figures> {
  await using stack = new AsyncDisposableStack();
  const { sink, port, pids } = await startRelay(stack, place, "sink");
  const whole = (WARM_MS + SPARE_MS) / 1000 + seconds;
  const sender = startLoad(stack, place, [
    ...["bulk", port, connections, whole.toFixed(3)],
  ]);
  const arrivals = new SinkArrivals(sink);
  await until(() => arrivals.read().bytes > 0, "nothing arrived");
  await sleep(WARM_MS);
  const first = arrivals.read();
  const firstCpu = cpuSeconds(pids);
  await sleep(seconds * 1000);
  const last = arrivals.read();
  const cpu = cpuSeconds(pids) - firstCpu;
  const peak = peakBytes(pids);
  const [, sent] = await sender.line(/^sent (\d+)$/);
  await until(
    () => arrivals.read().bytes >= Number(sent),
    `not all of ${sent} bytes arrived`,
  );
  if (arrivals.read().bytes !== Number(sent)) {
    throw new Error(`${arrivals.read().bytes} bytes arrived, of ${sent}`);
  }
  return {
    seconds: (last.at - first.at) / 1000,
    bytes: last.bytes - first.bytes,
    count: 0,
    cpuSeconds: cpu,
    peakBytes: peak,
  };
}

/** Messages there and back, one at a time on each of so many connections. */
export function echoTurn(
  place: Place,
  connections: number,
  bytes: number,
  seconds: number,
): Promise<Figures> {
  return measuredTurn(place, "echo", connections, bytes, seconds);
}

/** Connections for a message there and back each, so many at once. */
export function connectTurn(
  place: Place,
  atOnce: number,
  bytes: number,
  seconds: number,
): Promise<Figures> {
  return measuredTurn(place, "connect", atOnce, bytes, seconds);
}

async function measuredTurn(
  place: Place,
  mode: "echo" | "connect",
  connections: number,
  bytes: number,
  seconds: number,
): Promise<Figures> {
  await using stack = new AsyncDisposableStack();
  const { port, pids } = await startRelay(stack, place, "echo");
  const load = startLoad(stack, place, [
    ...[mode, port, connections, bytes, WARM_MS / 1000, seconds],
  ]);
  await load.line(/^measuring$/);
  const firstCpu = cpuSeconds(pids);
  const [, words] = await load.line(/^measured (.*)$/);
  const cpu = cpuSeconds(pids) - firstCpu;
  const peak = peakBytes(pids);
  const [took, count, p50, p99] = words!.split(" ").map(Number);
  if (count === 0) throw new Error("nothing came back");
  return {
    seconds: took!,
    // A connection's own byte says nothing of how much goes through.
    bytes: mode === "echo" ? count! * bytes : 0,
    count: count!,
    cpuSeconds: cpu,
    peakBytes: peak,
    more: { [P50]: p50! / 1000, [P99]: p99! / 1000 },
  };
}

/** Resident memory with so many connections open on which nothing moves. */
export async function idleTurn(
  place: Place,
  counts: readonly number[],
): Promise<Figures> {
  await using stack = new AsyncDisposableStack();
  const { port, pids } = await startRelay(stack, place, "echo");
  const firstCpu = cpuSeconds(pids);
  const load = startLoad(stack, place, ["idle", port, 1, ...counts]);
  const writer = load.stdin.getWriter();
  const resident: number[] = [];
  let took = 0;
  for (const count of [1, ...counts]) {
    const [, seconds] = await load.line(new RegExp(`^open ${count} (.*)$`));
    took += Number(seconds);
    await sleep(SETTLE_MS);
    resident.push(residentBytes(pids));
    await writer.write(new TextEncoder().encode("\n"));
  }
  const most = counts.at(-1)!;
  const figures: Figures = {
    seconds: took,
    bytes: 0,
    count: most,
    cpuSeconds: cpuSeconds(pids) - firstCpu,
    peakBytes: peakBytes(pids),
    more: pids.length === 0 ? {} : {
      ...Object.fromEntries(
        [1, ...counts].map((
          count,
          i,
        ) => [memoryTitle(count), resident[i]! / 1e6]),
      ),
      "KiB per connection": (resident.at(-1)! - resident[0]!) / (most - 1) /
        1024,
    },
  };
  await writer.close().catch(() => {});
  return figures;
}

/** The column of the resident memory with so many connections. */
export function memoryTitle(connections: number): string {
  return `MB with ${connections}`;
}

interface Started {
  /** Who answers behind the relay. */
  sink: TestProcess;
  /** Where the load connects to. */
  port: number;
  /** Whose CPU time and memory count. */
  pids: number[];
}

async function startRelay(
  stack: AsyncDisposableStack,
  { load, relay, traffic }: Place,
  mode: "echo" | "sink",
): Promise<Started> {
  const sink = stack.use(startPeer(load, ["serve", mode]));
  const to = Number((await sink.line(/^listening (\d+)$/))[1]);
  if (!relay.command) return { sink, port: to, pids: [] };
  const port = freePort("tcp");
  const { program, args, cwd } = relay.command(port, to, traffic);
  const process = startPeer(program, args, cwd === undefined ? {} : { cwd });
  stack.defer(() => endRelay(process));
  await Promise.race([
    portAnswers(port),
    process.end.then(({ code, stderr }) => {
      throw new Error(`it ended with code ${code}: ${stderr}`);
    }),
  ]);
  return { sink, port, pids: [process.pid] };
}

function startLoad(
  stack: AsyncDisposableStack,
  { load }: Place,
  args: readonly (string | number)[],
): TestProcess {
  const process = startPeer(load, args.map(String), { stdin: true });
  stack.use(process);
  return process;
}

/** Ends a relay with its children; a parent that is killed would leave them. */
async function endRelay(process: TestProcess): Promise<void> {
  // A child a connection, of those that fork, ends with its connection.
  const start = performance.now();
  while (
    processTree(process.pid).length > 2 &&
    performance.now() - start < CHILDREN_MS
  ) await sleep(10);
  const tree = processTree(process.pid);
  const timer = setTimeout(() => {
    for (const pid of tree) {
      try {
        Deno.kill(pid, "SIGKILL");
      } catch {
        // It has ended.
      }
    }
  }, END_MS);
  await process.stop();
  clearTimeout(timer);
}
