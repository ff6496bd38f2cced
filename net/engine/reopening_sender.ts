/**
 * A sender that outlives the network that it was opened on: an interface that
 * is created again, an address or a route that changes, a name that moves.
 *
 * 1. `open` connects, or waits for the network where that fails for now.
 * 2. `send` compares one number for each batch, and checks when it has changed.
 * 3. A check opens a second socket. It replaces the first one only where the
 *    system chose another path for it, so that the source port stays as long as
 *    the path does.
 * 4. While there is no socket, datagrams are dropped and counted as unreachable.
 */
import { type Address, isIp } from "../address.ts";
import { errorText, OperationError } from "../errors.ts";
import type { DatagramBatch } from "./batch.ts";
import {
  type DatagramConnectOptions,
  type DatagramEngine,
  type DatagramSender,
  type EngineName,
  SentSlot,
} from "./datagram.ts";
import { isRecoverable } from "./recoverable.ts";
import type { SocketState } from "./socket_state.ts";

/** How a reopening sender is opened. */
export interface ReopeningSenderOptions extends DatagramConnectOptions {
  /** Shared with whoever watches the network; its host names are those to send to. */
  state: SocketState;
  /** Called once when the socket is lost, with the reason. */
  onLost?: ((reason: string) => void) | undefined;
}

/** Sends to one destination and reconnects when the network changes. */
export class ReopeningSender implements DatagramSender {
  readonly engine: EngineName;
  readonly address: Address;
  readonly #engine: DatagramEngine;
  readonly #options: ReopeningSenderOptions;
  readonly #state: SocketState;
  #sender: DatagramSender | undefined;
  /** Takes the place of `#sender` with the next batch. */
  #next: DatagramSender | undefined;
  #hostname: string | undefined;
  #checked = 0;
  #checking: Promise<void> | undefined;
  #closed = false;

  private constructor(engine: DatagramEngine, options: ReopeningSenderOptions) {
    this.engine = engine.name;
    this.address = options.address;
    this.#engine = engine;
    this.#options = options;
    this.#state = options.state;
  }

  /** Connects; throws only for what waiting cannot change. */
  static async open(
    engine: DatagramEngine,
    options: ReopeningSenderOptions,
  ): Promise<ReopeningSender> {
    const sender = new ReopeningSender(engine, options);
    sender.#checked = sender.#state.checks;
    try {
      sender.#sender = await sender.#connect();
      sender.#state.setOpen();
    } catch (error) {
      if (!isRecoverable(error)) throw error;
      sender.#lose(error);
    }
    return sender;
  }

  get maxSegments(): number {
    return this.#sender?.maxSegments ?? 1;
  }

  get path(): string {
    return this.#sender?.path ?? "";
  }

  send(batch: DatagramBatch): Promise<void> | void {
    if (this.#state.checks !== this.#checked) return this.#sendChecked(batch);
    if (this.#next !== undefined) this.#replace();
    if (this.#sender !== undefined) return this.#sender.send(batch);
    this.#options.counters[SentSlot.unreachable]! += batch.datagrams();
  }

  /** Checks the socket where that was requested. */
  check(): Promise<void> | void {
    if (this.#checking) return this.#checking;
    if (this.#closed || this.#state.checks === this.#checked) return;
    return this.#checking = this.#check().finally(() => {
      this.#checking = undefined;
    });
  }

  async #sendChecked(batch: DatagramBatch): Promise<void> {
    await this.check();
    if (this.#closed) return;
    if (this.#next !== undefined) this.#replace();
    if (this.#sender !== undefined) return await this.#sender.send(batch);
    this.#options.counters[SentSlot.unreachable]! += batch.datagrams();
  }

  async #check(): Promise<void> {
    this.#checked = this.#state.checks;
    const forced = this.#state.takeForced();
    const current = this.#next ?? this.#sender;
    const hostname = this.#hostname;
    let fresh: DatagramSender;
    try {
      fresh = await this.#connect();
    } catch (error) {
      // The old socket stays: what it cannot send, it counts.
      this.#hostname = hostname;
      if (!this.#closed) this.#lose(error);
      return;
    }
    const same = current !== undefined && !forced &&
      fresh.path === current.path && this.#hostname === hostname;
    if (this.#closed || same) fresh[Symbol.dispose]();
    else {
      this.#next?.[Symbol.dispose]();
      this.#next = fresh;
      if (this.#state.open) this.#state.countReopen();
    }
    this.#state.setBack();
  }

  /** A socket to the first address that the system can reach; the present one is preferred. */
  async #connect(): Promise<DatagramSender> {
    const { address } = this.#options;
    const hostnames = isIp(address.hostname)
      ? [address.hostname]
      : this.#state.hostnames;
    const preferred = hostnames.find((one) => one === this.#hostname);
    let failure: unknown = new OperationError(
      `Cannot resolve "${address.hostname}"`,
      { code: "ENOTFOUND" },
    );
    for (const hostname of preferred ? [preferred, ...hostnames] : hostnames) {
      try {
        const sender = await this.#engine.connect({
          ...this.#options,
          address: { ...address, hostname },
        });
        this.#hostname = hostname;
        return sender;
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }

  #replace(): void {
    this.#sender?.[Symbol.dispose]();
    this.#sender = this.#next;
    this.#next = undefined;
  }

  #lose(error: unknown): void {
    if (this.#state.setLost()) this.#options.onLost?.(errorText(error));
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#next?.[Symbol.dispose]();
    this.#sender?.[Symbol.dispose]();
  }
}
