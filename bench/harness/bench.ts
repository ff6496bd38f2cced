/**
 * Benchmarks as ratios between contenders of one run.
 *
 * Absolute rates drift with the machine and its other users, so the contenders
 * of a row take turns (A B C A B C ...), each figure is the median of the
 * turns, and each ratio the median of the ratios within a turn.
 */

import { calm, machineSeconds } from "./processes.ts";

/** What one turn of one contender gave. */
export interface Figures {
  /** Seconds that were measured. */
  seconds: number;
  /** Payload bytes that arrived in them; 0 where they say nothing. */
  bytes: number;
  /** Datagrams, messages, requests or connections that arrived in them; 0 where they are not counted. */
  count: number;
  /** CPU seconds that the contender's processes used in them. */
  cpuSeconds: number;
  /** Most resident memory of the contender's processes; 0 where it has none. */
  peakBytes: number;
  /** What was sent and never arrived, over the whole turn; undefined where nobody can tell. */
  lost?: number;
  /** How much of it the contender has counted by itself. */
  lostCounted?: number;
  /** What the load's own receiver dropped: then the rate is the load's and not the contender's. */
  loadDropped?: number;
  /** Share of the machine's CPU time that nobody of the turn used. Set by {@linkcode measureRow}. */
  others?: number;
  /** More columns, by title. */
  more?: Record<string, number>;
}

/** One program, or one way to use it, in a row. */
export interface Contender {
  name: string;
  /** Why it is not measured here; it is named in the table with that. */
  missing?: string | undefined;
  /** One turn that measures so many seconds. Ends all that it has started. */
  run: (seconds: number) => Promise<Figures>;
}

/** What a row should show: a bound for a contender's rate, or for one of its columns. */
export interface Expectation {
  contender: string;
  /** A title of {@linkcode Figures.more}. Default: the row's rate. */
  column?: string;
  /** The bound is for the ratio to this contender, or to the best of these. Default: for the figure itself. */
  against?: string | readonly string[];
  /** More is better: the least ratio, rate in Gbit/s or counts a second, or figure of the column. */
  atLeast?: number;
  /** Less is better: the greatest. */
  atMost?: number;
}

/** Contenders that do the same work. */
export interface Row {
  name: string;
  /** The contender whose rate is 1. */
  baseline: string;
  /** Which figure is the rate. @default {"bytes"} */
  rate?: "bytes" | "count";
  /** What is counted: `datagrams`. */
  counted: string;
  /** What a reader must know of the row. */
  note?: string;
  contenders: Contender[];
  expected?: Expectation[];
}

/** Rows that are reported together. */
export interface Suite {
  rows: Row[];
  /** Versions of the peers that are there, by name. */
  peers: Record<string, string>;
  /** More Markdown for the end of the report, of what was measured. */
  appendix?: (rows: readonly RowResult[]) => string[];
}

/** A contender's turns, and what is made of them. */
export interface ContenderResult {
  name: string;
  missing?: string;
  turns: Figures[];
  median?: Figures;
  /** Times the baseline's rate. */
  ratio?: number;
}

/** An expectation and what came. */
export interface ExpectationResult extends Expectation {
  /** undefined where a contender is missing. */
  reached: number | undefined;
  /** Which of `against` was the best, and so the one that counts. */
  best?: string;
}

/** A measured row. */
export interface RowResult {
  name: string;
  baseline: string;
  rate: "bytes" | "count";
  counted: string;
  note?: string;
  contenders: ContenderResult[];
  expected: ExpectationResult[];
}

/** How long and how often. */
export interface BenchOptions {
  runs: number;
  seconds: number;
  /** How long a turn waits for others to leave the machine idle. */
  patienceSeconds: number;
  /** Told what goes on. */
  say: (text: string) => void;
}

/** Measures a row. A contender whose turn fails is missing from then on, with the error as reason. */
export async function measureRow(
  row: Row,
  { runs, seconds, patienceSeconds, say }: BenchOptions,
): Promise<RowResult> {
  const contenders = row.contenders.map((contender): ContenderResult => ({
    name: contender.name,
    turns: [],
    ...(contender.missing === undefined ? {} : { missing: contender.missing }),
  }));
  for (let turn = 0; turn < runs; turn++) {
    for (const [i, { run }] of row.contenders.entries()) {
      const result = contenders[i]!;
      if (result.missing !== undefined) continue;
      await calm(patienceSeconds);
      try {
        result.turns.push(await withOthers(() => run(seconds)));
      } catch (error) {
        result.missing = `turn ${turn + 1} failed: ${
          error instanceof Error ? error.message : String(error)
        }`.replaceAll("\n", " ");
      }
      say(`${row.name}: turn ${turn + 1} of ${runs}, ${result.name}`);
    }
  }
  return summarize(row, contenders);
}

