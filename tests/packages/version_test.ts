import { assertEquals, assertRejects } from "@std/assert";
import { dirname, fromFileUrl, join, relative } from "@std/path";
import { manifestFiles, setVersion } from "../../tools/version.ts";
import { VERSION } from "../../cli/version.ts";
import { withFolder } from "../support/folder.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

async function versions(root?: string): Promise<string[]> {
  const files = await manifestFiles(root);
  return await Promise.all(
    files.map(async (file) =>
      JSON.parse(await Deno.readTextFile(file)).version
    ),
  );
}

Deno.test("all packages have one version, the one that the commands show", async () => {
  assertEquals([...new Set(await versions())], [VERSION]);
});

Deno.test("the newest released entry of the changelog is of the packages' version", async () => {
  const text = await Deno.readTextFile(join(ROOT, "CHANGELOG.md"));
  assertEquals(/^## (?!Unreleased$)(.*)$/m.exec(text)?.[1], VERSION);
});

Deno.test("setVersion changes the version of every package and nothing else", () =>
  withFolder(async (folder) => {
    for (const file of await manifestFiles()) {
      const copy = join(folder, relative(ROOT, file));
      await Deno.mkdir(dirname(copy), { recursive: true });
      await Deno.copyFile(file, copy);
    }
    const before = await Deno.readTextFile(join(folder, "deno.json"));
    await setVersion("12.3.4-rc.1", folder);
    assertEquals([...new Set(await versions(folder))], ["12.3.4-rc.1"]);
    await setVersion(VERSION, folder);
    assertEquals(await Deno.readTextFile(join(folder, "deno.json")), before);
  }));

Deno.test("setVersion refuses what is no version before it writes", () =>
  withFolder(async (folder) => {
    await assertRejects(() => setVersion("v1", folder), TypeError, '"v1"');
  }));
