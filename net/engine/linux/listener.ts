/**
 * Datagrams in. The flow:
 *
 * 1. `openListener` opens a socket, sets its options, binds it and joins.
 * 2. `tryReceive` takes up to a batch of reads with one recvmmsg(2); a read
 *    may hold several datagrams that the kernel has joined (UDP_GRO).
 * 3. `readable` waits with poll(2) for more, or for `wake`.
 * 4. `dropped` asks the kernel what it could not queue.
 */
import type { Address } from "../../address.ts";
import {
  formatAddress,
  isIpv6,
  isMulticast,
  isUnspecified,
} from "../../address.ts";
import { failedCall, OperationError, UsageError } from "../../errors.ts";
import { DatagramBatch, SLOT_BYTES } from "../batch.ts";
import type { DatagramListener, DatagramListenOptions } from "../engine.ts";
import { ArrivalCount } from "./arrivals.ts";
import { JoinedDrops, WrappingCount } from "./drops.ts";
import {
  AF_INET,
  AF_INET6,
  EAGAIN,
  EINTR,
  EPERM,
  IP_MULTICAST_ALL,
  IP_MULTICAST_LOOP,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_UDP,
  IPV6_MULTICAST_ALL,
  IPV6_MULTICAST_LOOP,
  POLLIN,
  SK_MEMINFO_DROPS,
  SK_MEMINFO_RMEM_ALLOC,
  SK_MEMINFO_VARS,
  SO_BROADCAST,
  SO_MEMINFO,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_RXQ_OVFL,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
  SOL_UDP,
  UDP_GRO,
} from "./ffi/constants.ts";
import { SystemCallError } from "./ffi/errno.ts";
import type { Libc } from "./ffi/libc.ts";
import { ReceiveVector } from "./ffi/messages.ts";
import { PollPair } from "./ffi/poll.ts";
import { encodeSockaddr } from "./ffi/sockaddr.ts";
import {
  bindSocket,
  closeDescriptor,
  interfaceName,
  joinGroup,
  localAddress,
  openSocket,
  readIntOption,
  readOption,
  setIntOption,
} from "./ffi/socket.ts";
import { findInterface, type NetworkInterface } from "./interfaces.ts";
import { WakeEvent } from "./wake_event.ts";

/**
 * When reads are joined (UDP_GRO): `counted` where the kernel lets us count
 * the datagrams of reads that it drops, `always` with a drop count that takes
 * each such read for one datagram, or `never`.
 */
export type JoinReads = "counted" | "always" | "never";

/**
 * Bytes of the kernel's receive queue where nobody asks for another size; the
 * kernel's own 208 KiB hold 93 datagrams of 1400 bytes. Less where
 * net.core.rmem_max is less.
 */
export const DEFAULT_RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024;

/** What the engine gives to each of its listeners. */
export interface ListenerContext {
  readonly libc: Libc;
  /** Called once when the listener has closed all that it had opened. */
  readonly release: () => void;
  /** Whether waits hold the thread, as they may in a Worker. */
  readonly blocking: boolean;
  readonly joinReads: JoinReads;
  /** An event of another thread that ends the waits, in place of one of its own. */
  readonly wakeDescriptor: number | undefined;
}

/** Refuses what no socket could do, before one is opened. */
export function checkListenOptions(options: DatagramListenOptions): void {
  const { address, groups = [], reusePort } = options;
  const all = [address, ...groups];
  const refuse = (one: Address, reason: string): never => {
    throw new UsageError(
      `Cannot listen on "${formatAddress(one)}": ${reason}`,
    );
  };
  for (const group of groups) {
    if (!isMulticast(group.hostname)) refuse(group, "it is not a group");
    if (group.port !== address.port) {
      refuse(group, `its port must be ${address.port}, as that of the others`);
    }
  }
  for (const one of all) {
    if (one.source !== undefined && !isMulticast(one.hostname)) {
      refuse(one, "a source before @ wants a multicast group after it");
    }
    if (reusePort && isMulticast(one.hostname)) {
      refuse(
        one,
        "listeners that share a port each get a copy of what a group gets; use one listener",
      );
    }
  }
  if (
    groups.length > 0 && !isMulticast(address.hostname) &&
    !isUnspecified(address.hostname)
  ) {
    refuse(address, "beside groups it must be a group, 0.0.0.0 or [::]");
  }
}

