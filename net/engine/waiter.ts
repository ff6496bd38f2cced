/** One waiter that others wake: a promise per wait, none per wake. */
export class Waiter {
  #resolve: (() => void) | undefined;
  #woken = false;

  /** Resolves when woken, at once where that has happened since the last wait. */
  wait(timeoutMs?: number): Promise<void> | void {
    if (this.#woken) {
      this.#woken = false;
      return;
    }
    return new Promise<void>((resolve) => {
      if (timeoutMs === undefined) {
        this.#resolve = resolve;
        return;
      }
      const timer = setTimeout(() => {
        this.#resolve = undefined;
        resolve();
      }, timeoutMs);
      this.#resolve = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Ends the wait, or the next one. */
  wake(): void {
    const resolve = this.#resolve;
    if (resolve === undefined) {
      this.#woken = true;
      return;
    }
    this.#resolve = undefined;
    resolve();
  }
}
