/**
 * One turn of one contender.
 *
 * 1. Who receives at the end is started, then the contender, then the load.
 * 2. From the first arrival on, some time passes in which all get warm.
 * 3. What arrives, and the CPU time used, are read at the start and the end of
 *    the seconds that count.
 * 4. The load ends; when nothing arrives any more, sent less arrived is lost.
 * 5. The contender is asked to end, and says what it has counted.
 */
import type { Arrivals, Arrived } from "../harness/arrivals.ts";
import type { Figures } from "../harness/bench.ts";
import { cpuSeconds, peakBytes, sleep, until } from "../harness/processes.ts";
import {
  type ProcessOptions,
  startPeer,
  type TestProcess,
} from "../../tests/support/process.ts";
import { fromFileUrl } from "@std/path";

const WARM_MS = 300;
const SETTLED_MS = 150;
const LOAD_SPARE_MS = 250;
const END_MS = 5000;

/** Who takes part in a turn. */
export interface Turn {
  arrivals: Arrivals;
  /** Whose CPU time and memory count. */
  contender: readonly TestProcess[];
  seconds: number;
  /** Ends the load; the datagrams or bytes that it has sent, if that is known. */
  endLoad: () => Promise<{ datagrams?: number; bytes?: number }>;
  /** Whether the receiver is a part of the contender. @default {false} */
  ownReceiver?: boolean;
  /** How often each datagram that is sent should arrive. @default {1} */
  copies?: number;
}

/** Seconds that a load must last for a turn. */
export function loadSeconds(seconds: number): number {
  return (WARM_MS + LOAD_SPARE_MS) / 1000 + seconds;
}

/** Measures a turn; all its processes but the contender's are the caller's to end. */
export async function measureTurn(turn: Turn): Promise<Figures> {
  const { arrivals, contender, copies = 1 } = turn;
  const pids = contender.map((process) => process.pid);
  await until(() => arrivals.read().bytes > 0, "nothing arrived");
  await sleep(WARM_MS);
  const first = arrivals.read();
  const firstCpu = cpuSeconds(pids);
  await sleep(turn.seconds * 1000);
  const last = arrivals.read();
  const lastCpu = cpuSeconds(pids);
  const peak = peakBytes(pids);
  const sent = await turn.endLoad();
  const end = await settled(arrivals);
  const counted = await endContender(contender, copies);

  const bytes = last.bytes - first.bytes;
  const count = last.datagrams - first.datagrams;
  const figures: Figures = {
    seconds: (last.at - first.at) / 1000,
    bytes,
    count,
    cpuSeconds: lastCpu - firstCpu,
    peakBytes: peak,
    ...(turn.ownReceiver ? {} : { loadDropped: end.dropped }),
  };
  if (bytes <= 0) throw new Error("nothing arrived in the time that counts");
  if (sent.datagrams !== undefined && end.datagrams > 0) {
    figures.lost = sent.datagrams * copies - end.datagrams;
  } else if (sent.bytes !== undefined) {
    const size = bytes / Math.max(1, count);
    figures.lost = Math.round((sent.bytes * copies - end.bytes) / size);
  }
  if (counted !== undefined) figures.lostCounted = counted;
  return figures;
}

async function settled(arrivals: Arrivals): Promise<Arrived> {
  let last = arrivals.read();
  let since = performance.now();
  const start = since;
  while (
    performance.now() - since < SETTLED_MS && performance.now() - start < END_MS
  ) {
    await sleep(10);
    const now = arrivals.read();
    if (now.bytes !== last.bytes) since = performance.now();
    last = now;
  }
  return last;
}

/** Datagrams that the contender says it has dropped, or undefined where it says nothing. */
async function endContender(
  contender: readonly TestProcess[],
  copies: number,
): Promise<number | undefined> {
  let counted: number | undefined;
  for (const process of contender) {
    const timer = setTimeout(() => process.signal("SIGKILL"), END_MS);
    const { stderr } = await process.stop();
    clearTimeout(timer);
    for (const line of stderr.split("\n")) {
      const match = /^(received on|sent to) .*, ([\d ]+) dropped/.exec(line);
      if (!match) continue;
      const dropped = Number(match[2]!.replaceAll(" ", ""));
      counted = (counted ?? 0) +
        dropped * (match[1] === "received on" ? copies : 1);
    }
  }
  return counted;
}

const LOAD = fromFileUrl(new URL("../load/", import.meta.url));

/** Starts a program of `bench/load`. */
export function startLoad(
  name: string,
  args: readonly string[],
  options?: ProcessOptions,
): TestProcess {
  return startPeer(
    Deno.execPath(),
    ["run", "-A", LOAD + name, ...args],
    options,
  );
}

/** The totals of a load's `sent ...` line, when it has ended. */
export async function totalsOf(load: TestProcess): Promise<number[]> {
  const [, totals] = await load.line(/^sent (.*)$/);
  await load.end;
  return totals!.split(" ").map(Number);
}
