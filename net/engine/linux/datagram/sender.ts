/**
 * Datagrams out. The flow:
 *
 * 1. `openSender` (open_sender.ts) opens a socket and connects it.
 * 2. `send` plans messages over the batch (segments.ts) and gives as many as
 *    have room to one sendmmsg(2).
 * 3. What was sent is counted; the first that was not says why, and is sent
 *    again, sent in pieces, waited for, or counted as dropped.
 * 4. What ICMP says of datagrams that were sent lies in the socket's error
 *    queue, one entry each: they count as dropped and no longer as sent.
 *
 * A slot is never cut smaller than the system wants and never grows: whoever
 * paces decides with what is put into one batch how much goes out at once.
 */
import { type Address, formatAddress, isIpv6 } from "../../../address.ts";
import { OperationError } from "../../../errors.ts";
import type { DatagramBatch } from "../../batch.ts";
import {
  type DatagramConnectOptions,
  type DatagramSender,
  SentSlot,
} from "../../datagram.ts";
import {
  EACCES,
  EADDRNOTAVAIL,
  EAGAIN,
  ECONNREFUSED,
  EHOSTDOWN,
  EHOSTUNREACH,
  EINTR,
  EINVAL,
  EIO,
  EMSGSIZE,
  ENETDOWN,
  ENETUNREACH,
  ENOBUFS,
  ENODEV,
  ENOMEM,
  ENOPROTOOPT,
  ENOSYS,
  EOPNOTSUPP,
  EPERM,
  MSG_ERRQUEUE,
  POLLOUT,
} from "../ffi/constants.ts";
import { SystemCallError } from "../ffi/errno.ts";
import type { Libc } from "../ffi/libc.ts";
import { ReceiveVector, SendVector } from "../ffi/messages.ts";
import { PollPair } from "../ffi/poll.ts";
import { closeDescriptor } from "../ffi/socket.ts";
import { maxSegmentBytes, OLDER_MAX_SEGMENTS } from "./path_limits.ts";
import { datagramsFrom, type SegmentLimits, SendPlan } from "./segments.ts";

/** Messages and pieces of one sendmmsg. */
const PLAN_CAPACITY = 128;

/** Answers of ICMP that one read of the error queue takes. */
const ANSWERS = 16;

/** How long a wait for room may be before it is looked whether the sender was closed. */
const WAIT_SLICE_MS = 100;

/** How long to wait where an interface's queue was full, which poll(2) does not see. */
const INTERFACE_WAIT_MS = 1;

/** What the engine gives to each of its senders. */
export interface SenderContext {
  readonly libc: Libc;
  /** Called once when the sender has closed all that it had opened. */
  readonly release: () => void;
  /** Whether waits hold the thread, as they may in a Worker. */
  readonly blocking: boolean;
}

/** Where a connected socket sends. */
export interface SenderRoute {
  /** Where it sends, after resolving. */
  readonly address: Address;
  /** The local address and the interface that the kernel chose. */
  readonly path: string;
  /** Whether it sends to this machine. */
  readonly local: boolean;
}

/** What is to be done after a send has failed. */
const Next = {
  /** Send the same message again. */
  again: 0,
  /** Go on behind the message; it is counted. */
  skip: 1,
  /** Plan again from the message on: a limit has fallen. */
  plan: 2,
  /** Wait for room. */
  wait: 3,
} as const;

/** Whether an errno says that a joined message cannot be sent, where its datagrams could. */
function refusesJoined(errno: number): boolean {
  return errno === EIO || errno === EINVAL || errno === EMSGSIZE ||
    errno === ENOSYS || errno === ENOPROTOOPT || errno === EOPNOTSUPP;
}

/** The counter of a datagram that met an errno. */
function counterOf(errno: number): number {
  switch (errno) {
    case ECONNREFUSED:
      return SentSlot.refused;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
    case ENODEV:
    case EADDRNOTAVAIL:
      return SentSlot.unreachable;
    case EACCES:
      return SentSlot.permission;
    case EMSGSIZE:
      return SentSlot.tooBig;
    default:
      return SentSlot.other;
  }
}

