/**
 * The accept loop: takes clients and hands them on, and never waits for one.
 */

/** Pause after a failed accept: it doubles from the first to the second. */
const PAUSE_MS = 10;
const MAX_PAUSE_MS = 1000;

/** What clients are taken from. */
export interface Acceptable<Client> {
  /** The next client. */
  accept(): Promise<Client>;
  /** Ends a pending `accept`. */
  close(): void;
}

/** Accepts until it is stopped. */
export class AcceptLoop<Client> {
  readonly #listener: Acceptable<Client>;
  readonly #onClient: (client: Client) => void;
  readonly #onError: (error: unknown) => void;
  readonly #ended: Promise<void>;
  #stopped = false;
  #wake: (() => void) | undefined;

  /** `onClient` must not throw or block; `onError` hears of failed accepts. */
  constructor(
    listener: Acceptable<Client>,
    onClient: (client: Client) => void,
    onError: (error: unknown) => void,
  ) {
    this.#listener = listener;
    this.#onClient = onClient;
    this.#onError = onError;
    this.#ended = this.#run();
  }

  async #run(): Promise<void> {
    let pauseMs = PAUSE_MS;
    while (!this.#stopped) {
      let client: Client;
      try {
        client = await this.#listener.accept();
      } catch (error) {
        if (this.#stopped) return;
        // Out of descriptors (EMFILE) the client stays in the backlog and
        // accept fails again at once: wait, so that others can end.
        this.#onError(error);
        await this.#pause(pauseMs);
        pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS);
        continue;
      }
      pauseMs = PAUSE_MS;
      this.#onClient(client);
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Whether it accepts no more. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Closes the listener; resolves when its port is free. */
  stop(): Promise<void> {
    if (!this.#stopped) {
      this.#stopped = true;
      this.#listener.close();
      this.#wake?.();
    }
    // The port is free when the pending accept has let go of the listener.
    return this.#ended;
  }
}
