/** Reads what a command wants to know, from a line's text or from JSON-RPC parameters. */
import type { Address } from "../../address.ts";
import {
  addressKey,
  type GivenTunnelOptions,
  parseSocket,
  readDelay,
  type TunnelSpec,
} from "../spec.ts";
import { checkRemotes } from "../limits.ts";
import type { Ending } from "../tunnels.ts";
import { ControlProtocolError } from "./errors.ts";
import {
  delay,
  oneOf,
  optional,
  ParameterError,
  type ParameterReader,
  string,
} from "./parameters.ts";

/** Names a tunnel. */
export interface LocalParameters {
  /** From a line. */
  local?: Address;
  /** From JSON-RPC. */
  tunnelSocket?: string;
  tunnel?: string;
}

/** Names a tunnel and a remote. */
export interface PairParameters extends LocalParameters {
  /** From a line; as text from JSON-RPC. */
  remote: Address | string;
}

/** Says how something ends. */
export interface EndingParameters {
  /** From a line. */
  ending?: Ending;
  /** From JSON-RPC. */
  mode?: Ending["mode"];
  /** Milliseconds, of seconds in JSON. */
  deadline?: number;
}

/** Describes a tunnel. */
export interface OpenParameters {
  /** From a line. */
  spec?: TunnelSpec;
  /** From JSON-RPC. */
  tunnelSocket?: string;
  remotes?: string[];
  options?: GivenTunnelOptions;
}

/** JSON-RPC parameters of every command that ends something. */
export const ENDING_PARAMETERS: Readonly<Record<string, ParameterReader>> = {
  mode: optional(oneOf("now", "drain")),
  deadline: optional(delay(true)),
};

/** The text behind a word that wants one. */
export function argument(text: string | undefined): string {
  if (text !== undefined) return text;
  throw new ControlProtocolError("Missing argument");
}

/** The tunnel that was asked for. */
export function specOf(given: OpenParameters): TunnelSpec {
  if (given.spec) return given.spec;
  const local = parseSocket(given.tunnelSocket!);
  // Named twice is once, as in a specification.
  const remotes = new Map<string, Address>();
  for (const text of given.remotes!) {
    const remote = parseSocket(text);
    const key = addressKey(remote);
    if (!remotes.has(key)) remotes.set(key, remote);
    checkRemotes(remotes.size, { local });
  }
  return {
    local,
    remotes: [...remotes.values()],
    options: given.options ?? {},
  };
}

/** Which tunnel is meant. */
export function localOf(given: LocalParameters): Address {
  return given.local ?? parseSocket(given.tunnelSocket ?? given.tunnel!);
}

/** Which remote is meant. */
export function remoteOf({ remote }: PairParameters): Address {
  return typeof remote === "string" ? parseSocket(remote) : remote;
}

/** How it shall end. */
export function endingOf(
  given: EndingParameters,
  mode: Ending["mode"],
): Ending {
  if (given.ending) return given.ending;
  const { deadline } = given;
  const chosen = given.mode ?? mode;
  // Whoever sets a deadline expects connections to be drained until then.
  if (chosen === "now" && deadline !== undefined) {
    throw new ParameterError("`deadline` requires `mode` to be `drain`");
  }
  return {
    mode: chosen,
    ...(deadline === undefined ? {} : { deadlineMs: deadline }),
  };
}

const ENDING = /^(now|drain)(?: +(\S+))?$/i;

/** `now`, `drain`, `drain 2.5`; nothing is the fallback, anything else undefined. */
function parseEnding(text: string, fallback: Ending): Ending | undefined {
  if (text.trim() === "") return fallback;
  const [, word, seconds] = ENDING.exec(text.trim()) ?? [];
  const mode = word?.toLowerCase() as Ending["mode"] | undefined;
  if (mode === undefined) return undefined;
  if (seconds === undefined) return { mode };
  return mode === "drain"
    ? { mode, deadlineMs: readDeadline(seconds) }
    : undefined;
}

function readDeadline(text: string): number {
  try {
    return readDelay(true)(text);
  } catch {
    throw new ControlProtocolError(`Invalid seconds: ${text}`);
  }
}

/** `now`, `drain` or `drain SECONDS`. */
export function readEnding(text: string, fallback: Ending): { ending: Ending } {
  const ending = parseEnding(text, fallback);
  if (ending) return { ending };
  throw new ControlProtocolError(`Invalid argument: ${text}`);
}

/** `socket [now|drain [SECONDS]]`; what else stands behind the socket is the socket's error. */
export function readLocalEnding(
  text: string,
  fallback: Ending,
): { local: Address; ending: Ending } {
  const [first, rest] = splitOnce(text);
  const ending = parseEnding(rest ?? "", fallback);
  return ending
    ? { local: parseSocket(first), ending }
    : { local: parseSocket(text), ending: fallback };
}

/** `socket [SECONDS]`. */
export function readDrain(text: string): { local: Address; ending: Ending } {
  const [first, rest = ""] = splitOnce(text);
  const local = parseSocket(first);
  const deadlineMs = rest.trim() === "" ? undefined : readDeadline(rest.trim());
  return { local, ending: { mode: "drain", deadlineMs } as Ending };
}

/** `socket socket [now|drain [SECONDS]]`. */
export function readPair(
  text: string,
): { local: Address; remote: Address; ending: Ending } {
  const [first, rest] = splitOnce(text);
  const local = parseSocket(first);
  if (rest === undefined) {
    throw new ControlProtocolError("Missing remote socket spec");
  }
  const fallback: Ending = { mode: "drain" };
  const { local: remote, ending } = readLocalEnding(rest, fallback);
  return { local, remote, ending };
}

/** At the first space: exactly one separates arguments. */
function splitOnce(text: string): [string, string | undefined] {
  const space = text.indexOf(" ");
  return space < 0
    ? [text, undefined]
    : [text.slice(0, space), text.slice(space + 1)];
}

const CONNECTION_ID = /^\d+-\d+$/;
const EXPECTED_ID = "expected TUNNEL-CONNECTION as CONNS shows it, such as 1-5";

/** The id of a connection from a line. */
export function readConnectionId(text: string): { id: string } {
  const id = text.trimEnd();
  if (CONNECTION_ID.test(id)) return { id };
  throw new ControlProtocolError(
    `Invalid connection id: ${id}; ${EXPECTED_ID}`,
  );
}

/** The id of a connection from JSON-RPC. */
export const connectionId: ParameterReader<string> = (value, name) => {
  const id = string(value, name);
  if (CONNECTION_ID.test(id)) return id;
  throw new ParameterError(
    `invalid value: ${JSON.stringify(id)} for \`${name}\`: ${EXPECTED_ID}`,
  );
};

/** Whether STATUS shall list the tunnels. */
export function readStatusScale(text: string | undefined): boolean {
  switch ((text ?? "").toUpperCase()) {
    case "":
    case "SHORT":
      return false;
    case "LONG":
    case "FULL":
      return true;
  }
  throw new ControlProtocolError("Invalid argument to STATUS");
}
