/**
 * Mutation tests: changes one operator of a pure file at a time and runs the
 * file's tests, which must fail. Works in a copy of the tree, ends after
 * `--minutes`, and exits with 1 if a group keeps more than 10 % of its mutants.
 *
 *     deno task mutate [GROUP...] [--minutes=10] [--per-file=60]
 */
import { parseArgs } from "@std/cli/parse-args";
import { dirname, fromFileUrl, join } from "@std/path";

/** Files whose logic must be guarded to the operator, and the tests that guard them. */
interface Group {
  readonly name: string;
  readonly files: readonly string[];
  readonly tests: readonly string[];
}

export const GROUPS: readonly Group[] = [
  {
    name: "address",
    files: ["net/address.ts"],
    tests: ["tests/net/address_test.ts"],
  },
  {
    name: "balance",
    files: [
      "net/engine/balancing/balancer.ts",
      "net/engine/balancing/tunnel_policy.ts",
    ],
    tests: [
      "tests/net/engine/balancing/balancer_test.ts",
      "tests/net/engine/balancing/tunnel_policy_test.ts",
    ],
  },
  {
    name: "health",
    files: ["net/engine/balancing/health.ts"],
    tests: ["tests/net/engine/balancing/health_test.ts"],
  },
  {
    name: "limits",
    files: [
      "net/udp/sources/pacer.ts",
      "net/mqtt/policy/token_bucket.ts",
      "net/mqtt/policy/fair_queue.ts",
      "net/admission.ts",
      "net/admission_table.ts",
    ],
    tests: [
      "tests/net/udp/sources/pacer_test.ts",
      "tests/net/mqtt/policy/parts_test.ts",
      "tests/net/mqtt/policy/fair_queue_test.ts",
      "tests/net/admission_test.ts",
    ],
  },
  {
    name: "filters",
    files: ["net/mqtt/topic.ts"],
    tests: [
      "tests/net/mqtt/topic_test.ts",
      "tests/net/mqtt/hooks/filters_test.ts",
    ],
  },
  {
    name: "policy",
    files: ["net/mqtt/policy/acl.ts", "net/mqtt/hooks/decision.ts"],
    tests: [
      "tests/net/mqtt/policy/acl_test.ts",
      "tests/net/mqtt/hooks/decision_test.ts",
    ],
  },
  {
    name: "framing",
    files: [
      "net/udp/sources/splitter.ts",
      "net/mqtt/packet/fixed_header.ts",
      "net/mqtt/packet/framer.ts",
      "net/udp/file_log/datagram_runs.ts",
    ],
    tests: [
      "tests/net/udp/sources/splitter_test.ts",
      "tests/net/mqtt/packet/fixed_header_test.ts",
      "tests/net/mqtt/packet/framer_test.ts",
      "tests/net/mqtt/packet/framer_limits_test.ts",
      "tests/net/mqtt/packet/reader_test.ts",
      "tests/net/udp/file_log/datagram_runs_test.ts",
    ],
  },
];

/** Share of mutants that may survive in a group. */
const MAX_SURVIVORS = 0.1;

/** What a mutant's tests may take beyond three times the unchanged run, in ms. */
const SLACK_MS = 5000;

/** Copied for the mutants. */
const TREE = [
  "cli",
  "net",
  "offline",
  "tests",
  "deno.json",
  "deno.lock",
  "mod.ts",
];

/** An operator in the text, and what a mutant has in its place. */
export interface Mutant {
  readonly at: number;
  readonly from: string;
  readonly to: string;
}

/** `deno fmt` puts spaces around binary operators, and none around type arguments. */
const SWAPS: Readonly<Record<string, string>> = {
  " === ": " !== ",
  " !== ": " === ",
  " < ": " <= ",
  " <= ": " < ",
  " > ": " >= ",
  " >= ": " > ",
  " && ": " || ",
  " || ": " && ",
  " + ": " - ",
  " - ": " + ",
  " * ": " / ",
  " / ": " * ",
  " += ": " -= ",
  " -= ": " += ",
  "true": "false",
  "false": "true",
};

const OPERATOR =
  / (?:===|!==|<=|>=|<|>|&&|\|\||\+|-|\*|\/|\+=|-=)(?= |\n)|\b(?:true|false)\b/g;

