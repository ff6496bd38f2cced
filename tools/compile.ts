/**
 * Makes single-file programs in dist/: one of each role, and `mproxy` with all.
 *
 *     deno task compile [ROLE…] [--target NAME|all] [--out dist]
 *
 * DENORT_BIN names a local runtime where none can be downloaded.
 */
import { parseArgs } from "@std/cli/parse-args";
import { fromFileUrl, join, resolve } from "@std/path";
import { createHash } from "node:crypto";
import { formatBytes } from "../net/observe/units.ts";
import { BAKED, permissions } from "./permissions.ts";

const ROOT = fromFileUrl(new URL("..", import.meta.url));

/** All that `--target all` makes programs for. */
export const TARGETS = [
  "x86_64-unknown-linux-gnu",
  "aarch64-unknown-linux-gnu",
  "x86_64-apple-darwin",
  "aarch64-apple-darwin",
  "x86_64-pc-windows-msvc",
] as const;

/** What a program is compiled from. */
export interface Program {
  /** `mproxy`, or `mproxy-ROLE`. */
  readonly name: string;
  /** Its entry, from the root. */
  readonly entry: string;
  /** What it may do. */
  readonly permissions: readonly string[];
  /** Modules that it may import when it runs, from the root: what its hooks import. */
  readonly included: readonly string[];
}

/**
 * What hooks may import from this library. A module that is not embedded is
 * read from a folder below /tmp, where anybody may have put one.
 */
const HOOK_IMPORTS = ["mod.ts", "net/mqtt/mod.ts"];

/** All programs. */
export const programs: readonly Program[] = [
  {
    name: "mproxy",
    entry: "cli/mproxy/main.ts",
    permissions: BAKED,
    included: HOOK_IMPORTS,
  },
  ...permissions.map(({ role, more }) => ({
    name: `mproxy-${role}`,
    entry: `cli/${role}/main.ts`,
    permissions: BAKED,
    included: more.some(([, what]) => what.includes("`--hooks`"))
      ? HOOK_IMPORTS
      : [],
  })),
];

/** Files that run in Workers, from the root: no module imports them, so each is named. */
export async function workerFiles(folder = "net"): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(join(ROOT, folder))) {
    const path = `${folder}/${name}`;
    if (isDirectory) found.push(...await workerFiles(path));
    else if (name.endsWith("_worker.ts")) found.push(path);
  }
  return found.sort();
}

/**
 * Folders of npm packages that stay out of programs. `deno compile` 2.9 parses
 * every file that it embeds, whatever its name: the sample data of bintrees
 * (which prom-client brings) is 10 000 lines of `a\n-b`, one expression so deep
 * that the parser's stack overflows (denoland/deno#36746).
 */
export async function leftOutFolders(): Promise<string[]> {
  const { stdout } = await deno(["info", "--json"]);
  const { npmCache } = JSON.parse(stdout) as { npmCache: string };
  const found: string[] = [];
  for (const registry of await subfolders(npmCache)) {
    const versions = join(npmCache, registry, "bintrees");
    for (const version of await subfolders(versions)) {
      found.push(join(versions, version, "test"));
    }
  }
  return found;
}

async function subfolders(folder: string): Promise<string[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(folder));
    return entries.filter(({ isDirectory }) => isDirectory)
      .map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Arguments of `deno` that compile a program. */
export function compileArguments(
  program: Program,
  { workers, leftOut }: {
    readonly workers: readonly string[];
    readonly leftOut: readonly string[];
  },
  target: string | undefined,
  output: string,
): string[] {
  return [
    ...["compile", "--no-check", "--unstable-net", "--no-prompt"],
    // The cache is a file of a predictable name in /tmp, whoever made it.
    "--no-code-cache",
    // The lock file names the tests' packages too.
    "--exclude-unused-npm",
    ...leftOut.flatMap((folder) => ["--exclude", folder]),
    ...program.permissions,
    ...[...workers, ...program.included].flatMap((file) => ["--include", file]),
    ...target === undefined ? [] : ["--target", target],
    ...["--output", output, program.entry],
  ];
}

/** A program's file name for a target; the one of this machine is not named. */
export function fileName(program: Program, target: string | undefined): string {
  const system = target ?? Deno.build.target;
  return program.name + (target === undefined ? "" : `-${target}`) +
    (system.includes("windows") ? ".exe" : "");
}

