/**
 * Loads a TCP echo server, or a proxy before one, and reports rates and latencies.
 *
 * ```sh
 * deno run -A jsr:@mproxy/loadtest 127.0.0.1:8080 --connections 50 --svg load.svg
 * ```
 *
 * @example The same from a program
 * ```ts
 * import { DEFAULT_SCENARIO, EchoServer, LoadTest } from "@mproxy/mproxy";
 * import { assert, assertEquals } from "@std/assert";
 *
 * await using echo = await EchoServer.open({
 *   address: { hostname: "127.0.0.1", port: 0 },
 *   protocol: "tcp",
 * });
 * await using test = new LoadTest({
 *   target: echo.address,
 *   scenarios: [{ ...DEFAULT_SCENARIO, connections: 2, durationMs: 50 }],
 * });
 * await test.finished;
 * const [result] = test.results;
 * assertEquals(result!.errors, 0);
 * assert(result!.requests > 0);
 * ```
 *
 * @module
 */
import * as cli from "@mproxy/mproxy/cli";
import * as load from "@mproxy/mproxy";

const seconds = (text: string) => {
  const value = cli.seconds(text);
  if (value > 0 && value <= 86_400) return value;
  throw new load.UsageError(`"${text}" is not between 0 and 86400 seconds`);
};

const rate = (text: string) => {
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value > 0 && value <= 1e7) return value;
  throw new load.UsageError(`"${text}" is not a rate between 0 and 10000000`);
};

const options = {
  target: cli.value("What to load", "HOST:PORT", load.readLoadTarget, {
    aliases: ["target-addr"],
    fallback: load.DEFAULT_LOAD_TARGET,
    defaultText: "127.0.0.1:8080",
  }),
  connections: cli.value(
    "Connections, each with one request under way",
    "N",
    cli.integer(1, load.MAX_LOAD_CONNECTIONS),
    { fallback: load.DEFAULT_SCENARIO.connections },
  ),
  duration: cli.value("How long to measure", "SECONDS", seconds, {
    aliases: ["duration-secs"],
    fallback: load.DEFAULT_SCENARIO.durationMs / 1000,
  }),
  messageSize: cli.value(
    "Bytes of a request and of its answer",
    "BYTES",
    cli.scaled(1, load.MAX_MESSAGE_BYTES),
    { fallback: load.DEFAULT_SCENARIO.messageBytes },
  ),
  matrix: cli.flag(
    "Run the seven scenarios of the original's file instead of one",
  ),
  warmUp: cli.value(
    "Send requests for so long before measuring",
    "SECONDS",
    cli.seconds,
    { fallback: 0 },
  ),
  rate: cli.value(
    "Requests per second over all connections, whatever the answers do; latency counts from when a request was due",
    "N",
    rate,
  ),
  json: cli.flag("Write the report to stdout as JSON"),
  svg: cli.value("Write a chart as well", "FILE", cli.text),
};

/** The `loadtest` command. */
export const command: cli.Command = cli.defineCommand({
  name: "loadtest",
  summary: "Load a TCP echo server, or a proxy before one",
  description:
    "Reports on stdout. Ctrl+C ends early, with the report. [[scenarios]] in a --config file (name, connections, duration_secs, message_size) are run one after the other. Exits with 1 where every request failed.",
  positionals: "[TARGET]",
  configTables: ["scenarios"],
  examples: [
    "127.0.0.1:8080 --connections 50 --duration 10",
    "127.0.0.1:8080 --rate 5000 --warm-up 2 --json --svg load.svg",
    "--config load_test.toml",
  ],
  options,
  async start(values, { print, positionals, tables }) {
    if (positionals.length > 1) {
      throw new load.UsageError(
        `One TARGET is wanted, but got ${positionals.length} arguments`,
      );
    }
    const [targetText] = positionals;
    const target = targetText === undefined
      ? values.target
      : load.readLoadTarget(targetText);
    const named = tables["scenarios"]?.map(load.readScenario) ??
      (values.matrix ? load.SHIPPED_MATRIX : []);
    const scenarios = named.length > 0 ? named : [{
      name: "",
      connections: values.connections,
      durationMs: values.duration * 1000,
      messageBytes: values.messageSize,
    }];
    const matrix = named.length > 0;
    const banner = matrix
      ? load.matrixBanner(target, scenarios.length)
      : load.singleBanner(target, scenarios[0]!);
    // Opened now: nobody wants to learn after the run that it cannot be.
    const chart = values.svg === undefined
      ? undefined
      : await createFile(values.svg);
    banner.forEach(print);
    const test = new load.LoadTest({
      target,
      scenarios,
      warmUpMs: values.warmUp * 1000,
      ratePerSecond: values.rate,
      onScenario: (scenario, index) => {
        if (matrix) print(load.runningLine(scenario, index, scenarios.length));
      },
      onResult: (result) => {
        if (matrix) print(`${load.resultLine(result)}\n`);
      },
    });
    const report = async () => {
      const { results } = test;
      if (chart) {
        using file = chart;
        const bytes = new TextEncoder().encode(
          load.loadChart(target, results),
        );
        for (let at = 0; at < bytes.length;) {
          at += await file.write(bytes.subarray(at));
        }
      }
      const lines = values.json
        ? [JSON.stringify(load.loadJson(target, results), undefined, 2)]
        : matrix
        ? load.matrixLines(results)
        : results.flatMap(load.reportLines);
      return `${lines.join("\n")}\n`;
    };
    return {
      role: test,
      report,
      metrics: () => load.loadMetrics(test.now()),
      progress: () => {
        const now = test.now();
        return now ? load.progressLine(now) : "";
      },
      summary: () => [],
      exitCode: () => test.failed ? 1 : 0,
    };
  },
});

async function createFile(path: string): Promise<Deno.FsFile> {
  try {
    return await Deno.create(path);
  } catch (cause) {
    throw load.failedCall("write", `"${path}"`, cause);
  }
}

if (import.meta.main) await cli.runCommand(command);