/** Comments, texts and regular expressions: nothing in them is an operator. */
const OPAQUE =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|(?<=[(=,:[!&|?{;]\s*)\/(?![*/\s])(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\n])+\/[a-z]*/g;

/** The mutants of a source text, in its order. */
export function mutantsOf(source: string): Mutant[] {
  const visible = source.replaceAll(
    OPAQUE,
    (text) => text.replaceAll(/[^\n]/g, "_"),
  );
  return [...visible.matchAll(OPERATOR)].map(({ 0: found, index }) => {
    const key = found.startsWith(" ") ? `${found} ` : found;
    const to = SWAPS[key]!;
    return { at: index, from: found, to: to.trimEnd() };
  });
}

/** A source text with one mutant in it. */
export function mutated(source: string, { at, from, to }: Mutant): string {
  return source.slice(0, at) + to + source.slice(at + from.length);
}

/** At most `count`, spread evenly over all. */
export function spread<T>(all: readonly T[], count: number): T[] {
  if (all.length <= count) return [...all];
  return Array.from(
    { length: count },
    (_, i) => all[Math.floor(i * all.length / count)]!,
  );
}

interface Survivor {
  readonly file: string;
  readonly line: number;
  readonly mutant: Mutant;
}

async function main(): Promise<number> {
  const { _: names, minutes = "10", "per-file": perFile = "60" } = parseArgs(
    Deno.args,
    { string: ["minutes", "per-file"] },
  );
  const groups = GROUPS.filter(({ name }) =>
    names.length === 0 || names.includes(name)
  );
  if (groups.length === 0) {
    const known = GROUPS.map((group) => group.name).join(", ");
    print(Deno.stderr, `mutate: unknown group; expected ${known}`);
    return 2;
  }
  const endsAt = Date.now() + Number(minutes) * 60_000;
  let failed = false;
  for (const [i, group] of groups.entries()) {
    // What is left is shared by the groups that are left.
    const until = Date.now() + (endsAt - Date.now()) / (groups.length - i);
    const { tried, survivors } = await tryGroup(group, Number(perFile), until);
    const share = tried === 0 ? 0 : survivors.length / tried;
    failed ||= share > MAX_SURVIVORS || tried === 0;
    print(
      Deno.stdout,
      `${group.name}: ${tried} mutants, ${survivors.length} survived (${
        (100 * share).toFixed(1)
      } %)`,
    );
    for (const { file, line, mutant } of survivors) {
      print(
        Deno.stdout,
        `  ${file}:${line}: ${mutant.from.trim()} -> ${mutant.to.trim()}`,
      );
    }
  }
  return failed ? 1 : 0;
}

async function tryGroup(
  { name, files, tests }: Group,
  perFile: number,
  until: number,
): Promise<{ tried: number; survivors: Survivor[] }> {
  const folder = await copyOfTree();
  try {
    const started = Date.now();
    if (!await pass(folder, tests, Infinity)) {
      throw new Error(`${name}: the tests fail without a mutant`);
    }
    const limitMs = 3 * (Date.now() - started) + SLACK_MS;
    const survivors: Survivor[] = [];
    let tried = 0;
    for (const file of files) {
      const path = join(folder, file);
      const source = await Deno.readTextFile(path);
      for (const mutant of spread(mutantsOf(source), perFile)) {
        if (Date.now() > until) break;
        tried++;
        await Deno.writeTextFile(path, mutated(source, mutant));
        if (await pass(folder, tests, limitMs)) {
          const line = source.slice(0, mutant.at).split("\n").length;
          survivors.push({ file, line, mutant });
        }
      }
      await Deno.writeTextFile(path, source);
    }
    return { tried, survivors };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function copyOfTree(): Promise<string> {
  const root = fromFileUrl(new URL("../", import.meta.url));
  const folder = await Deno.makeTempDir({ prefix: "mutate-" });
  for (const entry of TREE) await copy(join(root, entry), join(folder, entry));
  return folder;
}

async function copy(from: string, to: string): Promise<void> {
  if ((await Deno.stat(from)).isFile) {
    await Deno.mkdir(dirname(to), { recursive: true });
    return await Deno.copyFile(from, to);
  }
  for await (const { name } of Deno.readDir(from)) {
    await copy(join(from, name), join(to, name));
  }
}

/** Whether the tests pass within a time; a mutant that hangs is noticed too. */
async function pass(
  cwd: string,
  tests: readonly string[],
  limitMs: number,
): Promise<boolean> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--no-check", "--fail-fast", ...tests],
    cwd,
    stdout: "null",
    stderr: "null",
  }).spawn();
  const timer = limitMs === Infinity
    ? undefined
    : setTimeout(() => child.kill("SIGKILL"), limitMs);
  const { success } = await child.status;
  clearTimeout(timer);
  return success;
}

function print(to: { writeSync(bytes: Uint8Array): number }, line: string) {
  to.writeSync(new TextEncoder().encode(`${line}\n`));
}

if (import.meta.main) Deno.exit(await main());
