/**
 * Datagrams to a log file, or to a file for each source.
 *
 * 1. `write` takes a batch slot by slot: the file is chosen, the slot is
 *    formatted where it must be, and the file takes it (append_file.ts).
 * 2. What was gathered is written when `flush` says that nothing more is there
 *    for now, but at most once in `FLUSH_MS`: a network that brings one datagram
 *    per turn must not cost a system call for each. It waits no longer than that.
 * 3. Once a second the interval's rotation and the interval of `fsync` are due.
 * 4. Files that were rotated are compressed and thinned out (rotated_files.ts).
 */
import { basename, dirname, join } from "@std/path";
import type { Address } from "../../address.ts";
import type { DatagramBatch } from "../../engine/batch.ts";
import { type OperationError, UsageError } from "../../errors.ts";
import { CounterBlock } from "../../observe/counters.ts";
import type { Log } from "../../observe/log.ts";
import {
  AppendFile,
  type GatherMemory,
  LOG_COUNTERS,
  type LogCounter,
} from "./append_file.ts";
import { FileState } from "./file_state.ts";
import {
  type DatagramFormat,
  listenerField,
  LogFormatter,
} from "./log_format.ts";
import { otherName, splitHostName, splitName, unmapped } from "./log_name.ts";
import { RotatedFiles } from "./rotated_files.ts";
import type { DatagramSink } from "../sinks/sink.ts";
import { EventLoopTimers, type Timers } from "../timers.ts";

/** When the system must put what was written on the disk. */
export const FSYNC_CHOICES = ["none", "interval", "always"] as const;

/** One of {@linkcode FSYNC_CHOICES}: never, once a second, or before the next batch is taken. */
export type Fsync = typeof FSYNC_CHOICES[number];

/** What a failed write leads to: it is tried again, or the log ends. */
export const WRITE_ERROR_CHOICES = ["retry", "end"] as const;

/** One of {@linkcode WRITE_ERROR_CHOICES}. */
export type OnWriteError = typeof WRITE_ERROR_CHOICES[number];

/** What a source is: an address, or an address and a port. */
export type SenderSplit = "source" | "source-port";

/** Options of a {@linkcode LogFile}. */
export interface LogFileOptions {
  /** Where the file is; with `splitBy`, its name stands for those of all sources. */
  path: string;
  /**
   * What is written for a datagram.
   * @default {"raw"}
   */
  format?: DatagramFormat | undefined;
  /** Whether each source gets a file of its own, named after it. Default: one file. */
  splitBy?: SenderSplit | undefined;
  /**
   * How many sources get a file of their own; all further ones share one.
   * @default {1024}
   */
  maxSources?: number | undefined;
  /** Where datagrams are received, as `jsonl` names it. Default: not named. */
  listener?: Address | undefined;
  /**
   * How many files of sources are open at a time: senders choose their source
   * address, so there may be any number of them.
   * @default {64}
   */
  maxOpenFiles?: number | undefined;
  /** A file takes no datagram that would make it larger, in bytes. Default: no limit. */
  rotateBytes?: number | undefined;
  /** A file takes what comes within so many milliseconds, counted from 1970, UTC. Default: no limit. */
  rotateIntervalMs?: number | undefined;
  /** How many rotated files of each file to keep. Default: all. */
  keepFiles?: number | undefined;
  /** Whether rotated files are compressed. @default {true} */
  gzip?: boolean | undefined;
  /**
   * When the system is asked to put data on the disk.
   * @default {"none"}
   */
  fsync?: Fsync | undefined;
  /**
   * What a failing write means.
   * @default {"retry"}
   */
  onWriteError?: OnWriteError | undefined;
  /** Where to say what befell the files. Default: nowhere. */
  log?: Pick<Log, "debug" | "limited"> | undefined;
  /** Called once where a write failed and is not tried again. Default: none. */
  onEnd?: ((reason: OperationError) => void) | undefined;
  /** Shared slots to count in. Default: own ones. */
  counters?: CounterBlock<LogCounter> | undefined;
  /**
   * The buffer of a FileState, shared with logs of the same path in other
   * threads, each of which writes whole datagrams in its turn; not with
   * `splitBy`. Default: an own one.
   */
  state?: SharedArrayBuffer | undefined;
  /** Whether rotated files are compressed and thinned out: by one of those that share the state. @default {true} */
  keepsHouse?: boolean | undefined;
  /** What calls it when something is due. Default: the event loop. */
  timers?: Timers | undefined;
  /** Milliseconds since 1970. Default: `Date.now`. */
  now?: (() => number) | undefined;
}

