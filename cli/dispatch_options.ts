/** Options that the dispatch roles share on the command line. */
import type { EngineChoice } from "../net/engine/engine.ts";
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
export const datagramSizeOption: Option<number> = value(
  "Payload of a full datagram in bytes; 1452 fits 1500-byte Ethernet with IPv6",
  "BYTES",
  datagramBytes,
  { fallback: 1452 },
);

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
