/**
 * What can be asked of running tunnels: one table for all doors. A row reads
 * its parameters from a line or from JSON-RPC parameters, does its work, and
 * says the result as lines (`lines`), as the original's RPC result (`rpc`), or
 * in full (`json`).
 */
import { parseSocket, parseTunnel } from "../spec.ts";
import type { Tunnels } from "../tunnels.ts";
import {
  argument,
  connectionId,
  ENDING_PARAMETERS,
  endingOf,
  type EndingParameters,
  localOf,
  type LocalParameters,
  type OpenParameters,
  type PairParameters,
  readConnectionId,
  readDrain,
  readEnding,
  readLocalEnding,
  readPair,
  readStatusScale,
  remoteOf,
  specOf,
} from "./arguments.ts";
import {
  array,
  delay,
  object,
  optional,
  type ParameterReader,
  string,
} from "./parameters.ts";
import { readRpcOptions } from "./rpc_options.ts";
import {
  connectionLine,
  connectionResult,
  detailLine,
  fullTunnel,
  infoResult,
  liveRemotes,
  reloadLines,
  reloadResult,
  remoteLines,
  remoteResult,
  statusLine,
  statusResult,
} from "./results.ts";

/** What a line is answered with. */
export interface LineReply {
  /** Behind `OK: `; none for a bare `OK`. */
  readonly short?: string;
  /** Lines below, without their tab; made while they are written. */
  readonly details?: Iterable<string>;
}

/** Parameters of a command, by name. */
// deno-lint-ignore no-explicit-any
type Parameters = any;

/** One row of the table. */
export interface ControlCommand {
  /** First word of its line; none where it has none. */
  readonly word?: string;
  /** Its line in HELP; none where it has no word. */
  readonly usage?: string;
  /** Its JSON-RPC method; none where it has none. */
  readonly method?: string;
  /** Its JSON-RPC parameters in order, in camel case; snake case is taken too. */
  readonly parameters: Readonly<Record<string, ParameterReader>>;
  /** Reads the text behind the word, undefined where there is none. */
  readonly readLine?: (text: string | undefined) => Parameters;
  /** Does it. */
  readonly run: (tunnels: Tunnels, parameters: Parameters) => Promise<unknown>;
  /** The result as lines. */
  // deno-lint-ignore no-explicit-any
  readonly lines?: (result: any) => LineReply;
  /** The result for JSON-RPC. Default: null. */
  // deno-lint-ignore no-explicit-any
  readonly rpc?: (result: any) => unknown;
  /** The result of `JSON command`. Default: as `rpc`. */
  // deno-lint-ignore no-explicit-any
  readonly json?: (result: any) => unknown;
}

function* mapped<Item>(
  items: readonly Item[],
  line: (item: Item) => string,
): Iterable<string> {
  for (const item of items) yield line(item);
}

/** Gives a row its types. */
function command<Given, Result>(row: {
  word?: string;
  usage?: string;
  method?: string;
  parameters?: Readonly<Record<string, ParameterReader>>;
  readLine?: (text: string | undefined) => Given;
  run: (tunnels: Tunnels, parameters: Given) => Promise<Result> | Result;
  lines?: (result: Result) => LineReply;
  rpc?: (result: Result) => unknown;
  json?: (result: Result) => unknown;
}): ControlCommand {
  const { run } = row;
  return {
    parameters: {},
    ...row,
    run: async (tunnels, parameters) => await run(tunnels, parameters),
  };
}

