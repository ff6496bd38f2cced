/**
 * One attempt to reach a remote, from its name to a socket that is connected:
 *
 * 1. dial: a literal address is connected to at once,
 * 2. resolve: a name is resolved by the thread that owns the reactor,
 * 3. race: its addresses join in one after the other (RFC 8305), each as a
 *    connection with a number of its own,
 * 4. happened: the first that connects wins, and the others end,
 * 5. fail and give up: all that is under way ends.
 *
 * Which attempts are made, and what follows, is the reactor's. Functions stand
 * in that order. Nothing is allocated for a connect to a literal address.
 */
import { isIpv6 } from "../../../address.ts";
import type { DialFailure } from "../../stream.ts";
import {
  AF_INET,
  AF_INET6,
  EINPROGRESS,
  EINTR,
  EPOLLERR,
  EPOLLHUP,
  EPOLLOUT,
  ETIMEDOUT,
} from "../ffi/constants.ts";
import type { Epoll } from "../ffi/epoll.ts";
import { SystemCallError } from "../ffi/errno.ts";
import type { Libc } from "../ffi/libc.ts";
import { encodeSockaddr, SOCKADDR_BYTES } from "../ffi/sockaddr.ts";
import type { StreamCalls } from "../ffi/stream.ts";
import { findLinuxInterface } from "../interfaces.ts";
import { type ConnectionTable, EDGES, State } from "./connection_table.ts";
import { dialFailure } from "./dial_failure.ts";
import type { ReactorOrder, ReactorReport } from "./orders.ts";
import type { Remote } from "./service.ts";

/** An address that has not answered by then is joined by the next (RFC 8305, section 5). */
const RACE_MS = 250;

/** How an attempt stands. */
export const Attempt = {
  /** An event, an answer or a deadline will tell. */
  underWay: 0,
  connected: 1,
  /** {@linkcode Dialer.failure} says why. */
  failed: 2,
} as const;

/** Makes attempts for the connections of a table. */
export class Dialer {
  /** Why the last attempt that failed did. */
  failure: DialFailure = "other";
  /** The same as text. */
  detail = "";
  /** The same as errno, where a call failed. */
  errno = 0;
  readonly #libc: Libc;
  readonly #calls: StreamCalls;
  readonly #epoll: Epoll;
  readonly #table: ConnectionTable;
  readonly #report: (report: ReactorReport) => void;
  /** Connections that dial, by the number of their open question. */
  readonly #lookups = new Map<number, number>();
  #nextLookup = 1;

  constructor(
    libc: Libc,
    calls: StreamCalls,
    epoll: Epoll,
    table: ConnectionTable,
    report: (report: ReactorReport) => void,
  ) {
    this.#libc = libc;
    this.#calls = calls;
    this.#epoll = epoll;
    this.#table = table;
    this.#report = report;
  }

  /** Begins an attempt; an {@linkcode Attempt}, as all that follow give. */
  dial(c: number, remote: Remote, nowMs: number): number {
    const table = this.#table;
    table.remote[c] = remote;
    table.attemptMs[c] = nowMs;
    if (remote.sockaddr) return this.#connectAlone(c, remote.sockaddr);
    const { hostname, port, zone } = remote.address;
    if (zone === undefined) return this.#resolve(c, hostname);
    let scopeId: number;
    try {
      scopeId = findLinuxInterface(this.#libc, zone).index;
    } catch (error) {
      return this.#fail(c, "resolve", (error as Error).message);
    }
    return this.#connectAlone(c, encodeSockaddr(hostname, port, scopeId));
  }

  #connectAlone(c: number, address: Uint8Array<ArrayBuffer>): number {
    const errno = this.#connect(c, address);
    return errno === 0 ? Attempt.underWay : this.#connectFailed(c, errno);
  }

