/**
 * Throughput beside other programs, as ratios. Linux only: CPU time, memory
 * and sockets are read from /proc.
 *
 * Files of a turn go to memory where it has room, else to the temporary
 * folder. A peer that is missing is named in the tables with how it is had.
 * The load of streams is compiled with gcc where the benchmark begins.
 */
import { parseArgs } from "@std/cli/parse-args";
import { fromFileUrl, join } from "@std/path";
import { dispatchSuite } from "./dispatch/rows.ts";
import { measureRow, type Suite } from "./harness/bench.ts";
import { describeMachine } from "./harness/machine.ts";
import {
  expectationLines,
  markdown,
  type Results,
  rowTable,
} from "./harness/table.ts";
import { mqttSuite } from "./mqtt/rows.ts";
import { tcpSuite } from "./tcp/rows.ts";

const USAGE =
  `Usage: deno task bench [FILTER...] [--only NAME,...] [--runs N] [--seconds S]
                       [--patience S] [--quick] [--list]

FILTER is a part of a row's name (dispatch/forward); several words must all be
in it. --only takes the contenders whose names have one of its parts. --patience
has each turn wait so long for others to leave the machine idle. --quick is one
turn of half a second. --list names the rows.

Without FILTER, or with the name of a suite alone, the results are
bench/results/SUITE.json and .md when all rows are done; until then, and of
less, they are SUITE.partial.json and .md there.`;

/** What the fastest server writes in a turn, and some more. */
const OUTPUT_BYTES = 8e9;

const RESULTS = fromFileUrl(new URL("./results/", import.meta.url));

/** Each gives its rows, and the versions of its peers, given a folder for files. */
const SUITES: {
  name: string;
  open: (folder: string) => Promise<Suite>;
  /** Whether its turns write so much that the folder has to be in memory. */
  inMemory: boolean;
}[] = [
  { name: "dispatch", open: dispatchSuite, inMemory: true },
  { name: "mqtt", open: mqttSuite, inMemory: false },
  { name: "tcp", open: tcpSuite, inMemory: false },
];

if (import.meta.main) {
  const command = readCommand(Deno.args);
  if (Deno.build.os !== "linux") {
    refuse(`The benchmark needs Linux, and this is ${Deno.build.os}`);
  }
  const memory = await memoryFolder();
  let rows = 0;
  for (const { name, open, inMemory } of SUITES) {
    const another = SUITES.some((one) =>
      one.name !== name && command.words.includes(one.name)
    );
    if (another) continue;
    const dir = inMemory ? memory : undefined;
    const folder = await Deno.makeTempDir(dir === undefined ? {} : { dir });
    try {
      rows += await bench(name, await open(folder), command);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  }
  if (rows === 0) {
    refuse(`No row has "${command.words.join(" ")}": --list names them`);
  }
}

interface Command {
  /** Parts of a row's name. */
  words: string[];
  runs: number;
  seconds: number;
  /** How long a turn waits for others to leave the machine idle. */
  patienceSeconds: number;
  /** Parts of contenders' names; the baseline takes part always. Default: all. */
  only: string[] | undefined;
  /** Whether the results are worth a suite's own files. */
  whole: boolean;
  /** Whether only to name the rows. */
  list: boolean;
}

function readCommand(args: readonly string[]): Command {
  const given = parseArgs([...args], {
    string: ["runs", "seconds", "only", "patience"],
    boolean: ["quick", "list", "help", "h"],
    unknown: (arg, name) => {
      if (name) refuse(`Unknown option ${arg}\n${USAGE}`);
    },
  });
  if (given.help || given.h) {
    say(USAGE);
    Deno.exit(0);
  }
  const number = (name: "runs" | "seconds" | "patience", fallback: number) => {
    const text = given[name];
    if (text === undefined) return fallback;
    const value = Number(text);
    const least = name === "runs" ? 1 : 0;
    if (text !== "" && value >= least && value < Infinity) return value;
    return refuse(`--${name}: "${text}" is not a number from ${least} on`);
  };
  const words = given._.map(String);
  const { quick, list, only } = given;
  return {
    words,
    runs: number("runs", quick ? 1 : 5),
    seconds: number("seconds", quick ? 0.5 : 1),
    patienceSeconds: number("patience", 0),
    only: only?.split(","),
    whole: words.every((word) => SUITES.some(({ name }) => name === word)) &&
      !quick && only === undefined,
    list,
  };
}

/** Measures what was chosen of a suite; returns how many rows that is. */
async function bench(
  name: string,
  { rows, peers, appendix }: Suite,
  { words, runs, seconds, patienceSeconds, only, whole, list }: Command,
): Promise<number> {
  const chosen = rows.filter((row) =>
    words.every((word) => `${name}/${row.name}`.includes(word))
  );
  if (list) {
    for (const row of chosen) say(`${name}/${row.name}`);
    return chosen.length;
  }
  if (chosen.length === 0) return 0;
  const results: Results = {
    machine: describeMachine(),
    peers,
    options: { runs, seconds },
    rows: [],
  };
  let more: string[] = [];
  for (const row of chosen) {
    row.contenders = row.contenders.filter(({ name }) =>
      name === row.baseline || !only ||
      only.some((part) => name.includes(part))
    );
    const result = await measureRow(row, {
      runs,
      seconds,
      patienceSeconds,
      say: progress,
    });
    results.rows.push(result);
    say(`\n${rowTable(result).join("\n")}`);
    more = appendix?.(results.rows) ?? [];
    await write(`${name}.partial`, name, results, more);
  }
  if (whole) {
    for (const type of ["json", "md"]) {
      const from = join(RESULTS, `${name}.partial.${type}`);
      await Deno.rename(from, join(RESULTS, `${name}.${type}`));
    }
  }
  for (const line of [...more, ...expectationLines(results.rows)]) say(line);
  return chosen.length;
}

async function write(
  file: string,
  name: string,
  results: Results,
  appendix: readonly string[],
): Promise<void> {
  await Deno.mkdir(RESULTS, { recursive: true });
  const path = join(RESULTS, file);
  await Deno.writeTextFile(
    `${path}.json`,
    JSON.stringify(results, null, 2) + "\n",
  );
  await Deno.writeTextFile(
    `${path}.md`,
    markdown(`Benchmark: ${name}`, results, appendix),
  );
}

/** Files of a benchmark belong in memory, a disk would be what is measured; containers have little there. */
async function memoryFolder(): Promise<string | undefined> {
  const { success, stdout } = await new Deno.Command("df", {
    args: ["--output=avail", "-B1", "/dev/shm"],
    stderr: "null",
  }).output();
  const available = Number(new TextDecoder().decode(stdout).split("\n")[1]);
  return success && available > OUTPUT_BYTES ? "/dev/shm" : undefined;
}

function refuse(message: string): never {
  Deno.stderr.writeSync(new TextEncoder().encode(`bench: ${message}\n`));
  Deno.exit(2);
}

function progress(text: string): void {
  if (!Deno.stderr.isTerminal()) return;
  Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[K${text}`));
}

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}
