/**
 * Draws docs/img/roles.svg: what comes into each role, and what goes out.
 *
 *     deno run -A tools/draw_roles.ts          draws it
 *     deno run -A tools/draw_roles.ts --check  fails where it is not up to date
 */
import { commands } from "@mproxy/cli";
import { fromFileUrl } from "@std/path";
import { checkOrWrite } from "./written_file.ts";

const FILE = fromFileUrl(new URL("../docs/img/roles.svg", import.meta.url));

interface Flow {
  readonly from: readonly string[];
  readonly to: readonly string[];
  readonly color: string;
  /** What it does on the way, below its name. */
  readonly how?: string;
}

const DATAGRAMS = "#1f6f8b";
const STREAMS = "#7a4b94";
const MQTT = "#9c5518";
const PEERS = "#4a6741";

/** What comes and goes, by role. */
const FLOWS: Readonly<Record<string, Flow>> = {
  client: {
    from: ["file, device", "stdin"],
    to: ["UDP hosts", "multicast groups"],
    color: DATAGRAMS,
    how: "paced, cut at lines",
  },
  server: {
    from: ["UDP senders", "multicast groups"],
    to: ["log files", "stdout"],
    color: DATAGRAMS,
    how: "rotated, compressed",
  },
  proxy: {
    from: ["UDP, multicast", "TCP, TLS feeds"],
    to: ["UDP hosts", "multicast groups"],
    color: DATAGRAMS,
    how: "to many at once",
  },
  reverseproxy: {
    from: ["UDP senders", "TCP producers"],
    to: ["TCP subscribers", "UDP hosts"],
    color: DATAGRAMS,
    how: "through a group",
  },
  relay: {
    from: ["TCP clients"],
    to: ["one TCP service"],
    color: STREAMS,
    how: "shows what goes through",
  },
  tunnel: {
    from: ["TCP, TLS clients"],
    to: ["TCP, TLS remote 1", "remote 2, …"],
    color: STREAMS,
    how: "balanced, changed live",
  },
  mqtt: {
    from: ["MQTT clients", "over TCP, TLS, WS"],
    to: ["MQTT brokers"],
    color: MQTT,
    how: "policy and hooks",
  },
  echo: {
    from: ["TCP, UDP peers"],
    to: ["the same peers"],
    color: PEERS,
    how: "sends back what comes",
  },
  loadtest: {
    from: ["connections,", "sizes, a rate"],
    to: ["echo, or what", "stands before it"],
    color: PEERS,
    how: "measures answers",
  },
};

const WIDTH = 760;
const ROW = 62;
const BOX = { width: 180, height: 46, left: 290 };
const SIDE = 200;

function row(name: string, index: number): string {
  const { from, to, color, how } = FLOWS[name]!;
  const middle = 34 + index * ROW;
  const right = BOX.left + BOX.width;
  const lines = (texts: readonly string[], x: number, anchor: string) =>
    texts.map((text, i) =>
      `<text x="${x}" y="${
        middle + 5 + (i - (texts.length - 1) / 2) * 18
      }" text-anchor="${anchor}">${text}</text>`
    ).join("");
  const arrow = (x1: number, x2: number) =>
    `<path d="M${x1} ${middle}H${
      x2 - 9
    }" stroke="${color}" stroke-width="2"/>` +
    `<path d="M${x2} ${middle}l-10 -5v10z" fill="${color}"/>`;
  const inner = how
    ? `<text x="${BOX.left + BOX.width / 2}" y="${
      middle + 15
    }" text-anchor="middle" fill="#fff" font-size="12">${how}</text>`
    : "";
  return [
    lines(from, SIDE, "end"),
    arrow(SIDE + 14, BOX.left - 4),
    `<rect x="${BOX.left}" y="${
      middle - BOX.height / 2
    }" width="${BOX.width}" height="${BOX.height}" rx="6" fill="${color}"/>`,
    `<text x="${BOX.left + BOX.width / 2}" y="${
      middle + (inner ? -1 : 5)
    }" text-anchor="middle" fill="#fff" font-weight="bold">${name}</text>`,
    inner,
    arrow(right + 4, WIDTH - SIDE - 14),
    lines(to, WIDTH - SIDE, "start"),
  ].join("\n");
}

/** The picture. */
export function rolesPicture(): string {
  const names = commands.map(({ name }) => name);
  const height = 10 + names.length * ROW;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="15" fill="#222" role="img" aria-label="What comes into each role of mproxy, and what goes out">
<rect width="${WIDTH}" height="${height}" fill="#fff"/>
${names.map(row).join("\n")}
</svg>
`;
}

if (import.meta.main) {
  await checkOrWrite(
    [{ path: FILE, text: rolesPicture() }],
    "deno run -A tools/draw_roles.ts",
  );
}
