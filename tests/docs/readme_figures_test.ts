/** The README's tables of performance beside the results that they are taken from. */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

type Table = Map<string, Map<string, string>>;

/** Where the cells of a README's table come from. */
interface Origin {
  /** Of `bench/results/`. */
  readonly suite: "dispatch" | "tcp" | "mqtt";
  /** Contender of each column, or contender and column where that is no row's own. */
  readonly columns: Readonly<Record<string, string | [string, string]>>;
  /** Section and column of each row; a factor where the README counts in another unit. */
  readonly rows: Readonly<
    Record<string, readonly [section: string, column: string, factor?: number]>
  >;
}

const SIZE = "1400 B";

/** By the first cell of the table's head. */
const ORIGINS: Readonly<Record<string, Origin>> = {
  "datagrams of 1400 B, Gbit/s": {
    suite: "dispatch",
    columns: {
      linux: "mproxy linux",
      portable: "mproxy portable",
      "MPROXY 0.1.8": "original 0.1.8",
      socat: "socat",
      "x MPROXY": ["mproxy linux", "x original 0.1.8"],
    },
    rows: {
      "forward, sender that joins (GSO)": [
        `forward, joined sender, ${SIZE}`,
        "Gbit/s",
      ],
      "forward, sender of single datagrams": [
        `forward, plain sender, ${SIZE}`,
        "Gbit/s",
      ],
      "fan-out to 8, sum": [`fan-out 8, joined sender, ${SIZE}`, "Gbit/s"],
      "fan-out to 64, sum": [`fan-out 64, joined sender, ${SIZE}`, "Gbit/s"],
      "TCP to UDP": [`TCP to UDP, ${SIZE}`, "Gbit/s"],
      "client, file to UDP": [`client, file to UDP, ${SIZE}`, "Gbit/s"],
      "server, UDP to file": [
        `server, UDP to file, joined sender, ${SIZE}`,
        "Gbit/s",
      ],
      "client to server, file to file": [
        `client to server, file to file, ${SIZE}`,
        "Gbit/s",
      ],
    },
  },
  "TCP, plain": {
    suite: "tcp",
    columns: {
      linux: "mproxy linux",
      portable: "mproxy portable",
      HAProxy: "HAProxy",
      "HAProxy splice": "HAProxy splice",
      nginx: "nginx",
    },
    rows: {
      "bulk, 1 connection, Gbit/s": ["bulk, 1 connection", "Gbit/s"],
      "bulk, 8 connections, Gbit/s": ["bulk, 8 connections", "Gbit/s"],
      "echo of 1 KiB, 1 connection, p50 µs": [
        "echo of 1 KiB, 1 connection",
        "p50 µs",
      ],
      "echo of 1 KiB, 50 connections, 1/s": [
        "echo of 1 KiB, 50 connections",
        "requests/s",
      ],
      "echo of 1 KiB, 500 connections, 1/s": [
        "echo of 1 KiB, 500 connections",
        "requests/s",
      ],
      "echo of 64 KiB, 10 connections, 1/s": [
        "echo of 64 KiB, 10 connections",
        "requests/s",
      ],
      "new connections, 16 at once, 1/s": [
        "new connections, 16 at once",
        "connections/s",
      ],
      "new connections, one by one, 1/s": [
        "new connections, one after the other",
        "connections/s",
      ],
      "memory of one of 5 000 idle ones, KiB": [
        "idle, 1000 connections, then 5000 connections",
        "KiB per connection",
      ],
    },
  },
  MQTT: {
    suite: "mqtt",
    columns: {
      "no hooks": "mproxy",
      ACL: "mproxy, ACL",
      "rewriting hook": "mproxy, rewriting hook",
      HAProxy: "HAProxy, TCP",
      mProxy: "original mgate",
      "x mProxy": ["mproxy, ACL", "x original mgate"],
    },
    rows: {
      "256 B, QoS 0, thousand messages a second": [
        "messages, QoS 0, 256 B",
        "messages/s",
        1e-3,
      ],
      "256 B, QoS 1, thousand messages a second": [
        "messages, QoS 1, 256 B",
        "messages/s",
        1e-3,
      ],
      "4 KiB, QoS 0, thousand messages a second": [
        "messages, QoS 0, 4096 B",
        "messages/s",
        1e-3,
      ],
      "QoS 1, there and back, p50 µs": ["round trip, QoS 1, 256 B", "p50 µs"],
      "memory of one of 5 000 idle ones, KiB": [
        "5000 idle connections",
        "KiB/connection",
      ],
    },
  },
};

