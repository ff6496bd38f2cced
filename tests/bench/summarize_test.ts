import { assertEquals } from "@std/assert";
import {
  type ContenderResult,
  type Figures,
  median,
  type Row,
  summarize,
} from "../../bench/harness/bench.ts";
import {
  expectationLines,
  markdown,
  rowTable,
} from "../../bench/harness/table.ts";

function figures(bytes: number, more: Partial<Figures> = {}): Figures {
  return {
    seconds: 2,
    bytes,
    count: bytes / 1000,
    cpuSeconds: 1,
    peakBytes: 50e6,
    ...more,
  };
}

const run = () => Promise.reject(new Error("not run here"));

const ROW: Row = {
  name: "forward",
  baseline: "peer",
  counted: "datagrams",
  contenders: ["ours", "peer", "absent"].map((name) => ({ name, run })),
  expected: [
    { contender: "ours", against: "peer", atLeast: 2.5 },
    { contender: "ours", atLeast: 2 },
    { contender: "ours", against: "absent", atLeast: 2 },
  ],
};

function results(): ContenderResult[] {
  return [
    // The machine was slow in the second turn: the ratio is 2 in each.
    { name: "ours", turns: [2e9, 2e8, 4e9].map((bytes) => figures(bytes)) },
    { name: "peer", turns: [1e9, 1e8, 2e9].map((bytes) => figures(bytes)) },
    { name: "absent", turns: [], missing: "not found: install it" },
  ];
}

Deno.test("median gives the middle value, and the upper one of two", () => {
  assertEquals(median([5, 1, 3]), 3);
  assertEquals(median([4, 1, 3, 2]), 3);
  assertEquals(median([]), NaN);
});

Deno.test("summarize compares within turns, so that a drifting machine leaves ratios alone", () => {
  const { contenders, expected } = summarize(ROW, results());
  const [ours, peer, absent] = contenders;
  assertEquals(ours!.ratio, 2);
  assertEquals(peer!.ratio, 1);
  assertEquals(absent!.ratio, undefined);
  assertEquals(absent!.median, undefined);
  assertEquals(ours!.median!.bytes, 2e9);
  assertEquals(expected.map(({ reached }) => reached), [2, 8, undefined]);
});

Deno.test("summarize rates by counts where a row asks for it", () => {
  const turns = (count: number) => [figures(1e6, { count })];
  const { contenders } = summarize({ ...ROW, rate: "count" }, [
    { name: "ours", turns: turns(300) },
    { name: "peer", turns: turns(100) },
    { name: "absent", turns: turns(50) },
  ]);
  assertEquals(contenders.map(({ ratio }) => ratio), [3, 1, 0.5]);
});

Deno.test("summarize takes the best of several as what an expectation is against", () => {
  const row: Row = {
    ...ROW,
    rate: "count",
    counted: "requests",
    contenders: ["ours", "slow", "fast", "absent"].map((name) => ({
      name,
      run,
    })),
    expected: [
      { contender: "ours", against: ["slow", "fast"], atLeast: 1.5 },
      {
        contender: "ours",
        column: "p99 µs",
        against: ["slow", "fast"],
        atMost: 1,
      },
      { contender: "ours", column: "p99 µs", atMost: 40 },
      { contender: "ours", atLeast: 2000 },
      { contender: "ours", against: ["slow", "absent"], atLeast: 1 },
    ],
  };
  const turns = (count: number, p99: number) => [
    figures(0, { count, more: { "p99 µs": p99 } }),
  ];
  const result = summarize(row, [
    { name: "ours", turns: turns(3000, 30) },
    { name: "slow", turns: turns(1000, 20) },
    { name: "fast", turns: turns(2000, 60) },
    { name: "absent", turns: [], missing: "not found: install it" },
  ]);
  assertEquals(
    result.expected.map(({ reached, best }) => [reached, best]),
    [
      [1.5, "fast"],
      [1.5, "slow"],
      [30, undefined],
      [1500, undefined],
      [undefined, undefined],
    ],
  );
  assertEquals(expectationLines([result]), [
    "- forward: ours at least 1.5x the better of slow and fast: 1.50x fast, **reached**",
    "- forward: p99 µs of ours at most 1x the better of slow and fast: 1.50x slow, **MISSED**",
    "- forward: p99 µs of ours at most 40: 30.00, **reached**",
    "- forward: ours at least 2000 requests/s: 1 500 requests/s, **MISSED**",
    "- forward: ours at least 1x the better of slow and absent: not measured, a contender is missing",
  ]);
});

Deno.test("rowTable leaves out columns that say nothing of anybody", () => {
  const row = { ...ROW, rate: "count" as const, counted: "connections" };
  const result = summarize(row, [
    { name: "ours", turns: [figures(0, { count: 3000 })] },
    { name: "peer", turns: [figures(0, { count: 1000, peakBytes: 0 })] },
    { name: "absent", turns: [], missing: "not found: install it" },
  ]);
  assertEquals(
    rowTable(result).join("\n"),
    `## forward

|  | connections/s | x peer | CPU s/million | memory MB |
| --- | ---: | ---: | ---: | ---: |
| ours | 1 500 | 3.00 | 333 | 50 |
| peer | 500 | 1.00 |  |  |
| absent | missing: not found: install it |  |  |  |`,
  );
});

Deno.test("rowTable names a missing contender with its reason and marks a rate that is the load's own", () => {
  const turns = [figures(1e9, {
    lost: 1234,
    lostCounted: 1234,
    loadDropped: 1e6,
    more: { "p99 µs": 250 },
  })];
  const table = rowTable(summarize(ROW, [
    { name: "ours", turns },
    { name: "peer", turns: [figures(1e9)] },
    { name: "absent", turns: [], missing: "not found: install it" },
  ])).join("\n");
  assertEquals(
    table,
    `## forward

|  | Gbit/s | datagrams/s | x peer | CPU s/GB | memory MB | lost | counted | p99 µs |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| ours | 4.00 † | 500 000 | 1.00 | 1.00 | 50 | 1 234 | 1 234 | 250 |
| peer | 4.00 | 500 000 | 1.00 | 1.00 | 50 |  |  |  |
| absent | missing: not found: install it |  |  |  |  |  |  |  |`,
  );
});

Deno.test("markdown says of each expectation whether it was reached, missed or not measured", () => {
  const text = markdown("Benchmark", {
    machine: {
      date: "2026-01-02 03:04 UTC",
      cpu: "a CPU",
      cores: 2,
      memoryGb: 4,
      kernel: "Linux 6",
      deno: "2.9.6",
      load: 0.5,
      receiveBufferMost: 212992,
    },
    peers: { peer: "peer 1.2" },
    options: { runs: 5, seconds: 1 },
    rows: [summarize(ROW, results())],
  });
  const lines = text.split("\n").filter((line) => line.startsWith("- "));
  assertEquals(lines, [
    "- forward: ours at least 2.5x peer: 2.00x, **MISSED**",
    "- forward: ours at least 2 Gbit/s: 8.00 Gbit/s, **reached**",
    "- forward: ours at least 2x absent: not measured, a contender is missing",
  ]);
});
