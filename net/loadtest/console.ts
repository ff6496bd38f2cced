/** A load test as a role for the command line: what it prints, reports and draws. */
import { type Address, formatAddress } from "../address.ts";
import { failedCall } from "../errors.ts";
import type { Metric } from "../observe/metrics.ts";
import { loadChart } from "./chart.ts";
import type { LoadScenario } from "./plan.ts";
import {
  loadJson,
  loadMetrics,
  matrixBanner,
  matrixLines,
  progressLine,
  reportLines,
  resultLine,
  runningLine,
  singleBanner,
} from "./report.ts";
import { type LoadResult, LoadTest } from "./load_test.ts";

/** Options of {@linkcode LoadConsole.start}. */
export interface LoadConsoleOptions {
  /** What is loaded. */
  readonly target: Address;
  /** The scenarios of a matrix; none is the single mode. */
  readonly matrix: readonly LoadScenario[];
  /** What is run in single mode. */
  readonly single: LoadScenario;
  /** How long requests are sent before they count, in milliseconds. */
  readonly warmUpMs: number;
  /** Requests a second over all connections. Default: as fast as answers come. */
  readonly ratePerSecond?: number | undefined;
  /** Whether the report is JSON. */
  readonly json: boolean;
  /** File for the chart. Default: none. */
  readonly svg?: string | undefined;
}

/** A load test that prints. */
export class LoadConsole implements AsyncDisposable {
  readonly #options: LoadConsoleOptions;
  readonly #test: LoadTest;
  readonly #chart: Deno.FsFile | undefined;

  /** Opens the chart's file, prints the banner and begins; throws an OperationError. */
  static async start(
    options: LoadConsoleOptions,
    print: (line: string) => void,
  ): Promise<LoadConsole> {
    // Opened now: nobody wants to learn after the run that it cannot be.
    const chart = options.svg === undefined
      ? undefined
      : await createFile(options.svg);
    return new LoadConsole(options, print, chart);
  }

  private constructor(
    options: LoadConsoleOptions,
    print: (line: string) => void,
    chart: Deno.FsFile | undefined,
  ) {
    const { target, matrix, single, warmUpMs, ratePerSecond } = options;
    this.#options = options;
    this.#chart = chart;
    const banner = matrix.length > 0
      ? matrixBanner(target, matrix.length)
      : singleBanner(target, single);
    banner.forEach(print);
    this.#test = new LoadTest({
      target,
      scenarios: matrix.length > 0 ? matrix : [single],
      warmUpMs,
      ratePerSecond,
      onScenario: (scenario, index) => {
        if (matrix.length > 0) {
          print(runningLine(scenario, index, matrix.length));
        }
      },
      onResult: (result) => {
        if (matrix.length > 0) print(`${resultLine(result)}\n`);
      },
    });
  }

  /** Resolves when all scenarios have run, or the test was ended. */
  get finished(): Promise<void> {
    return this.#test.finished;
  }

  /** Whether every request failed. */
  get failed(): boolean {
    return this.#test.failed;
  }

  /** Ends early, with what was measured. */
  drain(): Promise<void> {
    return this.#test.drain();
  }

  /** One line about now. */
  progress(): string {
    const now = this.#test.now();
    return now ? progressLine(now) : "";
  }

  /** Figures now. */
  metrics(): Metric[] {
    return loadMetrics(this.#test.now());
  }

  /** Writes the chart and gives the report. */
  async report(): Promise<string> {
    const { results } = this.#test;
    const { target, matrix, json } = this.#options;
    if (this.#chart) {
      const bytes = new TextEncoder().encode(loadChart(target, results));
      for (let at = 0; at < bytes.length;) {
        at += await this.#chart.write(bytes.subarray(at));
      }
      this.#chart.close();
    }
    const lines = json
      ? [JSON.stringify(loadJson(target, results), undefined, 2)]
      : this.failed
      ? [
        `no valid answer from ${formatAddress(target)}`,
        ...errorLines(results),
      ]
      : matrix.length > 0
      ? matrixLines(results)
      : results.flatMap(reportLines);
    return `${lines.join("\n")}\n`;
  }

  /** Ends now. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#test[Symbol.asyncDispose]();
  }
}

/** Errors of all results, the most frequent first. */
function errorLines(results: readonly LoadResult[]): string[] {
  const counts = new Map<string, number>();
  for (const { errorTexts } of results) {
    for (const [text, count] of errorTexts) {
      counts.set(text, (counts.get(text) ?? 0) + count);
    }
  }
  return [...counts].sort(([, a], [, b]) => b - a)
    .map(([text, count]) => `  ${count} x ${text}`);
}

async function createFile(path: string): Promise<Deno.FsFile> {
  try {
    // Not `Deno.create`, which wants to read too.
    return await Deno.open(path, { write: true, create: true, truncate: true });
  } catch (cause) {
    throw failedCall("write", `"${path}"`, cause);
  }
}
