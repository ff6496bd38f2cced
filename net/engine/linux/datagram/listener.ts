/**
 * Datagrams in. The flow:
 *
 * 1. `openListener` (open_listener.ts) opens a socket, binds it and joins.
 * 2. `tryReceive` takes up to a batch of reads with one recvmmsg(2); a read
 *    may hold several datagrams that the kernel has joined (UDP_GRO).
 * 3. `readable` waits with poll(2) for more, or for `wake`.
 * 4. `dropped` asks the kernel what it could not queue.
 */
import { type Address, formatAddress } from "../../../address.ts";
import { unmapped } from "../../interfaces.ts";
import { failedCall, OperationError } from "../../../errors.ts";
import { DatagramBatch, SLOT_BYTES } from "../../batch.ts";
import type { DatagramListener } from "../../datagram.ts";
import type { ArrivalCount } from "./arrivals.ts";
import { JoinedDrops, WrappingCount } from "../../drops.ts";
import {
  EAGAIN,
  EINTR,
  POLLIN,
  SK_MEMINFO_DROPS,
  SK_MEMINFO_RMEM_ALLOC,
  SK_MEMINFO_VARS,
  SO_MEMINFO,
  SO_RCVBUF,
  SOL_SOCKET,
  SOL_UDP,
  UDP_GRO,
} from "../ffi/constants.ts";
import { SystemCallError } from "../ffi/errno.ts";
import type { Libc } from "../ffi/libc.ts";
import { ReceiveVector } from "../ffi/messages.ts";
import { PollPair } from "../ffi/poll.ts";
import {
  closeDescriptor,
  interfaceName,
  readOption,
  setIntOption,
} from "../ffi/socket.ts";
import { WakeEvent } from "../wake_event.ts";

/** UIO_MAXIOV: most messages of one call. */
const MAX_MESSAGES = 1024;

/**
 * Reads of a call while they are long on average. What one call takes in should
 * still be in the cache when it is sent on: forwarding joined reads of 64 KiB,
 * 8 a call moved 21 Gbit/s where 64 a call (4 MiB) moved 11.
 */
const LONG_READS = 8;
const LONG_READ_BYTES = 16 * 1024;

/** Slots to take in what nobody wants any more. */
const DISCARD_SLOTS = 8;

/** Slots of a batch: 64 plain datagrams a call, and 4 MiB of joined reads. */
export const BATCH_SLOTS = 64;

/** What the engine gives to each of its listeners. */
export interface ListenerContext {
  readonly libc: Libc;
  /** Called once when the listener has closed all that it had opened. */
  readonly release: () => void;
  /** Whether waits hold the thread, as they may in a Worker. */
  readonly blocking: boolean;
  /** An event of another thread that ends the waits, in place of one of its own. */
  readonly wakeDescriptor: number | undefined;
}

/** How a listener's drops are counted; decides whether reads are joined. */
export interface DropCounting {
  /** Whether SO_MEMINFO tells the socket's drop count. */
  readonly memoryInfo: boolean;
  /** Whether each read tells the socket's drop count (SO_RXQ_OVFL). */
  readonly perRead: boolean;
  /** Whether the kernel may join datagrams of one sender into one read. */
  readonly joined: boolean;
  /** Arrivals, where joined reads are counted. */
  readonly arrivals: ArrivalCount | undefined;
}

/** A bound UDP socket. */
export class LinuxListener implements DatagramListener {
  readonly engine = "linux" as const;
  readonly address: Address;

  readonly #context: ListenerContext;
  readonly #fd: number;
  readonly #wake: WakeEvent;
  readonly #poll: PollPair;
  /** Headers over the memory of each batch that was ever filled here. */
  readonly #vectors = new WeakMap<DatagramBatch, ReceiveVector>();
  #lastBatch: DatagramBatch | undefined;
  #lastVector: ReceiveVector | undefined;
  /** Most reads of the next call. */
  #ask = MAX_MESSAGES;
  #waiting: Promise<void> | undefined;
  #closed = false;

