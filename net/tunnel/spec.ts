/**
 * Tunnel specifications, as Plexy reads them:
 *
 *     tunnel = socket "=" socket *("," socket) ["[" option *("," option) "]"]
 *     socket = (name / ipv4 / "[" ipv6 "]") ":" port / port
 *     name   = what the resolver takes     ; 3com.com, my_app_db_1, db.local.
 *     option = key "=" value        ; a value holds neither "," nor "]"
 *
 * A bare port is a port of 127.0.0.1. No space stands anywhere. Pure: names
 * are not resolved here. An error says in which column of the text it is, and
 * knows the words that the original has for it.
 */
import { STRATEGIES, type Strategy } from "../engine/balancing/balancer.ts";
import { type Address, formatAddress } from "../address.ts";
import { UsageError } from "../errors.ts";
import {
  diagnoseSocket,
  readSocket,
} from "../engine/portable/stream/socket_text.ts";

export { STRATEGIES, type Strategy };

/** Other spellings of a strategy, in lower case. */
const STRATEGY_ALIASES: Readonly<Record<string, Strategy>> = {
  "roundrobin": "round-robin",
  "round_robin": "round-robin",
  "min-open-connections": "minimum-open-connections",
  "min_open_connections": "minimum-open-connections",
  "minopenconnections": "minimum-open-connections",
  "minimum_open_connections": "minimum-open-connections",
  "minimumopenconnections": "minimum-open-connections",
};

/** What a tunnel does beside moving bytes. Defaults are those of Plexy, where it has them. */
export interface TunnelOptions {
  /** How connections are spread over the remotes. */
  readonly strategy: Strategy;
  /** Connects that one client is worth, in total; 0 never connects. */
  readonly attempts: number;
  /** How long one connect may take, with its TLS handshake. */
  readonly connectTimeoutMs: number;
  /** Failed connects in a row after which a remote is dead. */
  readonly errorsTillDead: number;
  /** How often a dead remote is probed. */
  readonly checkIntervalMs: number;
  /** Whether connections to remotes are TLS. */
  readonly remoteTls: boolean;
  /** PEM file with roots that `remoteTls` trusts beside the built-in ones. Default: the built-in ones alone. */
  readonly remoteCa?: string;
  /** PEM file with the certificate chain shown to clients; clients then speak TLS. Default: clients speak plain TCP. */
  readonly tlsCert?: string;
  /** PEM file with the key of `tlsCert`. Given with it, or not at all: default none. */
  readonly tlsKey?: string;
  /** A connection without a byte for this long ends; 0 never ends it. */
  readonly idleTimeoutMs: number;
  /** How long one direction may outlive the other's end; 0 is for ever. */
  readonly halfCloseTimeoutMs: number;
  /** Clients served at once; 0 is no limit. */
  readonly maxConnections: number;
  /** The same of one source: an IPv4 address, or an IPv6 network of 64 bits. */
  readonly maxConnectionsPerSource: number;
  /** Name to send to TLS remotes and to verify. Default: the remote's host. */
  readonly remoteTlsName?: string;
  /** Base64 of the SHA-256 of the remote's key, in place of roots and name. Default: none. */
  readonly remoteTlsPin?: string;
  /** Verifies nothing about TLS remotes. */
  readonly remoteTlsInsecure: boolean;
  /** Longest time that connections to a removed remote go on; 0 is for ever. */
  readonly drainTimeoutMs: number;
}

/** What a specification may leave out. */
export type GivenTunnelOptions = Partial<TunnelOptions>;

/** What holds where nothing was said, as in the original. */
export const DEFAULT_TUNNEL_OPTIONS: TunnelOptions = {
  strategy: "random",
  attempts: 3,
  connectTimeoutMs: 10_000,
  errorsTillDead: 1,
  checkIntervalMs: 10_000,
  remoteTls: false,
  idleTimeoutMs: 0,
  halfCloseTimeoutMs: 0,
  maxConnections: 0,
  maxConnectionsPerSource: 0,
  remoteTlsInsecure: false,
  drainTimeoutMs: 0,
};

/** A tunnel as it was asked for. */
export interface TunnelSpec {
  /** Where clients connect; port 0 takes a free one. */
  readonly local: Address;
  /** Where connections go, each once, in order. */
  readonly remotes: readonly Address[];
  /** What was said; the rest is the tunnel's defaults. */
  readonly options: GivenTunnelOptions;
}

/** The words of the original's parser for where and why it stopped. */
export interface OriginalFailure {
  /** What it wanted: `Digit`, `Char`, `Eof`, `Verify`. */
  readonly kind: string;
  /** The text that it had left. */
  readonly unparsed: string;
}

