/** The client role: a file, a device or stdin to UDP destinations. */
import type { Address } from "../address.ts";
import { CounterBlock } from "../observe/counters.ts";
import { Tasks } from "../tasks.ts";
import {
  DEFAULT_DATAGRAM_BYTES,
  makeCutter,
  type RecordOptions,
} from "./sources/splitter.ts";
import {
  closeAll,
  Destinations,
  type DestinationStats,
} from "./sinks/destinations.ts";
import { checkDestinations, checkSomeDestination } from "./distinct.ts";
import { Feed, FEED_COUNTERS } from "./sources/stream_pump.ts";
import { checkFileSource, openFileSource } from "./sources/file.ts";
import {
  checkDispatchOptions,
  checkEngine,
  chooseEngine,
  type DispatchOptions,
  logOf,
} from "./options.ts";
import { checkRecordOptions } from "./sources/record_options.ts";
import { LiveDestinations } from "./sinks/live_destinations.ts";
import { Pacer } from "./sources/pacer.ts";
import { endOnAbort, type RoleHandle } from "./role.ts";
import type { DatagramSink } from "./sinks/sink.ts";
import { openTee, type TeeStats, teeStats } from "./sinks/tee.ts";

/** What a client sends, and how. */
export interface ClientOptions extends DispatchOptions, RecordOptions {
  /** A file, a named pipe, a device, or `-` for stdin. */
  path: string;
  /** Where to send; none is right only with `tee`. */
  destinations: readonly Address[];
  /** Bits per second at most. Default: as fast as the path takes it. */
  bitsPerSecond?: number | undefined;
  /** Whether to wait for more at the end of the file. @default {false} */
  follow?: boolean | undefined;
  /** Speed of a serial port; a terminal device is read in raw mode with or without it. Default: the one that it has. */
  baud?: number | undefined;
}

/** A client's figures. */
export interface ClientStats {
  /** Bytes read so far. */
  readBytes: number;
  /** Bytes of the file when it was opened; undefined for pipes and devices. */
  sizeBytes: number | undefined;
  /** Datagrams made of them. */
  cutDatagrams: number;
  /** Lines and records that were dropped unfinished: none, a file's last one is sent. */
  droppedPartial: number;
  /** Milliseconds since the start. */
  elapsedMs: number;
  /** What each destination got. */
  destinations: DestinationStats[];
  /** What stdout got, with `tee`. */
  tee: TeeStats | undefined;
}

/** A running client. */
export interface ClientHandle extends RoleHandle<ClientStats> {
  /** Sends to other addresses from the next datagram on. */
  setDestinations(addresses: readonly Address[]): Promise<void>;
}

/**
 * Sends a file to every destination. `finished` resolves when all of it is
 * sent, and rejects where reading fails.
 * As MPROXY's `client_socket_stream`.
 *
 * @throws {UsageError} where the options cannot be right or the file cannot be read.
 * @throws {OperationError} where a destination cannot be reached at all.
 */
export async function startClient(
  options: ClientOptions,
): Promise<ClientHandle> {
  const { path, destinations: addresses, follow = false, lines = false } =
    options;
  const { datagramBytes = DEFAULT_DATAGRAM_BYTES, bitsPerSecond } = options;
  checkSomeDestination(addresses, options.tee);
  checkRecordOptions(options);
  checkDestinations(addresses);
  checkDispatchOptions(options);

  const log = logOf(options);
  const engine = chooseEngine(options, log);
  checkEngine(engine, options, { to: addresses });
  await checkFileSource(path, { follow, baud: options.baud });
  const startedMs = performance.now();
  const pacer = bitsPerSecond === undefined
    ? undefined
    : new Pacer(bitsPerSecond, datagramBytes, startedMs);
  // What comes from a file can wait: a full send queue holds it up, nothing is dropped.
  const destinations = new LiveDestinations(
    (to) => new Destinations(engine, to, options, log, Infinity),
    addresses,
  );
  await using opening = new AsyncDisposableStack();
  const tee = options.tee ? opening.use(openTee(log, "wait")) : undefined;
  // A file is sent once: with no destination at all it must not be.
  const opened = await (follow ? destinations.open() : destinations.openSome());
  opening.defer(() => closeAll(opened));
  const source = opening.use(
    await openFileSource(path, {
      follow,
      baud: options.baud,
      onRestart: (reason) =>
        log.warn("the followed file starts over", { path, reason }),
      onWaiting: (reason) =>
        log.warn("the followed file cannot be read, waiting", { path, reason }),
      onOpen: () => log.info("opened", { path }),
    }),
  );
  const resources = opening.move();

  const counters = new CounterBlock(FEED_COUNTERS);
  const sinks: DatagramSink[] = tee ? [...opened, tee] : opened;
  const cutter = makeCutter({
    datagramBytes,
    lines,
    fill: options.fill,
    slots: engine.batchSize,
    ...(pacer ? { burstBytes: pacer.burstBytes } : {}),
  });
  const feed = new Feed({
    source,
    cutter,
    sinks,
    counters: counters.slots,
    pacer,
    holds: options.holdsThread,
    fillWaitMs: options.fillWaitMs,
  });
  const tasks = new Tasks();
  tasks.start({ run: () => feed.run(), stop: () => feed.stop() });
  tasks.seal();
  const warnings = setInterval(() => destinations.warnOfDrops(), 1000);
  let endedMs: number | undefined;
  const finished = tasks.finished.finally(async () => {
    endedMs = performance.now();
    clearInterval(warnings);
    await resources.disposeAsync();
  });
  const handle = endOnAbort(options.signal, {
    finished,
    stats: () => ({
      ...counters.read(),
      sizeBytes: source.size,
      elapsedMs: (endedMs ?? performance.now()) - startedMs,
      destinations: destinations.stats(),
      tee: teeStats(tee),
    }),
    ready: () => destinations.ready(),
    stop: () => tasks.stop(),
    // A reader of stdout that takes nothing, or a full send queue, is waited for no more.
    abort: () => resources.disposeAsync(),
  });
  return {
    ...handle,
    setDestinations: async (to) => {
      checkSomeDestination(to, options.tee);
      checkDestinations(to);
      checkEngine(engine, options, { to });
      await destinations.replace(to);
    },
  };
}
