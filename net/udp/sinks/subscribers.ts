/**
 * TCP subscribers of a stream of datagrams.
 *
 * 1. A subscriber connects and gets a queue.
 * 2. `write` copies a batch once and offers it to every queue.
 * 3. Each subscriber's pump sends piece after piece, as fast as it reads.
 * 4. A queue that is full drops whole datagrams, counted, or ends its subscriber.
 */
import { type Address, formatAddress } from "../../address.ts";
import type { DatagramBatch } from "../../engine/batch.ts";
import { ActivityWatch, type Watched } from "../../activity_watch.ts";
import type { AdmissionStats } from "../../admission.ts";
import { type Admitted, ConnectionGate } from "../../connection_gate.ts";
import { errorCode } from "../../errors.ts";
import type { Log } from "../../observe/log.ts";
import { keepAlive } from "../keep_alive.ts";
import {
  type DatagramWriter,
  LogFormatter,
  MAX_FORMATTED_BYTES,
  type StreamFormat,
} from "../file_log/log_format.ts";
import type { DatagramSink } from "./sink.ts";
import {
  CHUNK_BYTES,
  type Piece,
  SharedChunks,
  type SlowPolicy,
  SubscriberQueue,
} from "./subscriber_queue.ts";

/** Bytes that wait for one subscriber, by default. */
export const DEFAULT_QUEUE_BYTES = 4 << 20;

/** Memory of all subscribers' queues, by default. */
export const DEFAULT_MAX_QUEUED_BYTES = 64 << 20;

/** Subscribers at once, by default. */
export const DEFAULT_MAX_SUBSCRIBERS = 512;

/** How long a subscriber may take none of the bytes that wait for it. */
const STUCK_MS = 60_000;

/** How subscribers are served. */
export interface SubscribersOptions {
  /** What happens to a datagram that finds a queue full. @default {"drop-oldest"} */
  slowPolicy?: SlowPolicy;
  /** Bytes that may wait for one subscriber. @default {4194304} */
  queueBytes?: number;
  /** Memory of all queues together. @default {67108864} */
  maxQueuedBytes?: number | undefined;
  /** Subscribers at once. @default {512} */
  maxConnections?: number | undefined;
  /** Subscribers of one IPv4 address or IPv6 /64 at once. Default: half of `maxConnections`. */
  maxConnectionsPerSource?: number | undefined;
  /** Milliseconds that a subscriber may take none of what waits for it. @default {60000} */
  stuckMs?: number | undefined;
  /** How datagrams are written. @default {"raw"} */
  format?: StreamFormat | undefined;
  /** Where they are received, for `jsonl`. */
  listener?: Address | undefined;
  /** Where arrivals, ends and drops are logged. */
  log: Log;
}

/** One subscriber, as it is now. */
export interface SubscriberStats {
  /** Its address. */
  address: string;
  /** What it has got. */
  sentDatagrams: number;
  /** Bytes that it has got. */
  sentBytes: number;
  /** What its full queue dropped. */
  droppedDatagrams: number;
  /** Bytes of what was dropped. */
  droppedBytes: number;
  /** What waits for it. */
  queuedBytes: number;
}

/** All subscribers, those that left too. */
export interface SubscribersStats {
  /** Subscribers connected now. */
  connected: number;
  /** Connections of subscribers so far. */
  total: number;
  /** Ended by the policy `disconnect`. */
  disconnectedSlow: number;
  /** Datagrams that all of them have got. */
  sentDatagrams: number;
  /** Bytes that all of them have got. */
  sentBytes: number;
  /** Datagrams that full queues dropped. */
  droppedDatagrams: number;
  /** Bytes of what was dropped. */
  droppedBytes: number;
  /** Memory of all queues. */
  memoryBytes: number;
  /** Connections, rejected ones too. */
  admission: AdmissionStats;
  /** Those connected now. */
  subscribers: SubscriberStats[];
}

/** How long a drain's progress is waited for, in milliseconds. */
const DRAIN_LOOK_MS = 20;

