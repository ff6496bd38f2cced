/**
 * A line for every client: who, through which tunnel to which remote, how many
 * bytes each way, how long and why it ended. Nothing waits for it: lines that
 * a slow or full disk cannot take are counted and dropped.
 */
import { openLineSink } from "../line_sinks.ts";
import { LineWriter, type LostLines } from "../line_writer.ts";

/** How lines look. */
export type AccessLogFormat = "text" | "json";

/** One client, at its end. */
export interface AccessEntry {
  /** When it ended, in milliseconds since 1970. */
  readonly atMs: number;
  /** `host:port` of the client. */
  readonly client: string;
  /** Where the tunnel listens. */
  readonly tunnel: string;
  /** Where it went, or the remotes tried for a rejected client; none where it was rejected before. */
  readonly remote?: string;
  /** Bytes written to the remote. */
  readonly bytesUpstream: number;
  /** Bytes written to the client. */
  readonly bytesDownstream: number;
  /** How long it was piped; of a rejected client, since it was accepted. */
  readonly durationMs: number;
  /** Why it ended, or `rejected-` and why it was let go. */
  readonly end: string;
  /** What went wrong with a rejected client. Default: nothing more is known. */
  readonly detail?: string;
}

/** Options of an {@linkcode AccessLog}. */
export interface AccessLogOptions {
  /** File to append to, or `-` for stdout. */
  readonly path: string;
  /**
   * How lines look.
   * @default {"text"}
   */
  readonly format?: AccessLogFormat;
  /** Called at the first line dropped in a row, with the reason. Default: none. */
  readonly onDrop?: (reason: string) => void;
  /** Called when lines are taken again, with how many were dropped. Default: none. */
  readonly onRecovered?: (lost: LostLines) => void;
}

/** Bytes that may wait for the disk. */
const QUEUE_BYTES = 8 * 1024 * 1024;

/** Appends entries to a file or to stdout. */
export class AccessLog implements AsyncDisposable {
  readonly #format: AccessLogFormat;
  readonly #lines: LineWriter;

  private constructor(format: AccessLogFormat, lines: LineWriter) {
    this.#format = format;
    this.#lines = lines;
  }

  /** Opens the file, made with mode 0640; throws an OperationError where that fails. */
  static async open(options: AccessLogOptions): Promise<AccessLog> {
    const { path, format = "text", onDrop, onRecovered } = options;
    const lines = await LineWriter.open({
      open: () => openLineSink(path),
      subject: `the access log "${path}"`,
      queueBytes: QUEUE_BYTES,
      ...(onDrop ? { onLost: onDrop } : {}),
      ...(onRecovered ? { onRecovered } : {}),
    });
    return new AccessLog(format, lines);
  }

  /** Lines dropped so far. */
  get dropped(): number {
    return this.#lines.stats.droppedLines;
  }

  /** Queues a batch. */
  write(entries: readonly AccessEntry[]): void {
    for (const entry of entries) {
      this.#lines.write(accessLine(entry, this.#format));
    }
  }

  /** Opens the file again, where it was moved away; throws an OperationError. */
  reopen(): Promise<void> {
    return this.#lines.reopen();
  }

  /** Resolves with true when all that was queued is written, with false where that fails or takes long. */
  flush(): Promise<boolean> {
    return this.#lines.flush();
  }

  /** Writes what is queued, within a second, and closes the file. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#lines.close();
  }
}

/** One line, without its end. */
export function accessLine(
  entry: AccessEntry,
  format: AccessLogFormat,
): string {
  const { client, tunnel, remote, bytesUpstream, bytesDownstream } = entry;
  const time = new Date(entry.atMs).toISOString();
  const durationMs = Math.round(entry.durationMs * 1000) / 1000;
  if (format === "json") {
    return JSON.stringify({
      time,
      client,
      tunnel,
      remote: remote ?? null,
      bytesUpstream,
      bytesDownstream,
      durationMs,
      end: entry.end,
      ...(entry.detail === undefined ? {} : { detail: entry.detail }),
    });
  }
  return `${time} client=${client} tunnel=${tunnel} remote=${remote ?? "-"} ` +
    `upstream=${bytesUpstream} downstream=${bytesDownstream} ` +
    `durationMs=${durationMs} end=${entry.end}` +
    (entry.detail === undefined
      ? ""
      : ` detail=${JSON.stringify(entry.detail)}`);
}
