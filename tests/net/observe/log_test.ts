import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Log, type LogOptions } from "../../../net/observe/log.ts";

function logInto(lines: string[], options: LogOptions = {}): Log {
  return new Log({
    now: () => 0,
    write: (line) => lines.push(line),
    ...options,
  });
}

Deno.test("Log writes time, level, message and fields, quoted where they need it", () => {
  const lines: string[] = [];
  logInto(lines).warn("not connected", {
    address: "[::1]:9920",
    reason: 'it said "no"',
    empty: "",
    left: undefined,
    times: 3,
  });
  assertEquals(lines, [
    '1970-01-01T00:00:00.000Z warn not connected address=[::1]:9920 reason="it said \\"no\\"" empty="" times=3',
  ]);
});

Deno.test("Log leaves out what is below its level", () => {
  const lines: string[] = [];
  const log = logInto(lines, { level: "warn" });
  log.debug("a");
  log.info("b");
  log.warn("c");
  log.error("d");
  assertEquals(lines.map((line) => line.split(" ")[2]), ["c", "d"]);
});

Deno.test("Log writes one line of JSON whatever message and fields hold", () => {
  fc.assert(fc.property(
    fc.string({ unit: "binary" }),
    fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.nat(), fc.boolean())),
    (message, fields) => {
      const lines: string[] = [];
      logInto(lines, { format: "json" }).error(message, fields);
      assertEquals(lines.length, 1);
      assert(!lines[0]!.includes("\n"));
      const { time, level, message: read } = JSON.parse(lines[0]!);
      assertEquals(
        [time, level, read],
        ["1970-01-01T00:00:00.000Z", "error", message],
      );
    },
  ));
});

Deno.test("Log writes one line of text whatever the fields hold", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (reason) => {
      const lines: string[] = [];
      logInto(lines).warn("not connected", { reason });
      assertEquals(lines.length, 1);
      assert(!/[\n\r]/.test(lines[0]!), JSON.stringify(lines[0]));
    }),
  );
});

Deno.test("Log.limited shows a key once in ten seconds, then with the number held back", () => {
  const lines: string[] = [];
  let now = 0;
  const log = logInto(lines, { now: () => now });
  for (const at of [0, 1, 9_999]) {
    now = at;
    log.limited("a", "drops");
  }
  log.limited("b", "other drops");
  now = 10_000;
  log.limited("a", "drops", { address: "x" });
  now = 20_000;
  log.limited("a", "drops");
  assertEquals(lines.map((line) => line.split(" warn ")[1]), [
    "drops",
    "other drops",
    "drops address=x heldBack=2",
    "drops",
  ]);
});

Deno.test("Log.once shows a line the first time alone", () => {
  const lines: string[] = [];
  const log = logInto(lines);
  for (const message of ["a", "b", "a", "b"]) log.once(message);
  assertEquals(lines, [
    "1970-01-01T00:00:00.000Z info a",
    "1970-01-01T00:00:00.000Z info b",
  ]);
});
