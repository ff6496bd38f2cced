/**
 * The reactor: all connections of a thread, from accept to end, on one epoll.
 * A turn:
 *
 * 1. wait for events, for the nearest deadline or for the wake event,
 * 2. accept: clients in bursts; the limit and the policy,
 * 3. reach: choose a remote and dial it, again while the policy names another;
 *    a name is resolved by the thread that owns the reactor, and its addresses
 *    race (RFC 8305),
 * 4. pipe: `direction.ts` moves the bytes; half-close each way,
 * 5. end: counted, told and given back;
 * 6. deadlines, from one wheel,
 * 7. probe: remotes that the policy wants dialled to see whether they live,
 * 8. tell: `teller.ts` gathers events and gives them to the owner,
 * 9. orders of the owner.
 *
 * Orders wait for one piece of work at the most: an event of a side, a client,
 * a direction's turn, a deadline. After each a turn looks whether there are
 * some, which is a read of shared memory, and ends there; the next one goes on
 * with what it has left. An order that ends a crowd does so piece by piece.
 *
 * Functions stand in that order. Nothing is allocated per connection that goes
 * to a literal address at the first attempt, and nothing per read.
 */
import { isIpv6 } from "../../../address.ts";
import {
  type ConnectionInfo,
  type CreatePolicy,
  DIAL_FAILURES,
  type DialFailure,
  END_REASONS,
  type EndReason,
  NO_REMOTE,
  REJECT_REASONS,
  type RejectReason,
} from "../../stream.ts";
import {
  CONNECT_BUCKETS_MS,
  countInBucket,
  DURATION_BUCKETS_MS,
  ForwardSlot,
  RemoteSlot,
} from "../../stream_counters.ts";
import {
  AF_INET,
  AF_INET6,
  EAGAIN,
  ECONNABORTED,
  EINPROGRESS,
  EINTR,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  ETIMEDOUT,
} from "../ffi/constants.ts";
import { Epoll } from "../ffi/epoll.ts";
import { SystemCallError } from "../ffi/errno.ts";
import type { Libc } from "../ffi/libc.ts";
import {
  decodeSockaddr,
  encodeSockaddr,
  SOCKADDR_BYTES,
} from "../ffi/sockaddr.ts";
import { clearEvent } from "../ffi/socket.ts";
import { StreamCalls } from "../ffi/stream.ts";
import { findLinuxInterface } from "../interfaces.ts";
import { ConnectionTable, type Dial, Side, State } from "./connection_table.ts";
import { dialFailure } from "./dial_failure.ts";
import { DirectionMover, Turn } from "./direction.ts";
import {
  type ReactorOrder,
  type ReactorReport,
  type RemoteShare,
  SharedSlot,
} from "./orders.ts";
import { PipePool } from "./pipe_pool.ts";
import { Remote, Service } from "./service.ts";
import { Spin, SPIN_MS } from "./spin.ts";
import type { Splicing } from "./splicing.ts";
import { Teller } from "./teller.ts";
import { TimerWheel } from "./timer_wheel.ts";

/** Events of one wait. */
const WAIT_EVENTS = 512;

/** Clients accepted in one go, so that those who talk wait for no crowd. */
const ACCEPT_BURST = 64;

/** Pause after an accept for which resources were wanting: it doubles from the first to the second. */
const PAUSE_MS = 10;
const MAX_PAUSE_MS = 1000;

/** An address that has not answered by then is joined by the next (RFC 8305, section 5). */
const RACE_MS = 250;

/**
 * Connections that an order ends in one go, so that the next order waits for no
 * crowd: each takes some 25 µs.
 */
const ENDED_AT_ONCE = 256;

/** Tokens: the wake event's, and a listener's less the number of its service. Sides are from 0 on. */
const WAKE = -1;
const LISTENER = -2;

/** What is waited for on a connection, as edges. */
const EDGES = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET;

const NOTHING_TRIED: readonly number[] = [];

/** An order that ends connections, done piece by piece. */
interface Ending {
  readonly service: Service;
  /** Ends a connection where it is meant; whether it did. */
  readonly visit: (c: number) => boolean;
  /** Told when all were visited: how many were ended. */
  readonly done: (ended: number) => void;
  /** The next one to visit. */
  next: number;
  ended: number;
}

/** What a reactor is made of. */
export interface ReactorOptions {
  libc: Libc;
  createPolicy: CreatePolicy;
  /** Its number, and how many share each forwarder. */
  reactor: number;
  reactors: number;
  splicing: Splicing;
  /** Ends a wait. */
  wakeDescriptor: number;
  /** Takes what it has to say. */
  report: (report: ReactorReport) => void;
  /** Milliseconds of a clock that never goes back. */
  clock: () => number;
  /** Whether orders wait. Asked after each piece of work, so it must cost next to nothing. */
  ordersWait: () => boolean;
}