/** A connected UDP socket. */
export class LinuxSender implements DatagramSender {
  readonly engine = "linux" as const;
  readonly address: Address;
  readonly path: string;

  readonly #context: SenderContext;
  readonly #fd: number;
  readonly #v6: boolean;
  /**
   * Whether it sends to this machine. Joined messages then stay joined on their
   * way, and ICMP answers each of them once, however many datagrams it holds.
   */
  readonly #local: boolean;
  readonly #maxWaitMs: number;
  readonly #counters: Float64Array;
  readonly #onWarning: ((message: string) => void) | undefined;
  readonly #limits: SegmentLimits;
  readonly #plan = new SendPlan(PLAN_CAPACITY);
  readonly #vector = new SendVector(PLAN_CAPACITY);
  readonly #room: PollPair;
  readonly #pause: PollPair;
  /** Reads the error queue, from the first error on; the quoted bytes are of no use. */
  #answers: ReceiveVector | undefined;
  #warned = false;
  #closed = false;

  /** The send under way: its batch and what of it is done. */
  #batch: DatagramBatch | undefined;
  #slot = 0;
  #offset = 0;
  /** When it first had to wait, or -1. */
  #waitingSince = -1;
  /** Whether the message that was not sent must wait. */
  #mustWait = false;
  /** Whether it waits for an interface and not for the socket. */
  #interfaceFull = false;
  /** Counter of the error that the current message has met once, or -1. */
  #metError = -1;
  /** What was sent last, for answers that stand for all of a message. */
  #lastDatagrams = 0;
  #lastBytes = 0;

  constructor(
    context: SenderContext,
    fd: number,
    options: DatagramConnectOptions,
    { address, path, local }: SenderRoute,
    limits: SegmentLimits,
  ) {
    this.#context = context;
    this.#fd = fd;
    this.address = address;
    this.path = path;
    this.#v6 = isIpv6(address.hostname);
    this.#maxWaitMs = options.maxWaitMs;
    this.#counters = options.counters;
    this.#onWarning = options.onWarning;
    this.#limits = limits;
    this.#local = local;
    this.#room = new PollPair(context.libc, fd, POLLOUT);
    this.#pause = new PollPair(context.libc, -1, 0);
  }

  get maxSegments(): number {
    return this.#limits.maxSegments;
  }

