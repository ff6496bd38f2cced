/**
 * How much a reactor does at most before it sees an order, with a kernel that
 * never tires: every socket always has bytes and room, and clients never end.
 * A promise of 50 ms is a promise of so many calls and bytes; how long they
 * take on a machine is measured by tests/soak/control_latency.ts.
 */
import { assert, assertEquals } from "@std/assert";
import { linuxEngineUnavailable } from "../../../../../net/engine/linux/datagram/engine.ts";
import {
  EAGAIN,
  EINPROGRESS,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLLIN,
  EPOLLOUT,
} from "../../../../../net/engine/linux/ffi/constants.ts";
import { encodeSockaddr } from "../../../../../net/engine/linux/ffi/sockaddr.ts";
import { EPOLL_EVENT } from "../../../../../net/engine/linux/ffi/structs.ts";
import type {
  ReactorOrder,
  ReactorReport,
} from "../../../../../net/engine/linux/stream/orders.ts";
import { Reactor } from "../../../../../net/engine/linux/stream/reactor.ts";
import { DEFAULT_SPLICING } from "../../../../../net/engine/linux/stream/splicing.ts";
import type { ConnectionInfo } from "../../../../../net/engine/stream.ts";
import { createPolicy } from "../../../../../net/engine/balancing/policies.ts";
import { FaultyLibc } from "../../../../support/faulty_libc.ts";
import { openOrder, remoteShare } from "../../../../support/reactor_orders.ts";
import { testUnless } from "../../../../support/skip.ts";

/**
 * System calls between an order and the look that finds it: both directions of
 * a connection have a turn each (16 rounds of recv and send, a pipe, 16 rounds
 * of splice), or one client is accepted and dialled for.
 */
const MOST_CALLS = 140;

/**
 * Bytes in the same time: two turns of 4 MiB, each with a pipe's 1 MiB more at
 * the end. At the 1.2 GB/s that a core moves under load this is 9 ms.
 */
const MOST_BYTES = 2 * (4 + 1) * 2 ** 20;

const CLIENTS = 1200;

/** Descriptors of the tireless kernel; those below are real. */
const FIRST_DESCRIPTOR = 1_000_000;
const WAKE = FIRST_DESCRIPTOR;
const LISTENER = FIRST_DESCRIPTOR + 1;

/** A kernel in which all is always ready, and an owner who gives an order after so many calls. */
class TirelessKernel {
  readonly libc = new FaultyLibc();
  /** Calls and bytes read so far. */
  calls = 0;
  bytes = 0;
  /** After which call an order waits. */
  orderAt = Infinity;
  /** What it found then. */
  seen = { calls: 0, bytes: 0 };
  /** Clients that have come. */
  clients = 0;
  /** Milliseconds of the clock that the reactor reads: a tick per call. */
  get nowMs(): number {
    return this.calls / 100;
  }
  /** Tokens of descriptors that are waited for. */
  readonly #watched = new Map<number, number>();
  #nextDescriptor = LISTENER + 1;
  #turn = 0;

