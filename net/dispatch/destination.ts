/** A UDP destination as a sink: a socket of its own and counters by reason. */
import type { Address } from "../address.ts";
import type { DatagramBatch } from "../engine/batch.ts";
import {
  type DatagramEngine,
  type DatagramSender,
  type DatagramSocketOptions,
  SEND_COUNTERS,
} from "../engine/engine.ts";
import { CounterBlock } from "../observe/counters.ts";
import type { DatagramSink } from "./sink.ts";

/** Counters of a destination, by name. */
export type SendCounterName = typeof SEND_COUNTERS[number];

/** How a destination is reached. */
export interface DestinationOptions extends DatagramSocketOptions {
  /** Where to send. */
  address: Address;
  /** Hops that a datagram may take, 0 to 255. */
  ttl?: number | undefined;
  /** How long a full send queue may hold up a batch, in milliseconds. */
  maxWaitMs: number;
  /** Shared slots to count in. Default: own ones. */
  counters?: CounterBlock<SendCounterName>;
}

/** Sends batches to one destination. */
export class Destination implements DatagramSink {
  /** What was sent and dropped. */
  readonly counters: CounterBlock<SendCounterName>;
  /** Where it sends. */
  readonly address: Address;
  readonly #sender: DatagramSender;

  private constructor(
    address: Address,
    sender: DatagramSender,
    counters: CounterBlock<SendCounterName>,
  ) {
    this.address = address;
    this.#sender = sender;
    this.counters = counters;
  }

  /** Resolves the destination and opens its socket. */
  static async open(
    engine: DatagramEngine,
    options: DestinationOptions,
  ): Promise<Destination> {
    const { counters = new CounterBlock(SEND_COUNTERS) } = options;
    const sender = await engine.connect({
      ...options,
      counters: counters.slots,
    });
    return new Destination(options.address, sender, counters);
  }

  write(batch: DatagramBatch): Promise<void> | void {
    return this.#sender.send(batch);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#sender[Symbol.dispose]();
    return Promise.resolve();
  }
}
