/** Events on their way to a reader that may be slow: bounded, and what does not fit is counted. */

/** A bounded queue that is read with `for await`. */
export class EventQueue<Event> implements AsyncIterableIterator<Event> {
  readonly #limit: number;
  readonly #onEnd: () => void;
  #events: Event[] = [];
  #at = 0;
  #ended = false;
  #wake: ((result: IteratorResult<Event>) => void) | undefined;
  /** Events that did not fit. */
  dropped = 0;

  /** Holds `limit` events; `onEnd` is called once when nobody reads any more. */
  constructor(limit: number, onEnd: () => void = () => {}) {
    this.#limit = limit;
    this.#onEnd = onEnd;
  }

  /** Adds an event, or counts it as dropped. */
  push(event: Event): void {
    if (this.#ended) return;
    if (this.#wake) {
      const wake = this.#wake;
      this.#wake = undefined;
      wake({ done: false, value: event });
    } else if (this.#events.length - this.#at >= this.#limit) this.dropped++;
    else this.#events.push(event);
  }

  /** No more will come; what is queued is still read. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onEnd();
    this.#wake?.({ done: true, value: undefined });
    this.#wake = undefined;
  }

  next(): Promise<IteratorResult<Event>> {
    if (this.#at < this.#events.length) {
      const value = this.#events[this.#at++]!;
      if (this.#at === this.#events.length) {
        this.#events = [];
        this.#at = 0;
      }
      return Promise.resolve({ done: false, value });
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    if (this.#wake) {
      return Promise.reject(
        new TypeError("Cannot read events twice at once: await the first"),
      );
    }
    return new Promise((resolve) => this.#wake = resolve);
  }

  /** Ends reading; a `for await` that is left calls it. */
  return(): Promise<IteratorResult<Event>> {
    this.#events = [];
    this.#at = 0;
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
