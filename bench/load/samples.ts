/**
 * What a receiver of the benchmark prints, on stderr: `listening PORT`, then,
 * at most every 20 ms and only while something comes, `MS BYTES DATAGRAMS
 * DROPPED`: the clock in milliseconds since 1970, and totals.
 */

/** Between two lines. */
export const SAMPLE_MS = 20;

/** A receiver's totals. */
export class Samples {
  bytes = 0;
  datagrams = 0;
  #said = 0;
  #saidAt = 0;

  /** Prints the totals where that is due. */
  sayIfDue(dropped: () => number): void {
    const now = performance.now();
    if (now - this.#saidAt < SAMPLE_MS || this.datagrams === this.#said) return;
    this.#saidAt = now;
    this.#said = this.datagrams;
    const at = (performance.timeOrigin + now).toFixed(3);
    say(`${at} ${this.bytes} ${this.datagrams} ${dropped()}`);
  }
}

/** One line on stderr. */
export function say(line: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`));
}
