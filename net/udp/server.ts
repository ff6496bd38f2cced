/** The server role: UDP and multicast to a log file, or to one for each address or source. */
import type { Address } from "../address.ts";
import type { DatagramBatch } from "../engine/batch.ts";
import { type OperationError, UsageError } from "../errors.ts";
import { type Task, Tasks } from "../tasks.ts";
import { checkListeners } from "./distinct.ts";
import { Listeners, type ListenerStats } from "./listeners.ts";
import {
  checkDispatchOptions,
  checkEngine,
  checkRange,
  chooseEngine,
  type DispatchOptions,
  logOf,
} from "./options.ts";
import { endOnAbort, type RoleHandle } from "./role.ts";
import {
  checkOutput,
  isSplitBySender,
  type LogStats,
  openOutput,
  type OutputOptions,
  type StreamStats,
} from "./server_output.ts";
import type { DatagramSink } from "./sinks/sink.ts";
import { openTee, type TeeStats, teeStats } from "./sinks/tee.ts";

/** What a server takes and how it keeps it; a `path` of `-` is stdout. */
export interface ServerOptions
  extends Omit<DispatchOptions, "ttl" | "loop">, OutputOptions {
  /** UDP addresses and groups to listen on. */
  listen: readonly Address[];
  /** Threads for each unicast listener (linux engine). @default {1} */
  workers?: number | undefined;
}

/** A server's figures. */
export interface ServerStats {
  /** What each listener received and lost. */
  listeners: ListenerStats[];
  /** What went to files, where the output is files. */
  log: LogStats | undefined;
  /** What went to stdout or a named pipe, where that is the output. */
  stream: StreamStats | undefined;
  /** What stdout got, with `tee`. */
  tee: TeeStats | undefined;
  /** Milliseconds since the start. */
  elapsedMs: number;
}

/** A running server. */
export interface ServerHandle extends RoleHandle<ServerStats> {
  /** Where it listens, with the real ports. */
  readonly addresses: readonly Address[];
  /** Opens files anew that another program, such as logrotate, has renamed. */
  reopen(): void;
}

/**
 * Logs what comes from every address, until drained.
 * As MPROXY's `listener`.
 *
 * @throws {UsageError} where the options cannot be right.
 * @throws {OperationError} where an address or a file cannot be had.
 */
export async function startServer(
  options: ServerOptions,
): Promise<ServerHandle> {
  const { listen, path } = options;
  if (listen.length === 0) {
    throw new UsageError("No source: pass `listen`", { option: "listen" });
  }
  if (path === "-" && options.tee) {
    throw new UsageError(
      "Cannot use `tee` with `path` -: both write to stdout; leave out `tee`",
      { option: ["tee", "path"] },
    );
  }
  checkListeners(listen);
  checkRange("workers", options.workers, 1, 64);
  checkDispatchOptions(options);

  const log = logOf(options);
  const engine = chooseEngine(options, log);
  checkEngine(engine, options, { listen });
  const kind = checkOutput(options);
  const startedMs = performance.now();
  await using opening = new AsyncDisposableStack();
  const tee = options.tee ? opening.use(openTee(log, "drop")) : undefined;
  const late: LateSink[] = [];
  const listeners = opening.use(
    await Listeners.open({
      engine,
      addresses: listen,
      options,
      log,
      sinksOf: (address) => {
        const sink = new LateSink(address);
        late.push(sink);
        return tee ? [sink, tee] : [sink];
      },
      logsInstead: kind === "file" && tee === undefined &&
        !isSplitBySender(options.split),
      alone: kind === "file" && tee === undefined,
      workers: options.workers,
    }),
  );
  const tasks = new Tasks();
  const outputTask = new OutputTask();
  let failure: OperationError | undefined;
  const onFailure = (reason: OperationError): void => {
    failure ??= reason;
    outputTask.fail(reason);
  };
  const output = opening.use(
    await openOutput(options, kind, listeners.placed, log, {
      onFailure,
      onReaderLeft: () => {
        log.info("ending: the reader left", { path });
        tasks.stop();
      },
    }),
  );
  if (listeners.placed) {
    await listeners.openLogs((address) => output.logOf(address), onFailure);
  }
  for (const sink of late) sink.open(output.sinkOf(sink.address));
  const resources = opening.move();

  for (const task of [...listeners.tasks, outputTask]) tasks.start(task);
  tasks.seal();
  const warnings = setInterval(() => listeners.warnOfDrops(), 1000);
  const run = async (): Promise<void> => {
    try {
      await tasks.finished;
      await output.drain();
    } finally {
      clearInterval(warnings);
      await resources.disposeAsync();
    }
    // The last write of all may be the first one that fails.
    if (failure) throw failure;
  };
  return {
    ...endOnAbort(options.signal, {
      finished: run(),
      stats: () => ({
        listeners: listeners.stats(),
        log: output.logStats(),
        stream: output.streamStats(),
        tee: teeStats(tee),
        elapsedMs: performance.now() - startedMs,
      }),
      ready: () => listeners.ready(),
      stop: () => tasks.stop(),
      abort: () => void output.abort(),
    }),
    addresses: listeners.addresses,
    reopen: () => output.reopen(),
  };
}

/**
 * A listener's place for its output, which is opened when all addresses are
 * bound: a port in use leaves no file behind.
 */
class LateSink implements DatagramSink {
  /** The bound address of the listener. */
  readonly address: Address;
  #sink: DatagramSink | undefined;

  constructor(address: Address) {
    this.address = address;
  }

  /** Has all batches go to a sink; whoever made it closes it. */
  open(sink: DatagramSink): void {
    this.#sink = sink;
  }

  write(batch: DatagramBatch): Promise<void> | void {
    return this.#sink!.write(batch);
  }

  flush(): Promise<void> | void {
    return this.#sink!.flush?.();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

/** Ends all other tasks when the output fails. */
class OutputTask implements Task {
  readonly #ended = Promise.withResolvers<void>();

  run(): Promise<void> {
    return this.#ended.promise;
  }

  stop(): void {
    this.#ended.resolve();
  }

  /** The output takes nothing more. */
  fail(reason: Error): void {
    this.#ended.reject(reason);
  }
}
