/**
 * The seam between the roles and the systems they run on: types only.
 *
 * Roles ask "how many" and never "which system": a lesser engine answers 1.
 * What an engine cannot do at all it refuses by name with a UsageError, which a
 * role can have before it opens anything; it ignores nothing. Abilities are
 * probed at open and may only fall afterwards.
 */
import type { Address } from "../address.ts";
import type { DatagramBatch } from "./batch.ts";

/** Which system calls move the bytes. */
export type EngineName = "portable" | "linux";

/** What a user may ask for: `auto` takes the best that works here. */
export type EngineChoice = EngineName | "auto";

/** Options of both kinds of datagram socket. */
export interface DatagramSocketOptions {
  /** Name or address of the interface to join on or to send from. */
  networkInterface?: string | undefined;
  /** Whether this machine hears what it sends to groups. The system's default is yes. */
  loop?: boolean | undefined;
  /** Called once for what the user should know: a clamped buffer, a lowered ability. */
  onWarning?: ((message: string) => void) | undefined;
}

/** How a socket that receives is opened. */
export interface DatagramListenOptions extends DatagramSocketOptions {
  /** Where to listen; a group is joined. */
  address: Address;
  /** More groups on the same port, joined on the same socket. */
  groups?: readonly Address[] | undefined;
  /** Bytes of the kernel's receive queue. */
  receiveBufferBytes?: number | undefined;
  /** Called for a right that is missing and would make it faster, with how to grant it. */
  onNote?: ((message: string) => void) | undefined;
  /** Whether several sockets share the port, the kernel spreading unicast senders over them. */
  reusePort?: boolean | undefined;
  /**
   * Whether the port is the caller's already, such as by another socket of
   * `reusePort`: then a socket of another program on it is not looked for.
   * @default {false}
   */
  ownsPort?: boolean | undefined;
  /** Whether other programs may listen on the same address and port. @default {false} */
  sharePort?: boolean | undefined;
  /** Whether `[::]` takes IPv6 alone. Default: IPv4 too, as the system's default is. */
  v6Only?: boolean | undefined;
}

/** How a socket that sends to one destination is opened. */
export interface DatagramConnectOptions extends DatagramSocketOptions {
  /** Where to send: a host, a group or a broadcast address. */
  address: Address;
  /** Hops that a datagram may take, 0 to 255. */
  ttl?: number | undefined;
  /**
   * How long a full send queue may hold up a batch before the rest is dropped
   * and counted, in milliseconds. `Infinity` never drops.
   */
  maxWaitMs: number;
  /** Where sends are counted: the slots of {@linkcode SEND_COUNTERS}. */
  counters: Float64Array;
}

/** What of a destination an engine may refuse before it is opened. */
export type DatagramTarget = Pick<DatagramConnectOptions, "address" | "ttl">;

/** A bound socket that receives. */
export interface DatagramListener extends Disposable {
  /** The engine behind it. */
  readonly engine: EngineName;
  /** The bound address, with the real port. */
  readonly address: Address;
  /** Slots that one receive can fill. */
  readonly batchSize: number;
  /**
   * Fills a batch with what is there and returns the slots filled. 0 means that
   * nothing is there now; it never waits. Throws where the socket is broken.
   */
  tryReceive(batch: DatagramBatch): number;
  /**
   * Waits until something may be there, `wake` is called or `timeoutMs` has
   * passed. May return too early; never allocates a timer without a timeout.
   */
  readable(timeoutMs?: number): Promise<void> | void;
  /**
   * Waits with the thread, at most so many milliseconds, where the engine can:
   * whether something may be there. For waits that end soon as a rule; they
   * cost a fraction of one that leaves the thread to others.
   */
  hold?(mostMs: number): boolean;
  /** Whether one slot may hold several datagrams from now on, where the engine can join them; those queued may be joined already. */
  joinReads?(joined: boolean): void;
  /** Ends a wait of `readable` now, or the next one at once; from any thread's event loop. */
  wake(): void;
  /**
   * Datagrams that the kernel dropped so far, or undefined where nobody can tell.
   * Once closed, with those that it left unread.
   */
  dropped(): number | undefined;
  /** Whether `dropped` is only the least that it can be. @default {false} */
  readonly droppedIsLeast?: boolean;
}

/** A socket that sends to one destination. */
export interface DatagramSender extends Disposable {
  /** The engine behind it. */
  readonly engine: EngineName;
  /** Where it sends, after resolving. */
  readonly address: Address;
  /** Datagrams that one slot may join; falls to 1 where the system refuses joined sends. */
  readonly maxSegments: number;
  /**
   * What the system chose for the socket when it was opened: the local address
   * and the interface. Another socket to the same destination with another path
   * sends what this one cannot send any more.
   */
  readonly path: string;
  /**
   * Sends every datagram of a batch, in order. Errors of single datagrams do
   * not throw: they are counted by reason, because one destination's failure
   * must not end the others. The batch must be left alone until the promise, if
   * there is one, resolves.
   */
  send(batch: DatagramBatch): Promise<void> | void;
}

/** What a sender counts, in the order of its slots. */
export const SEND_COUNTERS = [
  "sentDatagrams",
  "sentBytes",
  "droppedRefused",
  "droppedUnreachable",
  "droppedPermission",
  "droppedTooBig",
  "droppedQueueFull",
  "droppedOther",
] as const;

/** Index of each of {@linkcode SEND_COUNTERS} in its slots. */
export const SentSlot = {
  datagrams: 0,
  bytes: 1,
  refused: 2,
  unreachable: 3,
  permission: 4,
  tooBig: 5,
  queueFull: 6,
  other: 7,
} as const;

/** Opens datagram sockets in one way. */
export interface DatagramEngine {
  /** Which one it is. */
  readonly name: EngineName;
  /** What it is made of, for the log: `Deno.listenDatagram`, `libc.so.6`. */
  readonly description: string;
  /** Slots that a batch should have so that one call can be worth it. */
  readonly batchSize: number;
  /**
   * Throws a UsageError where a text can be neither an interface's name nor an
   * address. Whether there is such an interface is found when a socket opens.
   */
  checkInterface(nameOrAddress: string): void;
  /** Throws a UsageError for what `listen` never does; opens and resolves nothing. */
  checkListen(options: DatagramListenOptions): void;
  /** Throws a UsageError for what `connect` never does; opens and resolves nothing. */
  checkConnect(target: DatagramTarget): void;
  /**
   * Where the system would bind and join now, as text that changes when an open
   * listener has to be opened again. Throws an OperationError where it cannot.
   */
  placement(options: DatagramListenOptions): string;
  /**
   * Calls `onChange` when interfaces, addresses or routes may have changed,
   * once for changes that come together, until it is disposed of.
   */
  watchNetwork(onChange: () => void): AsyncDisposable;
  /** Binds, and joins where the address is a group. */
  listen(
    options: DatagramListenOptions,
  ): Promise<DatagramListener> | DatagramListener;
  /** Resolves and connects or remembers the destination. */
  connect(
    options: DatagramConnectOptions,
  ): Promise<DatagramSender> | DatagramSender;
}
