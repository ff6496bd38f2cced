/** What the dispatch roles show of their figures: a progress line and a summary. */
import type { DestinationStats } from "../net/udp/sinks/destinations.ts";
export { dropReasons } from "../net/udp/sinks/destinations.ts";
import { dropReasons } from "../net/udp/sinks/destinations.ts";
import type { ListenerStats } from "../net/udp/listeners.ts";
import type { LogStats, StreamStats } from "../net/udp/server_output.ts";
import type { TeeStats } from "../net/udp/sinks/tee.ts";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatRate,
} from "../net/observe/units.ts";

/** `1 datagram`, `8 471 datagrams`. */
export function counted(count: number, what: string): string {
  return `${formatCount(count)} ${what}${count === 1 ? "" : "s"}`;
}

/** `12.3 MB, 8 471 datagrams`. */
export function amount(bytes: number, datagrams: number): string {
  return `${formatBytes(bytes)}, ${counted(datagrams, "datagram")}`;
}

/** `in 2.0 s, 49.3 Mbit/s`. */
export function pace(bytes: number, elapsedMs: number): string {
  return `in ${formatDuration(elapsedMs)}, ${formatRate(bytes, elapsedMs)}`;
}

/**
 * `, 3 dropped (refused 3)`, or `, 0 dropped`; where more may have been dropped
 * than is known, `, at least 3 dropped`, or `, drops unknown`.
 */
export function drops(count: number, reasons = "", unknown = false): string {
  if (unknown && count === 0) return ", drops unknown";
  return `, ${unknown ? "at least " : ""}${formatCount(count)} dropped${
    reasons ? ` (${reasons})` : ""
  }`;
}

/** `, 3 unfinished lines or records dropped`, where there were any. */
export function partials(count: number): string {
  if (count === 0) return "";
  return `, ${formatCount(count)} unfinished ${
    count === 1 ? "line or record" : "lines or records"
  } dropped`;
}

/** Whether the system does not tell the drops of all listeners. */
export function dropsUnknown(listeners: readonly ListenerStats[]): boolean {
  return listeners.some((one) => one.dropsUnknown > 0);
}

/** A line for each listener. */
export function listenerLines(
  listeners: readonly ListenerStats[],
  elapsedMs: number,
): string[] {
  return listeners.map((
    {
      address,
      receivedBytes,
      receivedDatagrams,
      droppedKernel,
      dropsUnknown,
      droppedLoop,
    },
  ) =>
    `received on ${address}: ${amount(receivedBytes, receivedDatagrams)} ${
      pace(receivedBytes, elapsedMs)
    }${
      drops(
        droppedKernel + droppedLoop,
        reasonCounts([
          ["receive queue full", droppedKernel],
          ["loop", droppedLoop],
        ]),
        dropsUnknown > 0,
      )
    }`
  );
}

/** `receive queue full`, where it is the only reason, or `receive queue full 3, loop 5`. */
function reasonCounts(reasons: readonly [string, number][]): string {
  const met = reasons.filter(([, count]) => count > 0);
  return met.length === 1
    ? met[0]![0]
    : met.map((reason) => reason.join(" ")).join(", ");
}

/** A line for each destination. */
export function destinationLines(
  destinations: readonly DestinationStats[],
  elapsedMs: number,
): string[] {
  return destinations.map((stats) =>
    `sent to ${stats.address}: ${
      amount(stats.sentBytes, stats.sentDatagrams)
    } ${pace(stats.sentBytes, elapsedMs)}${
      drops(stats.droppedDatagrams, dropReasons(stats))
    }`
  );
}

/** A line for stdout, where it got a copy. */
export function teeLines(tee: TeeStats | undefined): string[] {
  if (tee === undefined) return [];
  const {
    bytes,
    datagrams,
    droppedQueueFullDatagrams,
    droppedClosedDatagrams,
    unwrittenBytes,
  } = tee;
  const reasons = [
    ...droppedQueueFullDatagrams > 0
      ? [`queue full ${droppedQueueFullDatagrams}`]
      : [],
    ...droppedClosedDatagrams > 0 ? [`closed ${droppedClosedDatagrams}`] : [],
  ].join(", ");
  return [
    `copied to stdout: ${amount(bytes, datagrams)}${
      drops(droppedQueueFullDatagrams + droppedClosedDatagrams, reasons)
    }${
      unwrittenBytes > 0 ? `, ${formatBytes(unwrittenBytes)} never written` : ""
    }`,
  ];
}

/** Lines for what a server wrote, to files or to a stream. */
export function logLines(
  path: string,
  log: LogStats | undefined,
  stream: StreamStats | undefined,
): string[] {
  const dropped: [string, number][] = [
    ["disk full", log?.droppedDiskFullDatagrams ?? 0],
    ["write error", log?.droppedWriteErrorDatagrams ?? 0],
    ["queue full", stream?.droppedQueueFullDatagrams ?? 0],
    ["closed", stream?.droppedClosedDatagrams ?? 0],
  ];
  const reasons = dropped.filter(([, count]) => count > 0);
  const line = `written to ${path === "-" ? "stdout" : path}: ${
    amount(
      log?.writtenBytes ?? stream?.bytes ?? 0,
      log?.writtenDatagrams ?? stream?.datagrams ?? 0,
    )
  }${
    drops(
      sum(reasons, ([, count]) => count),
      reasons.map((reason) => reason.join(" ")).join(", "),
    )
  }`;
  const rotations = log?.rotations ?? 0;
  return [
    rotations > 0 ? `${line}, rotated ${counted(rotations, "time")}` : line,
  ];
}

/** Sums a figure over rows. */
export function sum<Row>(
  rows: readonly Row[],
  figure: (row: Row) => number,
): number {
  return rows.reduce((all, row) => all + figure(row), 0);
}

/** Makes a rate of the time between two calls, for progress lines. */
export class RateMeter {
  #bytes = 0;
  #atMs: number = performance.now();

  /** `49.3 Mbit/s` since the last call. */
  since(bytes: number): string {
    const now = performance.now();
    const rate = formatRate(bytes - this.#bytes, now - this.#atMs);
    this.#bytes = bytes;
    this.#atMs = now;
    return rate;
  }
}