  send(batch: DatagramBatch): Promise<void> | void {
    if (this.#closed || this.#batch !== undefined) {
      throw new OperationError(
        `Cannot send to ${formatAddress(this.address)}: the sender is ${
          this.#closed ? "closed" : "still sending the batch before"
        }`,
      );
    }
    this.#batch = batch;
    this.#slot = 0;
    this.#offset = 0;
    this.#waitingSince = -1;
    this.#vector.attach(batch.bytes);
    let done: boolean;
    try {
      done = this.#advance();
      while (!done && this.#context.blocking) {
        const waitMs = this.#waitMs();
        if (waitMs > 0) this.#waits().wait(waitMs);
        done = waitMs === 0 || this.#advance();
      }
    } catch (error) {
      this.#batch = undefined;
      throw error;
    }
    if (!done) return this.#sendRest();
    this.#batch = undefined;
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    // A send that waits on another thread still has the descriptor: it closes it.
    if (this.#batch === undefined) this.#closeAll();
  }

  /** Goes on with a send that had to wait, without holding the thread. */
  async #sendRest(): Promise<void> {
    try {
      for (;;) {
        const waitMs = this.#waitMs();
        if (waitMs === 0) return;
        await this.#waits().waitAside(waitMs);
        if (this.#closed) {
          this.#dropRest(SentSlot.other);
          return;
        }
        if (this.#advance()) return;
      }
    } finally {
      this.#batch = undefined;
      if (this.#closed) this.#closeAll();
    }
  }

  /** Sends on from where the batch stands; false when it must wait for room. */
  #advance(): boolean {
    const batch = this.#batch!;
    const plan = this.#plan;
    const vector = this.#vector;
    while (this.#slot < batch.count) {
      plan.fill(batch, this.#slot, this.#offset, this.#limits);
      for (let i = 0; i < plan.pieces; i++) {
        vector.setPiece(i, plan.pieceOffset[i]!, plan.pieceLength[i]!);
      }
      for (let i = 0; i < plan.messages; i++) {
        vector.setMessage(
          i,
          plan.firstPiece[i]!,
          plan.pieceCount[i]!,
          plan.segmentSize[i]!,
        );
      }
      const at = this.#sendPlanned();
      if (at === plan.messages) {
        this.#slot = plan.nextSlot;
        this.#offset = plan.nextOffset;
        continue;
      }
      this.#slot = plan.slot[at]!;
      this.#offset = plan.offset[at]!;
      if (this.#mustWait) return false;
    }
    return true;
  }

  /** Sends the planned messages; gives the first that must wait or be planned again. */
  #sendPlanned(): number {
    const { messages } = this.#plan;
    this.#mustWait = false;
    let first = 0;
    while (first < messages) {
      const sent = this.#vector.send(
        this.#context.libc,
        this.#fd,
        first,
        messages - first,
      );
      if (sent > 0) {
        this.#countSent(first, sent);
        first += sent;
        // An error that stopped the call is told no more, but its answer lies there.
        if (first < messages) this.#countAnswers();
        continue;
      }
      const next = this.#afterFailure(-sent, first);
      if (next === Next.again) continue;
      if (next === Next.skip) {
        first++;
        continue;
      }
      if (next === Next.wait) {
        this.#mustWait = true;
        if (this.#waitingSince < 0) this.#waitingSince = performance.now();
      }
      return first;
    }
    return messages;
  }

  #countSent(first: number, sent: number): void {
    // An error that was met once and not twice was of a datagram before.
    if (this.#metError >= 0) this.#takeBack(this.#metError);
    this.#metError = -1;
    const { datagrams, bytes } = this.#plan;
    let sumDatagrams = 0;
    let sumBytes = 0;
    for (let i = first; i < first + sent; i++) {
      sumDatagrams += datagrams[i]!;
      sumBytes += bytes[i]!;
    }
    this.#counters[SentSlot.datagrams]! += sumDatagrams;
    this.#counters[SentSlot.bytes]! += sumBytes;
    this.#lastDatagrams = datagrams[first + sent - 1]!;
    this.#lastBytes = bytes[first + sent - 1]!;
  }

  /**
   * What counted as sent was lost on its way: on this machine the last message,
   * elsewhere one datagram. Its size nobody tells there: the mean is taken.
   */
  #takeBack(counter: number): void {
    const counters = this.#counters;
    const sent = counters[SentSlot.datagrams]!;
    if (sent === 0) return;
    const sentBytes = counters[SentSlot.bytes]!;
    const datagrams = Math.min(sent, this.#local ? this.#lastDatagrams : 1);
    const bytes = this.#local ? this.#lastBytes : sentBytes / sent;
    counters[SentSlot.datagrams] = sent - datagrams;
    counters[SentSlot.bytes] = datagrams === sent
      ? 0
      : Math.max(0, sentBytes - Math.round(bytes));
    counters[counter]! += datagrams;
  }

  /** Counts what ICMP has answered to datagrams that were sent; how many those were. */
  #countAnswers(): number {
    const answers = this.#answers ??= new ReceiveVector(
      new Uint8Array(8),
      ANSWERS,
      0,
    );
    let answered = 0;
    for (;;) {
      const taken = answers.receive(
        this.#context.libc,
        this.#fd,
        ANSWERS,
        MSG_ERRQUEUE,
      );
      for (let i = 0; i < taken; i++) {
        const errno = answers.icmpErrno(i);
        if (errno === 0) continue;
        this.#takeBack(counterOf(errno));
        answered++;
      }
      if (taken < ANSWERS) return answered;
    }
  }

