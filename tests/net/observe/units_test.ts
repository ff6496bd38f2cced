import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { UsageError } from "../../../net/errors.ts";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatRate,
  parseScaled,
} from "../../../net/observe/units.ts";

Deno.test("formatBytes shows three figures with a decimal prefix", () => {
  const vectors: readonly [number, string][] = [
    [0, "0 B"],
    [7, "7 B"],
    [999, "999 B"],
    [1000, "1.00 kB"],
    [1_536_000, "1.54 MB"],
    [9_995, "10.0 kB"],
    [12_345, "12.3 kB"],
    [99_960, "100 kB"],
    [999_499, "999 kB"],
    [999_500, "1.00 MB"],
    [67_108_864, "67.1 MB"],
    [2.5e12, "2.50 TB"],
    [1234e12, "1234 TB"],
  ];
  for (const [bytes, text] of vectors) assertEquals(formatBytes(bytes), text);
});

Deno.test("formatBytes reads back to within half a unit of its third figure", () => {
  fc.assert(fc.property(fc.nat({ max: 2 ** 50 }), (bytes) => {
    const text = formatBytes(bytes);
    const back = parseScaled(text.replace(" ", ""));
    assert(Math.abs(back - bytes) <= bytes * 0.0051, `${bytes} ${text}`);
  }));
});

Deno.test("formatRate shows bits per second, and nothing of no time", () => {
  assertEquals(formatRate(125_000_000, 1000), "1.00 Gbit/s");
  assertEquals(formatRate(3, 12), "2.00 kbit/s");
  assertEquals(formatRate(1000, 0), "0 bit/s");
  assertEquals(formatRate(0, 1000), "0 bit/s");
});

Deno.test("formatCount parts thousands, and parseable digits stay the same", () => {
  assertEquals(formatCount(1_234_567), "1 234 567");
  fc.assert(fc.property(fc.nat(), (count) => {
    const text = formatCount(count);
    assertEquals(Number(text.replaceAll(" ", "")), count);
    assert(text.split(" ").slice(1).every((part) => part.length === 3));
  }));
});

Deno.test("formatDuration shows seconds, then minutes", () => {
  assertEquals(formatDuration(400), "0.4 s");
  assertEquals(formatDuration(12_000), "12.0 s");
  assertEquals(formatDuration(59_949), "59.9 s");
  assertEquals(formatDuration(185_000), "3 min 5 s");
});

Deno.test("parseScaled reads decimal and binary prefixes", () => {
  const vectors: readonly [string, number][] = [
    ["4096", 4096],
    ["64k", 64_000],
    ["64K", 64_000],
    ["1.5G", 1.5e9],
    ["500M", 5e8],
    ["500Mbit/s", 5e8],
    ["500Mbps", 5e8],
    ["4Mi", 4 << 20],
    ["4MiB", 4 << 20],
    ["2T", 2e12],
    [" 8k ", 8000],
  ];
  for (const [text, wanted] of vectors) assertEquals(parseScaled(text), wanted);
});

Deno.test("parseScaled refuses what is no number with a unit", () => {
  for (
    const text of [
      "",
      "k",
      "-1",
      "1e6",
      "1,5M",
      "12 M B",
      "5X",
      "5m",
      "5i",
      "5iB",
      "0x10",
      "Infinity",
      "NaN",
      "1.",
      ".5",
    ]
  ) {
    assertThrows(() => parseScaled(text), UsageError, `"${text}"`);
  }
});
