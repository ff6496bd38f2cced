/**
 * The reactor: all connections of a thread, from accept to end, on one epoll.
 * A turn:
 *
 * 1. wait for events, for the nearest deadline or for the wake event,
 * 2. accept: clients in bursts; the limit and the policy,
 * 3. reach: choose a remote, which `dialer.ts` dials, again while the policy
 *    names another,
 * 4. pipe: `direction.ts` moves the bytes; half-close each way,
 * 5. end: counted, told and given back;
 * 6. deadlines: `deadlines.ts` says which is next and which has passed,
 * 7. probe: remotes that the policy wants dialled to see whether they live,
 * 8. tell: `teller.ts` makes events and gives them to the owner;
 * 9. orders of the owner, between turns.
 *
 * Orders wait for one piece of work at the most: an event of a side, a client,
 * a direction's turn, a deadline. After each a turn looks whether there are
 * some, which is a read of shared memory, and ends there; the next one goes on
 * with what it has left. An order that ends a crowd does so piece by piece.
 *
 * Functions stand in that order. Nothing is allocated per connection that goes
 * to a literal address at the first attempt, and nothing per read.
 */
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
  EADDRNOTAVAIL,
  EAGAIN,
  ECONNABORTED,
  EINTR,
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
} from "../ffi/constants.ts";
import { Epoll } from "../ffi/epoll.ts";
import { SystemCallError } from "../ffi/errno.ts";
import type { Libc } from "../ffi/libc.ts";
import { decodeSockaddr, SOCKADDR_BYTES } from "../ffi/sockaddr.ts";
import { clearEvent } from "../ffi/socket.ts";
import { StreamCalls } from "../ffi/stream.ts";
import { ConnectionTable, EDGES, Side, State } from "./connection_table.ts";
import { after, nextDeadlineMs, Passed, passedDeadline } from "./deadlines.ts";
import { Attempt, Dialer } from "./dialer.ts";
import { DirectionMover, Turn } from "./direction.ts";
import { type ReactorOrder, type ReactorReport, SharedSlot } from "./orders.ts";
import { PipePool } from "./pipe_pool.ts";
import { type Remote, Service } from "./service.ts";
import { Spin, SPIN_MS } from "./busy_poll.ts";
import type { Splicing } from "./splicing.ts";
import { Teller } from "./event_reporter.ts";
import { TimerWheel } from "./timer_wheel.ts";

/** Events of one wait. */
const WAIT_EVENTS = 512;

/** Clients accepted in one go, so that those who talk wait for no crowd. */
const ACCEPT_BURST = 64;

/** Pause after an accept for which resources were wanting: it doubles from the first to the second. */
const PAUSE_MS = 10;
const MAX_PAUSE_MS = 1000;

/**
 * Connections that an order ends in one go, so that the next order waits for no
 * crowd: each takes some 25 µs.
 */
const ENDED_AT_ONCE = 256;