  /** send(2), udp(7), ip(7): what each errno means for the message that met it. */
  #afterFailure(errno: number, message: number): number {
    switch (errno) {
      case 0:
      case EAGAIN:
        this.#interfaceFull = false;
        return Next.wait;
      case ENOBUFS:
      case ENOMEM:
        this.#interfaceFull = true;
        return Next.wait;
      case EINTR:
        return Next.again;
      case EPERM:
        return this.#drop(message, SentSlot.permission);
      case EIO:
      case EINVAL:
      case ENOSYS:
        return this.#lowerOrDrop(errno, message);
      default:
        return this.#meet(errno, message);
    }
  }

  /**
   * An ICMP answer to a datagram before is told once, in place of sending this
   * one. Where the error queue had no room for it, what is told twice in a row
   * is of this one.
   */
  #meet(errno: number, message: number): number {
    if (this.#countAnswers() > 0) return Next.again;
    if (this.#metError >= 0) return this.#lowerOrDrop(errno, message);
    this.#metError = counterOf(errno);
    return Next.again;
  }

  #lowerOrDrop(errno: number, message: number): number {
    if (this.#plan.datagrams[message]! === 1 || !refusesJoined(errno)) {
      return this.#drop(message, counterOf(errno));
    }
    this.#metError = -1;
    this.#lower(errno, message);
    return Next.plan;
  }

  #drop(message: number, counter: number): number {
    this.#counters[counter]! += this.#plan.datagrams[message]!;
    this.#metError = -1;
    return Next.skip;
  }

  /** A joined message was refused: its datagrams go out in smaller messages or alone. */
  #lower(errno: number, message: number): void {
    const limits = this.#limits;
    const size = this.#plan.segmentSize[message]!;
    if (errno === EMSGSIZE) {
      // The path's MTU has fallen; larger datagrams go alone, in fragments.
      const { libc } = this.#context;
      limits.maxSegmentBytes = Math.min(
        limits.maxSegmentBytes,
        maxSegmentBytes(libc, this.#fd, this.#v6),
        size - 1,
      );
    } else if (
      errno === EINVAL && this.#plan.datagrams[message]! > OLDER_MAX_SEGMENTS
    ) {
      limits.maxSegments = OLDER_MAX_SEGMENTS;
      return;
    } else {
      limits.maxSegments = 1;
    }
    if (this.#warned) return;
    this.#warned = true;
    const { message: text } = new SystemCallError("sendmmsg", errno);
    this.#onWarning?.(
      limits.maxSegments === 1
        ? `Datagrams to ${
          formatAddress(this.address)
        } are sent one by one: the system refuses joined sends: ${text}`
        : `Datagrams to ${
          formatAddress(this.address)
        } of more than ${limits.maxSegmentBytes} bytes are sent one by one: the path takes no larger packets: ${text}`,
    );
  }

  /** How long the next wait may be; 0 when the time is over, and the rest is dropped. */
  #waitMs(): number {
    const left = this.#maxWaitMs - (performance.now() - this.#waitingSince);
    if (left <= 0) {
      this.#dropRest(SentSlot.queueFull);
      return 0;
    }
    return Math.ceil(
      Math.min(left, this.#interfaceFull ? INTERFACE_WAIT_MS : WAIT_SLICE_MS),
    );
  }

  #waits(): PollPair {
    return this.#interfaceFull ? this.#pause : this.#room;
  }

  #dropRest(counter: number): void {
    this.#counters[counter]! += datagramsFrom(
      this.#batch!,
      this.#slot,
      this.#offset,
    );
    this.#slot = this.#batch!.count;
  }

  #closeAll(): void {
    this.#countAnswers();
    closeDescriptor(this.#context.libc, this.#fd);
    this.#context.release();
  }
}
