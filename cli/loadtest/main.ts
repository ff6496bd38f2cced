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
  async start(values, { print, terminal, positionals, tables }) {
    if (positionals.length > 1) {
      throw new load.UsageError(
        `One TARGET is wanted, but got ${positionals.length} arguments`,
      );
    }
    const [targetText] = positionals;
    const role = await load.LoadConsole.start({
      target: targetText === undefined
        ? values.target
        : load.readLoadTarget(targetText),
      matrix: tables["scenarios"]?.map(load.readScenario) ??
        (values.matrix ? load.SHIPPED_MATRIX : []),
      single: {
        name: "",
        connections: values.connections,
        durationMs: values.duration * 1000,
        messageBytes: values.messageSize,
      },
      warmUpMs: values.warmUp * 1000,
      ratePerSecond: values.rate,
      json: values.json,
      svg: values.svg,
    }, cli.bannerPrinter(print, terminal));
    return {
      role,
      report: () => role.report(),
      metrics: () => role.metrics(),
      progress: () => role.progress(),
      summary: () => [],
      exitCode: () => role.failed ? 1 : 0,
    };
  },
});

if (import.meta.main) await cli.runCommand(command);