/** A specification that cannot be read. */
export class SpecError extends UsageError {
  /** Always `SpecError`. */
  override name = "SpecError";
  /** Whether a whole tunnel was read or one socket. */
  readonly what: "tunnel" | "socket";
  /** Index into the text at which it is wrong. */
  readonly offset: number;
  /** What is wanted there. */
  readonly wanted: string;
  /** What the original says. */
  readonly original: OriginalFailure;

  /** One line that shows the text and where it is wrong. */
  constructor(
    what: "tunnel" | "socket",
    text: string,
    offset: number,
    wanted: string,
    original: OriginalFailure,
  ) {
    super(
      `Cannot use "${text}" as a ${what}: column ${offset + 1}: ${wanted}`,
    );
    this.what = what;
    this.offset = offset;
    this.wanted = wanted;
    this.original = original;
  }
}

/** Longest wait that a timer can hold: 2^31 - 1 ms. */
const LONGEST_MS = 2_147_483_647;

/** Reads a whole tunnel; throws a {@linkcode SpecError}. The grammar is Plexy's. */
export function parseTunnel(text: string): TunnelSpec {
  function fail(
    offset: number,
    wanted: string,
    kind: string,
    unparsed: string,
  ): never {
    throw new SpecError("tunnel", text, offset, wanted, { kind, unparsed });
  }
  const local = readSocket(text, 0);
  if (!local) {
    const { offset, wanted } = diagnoseSocket(text, 0);
    return fail(offset, wanted, "Digit", text);
  }
  if (text[local.end] !== "=") {
    const { offset, wanted } = diagnoseSocket(text, 0, "=");
    fail(offset, wanted, "Char", text.slice(local.end));
  }
  const remotes = new Map<string, Address>();
  let start = local.end + 1;
  let end = start;
  for (;;) {
    const remote = readSocket(text, start);
    if (!remote) {
      const { offset, wanted } = diagnoseSocket(text, start);
      // The original's list ends before a comma that nothing fitting follows.
      if (remotes.size === 0) {
        fail(offset, wanted, "Digit", text.slice(start));
      }
      fail(offset, wanted, "Eof", text.slice(end));
    }
    const key = addressKey(remote.address);
    if (!remotes.has(key)) remotes.set(key, remote.address);
    end = remote.end;
    if (text[end] !== ",") break;
    start = end + 1;
  }
  if (end === text.length) {
    return {
      local: local.address,
      remotes: [...remotes.values()],
      options: {},
    };
  }
  if (text[end] !== "[") {
    const { offset, wanted } = diagnoseSocket(text, start, ",");
    fail(offset, wanted, "Eof", text.slice(end));
  }
  const options = readOptions(text, end + 1, (offset, wanted, value) => {
    if (value !== undefined) return fail(offset, wanted, "Verify", value);
    return fail(offset, wanted, "Eof", text.slice(end));
  });
  if (options.end !== text.length) {
    fail(
      options.end,
      'unexpected characters after "]"',
      "Eof",
      text.slice(options.end),
    );
  }
  return {
    local: local.address,
    remotes: [...remotes.values()],
    options: options.given,
  };
}

/**
 * Reads one socket; spaces behind it are passed over. Throws a {@linkcode
 * SpecError}. The grammar is Plexy's.
 */
export function parseSocket(text: string): Address {
  const socket = readSocket(text, 0);
  if (!socket) {
    const { offset, wanted } = diagnoseSocket(text, 0);
    throw new SpecError("socket", text, offset, wanted, {
      kind: "Digit",
      unparsed: text,
    });
  }
  const rest = text.slice(socket.end);
  if (rest.trimEnd() !== "") {
    const { offset, wanted } = diagnoseSocket(text, 0, "");
    throw new SpecError("socket", text, offset, wanted, {
      kind: "",
      unparsed: rest,
    });
  }
  return socket.address;
}

/** The text that {@linkcode parseTunnel} reads back to the same tunnel. */
export function formatTunnel(spec: TunnelSpec): string {
  const options = formatOptions(spec.options);
  return `${formatAddress(spec.local)}=${
    spec.remotes.map(formatAddress).join(",")
  }${options === "" ? "" : `[${options}]`}`;
}

/** Text by which an address is known: two that differ only in case are the same. */
export function addressKey(address: Address): string {
  return formatAddress(address).toLowerCase();
}

/** Whether two addresses are written alike once spelling is put aside. */
export function sameAddress(a: Address, b: Address): boolean {
  return a.port === b.port && addressKey(a) === addressKey(b);
}

// ---- options

/** Where and why options are wrong; `value` is the key or value that has no meaning. */
type OptionFailure = (offset: number, wanted: string, value?: string) => never;

function match(pattern: RegExp, text: string, at: number) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

