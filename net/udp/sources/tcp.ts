/**
 * TCP and TLS hosts whose streams are fed to sinks.
 *
 * 1. The name is resolved, all its addresses are tried.
 * 2. TLS, where it is asked for, verifies the host.
 * 3. The connection is fed to the sinks until it ends.
 * 4. After a back-off, all over again.
 */
import { type Address, formatAddress, hostWithZone } from "../../address.ts";
import { backoffMs } from "../../backoff.ts";
import { resolveAll } from "../../engine/resolve.ts";
import { Waiter } from "../../engine/waiter.ts";
import { errorCode, errorText } from "../../errors.ts";
import { CounterBlock } from "../../observe/counters.ts";
import type { Log } from "../../observe/log.ts";
import type { Task } from "../../tasks.ts";
import { connectTls, type TlsClientOptions } from "../../tls_client.ts";
import { keepAlive } from "../keep_alive.ts";
import { type CutOptions, makeCutter } from "./splitter.ts";
import { type ByteSource, Feed, FEED_COUNTERS } from "./stream_pump.ts";
import { IdleWatch } from "./idle_watch.ts";
import type { DatagramSink } from "../sinks/sink.ts";

/** One host to connect to. */
export interface TcpUpstream {
  /** Where to connect. */
  address: Address;
  /** TLS where it is spoken. Default: plain TCP. */
  tls?: TlsClientOptions | undefined;
}

/** A host's figures. */
export interface TcpSourceStats {
  /** Where it connects. */
  address: string;
  /** Whether it is connected now. */
  connected: boolean;
  /** Times it has connected. */
  connects: number;
  /** Connects that failed and connections that broke. */
  failures: number;
  /** Bytes read so far. */
  readBytes: number;
  /** Datagrams made of them. */
  cutDatagrams: number;
  /** Lines and records that were dropped because the connection ended in them. */
  droppedPartial: number;
  /** Milliseconds since data was received, or since the start. */
  silentMs: number;
}

/** Back-off between connects: from half a second to the original's five. */
const BACKOFF = { firstMs: 500, mostMs: 5000 };

/** How long one connect may take, in milliseconds. */
const CONNECT_TIMEOUT_MS = 10_000;

/** What a {@linkcode TcpSource} works on. */
export interface TcpSourceOptions extends CutOptions {
  /** Silence after which a connection is closed and made again, in milliseconds. Default: none. */
  idleTimeoutMs?: number | undefined;
  /** How long a record waits to be filled, in milliseconds. @default {100} */
  fillWaitMs?: number | undefined;
  upstream: TcpUpstream;
  /** Where datagrams go; who made them closes them. */
  sinks: readonly DatagramSink[];
  log: Log;
}

/** Connects to a host, feeds its stream to the sinks, and connects again. */
export class TcpSource implements Task {
  readonly #options: TcpSourceOptions;
  readonly #counters = new CounterBlock(FEED_COUNTERS);
  readonly #silence = new IdleWatch({
    readBytes: () => this.#counters.slots[0]!,
    onIdle: () => {},
  });
  readonly #waiter = new Waiter();
  readonly #abort = new AbortController();
  #connected = false;
  #connects = 0;
  #failures = 0;
  #feed: Feed | undefined;

  constructor(options: TcpSourceOptions) {
    this.#options = options;
  }

  /** Its figures now. */
  stats(): TcpSourceStats {
    return {
      address: formatAddress(this.#options.upstream.address),
      connected: this.#connected,
      connects: this.#connects,
      failures: this.#failures,
      ...this.#counters.read(),
      silentMs: this.#silence.check(),
    };
  }

  async run(): Promise<void> {
    const { upstream, log } = this.#options;
    const address = formatAddress(upstream.address);
    let failuresInRow = 0;
    while (!this.#abort.signal.aborted) {
      let reason: string;
      try {
        using connection = await openUpstream(upstream, this.#abort.signal);
        this.#connected = true;
        this.#connects++;
        log.info("connected", { address });
        const before = this.#counters.read().readBytes;
        try {
          reason = await this.#feedFrom(connection);
        } catch (error) {
          this.#failures++;
          reason = errorCode(error) ?? String(error);
        }
        this.#connected = false;
        // Only a host that has given something is one that works.
        if (this.#counters.read().readBytes > before) failuresInRow = 0;
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        this.#failures++;
        reason = errorText(error);
      }
      if (this.#abort.signal.aborted) return;
      const retryMs = backoffMs(++failuresInRow, Math.random(), BACKOFF);
      log.warn("not connected, trying again", {
        address,
        reason,
        retrySeconds: (retryMs / 1000).toFixed(1),
      });
      const waiting = this.#waiter.wait(retryMs);
      if (waiting) await waiting;
    }
  }

  stop(): void {
    this.#abort.abort();
    this.#feed?.stop();
    this.#waiter.wake();
  }

  /** Feeds until the connection ends, in order or by silence; why it ended. */
  async #feedFrom(source: ByteSource): Promise<string> {
    const { sinks, idleTimeoutMs } = this.#options;
    const cutter = makeCutter(this.#options);
    const feed = this.#feed = new Feed({
      source,
      cutter,
      sinks,
      counters: this.#counters.slots,
      fillWaitMs: this.#options.fillWaitMs,
      onPartial: "drop",
    });
    let idle = false;
    using _watch = new IdleWatch({
      readBytes: () => feed.readBytes,
      idleMs: idleTimeoutMs,
      onIdle: () => {
        idle = true;
        feed.stop();
      },
    });
    await feed.run();
    this.#feed = undefined;
    if (!idle) return "the host ended the connection";
    this.#failures++;
    return "idle timeout";
  }
}

type Upstream = ByteSource & Disposable;

async function openUpstream(
  upstream: TcpUpstream,
  signal: AbortSignal,
): Promise<Upstream> {
  const { address, tls } = upstream;
  const deadline = AbortSignal.any([
    signal,
    AbortSignal.timeout(CONNECT_TIMEOUT_MS),
  ]);
  let failure: unknown;
  for (const found of await resolveAll(address)) {
    try {
      return tls
        ? await connectTls(address, found, tls, deadline)
        : await connectTcp(found, deadline);
    } catch (error) {
      failure = error;
      if (signal.aborted) break;
    }
  }
  throw failure;
}

async function connectTcp(
  address: Address,
  signal: AbortSignal,
): Promise<Upstream> {
  const connection = await Deno.connect({
    hostname: hostWithZone(address),
    port: address.port,
    signal,
  });
  keepAlive(connection);
  return {
    read: (into) => connection.read(into),
    [Symbol.dispose]: () => connection.close(),
  };
}
