/** The README's performance beside the results that it is taken from: `tools/write_readme.ts` writes the tables. */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { performanceTable } from "../../tools/performance_tables.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));
const SUITES = ["dispatch", "tcp", "mqtt"] as const;

Deno.test("every row of the performance tables has a figure of its own and one to compare it with", () => {
  for (const suite of SUITES) {
    const rows = performanceTable(suite).trimEnd().split("\n").slice(2);
    for (const row of rows) {
      const [, , own, ...others] = row.split("|").map((cell) => cell.trim());
      // The own column, and at least one to compare with.
      assert(Number(own!.replaceAll(" ", "")) > 0, row);
      assert(others.some((cell) => /\d/.test(cell)), row);
    }
    assertEquals(rows.filter((row) => row.includes("undefined")), []);
  }
});

Deno.test("the README names the command of each suite, and leads to all its results", () => {
  const text = Deno.readTextFileSync(join(ROOT, "README.md"));
  const [, section] = /\n## Performance\n([\s\S]*?)\n## /.exec(text)!;
  for (const suite of SUITES) {
    assert(section!.includes(`deno task bench ${suite}\n`), suite);
    assert(section!.includes(`bench/results/${suite}.md`), suite);
  }
});
