/** Where a server's datagrams go: files, stdout or a named pipe. */
import { basename, dirname, join } from "@std/path";
import type { Address } from "../address.ts";
import { type OperationError, UsageError } from "../errors.ts";
import { CounterBlock } from "../observe/counters.ts";
import type { Log } from "../observe/log.ts";
import type { PlannedLog } from "./worker/loop_plan.ts";
import { LOG_COUNTERS, type LogCounter } from "./file_log/append_file.ts";
import { fileError } from "./file_log/file_error.ts";
import { FileState } from "./file_log/file_state.ts";
import {
  checkLogFileOptions,
  LogFile,
  type LogFileOptions,
  type SenderSplit,
} from "./file_log/log_file.ts";
import { FormattedStdout } from "./file_log/log_format.ts";
import { splitName } from "./file_log/log_name.ts";
import { checkLogPath, type LogPathKind } from "./file_log/log_path.ts";
import type { DatagramSink } from "./sinks/sink.ts";
import { type StdoutCounter, StdoutSink } from "./sinks/stdout.ts";

/** How a server's datagrams are spread over files. */
export const SPLIT_CHOICES = ["address", "source", "source-port"] as const;

/**
 * One of {@linkcode SPLIT_CHOICES}: by the address that received them, by the
 * address that sent them, or by its port as well.
 */
export type Split = typeof SPLIT_CHOICES[number];

/** Whether files are those of senders. */
export function isSplitBySender(
  split: Split | undefined,
): split is SenderSplit {
  return split === "source" || split === "source-port";
}

/** What went to files and what did not. */
export type LogStats = Record<LogCounter, number>;

/** What went to stdout or a named pipe and what did not. */
export type StreamStats = Record<StdoutCounter, number>;

/** Options of a server's output. */
export interface OutputOptions extends
  Pick<
    LogFileOptions,
    | "path"
    | "format"
    | "maxOpenFiles"
    | "maxSources"
    | "rotateBytes"
    | "rotateIntervalMs"
    | "keepFiles"
    | "gzip"
    | "fsync"
    | "onWriteError"
  > {
  /** A file for each address or each source, with its address in the name. Default: one file. */
  split?: Split | undefined;
  /** Whether a named pipe waits for its next reader when the reader leaves; else the server ends. @default {false} */
  reopen?: boolean | undefined;
}

/** What an output tells the role. */
export interface OutputEvents {
  /** Nothing is written any more, because of a failure. */
  onFailure: (reason: OperationError) => void;
  /** Nothing is written any more, because the reader left. */
  onReaderLeft: () => void;
}

/** Takes the datagrams of all listeners. */
export interface ServerOutput extends AsyncDisposable {
  /** The sink of one listener; this object closes it. */
  sinkOf(address: Address): DatagramSink;
  /** The same for a listener in a Worker, where the output was opened for such ones. */
  logOf(address: Address): PlannedLog;
  /** What went to files, where there are any. */
  logStats(): LogStats | undefined;
  /** What went to stdout or a named pipe, where there is one. */
  streamStats(): StreamStats | undefined;
  /** Opens files anew that another program has renamed. */
  reopen(): void;
  /** Resolves when all is written, and rotated files are compressed. */
  drain(): Promise<void>;
  /** Ends what `drain` waits for. */
  abort(): Promise<void>;
}

/** Bytes that may wait for the reader of stdout or a named pipe where it is all the output there is. */
const STREAM_QUEUE_BYTES = 16 << 20;

/** Looks at options and path before anything is opened; throws a UsageError. */
export function checkOutput(options: OutputOptions): LogPathKind {
  const { path, split } = options;
  checkLogFileOptions(options);
  if (options.maxSources !== undefined && !isSplitBySender(split)) {
    throw new UsageError(
      "cannot limit sources without a file for each: requires split by source or source-port",
    );
  }
  if (path === "-") {
    if (options.reopen) refuseReopen(path);
    refuseFileOptions(options, "stdout");
    return "pipe";
  }
  const kind = checkLogPath(path, split !== undefined);
  if (options.reopen && kind !== "pipe") refuseReopen(path);
  if (kind === "pipe") refuseFileOptions(options, "a named pipe");
  else if (
    kind === "device" &&
    (options.rotateBytes ?? options.rotateIntervalMs) !== undefined
  ) throw new UsageError(`Cannot rotate "${path}": it is a device`);
  return kind;
}

function refuseReopen(path: string): never {
  throw new UsageError(
    `cannot reopen "${path}": it is no named pipe, so no other reader can come`,
  );
}

function refuseFileOptions(options: OutputOptions, what: string): void {
  const { fsync, onWriteError } = options;
  const given: [string, unknown][] = [
    ["split", options.split],
    ["rotateBytes", options.rotateBytes],
    ["rotateIntervalMs", options.rotateIntervalMs],
    ["fsync", fsync === "none" ? undefined : fsync],
    ["onWriteError", onWriteError === "retry" ? onWriteError : undefined],
  ];
  for (const [name, value] of given) {
    if (value !== undefined) {
      throw new UsageError(
        `Cannot use \`${name}\` with \`path\` ${options.path}: it is ${what} and no file`,
        { option: [name, "path"] },
      );
    }
  }
}

