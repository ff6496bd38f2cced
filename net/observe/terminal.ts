/**
 * The last line of a terminal, written over again: progress that does not
 * fill the screen. Log lines go above it.
 */
import { stderrLines } from "../line_sinks.ts";
import type { LineWriter } from "../line_writer.ts";

/** Where the columns cannot be asked for. */
const DEFAULT_COLUMNS = 80;

/** One line that stays at the bottom. A terminal that takes nothing gets no new one. */
export class ProgressLine {
  readonly #lines: LineWriter;
  #shown = "";

  /** A progress line on stderr. */
  constructor(lines: LineWriter = stderrLines()) {
    this.#lines = lines;
  }

  /** Shows a line in place of the last one, cut to the terminal's width. */
  show(line: string): void {
    const cut = line.slice(0, columns() - 1);
    if (this.#lines.offer(`\r\x1b[K${cut}`)) this.#shown = cut;
  }

  /** Writes a whole line above. */
  above(line: string): void {
    if (this.#shown === "") {
      this.#lines.write(line);
      return;
    }
    this.#lines.write(`\r\x1b[K${line}`);
    if (!this.#lines.offer(this.#shown)) this.#shown = "";
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#shown !== "") this.#lines.offer("\r\x1b[K");
    this.#shown = "";
  }
}

function columns(): number {
  try {
    // A pseudo-terminal that was never told its size has 0 columns.
    return Deno.consoleSize().columns || DEFAULT_COLUMNS;
  } catch {
    return DEFAULT_COLUMNS;
  }
}

/** `[=====     ]` for a share from 0 to 1. */
export function bar(share: number, width = 20): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * width);
  return `[${"=".repeat(filled)}${" ".repeat(width - filled)}]`;
}
