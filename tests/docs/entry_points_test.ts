/** Every door of every package says what it is for, with an example that runs. */
import { assertEquals } from "@std/assert";
import { dirname, fromFileUrl, join, relative } from "@std/path";
import { manifestFiles } from "../../tools/version.ts";
import manifest from "../../deno.json" with { type: "json" };

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

async function entryPoints(): Promise<string[]> {
  const found: string[] = [];
  for (const file of await manifestFiles()) {
    const { exports } = JSON.parse(await Deno.readTextFile(file)) as {
      exports: string | Record<string, string>;
    };
    const doors = typeof exports === "string"
      ? [exports]
      : Object.values(exports);
    for (const door of doors) {
      found.push(
        relative(ROOT, join(dirname(file), door)).replaceAll("\\", "/"),
      );
    }
  }
  return found.sort();
}

Deno.test("every entry point opens with a module doc that has an example in TypeScript", async () => {
  const wrong: string[] = [];
  for (const file of await entryPoints()) {
    const text = await Deno.readTextFile(join(ROOT, file));
    const [doc] = /^\/\*\*[\s\S]*?\*\//.exec(text) ?? [""];
    if (!/@module/.test(doc) || !/ @example .+\n \* ```ts\n/.test(doc)) {
      wrong.push(file);
    }
  }
  assertEquals(wrong, []);
});

Deno.test("deno task doc lints and runs every entry point", async () => {
  const parts = manifest.tasks.doc.command.split(" && ");
  assertEquals(parts.length, 2);
  for (const part of parts) {
    const named = part.split(" ").filter((word) => word.endsWith(".ts"));
    const missing = (await entryPoints()).filter((file) =>
      !named.includes(file) && !named.includes(file.replace(/\/\w+\//, "/*/"))
    );
    assertEquals(missing, [], part);
  }
});
