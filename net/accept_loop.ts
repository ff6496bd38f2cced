/**
 * The accept loop: takes clients and hands them on, and never waits for one.
 */
import { errorCode } from "./errors.ts";

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
  readonly #onGone: () => void;
  readonly #ended: Promise<void>;
  #stopped = false;
  #wake: (() => void) | undefined;

  /**
   * `onClient` must not throw or block; `onError` takes accepts that failed for
   * want of something here, `onGone` clients that left before they were accepted.
   */
  constructor(
    listener: Acceptable<Client>,
    onClient: (client: Client) => void,
    onError: (error: unknown) => void,
    onGone: () => void = () => {},
  ) {
    this.#listener = listener;
    this.#onClient = onClient;
    this.#onError = onError;
    this.#onGone = onGone;
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
        // A client that left while it waited: the next one is served at once.
        if (isClientsOwn(error)) {
          this.#onGone();
          continue;
        }
        this.#onError(error);
        // Out of descriptors (EMFILE) the client stays in the backlog and
        // accept fails again at once: wait, so that others can end.
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

/**
 * Whether an accept failed for one client alone: it was reset in the backlog
 * (ECONNABORTED, accept(2)), or before Deno asked for its address (ENOTCONN).
 * 200 of these made a listener deaf for 109 s while each was paused for.
 */
function isClientsOwn(error: unknown): boolean {
  return CLIENTS_OWN.has(errorCode(error) ?? "");
}

const CLIENTS_OWN = new Set(["ECONNABORTED", "ECONNRESET", "ENOTCONN"]);
