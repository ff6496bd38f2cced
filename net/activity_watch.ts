/**
 * Finds connections that make no progress, with one timer for all of them and
 * no work for each read or write.
 *
 * Every period the watch compares how many bytes each connection has moved. One
 * that moved some is busy; one that moved none although bytes are due is idle:
 * it may be displaced at a limit, and has the gate's idle deadline.
 */
import type { Admitted } from "./connection_gate.ts";

/** A connection under watch. */
export interface Watched {
  readonly peer: Admitted;
  /** Bytes moved so far; 0 until the peer has proved itself. */
  readonly movedBytes: () => number;
  /** Whether it is the peer's turn to send or to take bytes. */
  readonly isDue: () => boolean;
}

/** Progress at the last check. */
interface Progress {
  movedBytes: number;
  isIdle: boolean;
}

/** Period of the checks, where no shorter one is given. */
const PERIOD_MS = 1000;

/** Watches the connections of one gate. */
export class ActivityWatch implements Disposable {
  readonly #watched = new Map<Watched, Progress>();
  readonly #periodMs: number;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** `idleMs` is the gate's: a shorter one is checked more often. */
  constructor(idleMs: number = Infinity) {
    this.#periodMs = Math.max(10, Math.min(PERIOD_MS, idleMs / 4));
  }

  /** Watches a connection until it is deleted. */
  add(watched: Watched): void {
    this.#watched.set(watched, {
      movedBytes: watched.movedBytes(),
      isIdle: false,
    });
    this.#timer ??= setInterval(() => this.check(), this.#periodMs);
  }

  /** Watches a connection no more. */
  delete(watched: Watched): void {
    this.#watched.delete(watched);
    if (this.#watched.size === 0) this[Symbol.dispose]();
  }

  /** Compares each connection with the last check. */
  check(): void {
    for (const [{ peer, movedBytes, isDue }, progress] of this.#watched) {
      const bytes = movedBytes();
      const isIdle = bytes === progress.movedBytes && isDue();
      progress.movedBytes = bytes;
      if (isIdle === progress.isIdle) continue;
      progress.isIdle = isIdle;
      if (isIdle) peer.idle();
      else peer.prove();
    }
  }

  /** Stops the timer. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
