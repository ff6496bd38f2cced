/**
 * Resident memory of client, proxy and server over a long run: a paced client
 * sends through a proxy to a server that rotates its file.
 *
 *     deno run -A tests/soak/dispatch_memory.ts [MINUTES] [--engine portable] [--rate 100M]
 *
 * Fails where a process grows, or has more than 120 MB.
 */
import { parseArgs } from "@std/cli/parse-args";
import { join } from "@std/path";
import { median } from "../../bench/harness/bench.ts";
import { residentBytes, sleep } from "../../bench/harness/processes.ts";
import { startRole, type TestProcess } from "../support/process.ts";

const SAMPLE_MS = 1000;
const MOST_BYTES = 120e6;

/**
 * How far the last quarter's median may lie above the second quarter's. A
 * collected heap comes and goes by some megabytes; at 8 600 datagrams a second
 * a leak of 4 bytes for each exceeds this within ten minutes.
 */
const MOST_GROWTH_BYTES = 8e6;

/** More than is sent; it has no blocks. */
const INPUT_BYTES = 2 ** 40;

if (import.meta.main) {
  const { _: [minutes = 10], engine = "portable", rate = "100M" } = parseArgs(
    Deno.args,
    { string: ["engine", "rate"] },
  );
  const folder = await Deno.makeTempDir({ prefix: "mproxy-soak-" });
  let ok = false;
  try {
    ok = await soak(folder, Number(minutes) * 60_000, engine, rate);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  Deno.exit(ok ? 0 : 1);
}

async function soak(
  folder: string,
  durationMs: number,
  engine: string,
  rate: string,
): Promise<boolean> {
  const input = join(folder, "input");
  await Deno.writeFile(input, new Uint8Array());
  await Deno.truncate(input, INPUT_BYTES);
  await using stack = new AsyncDisposableStack();
  const start = (role: string, ...args: string[]) =>
    stack.use(startRole(role, ["--engine", engine, ...args]));
  const server = start(
    "server",
    ...["--listen-addr", "127.0.0.1:0", "--path", join(folder, "log")],
    ...["--rotate-size", "32M", "--keep", "1", "--no-gzip"],
  );
  const toServer = await listening(server);
  const proxy = start(
    "proxy",
    ...["--udp-listen-addr", "127.0.0.1:0", "--udp-downstream-addr", toServer],
  );
  const toProxy = await listening(proxy);
  const client = start(
    "client",
    ...["--path", input, "--server-addr", toProxy, "--rate", rate],
  );

  const processes = { client, proxy, server };
  const samples = { client: [], proxy: [], server: [] } as Record<
    keyof typeof processes,
    number[]
  >;
  const names = Object.keys(processes) as (keyof typeof processes)[];
  const end = performance.now() + durationMs;
  while (performance.now() < end) {
    await sleep(SAMPLE_MS);
    for (const name of names) {
      samples[name].push(residentBytes([processes[name].pid]));
    }
  }

  let ok = true;
  for (const name of names) {
    const { code, stderr } = await processes[name].stop();
    const summary = stderr.split("\n").filter((line) =>
      /^(read|received|sent|wrote)\b/.test(line)
    );
    const flows = /[1-9]\d* datagrams?/.test(summary[0] ?? "");
    const flat = memoryIsFlat(samples[name]);
    say(`${name}: ${flat.text}`);
    for (const line of summary) say(`  ${line}`);
    if (code !== 0 || !flows) say(`  FAILED: exit ${code}\n${stderr}`);
    ok &&= flat.ok && code === 0 && flows;
  }
  say(ok ? "PASSED" : "FAILED");
  return ok;
}

/** Judges samples in equal distances. */
function memoryIsFlat(samples: number[]): { ok: boolean; text: string } {
  const quarter = Math.floor(samples.length / 4);
  const early = median(samples.slice(quarter, 2 * quarter));
  const late = median(samples.slice(-quarter));
  const peak = Math.max(...samples);
  const problems = [
    ...quarter === 0 ? ["too few samples"] : [],
    ...samples.includes(0) ? ["it ended early"] : [],
    ...late - early > MOST_GROWTH_BYTES ? ["it grows"] : [],
    ...peak > MOST_BYTES ? [`more than ${megabytes(MOST_BYTES)}`] : [],
  ];
  return {
    ok: problems.length === 0,
    text: `second quarter ${megabytes(early)}, last quarter ${
      megabytes(late)
    }, peak ${megabytes(peak)} of ${samples.length} samples: ${
      problems.length === 0 ? "flat" : `FAILED: ${problems.join(", ")}`
    }`,
  };
}

async function listening(process: TestProcess): Promise<string> {
  const [, address] = await process.line(/ listening address=(\S+)/);
  return address!;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}