const KEY = /[A-Za-z0-9_-]*/y;
const VALUE = /[^,\]]*/y;

function readOptions(
  text: string,
  at: number,
  fail: OptionFailure,
): { given: GivenTunnelOptions; end: number } {
  const items: { key: string; keyAt: number; value: string; at: number }[] = [];
  let end = at;
  for (;;) {
    const key = match(KEY, text, end)![0];
    const equals = end + key.length;
    if (text[equals] !== "=") {
      failItems(items, fail);
      fail(equals, key === "" ? "expected an option" : 'expected "="');
    }
    const value = match(VALUE, text, equals + 1)![0];
    items.push({ key, keyAt: end, value, at: equals + 1 });
    end = equals + 1 + value.length;
    if (text[end] !== ",") break;
    end++;
  }
  const given = failItems(items, fail);
  if (text[end] !== "]") fail(end, 'missing "]"');
  return { given, end: end + 1 };
}

/** Values of options; the original looks at them before it looks for "]". */
function failItems(
  items: readonly { key: string; keyAt: number; value: string; at: number }[],
  fail: OptionFailure,
): GivenTunnelOptions {
  let given: GivenTunnelOptions = {};
  for (const { key, keyAt, value, at } of items) {
    const option = optionOf(key);
    if (!option) {
      fail(
        keyAt,
        `unknown option; expected one of ${optionKeys().join(", ")}`,
        key,
      );
    }
    try {
      given = { ...given, ...option!.read(value) };
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      fail(at, error.message, value);
    }
  }
  return given;
}

/** One option of a specification. */
export interface TunnelOption {
  /** Its key, as it is printed. */
  readonly key: string;
  /** The field that holds it. */
  readonly field: keyof TunnelOptions;
  /** What stands for its value in the help. */
  readonly placeholder: string;
  /** What it means. */
  readonly help: string;
  /** Its value from text; throws a UsageError that says what is wanted. */
  readonly read: (text: string) => GivenTunnelOptions;
  /** Its text. */
  readonly print: (options: GivenTunnelOptions) => string | undefined;
}

/** Every option, in the order in which they are printed. */
export const TUNNEL_OPTIONS: readonly TunnelOption[] = [
  option(
    "strategy",
    "strategy",
    STRATEGIES.join("|"),
    "How connections are spread over remotes",
    readStrategy,
  ),
  option(
    "retries",
    "attempts",
    "N",
    "Connects tried for one client, in total",
    readCount(65535),
  ),
  option(
    "timeout",
    "connectTimeoutMs",
    "SECONDS",
    "Longest connect, with its TLS handshake",
    readDelay(false),
  ),
  option(
    "errors",
    "errorsTillDead",
    "N",
    "Failed connects in a row until a remote is dead",
    readCount(Number.MAX_SAFE_INTEGER),
  ),
  option(
    "check-interval",
    "checkIntervalMs",
    "SECONDS",
    "How often a dead remote is probed",
    readDelay(false),
  ),
  option(
    "remote-tls",
    "remoteTls",
    "true|false",
    "Speak TLS to the remotes",
    readSwitch,
  ),
  option(
    "remote-ca",
    "remoteCa",
    "FILE",
    "PEM file of roots to trust for remotes, beside the built-in ones",
    readFile,
  ),
  option(
    "tls-cert",
    "tlsCert",
    "FILE",
    "PEM file of the certificate chain for clients",
    readFile,
  ),
  option(
    "tls-key",
    "tlsKey",
    "FILE",
    "PEM file of the certificate's key",
    readFile,
  ),
  option(
    "idle-timeout",
    "idleTimeoutMs",
    "SECONDS",
    "End a connection without a byte for so long; 0 for never",
    readDelay(true),
  ),
  option(
    "half-close-timeout",
    "halfCloseTimeoutMs",
    "SECONDS",
    "End a connection so long after one side has; 0 for never",
    readDelay(true),
  ),
  option(
    "max-connections",
    "maxConnections",
    "N",
    "Clients served at once; 0 for no limit",
    readCount(1_000_000),
  ),
  option(
    "max-connections-per-source",
    "maxConnectionsPerSource",
    "N",
    "Clients of one IPv4 address or IPv6 /64 at once; 0 for no limit",
    readCount(1_000_000),
  ),
  option(
    "remote-tls-name",
    "remoteTlsName",
    "NAME",
    "Name to send to TLS remotes and to verify, in place of their host",
    readName,
  ),
  option(
    "remote-tls-pin",
    "remoteTlsPin",
    "BASE64",
    "SHA-256 of the remote's public key, in place of roots and name",
    readPin,
  ),
  option(
    "remote-tls-insecure",
    "remoteTlsInsecure",
    "true|false",
    "Accept any certificate of a TLS remote",
    readSwitch,
  ),
  option(
    "drain-timeout",
    "drainTimeoutMs",
    "SECONDS",
    "End connections to a removed remote after so long; 0 for never",
    readDelay(true),
  ),
];