  /** Begins a connect; 0, or the errno with which it has failed at once. */
  #connect(c: number, address: Uint8Array<ArrayBuffer>): number {
    const table = this.#table;
    const calls = this.#calls;
    const family = address.length === SOCKADDR_BYTES ? AF_INET6 : AF_INET;
    const fd = calls.open(family, table.service[c]!.keepAlive);
    if (fd < 0) return calls.errno();
    let errno = 0;
    if (calls.connect(fd, address) < 0) errno = calls.errno();
    // An interrupted connect goes on as one in progress (connect(2)).
    if (errno === EINPROGRESS || errno === EINTR) errno = 0;
    if (errno === 0) errno = this.#epoll.add(fd, EDGES, 2 * c + 1);
    if (errno !== 0) {
      calls.close(fd);
      return errno;
    }
    table.fd[2 * c + 1] = fd;
    table.bits[2 * c + 1] = 0;
    table.state[c] = State.connecting;
    return 0;
  }

  #resolve(c: number, hostname: string): number {
    const lookup = this.#nextLookup++;
    this.#table.dialOf(c).lookup = lookup;
    this.#lookups.set(lookup, c);
    this.#table.state[c] = State.resolving;
    this.#report({ kind: "lookup", lookup, hostname });
    return Attempt.underWay;
  }

  /** The connection that waits for an answer; undefined where its dial was given up. */
  askerOf(lookup: number): number | undefined {
    return this.#lookups.get(lookup);
  }

  /** The owner has resolved the name that `c` waits for. */
  resolved(
    c: number,
    { lookup, hostnames, detail }: Extract<ReactorOrder, { kind: "resolved" }>,
    nowMs: number,
  ): number {
    const table = this.#table;
    const dial = table.dialOf(c);
    this.#lookups.delete(lookup);
    dial.lookup = 0;
    if (hostnames.length === 0) return this.#fail(c, "resolve", detail);
    const { port } = table.remote[c]!.address;
    dial.addresses = inTurn(hostnames).map((host) =>
      encodeSockaddr(host, port)
    );
    table.state[c] = State.racing;
    return this.race(c, nowMs);
  }

  /** Has the next address join in; fails where there is none and none is under way. */
  race(c: number, nowMs: number): number {
    const table = this.#table;
    const dial = table.dial[c]!;
    while (dial.addresses.length > 0) {
      const address = dial.addresses.shift()!;
      const racer = table.take(table.service[c]!, nowMs);
      table.dialOf(racer).parent = c;
      const errno = this.#connect(racer, address);
      if (errno === 0) {
        dial.racers.push(racer);
        break;
      }
      dial.errno = errno;
      table.free(racer);
    }
    if (dial.racers.length === 0) return this.#connectFailed(c, dial.errno);
    dial.raceAtMs = dial.addresses.length > 0 ? nowMs + RACE_MS : Infinity;
    return Attempt.underWay;
  }

  /** The connection whose attempt a connect belongs to: itself, or the one it races for. */
  attemptOf(c: number): number {
    const parent = this.#table.dial[c]?.parent ?? -1;
    return parent >= 0 ? parent : c;
  }

  /** Something happened on a socket that connects: how {@linkcode attemptOf} stands. */
  happened(c: number, events: number, nowMs: number): number {
    const table = this.#table;
    if (table.state[c] !== State.connecting) return Attempt.underWay;
    let errno = 0;
    if (events & (EPOLLERR | EPOLLHUP)) {
      errno = this.#calls.takeError(table.fd[2 * c + 1]!);
    } else if (!(events & EPOLLOUT)) return Attempt.underWay;
    const parent = this.attemptOf(c);
    if (parent !== c) return this.#racerEnded(c, parent, errno, nowMs);
    return errno === 0 ? Attempt.connected : this.#connectFailed(c, errno);
  }

  #racerEnded(racer: number, c: number, errno: number, nowMs: number): number {
    const table = this.#table;
    const dial = table.dial[c]!;
    dial.racers.splice(dial.racers.indexOf(racer), 1);
    if (errno === 0) {
      // The socket goes over to the connection that it was opened for.
      const fd = table.fd[2 * racer + 1]!;
      errno = this.#epoll.modify(fd, EDGES, 2 * c + 1);
      if (errno === 0) {
        table.fd[2 * c + 1] = fd;
        table.bits[2 * c + 1] = table.bits[2 * racer + 1]!;
        table.fd[2 * racer + 1] = -1;
        this.#freeRacer(racer);
        this.giveUp(c);
        return Attempt.connected;
      }
    }
    dial.errno = errno;
    this.#freeRacer(racer);
    return this.race(c, nowMs);
  }

  /** The time for an attempt is over. */
  timedOut(c: number): number {
    const { connectTimeoutMs } = this.#table.service[c]!.deadlines;
    return this.#fail(
      c,
      dialFailure(ETIMEDOUT),
      `no connection in ${connectTimeoutMs} ms`,
    );
  }

  #connectFailed(c: number, errno: number): number {
    const { message } = new SystemCallError("connect", errno);
    this.#fail(c, dialFailure(errno), message);
    this.errno = errno;
    return Attempt.failed;
  }

  #fail(c: number, failure: DialFailure, detail: string): number {
    this.giveUp(c);
    this.#closeSocket(c);
    this.#table.state[c] = State.pausing;
    this.failure = failure;
    this.detail = detail;
    this.errno = 0;
    return Attempt.failed;
  }

  /** Ends what is under way of an attempt, but for a socket of its own side. */
  giveUp(c: number): void {
    const dial = this.#table.dial[c];
    if (!dial) return;
    if (dial.lookup !== 0) this.#lookups.delete(dial.lookup);
    dial.lookup = 0;
    dial.addresses.length = 0;
    dial.raceAtMs = Infinity;
    for (const racer of dial.racers) this.#freeRacer(racer);
    dial.racers.length = 0;
  }

  #freeRacer(racer: number): void {
    this.#closeSocket(racer);
    this.#table.free(racer);
  }

  #closeSocket(c: number): void {
    const { fd } = this.#table;
    if (fd[2 * c + 1]! >= 0) this.#calls.close(fd[2 * c + 1]!);
    fd[2 * c + 1] = -1;
  }
}

/** Addresses of the two families in turn, beginning with that of the first (RFC 8305, section 4). */
function inTurn(hostnames: readonly string[]): string[] {
  const first = hostnames.filter((host) =>
    isIpv6(host) === isIpv6(hostnames[0]!)
  );
  const second = hostnames.filter((host) => !first.includes(host));
  const ordered: string[] = [];
  for (let i = 0; i < Math.max(first.length, second.length); i++) {
    if (i < first.length) ordered.push(first[i]!);
    if (i < second.length) ordered.push(second[i]!);
  }
  return ordered;
}