/** The tables of a text, by the first cell of their heads. */
function tables(text: string): Map<string, Table> {
  const found = new Map<string, Table>();
  for (const [block] of text.matchAll(/(?:^\|.*\n)+/gm)) {
    const [head, , ...rows] = block.trimEnd().split("\n").map((line) =>
      line.split("|").slice(1, -1).map((cell) => cell.trim())
    ) as [string[], string[], ...string[][]];
    const table: Table = new Map();
    for (const [name, ...cells] of rows) {
      table.set(
        name!,
        new Map(cells.map((cell, i) => [head[i + 1]!, cell])),
      );
    }
    found.set(head[0]!, table);
  }
  return found;
}

/** The table of each section of a suite's results. */
function results(suite: string): Map<string, Table> {
  const text = Deno.readTextFileSync(join(ROOT, `bench/results/${suite}.md`));
  return new Map(
    text.split(/^## /m).slice(1).map((section) => {
      const [heading] = section.split("\n");
      return [heading!, tables(section).get("") ?? new Map()];
    }),
  );
}

/** The ratio of the linux engine's rate or latency that a suite expects of a row. */
function ratioOf(suite: string, row: string): number {
  const text = Deno.readTextFileSync(join(ROOT, `bench/results/${suite}.md`));
  const line = text.split("\n").find((line) =>
    line.startsWith(`- ${row}: mproxy linux at least`)
  );
  return Number(/: ([\d.]+)x/.exec(line ?? "")?.[1]);
}

function figure(cell: string): number {
  return Number(cell.replaceAll(/[\s ]/g, ""));
}

/** Whether a figure is another one, rounded as it is written. */
function isRounded(written: string, exact: number): boolean {
  const [, decimals = ""] = written.split(".");
  // The results are rounded too, to three digits at least.
  const unit = 10 ** -decimals.length;
  return Math.abs(figure(written) - exact) <= unit / 2 + exact * 0.005;
}

const section = (() => {
  const text = Deno.readTextFileSync(join(ROOT, "README.md"));
  const [, part] = /\n## Performance\n([\s\S]*?)\n## /.exec(text)!;
  return part!;
})();

Deno.test("every figure of the README's performance tables is the one of bench/results", () => {
  const wrong: string[] = [];
  let checked = 0;
  const readme = tables(section);
  assertEquals([...readme.keys()].sort(), Object.keys(ORIGINS).sort());
  for (const [title, { suite, columns, rows }] of Object.entries(ORIGINS)) {
    const measured = results(suite);
    for (const [row, cells] of readme.get(title)!) {
      const label = row.replace(/ \(\d+ direct\)$/, "");
      const origin = rows[label];
      if (!origin) {
        wrong.push(`${title}: nothing is known of "${row}"`);
        continue;
      }
      const [from, unit, factor = 1] = origin;
      for (const [column, cell] of cells) {
        if (cell === "–") continue;
        if (column === "x the best") {
          checked++;
          const exact = ratioOf(suite, from);
          if (!isRounded(cell, exact)) {
            wrong.push(`${title}, ${row}, ${column}: ${cell} for ${exact}`);
          }
          continue;
        }
        const source = columns[column];
        if (source === undefined) {
          wrong.push(`${title}: nothing is known of "${column}"`);
          continue;
        }
        const [contender, own] = typeof source === "string"
          ? [source, unit]
          : source;
        const exact = measured.get(from)?.get(contender)?.get(own);
        checked++;
        if (
          !exact ||
          !isRounded(cell, figure(exact) * (own === unit ? factor : 1))
        ) wrong.push(`${title}, ${row}, ${column}: ${cell} for ${exact}`);
      }
    }
  }
  assertEquals(wrong, []);
  assert(checked >= 90, `${checked}`);
});

Deno.test("the README names the command of each suite, and leads to all its results", () => {
  for (const suite of ["dispatch", "tcp", "mqtt"]) {
    assert(section.includes(`deno task bench ${suite}\n`), suite);
    assert(section.includes(`bench/results/${suite}.md`), suite);
  }
});
