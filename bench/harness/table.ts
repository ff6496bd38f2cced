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

/** The whole report; `appendix` is lines for its end. */
export function markdown(
  title: string,
  results: Results,
  appendix: readonly string[] = [],
): string {
  const { machine, peers, options, rows } = results;
  const expected = expectationLines(rows);
  const losing = rows.some(({ contenders }) =>
    contenders.some(({ median }) => median?.lost !== undefined)
  );
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
    "Load, contender and receiver share the cores. CPU and memory, the most that was resident, are those of the contender alone." +
    (losing
      ? " Lost is what was sent and did not arrive, over a whole turn; counted is what the contender says of it. " +
        "† The load's own receiver dropped more than one in a hundred: the rate is at least this."
      : ""),
    ...(expected.length > 0 ? ["", "## Expected", "", ...expected] : []),
    ...rows.flatMap((row) => ["", ...rowTable(row)]),
    ...(appendix.length > 0 ? ["", ...appendix] : []),
    "",
  ].join("\n");
}

/** What was expected of rows, a line each. */
export function expectationLines(rows: readonly RowResult[]): string[] {
  return rows.flatMap((row) =>
    row.expected.map((one) => expectationLine(row, one))
  );
}

function expectationLine(row: RowResult, expected: ExpectationResult): string {
  const { contender, column, atLeast, atMost, reached, best } = expected;
  const of = column === undefined ? contender : `${column} of ${contender}`;
  const against = [expected.against ?? []].flat();
  const unit = against.length > 0
    ? "x"
    : column !== undefined
    ? ""
    : row.rate === "bytes"
    ? " Gbit/s"
    : ` ${row.counted}/s`;
  const bound = [
    atMost === undefined ? "at least" : "at most",
    `${atMost ?? atLeast}${unit}`,
    ...against.length > 0 ? [bestOf(against)] : [],
  ].join(" ");
  const came = reached === undefined
    ? "not measured, a contender is missing"
    : `${figure(reached)}${unit}${best === undefined ? "" : ` ${best}`}, **${
      isReached(expected) ? "reached" : "MISSED"
    }**`;
  return `- ${row.name}: ${of} ${bound}: ${came}`;
}

/** `A`, `the better of A and B`, `the best of A, B and C`. */
function bestOf(names: readonly string[]): string {
  if (names.length === 1) return names[0]!;
  const all = `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  return `the ${names.length === 2 ? "better" : "best"} of ${all}`;
}

function isReached({ atLeast, atMost, reached }: ExpectationResult): boolean {
  return reached !== undefined && reached >= (atLeast ?? -Infinity) &&
    reached <= (atMost ?? Infinity);
}

/** Two decimals where a ratio needs them. */
function figure(value: number): string {
  return value < 1000 ? value.toFixed(2) : grouped(value);
}

/** One row as a table of its contenders. */
export function rowTable(row: RowResult): string[] {
  const columns = columnsOf(row);
  return [
    `## ${row.name}`,
    "",
    ...(row.note === undefined ? [] : [row.note, ""]),
    cells(["", ...columns.map(({ title }) => title)]),
    cells(["---", ...columns.map(() => "---:")]),
    ...row.contenders.map((one) => contenderLine(one, columns)),
    ...othersLines(row),
  ];
}

/** A figure of a contender as text; undefined where it has none. */
interface Column {
  title: string;
  text: (median: Figures, result: ContenderResult) => string | undefined;
}

/** The columns that say something of at least one contender; all where none was measured. */
function columnsOf(
  { baseline, rate, counted, contenders }: RowResult,
): Column[] {
  const titles = new Set(
    contenders.flatMap(({ median }) => Object.keys(median?.more ?? {})),
  );
  const own = (peakBytes: number, text: string) =>
    peakBytes > 0 ? text : undefined;
  const columns: Column[] = [
    {
      title: "Gbit/s",
      text: (one) =>
        one.bytes > 0
          ? significant(one.bytes * 8 / one.seconds / 1e9) +
            (loadBound(one) ? " †" : "")
          : undefined,
    },
    {
      title: `${counted}/s`,
      text: ({ count, seconds }) =>
        count > 0 ? grouped(count / seconds) : undefined,
    },
    { title: `x ${baseline}`, text: (_, { ratio }) => ratio?.toFixed(2) },
    rate === "bytes"
      ? {
        title: "CPU s/GB",
        text: ({ cpuSeconds, bytes, peakBytes }) =>
          bytes > 0
            ? own(peakBytes, significant(cpuSeconds / (bytes / 1e9)))
            : undefined,
      }
      : {
        title: `CPU s/million`,
        text: ({ cpuSeconds, count, peakBytes }) =>
          own(peakBytes, significant(cpuSeconds / (count / 1e6))),
      },
    {
      title: "memory MB",
      text: ({ peakBytes }) => own(peakBytes, (peakBytes / 1e6).toFixed(0)),
    },
    {
      title: "lost",
      text: ({ lost }) =>
        lost === undefined ? undefined : grouped(Math.max(0, lost)),
    },
    {
      title: "counted",
      text: ({ lostCounted }) =>
        lostCounted === undefined ? undefined : grouped(lostCounted),
    },
    ...[...titles].map((title): Column => ({
      title,
      text: ({ more }) => {
        const value = more?.[title];
        return value === undefined ? undefined : significant(value);
      },
    })),
  ];
  const measured = contenders.filter(({ median }) => median !== undefined);
  return columns.filter(({ text }) =>
    measured.length === 0 ||
    measured.some((one) => text(one.median!, one) !== undefined)
  );
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
  result: ContenderResult,
  columns: readonly Column[],
): string {
  const { name, missing, median } = result;
  if (missing !== undefined || median === undefined) {
    return cells([
      name,
      `missing: ${missing ?? "no turn"}`,
      ...Array(Math.max(0, columns.length - 1)).fill(""),
    ]);
  }
  return cells([
    name,
    ...columns.map(({ text }) => text(median, result) ?? ""),
  ]);
}

/** Whether the load's receiver dropped so much that the rate is its own. */
function loadBound({ loadDropped, count }: Figures): boolean {
  return loadDropped !== undefined && loadDropped > count / 100;
}

function cells(values: readonly string[]): string {
  return `| ${values.join(" | ")} |`;
}

/** Three significant digits, without an exponent. */
export function significant(value: number): string {
  if (!Number.isFinite(value)) return "";
  if (value >= 100) return grouped(value);
  return value === 0
    ? "0"
    : value.toFixed(value >= 10 ? 1 : value >= 1 ? 2 : 3);
}

/** A whole number in groups of three digits. */
export function grouped(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, " ");
}
