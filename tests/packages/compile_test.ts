/** What single-file programs hold, and that it is all they need. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname, fromFileUrl, join, relative } from "@std/path";
import { manifestFiles } from "../../.ci/version.ts";
import {
  compileArguments,
  compileFailure,
  fileName,
  programs,
  TARGETS,
  workerFiles,
  writeSums,
} from "../../.ci/compile.ts";
import { roleSmoke } from "../support/role_smoke.ts";
import { TestFolder, withFolder } from "../support/folder.ts";
import { TestProcess } from "../support/process.ts";
import { needsProgram, testUnless } from "../support/skip.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

/** The local modules of a graph, as `deno compile` would embed them. */
async function localModules(entry: string): Promise<string[]> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", entry],
    cwd: ROOT,
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  const { modules } = JSON.parse(new TextDecoder().decode(stdout));
  return modules
    .filter(({ specifier }: { specifier: string }) =>
      specifier.startsWith("file:")
    )
    .map(({ specifier, error }: { specifier: string; error?: string }) => {
      assertEquals(error, undefined, specifier);
      return fromFileUrl(specifier);
    });
}

Deno.test("workerFiles finds every file that the library starts as a Worker", async () => {
  const started: string[] = [];
  for (const file of await localModules("mod.ts")) {
    const text = await Deno.readTextFile(file);
    if (!/new Worker\(/.test(text)) continue;
    for (const [, path] of text.matchAll(/["'](\.[^"']*_worker\.ts)["']/g)) {
      const found = relative(ROOT, join(dirname(file), path!));
      started.push(found.replaceAll("\\", "/"));
    }
    assertMatch(text, /_worker\.ts["']/, `${file} starts an unknown Worker`);
  }
  assertEquals(await workerFiles(), [...new Set(started)].sort());
});

Deno.test("every program runs from exactly the modules that are compiled into it", async (t) => {
  const workers = await workerFiles();
  const shared = new Set<string>();
  for (const worker of workers) {
    for (const file of await localModules(worker)) shared.add(file);
  }
  for (const { name, entry } of programs) {
    await t.step(name, async () => {
      await using folder = await TestFolder.create();
      const archive = join(folder.path, "archive");
      const files = new Set([
        ...shared,
        ...await localModules(entry),
        // What names mean: compile embeds it as well.
        ...await manifestFiles(),
        join(ROOT, "deno.lock"),
        ...["assert", "cli", "path", "streams"].map((one) =>
          join(ROOT, "offline", one, "deno.json")
        ),
      ]);
      for (const file of files) {
        const copy = join(archive, relative(ROOT, file));
        assert(copy.startsWith(archive), `${file} lies outside`);
        await Deno.mkdir(dirname(copy), { recursive: true });
        await Deno.copyFile(file, copy);
      }
      const { permissions } = programs.find((one) => one.name === name)!;
      const role = name === "mproxy" ? "server" : name.slice(7);
      await roleSmoke[role]!((...args) =>
        new TestProcess(
          Deno.execPath(),
          [
            ...["run", "--no-prompt", "--cached-only", "--unstable-net"],
            ...permissions,
            join(archive, entry),
            ...name === "mproxy" ? [role] : [],
            ...args,
          ],
          { cwd: folder.path },
        ), folder.path);
    });
  }
});

Deno.test("compileArguments names Workers and permissions, and libc on Linux alone", () => {
  const relay = programs.find(({ name }) => name === "mproxy-relay")!;
  for (const target of TARGETS) {
    const args = compileArguments(relay, ["net/a_worker.ts"], target, "out");
    assert(args.includes("--unstable-net"));
    assert(args.join(" ").includes("--include net/a_worker.ts"));
    assertEquals(args.includes("--allow-ffi"), target.includes("linux"));
    assert(!args.includes("-A") && !args.includes("--allow-all"));
    assert(!args.some((one) => one.startsWith("--allow-run")));
  }
  assertEquals(
    fileName(relay, "x86_64-pc-windows-msvc"),
    "mproxy-relay-x86_64-pc-windows-msvc.exe",
  );
});

Deno.test("compileFailure is one line that names DENORT_BIN where the runtime is out of reach", () => {
  const line = compileFailure(
    "mproxy",
    "error: Writing temporary file\n\nCaused by:\n    0: error sending request for url (https://example/denort.zip)\n    1: dns error",
  );
  assert(!line.includes("\n"));
  assertMatch(line, /DENORT_BIN/);
  assertEquals(
    compileFailure("mproxy", "Compile x\nerror: Module not found"),
    "Cannot compile mproxy: error: Module not found",
  );
});

testUnless(
  needsProgram("sha256sum"),
  "writeSums writes what sha256sum checks",
  () =>
    withFolder(async (folder) => {
      await Deno.writeTextFile(join(folder, "mproxy"), "one");
      await Deno.writeTextFile(join(folder, "mproxy-echo"), "two");
      await writeSums(folder);
      const { code } = await new Deno.Command("sha256sum", {
        args: ["--check", "--strict", "SHA256SUMS"],
        cwd: folder,
        stdout: "null",
      }).output();
      assertEquals(code, 0);
    }),
);