/** Serves forwarders in the thread that calls {@linkcode Reactor.turn}. */
export class Reactor implements Disposable {
  readonly #libc: Libc;
  readonly #calls: StreamCalls;
  readonly #epoll: Epoll;
  readonly #spin = new Spin();
  readonly #createPolicy: CreatePolicy;
  readonly #reactor: number;
  readonly #reactors: number;
  readonly #wakeDescriptor: number;
  readonly #report: (report: ReactorReport) => void;
  readonly #clock: () => number;
  readonly #ordersWait: () => boolean;

  readonly #wheel: TimerWheel;
  readonly #table: ConnectionTable;
  readonly #pipes: PipePool;
  readonly #mover: DirectionMover;
  readonly #teller: Teller;
  readonly #services = new Map<number, Service>();
  /** Connections that dial, by the number of their open question. */
  readonly #lookups = new Map<number, number>();
  #nextLookup = 1;
  /** Events of the last wait, and how many of them were taken. */
  #count = 0;
  #taken = 0;
  /** Directions that had more than one turn's worth. */
  readonly #ready: number[] = [];
  /** What orders have left to end. */
  readonly #endings: Ending[] = [];
  #nowMs: number;
  #probeDueMs = Infinity;
  #resumeMs = Infinity;
  readonly #expired = (c: number) => this.#timeIsUp(c);

