/**
 * A line for every client: who, through which tunnel to which remote, how many
 * bytes each way, how long and why it ended. Lines are written a batch at a
 * time, in order, and never wait for: those that a slow disk cannot take are
 * counted and left out.
 */
import { errorText, OperationError } from "../errors.ts";

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
  /** What went wrong with a rejected client, where more is known. */
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
  /** Told once of the first line that is left out, and why. Default: none. */
  readonly onDrop?: (reason: string) => void;
}

/** Bytes that may wait for the disk. */
const QUEUE_BYTES = 8 * 1024 * 1024;

const encoder = new TextEncoder();

/** Appends entries to a file or to stdout. */
export class AccessLog implements AsyncDisposable {
  readonly #options: AccessLogOptions;
  #file: Deno.FsFile | undefined;
  #queuedBytes = 0;
  #dropped = 0;
  #writing: Promise<void> = Promise.resolve();

  private constructor(options: AccessLogOptions) {
    this.#options = options;
  }

  /** Opens the file; throws an OperationError where that fails. */
  static async open(options: AccessLogOptions): Promise<AccessLog> {
    const log = new AccessLog(options);
    log.#file = await log.#openFile();
    return log;
  }

  /** Lines left out so far. */
  get dropped(): number {
    return this.#dropped;
  }

  async #openFile(): Promise<Deno.FsFile | undefined> {
    const { path } = this.#options;
    if (path === "-") return undefined;
    try {
      return await Deno.open(path, { append: true, create: true, mode: 0o640 });
    } catch (cause) {
      throw new OperationError(
        `Cannot write the access log "${path}": ${errorText(cause)}`,
        { cause },
      );
    }
  }

  /** Queues a batch. */
  write(entries: readonly AccessEntry[]): void {
    if (entries.length === 0) return;
    const format = this.#options.format ?? "text";
    const text = entries.map((entry) => accessLine(entry, format)).join("\n");
    const bytes = encoder.encode(text + "\n");
    if (this.#queuedBytes + bytes.length > QUEUE_BYTES) {
      this.#drop(entries.length, "the disk is too slow");
      return;
    }
    this.#queuedBytes += bytes.length;
    this.#writing = this.#writing.then(async () => {
      try {
        await this.#append(bytes);
      } catch (error) {
        this.#drop(
          entries.length,
          errorText(error),
        );
      }
      this.#queuedBytes -= bytes.length;
    });
  }

  async #append(bytes: Uint8Array): Promise<void> {
    const sink = this.#file ?? Deno.stdout;
    while (bytes.length > 0) bytes = bytes.subarray(await sink.write(bytes));
  }

  #drop(lines: number, reason: string): void {
    if (this.#dropped === 0) this.#options.onDrop?.(reason);
    this.#dropped += lines;
  }

  /** Opens the file anew, where somebody has moved it away. */
  async reopen(): Promise<void> {
    const next = await this.#openFile();
    await this.flush();
    this.#file?.close();
    this.#file = next;
  }

  /** Resolves when all that was queued is written. */
  flush(): Promise<void> {
    return this.#writing;
  }

  /** Writes what is queued and closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.flush();
    this.#file?.close();
    this.#file = undefined;
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
