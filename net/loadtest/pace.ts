/**
 * When requests are due in an open loop: at a fixed rate, whatever the answers
 * do. A request that could not be sent in time keeps its due time, and its
 * latency counts from there, so that a stall shows in every request that it
 * held up (no coordinated omission).
 */
/** Due times of requests over a number of connections that take turns. */
export class LoadPace {
  readonly #startMs: number;
  readonly #stepMs: number;
  readonly #connections: number;
  readonly #turns: Float64Array;
  readonly #waiting: ((() => void) | undefined)[];
  readonly #now: () => number;
  /** The next request of all that is not due yet. */
  #next = 0;
  #stopped = false;
  #wakeRun: (() => void) | undefined;
  readonly #running: Promise<void>;

  /** Begins at `startMs` of the clock `now`, `ratePerSecond` over all connections. */
  constructor(
    connections: number,
    ratePerSecond: number,
    startMs: number,
    now: () => number,
  ) {
    this.#connections = connections;
    this.#stepMs = 1000 / ratePerSecond;
    this.#startMs = startMs;
    this.#now = now;
    this.#turns = new Float64Array(connections);
    this.#waiting = new Array(connections);
    this.#running = this.#run();
  }

  /** When the next request of a connection is due. */
  dueMs(connection: number): number {
    const request = this.#turns[connection]! * this.#connections + connection;
    return this.#startMs + request * this.#stepMs;
  }

  /** Waits until it is due; nothing to wait for where it is due already. */
  due(connection: number): Promise<void> | void {
    if (this.#stopped || this.dueMs(connection) <= this.#now()) return;
    return new Promise((resolve) => this.#waiting[connection] = resolve);
  }

  /** The next request of a connection is the one after. */
  advance(connection: number): void {
    this.#turns[connection]!++;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const nowMs = this.#now();
      while (this.#startMs + this.#next * this.#stepMs <= nowMs) {
        const connection = this.#next++ % this.#connections;
        const wake = this.#waiting[connection];
        if (wake && this.dueMs(connection) <= nowMs) {
          this.#waiting[connection] = undefined;
          wake();
        }
      }
      const leftMs = this.#startMs + this.#next * this.#stepMs - nowMs;
      await new Promise<void>((resolve) => {
        // Timers know whole milliseconds: what falls due within one goes together.
        const timer = setTimeout(resolve, Math.max(1, Math.ceil(leftMs)));
        this.#wakeRun = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Ends all waiting. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wakeRun?.();
    for (const wake of this.#waiting) wake?.();
    await this.#running;
  }
}
