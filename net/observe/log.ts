/** Log lines on stderr, as text or JSON; never called per datagram or per read. */

/** From the most to the least talkative. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;

/** How important a line is. */
export type LogLevel = typeof LOG_LEVELS[number];

/** How lines look. */
export type LogFormat = "text" | "json";

/** What a line says beside its message. */
export type LogFields = Readonly<
  Record<string, string | number | boolean | undefined>
>;

/** Options of a {@linkcode Log}. */
export interface LogOptions {
  /**
   * Lines below this are left out.
   * @default {"info"}
   */
  level?: LogLevel;
  /**
   * How lines look.
   * @default {"text"}
   */
  format?: LogFormat;
  /** Takes each line without its line end. Default: stderr. */
  write?: (line: string) => void;
  /** Milliseconds since 1970. Default: `Date.now`. */
  now?: () => number;
}

const encoder = new TextEncoder();

/** Writes all of a text to stderr, however small the pieces that it takes. */
export function writeStderr(text: string): void {
  let bytes = encoder.encode(text);
  try {
    while (bytes.length > 0) {
      bytes = bytes.subarray(Deno.stderr.writeSync(bytes));
    }
  } catch {
    // Nobody reads stderr any more (EPIPE): data goes on without the log.
  }
}

/** How long lines of one key are held back after one was shown. */
const LIMIT_MS = 10_000;

/** Writes log lines. */
export class Log {
  readonly #level: number;
  readonly #format: LogFormat;
  readonly #write: (line: string) => void;
  readonly #now: () => number;
  readonly #once = new Set<string>();
  readonly #limited = new Map<string, { until: number; held: number }>();

  /** A log that writes to stderr unless told otherwise. */
  constructor(options: LogOptions = {}) {
    const { level = "info", format = "text", now = Date.now } = options;
    this.#level = LOG_LEVELS.indexOf(level);
    this.#format = format;
    this.#write = options.write ?? ((line) => writeStderr(`${line}\n`));
    this.#now = now;
  }

  /** What somebody who looks for a fault wants to see. */
  debug(message: string, fields?: LogFields): void {
    this.#line("debug", message, fields);
  }

  /** What happens in order. */
  info(message: string, fields?: LogFields): void {
    this.#line("info", message, fields);
  }

  /** What should not happen and is dealt with. */
  warn(message: string, fields?: LogFields): void {
    this.#line("warn", message, fields);
  }

  /** What failed. */
  error(message: string, fields?: LogFields): void {
    this.#line("error", message, fields);
  }

  /** What happens in order, at each of many places: the first time alone. */
  once(message: string, fields?: LogFields): void {
    if (this.#once.has(message)) return;
    this.#once.add(message);
    this.#line("info", message, fields);
  }

  /** A warning that repeats: at most one line of a key in ten seconds, with the number held back. */
  limited(key: string, message: string, fields?: LogFields): void {
    const now = this.#now();
    const entry = this.#limited.get(key);
    if (entry && now < entry.until) {
      entry.held++;
      return;
    }
    this.#limited.set(key, { until: now + LIMIT_MS, held: 0 });
    const held = entry?.held ? { ...fields, heldBack: entry.held } : fields;
    this.#line("warn", message, held);
  }

  #line(level: LogLevel, message: string, fields: LogFields = {}): void {
    if (LOG_LEVELS.indexOf(level) < this.#level) return;
    const time = new Date(this.#now()).toISOString();
    if (this.#format === "json") {
      this.#write(JSON.stringify({ time, level, message, ...fields }));
      return;
    }
    let line = `${time} ${level} ${message}`;
    for (const [key, value] of Object.entries(fields)) {
      if (value !== undefined) line += ` ${key}=${quote(String(value))}`;
    }
    this.#write(line);
  }
}

function quote(value: string): string {
  return /[\s"=]/.test(value) || value === "" ? JSON.stringify(value) : value;
}