  constructor(options: ReactorOptions) {
    this.#libc = options.libc;
    this.#createPolicy = options.createPolicy;
    this.#reactor = options.reactor;
    this.#reactors = options.reactors;
    this.#wakeDescriptor = options.wakeDescriptor;
    this.#report = options.report;
    this.#clock = options.clock;
    this.#ordersWait = options.ordersWait;
    this.#nowMs = options.clock();
    this.#calls = new StreamCalls(options.libc);
    this.#wheel = new TimerWheel(this.#nowMs);
    this.#table = new ConnectionTable((capacity) => this.#wheel.grow(capacity));
    this.#pipes = new PipePool(this.#calls, options.splicing.pipeBytes);
    this.#mover = new DirectionMover(
      this.#calls,
      this.#table,
      this.#pipes,
      options.splicing,
    );
    this.#teller = new Teller(options.libc, this.#table, options.report);
    this.#epoll = new Epoll(options.libc, WAIT_EVENTS);
    const errno = this.#epoll.add(this.#wakeDescriptor, EPOLLIN, WAKE);
    if (errno !== 0) throw new SystemCallError("epoll_ctl", errno);
  }

  // ---- 1. a turn

  /**
   * Waits and does what is to be done; true where orders wait or the wake event
   * was set. What it leaves undone then, the next turn does first.
   */
  turn(longestWaitMs: number): boolean {
    if (this.#endings.length > 0) {
      this.#nowMs = this.#clock();
      this.#endSome();
    }
    if (this.#taken === this.#count) {
      this.#count = this.#wait(this.#waitMs(longestWaitMs));
      this.#taken = 0;
    }
    this.#nowMs = this.#clock();
    let woken = false;
    while (this.#taken < this.#count) {
      const i = this.#taken++;
      const token = this.#epoll.token(i);
      if (token >= 0) this.#happened(token, this.#epoll.events(i));
      else if (token === WAKE) {
        clearEvent(this.#libc, this.#wakeDescriptor);
        woken = true;
      } else this.#accept(this.#services.get(LISTENER - token));
      if (this.#ordersWait()) return true;
    }
    if (this.#ready.length > 0) this.#goOn();
    this.#wheel.advance(this.#nowMs, this.#expired, this.#ordersWait);
    if (this.#nowMs >= this.#resumeMs) this.#resumeAccepting();
    if (this.#nowMs >= this.#probeDueMs) this.#probe();
    if (this.#nowMs >= this.#teller.dueMs) {
      this.#teller.tellAll(this.#services.values(), this.#nowMs);
    }
    this.#table.reuse();
    return woken || this.#ordersWait();
  }

  /** Waits for events: asks for them a while where that pays, then sleeps. */
  #wait(waitMs: number): number {
    let count = 0;
    if (waitMs !== 0 && this.#spin.wanted()) {
      const untilMs = this.#clock() + SPIN_MS;
      do count = this.#epoll.wait(0); while (
        count === 0 && this.#clock() < untilMs
      );
      this.#spin.asked(count);
    }
    if (count === 0) count = this.#epoll.wait(waitMs);
    this.#spin.happened(count);
    return count;
  }

  /** Until the nearest of what is due, rounded up; -1 is for ever. */
  #waitMs(longestMs: number): number {
    if (this.#ready.length > 0 || this.#endings.length > 0) return 0;
    const dueMs = Math.min(
      this.#wheel.nextMs(),
      this.#resumeMs,
      this.#probeDueMs,
      this.#teller.dueMs,
      longestMs < 0 ? Infinity : this.#nowMs + longestMs,
    );
    if (dueMs === Infinity) return -1;
    // What turns did since the clock was read counts.
    return Math.max(
      0,
      Math.min(Math.ceil(dueMs - this.#clock()), 0x7fffffff),
    );
  }

  /** An event of a side. */
  #happened(side: number, events: number): void {
    const table = this.#table;
    const c = side >> 1;
    const state = table.state[c]!;
    if (state === State.free) return; // Ended earlier in this turn.
    if (events & EPOLLPRI) table.bits[side]! |= Side.urgent | Side.drain;
    if (events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) {
      table.bits[side]! |= Side.drain;
      if (events & EPOLLERR) table.bits[side]! |= Side.failed;
    }
    if (state !== State.piped) {
      if (side & 1) this.#connectHappened(c, events);
      else if (events & (EPOLLERR | EPOLLHUP)) this.#clientGone(c);
      else if (events & EPOLLIN) table.bits[side]! |= Side.arrived;
      return;
    }
    if (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) {
      this.#move(side);
    }
    // Room, for what the other direction could not send.
    if (
      events & EPOLLOUT && table.state[c] === State.piped &&
      this.#mover.blocked(side ^ 1)
    ) this.#move(side ^ 1);
  }

  // ---- 2. accept

  #accept(service: Service | undefined): void {
    if (!service || service.listener < 0) return;
    for (let i = 0; i < ACCEPT_BURST; i++) {
      const fd = this.#calls.accept(service.listener);
      if (fd >= 0) {
        this.#serve(service, fd);
        if (service.resumeMs !== Infinity) return; // Paused by its dial.
        // The others are told of again: a listener's events are no edges.
        if (this.#ordersWait()) return;
        continue;
      }
      const errno = this.#calls.errno();
      if (errno === EAGAIN) return;
      if (errno === EINTR) continue;
      this.#acceptFailed(service, "accept4", errno);
      // This client has left while it waited; the next one may be well.
      if (errno === ECONNABORTED) continue;
      return this.#pauseAccepting(service);
    }
  }

  #acceptFailed(service: Service, call: string, errno: number): void {
    service.slots[ForwardSlot.acceptErrors]!++;
    const error = new SystemCallError(call, errno);
    this.#teller.acceptFailed(service, error, this.#nowMs);
  }

  /**
   * Out of descriptors (EMFILE) the client stays in the backlog and its event
   * comes again at once: none until others had time to end.
   */
  #pauseAccepting(service: Service): void {
    const { resumeMs } = service;
    if (resumeMs !== Infinity && resumeMs > this.#nowMs) return;
    service.pauseMs = Math.min(
      Math.max(PAUSE_MS, 2 * service.pauseMs),
      MAX_PAUSE_MS,
    );
    service.resumeMs = this.#nowMs + service.pauseMs;
    this.#resumeMs = Math.min(this.#resumeMs, service.resumeMs);
    if (service.listener >= 0) this.#epoll.remove(service.listener);
  }

  #resumeAccepting(): void {
    this.#resumeMs = Infinity;
    for (const service of this.#services.values()) {
      if (service.resumeMs <= this.#nowMs) {
        // Those who wait already come first, else newcomers took what they lack.
        for (const c of service.starved.splice(0)) this.#reach(c);
        if (service.resumeMs <= this.#nowMs) {
          service.resumeMs = Infinity;
          this.#listen(service);
        }
      }
      this.#resumeMs = Math.min(this.#resumeMs, service.resumeMs);
    }
  }

  #listen(service: Service): void {
    if (service.listener < 0) return;
    const errno = this.#epoll.add(
      service.listener,
      EPOLLIN,
      LISTENER - service.number,
    );
    if (errno === 0) return;
    this.#acceptFailed(service, "epoll_ctl", errno);
    this.#pauseAccepting(service);
  }

  #serve(service: Service, fd: number): void {
    const table = this.#table;
    const c = table.take(service, this.#nowMs);
    table.fd[2 * c] = fd;
    table.address.set(this.#calls.address, c * SOCKADDR_BYTES);
    service.slots[ForwardSlot.accepted]!++;
    const before = Atomics.add(service.shared, SharedSlot.clients, 1);
    service.live++;
    if (service.maxConnections > 0 && before >= service.maxConnections) {
      return this.#reject(c, "limit", false);
    }
    if (!service.policy.admit(this.#host(c), this.#nowMs)) {
      return this.#reject(c, "denied", false);
    }
    service.slots[ForwardSlot.opening]!++;
    const errno = this.#epoll.add(fd, EDGES, 2 * c);
    if (errno !== 0) {
      this.#acceptFailed(service, "epoll_ctl", errno);
      return this.#reject(c, "connect-failed");
    }
    this.#reach(c);
  }

  /** The client's host where the policy looks at it. */
  #host(c: number): string {
    const table = this.#table;
    if (!table.service[c]!.policy.wantsClient) return "";
    return decodeSockaddr(table.address, c * SOCKADDR_BYTES).hostname;
  }

  // ---- 3. reach

  /** Dials what the policy names until a dial is under way or it names none. */
  #reach(c: number): void {
    const table = this.#table;
    const service = table.service[c]!;
    const { policy } = service;
    for (;;) {
      const tried = table.dial[c]?.tried ?? NOTHING_TRIED;
      const id = policy.choose(this.#host(c), tried, this.#nowMs);
      const remote = service.remotes.get(id);
      if (id === NO_REMOTE || !remote) {
        return this.#reject(
          c,
          tried.length === 0 ? "no-remote" : "connect-failed",
        );
      }
      if (this.#dial(c, remote)) return;
      if (!this.#mayGoOn(c)) return;
    }
  }

  /** Begins an attempt; false where it has failed already. */
  #dial(c: number, remote: Remote): boolean {
    const table = this.#table;
    table.remote[c] = remote;
    table.attemptMs[c] = this.#nowMs;
    if (!table.dial[c]?.probe) remote.slots[RemoteSlot.pending]!++;
    if (remote.sockaddr) return this.#connectOrFail(c, remote.sockaddr);
    const { hostname, port, zone } = remote.address;
    if (zone !== undefined) {
      let scopeId: number;
      try {
        scopeId = findLinuxInterface(this.#libc, zone).index;
      } catch (error) {
        this.#attemptFailed(c, "resolve", (error as Error).message);
        return false;
      }
      return this.#connectOrFail(c, encodeSockaddr(hostname, port, scopeId));
    }
    const lookup = this.#nextLookup++;
    this.#dialOf(c).lookup = lookup;
    this.#lookups.set(lookup, c);
    table.state[c] = State.resolving;
    this.#schedule(c);
    this.#report({ kind: "lookup", lookup, hostname });
    return true;
  }

  #connectOrFail(c: number, address: Uint8Array<ArrayBuffer>): boolean {
    const errno = this.#connect(c, address);
    if (errno === 0) return true;
    this.#connectFailed(c, errno);
    return false;
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
    this.#schedule(c);
    return 0;
  }

  #dialOf(c: number): Dial {
    return this.#table.dial[c] ??= {
      tried: [],
      lookup: 0,
      addresses: [],
      racers: [],
      parent: -1,
      raceAtMs: Infinity,
      retryAtMs: Infinity,
      probe: false,
      errno: 0,
    };
  }

  /** The owner has resolved a name. */
  #resolved(
    { lookup, hostnames, detail }: Extract<ReactorOrder, { kind: "resolved" }>,
  ): void {
    const c = this.#lookups.get(lookup);
    if (c === undefined) return; // The dial was given up.
    this.#lookups.delete(lookup);
    const dial = this.#dialOf(c);
    dial.lookup = 0;
    const { port } = this.#table.remote[c]!.address;
    if (hostnames.length === 0) {
      this.#attemptFailed(c, "resolve", detail);
      if (this.#mayGoOn(c)) this.#reach(c);
      return;
    }
    dial.addresses = inTurn(hostnames).map((host) =>
      encodeSockaddr(host, port)
    );
    this.#table.state[c] = State.racing;
    this.#race(c);
  }

  /** Begins a connect to the next address; ends the attempt where there is none and none is under way. */
  #race(c: number): void {
    const table = this.#table;
    const dial = table.dial[c]!;
    while (dial.addresses.length > 0) {
      const address = dial.addresses.shift()!;
      const racer = table.take(table.service[c]!, this.#nowMs);
      this.#dialOf(racer).parent = c;
      const errno = this.#connect(racer, address);
      if (errno === 0) {
        dial.racers.push(racer);
        break;
      }
      dial.errno = errno;
      this.#free(racer);
    }
    if (dial.racers.length === 0) {
      this.#connectFailed(c, dial.errno);
      if (this.#mayGoOn(c)) this.#reach(c);
      return;
    }
    dial.raceAtMs = dial.addresses.length > 0
      ? this.#nowMs + RACE_MS
      : Infinity;
    this.#schedule(c);
  }

  /** Something happened on a socket that connects. */
  #connectHappened(c: number, events: number): void {
    const table = this.#table;
    if (table.state[c] !== State.connecting) return;
    const fd = table.fd[2 * c + 1]!;
    let errno = 0;
    if (events & (EPOLLERR | EPOLLHUP)) errno = this.#calls.takeError(fd);
    else if (!(events & EPOLLOUT)) return;
    const parent = table.dial[c]?.parent ?? -1;
    if (parent >= 0) return this.#racerEnded(c, parent, errno, events);
    if (errno === 0) return this.#connected(c, events);
    this.#closeSide(2 * c + 1);
    this.#connectFailed(c, errno);
    if (this.#mayGoOn(c)) this.#reach(c);
  }

  #racerEnded(
    racer: number,
    c: number,
    errno: number,
    events: number,
  ): void {
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
        this.#free(racer);
        this.#giveUpDial(c);
        return this.#connected(c, events);
      }
    }
    dial.errno = errno;
    this.#free(racer);
    this.#race(c);
  }

  /** Ends what is under way of an attempt, but for a socket of its own side. */
  #giveUpDial(c: number): void {
    const dial = this.#table.dial[c];
    if (!dial) return;
    if (dial.lookup !== 0) this.#lookups.delete(dial.lookup);
    dial.lookup = 0;
    dial.addresses.length = 0;
    dial.raceAtMs = Infinity;
    for (const racer of dial.racers) this.#free(racer);
    dial.racers.length = 0;
  }

  #connectFailed(c: number, errno: number): void {
    const failure = dialFailure(errno);
    // What a dial lacks the next client would lack too: it waits in the backlog,
    // and this one waits here.
    if (failure === "resources") {
      this.#acceptFailed(this.#table.service[c]!, "socket", errno);
    }
    this.#attemptFailed(
      c,
      failure,
      new SystemCallError("connect", errno).message,
    );
  }

  /** Counts and tells; a probe ends here. */
  #attemptFailed(c: number, failure: DialFailure, detail: string): void {
    const table = this.#table;
    const service = table.service[c]!;
    const remote = table.remote[c]!;
    const dial = this.#dialOf(c);
    this.#giveUpDial(c);
    this.#wheel.cancel(c);
    table.state[c] = State.pausing;
    table.remote[c] = undefined;
    if (dial.probe) {
      this.#free(c);
      return this.#probed(service, remote, failure, detail);
    }
    const { slots } = remote;
    service.slots[ForwardSlot.dialErrors]!++;
    slots[RemoteSlot.pending]!--;
    slots[RemoteSlot.errors]!++;
    slots[RemoteSlot.lastErrorAtMs] = Date.now();
    slots[RemoteSlot.failures + DIAL_FAILURES.indexOf(failure)]!++;
    const starved = failure === "resources" && this.#mayStarve(c);
    if (!starved) dial.tried.push(remote.id);
    this.#teller.dialFailed(c, remote, failure, detail, this.#nowMs);
    service.forget(remote);
    // A limit of this machine says nothing about the remote.
    if (failure === "resources") {
      if (starved) service.starved.push(c);
      return this.#pauseAccepting(service);
    }
    const before = slots[RemoteSlot.state];
    service.policy.failed(remote.id, failure, this.#nowMs);
    this.#stateMayHaveChanged(service, remote, before!);
  }

  /** Whether a client may wait for others to end: for as long as a connect may take. */
  #mayStarve(c: number): boolean {
    const { sinceMs, service } = this.#table;
    const { connectTimeoutMs } = service[c]!.deadlines;
    return after(sinceMs[c]!, connectTimeoutMs) > this.#nowMs;
  }

  /** Whether the next attempt may be made now; else it comes after a pause, or never. */
  #mayGoOn(c: number): boolean {
    const table = this.#table;
    if (table.state[c] !== State.pausing) return false;
    if (table.service[c]!.starved.includes(c)) return false;
    const dial = table.dial[c]!;
    const delayMs = table.service[c]!.policy.retryDelayMs(dial.tried);
    if (delayMs <= 0) return true;
    dial.retryAtMs = this.#nowMs + delayMs;
    this.#schedule(c);
    return false;
  }

  #connected(c: number, events: number): void {
    const table = this.#table;
    const service = table.service[c]!;
    const remote = table.remote[c]!;
    const dial = table.dial[c];
    if (dial?.probe) {
      this.#free(c);
      return this.#probed(service, remote, undefined, "");
    }
    service.pauseMs = 0;
    const { slots } = service;
    const connectMs = this.#nowMs - table.attemptMs[c]!;
    remote.slots[RemoteSlot.pending]!--;
    remote.slots[RemoteSlot.open]!++;
    remote.slots[RemoteSlot.opened]!++;
    remote.slots[RemoteSlot.connectSumMs]! += connectMs;
    countInBucket(
      remote.slots,
      RemoteSlot.connects,
      CONNECT_BUCKETS_MS,
      connectMs,
    );
    slots[ForwardSlot.opening]!--;
    slots[ForwardSlot.open]!++;
    slots[ForwardSlot.opened]!++;
    const before = remote.slots[RemoteSlot.state]!;
    service.policy.connected(remote.id, this.#nowMs);
    if (dial || before !== 0) {
      this.#stateMayHaveChanged(service, remote, before);
    }
    const openingMs = this.#nowMs - table.sinceMs[c]!;
    table.dial[c] = undefined;
    table.state[c] = State.piped;
    table.id[c] = service.nextId;
    service.nextId += this.#reactors;
    table.sinceMs[c] = this.#nowMs;
    table.movedMs[c] = this.#nowMs;
    this.#schedule(c);
    this.#teller.opened(c, openingMs, this.#nowMs);
    if (table.bits[2 * c]! & (Side.arrived | Side.drain)) this.#move(2 * c);
    if (
      table.state[c] === State.piped &&
      events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP)
    ) this.#move(2 * c + 1);
  }

  /** The client has been reset, or has closed both ways, before there was a remote. */
  #clientGone(c: number): void {
    if (this.#table.fd[2 * c]! >= 0) this.#reject(c, "client-gone");
  }

  /** Lets a client go without a remote, with a reset: nobody has heard it. */
  #reject(c: number, reason: RejectReason, admitted = true): void {
    const table = this.#table;
    const service = table.service[c]!;
    const remote = table.remote[c];
    this.#giveUpDial(c);
    if (remote) remote.slots[RemoteSlot.pending]!--;
    if (admitted) service.slots[ForwardSlot.opening]!--;
    service.slots[ForwardSlot.rejected + REJECT_REASONS.indexOf(reason)]!++;
    const attempts = (table.dial[c]?.tried.length ?? 0) + (remote ? 1 : 0);
    this.#teller.rejected(c, reason, attempts, this.#nowMs);
    this.#calls.reset(table.fd[2 * c]!);
    table.fd[2 * c] = -1;
    if (admitted) service.policy.released(this.#host(c));
    const waited = service.starved.indexOf(c);
    if (waited >= 0) service.starved.splice(waited, 1);
    this.#free(c);
    if (remote) service.forget(remote);
    this.#clientLeft(service);
  }

  #clientLeft(service: Service): void {
    service.live--;
    Atomics.sub(service.shared, SharedSlot.clients, 1);
    if (service.live === 0) this.#answerDrains(service);
  }

  // ---- 4. pipe

  /** Directions that had more than one turn's worth, each one more turn. */
  #goOn(): void {
    const ready = this.#ready;
    const { bits, state } = this.#table;
    const due = ready.length;
    let done = 0;
    while (done < due) {
      const side = ready[done++]!;
      if (!(bits[side]! & Side.queued)) continue; // Its connection has ended.
      bits[side]! &= ~Side.queued;
      if (state[side >> 1] === State.piped) this.#move(side);
      if (this.#ordersWait()) break;
    }
    ready.copyWithin(0, done);
    ready.length -= done;
  }

  #move(direction: number): void {
    const table = this.#table;
    const c = direction >> 1;
    switch (this.#mover.move(direction, this.#nowMs)) {
      case Turn.waiting:
        // Of a side that has ended already, a reset is all that can still come.
        if (
          table.bits[direction]! & Side.failed &&
          table.bits[direction]! & Side.ended
        ) this.#end(c, resetOf(direction));
        return;
      case Turn.more:
        if (table.bits[direction]! & Side.queued) return;
        table.bits[direction]! |= Side.queued;
        this.#ready.push(direction);
        return;
      case Turn.ended:
        return this.#sideEnded(direction);
      case Turn.sourceFailed:
        return this.#end(c, resetOf(direction));
      case Turn.sinkFailed:
        return this.#end(c, resetOf(direction ^ 1));
    }
  }

  /** Passes the end of a side on. */
  #sideEnded(direction: number): void {
    const table = this.#table;
    const c = direction >> 1;
    table.bits[direction]! |= Side.ended;
    // Where both have ended, close(2) says so to the other side.
    if (table.bits[direction ^ 1]! & Side.ended) {
      return this.#end(
        c,
        table.bits[direction ^ 1]! & Side.failed
          ? resetOf(direction ^ 1)
          : "eof",
      );
    }
    if (this.#calls.endWriting(table.fd[direction ^ 1]!) < 0) {
      return this.#end(c, resetOf(direction ^ 1));
    }
    table.movedMs[c] = this.#nowMs;
    this.#schedule(c);
  }

  // ---- 5. end

  #end(c: number, reason: EndReason): void {
    const table = this.#table;
    const service = table.service[c]!;
    const remote = table.remote[c]!;
    const { slots } = service;
    const durationMs = this.#nowMs - table.sinceMs[c]!;
    slots[ForwardSlot.open]!--;
    remote.slots[RemoteSlot.open]!--;
    slots[ForwardSlot.ended + END_REASONS.indexOf(reason)]!++;
    slots[ForwardSlot.durationSumMs]! += durationMs;
    countInBucket(
      slots,
      ForwardSlot.durations,
      DURATION_BUCKETS_MS,
      durationMs,
    );
    this.#teller.closed(c, reason, durationMs, this.#nowMs);
    const cut = reason !== "eof" && reason !== "closed" &&
      !reason.endsWith("timeout") && reason !== "lifetime";
    for (let side = 2 * c; side < 2 * c + 2; side++) {
      // A side that will not get all of what was sent must not take it for all.
      if (cut || this.#mover.blocked(side ^ 1)) {
        this.#calls.reset(table.fd[side]!);
        table.fd[side] = -1;
      }
    }
    service.policy.released(this.#host(c));
    this.#free(c);
    service.forget(remote);
    this.#clientLeft(service);
  }

  #closeSide(side: number): void {
    const fd = this.#table.fd[side]!;
    if (fd < 0) return;
    this.#calls.close(fd);
    this.#table.fd[side] = -1;
  }

  /** Closes what is open of a connection and gives its number back. */
  #free(c: number): void {
    this.#wheel.cancel(c);
    this.#closeSide(2 * c);
    this.#closeSide(2 * c + 1);
    this.#mover.release(2 * c);
    this.#mover.release(2 * c + 1);
    this.#table.free(c);
  }

  // ---- 6. deadlines

  /** Sets the one deadline that is next for a connection. */
  #schedule(c: number): void {
    this.#wheel.set(c, this.#dueMs(c));
  }

  #dueMs(c: number): number {
    const table = this.#table;
    const { deadlines } = table.service[c]!;
    const dial = table.dial[c];
    switch (table.state[c]) {
      case State.pausing:
        return dial?.retryAtMs ?? Infinity;
      case State.connecting:
        // The connection that a racer dials for keeps the time of both.
        if (dial && dial.parent >= 0) return Infinity;
        return after(table.attemptMs[c]!, deadlines.connectTimeoutMs);
      case State.resolving:
      case State.racing:
        return Math.min(
          after(table.attemptMs[c]!, deadlines.connectTimeoutMs),
          dial!.raceAtMs,
        );
      case State.piped:
        return Math.min(
          after(table.movedMs[c]!, deadlines.idleTimeoutMs),
          table.halfClosed(c)
            ? after(table.movedMs[c]!, deadlines.halfCloseTimeoutMs)
            : Infinity,
          after(table.sinceMs[c]!, deadlines.lifetimeMs),
        );
    }
    return Infinity;
  }

  /** A deadline was met, or put off since by what moved. */
  #timeIsUp(c: number): void {
    const table = this.#table;
    if (table.state[c] === State.free) return;
    const nowMs = this.#nowMs;
    if (this.#dueMs(c) > nowMs) return this.#schedule(c);
    const { deadlines } = table.service[c]!;
    switch (table.state[c]) {
      case State.pausing:
        table.dial[c]!.retryAtMs = Infinity;
        return this.#reach(c);
      case State.connecting:
      case State.resolving:
      case State.racing:
        if (
          after(table.attemptMs[c]!, deadlines.connectTimeoutMs) > nowMs
        ) return this.#race(c);
        this.#closeSide(2 * c + 1);
        this.#attemptFailed(
          c,
          dialFailure(ETIMEDOUT),
          `no connection in ${deadlines.connectTimeoutMs} ms`,
        );
        if (this.#mayGoOn(c)) this.#reach(c);
        return;
      case State.piped: {
        const { idleTimeoutMs, halfCloseTimeoutMs } = deadlines;
        const movedMs = table.movedMs[c]!;
        if (
          table.halfClosed(c) && after(movedMs, halfCloseTimeoutMs) <= nowMs
        ) this.#end(c, "half-close-timeout");
        else if (after(movedMs, idleTimeoutMs) <= nowMs) {
          this.#end(c, "idle-timeout");
        } else this.#end(c, "lifetime");
      }
    }
  }

  // ---- 7. probe

  #stateMayHaveChanged(
    service: Service,
    remote: Remote,
    before: number,
  ): void {
    if (remote.slots[RemoteSlot.state] !== before) {
      this.#teller.remoteState(service, remote, this.#nowMs);
    }
    this.#planProbe(service);
  }

  #planProbe(service: Service): void {
    service.probeDueMs = service.listener < 0
      ? Infinity
      : service.policy.probeDueMs();
    this.#probeDueMs = Infinity;
    for (const { probeDueMs } of this.#services.values()) {
      if (probeDueMs < this.#probeDueMs) this.#probeDueMs = probeDueMs;
    }
  }

  #probe(): void {
    for (const service of [...this.#services.values()]) {
      if (service.probeDueMs > this.#nowMs) continue;
      for (;;) {
        const id = service.policy.takeProbe(this.#nowMs);
        const remote = service.remotes.get(id);
        if (id === NO_REMOTE || !remote) break;
        const c = this.#table.take(service, this.#nowMs);
        this.#dialOf(c).probe = true;
        remote.slots[RemoteSlot.probes]!++;
        this.#dial(c, remote);
        if (this.#ordersWait()) return this.#planProbe(service);
      }
      this.#planProbe(service);
    }
  }

  #probed(
    service: Service,
    remote: Remote,
    failure: DialFailure | undefined,
    detail: string,
  ): void {
    const { slots } = remote;
    if (failure !== undefined) {
      slots[RemoteSlot.probeErrors]!++;
      this.#teller.probeFailed(
        service,
        remote,
        failure,
        detail,
        this.#nowMs,
      );
    }
    const before = slots[RemoteSlot.state]!;
    service.policy.probed(remote.id, failure, this.#nowMs);
    this.#stateMayHaveChanged(service, remote, before);
    service.forget(remote);
  }

  // ---- 9. orders

  /** Does what the owner says; false where that was to end. */
  obey(order: ReactorOrder): boolean {
    this.#nowMs = this.#clock();
    switch (order.kind) {
      case "end":
        return false;
      case "resolved":
        this.#resolved(order);
        return true;
      case "open":
        this.#open(order);
        this.#answer(order.request, 0);
        return true;
    }
    const service = this.#services.get(order.service);
    if (!service) {
      this.#answer(order.request, order.kind === "connections" ? [] : 0);
      return true;
    }
    switch (order.kind) {
      case "update":
        this.#update(service, order);
        this.#answer(order.request, 0);
        break;
      case "connections":
        this.#answer(order.request, this.#connections(service));
        break;
      case "abort":
        this.#abort(service, order);
        break;
      case "stop-accepting":
        this.#stopAccepting(service);
        this.#answer(order.request, 0);
        break;
      case "drained":
        service.drains.push(order.request);
        if (service.live === 0) this.#answerDrains(service);
        break;
      case "close":
        this.#close(service, () => this.#answer(order.request, 0));
    }
    return true;
  }

  #answer(request: number, value: ConnectionInfo[] | number): void {
    this.#report({ kind: "answer", request, value });
  }

  #open(order: Extract<ReactorOrder, { kind: "open" }>): void {
    const { plan } = order;
    const service = new Service(
      order.service,
      plan,
      this.#createPolicy(plan.policy),
      { ...order, reactor: this.#reactor },
    );
    this.#services.set(service.number, service);
    this.#setRemotes(service, order.remotes);
    this.#listen(service);
  }

  #update(
    service: Service,
    { change, remotes }: Extract<ReactorOrder, { kind: "update" }>,
  ): void {
    const { deadlines, maxConnections, report, policy } = change;
    service.maxConnections = maxConnections ?? service.maxConnections;
    if (report !== undefined) {
      this.#teller.followTraffic(service, report === "traffic", this.#nowMs);
    }
    if (deadlines) {
      service.deadlines = { ...service.deadlines, ...deadlines };
      this.#table.each(service, (c) => this.#schedule(c));
    }
    if (policy) service.policy.configure(policy, this.#nowMs);
    if (remotes) this.#setRemotes(service, remotes);
    this.#planProbe(service);
  }

  #setRemotes(service: Service, shares: readonly RemoteShare[]): void {
    service.chosenFrom = shares.map((share) => {
      const remote = service.remotes.get(share.id) ??
        new Remote(share, this.#reactor);
      service.remotes.set(share.id, remote);
      return remote;
    });
    service.policy.setRemotes(service.chosenFrom, this.#nowMs);
    for (const remote of [...service.remotes.values()]) service.forget(remote);
    this.#planProbe(service);
  }

  #connections(service: Service): ConnectionInfo[] {
    const table = this.#table;
    const found: ConnectionInfo[] = [];
    table.each(service, (c) => {
      if (table.state[c] !== State.piped) return;
      found.push({
        id: table.id[c]!,
        client: this.#teller.client(c),
        remote: table.remote[c]!.id,
        ageMs: this.#nowMs - table.sinceMs[c]!,
        idleMs: this.#nowMs - table.movedMs[c]!,
        bytesUpstream: table.bytes[2 * c]!,
        bytesDownstream: table.bytes[2 * c + 1]!,
        halfClosed: table.halfClosed(c),
      });
    });
    return found;
  }

  #abort(
    service: Service,
    { filter, request }: Extract<ReactorOrder, { kind: "abort" }>,
  ): void {
    const table = this.#table;
    this.#endEach(
      service,
      (c) => {
        if (table.state[c] !== State.piped) return false;
        const meant = "connection" in filter
          ? table.id[c] === filter.connection
          : table.remote[c]!.id === filter.remote;
        if (meant) this.#end(c, "aborted");
        return meant;
      },
      (ended) => this.#answer(request, ended),
    );
  }

  /** Ends connections of a service: some now, the others in the next turns. */
  #endEach(
    service: Service,
    visit: (c: number) => boolean,
    done: (ended: number) => void,
  ): void {
    this.#endings.push({ service, visit, done, next: 0, ended: 0 });
    this.#endSome();
  }

  #endSome(): void {
    const ending = this.#endings[0]!;
    const table = this.#table;
    for (let left = ENDED_AT_ONCE; left > 0;) {
      const c = ending.next++;
      if (c >= table.capacity) {
        this.#endings.shift();
        return ending.done(ending.ended);
      }
      if (table.service[c] !== ending.service || !ending.visit(c)) continue;
      ending.ended++;
      left--;
    }
  }

  #stopAccepting(service: Service): void {
    if (service.listener < 0) return;
    this.#calls.close(service.listener);
    service.listener = -1;
    if (service.starved.length === 0) service.resumeMs = Infinity;
    this.#planProbe(service);
  }

  #answerDrains(service: Service): void {
    for (const request of service.drains) this.#answer(request, 0);
    service.drains.length = 0;
  }

  #close(service: Service, done: () => void): void {
    this.#stopAccepting(service);
    const table = this.#table;
    this.#endEach(
      service,
      (c) => {
        if (table.state[c] === State.piped) this.#end(c, "closed");
        else if (table.fd[2 * c]! >= 0) this.#reject(c, "closed");
        else if (table.dial[c]?.probe) {
          this.#giveUpDial(c);
          this.#free(c);
        } else return false; // A racer is freed with the connection that it dials for.
        return true;
      },
      () => {
        this.#teller.flush(service);
        this.#services.delete(service.number);
        this.#planProbe(service);
        done();
      },
    );
  }

  /** Closes everything. */
  [Symbol.dispose](): void {
    for (const service of this.#services.values()) {
      this.#close(service, () => {});
    }
    while (this.#endings.length > 0) this.#endSome();
    this.#pipes.close();
    this.#epoll[Symbol.dispose]();
  }
}

/** `ms` after a time, or never where a deadline is off. */
function after(sinceMs: number, ms: number): number {
  return ms > 0 ? sinceMs + ms : Infinity;
}

function resetOf(side: number): EndReason {
  return side & 1 ? "remote-reset" : "client-reset";
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