/** Sources with a file of their own, by default. */
const DEFAULT_MAX_SOURCES = 1024;

/** Key of the file of all further sources; no address looks like it. */
const OTHER_SOURCES = "other";

/** How long gathered bytes wait for more, in milliseconds. */
const FLUSH_MS = 2;

/** How long a file that failed is left alone, in milliseconds. */
const RETRY_MS = 250;

/** How often intervals and syncs are looked at, in milliseconds. */
const TICK_MS = 1000;

/** Appends datagrams to a file, or to one for each source. */
export class LogFile implements DatagramSink {
  /** What was written and what was lost, by reason. */
  readonly counters: CounterBlock<LogCounter>;
  readonly #options: LogFileOptions;
  readonly #formatter: LogFormatter;
  readonly #now: () => number;
  /** State that other threads share. */
  readonly #shared: FileState | undefined;
  readonly #maxOpenFiles: number;
  readonly #rotated: RotatedFiles | undefined;
  /** Every file that is open; the least used first. */
  readonly #files = new Map<string, AppendFile>();
  /** Sources that have a file of their own, open or not. */
  readonly #sources = new Set<string>();
  /** Memory of files that were closed. */
  readonly #spare: GatherMemory[] = [];
  /** The only file, where it is not split. */
  readonly #one: AppendFile | undefined;
  readonly #timers: Timers;
  #flushed = false;
  readonly #onFlushTimer = (): void => {
    this.#flushed = false;
    this.#writeOut();
  };
  readonly #onRetryTimer = (): void => this.#retry();
  readonly #onTickTimer = (): void => {
    this.#timers.set(this.#onTickTimer, TICK_MS);
    this.tick();
  };
  #tidiedGeneration = 0;
  #ended = false;

  /** Opens the file; throws an OperationError where that fails. */
  constructor(options: LogFileOptions) {
    const { format = "raw", maxOpenFiles = 64, now = Date.now } = options;
    const { rotateBytes, rotateIntervalMs } = options;
    checkLogFileOptions(options);
    this.#options = options;
    this.counters = options.counters ?? new CounterBlock(LOG_COUNTERS);
    this.#formatter = new LogFormatter(format, options.listener);
    this.#now = now;
    this.#shared = options.state && new FileState(options.state);
    this.#timers = options.timers ?? new EventLoopTimers();
    this.#maxOpenFiles = maxOpenFiles;
    const rotates = rotateBytes !== undefined || rotateIntervalMs !== undefined;
    if (options.splitBy === undefined) {
      this.#one = this.#newFile(options.path);
      this.#one.open();
    }
    if (rotates && options.keepsHouse !== false) {
      this.#rotated = new RotatedFiles({
        path: options.path,
        split: options.splitBy !== undefined,
        keep: options.keepFiles,
        gzip: options.gzip ?? true,
        onError: (error) => this.#warn("house", error),
      });
      this.#rotated.tidy();
    }
    this.#timers.set(this.#onTickTimer, TICK_MS);
  }

  /** How many files are open. */
  get openFiles(): number {
    return this.#files.size;
  }

  /** Why nothing is written any more or for now, where that is so. */
  get failure(): OperationError | undefined {
    for (const file of this.#files.values()) {
      if (file.failure) return file.failure;
    }
    return undefined;
  }

  /** This log as the sink of one listener, which `jsonl` names. */
  of(listener: Address): DatagramSink {
    const field = listenerField(listener);
    return {
      write: (batch) => this.write(batch, field),
      flush: () => this.flush(),
      [Symbol.asyncDispose]: () => this[Symbol.asyncDispose](),
    };
  }

  /** Takes every datagram of a batch; what cannot be written is kept, or counted as dropped. */
  write(batch: DatagramBatch, listener?: string): void {
    const one = this.#one;
    const timeMs = this.#formatter.format === "jsonl" ? this.#now() : 0;
    for (let slot = 0; slot < batch.count; slot++) {
      const file = one ?? this.#fileOf(batch.source(slot));
      this.#formatter.writeSlot(batch, slot, timeMs, file, listener);
    }
    this.#timers.set(this.#onFlushTimer, FLUSH_MS);
    if (this.#options.fsync === "always") {
      this.#writeOut();
      for (const file of this.#files.values()) file.sync();
    }
  }

  /** Writes what was gathered, now or in a moment. */
  flush(): void {
    if (this.#flushed || !this.#timers.isSet(this.#onFlushTimer)) return;
    this.#flushed = true;
    this.#writeOut();
  }

  /** Opens all paths anew: another program has renamed the files. */
  reopen(): void {
    for (const file of this.#files.values()) {
      file.reopen();
      // Who shares a file may write nothing for long, and hold no old one meanwhile.
      if (this.#shared) file.follow();
    }
  }

  /**
   * What is due once a second: to find files that were removed, the rotation of
   * intervals, and `interval` syncs, all for all threads that share the file by the one that keeps house.
   */
  async tick(): Promise<void> {
    const { rotateIntervalMs, fsync, keepsHouse } = this.#options;
    const files = [...this.#files.values()];
    if (this.#shared) { for (const file of files) file.follow(); }
    if (keepsHouse === false) return;
    for (const file of files) file.reopenIfRemoved();
    if (rotateIntervalMs !== undefined) {
      for (const file of files) file.rotateIfOver();
    }
    this.#tidyAfterOthers();
    if (fsync === "interval") {
      await Promise.all(files.map((file) => file.syncLater()));
    }
  }

  /** Writes what was gathered and resolves when rotated files are compressed. */
  async drain(): Promise<void> {
    this.#writeOut();
    this.#tidyAfterOthers();
    await this.#rotated?.settled();
  }

  /** Ends the compression of rotated files, so that `drain` need not wait for it; the next run goes on with it. */
  async abort(): Promise<void> {
    await this.#rotated?.close();
  }

  /** Writes what was gathered, drops what cannot be written, and closes all files. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#timers.clear(this.#onFlushTimer);
    this.#timers.clear(this.#onRetryTimer);
    this.#timers.clear(this.#onTickTimer);
    for (const file of this.#files.values()) this.#close(file);
    this.#files.clear();
    await this.abort();
  }

  /** Other threads' rotations show in the shared state alone. */
  #tidyAfterOthers(): void {
    const generation = this.#shared?.generation ?? 0;
    if (generation === this.#tidiedGeneration) return;
    this.#tidiedGeneration = generation;
    this.#rotated?.tidy();
  }

  #writeOut(): void {
    for (const file of this.#files.values()) file.writeOut();
  }

  #fileOf(sender: Address): AppendFile {
    const source = unmapped(sender);
    const key = this.#keyOf(source);
    let file = this.#files.get(key);
    if (file !== undefined) {
      // Last again: the map keeps the order in which keys came.
      this.#files.delete(key);
      this.#files.set(key, file);
      return file;
    }
    for (const [oldest, idle] of this.#files) {
      if (this.#files.size < this.#maxOpenFiles) break;
      this.#close(idle);
      this.#files.delete(oldest);
    }
    file = this.#newFile(this.#pathOf(key, source));
    this.#files.set(key, file);
    return file;
  }

  /** What tells sources apart; senders choose their addresses, so their number is bounded. */
  #keyOf({ hostname, zone, port }: Address): string {
    const { splitBy, maxSources = DEFAULT_MAX_SOURCES, path } = this.#options;
    const suffix = splitBy === "source" ? "" : `:${port}`;
    const key = `${hostname}%${zone ?? ""}${suffix}`;
    if (this.#sources.has(key)) return key;
    if (this.#sources.size < maxSources) {
      this.#sources.add(key);
      return key;
    }
    this.#options.log?.limited(
      `sources ${path}`,
      "more sources than the limit: the further ones share one file",
      { path: this.#pathOf(OTHER_SOURCES), maxSources },
    );
    return OTHER_SOURCES;
  }

  #pathOf(key: string, source?: Address): string {
    const { path, splitBy } = this.#options;
    const name = basename(path);
    const split = key === OTHER_SOURCES || source === undefined
      ? otherName(name)
      : splitBy === "source"
      ? splitHostName(name, source)
      : splitName(name, source);
    return join(dirname(path), split);
  }

  #newFile(path: string): AppendFile {
    const { rotateBytes, rotateIntervalMs, format, fsync } = this.#options;
    const file: AppendFile = new AppendFile({
      path,
      maxBytes: rotateBytes,
      intervalMs: rotateIntervalMs,
      retry: this.#options.onWriteError !== "end",
      lines: format === "lines" || format === "jsonl",
      syncRotated: fsync !== undefined && fsync !== "none",
      counters: this.counters,
      lock: this.#options.keepsHouse === false
        ? undefined
        : rotateBytes === undefined && rotateIntervalMs === undefined
        ? "shared"
        : "exclusive",
      state: this.#shared,
      memory: this.#spare.pop(),
      now: this.#now,
      events: {
        onError: (error) => this.#failed(error),
        onRecovered: () =>
          this.#options.log?.limited(`recovered ${path}`, "writing again", {
            path,
          }),
        onRotated: (rotated) => {
          this.#options.log?.debug("rotated", { path, rotated });
          this.#rotated?.tidy();
        },
        onRemoved: () =>
          this.#options.log?.limited(
            `removed ${path}`,
            "the log file was removed: begun anew",
            { path },
          ),
        onRotationError: (error) => this.#warn(`rotate ${path}`, error),
      },
    });
    if (this.#options.splitBy === undefined) this.#files.set("", file);
    return file;
  }

  #close(file: AppendFile): void {
    if (this.#options.fsync !== undefined && this.#options.fsync !== "none") {
      file.writeOut();
      file.sync();
    }
    file.close();
    this.#spare.push(file.memory);
  }

  #failed(error: OperationError): void {
    if (this.#options.onWriteError === "end") {
      if (!this.#ended) this.#options.onEnd?.(error);
      this.#ended = true;
      return;
    }
    this.#warn(`write ${error.message}`, error);
    this.#timers.set(this.#onRetryTimer, RETRY_MS);
  }

  #retry(): void {
    let failing = false;
    for (const file of this.#files.values()) {
      if (file.failure !== undefined && !file.retry()) failing = true;
    }
    if (failing) {
      this.#options.log?.debug("still not writing");
      this.#timers.set(this.#onRetryTimer, RETRY_MS);
    }
  }

  #warn(key: string, error: OperationError): void {
    this.#options.log?.limited(key, error.message);
  }
}

