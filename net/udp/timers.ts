/**
 * Timers of a sink. A relay in a thread of its own blocks in its waits, so the
 * event loop never turns there: it looks at its sinks' timers itself.
 */

/** Calls functions later. A function waits for one call at a time. */
export interface Timers {
  /** Has a function called once, in so many milliseconds; one that waits already is left as it is. */
  set(callback: () => void, ms: number): void;
  /** Whether a function waits for its call. */
  isSet(callback: () => void): boolean;
  /** Has a function not called any more. */
  clear(callback: () => void): void;
}

/** Timers of the event loop. */
export class EventLoopTimers implements Timers {
  readonly #ids = new Map<() => void, ReturnType<typeof setTimeout>>();
  readonly #call = (callback: () => void): void => {
    this.#ids.delete(callback);
    callback();
  };

  set(callback: () => void, ms: number): void {
    if (this.#ids.has(callback)) return;
    this.#ids.set(callback, setTimeout(this.#call, ms, callback));
  }

  isSet(callback: () => void): boolean {
    return this.#ids.has(callback);
  }

  clear(callback: () => void): void {
    clearTimeout(this.#ids.get(callback));
    this.#ids.delete(callback);
  }
}

/** Timers that whoever has the thread looks at. */
export class PolledTimers implements Timers {
  readonly #dueMs = new Map<() => void, number>();
  readonly #now: () => number;

  /** Timers by a clock in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  set(callback: () => void, ms: number): void {
    if (this.#dueMs.has(callback)) return;
    this.#dueMs.set(callback, this.#now() + ms);
  }

  isSet(callback: () => void): boolean {
    return this.#dueMs.has(callback);
  }

  clear(callback: () => void): void {
    this.#dueMs.delete(callback);
  }

  /** Calls what is due. */
  run(): void {
    if (this.#dueMs.size === 0) return;
    const nowMs = this.#now();
    for (const [callback, dueMs] of this.#dueMs) {
      if (dueMs > nowMs) continue;
      this.#dueMs.delete(callback);
      callback();
    }
  }

  /** Milliseconds until something is due, or `mostMs` where that is sooner. */
  nextMs(mostMs: number): number {
    let nextMs = mostMs;
    if (this.#dueMs.size === 0) return nextMs;
    const nowMs = this.#now();
    for (const dueMs of this.#dueMs.values()) {
      nextMs = Math.min(nextMs, Math.max(0, dueMs - nowMs));
    }
    return nextMs;
  }
}