async function withOthers(run: () => Promise<Figures>): Promise<Figures> {
  const start = performance.now();
  const before = machineSeconds();
  const figures = await run();
  const after = machineSeconds();
  const elapsed = (performance.now() - start) / 1000;
  const used = after.all - before.all - (after.own - before.own);
  const others = used / (elapsed * navigator.hardwareConcurrency);
  return { ...figures, others: Math.max(0, others) };
}

/** Medians, ratios and expectations of a row's turns. Pure. */
export function summarize(row: Row, contenders: ContenderResult[]): RowResult {
  const { name, baseline, rate = "bytes", counted, note } = row;
  const measured = (name: string): Figures[] | undefined => {
    const found = contenders.find((one) => one.name === name);
    return found && found.missing === undefined ? found.turns : undefined;
  };
  const base = measured(baseline);
  for (const result of contenders) {
    if (result.missing !== undefined) continue;
    result.median = medianFigures(result.turns);
    if (base) {
      result.ratio = ratio(result.turns, base, (one) => rateOf(one, rate));
    }
  }
  return {
    name,
    baseline,
    rate,
    counted,
    ...(note === undefined ? {} : { note }),
    contenders,
    expected: (row.expected ?? []).map((one) => ({
      ...one,
      ...compare(one, rate, measured),
    })),
  };
}

/** What came of an expectation. */
function compare(
  { contender, column, against, atMost }: Expectation,
  rate: "bytes" | "count",
  measured: (name: string) => Figures[] | undefined,
): { reached: number | undefined; best?: string } {
  const figure = (one: Figures): number =>
    column !== undefined
      ? one.more?.[column] ?? NaN
      : rate === "bytes"
      ? rateOf(one, rate) * 8 / 1e9
      : rateOf(one, rate);
  const turns = measured(contender);
  if (turns === undefined) return { reached: undefined };
  if (against === undefined) return { reached: median(turns.map(figure)) };
  const ratios: { name: string; reached: number }[] = [];
  for (const name of [against].flat()) {
    const others = measured(name);
    if (others === undefined) return { reached: undefined };
    ratios.push({ name, reached: ratio(turns, others, figure) });
  }
  // Beside the best of them the ratio is the least good.
  ratios.sort((a, b) =>
    atMost === undefined ? a.reached - b.reached : b.reached - a.reached
  );
  const { name, reached } = ratios[0]!;
  return ratios.length === 1 ? { reached } : { reached, best: name };
}

/** The median of the ratios within each turn. */
function ratio(
  turns: readonly Figures[],
  others: readonly Figures[],
  figure: (one: Figures) => number,
): number {
  return median(turns.map((one, i) => figure(one) / figure(others[i]!)));
}

/** Bytes or counts a second. */
export function rateOf(figures: Figures, rate: "bytes" | "count"): number {
  return figures[rate] / figures.seconds;
}

/** The middle value; of an even number, the upper one of the two. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

/** Each figure's own median. */
function medianFigures(turns: readonly Figures[]): Figures {
  const of = (pick: (figures: Figures) => number | undefined) => {
    const values = turns.map(pick).filter((value) => value !== undefined);
    return values.length === 0 ? undefined : median(values);
  };
  const seconds = of((one) => one.seconds)!;
  const result: Figures = {
    seconds,
    bytes: of((one) => one.bytes / one.seconds)! * seconds,
    count: of((one) => one.count / one.seconds)! * seconds,
    cpuSeconds: of((one) => one.cpuSeconds)!,
    peakBytes: of((one) => one.peakBytes)!,
  };
  for (
    const name of ["lost", "lostCounted", "loadDropped", "others"] as const
  ) {
    const value = of((one) => one[name]);
    if (value !== undefined) result[name] = value;
  }
  const titles = Object.keys(turns[0]?.more ?? {});
  if (titles.length > 0) {
    result.more = Object.fromEntries(
      titles.map((title) => [title, of((one) => one.more?.[title]) ?? NaN]),
    );
  }
  return result;
}
