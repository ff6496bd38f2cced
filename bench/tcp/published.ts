/**
 * What Monkey D. TCP publishes of itself, in crates/basic-tcp-proxy/README.md
 * of https://github.com/kuchmenko/monkey-d-tcp: its own load and relay with all
 * cores of another machine. Pure.
 */
import type { RowResult } from "../harness/bench.ts";
import { grouped, significant } from "../harness/table.ts";
import { LINUX, ORIGINAL, PORTABLE } from "./contenders.ts";
import { P99 } from "./turn.ts";

const MACHINE = "AMD Ryzen 9 7950X3D, 16 cores, 96 GB DDR5-6400";

/** A line of the matrix. */
export interface Scenario {
  name: string;
  connections: number;
  bytes: number;
  perSecond: number;
  p99Ms: number;
}

/** The published matrix, in its order. */
export const PUBLISHED: readonly Scenario[] = [
  ["Baseline", 10, 1024, 83_394, 0.294],
  ["Small packets", 10, 64, 85_709, 0.278],
  ["Medium load", 50, 1024, 91_599, 2.4],
  ["Heavy load", 100, 1024, 89_580, 3.4],
  ["Stress test", 500, 1024, 90_411, 8.9],
  ["Large packets", 10, 8192, 171, 84],
  ["Big data", 10, 65536, 221, 84],
].map(([name, connections, bytes, perSecond, p99Ms]) =>
  ({ name, connections, bytes, perSecond, p99Ms }) as Scenario
);

/** The matrix with what was measured here beside it, of the rows that there are. */
export function publishedTable(
  rows: readonly RowResult[],
  nameOf: (connections: number, bytes: number) => string,
): string[] {
  const lines = PUBLISHED.flatMap((scenario) => {
    const { name, connections, bytes, perSecond, p99Ms } = scenario;
    const row = rows.find((one) => one.name === nameOf(connections, bytes));
    if (!row) return [];
    return [[
      `${name}, ${row.name}`,
      cell(perSecond, p99Ms),
      ...[ORIGINAL, LINUX, PORTABLE].map((contender) => {
        const { median } = row.contenders.find((one) =>
          one.name === contender
        ) ?? {};
        return median === undefined ? "" : cell(
          median.count / median.seconds,
          (median.more?.[P99] ?? NaN) / 1000,
        );
      }),
    ]];
  });
  if (lines.length === 0) return [];
  return [
    "## The original's published matrix",
    "",
    `Requests a second and p99. The published figures come from another machine (${MACHINE}); all others are of this run.`,
    "",
    ...[
      ["", "published, other machine", ORIGINAL, LINUX, PORTABLE],
      ["---", "---:", "---:", "---:", "---:"],
      ...lines,
    ].map((line) => `| ${line.join(" | ")} |`),
  ];
}

function cell(perSecond: number, p99Ms: number): string {
  return `${grouped(perSecond)}, ${significant(p99Ms)} ms`;
}
