/** The rows of the tcp suite: streams through each relay, beside others. */
import type {
  Contender,
  Expectation,
  Figures,
  Row,
  Suite,
} from "../harness/bench.ts";
import { openFilesLimit } from "../harness/machine.ts";
import {
  BULK_BUFFERS_NOTE,
  DIRECT,
  findRelays,
  HAPROXY,
  LINUX,
  NGINX,
  ORIGINAL,
  PORTABLE,
  type Relay,
  SOCAT,
  SPLICE,
  SPLICE_DEFAULT,
  type Traffic,
  TUNNEL,
} from "./contenders.ts";
import { compileLoad, type Load } from "./load.ts";
import { PUBLISHED, publishedTable } from "./published.ts";
import {
  bulkTurn,
  connectTurn,
  echoTurn,
  idleTurn,
  memoryTitle,
  P99,
  type Place,
} from "./turn.ts";

const KIB = 1024;

/** Requests a second that the original's matrix has for 64 KiB. */
const PUBLISHED_BIG = PUBLISHED.find(({ bytes }) => bytes === 64 * KIB)!;

const IDLE_COUNTS = [1000, 5000];
const MOST_IDLE_MB = 150;

/** Whose better one an expectation of messages, and of bulk, names. */
const PEERS = [HAPROXY, NGINX];
const BULK_PEERS = [SPLICE, SPLICE_DEFAULT, NGINX];

/** Who takes part in all rows that are not the original's matrix alone. */
const MAIN = [DIRECT, LINUX, PORTABLE, SPLICE, HAPROXY, NGINX, ORIGINAL];

/** The suite. `folder` is for files: the compiled load, and configurations. */
export async function tcpSuite(folder: string): Promise<Suite> {
  const { all, versions } = await findRelays(folder);
  const here: Here = { relays: all, load: await compileLoad(folder) };
  const compared = [
    bulkRow(here, 1),
    bulkRow(here, 8),
    echoRow(here, 1, KIB),
    echoRow(here, 50, KIB),
    echoRow(here, 500, KIB),
    echoRow(here, PUBLISHED_BIG.connections, PUBLISHED_BIG.bytes),
    connectRow(here, 1),
    connectRow(here, 16),
    idleRow(here),
  ];
  const names = new Set(compared.map(({ name }) => name));
  const matrix = PUBLISHED
    .filter(({ connections, bytes }) =>
      !names.has(echoName(connections, bytes))
    )
    .map(({ connections, bytes }) => matrixRow(here, connections, bytes));
  return {
    rows: [...compared, ...matrix],
    peers: versions,
    appendix: (rows) => publishedTable(rows, echoName),
  };
}

/** What is there to measure with. */
interface Here {
  relays: Relay[];
  load: Load;
}

function bulkRow(here: Here, connections: number): Row {
  return {
    name: `bulk, ${connectionsText(connections)}`,
    baseline: NGINX,
    counted: "reads",
    note:
      `One way, as fast as it goes; the receiver does not copy. ${BULK_BUFFERS_NOTE}`,
    contenders: contenders(
      here,
      "bulk",
      [...MAIN, SPLICE_DEFAULT, ...connections > 1 ? [TUNNEL] : [], SOCAT],
      (place, seconds) => bulkTurn(place, connections, seconds),
    ),
    expected: [
      { contender: LINUX, against: BULK_PEERS, atLeast: 1.2 },
      { contender: PORTABLE, against: NGINX, atLeast: 1 },
    ],
  };
}

