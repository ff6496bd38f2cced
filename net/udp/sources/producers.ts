/** TCP producers: whoever connects is fed to the sinks, each for itself. */
import { type Address, formatAddress } from "../../address.ts";
import { errorCode, errorText } from "../../errors.ts";
import { CounterBlock } from "../../observe/counters.ts";
import type { Log } from "../../observe/log.ts";
import { Tasks } from "../../tasks.ts";
import { type Acceptor, acceptTcp } from "./accept.ts";
import { type CutOptions, makeCutter } from "./splitter.ts";
import { Feed, FEED_COUNTERS } from "./stream_pump.ts";
import { IdleWatch } from "./idle_watch.ts";
import type { DatagramSink } from "../sinks/sink.ts";

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
  /** Opens the sinks of one producer. */
  openSinks: () => Promise<ProducerSinks>;
  log: Log;
}

/** Accepts producers and feeds each of them. */
export class Producers implements AsyncDisposable {
  readonly #options: ProducersOptions;
  readonly #counters = new CounterBlock(FEED_COUNTERS);
  readonly #feeds = new Tasks();
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
  }

  #serve(connection: Deno.TcpConn): void {
    const { remoteAddr: { hostname, port } } = connection;
    const address = formatAddress({ hostname, port });
    const { log } = this.#options;
    let feed: Feed | undefined;
    let stopped = false;
    const run = async () => {
      this.#connected++;
      this.#total++;
      log.info("producer connected", { address });
      let reason = "it ended";
      try {
        await using opened = await this.#options.openSinks();
        const { sinks } = opened;
        const cutter = makeCutter(this.#options);
        const counters = this.#counters.slots;
        const { fillWaitMs } = this.#options;
        feed = new Feed({
          source: connection,
          cutter,
          sinks,
          counters,
          fillWaitMs,
          onPartial: "end-line",
        });
        if (stopped) feed.stop();
        const fed = feed;
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
        connection.close();
        this.#connected--;
      }
      log.info("producer ended", { address, reason });
    };
    const stop = () => {
      stopped = true;
      feed?.stop();
    };
    this.#feeds.start({ run, stop });
  }
}
