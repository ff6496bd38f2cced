/** Loops that run side by side and end together. */

/** A loop that can be told to end. */
export interface Task {
  /** Runs to its end; rejects where it failed. */
  run(): Promise<void>;
  /** Ends it in order. */
  stop(): void;
}

/** Runs tasks that come and go; the failure of an essential one ends all. */
export class Tasks {
  readonly #running = new Map<Task, Promise<void>>();
  readonly #finished = Promise.withResolvers<void>();
  #sealed = false;
  #stopping = false;
  #failure: { error: unknown } | undefined;

  constructor() {
    // Whoever asks for `finished` sees the failure; nobody has to.
    this.#finished.promise.catch(() => {});
  }

  /** Resolves when all have ended after `seal` or `stop`; rejects with the first failure. */
  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  /** Starts a task, unless all are being stopped. */
  start(task: Task): void {
    if (this.#stopping) return;
    const running = task.run().catch((error) => {
      this.#failure ??= { error };
      this.stop();
    }).finally(() => {
      this.#running.delete(task);
      this.#endIfDone();
    });
    this.#running.set(task, running);
  }

  /** No task comes any more: the end of the last one is the end. */
  seal(): void {
    this.#sealed = true;
    this.#endIfDone();
  }

  /** Tells all tasks to end. */
  stop(): void {
    this.#stopping = true;
    for (const task of this.#running.keys()) task.stop();
    this.seal();
  }

  #endIfDone(): void {
    if (!this.#sealed || this.#running.size > 0) return;
    if (this.#failure) this.#finished.reject(this.#failure.error);
    else this.#finished.resolve();
  }
}
