/** Which operators `deno task mutate` changes. */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { GROUPS, mutantsOf, mutated, spread } from "../../tools/mutate.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

Deno.test("operators are changed one at a time, and nothing in comments, texts, types", () => {
  const source = [
    "/** a < b && true */",
    'const text = "a === b"; // c || d',
    "const map = new Map<string, boolean>();",
    "const pattern = /a && b/g;",
    "if (a < b && c === 1) return true;",
    "",
  ].join("\n");
  assertEquals(mutantsOf(source).map((one) => mutated(source, one)), [
    source.replace("if (a < b", "if (a <= b"),
    source.replace("b && c", "b || c"),
    source.replace("c === 1", "c !== 1"),
    source.replace("return true", "return false"),
  ]);
});

Deno.test("a sample is spread over the whole file", () => {
  assertEquals(spread([1, 2, 3, 4, 5, 6], 3), [1, 3, 5]);
  assertEquals(spread([1, 2], 3), [1, 2]);
});

Deno.test("every group names files and tests that there are, with mutants in each file", () => {
  for (const { files, tests } of GROUPS) {
    for (const path of tests) Deno.statSync(join(ROOT, path));
    for (const file of files) {
      const mutants = mutantsOf(Deno.readTextFileSync(join(ROOT, file)));
      assert(mutants.length >= 3, `${file}: ${mutants.length}`);
    }
  }
});
