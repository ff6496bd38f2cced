/** What README and architecture page say of the tree and of packages, compared with what there is. */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { commands } from "../../cli/mproxy/main.ts";
import { needsProgram, testUnless } from "../support/skip.ts";
import manifest from "../../deno.json" with { type: "json" };

const ROOT = fromFileUrl(new URL("../..", import.meta.url));
const README = Deno.readTextFileSync(join(ROOT, "README.md"));

const ARCHITECTURE = Deno.readTextFileSync(join(ROOT, "docs/architecture.md"));

/** The paths that the picture of the tree names, folders with a final slash. */
function picturedPaths(): string[] {
  const [, picture] = /# Architecture\n\n```\n([\s\S]*?)```/.exec(
    ARCHITECTURE,
  )!;
  const paths: string[] = [];
  const folders: string[] = [];
  for (const line of picture!.trimEnd().split("\n")) {
    const depth = line.search(/\S/) / 2;
    // Names end where two spaces begin a description.
    const names = line.trim().split(/ {2,}/)[0]!.split(" ");
    for (const name of names) {
      paths.push(`${folders.slice(0, depth).join("")}${name}`);
    }
    if (names.length === 1 && names[0]!.endsWith("/")) {
      folders.splice(depth, Infinity, names[0]!);
    }
  }
  return paths;
}

Deno.test("the architecture page's picture of the tree names nothing that is not there", () => {
  const missing = picturedPaths().filter((path) => {
    // What stands below several folders stands in each of them.
    const role = path.replace(/^cli\/main\.ts$/, "cli/relay/main.ts");
    try {
      return Deno.statSync(join(ROOT, role)).isDirectory !== path.endsWith("/");
    } catch {
      return true;
    }
  });
  assertEquals(missing, []);
});

Deno.test("the architecture page's picture of the tree has every folder, and every file of cli and net", () => {
  const pictured = new Set(picturedPaths());
  const { stdout } = new Deno.Command("git", {
    args: ["ls-files"],
    cwd: ROOT,
  }).outputSync();
  const wanted = new Set<string>();
  for (const file of new TextDecoder().decode(stdout).trim().split("\n")) {
    const parts = file.split("/");
    if (parts.length > 1) wanted.add(`${parts[0]}/`);
    const inside = parts[0] === "net" || parts[0] === "cli";
    if (inside && parts.length > 2) wanted.add(`${parts[0]}/${parts[1]}/`);
    if (inside && parts.length === 2) wanted.add(file);
  }
  // The entry of the package, a constant, what CI and GitHub read.
  for (const one of ["cli/mod.ts", "cli/version.ts", ".ci/", ".github/"]) {
    assert(wanted.delete(one), one);
  }
  assertEquals(
    [...wanted].filter((path) => !pictured.has(path)),
    [],
    "docs/architecture.md",
  );
});

testUnless(
  needsProgram("rsvg-convert"),
  "the README's picture of the roles can be drawn, and names every role",
  async () => {
    const file = join(ROOT, "docs/img/roles.svg");
    const { success, stdout } = await new Deno.Command("rsvg-convert", {
      args: ["--format", "png", file],
    }).output();
    assert(success);
    assertEquals([...stdout.subarray(1, 4)], [0x50, 0x4e, 0x47]);
    const svg = await Deno.readTextFile(file);
    for (const { name } of commands) assert(svg.includes(`>${name}<`), name);
  },
);

Deno.test("the README says what every package is for", () => {
  const unnamed = Object.keys(manifest.imports)
    .filter((name) => !README.includes(`\`${name}\``));
  assertEquals(unnamed, []);
});

Deno.test("CONTRIBUTING says what every task does", () => {
  const text = Deno.readTextFileSync(join(ROOT, "CONTRIBUTING.md"));
  const unnamed = Object.keys(manifest.tasks)
    .filter((name) =>
      !new RegExp(`^\\| \`deno task ${name}[ \`]`, "m").test(text)
    );
  assertEquals(unnamed, []);
});

Deno.test("every path that the documentation names is there", () => {
  const { stdout } = new Deno.Command("git", {
    args: ["ls-files", "*.md"],
    cwd: ROOT,
  }).outputSync();
  const wrong: string[] = [];
  for (const file of new TextDecoder().decode(stdout).trim().split("\n")) {
    const text = Deno.readTextFileSync(join(ROOT, file));
    const paths = text.matchAll(
      /`((?:net|cli|tests|tools|bench|packaging|examples|offline|\.ci|\.github)\/[\w./-]*)`/g,
    );
    for (const [, path] of paths) {
      // What a benchmark writes is not part of the tree.
      if (path!.startsWith("bench/results/")) continue;
      try {
        Deno.statSync(join(ROOT, path!.replace("ROLE", "relay")));
      } catch {
        wrong.push(`${file}: ${path}`);
      }
    }
  }
  assertEquals(wrong, []);
});
