/**
 * A listener that outlives the network that it was opened on.
 *
 * 1. `open` listens, or waits where an address or an interface is missing.
 * 2. `tryReceive` compares one number for each batch. When it has changed, the
 *    listener shows itself empty, so that the loop goes to its wait.
 * 3. `readable` checks then: where the system would bind and join elsewhere
 *    than it did, such as on an interface that was created again, the socket is
 *    opened again. Otherwise it stays, with all that is queued.
 */
import type { Address } from "../address.ts";
import { errorText } from "../errors.ts";
import type { DatagramBatch } from "./batch.ts";
import type {
  DatagramEngine,
  DatagramListener,
  DatagramListenOptions,
  EngineName,
} from "./datagram.ts";
import { isRecoverable } from "./recoverable.ts";
import type { SocketState } from "./socket_state.ts";
import { Waiter } from "./waiter.ts";

/** Batches received from a socket that is to be checked, before it is. */
const BATCHES_BEFORE_CHECK = 64;

/** How a reopening listener is opened. */
export interface ReopeningListenerOptions extends DatagramListenOptions {
  /** Shared with whoever watches the network. */
  state: SocketState;
  /** Called once when the listener is lost, with the reason. */
  onLost?: ((reason: string) => void) | undefined;
}

/** Listens and binds and joins again when the network changes. */
export class ReopeningListener implements DatagramListener {
  readonly engine: EngineName;
  readonly batchSize: number;
  readonly #engine: DatagramEngine;
  readonly #options: ReopeningListenerOptions;
  readonly #state: SocketState;
  readonly #waiter = new Waiter();
  #address: Address;
  #listener: DatagramListener | undefined;
  #placement = "";
  #checked = 0;
  #batchesLeft = BATCHES_BEFORE_CHECK;
  #tried = false;
  /** Whether a slot may hold several datagrams. */
  #joined = true;
  /** Whether the open socket has failed. */
  #broken = false;
  #closed = false;
  /** Drops of sockets that were closed. */
  #dropped = 0;

  private constructor(
    engine: DatagramEngine,
    options: ReopeningListenerOptions,
  ) {
    this.engine = engine.name;
    this.batchSize = engine.batchSize;
    this.#engine = engine;
    this.#options = options;
    this.#state = options.state;
    this.#address = options.address;
  }

  /** Listens; throws only for what waiting cannot change, and where any port will do. */
  static async open(
    engine: DatagramEngine,
    options: ReopeningListenerOptions,
  ): Promise<ReopeningListener> {
    const listener = new ReopeningListener(engine, options);
    listener.#checked = listener.#state.checks;
    try {
      await listener.#listen();
      listener.#state.setOpen();
    } catch (error) {
      if (options.address.port === 0 || !isRecoverable(error)) throw error;
      listener.#lose(error);
    }
    return listener;
  }

  get address(): Address {
    return this.#address;
  }

  tryReceive(batch: DatagramBatch): number {
    if (this.#state.checks !== this.#checked && --this.#batchesLeft < 0) {
      return batch.count = 0;
    }
    if (this.#listener === undefined || this.#broken) return batch.count = 0;
    try {
      return this.#listener.tryReceive(batch);
    } catch (error) {
      this.#broken = true;
      this.#lose(error);
      this.#state.requestCheck();
      throw error;
    }
  }

  readable(timeoutMs?: number): Promise<void> | void {
    if (this.#closed) return;
    if (this.#state.checks !== this.#checked) return this.#check();
    if (this.#listener === undefined || this.#broken) {
      return this.#waiter.wait(timeoutMs);
    }
    return this.#listener.readable(timeoutMs);
  }

  hold(mostMs: number): boolean {
    if (this.#state.checks !== this.#checked || this.#broken) return false;
    return this.#listener?.hold?.(mostMs) ?? false;
  }

  joinReads(joined: boolean): void {
    this.#joined = joined;
    this.#listener?.joinReads?.(joined);
  }

  wake(): void {
    if (this.#listener === undefined || this.#broken) this.#waiter.wake();
    this.#listener?.wake();
  }

  dropped(): number | undefined {
    if (this.#listener === undefined) return this.#dropped;
    const dropped = this.#listener.dropped();
    return dropped === undefined ? undefined : this.#dropped + dropped;
  }

  get droppedIsLeast(): boolean {
    return this.#listener?.droppedIsLeast ?? false;
  }

  async #check(): Promise<void> {
    this.#checked = this.#state.checks;
    this.#batchesLeft = BATCHES_BEFORE_CHECK;
    const forced = this.#state.takeForced();
    try {
      const placement = this.#engine.placement(this.#options);
      const open = this.#listener !== undefined && !this.#broken;
      if (open && placement === this.#placement && !forced) {
        this.#state.setBack();
        return;
      }
      // Its port must be free for the next one.
      this.#closeListener();
      const wasOpen = this.#state.open;
      await this.#listen();
      if (wasOpen) this.#state.countReopen();
      this.#state.setBack();
    } catch (error) {
      this.#lose(error);
    }
  }

  async #listen(): Promise<void> {
    // Before it opens: a change between the two is found by the next check.
    const placement = this.#placementNow();
    const { port } = this.#address;
    const { address, reusePort, ownsPort } = this.#options;
    const again = this.#tried;
    this.#tried = true;
    const listener = await this.#engine.listen({
      ...this.#options,
      address: { ...address, port },
      // Others of the same role may have opened theirs meanwhile.
      ownsPort: ownsPort || (reusePort && again),
    });
    if (this.#closed) {
      listener[Symbol.dispose]();
      return;
    }
    if (!this.#joined) listener.joinReads?.(false);
    this.#listener = listener;
    this.#placement = placement;
    this.#broken = false;
    this.#address = listener.address;
  }

  /** Where the listener goes, or nothing where it cannot: then opening it says why. */
  #placementNow(): string {
    try {
      return this.#engine.placement(this.#options);
    } catch {
      return "";
    }
  }

  #closeListener(): void {
    const listener = this.#listener;
    if (listener === undefined) return;
    listener[Symbol.dispose]();
    this.#dropped += listener.dropped() ?? 0;
    this.#listener = undefined;
  }

  #lose(error: unknown): void {
    if (this.#closed) return;
    if (this.#state.setLost()) this.#options.onLost?.(errorText(error));
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    // What it left unread stays in its drop count.
    this.#listener?.[Symbol.dispose]();
    this.#waiter.wake();
  }
}