/** A failed compile, as one line for the user. */
export function compileFailure(name: string, stderr: string): string {
  const missing = /denort|error sending request|client error|dns error/i;
  if (missing.test(stderr)) {
    return `Cannot compile ${name}: its runtime cannot be downloaded; give a local one for the target: DENORT_BIN=/path/to/denort deno task compile`;
  }
  const [line = "deno compile failed"] = stderr.split("\n").filter((one) =>
    /error/i.test(one)
  );
  return `Cannot compile ${name}: ${line.trim()}`;
}

async function sha256(file: string): Promise<string> {
  const hash = createHash("sha256");
  using input = await Deno.open(file);
  for await (const part of input.readable) hash.update(part);
  return hash.digest("hex");
}

async function main(args: string[]): Promise<number> {
  const given = parseArgs(args, {
    string: ["target", "out"],
    unknown: (name) => {
      if (name.startsWith("-")) throw new TypeError(`Unknown option ${name}`);
      return true;
    },
  }) as { target?: string; out?: string; _: (string | number)[] };
  const roles = given._.map(String);
  const chosen = roles.map((role) => {
    const found = programs.find(({ name }) =>
      name === role || name === `mproxy-${role}`
    );
    if (!found) throw new TypeError(`Unknown role "${role}"`);
    return found;
  });
  const targets = given.target === "all"
    ? TARGETS
    : [given.target as typeof TARGETS[number] | undefined];
  for (const target of targets) {
    if (target !== undefined && !TARGETS.includes(target)) {
      throw new TypeError(
        `Unknown target "${target}": all, ${TARGETS.join(", ")}`,
      );
    }
  }
  if (targets.length > 1 && Deno.env.has("DENORT_BIN")) {
    throw new TypeError(
      "DENORT_BIN is the runtime of one target: name that with --target",
    );
  }
  const runtime = Deno.env.get("DENORT_BIN");
  if (runtime !== undefined && !await isFile(runtime)) {
    throw new TypeError(`DENORT_BIN is "${runtime}", where there is no file`);
  }
  const out = resolve(ROOT, given.out ?? "dist");
  await Deno.mkdir(out, { recursive: true });
  const workers = await workerFiles();
  // So that all packages lie in the cache before some of their files are left out.
  const cached = await deno(["cache", "cli/mproxy/main.ts", ...workers]);
  if (!cached.success) {
    say(Deno.stderr, compileFailure("mproxy", cached.stderr));
    return 1;
  }
  const embedded = { workers, leftOut: await leftOutFolders() };
  for (const target of targets) {
    for (const program of chosen.length > 0 ? chosen : programs) {
      const file = fileName(program, target);
      const path = join(out, file);
      const { success, stderr } = await deno(
        compileArguments(program, embedded, target, path),
      );
      if (!success) {
        say(Deno.stderr, compileFailure(file, stderr));
        return 1;
      }
      const { size } = await Deno.stat(path);
      say(Deno.stdout, `${file}: ${formatBytes(size)}`);
    }
  }
  await writeSums(out);
  return 0;
}

function isFile(path: string): Promise<boolean> {
  return Deno.stat(path).then((stat) => stat.isFile, () => false);
}

/** Runs Deno in the checkout; its output is plain text. */
async function deno(
  args: readonly string[],
): Promise<{ success: boolean; stdout: string; stderr: string }> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: ROOT,
    env: { NO_COLOR: "1", RUST_BACKTRACE: "0" },
  }).output();
  const decoder = new TextDecoder();
  return {
    success,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
  };
}

/** Writes SHA256SUMS of all programs and archives of a folder, as sha256sum -c reads it. */
export async function writeSums(folder: string): Promise<void> {
  const names = [...Deno.readDirSync(folder)].filter(({ name, isFile }) =>
    // A compile that was killed leaves NAME.tmp-….
    isFile && name.startsWith("mproxy") && !name.includes(".tmp-")
  ).map(({ name }) => name).sort();
  const lines = [];
  for (const name of names) {
    lines.push(`${await sha256(join(folder, name))}  ${name}\n`);
  }
  await Deno.writeTextFile(join(folder, "SHA256SUMS"), lines.join(""));
}

function say(stream: typeof Deno.stderr, line: string): void {
  stream.writeSync(new TextEncoder().encode(`${line}\n`));
}

if (import.meta.main) {
  try {
    Deno.exit(await main(Deno.args));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    say(Deno.stderr, `compile: ${error.message}`);
    Deno.exit(2);
  }
}