function echoRow(here: Here, connections: number, bytes: number): Row {
  const big = bytes === PUBLISHED_BIG.bytes;
  const linux: Expectation[] = [
    ...big
      ? [{
        contender: LINUX,
        against: [HAPROXY, ...BULK_PEERS],
        atLeast: 1.2,
      }]
      : [
        { contender: LINUX, against: PEERS, atLeast: 1 },
        { contender: LINUX, column: P99, against: PEERS, atMost: 1 },
      ],
  ];
  const portable: Expectation[] = big
    ? [{ contender: PORTABLE, atLeast: 20 * PUBLISHED_BIG.perSecond }]
    : connections <= 50
    ? [{ contender: PORTABLE, against: PEERS, atLeast: 0.6 }]
    : [];
  return {
    ...echo(here, connections, bytes, [
      ...MAIN,
      ...big ? [SPLICE_DEFAULT] : [],
      ...connections === 50 ? [TUNNEL] : [],
    ]),
    expected: [...linux, ...portable],
  };
}

/** A row that is there for the original's matrix. */
function matrixRow(here: Here, connections: number, bytes: number): Row {
  return echo(here, connections, bytes, [LINUX, PORTABLE, NGINX, ORIGINAL]);
}

function echo(
  here: Here,
  connections: number,
  bytes: number,
  names: readonly string[],
): Row {
  const traffic = bytes === PUBLISHED_BIG.bytes ? "bulk" : "messages";
  const note = "Each connection has one message on its way, there and back.";
  return {
    name: echoName(connections, bytes),
    baseline: NGINX,
    rate: "count",
    counted: "requests",
    note: traffic === "bulk" ? `${note} ${BULK_BUFFERS_NOTE}` : note,
    contenders: contenders(
      here,
      traffic,
      names,
      (place, seconds) => echoTurn(place, connections, bytes, seconds),
    ),
  };
}

function connectRow(here: Here, atOnce: number): Row {
  return {
    name: `new connections, ${
      atOnce === 1 ? "one after the other" : `${atOnce} at once`
    }`,
    baseline: NGINX,
    rate: "count",
    counted: "connections",
    note: "Each is opened, has a byte echoed, and is closed.",
    contenders: contenders(
      here,
      "messages",
      // What one after the other has shown need not be shown twice.
      atOnce === 1 ? [...MAIN, TUNNEL] : MAIN.filter((name) => name !== SPLICE),
      (place, seconds) => connectTurn(place, atOnce, 1, seconds),
    ),
    expected: [{ contender: LINUX, against: NGINX, atLeast: 0.9 }],
  };
}

function idleRow(here: Here): Row {
  const most = Math.max(...IDLE_COUNTS);
  // Two files each, and pipes of those who splice.
  const files = most * 2 + 1000;
  const limit = openFilesLimit();
  return {
    name: `idle, ${IDLE_COUNTS.map(connectionsText).join(", then ")}`,
    baseline: NGINX,
    rate: "count",
    counted: "connections",
    note:
      "Opened one after the other, with a byte echoed on each. Memory is what is resident in the relay's processes; the kernel's sockets are not in it.",
    contenders: contenders(
      here,
      "messages",
      MAIN.filter((name) => name !== DIRECT && name !== SPLICE),
      (place) => idleTurn(place, IDLE_COUNTS),
    ).map((contender) => ({
      ...contender,
      missing: contender.missing ??
        (limit < files
          ? `only ${limit} files may be open: ulimit -n ${files}`
          : undefined),
    })),
    expected: [LINUX, PORTABLE].map((contender) => ({
      contender,
      column: memoryTitle(1000),
      atMost: MOST_IDLE_MB,
    })),
  };
}

function contenders(
  { relays, load }: Here,
  traffic: Traffic,
  names: readonly string[],
  turn: (place: Place, seconds: number) => Promise<Figures>,
): Contender[] {
  return relays.filter(({ name }) => names.includes(name)).map((relay) => ({
    name: relay.name,
    missing: load.missing ?? relay.missing,
    run: (seconds) => turn({ load: load.path, relay, traffic }, seconds),
  }));
}

function echoName(connections: number, bytes: number): string {
  const size = bytes < KIB ? `${bytes} B` : `${bytes / KIB} KiB`;
  return `echo of ${size}, ${connectionsText(connections)}`;
}

function connectionsText(count: number): string {
  return `${count} connection${count === 1 ? "" : "s"}`;
}
