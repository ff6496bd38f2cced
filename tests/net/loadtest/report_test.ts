import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { UsageError } from "../../../net/errors.ts";
import { LatencyHistogram } from "../../../net/observe/latency_histogram.ts";
import { loadChart } from "../../../net/loadtest/chart.ts";
import { readScenario, SHIPPED_MATRIX } from "../../../net/loadtest/plan.ts";
import {
  formatByteRate,
  formatLatency,
  formatMessageSize,
  loadJson,
  matrixLines,
  progressLine,
  reportLines,
  resultLine,
  runningLine,
} from "../../../net/loadtest/report.ts";
import type { LoadResult } from "../../../net/loadtest/load_test.ts";

const TARGET = { hostname: "127.0.0.1", port: 8080 };

/** 1 000 answers of 0.1 to 100 ms in 5 s, 10 errors. */
function result(name = "baseline"): LoadResult {
  const latency = new LatencyHistogram();
  for (let i = 1; i <= 1000; i++) latency.record(i / 10);
  return {
    scenario: {
      name,
      connections: 10,
      durationMs: 5000,
      messageBytes: 1024,
    },
    ratePerSecond: undefined,
    durationMs: 5000,
    requests: 990,
    bytesSent: 990 * 1024,
    bytesReceived: 990 * 1024,
    errors: 10,
    unanswered: 0,
    errorTexts: new Map([["Connection reset by peer", 10]]),
    latency,
    intervalMs: 1000,
    course: [190, 200, 200, 200, 200],
    stopped: false,
  };
}

Deno.test("reportLines() is the original's report", () => {
  const exact = reportLines(result()).map((line) =>
    // To the resolution of the histogram.
    line.replace(/(p50|p95|p99): +.*/, "$1")
  );
  assertEquals(exact.slice(0, 20), [
    "=== Load Test Results ===",
    "Duration:        5.0s",
    "Connections:     10",
    "Total requests:  990",
    "Requests/sec:    198.0",
    "",
    "Throughput:",
    "  Upstream:      202.8 KB/s",
    "  Downstream:    202.8 KB/s",
    "",
    "Latency:",
    "  Min:           100us",
    "  Avg:           50.0ms",
    "  p50",
    "  p95",
    "  p99",
    "  Max:           100.0ms",
    "",
    "Errors:          10 (1.00%)",
    "  10 x Connection reset by peer",
  ]);
});

Deno.test("matrixLines() is the original's table", () => {
  const lines = matrixLines([
    result(),
    result("a-name-that-is-longer-than-twenty"),
  ]);
  assertEquals(lines[0], "=".repeat(100));
  assertEquals(lines[1]!.trim(), "LOAD TEST MATRIX RESULTS");
  assertEquals(
    lines[3],
    "Scenario                Conns  MsgSize   Requests          RPS        p50        p95        p99   Err%",
  );
  assertMatch(
    lines[5]!,
    /^baseline {19}10 {6}1KB {8}990 {10}198 {5}\d\d\.\dms {5}\d\d\.\dms {5}\d\d\.\dms {3}1\.0%$/,
  );
  assertMatch(lines[6]!, /^a-name-that-is-lo\.\.\. /);
  assertEquals(lines.at(-1), "=".repeat(100));
});

Deno.test("runningLine() and resultLine() are the original's", () => {
  assertEquals(
    runningLine(SHIPPED_MATRIX[0]!, 0, 7),
    "[1/7] Running: baseline (conns=10, msg=1024B, dur=5s)",
  );
  assertMatch(
    resultLine(result()),
    /^ {9}-> 198 RPS, p99=99\d\d\dus, err=1\.0%$/,
  );
});

Deno.test("formatLatency(), formatMessageSize() and formatByteRate() use the original's units", () => {
  assertEquals(
    [0, 0.0009, 0.999, 1, 42.04, 999.94, 1000, 61_500].map(formatLatency),
    ["0us", "0us", "999us", "1.0ms", "42.0ms", "999.9ms", "1.0s", "61.5s"],
  );
  assertEquals(
    [64, 1023, 1024, 8192, 1 << 20, 5 << 20].map(formatMessageSize),
    ["64B", "1023B", "1KB", "8KB", "1MB", "5MB"],
  );
  assertEquals(
    [0, 999, 1000, 93_400_000].map(formatByteRate),
    ["0 B/s", "999 B/s", "1.0 KB/s", "93.4 MB/s"],
  );
});

Deno.test("progressLine() says which scenario is how far", () => {
  assertEquals(
    progressLine({
      index: 2,
      scenarios: 7,
      scenario: SHIPPED_MATRIX[3]!,
      phase: "measuring",
      elapsedMs: 3200,
      requests: 144_000,
      errors: 1,
      p99Ms: 1.2,
    }),
    "[3/7] medium-load: measuring 3.2 of 5.0 s, 45000 req/s, p99 1.2ms, 1 errors",
  );
});

Deno.test("loadJson() has every figure, latencies in microseconds", () => {
  const json = loadJson(TARGET, [result()]) as {
    target: string;
    scenarios: Record<string, unknown>[];
  };
  assertEquals(json.target, "127.0.0.1:8080");
  const [only] = json.scenarios;
  assertEquals(only!["requests_per_sec"], 198);
  assertEquals(only!["error_percent"], 1);
  const latency = only!["latency_us"] as Record<string, number>;
  assertEquals([latency["min"], latency["max"]], [100, 100_000]);
  assertEquals(JSON.parse(JSON.stringify(json)), json);
});

Deno.test("loadChart() is one well-formed picture, whatever a scenario is called", () => {
  for (
    const results of [
      [],
      [result()],
      [result('<"&>\u0001'), result("b")],
      [{ ...result(), latency: new LatencyHistogram(), course: [] }],
      [{ ...result(), durationMs: 0, requests: 0, course: [] }],
    ]
  ) {
    const svg = loadChart(TARGET, results);
    assertMatch(svg, /^<svg [^]*<\/svg>\n$/);
    assertEquals(/NaN|Infinity|undefined/.test(svg), false, svg);
    // Every element is closed, and no raw name got in.
    const tags = svg.replaceAll(/<[^<>]*\/>/g, "").match(/<\/?[a-z]+/g)!;
    const depth = tags.reduce(
      (open, tag) => open + (tag.startsWith("</") ? -1 : 1),
      0,
    );
    assertEquals(depth, 0);
    assertEquals(svg.includes('<"'), false);
  }
});

Deno.test("readScenario() takes the original's keys and defaults", () => {
  assertEquals(readScenario({ name: "x" }), {
    name: "x",
    connections: 10,
    durationMs: 10_000,
    messageBytes: 1024,
  });
  assertEquals(
    readScenario({
      name: "y",
      connections: 500,
      duration_secs: 5,
      message_size: 64,
    }),
    { name: "y", connections: 500, durationMs: 5000, messageBytes: 64 },
  );
});

Deno.test("readScenario() names the key that is wrong", () => {
  const cases: [Record<string, unknown>, string][] = [
    [{}, '"name" is missing'],
    [{ name: "" }, '"name" is missing'],
    [{ name: "x", size: 1 }, 'the key "size" is none of name, connections'],
    [{ name: "x", connections: 0 }, '"connections" must be a number from 1'],
    [{ name: "x", connections: 1.5 }, '"connections" must be'],
    [{ name: "x", message_size: "1k" }, '"message_size" must be'],
    [{ name: "x", duration_secs: -1 }, '"duration_secs" must be'],
  ];
  for (const [table, message] of cases) {
    assertThrows(() => readScenario(table), UsageError, message);
  }
});