/** Gives a stream of datagrams to all who connect. */
export class Subscribers implements DatagramSink {
  readonly #chunks: SharedChunks;
  readonly #formatter: LogFormatter | undefined;
  readonly #writer: DatagramWriter = {
    append: (bytes, size) => this.#chunks.appendRun(bytes, size, this.#queues),
  };
  readonly #queues = new Set<SubscriberQueue>();
  readonly #subscribers = new Set<Subscriber>();
  readonly #slowPolicy: SlowPolicy;
  readonly #queueBytes: number;
  readonly #log: Log;
  readonly #gate: ConnectionGate;
  readonly #watch: ActivityWatch;
  readonly #gone: Omit<
    SubscribersStats,
    "connected" | "subscribers" | "memoryBytes" | "admission"
  > = {
    total: 0,
    disconnectedSlow: 0,
    sentDatagrams: 0,
    sentBytes: 0,
    droppedDatagrams: 0,
    droppedBytes: 0,
  };

  constructor(options: SubscribersOptions) {
    this.#slowPolicy = options.slowPolicy ?? "drop-oldest";
    this.#queueBytes = options.queueBytes ?? DEFAULT_QUEUE_BYTES;
    this.#log = options.log;
    const { format = "raw", listener } = options;
    this.#formatter = format === "raw"
      ? undefined
      : new LogFormatter(format, listener);
    this.#chunks = new SharedChunks(
      Math.max(CHUNK_BYTES, this.#formatter ? MAX_FORMATTED_BYTES : 0),
      options.maxQueuedBytes ??
        Math.max(DEFAULT_MAX_QUEUED_BYTES, this.#queueBytes),
    );
    const {
      maxConnections = DEFAULT_MAX_SUBSCRIBERS,
      maxConnectionsPerSource,
      stuckMs = STUCK_MS,
    } = options;
    this.#gate = new ConnectionGate({
      listener: "subscribers",
      maxConnections,
      maxConnectionsPerSource,
      // A subscriber has nothing to send: it is proved by its connection, and
      // only taking no bytes while some wait tells a stuck one from a good one.
      proveWithinMs: stuckMs,
      idleMs: stuckMs,
      log: options.log,
    });
    this.#watch = new ActivityWatch(stuckMs);
  }

  /** Serves a connection from now on; it belongs to this object. */
  add(connection: Deno.TcpConn): void {
    let admitted: Subscriber | undefined;
    const close = () =>
      admitted ? admitted.end("too slow") : connection.close();
    const peer = this.#gate.admit({ close }, connection.remoteAddr.hostname);
    if (!peer) return;
    peer.prove();
    admitted = this.#serve(connection, peer);
  }

  #serve(connection: Deno.TcpConn, peer: Admitted): Subscriber {
    const queue = new SubscriberQueue(
      this.#chunks,
      this.#slowPolicy,
      this.#queueBytes,
    );
    const subscriber = new Subscriber(connection, queue, (reason) => {
      this.#subscribers.delete(subscriber);
      this.#queues.delete(queue);
      this.#watch.delete(watched);
      peer.release();
      this.#takeLeave(subscriber, reason);
    });
    const watched: Watched = {
      peer,
      movedBytes: () => subscriber.sentBytes,
      isDue: () => subscriber.busy,
    };
    this.#gone.total++;
    this.#subscribers.add(subscriber);
    this.#queues.add(queue);
    this.#watch.add(watched);
    this.#log.info("subscriber connected", { address: subscriber.address });
    return subscriber;
  }

  write(batch: DatagramBatch): void {
    if (this.#queues.size === 0) return;
    const formatter = this.#formatter;
    const timeMs = formatter?.format === "jsonl" ? Date.now() : 0;
    for (let slot = 0; slot < batch.count; slot++) {
      if (formatter) formatter.writeSlot(batch, slot, timeMs, this.#writer);
      else this.#chunks.append(batch, slot, this.#queues);
    }
    for (const subscriber of this.#subscribers) subscriber.pump();
  }

  /** What was sent and dropped so far. */
  stats(): SubscribersStats {
    const subscribers = [...this.#subscribers].map((subscriber) =>
      subscriber.stats()
    );
    const sum = { ...this.#gone };
    for (const one of subscribers) {
      sum.sentDatagrams += one.sentDatagrams;
      sum.sentBytes += one.sentBytes;
      sum.droppedDatagrams += one.droppedDatagrams;
      sum.droppedBytes += one.droppedBytes;
    }
    return {
      ...sum,
      connected: subscribers.length,
      memoryBytes: this.#chunks.memoryBytes,
      admission: this.#gate.stats(),
      subscribers,
    };
  }

  /** Resolves when nothing waits for anybody; `dispose` ends it too. */
  async drained(): Promise<void> {
    while ([...this.#subscribers].some((subscriber) => subscriber.busy)) {
      await new Promise((resolve) => setTimeout(resolve, DRAIN_LOOK_MS));
    }
  }

  /** Ends every subscriber now; what waits for them is counted as dropped. */
  [Symbol.asyncDispose](): Promise<void> {
    for (const subscriber of [...this.#subscribers]) subscriber.end("closed");
    this.#watch[Symbol.dispose]();
    this.#gate[Symbol.dispose]();
    return Promise.resolve();
  }

  #takeLeave(subscriber: Subscriber, reason: string): void {
    const {
      address,
      sentDatagrams,
      sentBytes,
      droppedDatagrams,
      droppedBytes,
    } = subscriber
      .stats();
    this.#gone.sentDatagrams += sentDatagrams;
    this.#gone.sentBytes += sentBytes;
    this.#gone.droppedDatagrams += droppedDatagrams;
    this.#gone.droppedBytes += droppedBytes;
    if (reason === "too slow") this.#gone.disconnectedSlow++;
    this.#log.info("subscriber ended", {
      address,
      reason,
      sentBytes,
      droppedDatagrams,
    });
  }
}

/** One connection and its queue. */
class Subscriber {
  readonly address: string;
  readonly #connection: Deno.TcpConn;
  readonly #queue: SubscriberQueue;
  readonly #onEnd: (reason: string) => void;
  #sentDatagrams = 0;
  #sentBytes = 0;
  #piece: Piece | undefined;
  /** Bytes of the piece that are not sent yet. */
  #unsentBytes = 0;
  #ended = false;

  constructor(
    connection: Deno.TcpConn,
    queue: SubscriberQueue,
    onEnd: (reason: string) => void,
  ) {
    this.#connection = connection;
    this.#queue = queue;
    this.#onEnd = onEnd;
    const { hostname, port } = connection.remoteAddr;
    this.address = formatAddress({ hostname, port });
    connection.setNoDelay(true);
    keepAlive(connection);
    this.#watch();
  }

  /** Whether something is on its way or waits. */
  get busy(): boolean {
    return this.#piece !== undefined || this.#queue.bytes > 0;
  }

  /** Bytes that it has got. */
  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** Sends what waits, unless that is going on. */
  pump(): void {
    if (this.#queue.overflowed) {
      this.end("too slow");
      return;
    }
    if (this.#piece || this.#ended) return;
    if (this.#next()) this.#send();
  }

  /** Ends the connection; what waits is dropped, counted. */
  end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#queue.clear();
    if (this.#piece) {
      // Those that the system has taken whole are sent, the others are not.
      const { bytes, datagrams } = this.#piece;
      const sent = this.#queue.datagramsBefore(
        bytes.length - this.#unsentBytes,
      );
      this.#sentDatagrams += sent;
      this.#queue.droppedDatagrams += datagrams - sent;
      this.#queue.droppedBytes += this.#unsentBytes;
      this.#unsentBytes = 0;
    }
    this.#onEnd(reason);
    this.#connection.close();
  }

  stats(): SubscriberStats {
    return {
      address: this.address,
      sentDatagrams: this.#sentDatagrams,
      sentBytes: this.#sentBytes,
      droppedDatagrams: this.#queue.droppedDatagrams,
      droppedBytes: this.#queue.droppedBytes,
      queuedBytes: this.#queue.bytes + this.#unsentBytes,
    };
  }

  #next(): Piece | undefined {
    this.#piece = this.#queue.take();
    this.#unsentBytes = this.#piece?.bytes.length ?? 0;
    return this.#piece;
  }

  async #send(): Promise<void> {
    try {
      for (let piece = this.#piece; piece; piece = this.#next()) {
        while (this.#unsentBytes > 0) {
          const taken = await this.#connection.write(
            piece.bytes.subarray(piece.bytes.length - this.#unsentBytes),
          );
          // What it took while it was ended is counted as dropped already.
          if (this.#ended) break;
          this.#unsentBytes -= taken;
          this.#sentBytes += taken;
        }
        if (this.#ended) break;
        this.#sentDatagrams += piece.datagrams;
        this.#queue.done();
      }
      if (this.#ended) this.#queue.done();
    } catch (error) {
      this.end(errorCode(error) ?? String(error));
      this.#queue.done();
    }
  }

  /**
   * What a subscriber says is passed over; an end of its own stream is no end
   * of ours (`nc` with an empty stdin), but a reset is.
   */
  async #watch(): Promise<void> {
    const ignored = new Uint8Array(1024);
    try {
      while (await this.#connection.read(ignored) !== null);
    } catch (error) {
      this.end(errorCode(error) ?? String(error));
    }
  }
}
