/** Threads of tests. */

/** A Worker whose messages can be awaited one by one; it ends with its scope. */
export class TestWorker implements Disposable {
  readonly #worker: Worker;
  readonly #messages: unknown[] = [];
  #waiting: PromiseWithResolvers<void> | undefined;
  #failure: Error | undefined;

  constructor(url: string) {
    this.#worker = new Worker(url, { type: "module" });
    this.#worker.onmessage = ({ data }) => {
      this.#messages.push(data);
      this.#waiting?.resolve();
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#failure = new Error(event.message);
      this.#waiting?.resolve();
    };
  }

  post(message: unknown): void {
    this.#worker.postMessage(message);
  }

  /** The next message, or undefined where none has come yet. */
  poll(): unknown {
    if (this.#failure) throw this.#failure;
    return this.#messages.shift();
  }

  /** The next message. */
  async next(): Promise<unknown> {
    while (this.#messages.length === 0 && !this.#failure) {
      this.#waiting = Promise.withResolvers();
      await this.#waiting.promise;
    }
    return this.poll();
  }

  [Symbol.dispose](): void {
    this.#worker.terminate();
  }
}
