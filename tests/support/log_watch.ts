/** A log whose lines a test waits for. */
import { Log } from "../../net/observe/log.ts";

/** Collects lines. */
export class LogWatch {
  readonly lines: string[] = [];
  readonly #waiting = new Set<() => void>();
  /** To give to the code under test. */
  readonly log: Log = new Log({
    level: "debug",
    write: (line) => {
      this.lines.push(line);
      for (const wake of this.#waiting) wake();
      this.#waiting.clear();
    },
  });

  /** The first line that matches, now or later, after `skip` others. */
  async line(pattern: RegExp, skip = 0): Promise<RegExpExecArray> {
    for (;;) {
      const found = this.lines.map((line) => pattern.exec(line))
        .filter((match) => match !== null)[skip];
      if (found) return found;
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }
}
