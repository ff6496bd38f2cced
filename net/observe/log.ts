/** Log lines on stderr, as text or JSON; never called per datagram or per read. */
import { stderrLines } from "../line_sinks.ts";
import { capText, jsonLine } from "../line_text.ts";
import type { LostLines } from "../line_writer.ts";

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

/** Maximum bytes of a line. */
const LINE_BYTES = 16 * 1024;

/** Maximum bytes of one value in a line of text. */
const VALUE_BYTES = 2048;

/** How long lines of one key are held back after one was shown. */
const LIMIT_MS = 10_000;

/** Maximum keys of limited lines that are remembered: a key may hold a peer's address. */
const LIMITED_KEYS = 1024;

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
    this.#write = options.write ?? ((line) => stderrLines().write(line));
    this.#now = now;
  }

  /** The line that states how many lines were lost, in this log's format. */
  lostLine({ lines, bytes, reason }: LostLines): string {
    return this.#text("warn", "log lines were lost", {
      lines,
      bytes,
      reason,
    });
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

  /** A line that repeats: at most one of a key in ten seconds, with the number held back. */
  limited(
    key: string,
    message: string,
    fields?: LogFields,
    level: LogLevel = "warn",
  ): void {
    const now = this.#now();
    const entry = this.#limited.get(key);
    if (entry && now < entry.until) {
      entry.held++;
      return;
    }
    if (!entry && this.#limited.size >= LIMITED_KEYS) this.#forgetLimited(now);
    this.#limited.set(key, { until: now + LIMIT_MS, held: 0 });
    const held = entry?.held ? { ...fields, heldBack: entry.held } : fields;
    this.#line(level, message, held);
  }

  /** Forgets the keys whose time is over; all of them, where that makes no room. */
  #forgetLimited(now: number): void {
    for (const [key, { until }] of this.#limited) {
      if (until <= now) this.#limited.delete(key);
    }
    if (this.#limited.size >= LIMITED_KEYS) this.#limited.clear();
  }

  #line(level: LogLevel, message: string, fields: LogFields = {}): void {
    if (LOG_LEVELS.indexOf(level) < this.#level) return;
    this.#write(this.#text(level, message, fields));
  }

  #text(level: LogLevel, message: string, fields: LogFields): string {
    const time = new Date(this.#now()).toISOString();
    if (this.#format === "json") {
      return jsonLine({ time, level, message, ...fields }, LINE_BYTES);
    }
    let line = `${time} ${level} ${escapeControls(message)}`;
    for (const [key, value] of Object.entries(fields)) {
      if (value === undefined) continue;
      line += ` ${key}=${quote(capText(String(value), VALUE_BYTES))}`;
    }
    return line;
  }
}

/** Control characters, C1 and line separators: a peer's text must not steer a terminal. */
// deno-lint-ignore no-control-regex
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;

function escapeControls(text: string): string {
  return text.replaceAll(
    CONTROLS,
    (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function quote(value: string): string {
  if (!/[\s"=]/.test(value) && value !== "" && value.search(CONTROLS) < 0) {
    return value;
  }
  return escapeControls(JSON.stringify(value));
}