/** The table, in the order of HELP: the original's commands, then ours. */
export const COMMANDS: readonly ControlCommand[] = [
  command({
    word: "OPEN",
    usage: "OPEN tunnel",
    method: "openTunnel",
    parameters: {
      tunnelSocket: string,
      remotes: array(string),
      options: optional(object(readRpcOptions)),
    },
    readLine: (text) => ({ spec: parseTunnel(argument(text)) }),
    run: (tunnels, given: OpenParameters) => tunnels.open(specOf(given)),
    json: (tunnel) => ({ tunnel: tunnel.label }),
  }),
  command({
    word: "CLOSE",
    usage: "CLOSE tunnel [now|drain [SECONDS]]",
    method: "closeTunnel",
    parameters: { tunnelSocket: string, ...ENDING_PARAMETERS },
    readLine: (text) => readLocalEnding(argument(text), { mode: "now" }),
    run: (tunnels, given: LocalParameters & EndingParameters) =>
      tunnels.close(localOf(given), endingOf(given, "now")),
  }),
  command({
    word: "ADD",
    usage: "ADD tunnel remote",
    method: "addRemote",
    parameters: { tunnel: string, remote: string },
    readLine: (text) => readPair(argument(text)),
    run: (tunnels, given: PairParameters) =>
      tunnels.addRemote(localOf(given), remoteOf(given)),
  }),
  command({
    word: "REMOVE",
    usage: "REMOVE tunnel remote [now|drain [SECONDS]]",
    method: "removeRemote",
    parameters: { tunnel: string, remote: string, ...ENDING_PARAMETERS },
    readLine: (text) => readPair(argument(text)),
    run: (tunnels, given: PairParameters & EndingParameters) =>
      tunnels.removeRemote(
        localOf(given),
        remoteOf(given),
        endingOf(given, "drain"),
      ),
    rpc: remoteResult,
  }),
  command({
    word: "STATUS",
    usage: "STATUS [full|long]",
    method: "status",
    readLine: (text) => ({ full: readStatusScale(text) }),
    run: (tunnels, { full = true }: { full?: boolean }) => ({ tunnels, full }),
    lines: ({ tunnels, full }) => ({
      short: `Tunnels: ${tunnels.list().length}`,
      ...(full ? { details: mapped(tunnels.list(), statusLine) } : {}),
    }),
    rpc: statusResult,
  }),
  command({
    word: "DETAIL",
    usage: "DETAIL tunnel",
    method: "tunnelInfo",
    parameters: { tunnelSocket: string },
    readLine: (text) => ({ local: parseSocket(argument(text)) }),
    run: (tunnels, given: LocalParameters) => tunnels.find(localOf(given)),
    lines: (tunnel) => ({
      short: detailLine(tunnel),
      details: remoteLines(tunnel),
    }),
    rpc: infoResult,
    json: (tunnel) => ({
      ...infoResult(tunnel),
      ...fullTunnel(tunnel),
    }),
  }),
  command({
    method: "numberOfTunnels",
    run: (tunnels) => tunnels.list().length,
    rpc: (count) => count,
  }),
  command({
    method: "listTunnels",
    run: (tunnels) => tunnels.list().map(({ label }) => label),
    rpc: (labels) => labels,
  }),
  command({
    method: "remotes",
    parameters: { tunnelSocket: string },
    run: (tunnels, given: LocalParameters) => tunnels.find(localOf(given)),
    rpc: (tunnel) =>
      Object.fromEntries(
        liveRemotes(tunnel).map((
          [label, stats],
        ) => [label, remoteResult(stats)]),
      ),
  }),
  command({
    word: "DRAIN",
    usage: "DRAIN tunnel [SECONDS]",
    method: "drainTunnel",
    parameters: { tunnelSocket: string, deadline: optional(delay(true)) },
    readLine: (text) => readDrain(argument(text)),
    run: (tunnels, given: LocalParameters & EndingParameters) =>
      tunnels.close(localOf(given), endingOf(given, "drain")),
  }),
  command({
    word: "CONNS",
    usage: "CONNS tunnel",
    method: "listConnections",
    parameters: { tunnelSocket: string },
    readLine: (text) => ({ local: parseSocket(argument(text)) }),
    run: (tunnels, given: LocalParameters) =>
      tunnels.connections(localOf(given)),
    lines: (connections) => ({
      short: `Connections: ${connections.length}`,
      ...(connections.length > 0
        ? { details: mapped(connections, connectionLine) }
        : {}),
    }),
    rpc: (connections) => connections.map(connectionResult),
  }),
  command({
    word: "KILL",
    usage: "KILL id",
    method: "killConnection",
    parameters: { id: connectionId },
    readLine: (text) => readConnectionId(argument(text)),
    run: (tunnels, { id }: { id: string }) => tunnels.kill(id),
  }),
  command({
    word: "RELOAD",
    usage: "RELOAD",
    method: "reload",
    run: (tunnels) => tunnels.reload(),
    lines: reloadLines,
    rpc: reloadResult,
  }),
  command({
    word: "QUIT",
    usage: "QUIT [now|drain [SECONDS]]",
    method: "quit",
    parameters: ENDING_PARAMETERS,
    readLine: (text) => readEnding(text ?? "", { mode: "drain" }),
    run: (tunnels, given: EndingParameters) => {
      // Answered first: the end takes the doors with it.
      setTimeout(() => tunnels.end(endingOf(given, "drain")), 0);
    },
  }),
];

/** Commands of a conversation, which ask nothing of the tunnels. */
const SESSION_USAGES: readonly string[] = ["EXIT", "HELP"];

/** Lines of HELP, every command with its arguments: the original's in its order, then ours. */
export function helpLines(): string[] {
  const usages = COMMANDS.flatMap(({ usage }) => usage ?? []);
  const last = usages.indexOf("DETAIL tunnel") + 1;
  return [
    ...usages.slice(0, last),
    ...SESSION_USAGES,
    ...usages.slice(last),
    "AUTH token",
    "JSON command",
  ];
}
