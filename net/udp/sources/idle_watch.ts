/** Notices that a stream is silent, at no cost for each read: it looks at a count of bytes every so often. */

/** What an {@linkcode IdleWatch} looks at. */
export interface IdleWatchOptions {
  /** Bytes read so far. */
  readBytes: () => number;
  /** Silence after which `onIdle` is called once, in milliseconds. Default: never. */
  idleMs?: number | undefined;
  /** Called when the stream has been silent for too long. */
  onIdle: () => void;
  /** The clock, in milliseconds. @default {performance.now} */
  now?: () => number;
}

/** Watches one stream. */
export class IdleWatch implements Disposable {
  readonly #options: IdleWatchOptions;
  readonly #now: () => number;
  readonly #timer: ReturnType<typeof setInterval> | undefined;
  #bytes: number;
  #sinceMs: number;
  #called = false;

  constructor(options: IdleWatchOptions) {
    const { idleMs, now = () => performance.now() } = options;
    this.#options = options;
    this.#now = now;
    this.#bytes = options.readBytes();
    this.#sinceMs = now();
    if (idleMs !== undefined) {
      // Late by a quarter at most.
      this.#timer = setInterval(() => this.check(), Math.max(1, idleMs / 4));
    }
  }

  /** Looks whether anything has come; how long nothing has, in milliseconds. */
  check(): number {
    const { readBytes, idleMs = Infinity, onIdle } = this.#options;
    const bytes = readBytes();
    const nowMs = this.#now();
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#sinceMs = nowMs;
    }
    const silentMs = nowMs - this.#sinceMs;
    if (silentMs >= idleMs && !this.#called) {
      this.#called = true;
      onIdle();
    }
    return silentMs;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