/** Throws a UsageError where options of a log file do not fit each other or the numbers are wrong. */
export function checkLogFileOptions(options: LogFileOptions): void {
  const { rotateBytes, rotateIntervalMs, keepFiles, maxOpenFiles } = options;
  const positive: [string, number | undefined, number][] = [
    ["rotateBytes", rotateBytes, 1],
    ["rotateIntervalMs", rotateIntervalMs, TICK_MS],
    ["keepFiles", keepFiles, 0],
    ["maxOpenFiles", maxOpenFiles, 1],
    ["maxSources", options.maxSources, 1],
  ];
  for (const [name, value, least] of positive) {
    if (value !== undefined && !(value >= least)) {
      throw new UsageError(
        `Cannot log to "${options.path}" with ${name} ${value}: at least ${least} is wanted`,
      );
    }
  }
  if (
    keepFiles !== undefined && rotateBytes === undefined &&
    rotateIntervalMs === undefined
  ) {
    throw new UsageError(
      `Cannot keep ${keepFiles} rotated files of "${options.path}": nothing rotates it; pass \`rotateBytes\` or \`rotateIntervalMs\``,
      { option: ["rotateBytes", "rotateIntervalMs"] },
    );
  }
  if (options.splitBy !== undefined && options.state) {
    throw new UsageError(
      `Cannot split "${options.path}" by source in several threads`,
    );
  }
}
