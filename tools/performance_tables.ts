/** The README's tables of performance, from the results that the benchmark keeps. */
import { fromFileUrl } from "@std/path";

const RESULTS = fromFileUrl(new URL("../bench/results/", import.meta.url));

/** Cells by the name of a row and the head of a column. */
type Table = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** A column: a contender's figure, or its ratio to another. */
type Column =
  | { readonly head: string; readonly contender: string }
  | { readonly head: string; readonly contender: string; readonly of: string }
  /** What the suite expects of the linux engine beside the better of others. */
  | { readonly head: string; readonly expected: true };

/** A row: a section of the results and one of its columns. */
interface Row {
  readonly label: string;
  readonly section: string;
  readonly figure: string;
  /** What figures are multiplied by. @default {1} */
  readonly factor?: number;
  /** Whether the label says what it is without anything between. */
  readonly direct?: true;
}

interface Tables {
  readonly suite: string;
  readonly title: string;
  readonly columns: readonly Column[];
  readonly rows: readonly Row[];
}

function dispatchRow(label: string, section: string): Row {
  return { label, section: `${section}, 1400 B`, figure: "Gbit/s" };
}

const DISPATCH: Tables = {
  suite: "dispatch",
  title: "datagrams of 1400 B, Gbit/s",
  columns: [
    { head: "linux", contender: "mproxy linux" },
    { head: "portable", contender: "mproxy portable" },
    { head: "MPROXY 0.1.8", contender: "original 0.1.8" },
    { head: "socat", contender: "socat" },
    { head: "x MPROXY", contender: "mproxy linux", of: "original 0.1.8" },
  ],
  rows: [
    dispatchRow("forward, sender that joins (GSO)", "forward, joined sender"),
    dispatchRow("forward, sender of single datagrams", "forward, plain sender"),
    dispatchRow("fan-out to 8, sum", "fan-out 8, joined sender"),
    dispatchRow("fan-out to 64, sum", "fan-out 64, joined sender"),
    dispatchRow("TCP to UDP", "TCP to UDP"),
    dispatchRow("client, file to UDP", "client, file to UDP"),
    dispatchRow("server, UDP to file", "server, UDP to file, joined sender"),
    dispatchRow(
      "client to server, file to file",
      "client to server, file to file",
    ),
  ],
};

function tcpRow(section: string, figure: string, label = section): Row {
  const unit = figure === "Gbit/s" || figure === "p50 µs" ? figure : "1/s";
  return { label: `${label}, ${unit}`, section, figure };
}

const TCP: Tables = {
  suite: "tcp",
  title: "TCP, plain",
  columns: [
    { head: "linux", contender: "mproxy linux" },
    { head: "portable", contender: "mproxy portable" },
    { head: "HAProxy", contender: "HAProxy" },
    { head: "HAProxy splice", contender: "HAProxy splice" },
    { head: "nginx", contender: "nginx" },
    { head: "x the best", expected: true },
  ],
  rows: [
    tcpRow("bulk, 1 connection", "Gbit/s"),
    tcpRow("bulk, 8 connections", "Gbit/s"),
    tcpRow("echo of 1 KiB, 1 connection", "p50 µs"),
    tcpRow("echo of 1 KiB, 50 connections", "requests/s"),
    tcpRow("echo of 1 KiB, 500 connections", "requests/s"),
    tcpRow("echo of 64 KiB, 10 connections", "requests/s"),
    tcpRow("new connections, 16 at once", "connections/s"),
    tcpRow(
      "new connections, one after the other",
      "connections/s",
      "new connections, one by one",
    ),
    {
      label: "memory of one of 5 000 idle ones, KiB",
      section: "idle, 1000 connections, then 5000 connections",
      figure: "KiB per connection",
    },
  ],
};

function messagesRow(label: string, section: string): Row {
  return {
    label: `${label}, thousand messages a second`,
    section: `messages, ${section}`,
    figure: "messages/s",
    factor: 1e-3,
  };
}

