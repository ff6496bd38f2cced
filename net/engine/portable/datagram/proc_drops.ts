/**
 * What Linux tells of a UDP socket without any call on it: the `drops` column
 * of /proc/net/udp and udp6, exact for each socket (proc(5); it is sk_drops, as
 * SO_MEMINFO and SO_RXQ_OVFL tell it). Neither of the portable engine's sockets
 * shows its descriptor, so the row is found by port among the sockets that this
 * process has opened meanwhile. Reading it takes all of the system's sockets in,
 * so it is done once a second at most.
 */
import { WrappingCount } from "../../drops.ts";

const TABLES = ["/proc/net/udp", "/proc/net/udp6"];

/** How old an answer may be, in milliseconds. */
const FRESH_MS = 1000;

/** A socket of a table. */
export interface UdpRow {
  /** The local port. */
  port: number;
  /** Bytes in the receive queue. */
  queuedBytes: number;
  /** The socket's number, which no other socket has. */
  inode: string;
  /** Datagrams dropped so far, modulo 2^32. */
  drops: number;
}

/** The rows of /proc/net/udp or udp6; those that look different are left out. */
export function parseUdpTable(text: string): UdpRow[] {
  const rows: UdpRow[] = [];
  for (const line of text.split("\n")) {
    // sl local remote st tx:rx tr:when retrnsmt uid timeout inode ref pointer drops
    const fields = line.trim().split(/\s+/);
    if (fields.length < 13 || !fields[0]!.endsWith(":")) continue;
    const port = parseInt(fields[1]!.split(":")[1] ?? "", 16);
    const queuedBytes = parseInt(fields[4]!.split(":")[1] ?? "", 16);
    const drops = Number(fields[12]);
    if (![port, queuedBytes, drops].every(Number.isInteger)) continue;
    rows.push({ port, queuedBytes, inode: fields[9]!, drops });
  }
  return rows;
}

/** The inodes of this process's sockets, or undefined where nobody tells. Never prompts. */
export function ownSockets(): ReadonlySet<string> | undefined {
  if (Deno.build.os !== "linux") return undefined;
  const { state } = Deno.permissions.querySync({ name: "read", path: "/proc" });
  if (state !== "granted") return undefined;
  const inodes = new Set<string>();
  try {
    for (const { name } of Deno.readDirSync("/proc/self/fd")) {
      const inode = socketInode(name);
      if (inode !== undefined) inodes.add(inode);
    }
  } catch {
    return undefined;
  }
  return inodes;
}

function socketInode(descriptor: string): string | undefined {
  try {
    const target = Deno.readLinkSync(`/proc/self/fd/${descriptor}`);
    return /^socket:\[(\d+)\]$/.exec(target)?.[1];
  } catch (error) {
    // It was closed since the folder was read.
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Drops of one socket of this process. */
export class ProcDrops {
  readonly #table: string;
  readonly #inode: string;
  readonly #total = new WrappingCount();
  #readMs = -Infinity;
  #queuedBytes = 0;

  private constructor(table: string, inode: string) {
    this.#table = table;
    this.#inode = inode;
  }

  /**
   * Those of the socket that has a port and is none of `before`; undefined
   * where there is no such socket, or more than one, or nobody tells.
   */
  static find(
    port: number,
    before: ReadonlySet<string> | undefined,
  ): ProcDrops | undefined {
    const own = before && ownSockets();
    if (own === undefined) return undefined;
    const found: ProcDrops[] = [];
    for (const table of TABLES) {
      // A system without IPv6 has one table.
      for (const row of readTable(table) ?? []) {
        if (row.port !== port || !own.has(row.inode)) continue;
        if (!before!.has(row.inode)) {
          found.push(new ProcDrops(table, row.inode));
        }
      }
    }
    return found.length === 1 ? found[0] : undefined;
  }

  /** Datagrams dropped, as of the last second. */
  count(): number {
    // Asked for with every datagram; performance.now() takes twice as long.
    const nowMs = Date.now();
    // The clock may be set back.
    if (Math.abs(nowMs - this.#readMs) >= FRESH_MS) {
      this.#readMs = nowMs;
      this.#read();
    }
    return this.#total.total;
  }

  /** Takes the last count, before the socket closes; whether nothing is left unread. */
  close(): boolean {
    const told = this.#read();
    // Nothing is a second older than this: it is not read again.
    this.#readMs = NaN;
    return told && this.#queuedBytes === 0;
  }

  #read(): boolean {
    const row = readTable(this.#table)?.find(({ inode }) =>
      inode === this.#inode
    );
    if (row === undefined) return false;
    this.#total.set(row.drops);
    this.#queuedBytes = row.queuedBytes;
    return true;
  }
}

function readTable(path: string): UdpRow[] | undefined {
  try {
    return parseUdpTable(Deno.readTextFileSync(path));
  } catch {
    return undefined;
  }
}
