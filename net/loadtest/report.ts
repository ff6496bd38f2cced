/** What a load test prints: the banner, lines, report and table of Monkey D. TCP, and JSON. Pure. */
import { type Address, formatAddress } from "../address.ts";
import type { Metric } from "../observe/metrics.ts";
import type { LoadScenario } from "./plan.ts";
import type { LoadNow, LoadResult } from "./load_test.ts";

const RULE = "========================================";
const THIN_RULE = "----------------------------------------";
const TABLE_COLUMNS = 100;

/** `950us`, `42.0ms`, `1.5s`, from milliseconds. */
export function formatLatency(ms: number): string {
  const microseconds = Math.floor(ms * 1000);
  if (microseconds >= 1_000_000) return `${(ms / 1000).toFixed(1)}s`;
  if (microseconds >= 1000) return `${(microseconds / 1000).toFixed(1)}ms`;
  return `${microseconds}us`;
}

/** `64B`, `8KB`, `2MB`: binary, whole, rounded down. */
export function formatMessageSize(bytes: number): string {
  if (bytes >= 1 << 20) return `${Math.floor(bytes / (1 << 20))}MB`;
  if (bytes >= 1 << 10) return `${Math.floor(bytes / (1 << 10))}KB`;
  return `${bytes}B`;
}

/** `93.4 MB/s`: decimal. */
export function formatByteRate(bytesPerSecond: number): string {
  if (bytesPerSecond >= 1e6) return `${(bytesPerSecond / 1e6).toFixed(1)} MB/s`;
  if (bytesPerSecond >= 1e3) return `${(bytesPerSecond / 1e3).toFixed(1)} KB/s`;
  return `${bytesPerSecond.toFixed(0)} B/s`;
}

/** Answered requests per second. */
export function requestsPerSecond(result: LoadResult): number {
  const { requests, durationMs } = result;
  return durationMs > 0 ? requests * 1000 / durationMs : 0;
}

/** Errors in percent of all requests that were tried. */
export function errorPercent({ errors, requests }: LoadResult): number {
  return errors + requests > 0 ? errors / (errors + requests) * 100 : 0;
}

/** The lines before one scenario without a name. */
export function singleBanner(
  target: Address,
  { connections, durationMs, messageBytes }: LoadScenario,
): string[] {
  return [
    RULE,
    "        Load Tester Starting",
    RULE,
    `Target:          ${formatAddress(target)}`,
    `Connections:     ${connections}`,
    `Duration:        ${durationMs / 1000}s`,
    `Message size:    ${messageBytes} bytes`,
    THIN_RULE,
    "Press Ctrl+C to stop early",
    RULE,
    "",
  ];
}

/** The lines before several scenarios. */
export function matrixBanner(target: Address, scenarios: number): string[] {
  return [
    RULE,
    "     Load Tester - Matrix Mode",
    RULE,
    `Target:          ${formatAddress(target)}`,
    `Scenarios:       ${scenarios}`,
    THIN_RULE,
    "Press Ctrl+C to stop early",
    RULE,
    "",
  ];
}

/** `[1/7] Running: baseline (conns=10, msg=1024B, dur=5s)`. */
export function runningLine(
  { name, connections, messageBytes, durationMs }: LoadScenario,
  index: number,
  scenarios: number,
): string {
  return `[${
    index + 1
  }/${scenarios}] Running: ${name} (conns=${connections}, msg=${messageBytes}B, dur=${
    durationMs / 1000
  }s)`;
}

/** `         -> 74179 RPS, p99=223us, err=0.0%`. */
export function resultLine(result: LoadResult): string {
  return `         -> ${requestsPerSecond(result).toFixed(0)} RPS, p99=${
    Math.floor(result.latency.percentile(99) * 1000)
  }us, err=${errorPercent(result).toFixed(1)}%`;
}

/** The report of one scenario; what the original did not measure stands behind it. */
export function reportLines(result: LoadResult): string[] {
  const { scenario, latency, requests, errors, durationMs } = result;
  const seconds = durationMs / 1000;
  const perSecond = (bytes: number) =>
    formatByteRate(seconds > 0 ? bytes / seconds : 0);
  const lines = [
    "=== Load Test Results ===",
    `Duration:        ${seconds.toFixed(1)}s`,
    `Connections:     ${scenario.connections}`,
    `Total requests:  ${requests}`,
    `Requests/sec:    ${requestsPerSecond(result).toFixed(1)}`,
    "",
    "Throughput:",
    `  Upstream:      ${perSecond(result.bytesSent)}`,
    `  Downstream:    ${perSecond(result.bytesReceived)}`,
    "",
    "Latency:",
    `  Min:           ${formatLatency(latency.min)}`,
    `  Avg:           ${formatLatency(latency.mean)}`,
    `  p50:           ${formatLatency(latency.percentile(50))}`,
    `  p95:           ${formatLatency(latency.percentile(95))}`,
    `  p99:           ${formatLatency(latency.percentile(99))}`,
    `  Max:           ${formatLatency(latency.max)}`,
    "",
    `Errors:          ${errors} (${errorPercent(result).toFixed(2)}%)`,
  ];
  for (const [text, count] of result.errorTexts) {
    lines.push(`  ${count} x ${text}`);
  }
  lines.push(
    "",
    `p99.9, p99.99:   ${formatLatency(latency.percentile(99.9))}, ${
      formatLatency(latency.percentile(99.99))
    }`,
  );
  if (result.ratePerSecond !== undefined) {
    lines.push(
      `Asked for:       ${result.ratePerSecond} requests/sec; latencies count from when a request was due`,
    );
  }
  if (result.stopped) lines.push("Stopped early.");
  return lines;
}

