import { assertEquals } from "@std/assert";
import { summarize } from "../../bench/harness/bench.ts";
import { publishedTable } from "../../bench/tcp/published.ts";

const run = () => Promise.reject(new Error("not run here"));

Deno.test("publishedTable shows a published scenario beside what its row gave", () => {
  const figures = {
    seconds: 2,
    bytes: 0,
    count: 24_690,
    cpuSeconds: 1,
    peakBytes: 50e6,
    more: { "p99 µs": 4500 },
  };
  const row = summarize({
    name: "echo 10 x 65536",
    baseline: "mproxy linux",
    rate: "count",
    counted: "requests",
    contenders: ["original", "mproxy linux"].map((name) => ({ name, run })),
  }, [
    { name: "original", turns: [], missing: "not found: install it" },
    { name: "mproxy linux", turns: [figures] },
  ]);
  const nameOf = (connections: number, bytes: number) =>
    `echo ${connections} x ${bytes}`;
  assertEquals(
    publishedTable([row], nameOf).filter((line) => line.startsWith("| Big")),
    ["| Big data, echo 10 x 65536 | 221, 84.0 ms |  | 12 345, 4.50 ms |  |"],
  );
  assertEquals(publishedTable([], nameOf), []);
});