/** Tokens: the wake event's, and a listener's less the number of its service. Sides are from 0 on. */
const WAKE = -1;
const LISTENER = -2;

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
  readonly #dialer: Dialer;
  readonly #teller: Teller;
  readonly #services = new Map<number, Service>();
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
    this.#epoll = new Epoll(options.libc, WAIT_EVENTS);
    this.#dialer = new Dialer(
      options.libc,
      this.#calls,
      this.#epoll,
      this.#table,
      options.report,
    );
    this.#teller = new Teller(options.libc, this.#table, options.report);
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
      if (side & 1) {
        const dialling = this.#dialer.attemptOf(c);
        const attempt = this.#dialer.happened(c, events, this.#nowMs);
        this.#attempted(dialling, attempt, events);
      } else if (events & (EPOLLERR | EPOLLHUP)) this.#reject(c, "client-gone");
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
    if (!this.#enterSource(c)) return this.#reject(c, "source-limit", false);
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

  /** Counts a client among those of its source; false where these are too many. */
  #enterSource(c: number): boolean {
    const { address, counted, service } = this.#table;
    const { maxConnectionsPerSource, sources } = service[c]!;
    if (!sources) return true;
    const max = maxConnectionsPerSource || Infinity;
    if (!sources.enter(address, c * SOCKADDR_BYTES, max)) return false;
    counted[c] = 1;
    return true;
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
      remote.slots[RemoteSlot.pending]!++;
      const attempt = this.#dialer.dial(c, remote, this.#nowMs);
      if (attempt === Attempt.underWay) return this.#schedule(c);
      if (!this.#attemptFailed(c)) return;
    }
  }

  /** How an attempt goes on that was under way; `events` are its socket's. */
  #attempted(c: number, attempt: number, events: number): void {
    if (attempt === Attempt.underWay) this.#schedule(c);
    else if (attempt === Attempt.connected) this.#connected(c, events);
    else if (this.#attemptFailed(c)) this.#reach(c);
  }

  /** Counts and tells; whether the next attempt may be made now. A probe ends here. */
  #attemptFailed(c: number): boolean {
    const table = this.#table;
    const { failure, detail, errno } = this.#dialer;
    const service = table.service[c]!;
    const remote = table.remote[c]!;
    const dial = table.dialOf(c);
    // Ports are used up towards one address alone: others can still be dialled.
    const lacking = failure === "resources" && errno !== EADDRNOTAVAIL;
    if (lacking) this.#acceptFailed(service, "socket", errno);
    this.#wheel.cancel(c);
    table.remote[c] = undefined;
    if (dial.probe) {
      this.#free(c);
      this.#probed(service, remote, failure, detail);
      return false;
    }
    const { slots } = remote;
    service.slots[ForwardSlot.dialErrors]!++;
    slots[RemoteSlot.pending]!--;
    slots[RemoteSlot.errors]!++;
    slots[RemoteSlot.lastErrorAtMs] = Date.now();
    slots[RemoteSlot.failures + DIAL_FAILURES.indexOf(failure)]!++;
    const starved = lacking && this.#mayStarve(c);
    if (!starved) dial.tried.push(remote.id);
    this.#teller.dialFailed(c, remote, failure, detail, this.#nowMs);
    service.forget(remote);
    if (lacking) {
      // What a dial lacks the next client would lack too: it waits in the
      // backlog, and this one waits here. It says nothing about the remote.
      this.#pauseAccepting(service);
      if (starved) {
        service.starved.push(c);
        return false;
      }
    } else if (failure !== "resources") {
      const before = slots[RemoteSlot.state]!;
      service.policy.failed(remote.id, failure, this.#nowMs);
      this.#stateMayHaveChanged(service, remote, before);
    }
    const delayMs = service.policy.retryDelayMs(dial.tried);
    if (delayMs <= 0) return true;
    dial.retryAtMs = this.#nowMs + delayMs;
    this.#schedule(c);
    return false;
  }

  /** Whether a client may wait for others to end: for as long as a connect may take. */
  #mayStarve(c: number): boolean {
    const { sinceMs, service } = this.#table;
    const { connectTimeoutMs } = service[c]!.deadlines;
    return after(sinceMs[c]!, connectTimeoutMs) > this.#nowMs;
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
    table.id[c] = service.takeId();
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

  /** Lets a client go without a remote, with a reset: nobody has heard it. */
  #reject(c: number, reason: RejectReason, admitted = true): void {
    const table = this.#table;
    const service = table.service[c]!;
    const remote = table.remote[c];
    this.#dialer.giveUp(c);
    if (remote) remote.slots[RemoteSlot.pending]!--;
    if (admitted) service.slots[ForwardSlot.opening]!--;
    service.slots[ForwardSlot.rejected + REJECT_REASONS.indexOf(reason)]!++;
    const tried = table.dial[c]?.tried ?? NOTHING_TRIED;
    this.#teller.rejected(
      c,
      reason,
      remote ? [...tried, remote.id] : tried,
      this.#nowMs,
    );
    this.#calls.reset(table.fd[2 * c]!);
    table.fd[2 * c] = -1;
    if (admitted) service.policy.released(this.#host(c));
    const waited = service.starved.indexOf(c);
    if (waited >= 0) service.starved.splice(waited, 1);
    this.#leaveSource(c);
    this.#free(c);
    if (remote) service.forget(remote);
    this.#clientLeft(service);
  }

  #leaveSource(c: number): void {
    const { address, counted, service } = this.#table;
    if (counted[c] === 0) return;
    counted[c] = 0;
    service[c]!.sources!.leave(address, c * SOCKADDR_BYTES);
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
    const cut = reason === "aborted" || reason.endsWith("reset");
    for (let side = 2 * c; side < 2 * c + 2; side++) {
      // A side that will not get all of what was sent must not take it for all.
      if (cut || this.#mover.blocked(side ^ 1)) {
        this.#calls.reset(table.fd[side]!);
        table.fd[side] = -1;
      }
    }
    service.policy.released(this.#host(c));
    this.#leaveSource(c);
    this.#free(c);
    service.forget(remote);
    this.#clientLeft(service);
  }

  /** Closes what is open of a connection and gives its number back. */
  #free(c: number): void {
    const { fd } = this.#table;
    this.#wheel.cancel(c);
    for (let side = 2 * c; side < 2 * c + 2; side++) {
      if (fd[side]! >= 0) this.#calls.close(fd[side]!);
      this.#mover.release(side);
    }
    this.#table.free(c);
  }

  // ---- 6. deadlines

  /** Sets the one deadline that is next for a connection. */
  #schedule(c: number): void {
    this.#wheel.set(c, nextDeadlineMs(this.#table, c));
  }

  /** A deadline was met, or put off since by what moved. */
  #timeIsUp(c: number): void {
    const table = this.#table;
    if (table.state[c] === State.free) return;
    switch (passedDeadline(table, c, this.#nowMs)) {
      case Passed.none:
        return this.#schedule(c);
      case Passed.pause:
        table.dial[c]!.retryAtMs = Infinity;
        return this.#reach(c);
      case Passed.headStart:
        return this.#attempted(c, this.#dialer.race(c, this.#nowMs), 0);
      case Passed.connectTimeout:
        return this.#attempted(c, this.#dialer.timedOut(c), 0);
      case Passed.halfCloseTimeout:
        return this.#end(c, "half-close-timeout");
      case Passed.idleTimeout:
        return this.#end(c, "idle-timeout");
      case Passed.lifetime:
        return this.#end(c, "lifetime");
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
        this.#table.dialOf(c).probe = true;
        remote.slots[RemoteSlot.probes]!++;
        const attempt = this.#dialer.dial(c, remote, this.#nowMs);
        this.#attempted(c, attempt, 0);
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

  #resolved(order: Extract<ReactorOrder, { kind: "resolved" }>): void {
    const c = this.#dialer.askerOf(order.lookup);
    if (c === undefined) return;
    this.#attempted(c, this.#dialer.resolved(c, order, this.#nowMs), 0);
  }

  #answer(request: number, value: ConnectionInfo[] | number): void {
    this.#report({ kind: "answer", request, value });
  }

  #open(order: Extract<ReactorOrder, { kind: "open" }>): void {
    const service = new Service(
      order,
      this.#createPolicy(order.plan.policy),
      this.#reactor,
      this.#reactors,
    );
    this.#services.set(service.number, service);
    service.setRemotes(order.remotes, this.#nowMs);
    this.#planProbe(service);
    this.#listen(service);
  }

  #update(
    service: Service,
    { change, remotes, sources }: Extract<ReactorOrder, { kind: "update" }>,
  ): void {
    service.countSources(sources);
    const { deadlines, report } = change;
    service.change(change, this.#nowMs);
    if (remotes) service.setRemotes(remotes, this.#nowMs);
    this.#planProbe(service);
    if (deadlines) this.#table.each(service, (c) => this.#schedule(c));
    if (report !== undefined) {
      this.#teller.followTraffic(service, report === "traffic", this.#nowMs);
    }
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
          this.#dialer.giveUp(c);
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

function resetOf(side: number): EndReason {
  return side & 1 ? "remote-reset" : "client-reset";
}