  constructor() {
    const { size, at } = EPOLL_EVENT[Deno.build.arch]!;
    const { libc } = this;
    const called = () => {
      this.calls++;
      if (this.calls === this.orderAt) {
        this.seen = { calls: this.calls, bytes: this.bytes };
      }
    };
    const opened = () => this.#nextDescriptor++;
    const passed = (bytes: bigint) => {
      called();
      return Number(bytes);
    };
    libc.put("epoll_ctl", (_, _epoll, operation, fd, event) => {
      called();
      const words = new DataView((event as Int32Array).buffer);
      if (operation === EPOLL_CTL_ADD) {
        this.#watched.set(fd, words.getInt32(at.data!, true));
      } else if (operation === EPOLL_CTL_DEL) this.#watched.delete(fd);
      return 0;
    });
    libc.put("epoll_wait", (_, _epoll, events, most) => {
      called();
      const words = new DataView((events as Int32Array).buffer);
      const all = [...this.#watched].filter(([fd]) => fd !== WAKE);
      const count = Math.min(most, all.length);
      // Those that were not told come first the next time.
      for (let i = 0; i < count; i++) {
        const [, token] = all[(this.#turn + i) % all.length]!;
        words.setInt32(i * size, EPOLLIN | EPOLLOUT, true);
        words.setInt32(i * size + at.data!, token, true);
      }
      this.#turn += count;
      return count;
    });
    libc.put("accept4", (_, _fd, address) => {
      called();
      if (this.clients === CLIENTS) return libc.fail(EAGAIN);
      this.clients++;
      (address as Uint8Array).set(encodeSockaddr("127.0.0.1", 1));
      return opened();
    });
    libc.put("socket", () => {
      called();
      return opened();
    });
    libc.put("connect", () => {
      called();
      return libc.fail(EINPROGRESS);
    });
    libc.put("recvPart", (_, _fd, _buffer, bytes) => {
      this.bytes += Number(bytes);
      return passed(bytes);
    });
    libc.put("sendPart", (_, _fd, _buffer, bytes) => passed(bytes));
    libc.put("splice", (_, from, _fromAt, _to, _toAt, bytes) => {
      // From a socket; what leaves a pipe was counted.
      if (this.#watched.has(from)) this.bytes += Number(bytes);
      return passed(bytes);
    });
    libc.put("pipe2", (_, ends) => {
      called();
      (ends as Int32Array).set([opened(), opened()]);
      return 0;
    });
    libc.put("fcntl", (_, _fd, _command, value) => {
      called();
      return value;
    });
    libc.put("setsockopt", () => {
      called();
      return 0;
    });
    libc.put("close", (real, fd) => {
      called();
      this.#watched.delete(fd);
      // The reactor's epoll is a real one.
      return fd < FIRST_DESCRIPTOR ? real(fd) : 0;
    });
  }

  /** Sockets that are waited for. */
  get watching(): number {
    return [...this.#watched.keys()].filter((fd) => fd !== WAKE).length;
  }

  get orderWaits(): boolean {
    return this.calls >= this.orderAt;
  }
}

/** A reactor over such a kernel, and what was worst. */
class Watched implements Disposable {
  readonly kernel = new TirelessKernel();
  readonly reactor: Reactor;
  /** The most that came between an order and the look that found it. */
  readonly worst = { calls: 0, bytes: 0 };
  readonly #reports: ReactorReport[] = [];
  #request = 0;

  constructor() {
    this.reactor = new Reactor({
      libc: this.kernel.libc,
      createPolicy,
      reactor: 0,
      reactors: 1,
      splicing: DEFAULT_SPLICING,
      wakeDescriptor: WAKE,
      report: (report) => this.#reports.push(report),
      clock: () => this.kernel.nowMs,
      ordersWait: () => this.kernel.orderWaits,
    });
  }

  /** Gives an order after so many more calls of a busy reactor; its answer. */
  order(
    afterCalls: number,
    order: (request: number) => ReactorOrder,
  ): ConnectionInfo[] | number {
    const { kernel, worst } = this;
    kernel.orderAt = kernel.calls + afterCalls;
    while (!kernel.orderWaits) {
      const told = this.reactor.turn(-1);
      assertEquals(told, kernel.orderWaits, "an order was passed over");
    }
    const calls = kernel.calls - kernel.seen.calls;
    const bytes = kernel.bytes - kernel.seen.bytes;
    worst.calls = Math.max(worst.calls, calls);
    worst.bytes = Math.max(worst.bytes, bytes);
    kernel.orderAt = Infinity;
    const request = ++this.#request;
    assert(this.reactor.obey(order(request)));
    const answer = this.answer(request);
    assert(answer !== undefined, "an order was not answered");
    return answer;
  }

  /** What a request was answered, if it was. */
  answer(request: number): ConnectionInfo[] | number | undefined {
    const answer = this.#reports.find((report) =>
      report.kind === "answer" && report.request === request
    );
    return answer?.kind === "answer" ? answer.value : undefined;
  }

  [Symbol.dispose](): void {
    this.reactor[Symbol.dispose]();
    this.kernel.libc[Symbol.dispose]();
  }
}

const remotes = [1, 2].map((id) => remoteShare(id, "127.0.0.1", id));

function opening(service: number, listener: number) {
  return (request: number): ReactorOrder =>
    openOrder({ request, service, listener, remotes: remotes.slice(0, 1) });
}

testUnless(
  linuxEngineUnavailable(),
  "Reactor sees an order after a bounded piece of work, however busy it is",
  () => {
    using watched = new Watched();
    const { kernel, worst } = watched;
    assertEquals(watched.reactor.obey(opening(1, LISTENER)(0)), true);
    const list = (request: number): ReactorOrder => ({
      kind: "connections",
      request,
      service: 1,
    });
    let most = 0;
    // Steps that share no factor with a piece's calls, so that all parts of it are hit.
    for (let i = 0; i < 3000; i++) {
      const found = watched.order(1 + (i * 37) % 211, list);
      most = Math.max(most, (found as ConnectionInfo[]).length);
    }
    assert(most > 100, `${most} connections`);
    assert(kernel.libc.calls.get("splice")! > most);
    assert(worst.calls <= MOST_CALLS, `${worst.calls} calls`);
    assert(worst.bytes <= MOST_BYTES, `${worst.bytes} bytes`);
  },
);

testUnless(
  linuxEngineUnavailable(),
  "Reactor obeys each kind of order while all its sockets are ready",
  () => {
    using watched = new Watched();
    const { worst } = watched;
    assertEquals(watched.reactor.obey(opening(1, LISTENER)(0)), true);
    const list = (service: number, afterCalls = 500) =>
      watched.order(
        afterCalls,
        (request) => ({ kind: "connections", request, service }),
      ) as ConnectionInfo[];
    // By then all have come, and bulk is spliced.
    const first = list(1, 2_000_000);
    assertEquals(first.length, CLIENTS);
    watched.order(500, opening(2, LISTENER + 500_000));
    const change = { remotes: [] };
    watched.order(500, (request) => ({
      kind: "update",
      request,
      service: 1,
      change,
      remotes,
    }));
    const filter = { connection: first[0]!.id };
    const abort = (request: number): ReactorOrder => ({
      kind: "abort",
      request,
      service: 1,
      filter,
    });
    assertEquals(watched.order(500, abort), 1);
    assertEquals(watched.order(500, abort), 0);
    for (const kind of ["stop-accepting", "close"] as const) {
      watched.order(500, (request) => ({ kind, request, service: 2 }));
    }
    assertEquals(list(1).length, CLIENTS - 1);
    assertEquals(list(2), []);
    // All their lifetimes end at once.
    watched.order(500, (request) => ({
      kind: "update",
      request,
      service: 1,
      change: { deadlines: { lifetimeMs: 1 } },
    }));
    let left = CLIENTS;
    for (let i = 0; left > 0 && i < 2000; i++) left = list(1, 37 * i).length;
    assertEquals(left, 0);
    assert(worst.calls <= MOST_CALLS, `${worst.calls} calls`);
    assert(worst.bytes <= MOST_BYTES, `${worst.bytes} bytes`);
  },
);

testUnless(
  linuxEngineUnavailable(),
  "Reactor ends a crowd piece by piece, and obeys other orders in between",
  () => {
    using watched = new Watched();
    const { kernel, reactor } = watched;
    assertEquals(reactor.obey(opening(1, LISTENER)(0)), true);
    const list = (request: number): ReactorOrder => ({
      kind: "connections",
      request,
      service: 1,
    });
    const left = (afterCalls: number) =>
      (watched.order(afterCalls, list) as ConnectionInfo[]).length;
    assertEquals(left(2_000_000), CLIENTS);
    const before = kernel.calls;
    reactor.obey({ kind: "close", request: -1, service: 1 });
    // Two sockets and two pipes of each of 256 connections, and the listener.
    assert(kernel.calls - before <= 6 * 256 + 1, `${kernel.calls - before}`);
    assertEquals(watched.answer(-1), undefined);
    assertEquals(left(1), CLIENTS - 2 * 256);
    for (let i = 0; i < 10 && watched.answer(-1) === undefined; i++) {
      reactor.turn(0);
    }
    assertEquals(watched.answer(-1), 0);
    // Nobody serves them any more, and none is left open.
    assertEquals(watched.order(1, list), []);
    assertEquals(kernel.watching, 0);
  },
);
