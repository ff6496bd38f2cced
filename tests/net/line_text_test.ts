import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { capText, jsonLine } from "../../net/line_text.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text).length;

Deno.test("capText keeps what fits and marks what it cuts", () => {
  assertEquals(capText("short", 64), "short");
  assertEquals(capText("é".repeat(32), 64), "é".repeat(32));
  // 33 bytes would end in the middle of a letter.
  assertEquals(
    capText("é".repeat(33), 65),
    `${"é".repeat(16)}...[34 bytes cut]`,
  );
});

Deno.test("capText never passes the bound", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "grapheme", maxLength: 300 }),
      fc.integer({ min: 40, max: 400 }),
      (text, max) => {
        const capped = capText(text, max);
        assert(bytesOf(capped) <= max, `${bytesOf(capped)} of ${max}`);
        if (bytesOf(text) <= max) assertEquals(capped, text);
        else {assert(
            text.startsWith(capped.replace(/\.{3}\[\d+ bytes cut\]$/, "")),
          );}
      },
    ),
  );
});

Deno.test("jsonLine shortens texts and lists until the line fits", () => {
  const line = jsonLine({
    event: "connect",
    clientId: "\u0001".repeat(60_000),
    filters: Array.from({ length: 10_000 }, (_, i) => `a/${i}`),
  }, 4096);
  assert(bytesOf(line) <= 4096);
  const { event, clientId, filters } = JSON.parse(line);
  assertEquals(event, "connect");
  assert(/\.{3}\[\d+ characters cut\]$/.test(clientId));
  assert(/^\.{3}\[\d+ items cut\]$/.test(filters.at(-1)));
});

Deno.test("jsonLine stays JSON of bounded length whatever the values", () => {
  fc.assert(
    fc.property(
      fc.dictionary(
        fc.string({ maxLength: 10 }),
        fc.oneof(
          fc.string({ unit: "binary", maxLength: 5000 }),
          fc.array(fc.string({ unit: "binary", maxLength: 50 })),
          fc.integer(),
        ),
        { maxKeys: 8 },
      ),
      (record) => {
        const line = jsonLine(record, 2048);
        JSON.parse(line);
        assert(bytesOf(line) <= 2048, String(bytesOf(line)));
        assert(!line.includes("\n"));
      },
    ),
  );
});
