/** TCP producers: whoever connects is fed to the sinks, each for itself. */
import { ActivityWatch, type Watched } from "../../activity_watch.ts";
import { type Address, formatAddress } from "../../address.ts";
import { ConnectionGate } from "../../connection_gate.ts";
import { errorCode, errorText } from "../../errors.ts";
import { CounterBlock } from "../../observe/counters.ts";
import type { Log } from "../../observe/log.ts";
import { Tasks } from "../../tasks.ts";
import { type Acceptor, acceptTcp } from "./accept.ts";
import {
  type CutOptions,
  DEFAULT_DATAGRAM_BYTES,
  makeCutter,
} from "./splitter.ts";
import { type ByteSource, Feed, FEED_COUNTERS } from "./stream_pump.ts";
import { IdleWatch } from "./idle_watch.ts";
import type { DatagramSink } from "../sinks/sink.ts";

/** Producers at once, by default. */
export const DEFAULT_MAX_PRODUCERS = 512;

/** How long a producer may take to send its first byte. */
const FIRST_BYTE_MS = 60_000;

/** Least bytes read at first: what a producer costs until it has sent something. */
const FIRST_READ_BYTES = 2048;

/** Limits of producers, over all their listeners. */
export interface ProducerLimits {
  /** Producers at once. @default {512} */
  maxConnections?: number | undefined;
  /** Producers of one IPv4 address or IPv6 /64 at once. Default: half of `maxConnections`. */
  maxConnectionsPerSource?: number | undefined;
  /** Silence after which a producer is closed, in milliseconds. Default: none after its first byte. */
  idleTimeoutMs?: number | undefined;
}

/** Admits producers; a silent one makes room for a new one at a limit. */
export function producerGate(
  limits: ProducerLimits,
  log: Log,
): ConnectionGate {
  const { maxConnections = DEFAULT_MAX_PRODUCERS, idleTimeoutMs = Infinity } =
    limits;
  return new ConnectionGate({
    listener: "producers",
    maxConnections,
    maxConnectionsPerSource: limits.maxConnectionsPerSource,
    proveWithinMs: Math.min(FIRST_BYTE_MS, idleTimeoutMs),
    log,
  });
}

/** Producers' figures. */
export interface ProducersStats {
  /** Where they connect. */
  address: string;
  /** Producers connected now. */
  connected: number;
  /** Connections of producers so far. */
  total: number;
  /** Bytes read from all producers so far. */
  readBytes: number;
  /** Datagrams made of them. */
  cutDatagrams: number;
  /** Lines and records that were dropped because a connection broke in them. */
  droppedPartial: number;
}

/** Where one producer's datagrams go, until it ends. */
export interface ProducerSinks extends AsyncDisposable {
  readonly sinks: readonly DatagramSink[];
}

/** What producers are served with. */
export interface ProducersOptions extends CutOptions {
  /** Silence after which a producer is closed, in milliseconds. Default: none. */
  idleTimeoutMs?: number | undefined;
  /** How long a record waits to be filled, in milliseconds. @default {100} */
  fillWaitMs?: number | undefined;
  /** Where to listen. */
  address: Address;
  /** Admits producers. */
  gate: ConnectionGate;
  /** Opens the sinks of one producer. */
  openSinks: () => Promise<ProducerSinks>;
  log: Log;
}

/** Accepts producers and feeds each of them. */
export class Producers implements AsyncDisposable {
  readonly #options: ProducersOptions;
  readonly #counters = new CounterBlock(FEED_COUNTERS);
  readonly #feeds = new Tasks();
  readonly #watch = new ActivityWatch();
  #acceptor: Acceptor | undefined;
  #connected = 0;
  #total = 0;

  private constructor(options: ProducersOptions) {
    this.#options = options;
  }

  /** Listens; throws an OperationError where that cannot be. */
  static async open(options: ProducersOptions): Promise<Producers> {
    const producers = new Producers(options);
    producers.#acceptor = await acceptTcp(
      options.address,
      (connection) => producers.#serve(connection),
      options.log,
    );
    options.log.info("listening for producers", {
      address: formatAddress(producers.address),
    });
    return producers;
  }

  /** The bound address, with the real port. */
  get address(): Address {
    return this.#acceptor!.address;
  }

  stats(): ProducersStats {
    return {
      address: formatAddress(this.address),
      connected: this.#connected,
      total: this.#total,
      ...this.#counters.read(),
    };
  }

  /** Takes no one new and ends those that are there. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#acceptor?.[Symbol.dispose]();
    this.#feeds.stop();
    await this.#feeds.finished;
    this.#watch[Symbol.dispose]();
  }

  #serve(connection: Deno.TcpConn): void {
    const { remoteAddr: { hostname, port } } = connection;
    const peer = this.#options.gate.admit(connection, hostname);
    if (!peer) return;
    const address = formatAddress({ hostname, port });
    const { log } = this.#options;
    let feed: Feed | undefined;
    let stopped = false;
    const watched: Watched = {
      peer,
      movedBytes: () => feed?.readBytes ?? 0,
      isDue: () => true,
    };
    const run = async () => {
      this.#connected++;
      this.#total++;
      log.info("producer connected", { address });
      let reason = "it ended";
      try {
        const first = await firstBytes(connection, this.#options);
        if (first === null) return;
        peer.prove();
        await using opened = await this.#options.openSinks();
        const { sinks } = opened;
        const cutter = makeCutter(this.#options);
        const counters = this.#counters.slots;
        const { fillWaitMs } = this.#options;
        feed = new Feed({
          source: after(first, connection),
          cutter,
          sinks,
          counters,
          fillWaitMs,
          onPartial: "end-line",
        });
        if (stopped) feed.stop();
        const fed = feed;
        this.#watch.add(watched);
        using _watch = new IdleWatch({
          readBytes: () => fed.readBytes,
          idleMs: this.#options.idleTimeoutMs,
          onIdle: () => {
            reason = "idle timeout";
            fed.stop();
          },
        });
        await feed.run();
      } catch (error) {
        // One producer's failure is nobody else's.
        reason = errorCode(error) ??
          (errorText(error));
      } finally {
        this.#watch.delete(watched);
        if (peer.isOpen()) connection.close();
        else reason = "closed by admission";
        peer.release();
        this.#connected--;
        log.info("producer ended", { address, reason });
      }
    };
    const stop = () => {
      stopped = true;
      if (feed) feed.stop();
      else peer.close();
    };
    this.#feeds.start({ run, stop });
  }
}

/** The first bytes of a producer, as many as make whole datagrams; null at its end. */
async function firstBytes(
  connection: Deno.TcpConn,
  { datagramBytes = DEFAULT_DATAGRAM_BYTES }: CutOptions,
): Promise<Uint8Array<ArrayBuffer> | null> {
  const datagrams = Math.ceil(FIRST_READ_BYTES / datagramBytes);
  const buffer = new Uint8Array(datagrams * datagramBytes);
  const bytes = await connection.read(buffer);
  return bytes === null ? null : buffer.subarray(0, bytes);
}

/** A connection with its first bytes put back. */
function after(
  first: Uint8Array<ArrayBuffer>,
  connection: Deno.TcpConn,
): ByteSource {
  let rest = first;
  return {
    read(into) {
      if (rest.length === 0) return connection.read(into);
      const bytes = Math.min(rest.length, into.length);
      into.set(rest.subarray(0, bytes));
      rest = rest.subarray(bytes);
      return bytes;
    },
  };
}