  readonly #counting: DropCounting;
  readonly #memoryInfo = new Uint32Array(SK_MEMINFO_VARS);
  readonly #droppedReads = new WrappingCount();
  readonly #joinedDrops = new JoinedDrops();
  /** Datagrams that were never asked for. */
  #discarded = 0;
  #receivedReads = 0;
  #receivedDatagrams = 0;

  readonly #zones = new Map<number, string>();
  readonly #readSource = (batch: DatagramBatch, slot: number): Address =>
    this.#source(batch, slot);
  readonly #readSourcePort = (batch: DatagramBatch, slot: number): number =>
    this.#vectorOf(batch).sourcePort(slot);

  constructor(
    context: ListenerContext,
    fd: number,
    address: Address,
    counting: DropCounting,
  ) {
    this.#context = context;
    this.#fd = fd;
    this.address = address;
    this.#counting = counting;
    this.#wake = new WakeEvent(context.libc, context.wakeDescriptor);
    this.#poll = new PollPair(
      context.libc,
      fd,
      POLLIN,
      this.#wake.descriptor,
      POLLIN,
    );
  }

  get batchSize(): number {
    return BATCH_SLOTS;
  }

  /** Whether the kernel may join datagrams of one sender into one read. */
  get joinsReads(): boolean {
    return this.#counting.joined;
  }

  tryReceive(batch: DatagramBatch): number {
    batch.count = 0;
    if (this.#closed) {
      throw new OperationError(
        `Cannot receive on ${
          formatAddress(this.address)
        }: the listener is closed`,
      );
    }
    const vector = batch === this.#lastBatch
      ? this.#lastVector!
      : this.#vectorOf(batch);
    let taken: number;
    do {
      taken = vector.receive(this.#context.libc, this.#fd, this.#ask);
    } while (taken === -EINTR);
    if (taken <= 0) {
      if (taken === -EAGAIN || taken === 0) return 0;
      throw failedCall(
        "receive on",
        formatAddress(this.address),
        new SystemCallError("recvmmsg", -taken),
      );
    }
    const { lengths, segmentSizes } = batch;
    let datagrams = taken;
    let bytes = 0;
    for (let slot = 0; slot < taken; slot++) {
      const length = vector.length(slot);
      const segmentSize = vector.segmentSize(slot);
      bytes += length;
      lengths[slot] = length;
      segmentSizes[slot] = segmentSize === 0 ? length : segmentSize;
      if (segmentSize > 0 && length > segmentSize) {
        datagrams += Math.ceil(length / segmentSize) - 1;
      }
    }
    this.#ask = bytes > taken * LONG_READ_BYTES ? LONG_READS : MAX_MESSAGES;
    this.#receivedReads += taken;
    this.#receivedDatagrams += datagrams;
    if (this.#counting.perRead) {
      const drops = vector.drops(taken - 1);
      if (drops >= 0) this.#droppedReads.set(drops);
    }
    batch.readSource = this.#readSource;
    batch.readSourcePort = this.#readSourcePort;
    return batch.count = taken;
  }

  readable(timeoutMs?: number): Promise<void> | void {
    if (this.#closed) return;
    const timeout = timeoutMs === undefined
      ? -1
      : Math.max(0, Math.ceil(timeoutMs));
    if (this.#context.blocking) {
      this.#poll.wait(timeout);
      this.#afterWait();
      return;
    }
    return this.#waiting ??= this.#poll.waitAside(timeout).then(() => {
      this.#waiting = undefined;
      if (this.#closed) this.#closeAll();
      else this.#afterWait();
    });
  }

  hold(mostMs: number): boolean {
    // A wait aside has the descriptors' events.
    if (this.#closed || this.#waiting) return false;
    const found = this.#poll.wait(mostMs);
    this.#afterWait();
    return found;
  }

  joinReads(joined: boolean): void {
    if (this.#closed || !this.#counting.joined) return;
    setIntOption(
      this.#context.libc,
      this.#fd,
      SOL_UDP,
      UDP_GRO,
      joined ? 1 : 0,
    );
  }

  wake(): void {
    this.#wake.wake();
  }

  dropped(): number | undefined {
    const { memoryInfo, perRead, arrivals } = this.#counting;
    if (!memoryInfo && !perRead) return undefined;
    if (!this.#closed && memoryInfo) this.#readDrops();
    return this.#discarded +
      (arrivals ? this.#joinedDrops.dropped : this.#droppedReads.total);
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#discardRest();
    this.dropped();
    this.#closed = true;
    // A wait on another thread still has the descriptors: it closes them.
    if (this.#waiting) this.#wake.wake();
    else this.#closeAll();
  }

  #vectorOf(batch: DatagramBatch): ReceiveVector {
    let vector = this.#vectors.get(batch);
    if (vector === undefined) {
      if (batch.slotBytes < SLOT_BYTES) {
        throw new TypeError(
          `Cannot receive into slots of ${batch.slotBytes} bytes: one read takes up to ${SLOT_BYTES}`,
        );
      }
      vector = new ReceiveVector(
        batch.bytes,
        Math.min(batch.slots, MAX_MESSAGES),
        batch.slotBytes,
      );
      this.#vectors.set(batch, vector);
    }
    this.#lastBatch = batch;
    return this.#lastVector = vector;
  }

  #source(batch: DatagramBatch, slot: number): Address {
    const { hostname, port, scopeId } = this.#vectorOf(batch).source(slot);
    if (scopeId === 0) return { hostname: unmapped(hostname), port };
    let zone = this.#zones.get(scopeId);
    if (zone === undefined) {
      zone = interfaceName(this.#context.libc, scopeId) ?? String(scopeId);
      this.#zones.set(scopeId, zone);
    }
    return { hostname, port, zone };
  }

  #afterWait(): void {
    if (this.#poll.secondReady) this.#wake.clear();
  }

  #readDrops(): void {
    const { libc } = this.#context;
    const info = this.#memoryInfo;
    readOption(libc, this.#fd, SOL_SOCKET, SO_MEMINFO, info);
    const before = this.#droppedReads.total;
    this.#droppedReads.set(info[SK_MEMINFO_DROPS]!);
    const { arrivals } = this.#counting;
    if (arrivals === undefined) return;
    // Nothing was dropped since an exact answer: it holds.
    if (this.#droppedReads.total === before && this.#joinedDrops.exact) return;
    arrivals.refresh();
    this.#joinedDrops.update({
      droppedReads: this.#droppedReads.total,
      reads: arrivals.reads,
      datagrams: arrivals.datagrams,
      receivedReads: this.#receivedReads,
      receivedDatagrams: this.#receivedDatagrams,
    });
  }

  /**
   * What lies unread in the queue is lost with the socket: it counts as dropped.
   * The queue is made small first, so that a flood adds to the kernel's count
   * and not to the rest: a queue that holds anything takes nothing more then.
   */
  #discardRest(): void {
    const { libc } = this.#context;
    const received = this.#receivedDatagrams;
    try {
      if (this.#counting.memoryInfo) {
        readOption(libc, this.#fd, SOL_SOCKET, SO_MEMINFO, this.#memoryInfo);
        if (this.#memoryInfo[SK_MEMINFO_RMEM_ALLOC] === 0) return;
      }
      setIntOption(libc, this.#fd, SOL_SOCKET, SO_RCVBUF, 0);
      const rest = new DatagramBatch(DISCARD_SLOTS);
      while (this.tryReceive(rest) === DISCARD_SLOTS);
    } catch (error) {
      // Of a broken socket nothing more can be known; it is closed all the same.
      if (!(error instanceof OperationError)) throw error;
    }
    this.#discarded += this.#receivedDatagrams - received;
  }

  #closeAll(): void {
    this.#lastBatch = this.#lastVector = undefined;
    closeDescriptor(this.#context.libc, this.#fd);
    this.#counting.arrivals?.[Symbol.dispose]();
    this.#wake[Symbol.dispose]();
    this.#context.release();
  }
}
