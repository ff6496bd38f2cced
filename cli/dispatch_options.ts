/** Options that the dispatch roles share on the command line. */
import type { RecordOptions } from "../net/udp/sources/splitter.ts";
import type { EngineChoice } from "../net/engine/datagram.ts";
import { parseScaled } from "../net/observe/units.ts";
import { UsageError } from "../net/errors.ts";
import {
  choice,
  flag,
  integer,
  type Option,
  type OptionOptions,
  positiveSeconds,
  scaled,
  text,
  toggle,
  value,
} from "./command.ts";

const SOCKET: OptionOptions = { group: "Socket options" };

/** `--interface`. */
export const interfaceOption: Option<string | undefined> = value(
  "Interface to join groups on and to send to groups from, by name or address; " +
    "GROUP%NAME:PORT is for one group",
  "NAME|ADDR",
  text,
  SOCKET,
);

/** `--engine`. */
export const engineOption: Option<EngineChoice> = choice(
  "Which system calls move the datagrams",
  ["auto", "linux", "portable"],
  "auto",
  SOCKET,
);

/** `--rcvbuf`. */
export const rcvbufOption: Option<number | undefined> = value(
  "Bytes of the kernel's receive queue, such as 8M (linux engine)",
  "BYTES",
  scaled(1, 2 ** 31 - 1),
  SOCKET,
);

/** `--workers`. */
export const workersOption: Option<number> = value(
  "Threads for each unicast listener, senders spread over them (linux engine)",
  "N",
  integer(1, 64),
  { ...SOCKET, fallback: 1 },
);

/** `--ttl`. */
export const ttlOption: Option<number | undefined> = value(
  "Hops that a datagram may take; groups take 1 without it",
  "N",
  integer(0, 255),
  SOCKET,
);

/** `--loop`, `--no-loop`. */
export const loopOption: Option<boolean | undefined> = toggle(
  "Whether this machine hears what it sends to groups (yes without it)",
  SOCKET,
);

/** `--reuse-port`. */
export const reusePortOption: Option<boolean> = flag(
  "Share UDP listening ports with other programs that do (SO_REUSEADDR, SO_REUSEPORT)",
  SOCKET,
);

/** `--resolve-interval`. */
export const resolveIntervalOption: Option<number> = value(
  "Resolve names of UDP destinations again every SECONDS, and when sends fail",
  "SECONDS",
  positiveSeconds,
  { ...SOCKET, fallback: 30 },
);

/** `--ready-within`. */
export const readyWithinOption: Option<number | undefined> = value(
  "Answer 503 to /readyz while a UDP listener has received nothing for SECONDS",
  "SECONDS",
  positiveSeconds,
  SOCKET,
);

/** `--tee`. */
export const teeOption: Option<boolean> = flag(
  "Copy all data to stdout, and nothing else",
  {
    short: "t",
  },
);

/** `--datagram-size`. */
export const datagramSizeOption: Option<number | undefined> = value(
  "Payload of a full datagram in bytes; 1452 fits 1500-byte Ethernet with IPv6",
  "BYTES",
  datagramBytes,
  { defaultText: "1452" },
);

/** `--fill`, `--no-fill`. */
export const fillOption: Option<boolean | undefined> = toggle(
  "Fill every datagram to --datagram-size, so that records of that size stay whole (default for multiples of 188, MPEG-TS)",
);

/** `--fill-wait`. */
export const fillWaitOption: Option<number | undefined> = value(
  "How long a datagram waits to be filled before it is sent as it is",
  "MS",
  integer(1, 3_600_000),
  { defaultText: "100" },
);

/** `--idle-timeout`. */
export const idleTimeoutOption: Option<number | undefined> = value(
  "Close a TCP source that has sent nothing for so long; never without it",
  "SECONDS",
  positiveSeconds,
);

/** `--rate`. */
export const rateOption: Option<number | undefined> = value(
  "Bits per second at most, such as 500M; without it, as fast as the path takes it",
  "BITS",
  bitsPerSecond,
);

/**
 * Reads bits per second. Throws a UsageError for bytes, because `10MB` would be
 * eight times too slow, and outside of the range.
 */
export function bitsPerSecond(given: string): number {
  const bytes = /^(\d+(?:\.\d+)?)([kKMGT]?)(i?)B(?:\/s|ps)?$/.exec(
    given.trim(),
  );
  if (bytes) {
    const [, digits, prefix, binary] = bytes;
    throw new UsageError(
      `"${given}" is bytes, but a rate is in bits; use ${
        Number((Number(digits) * 8).toFixed(6))
      }${prefix}${binary}bit/s`,
    );
  }
  return scaled(1000, 1e12)(given);
}

/** What `--datagram-size`, `--lines`, `--fill` and `--fill-wait` say. */
export interface RecordFlags {
  /** Bytes of a datagram. */
  datagramSize: number | undefined;
  /** Whether a line is a datagram. */
  lines: boolean;
  /** Whether a datagram is sent only when it is full. */
  fill: boolean | undefined;
  /** Milliseconds to wait for a full datagram. */
  fillWait: number | undefined;
  /** Only of roles that have it. Default: none. */
  idleTimeout?: number | undefined;
}

/**
 * The library's options of them. Throws a UsageError where they are given and
 * no stream is read, so that none of them is ignored.
 *
 * @param requires The flag of such a stream, or undefined where there is one.
 */
export function recordOptions(
  flags: RecordFlags,
  requires?: string,
): RecordOptions {
  const { datagramSize, lines, fill, fillWait } = flags;
  const given: [string, boolean][] = [
    ["--datagram-size", datagramSize !== undefined],
    ["--lines", lines],
    ["--fill", fill !== undefined],
    ["--fill-wait", fillWait !== undefined],
    ["--idle-timeout", flags.idleTimeout !== undefined],
  ];
  const [name] = given.find(([, isGiven]) => isGiven) ?? [];
  if (name !== undefined && requires !== undefined) {
    throw new UsageError(
      `cannot use ${name} with UDP alone: datagrams are forwarded as they come; requires ${requires}`,
    );
  }
  if (lines && fill) {
    throw new UsageError(
      "cannot use --fill with --lines: records of one size have no line ends; leave one out",
    );
  }
  return { datagramBytes: datagramSize, lines, fill, fillWaitMs: fillWait };
}

/** `--lines`. */
export const linesOption: Option<boolean> = flag(
  "End datagrams at line ends wherever a line fits",
);

function datagramBytes(given: string): number {
  const bytes = parseScaled(given);
  if (bytes >= 1 && bytes <= 65507) return bytes;
  throw new UsageError(
    `"${given}" is not a size from 1 to 65507 bytes, the most that a UDP datagram carries`,
  );
}