const MQTT: Tables = {
  suite: "mqtt",
  title: "MQTT",
  columns: [
    { head: "no hooks", contender: "mproxy" },
    { head: "ACL", contender: "mproxy, ACL" },
    { head: "rewriting hook", contender: "mproxy, rewriting hook" },
    { head: "HAProxy", contender: "HAProxy, TCP" },
    { head: "mProxy", contender: "original mgate" },
    { head: "x mProxy", contender: "mproxy, ACL", of: "original mgate" },
  ],
  rows: [
    messagesRow("256 B, QoS 0", "QoS 0, 256 B"),
    messagesRow("256 B, QoS 1", "QoS 1, 256 B"),
    messagesRow("4 KiB, QoS 0", "QoS 0, 4096 B"),
    {
      label: "QoS 1, there and back, p50 µs",
      section: "round trip, QoS 1, 256 B",
      figure: "p50 µs",
      direct: true,
    },
    {
      label: "memory of one of 5 000 idle ones, KiB",
      section: "5000 idle connections",
      figure: "KiB/connection",
    },
  ],
};

/** The README's table of a suite. */
export function performanceTable(suite: "dispatch" | "tcp" | "mqtt"): string {
  const { title, columns, rows } = { dispatch: DISPATCH, tcp: TCP, mqtt: MQTT }[
    suite
  ];
  const text = Deno.readTextFileSync(`${RESULTS}${suite}.md`);
  const sections = new Map(
    text.split(/^## /m).slice(1).map((part) => [
      part.slice(0, part.indexOf("\n")),
      tableOf(part),
    ]),
  );
  const cellOf = (row: Row, column: Column): string => {
    if ("expected" in column) return expectedRatio(text, row.section);
    const cells = sections.get(row.section)?.get(column.contender);
    if (!("of" in column)) return figureText(cells?.get(row.figure), row);
    const isRate = row.figure.endsWith("/s");
    return ratioText(isRate ? cells?.get(`x ${column.of}`) : undefined);
  };
  const lines = rows.map((row) => {
    const direct = row.direct &&
      sections.get(row.section)?.get("direct")?.get(row.figure);
    return [
      direct ? `${row.label} (${digits(direct)} direct)` : row.label,
      ...columns.map((column) => cellOf(row, column)),
    ];
  });
  return [
    [title, ...columns.map(({ head }) => head)],
    ["---", ...columns.map(() => "---:")],
    ...lines,
  ].map((cells) => `| ${cells.join(" | ")} |`).join("\n") + "\n";
}

/** The table of a section. */
function tableOf(section: string): Table {
  const [head, , ...rows] = section.split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
  return new Map(
    rows.map(([name, ...cells]) => [
      name!,
      new Map(cells.map((cell, i) => [head![i + 1]!, cell])),
    ]),
  );
}

/** `- ROW: mproxy linux at least 1.2x nginx: 1.34x nginx, **reached**`. */
function expectedRatio(text: string, section: string): string {
  const line = text.split("\n").find((line) =>
    line.startsWith(`- ${section}: mproxy linux at least`)
  );
  return ratioText(/: ([\d.]+)x/.exec(line ?? "")?.[1]);
}

function figureText(cell = "", { factor = 1 }: Row): string {
  // "missing: it cannot do this"
  if (!/^\d/.test(cell)) return "–";
  if (factor === 1) return cell;
  const value = Math.round(Number(cell.replaceAll(/\s/g, "")) * factor);
  return String(value).replaceAll(/\B(?=(\d{3})+$)/g, " ");
}

function ratioText(cell: string | undefined): string {
  return cell ? digits(cell) : "–";
}

/** A figure with as many digits as tell two runs apart. */
function digits(cell: string): string {
  const value = Number(cell.replaceAll(/\s/g, ""));
  return value.toFixed(value < 2 ? 2 : value < 10 ? 1 : 0);
}
