/** Waits until a paced burst may go. */
import { setImmediate } from "node:timers";

/** How a wait passes. */
export type WaitKind = "timer" | "hold" | "turns";

/**
 * How late a timer may be, in milliseconds: one of 0.9 ms takes 1.1 ms on an
 * idle machine and 2.1 on a busy one (measured), now and then more.
 */
const TIMER_LATE_MS = 4;

/** A sleeping thread wakes 0.08 to 0.1 ms late (measured); less is not slept. */
const LEAST_SLEEP_MS = 0.1;

/**
 * How a wait passes. Moments below a timer's resolution are slept with the
 * thread where it may be held. Where it may not, a timer serves if the pacer
 * makes good how late it is, which sends two or three bursts in a row; only
 * faster rates turn the event loop until then, which takes a whole core.
 *
 * Turning it for every wait, as at first, took half of a core at 100 Mbit/s and
 * made 38 kB of garbage for each datagram.
 */
export function howToWait(
  delayMs: number,
  { holds, catchUpMs }: PacedWaitOptions,
): WaitKind {
  if (delayMs >= 1) return "timer";
  if (holds) return "hold";
  return catchUpMs >= TIMER_LATE_MS ? "timer" : "turns";
}

/** What decides how waits pass. */
export interface PacedWaitOptions {
  /** Whether the thread may be held. */
  holds: boolean;
  /** How late a wake-up may be and is still made good, in milliseconds. */
  catchUpMs: number;
}

/** Waits as `howToWait` says. */
export class PacedWait {
  readonly #options: PacedWaitOptions;
  readonly #never = new Int32Array(new SharedArrayBuffer(4));

  constructor({ holds, catchUpMs }: PacedWaitOptions) {
    // There a thread wakes by the system's clock of 15.6 ms.
    this.#options = { holds: holds && Deno.build.os !== "windows", catchUpMs };
  }

  /** Waits so many milliseconds; without a promise where the thread was held. */
  wait(ms: number): Promise<void> | void {
    switch (howToWait(ms, this.#options)) {
      case "timer":
        return new Promise((resolve) => setTimeout(resolve, ms));
      case "hold":
        return this.#hold(ms);
      case "turns":
        return turnUntil(performance.now() + ms);
    }
  }

  #hold(ms: number): void {
    if (ms >= LEAST_SLEEP_MS) {
      Atomics.wait(this.#never, 0, 0, ms);
      return;
    }
    const untilMs = performance.now() + ms;
    while (performance.now() < untilMs);
  }
}

async function turnUntil(untilMs: number): Promise<void> {
  do await new Promise((resolve) => setImmediate(resolve)); while (
    performance.now() < untilMs
  );
}
