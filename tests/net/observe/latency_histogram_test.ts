import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { LatencyHistogram } from "../../../net/observe/latency_histogram.ts";

/** Milliseconds from below a step to beyond what is told apart. */
const latency = fc.oneof(
  fc.double({ min: 0, max: 1, noNaN: true }),
  fc.double({ min: 0, max: 1000, noNaN: true }),
  fc.double({ min: 0, max: 1_000_000, noNaN: true }),
);

Deno.test("LatencyHistogram.percentile() is the value at its rank to 0.2 % or one step", () => {
  fc.assert(fc.property(
    fc.array(latency, { minLength: 1, maxLength: 200 }),
    fc.double({ min: 0, max: 100, noNaN: true }),
    (values, percent) => {
      const histogram = new LatencyHistogram();
      for (const value of values) histogram.record(value);
      const sorted = values.toSorted((a, b) => a - b);
      const rank = Math.min(
        Math.floor(values.length * percent / 100),
        values.length - 1,
      );
      const exact = sorted[rank]!;
      const tolerance = Math.max(exact * 0.002, 1 / 4096);
      assertNear(histogram.percentile(percent), exact, tolerance);
    },
  ));
});

Deno.test("LatencyHistogram counts, and knows the shortest, longest and mean exactly", () => {
  fc.assert(
    fc.property(fc.array(latency, { minLength: 1 }), (values) => {
      const histogram = new LatencyHistogram();
      for (const value of values) histogram.record(value);
      assertEquals(histogram.count, values.length);
      assertEquals(histogram.min, Math.min(...values));
      assertEquals(histogram.max, Math.max(...values));
      const mean = values.reduce((sum, value) => sum + value) / values.length;
      assertNear(histogram.mean, mean, mean * 1e-9);
      assertEquals(histogram.percentile(100), histogram.percentile(99.9999));
    }),
  );
});

Deno.test("LatencyHistogram.add() is as if all values had been recorded in one", () => {
  fc.assert(
    fc.property(fc.array(latency), fc.array(latency), (left, right) => {
      const [one, two, both] = [left, right, [...left, ...right]].map(
        (values) => {
          const histogram = new LatencyHistogram();
          for (const value of values) histogram.record(value);
          return histogram;
        },
      );
      one!.add(two!);
      for (const percent of [0, 50, 95, 99, 100]) {
        assertEquals(one!.percentile(percent), both!.percentile(percent));
      }
      assertEquals(one!.count, both!.count);
      assertEquals(one!.max, both!.max);
    }),
  );
});

Deno.test("LatencyHistogram is all zeros where nothing was recorded", () => {
  const histogram = new LatencyHistogram();
  assertEquals(
    [
      histogram.count,
      histogram.min,
      histogram.mean,
      histogram.max,
      histogram.percentile(99),
    ],
    [0, 0, 0, 0, 0],
  );
});

Deno.test("LatencyHistogram takes what is no latency as 0, and longer than 17 minutes as the longest", () => {
  const histogram = new LatencyHistogram();
  histogram.record(-5);
  histogram.record(NaN);
  assertEquals(histogram.max, 0);
  histogram.record(1e12);
  assertEquals(histogram.max, 1e12);
  assert(histogram.percentile(100) >= 2 ** 20 - 1024);
});

function assertNear(actual: number, wanted: number, tolerance: number): void {
  assert(
    Math.abs(actual - wanted) <= tolerance,
    `${actual} is not within ${tolerance} of ${wanted}`,
  );
}