/** Opens a listener on one IP literal. */
export function openListener(
  context: ListenerContext,
  options: DatagramListenOptions,
  hostname: string,
): LinuxListener {
  const { libc } = context;
  const { address, groups = [], networkInterface, loop, reusePort } = options;
  const v6 = isIpv6(hostname);
  const all = [{ ...address, hostname }, ...groups];
  const joins = all.filter((one) => isMulticast(one.hostname)).map((group) => {
    if (isIpv6(group.hostname) !== v6) {
      throw new UsageError(
        `Cannot listen on "${
          formatAddress(group)
        }" and "${hostname}" at once: one is IPv4, one IPv6`,
      );
    }
    const where = group.zone ?? networkInterface;
    return {
      group,
      on: where === undefined ? undefined : findInterface(libc, where),
    };
  });
  const level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
  const fd = openSocket(
    libc,
    v6 ? AF_INET6 : AF_INET,
    SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
    IPPROTO_UDP,
  );
  let counting: DropCounting | undefined;
  try {
    setReceiveBuffer(libc, fd, options);
    counting = countDrops(context, fd, options.onNote);
    if (joins.length > 0) {
      // Others on this machine may listen to the same group; each gets a copy.
      setIntOption(libc, fd, SOL_SOCKET, SO_REUSEADDR, 1);
      // Else a socket hears every group that any program here has joined.
      setIntOption(
        libc,
        fd,
        level,
        v6 ? IPV6_MULTICAST_ALL : IP_MULTICAST_ALL,
        0,
      );
    }
    if (reusePort) setIntOption(libc, fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (!v6) setIntOption(libc, fd, SOL_SOCKET, SO_BROADCAST, 1);
    if (loop !== undefined) {
      // Linux asks only the sending socket; set here so that none differs.
      setIntOption(
        libc,
        fd,
        level,
        v6 ? IPV6_MULTICAST_LOOP : IP_MULTICAST_LOOP,
        loop ? 1 : 0,
      );
    }
    const [bindTo, scopeId] = bindAddress(libc, all, joins, v6);
    bindSocket(libc, fd, encodeSockaddr(bindTo, address.port, scopeId));
    for (const { group, on } of joins) {
      joinGroup(
        libc,
        fd,
        v6 ? AF_INET6 : AF_INET,
        on?.index ?? 0,
        encodeSockaddr(group.hostname, 0),
        group.source === undefined
          ? undefined
          : encodeSockaddr(group.source, 0),
      );
    }
    const { port } = localAddress(libc, fd);
    return new LinuxListener(
      context,
      fd,
      { ...address, hostname, port },
      counting,
    );
  } catch (error) {
    counting?.arrivals?.[Symbol.dispose]();
    closeDescriptor(libc, fd);
    throw error;
  }
}

/**
 * Bound to its group, a socket hears nothing else on the port. Several groups,
 * or a group beside 0.0.0.0, want the unspecified address; then IP_MULTICAST_ALL
 * keeps foreign groups away, and what is sent to this machine's own addresses
 * on the port is heard as well.
 */
function bindAddress(
  libc: Libc,
  all: readonly Address[],
  joins: readonly { on: NetworkInterface | undefined }[],
  v6: boolean,
): [hostname: string, scopeId: number] {
  const [first] = all as [Address];
  const unspecified = v6 ? "::" : "0.0.0.0";
  if (joins.length === 0) {
    const scopeId = first.zone === undefined
      ? 0
      : findInterface(libc, first.zone).index;
    return [first.hostname, scopeId];
  }
  if (all.length > 1) return [unspecified, 0];
  const index = joins[0]!.on?.index ?? 0;
  // A group of one link (ff02::) cannot be bound without its link (EINVAL).
  if (v6 && index === 0) return [unspecified, 0];
  return [first.hostname, v6 ? index : 0];
}

/** Asks for the receive queue, by privilege past the system's limit, and reads back what was granted. */
function setReceiveBuffer(
  libc: Libc,
  fd: number,
  options: DatagramListenOptions,
): void {
  const { receiveBufferBytes, onWarning } = options;
  const wanted = receiveBufferBytes ?? DEFAULT_RECEIVE_BUFFER_BYTES;
  setIntOption(libc, fd, SOL_SOCKET, SO_RCVBUF, wanted);
  // The kernel doubles what is asked, for its own overhead: socket(7).
  const granted = () => readIntOption(libc, fd, SOL_SOCKET, SO_RCVBUF) / 2;
  if (granted() >= wanted) return;
  try {
    setIntOption(libc, fd, SOL_SOCKET, SO_RCVBUFFORCE, wanted);
  } catch (error) {
    // EPERM: without CAP_NET_ADMIN the limit holds.
    if (!(error instanceof SystemCallError)) throw error;
  }
  if (granted() < wanted && receiveBufferBytes !== undefined) {
    onWarning?.(
      `The receive queue has ${granted()} bytes and not the ${wanted} that were asked for: raise the limit with sysctl net.core.rmem_max=${wanted}`,
    );
  }
}

/** How a listener's drops are counted; decides whether reads are joined. */
interface DropCounting {
  /** Whether SO_MEMINFO tells the socket's drop count. */
  readonly memoryInfo: boolean;
  /** Whether each read tells the socket's drop count (SO_RXQ_OVFL). */
  readonly perRead: boolean;
  /** Arrivals, where joined reads are counted. */
  readonly arrivals: ArrivalCount | undefined;
}

/** What a process without the right to count arrivals should know. */
const MISSING_RIGHT_NOTE =
  "the kernel does not join datagrams (UDP_GRO), because counting those that it drops is not permitted:" +
  " grant CAP_BPF or set sysctl kernel.unprivileged_bpf_disabled=0 to receive faster";

function countDrops(
  context: ListenerContext,
  fd: number,
  onNote?: (message: string) => void,
): DropCounting {
  const { libc, joinReads } = context;
  const memoryInfo = attempt(() =>
    readOption(
      libc,
      fd,
      SOL_SOCKET,
      SO_MEMINFO,
      new Uint32Array(SK_MEMINFO_VARS),
    ) > SK_MEMINFO_DROPS
  ) ?? false;
  // SO_MEMINFO is of Linux 4.12. What SO_RXQ_OVFL says comes with the next
  // datagram, so it never tells of drops after the last one.
  const perRead = !memoryInfo &&
    attempt(
        () => (setIntOption(libc, fd, SOL_SOCKET, SO_RXQ_OVFL, 1), true),
      ) ===
      true;
  let arrivals: ArrivalCount | undefined;
  if (joinReads === "counted" && memoryInfo) {
    arrivals = attempt(() => new ArrivalCount(libc, fd), (error) => {
      if (error.errno === EPERM) onNote?.(MISSING_RIGHT_NOTE);
    });
  }
  if (joinReads === "always" || arrivals !== undefined) {
    const joined = attempt(
      () => (setIntOption(libc, fd, SOL_UDP, UDP_GRO, 1), true),
    );
    if (!joined) {
      arrivals?.[Symbol.dispose]();
      arrivals = undefined;
    }
  }
  return { memoryInfo, perRead, arrivals };
}

/** What a probe gives, or undefined where the system refuses it. */
function attempt<T>(
  probe: () => T,
  onRefused?: (error: SystemCallError) => void,
): T | undefined {
  try {
    return probe();
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    onRefused?.(error);
    return undefined;
  }
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
    return this.#counting.arrivals !== undefined ||
      this.#context.joinReads === "always";
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
    if (scopeId === 0) return { hostname, port };
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
    closeDescriptor(this.#context.libc, this.#fd);
    this.#counting.arrivals?.[Symbol.dispose]();
    this.#wake[Symbol.dispose]();
    this.#context.release();
  }
}

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
