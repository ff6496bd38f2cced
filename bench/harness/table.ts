/** Results as Markdown. Pure. */
import type {
  ContenderResult,
  ExpectationResult,
  Figures,
  RowResult,
} from "./bench.ts";
import type { Machine } from "./machine.ts";

/** From here on it is said what others used of the machine. */
const OTHERS_SHARE = 0.1;

/** All of one run. */
export interface Results {
  machine: Machine;
  /** Versions of peers, by name; why one is missing stands in the rows. */
  peers: Record<string, string>;
  options: { runs: number; seconds: number };
  rows: RowResult[];
}

/** The whole report. */
export function markdown(title: string, results: Results): string {
  const { machine, peers, options, rows } = results;
  const expected = expectationLines(rows);
  return [
    `# ${title}`,
    "",
    `${machine.date}, ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, ` +
    `${machine.kernel}, Deno ${machine.deno}, load ${
      machine.load.toFixed(1)
    }, ` +
    `net.core.rmem_max ${machine.receiveBufferMost}.`,
    Object.entries(peers).map(([name, version]) => `${name}: ${version}`)
      .join("; ") + ".",
    "",
    `Contenders take turns; each figure is the median of ${options.runs} turns of ` +
    `${options.seconds} s, each ratio the median of the ratios within a turn. ` +
    "Load, contender and receiver share the cores. CPU is that of the contender alone. " +
    "Lost is what was sent and did not arrive, over a whole turn; counted is what the contender says of it. " +
    "† The load's own receiver dropped more than one in a hundred: the rate is at least this.",
    ...(expected.length > 0 ? ["", "## Expected", "", ...expected] : []),
    ...rows.flatMap((row) => ["", ...rowTable(row)]),
    "",
  ].join("\n");
}

/** What was expected of rows, a line each. */
export function expectationLines(rows: readonly RowResult[]): string[] {
  return rows.flatMap(({ name, expected }) =>
    expected.map((one) => expectationLine(name, one))
  );
}

function expectationLine(row: string, expected: ExpectationResult): string {
  const { contender, against, atLeast, reached } = expected;
  const unit = against === undefined ? " Gbit/s" : `x ${against}`;
  const figure = reached === undefined
    ? "not measured, a contender is missing"
    : `${reached.toFixed(2)}${against === undefined ? " Gbit/s" : "x"}, **${
      reached >= atLeast ? "reached" : "MISSED"
    }**`;
  return `- ${row}: ${contender} at least ${atLeast}${unit}: ${figure}`;
}

/** One row as a table of its contenders. */
export function rowTable(row: RowResult): string[] {
  const titles = [
    ...new Set(
      row.contenders.flatMap((one) => Object.keys(one.median?.more ?? {})),
    ),
  ];
  const head = [
    "",
    "Gbit/s",
    `${row.counted}/s`,
    `x ${row.baseline}`,
    "CPU s/GB",
    "memory MB",
    "lost",
    "counted",
    ...titles,
  ];
  return [
    `## ${row.name}`,
    "",
    ...(row.note === undefined ? [] : [row.note, ""]),
    cells(head),
    cells(["---", ...head.slice(1).map(() => "---:")]),
    ...row.contenders.map((one) => contenderLine(one, titles, head.length)),
    ...othersLines(row),
  ];
}

/** A line where the machine was not the turns' own. */
function othersLines({ contenders }: RowResult): string[] {
  const most = Math.max(
    0,
    ...contenders.map(({ median }) => median?.others ?? 0),
  );
  if (most < OTHERS_SHARE) return [];
  return ["", `Others used up to ${(most * 100).toFixed(0)} % of the machine.`];
}

function contenderLine(
  { name, missing, median, ratio }: ContenderResult,
  titles: readonly string[],
  width: number,
): string {
  if (missing !== undefined || median === undefined) {
    return cells([
      name,
      `missing: ${missing ?? "no turn"}`,
      ...Array(width - 2).fill(""),
    ]);
  }
  const { seconds, bytes, count, cpuSeconds, peakBytes } = median;
  return cells([
    name,
    significant(bytes * 8 / seconds / 1e9) + (loadBound(median) ? " †" : ""),
    grouped(count / seconds),
    ratio === undefined ? "" : ratio.toFixed(2),
    bytes > 0 ? significant(cpuSeconds / (bytes / 1e9)) : "",
    (peakBytes / 1e6).toFixed(0),
    lossText(median),
    median.lostCounted === undefined ? "" : grouped(median.lostCounted),
    ...titles.map((title) => {
      const value = median.more?.[title];
      return value === undefined ? "" : significant(value);
    }),
  ]);
}

/** Whether the load's receiver dropped so much that the rate is its own. */
function loadBound({ loadDropped, count }: Figures): boolean {
  return loadDropped !== undefined && loadDropped > count / 100;
}

function lossText({ lost }: Figures): string {
  return lost === undefined ? "" : grouped(Math.max(0, lost));
}

function cells(values: readonly string[]): string {
  return `| ${values.join(" | ")} |`;
}

/** Three significant digits, without an exponent. */
function significant(value: number): string {
  if (!Number.isFinite(value)) return "";
  if (value >= 100) return grouped(value);
  return value === 0
    ? "0"
    : value.toFixed(value >= 10 ? 1 : value >= 1 ? 2 : 3);
}

function grouped(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, " ");
}