function option<Field extends keyof TunnelOptions>(
  key: string,
  field: Field,
  placeholder: string,
  help: string,
  read: (text: string) => TunnelOptions[Field],
): TunnelOption {
  return {
    key,
    field,
    placeholder,
    help,
    read: (text) => ({ [field]: read(text) }),
    print: (options) => {
      const value = options[field];
      if (value === undefined) return undefined;
      return field.endsWith("Ms") ? String(value as number / 1000) : `${value}`;
    },
  };
}

/** The option of a key: any case, "_" for "-". */
export function optionOf(key: string): TunnelOption | undefined {
  const name = key.toLowerCase().replaceAll("_", "-");
  return TUNNEL_OPTIONS.find((option) => option.key === name);
}

/** All keys. */
export function optionKeys(): string[] {
  return TUNNEL_OPTIONS.map((option) => option.key);
}

/** `key=value,…` of what is given. */
export function formatOptions(options: GivenTunnelOptions): string {
  const items: string[] = [];
  for (const { key, print } of TUNNEL_OPTIONS) {
    const text = print(options);
    if (text !== undefined) items.push(`${key}=${text}`);
  }
  return items.join(",");
}

/** Options that were given over defaults; throws a UsageError where they do not go together. */
export function completeOptions(
  given: GivenTunnelOptions,
  defaults: TunnelOptions,
): TunnelOptions {
  const options = { ...defaults, ...given };
  if ((options.tlsCert === undefined) !== (options.tlsKey === undefined)) {
    const [has, lacks] = options.tlsKey === undefined
      ? ["tls-cert", "tls-key"]
      : ["tls-key", "tls-cert"];
    throw new UsageError(`${has} requires ${lacks}`);
  }
  if (options.remoteCa !== undefined && !options.remoteTls) {
    throw new UsageError("remote-ca requires remote-tls=true");
  }
  for (
    const [key, given] of [
      ["remote-tls-name", options.remoteTlsName !== undefined],
      ["remote-tls-pin", options.remoteTlsPin !== undefined],
      ["remote-tls-insecure", options.remoteTlsInsecure],
    ] as const
  ) {
    if (given && !options.remoteTls) {
      throw new UsageError(`${key} requires remote-tls=true`);
    }
  }
  return options;
}

/** Reads a strategy in any of its spellings. */
export function readStrategy(text: string): Strategy {
  const name = text.toLowerCase();
  const strategy = STRATEGIES.find((strategy) => strategy === name) ??
    (Object.hasOwn(STRATEGY_ALIASES, name)
      ? STRATEGY_ALIASES[name]
      : undefined);
  if (strategy) return strategy;
  throw new UsageError(
    `unknown strategy "${text}"; expected ${STRATEGIES.join(", ")}`,
  );
}

/**
 * Makes a reader of whole numbers, with the sign that Rust's parser allows. It
 * throws a UsageError for another text, and for more than `most`.
 */
export function readCount(most: number): (text: string) => number {
  return (text) => {
    if (/^\+?\d+$/.test(text) && Number(text) <= most) return Number(text);
    throw new UsageError(`"${text}" is not a whole number up to ${most}`);
  };
}

/**
 * Makes a reader of seconds that a timer can hold, in milliseconds. It throws a
 * UsageError for another text, and for 0 where that is not allowed.
 */
export function readDelay(zero: boolean): (text: string) => number {
  return (text) => {
    const seconds = /^\+?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)
      ? Number(text)
      : NaN;
    const ms = Math.round(seconds * 1000);
    if (ms >= (zero ? 0 : 1) && ms <= LONGEST_MS) return ms;
    throw new UsageError(
      `"${text}" is not a number of seconds from ${zero ? "0" : "0.001"} to ${
        Math.floor(LONGEST_MS / 1000)
      }`,
    );
  };
}

function readSwitch(text: string): boolean {
  if (text === "true" || text === "false") return text === "true";
  throw new UsageError(`expected true or false, not "${text}"`);
}

function readName(text: string): string {
  if (/^[A-Za-z0-9_.:-]+$/.test(text)) return text;
  throw new UsageError("a host name is required");
}

function readPin(text: string): string {
  if (/^[A-Za-z0-9+/]{43}=$/.test(text)) return text;
  throw new UsageError(
    "the base64 of a SHA-256 is required, 44 characters with the = at the end",
  );
}

function readFile(text: string): string {
  if (text !== "") return text;
  throw new UsageError("expected a file");
}
