import { assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import {
  bannerLines,
  endLines,
  EventLines,
  formatRelayBytes,
  summaryText,
} from "../../../net/relay/console.ts";

const SNAPSHOT = {
  activeConnections: 3,
  totalConnections: 15,
  bytesUpstream: 1_500_000,
  bytesDownstream: 800_000,
};

Deno.test("formatRelayBytes() writes what the original's README shows", () => {
  const cases: [number, string][] = [
    [0, "0B"],
    [512, "512B"],
    [999, "999B"],
    [1000, "1.0KB"],
    [1024, "1.0KB"],
    [800_000, "800.0KB"],
    [999_999, "1000.0KB"],
    [1_000_000, "1.0MB"],
    [1_500_000, "1.5MB"],
    [2_097_152_000, "2097.2MB"],
  ];
  for (const [bytes, text] of cases) {
    assertEquals(formatRelayBytes(bytes), text);
  }
});

Deno.test("formatRelayBytes() is right to half a unit in its last place", () => {
  const units: Record<string, number> = { B: 1, KB: 1e3, MB: 1e6 };
  fc.assert(fc.property(fc.nat({ max: 2 ** 40 }), (bytes) => {
    const text = formatRelayBytes(bytes);
    assertMatch(text, /^(\d+B|\d+\.\d[KM]B)$/);
    const [, number, unit] = /^([\d.]+)(\w+)$/.exec(text)!;
    const back = Number(number) * units[unit!]!;
    const half = unit === "B" ? 0 : units[unit!]! / 20;
    assertEquals(Math.abs(back - bytes) <= half * 1.0001, true, text);
  }));
});

Deno.test("summaryText() writes the original's summary", () => {
  assertEquals(
    summaryText(SNAPSHOT),
    "active: 3 | total: 15 | up: 1.5MB | down: 800.0KB",
  );
});

Deno.test("EventLines.line() counts from event to event, line by line", () => {
  const lines = new EventLines();
  const at = { atMs: 0, client: "127.0.0.1:54321" };
  const closed = {
    ...at,
    type: "closed",
    bytesUpstream: 500_000,
    bytesDownstream: 200_000,
    durationMs: 10,
    reason: "eof",
  } as const;
  for (let i = 0; i < 15; i++) lines.line({ ...at, type: "opened" });
  lines.line({ ...at, type: "upstream", bytes: 1_500_000 });
  lines.line({ ...at, type: "downstream", bytes: 800_000 });
  for (let i = 0; i < 12; i++) lines.line(closed);
  assertEquals(
    [
      lines.line({ ...at, type: "opened" }),
      lines.line({ ...at, type: "upstream", bytes: 500_000 }),
      lines.line({ ...at, type: "downstream", bytes: 200_000 }),
      lines.line(closed),
      lines.line({ ...at, type: "rejected", reason: "connect-failed" }),
    ],
    [
      "[METRICS] ConnectionOpened 127.0.0.1:54321 | active: 4, total: 16",
      "[METRICS] 127.0.0.1:54321 ↑ 500000 | total up: 2.0MB",
      "[METRICS] 127.0.0.1:54321 ↓ 200000 | total down: 1.0MB",
      "[METRICS] ConnectionClosed 127.0.0.1:54321 | active: 3",
      "[METRICS] ConnectionRejected 127.0.0.1:54321 | reason: connect-failed",
    ],
  );
});

Deno.test("bannerLines() and endLines() say all that a user asks", () => {
  const local = (port: number) => ({ hostname: "127.0.0.1", port });
  assertEquals(
    bannerLines(local(8080), local(80), undefined)[5],
    [
      "Metrics endpoint:      off",
    ][0],
  );
  assertEquals(endLines(SNAPSHOT, 0).includes("Closed in flight:  0"), false);
  assertEquals(endLines(SNAPSHOT, 2).at(-2), "Closed in flight:  2");
});
