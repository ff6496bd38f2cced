/**
 * Where splice pays: the linux engine with a copy of every byte, with what it
 * does by itself, and with other pipes and thresholds, alternating, over bulk
 * and messages of several sizes on 1, 8 and 64 connections.
 *
 *     deno task bench:splice [FILTER] [--runs N] [--seconds S]
 *
 * FILTER is a part of a row's name, as in `bulk`.
 */
import { parseArgs } from "@std/cli/parse-args";
import { fromFileUrl } from "@std/path";
import {
  DEFAULT_SPLICING,
  type Splicing,
} from "../net/engine/linux/stream/splicing.ts";
import { type Figures, measureRow, type Row } from "./harness/bench.ts";
import { rowTable } from "./harness/table.ts";
import { compileLoad } from "./tcp/load.ts";
import { bulkTurn, echoTurn, type Place } from "./tcp/turn.ts";

const KIB = 1024;
const CONNECTIONS = [1, 8, 64];
const MESSAGES = [16 * KIB, 32 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB];

const RELAY = fromFileUrl(new URL("./load/splice_relay.ts", import.meta.url));

const COPY = "copy";
const CHOICES: Record<string, Splicing> = {
  [COPY]: { ...DEFAULT_SPLICING, reads: Infinity },
  "as it is": DEFAULT_SPLICING,
  "after 1 read": { ...DEFAULT_SPLICING, reads: 1 },
  "from 12 KiB": { ...DEFAULT_SPLICING, readBytes: 12 * KIB },
  "from 96 KiB": { ...DEFAULT_SPLICING, readBytes: 96 * KIB },
  "pipe of 256 KiB": { ...DEFAULT_SPLICING, pipeBytes: 256 * KIB },
};

if (import.meta.main) {
  const { _: [filter = ""], runs, seconds } = parseArgs(Deno.args, {
    string: ["runs", "seconds"],
  });
  const folder = await Deno.makeTempDir();
  try {
    const load = await compileLoad(folder);
    if (load.missing !== undefined) throw new Error(load.missing);
    for (const row of rows(load.path)) {
      if (!row.name.includes(String(filter))) continue;
      const result = await measureRow(row, {
        runs: Number(runs ?? 5),
        seconds: Number(seconds ?? 1),
        patienceSeconds: 0,
        say: () => {},
      });
      say(`\n${rowTable(result).join("\n")}`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function rows(load: string): Row[] {
  const row = (
    name: string,
    counted: string,
    turn: (place: Place, seconds: number) => Promise<Figures>,
  ): Row => ({
    name,
    counted,
    baseline: COPY,
    contenders: Object.entries(CHOICES).map(([name, splicing]) => ({
      name,
      run: (seconds) => turn(place(load, name, splicing), seconds),
    })),
  });
  return [
    ...CONNECTIONS.map((count) =>
      row(
        `bulk, ${count}`,
        "reads",
        (place, seconds) => bulkTurn(place, count, seconds),
      )
    ),
    ...MESSAGES.flatMap((bytes) =>
      CONNECTIONS.map((count) =>
        row(
          `echo of ${bytes / KIB} KiB, ${count}`,
          "requests",
          (place, seconds) => echoTurn(place, count, bytes, seconds),
        )
      )
    ),
  ];
}

function place(load: string, name: string, splicing: Splicing): Place {
  const { readBytes, reads, pipeBytes } = splicing;
  return {
    load,
    traffic: "bulk",
    relay: {
      name,
      command: (from, to) => ({
        program: Deno.execPath(),
        args: ["run", "-A", RELAY, from, to, readBytes, reads, pipeBytes].map(
          String,
        ),
      }),
    },
  };
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}
