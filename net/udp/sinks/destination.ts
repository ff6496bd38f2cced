/** A UDP destination as a sink: a socket of its own and counters by reason. */
import { type Address, isIp } from "../../address.ts";
import type { DatagramBatch } from "../../engine/batch.ts";
import {
  type DatagramEngine,
  type DatagramSocketOptions,
  SEND_COUNTERS,
} from "../../engine/datagram.ts";
import { ReopeningSender } from "../../engine/reopening_sender.ts";
import { resolveAll } from "../../engine/resolve.ts";
import { SocketState } from "../../engine/socket_state.ts";
import { CounterBlock } from "../../observe/counters.ts";
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
  /**
   * Shared with whoever resolves the name and watches the network. Default: an
   * own one, so that the name is resolved once.
   */
  state?: SocketState;
  /** Called once when the destination is lost, with the reason. */
  onLost?: ((reason: string) => void) | undefined;
}

/** Sends batches to one destination. */
export class Destination implements DatagramSink {
  /** What was sent and dropped. */
  readonly counters: CounterBlock<SendCounterName>;
  /** Where it sends. */
  readonly address: Address;
  /** Whether the socket is open, and how often it was lost. */
  readonly state: SocketState;
  readonly #sender: ReopeningSender;
  readonly #onClose: () => Promise<void>;

  private constructor(
    sender: ReopeningSender,
    counters: CounterBlock<SendCounterName>,
    state: SocketState,
    onClose: () => Promise<void>,
  ) {
    this.address = sender.address;
    this.#sender = sender;
    this.counters = counters;
    this.state = state;
    this.#onClose = onClose;
  }

  /** Opens the socket, or waits for the network; throws for what waiting cannot change. */
  static async open(
    engine: DatagramEngine,
    options: DestinationOptions,
    onClose: () => Promise<void> = () => Promise.resolve(),
  ): Promise<Destination> {
    const { counters = new CounterBlock(SEND_COUNTERS), address } = options;
    const { state = await stateOf(address) } = options;
    const sender = await ReopeningSender.open(engine, {
      ...options,
      state,
      counters: counters.slots,
    });
    return new Destination(sender, counters, state, onClose);
  }

  write(batch: DatagramBatch): Promise<void> | void {
    return this.#sender.send(batch);
  }

  /** Checks the socket where that was requested. */
  flush(): Promise<void> | void {
    return this.#sender.check();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#sender[Symbol.dispose]();
    return this.#onClose();
  }
}

async function stateOf(address: Address): Promise<SocketState> {
  const state = new SocketState();
  if (!isIp(address.hostname)) {
    state.hostnames = byPreference(await resolveAll(address));
  }
  return state;
}

/** IPv4 first: a datagram cannot tell that nobody listens on the other family. */
export function byPreference(addresses: readonly Address[]): string[] {
  return addresses.map(({ hostname }) => hostname).sort((a, b) =>
    Number(a.includes(":")) - Number(b.includes(":"))
  );
}