/** The table of several scenarios. */
export function matrixLines(results: readonly LoadResult[]): string[] {
  const title = "LOAD TEST MATRIX RESULTS";
  const double = "=".repeat(TABLE_COLUMNS);
  const left = Math.floor((TABLE_COLUMNS - title.length) / 2);
  return [
    double,
    title.padStart(left + title.length).padEnd(TABLE_COLUMNS),
    double,
    tableRow([
      "Scenario",
      "Conns",
      "MsgSize",
      "Requests",
      "RPS",
      "p50",
      "p95",
      "p99",
      "Err%",
    ]),
    "-".repeat(TABLE_COLUMNS),
    ...results.map((result) =>
      tableRow([
        cutName(result.scenario.name),
        String(result.scenario.connections),
        formatMessageSize(result.scenario.messageBytes),
        String(result.requests),
        requestsPerSecond(result).toFixed(0),
        formatLatency(result.latency.percentile(50)),
        formatLatency(result.latency.percentile(95)),
        formatLatency(result.latency.percentile(99)),
        `${errorPercent(result).toFixed(1)}%`,
      ])
    ),
    double,
  ];
}

const COLUMN_WIDTHS = [20, 8, 8, 10, 12, 10, 10, 10, 6];

function tableRow(cells: readonly string[]): string {
  return cells.map((cell, i) =>
    i === 0 ? cell.padEnd(COLUMN_WIDTHS[i]!) : cell.padStart(COLUMN_WIDTHS[i]!)
  ).join(" ");
}

/** A scenario's name in at most 20 characters. */
export function cutName(name: string): string {
  return name.length <= 20 ? name : `${name.slice(0, 17)}...`;
}

/** `[3/7] medium-load: measuring 3.2 of 5.0 s, 45123 req/s, p99 1.2ms`. */
export function progressLine(now: LoadNow): string {
  const { scenario, phase, elapsedMs, requests, errors, p99Ms } = now;
  const place = now.scenarios > 1
    ? `[${now.index + 1}/${now.scenarios}] ${scenario.name}: `
    : "";
  if (phase === "connecting" || phase === "warming up") {
    return `${place}${phase}${errors > 0 ? `, ${errors} errors` : ""}`;
  }
  const rate = elapsedMs > 0 ? requests * 1000 / elapsedMs : 0;
  return `${place}${phase} ${(elapsedMs / 1000).toFixed(1)} of ${
    (scenario.durationMs / 1000).toFixed(1)
  } s, ${rate.toFixed(0)} req/s, p99 ${formatLatency(p99Ms)}${
    errors > 0 ? `, ${errors} errors` : ""
  }`;
}

/** Percentiles of the JSON document and of the chart. */
const PERCENTILES = [50, 75, 90, 95, 99, 99.9, 99.99];

/** The JSON document. Latencies are in microseconds. */
export function loadJson(
  target: Address,
  results: readonly LoadResult[],
): Record<string, unknown> {
  const microseconds = (ms: number) => Math.round(ms * 10_000) / 10;
  return {
    target: formatAddress(target),
    scenarios: results.map((result) => {
      const { scenario, latency } = result;
      return {
        name: scenario.name,
        connections: scenario.connections,
        message_size: scenario.messageBytes,
        rate: result.ratePerSecond ?? null,
        duration_secs: result.durationMs / 1000,
        stopped_early: result.stopped,
        requests: result.requests,
        requests_per_sec: requestsPerSecond(result),
        bytes_sent: result.bytesSent,
        bytes_received: result.bytesReceived,
        latency_us: {
          min: microseconds(latency.min),
          mean: microseconds(latency.mean),
          ...Object.fromEntries(
            PERCENTILES.map((percent) => [
              `p${percent}`,
              microseconds(latency.percentile(percent)),
            ]),
          ),
          max: microseconds(latency.max),
        },
        errors: result.errors,
        error_percent: errorPercent(result),
        unanswered: result.unanswered,
        error_texts: Object.fromEntries(result.errorTexts),
        interval_secs: result.intervalMs / 1000,
        requests_by_interval: result.course,
      };
    }),
  };
}

/** Figures of the running scenario as metrics. */
export function loadMetrics(now: LoadNow | undefined): Metric[] {
  const labels = { scenario: now?.scenario.name ?? "" };
  return [
    {
      name: "mproxy_loadtest_requests_total",
      help: "Answered requests of the scenario that runs.",
      type: "counter",
      samples: [{ labels, value: now?.requests ?? 0 }],
    },
    {
      name: "mproxy_loadtest_errors_total",
      help: "Failed connects and requests of the scenario that runs.",
      type: "counter",
      samples: [{ labels, value: now?.errors ?? 0 }],
    },
  ];
}