/**
 * Opens the output that was checked, `shared` with listeners in Workers or not;
 * throws an OperationError where that fails.
 */
export async function openOutput(
  options: OutputOptions,
  kind: LogPathKind,
  shared: boolean,
  log: Log,
  events: OutputEvents,
): Promise<ServerOutput> {
  const { path, format = "raw" } = options;
  if (kind !== "pipe") return new FileOutput(options, shared, log, events);
  const stdout = path === "-";
  let pipe: Deno.FsFile | undefined;
  if (!stdout) {
    log.info("a named pipe opens when its reader comes", { path });
    try {
      pipe = await Deno.open(path, { append: true });
    } catch (cause) {
      throw fileError("open", path, cause);
    }
  }
  const first = pipe;
  const sink = new StdoutSink({
    subject: stdout ? "stdout" : `"${path}"`,
    queueBytes: STREAM_QUEUE_BYTES,
    ...(first ? { writeBytes: (bytes) => first.write(bytes) } : {}),
    ...options.reopen && !stdout
      ? {
        reopen: async () => {
          log.warn("the reader left, waiting for the next one", { path });
          pipe?.close();
          const next = pipe = await Deno.open(path, { append: true });
          return (bytes) => next.write(bytes);
        },
      }
      : {},
    onClosed: (reason) => {
      if (reason.code === "EPIPE") events.onReaderLeft();
      else events.onFailure(reason);
    },
  });
  return {
    sinkOf: (address) =>
      format === "raw"
        ? sink
        : new FormattedStdout(format, sink, Date.now, address),
    logOf: () => {
      throw new TypeError("Cannot write to a stream in a Worker");
    },
    logStats: () => undefined,
    streamStats: () => sink.stats(),
    reopen: () => {},
    drain: () => Promise.resolve(),
    abort: () => Promise.resolve(),
    [Symbol.asyncDispose]: async () => {
      await sink[Symbol.asyncDispose]();
      closeOnce(pipe);
    },
  };
}

/** A pipe that waits for its next reader is closed already. */
function closeOnce(file: Deno.FsFile | undefined): void {
  try {
    file?.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

/**
 * One file, or one for each address or source. Listeners in Workers write with
 * logs of their own; those here rotate by time, sync and keep house for them.
 */
class FileOutput implements ServerOutput {
  readonly #options: LogFileOptions;
  readonly #byAddress: boolean;
  readonly #shared: boolean;
  readonly #counters = new CounterBlock(LOG_COUNTERS);
  readonly #elsewhere: CounterBlock<LogCounter>[] = [];
  readonly #files = new Map<string, OpenLog>();

  constructor(
    { split, ...options }: OutputOptions,
    shared: boolean,
    log: Log,
    { onFailure }: OutputEvents,
  ) {
    this.#byAddress = split === "address";
    this.#shared = shared;
    this.#options = {
      ...options,
      splitBy: isSplitBySender(split) ? split : undefined,
      counters: this.#counters,
      log,
      onEnd: onFailure,
    };
    if (!this.#byAddress) this.#openLog(options.path);
  }

  sinkOf(address: Address): DatagramSink {
    return this.#openLog(this.#pathOf(address)).file.of(address);
  }

  logOf(address: Address): PlannedLog {
    const path = this.#pathOf(address);
    const { state } = this.#openLog(path);
    const { format, rotateBytes, rotateIntervalMs, fsync, onWriteError } =
      this.#options;
    const counters = new CounterBlock(LOG_COUNTERS);
    this.#elsewhere.push(counters);
    return {
      path,
      format,
      rotateBytes,
      rotateIntervalMs,
      fsync,
      onWriteError,
      state: state!,
      counters: counters.buffer,
    };
  }

  logStats(): LogStats {
    const sum = new CounterBlock(LOG_COUNTERS);
    for (const { slots } of [this.#counters, ...this.#elsewhere]) {
      for (const [slot, value] of slots.entries()) sum.slots[slot]! += value;
    }
    return sum.read();
  }

  streamStats(): undefined {
    return undefined;
  }

  reopen(): void {
    for (const { file } of this.#files.values()) file.reopen();
  }

  async drain(): Promise<void> {
    await Promise.all(this.#each((file) => file.drain()));
  }

  async abort(): Promise<void> {
    await Promise.all(this.#each((file) => file.abort()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#each((file) => file[Symbol.asyncDispose]()));
  }

  #pathOf(address: Address): string {
    const { path } = this.#options;
    if (!this.#byAddress) return path;
    return join(dirname(path), splitName(basename(path), address));
  }

  /** Listeners that share an address share its file. */
  #openLog(path: string): OpenLog {
    let open = this.#files.get(path);
    if (open === undefined) {
      const state = this.#shared ? new FileState().buffer : undefined;
      open = { file: new LogFile({ ...this.#options, path, state }), state };
      this.#files.set(path, open);
    }
    return open;
  }

  #each<T>(call: (file: LogFile) => T): T[] {
    return Array.from(this.#files.values(), ({ file }) => call(file));
  }
}

/** A log of this thread, and what it shares with those of the same file in Workers. */
interface OpenLog {
  file: LogFile;
  state: SharedArrayBuffer | undefined;
}
