/** Options that the dispatch roles share. */
import { UsageError } from "../errors.ts";
import { MAX_DATAGRAM_BYTES } from "../engine/batch.ts";
import { chooseDatagramEngine } from "../engine/choose_datagram.ts";
import type { DatagramEngine, EngineChoice } from "../engine/datagram.ts";
import {
  type Address,
  formatAddress,
  isMulticast,
  isOfOneLink,
} from "../address.ts";
import { Log } from "../observe/log.ts";

/** Options of every dispatch role. */
export interface DispatchOptions {
  /** Which system calls move the datagrams. @default {"auto"} */
  engine?: EngineChoice | undefined;
  /** Name or address of the interface to join on and to send from. Default: the system's choice. */
  networkInterface?: string | undefined;
  /**
   * Hops that a datagram may take, 0 to 255. Default: the system's (1 for
   * groups). IP_MULTICAST_TTL and IP_TTL of ip(7).
   */
  ttl?: number | undefined;
  /**
   * Whether this machine hears what it sends to groups. Default: the system's
   * (yes). IP_MULTICAST_LOOP of ip(7).
   */
  loop?: boolean | undefined;
  /**
   * Bytes of the kernel's receive queue of each listener. Default: the
   * system's. SO_RCVBUF of socket(7).
   */
  receiveBufferBytes?: number | undefined;
  /**
   * Whether this thread may be held for moments, up to 4 ms at a time. Right
   * where the process does nothing else. A single listener holds it while it
   * waits for more (linux engine): a source that sends single datagrams then
   * costs less than half of the CPU time. A paced client holds it until the next
   * burst may go: above 50 Mbit/s it would turn the event loop until then, which
   * takes a whole core.
   * @default {false}
   */
  holdsThread?: boolean | undefined;
  /** How often names of destinations are resolved again, in milliseconds. @default {30000} */
  resolveIntervalMs?: number | undefined;
  /**
   * Silence of a listener after which the role is not ready, in milliseconds.
   * Default: a silent listener is ready.
   */
  readyWithinMs?: number | undefined;
  /**
   * Whether other programs may listen on the same addresses and ports
   * (SO_REUSEADDR and SO_REUSEPORT of socket(7)). Groups are always shared.
   * @default {false}
   */
  sharePort?: boolean | undefined;
  /** Copies all data to stdout. @default {false} */
  tee?: boolean | undefined;
  /** Where log lines go. Default: stderr. */
  log?: Log | undefined;
  /** Ends the role in order when it is aborted. Default: none. */
  signal?: AbortSignal | undefined;
}

/** Checks what no engine is needed for; throws a UsageError. */
export function checkDispatchOptions(options: DispatchOptions): void {
  const { ttl, receiveBufferBytes, resolveIntervalMs, readyWithinMs } = options;
  checkRange("resolveIntervalMs", resolveIntervalMs, 1, 2 ** 31 - 1);
  checkRange("readyWithinMs", readyWithinMs, 1, 2 ** 31 - 1);
  checkRange("ttl", ttl, 0, 255);
  checkRange("receiveBufferBytes", receiveBufferBytes, 1, 2 ** 31 - 1);
}

/**
 * The interface by which a destination is reached: the one asked for where it
 * is a group, or an address of the link that has no route of its own. Other
 * hosts are where the system's routes lead, whatever groups are joined on.
 */
export function sendingInterface(
  { hostname }: Address,
  networkInterface: string | undefined,
): string | undefined {
  return isMulticast(hostname) || hostname === "255.255.255.255" ||
      isOfOneLink(hostname)
    ? networkInterface
    : undefined;
}

/** Throws a UsageError where a whole number is out of its range. */
export function checkRange(
  name: string,
  value: number | undefined,
  least: number,
  most: number,
): void {
  if (value === undefined) return;
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw new UsageError(
    `Cannot use ${name} ${value}: a whole number from ${least} to ${most} is wanted`,
  );
}

/** Throws a UsageError where a size is none of a datagram. */
export function checkDatagramBytes(bytes: number | undefined): void {
  checkRange("datagramBytes", bytes, 1, MAX_DATAGRAM_BYTES);
}

/** Throws a UsageError where an address is no group. */
export function checkGroup(address: Address): void {
  if (isMulticast(address.hostname)) return;
  throw new UsageError(
    `Cannot use "${formatAddress(address)}" as a group: 224.0.0.0 to ` +
      `239.255.255.255 or an address from ff00::/8 is wanted`,
  );
}

/** The engine for a role's options, said in the log. */
export function chooseEngine(
  options: DispatchOptions,
  log: Log,
): DatagramEngine {
  const engine = chooseDatagramEngine(options.engine ?? "auto", {
    onWarning: (message) => log.warn(message),
  });
  log.debug("engine", { name: engine.name, over: engine.description });
  return engine;
}

/**
 * Throws a UsageError for what the engine never does, and for what can be no
 * interface's name, before anything is opened.
 */
export function checkEngine(
  engine: DatagramEngine,
  options: DispatchOptions & { workers?: number | undefined },
  { listen = [], to = [], streams = [] }: {
    listen?: readonly Address[];
    to?: readonly Address[];
    /** Addresses of TCP. */
    streams?: readonly Address[];
  },
): void {
  const { networkInterface, receiveBufferBytes, ttl, workers = 1 } = options;
  if (networkInterface !== undefined) engine.checkInterface(networkInterface);
  for (const address of [...listen, ...to, ...streams]) {
    checkZone(engine, address);
  }
  for (const address of listen) {
    engine.checkListen({
      address,
      networkInterface,
      receiveBufferBytes,
      reusePort: workers > 1,
      sharePort: options.sharePort,
    });
  }
  for (const address of to) engine.checkConnect({ address, ttl });
}

function checkZone(engine: DatagramEngine, address: Address): void {
  if (address.zone === undefined) return;
  try {
    engine.checkInterface(address.zone);
  } catch (cause) {
    throw new UsageError(
      `Cannot use "${formatAddress(address)}": ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** The log of a role's options. */
export function logOf(options: DispatchOptions): Log {
  return options.log ?? new Log();
}
