/**
 * Datagrams that never leave the process: a network in memory, for tests of
 * what stands on the seam. It keeps order, loses nothing unless told to, and
 * delivers groups to all who joined.
 */
import {
  type Address,
  checkSendable,
  formatAddress,
  isMulticast,
} from "../address.ts";
import { OperationError } from "../errors.ts";
import type { DatagramBatch } from "./batch.ts";
import type {
  DatagramConnectOptions,
  DatagramEngine,
  DatagramListener,
  DatagramListenOptions,
  DatagramSender,
  EngineName,
} from "./datagram.ts";
import { SentSlot } from "./datagram.ts";
import { Waiter } from "./waiter.ts";

/** Options of a {@linkcode MemoryNetwork}. */
export interface MemoryNetworkOptions {
  /**
   * Datagrams that a listener's queue takes before it drops.
   * @default {Infinity}
   */
  queueDatagrams?: number;
}

/** A network in memory; its engine opens sockets on it. */
export class MemoryNetwork {
  readonly #listeners = new Map<string, Set<MemoryListener>>();
  readonly #queueDatagrams: number;
  #nextPort = 49152;

  constructor(options: MemoryNetworkOptions = {}) {
    this.#queueDatagrams = options.queueDatagrams ?? Infinity;
  }

  /** The engine of this network. */
  readonly engine: DatagramEngine = {
    name: "portable",
    description: "memory",
    batchSize: 16,
    checkInterface: () => {},
    checkListen: () => {},
    checkConnect: ({ address }) => checkSendable(address),
    placement: () => "",
    watchNetwork: () => ({
      [Symbol.asyncDispose]: () => Promise.resolve(),
    }),
    listen: (options) => this.#listen(options),
    connect: (options) => this.#connect(options),
  };

  #listen(options: DatagramListenOptions): DatagramListener {
    const { address, groups = [] } = options;
    const port = address.port || this.#nextPort++;
    const keys = [address, ...groups].map(({ hostname }) =>
      formatAddress({ hostname, port })
    );
    const shared = isMulticast(address.hostname);
    if (!shared && this.#listeners.has(keys[0]!)) {
      throw new OperationError(`Cannot listen on ${keys[0]}: it is in use`, {
        code: "EADDRINUSE",
      });
    }
    const listener = new MemoryListener(
      { ...address, port },
      this.#queueDatagrams,
      () => {
        for (const key of keys) {
          const set = this.#listeners.get(key);
          if (set?.delete(listener) && set.size === 0) {
            this.#listeners.delete(key);
          }
        }
      },
    );
    for (const key of keys) {
      const set = this.#listeners.get(key) ?? new Set();
      this.#listeners.set(key, set.add(listener));
    }
    return listener;
  }

  #connect(options: DatagramConnectOptions): DatagramSender {
    const { address, counters } = options;
    checkSendable(address);
    const from: Address = { hostname: "127.0.0.1", port: this.#nextPort++ };
    const deliver = (datagram: Uint8Array): boolean => {
      const found = this.#listeners.get(
        formatAddress({ hostname: address.hostname, port: address.port }),
      );
      for (const listener of found ?? []) listener.deliver(datagram, from);
      return found !== undefined || isMulticast(address.hostname);
    };
    return new MemorySender(address, counters, deliver);
  }
}

class MemoryListener implements DatagramListener {
  readonly engine: EngineName = "portable";
  readonly batchSize = 16;
  readonly address: Address;
  readonly #queue: { datagram: Uint8Array; from: Address }[] = [];
  readonly #limit: number;
  readonly #close: () => void;
  readonly #waiter = new Waiter();
  readonly #sources: Address[] = [];
  #dropped = 0;

  constructor(address: Address, limit: number, close: () => void) {
    this.address = address;
    this.#limit = limit;
    this.#close = close;
  }

  deliver(datagram: Uint8Array, from: Address): void {
    if (this.#queue.length >= this.#limit) {
      this.#dropped++;
      return;
    }
    this.#queue.push({ datagram, from });
    this.#waiter.wake();
  }

  tryReceive(batch: DatagramBatch): number {
    const taken = this.#queue.splice(0, Math.min(batch.slots, this.batchSize));
    for (const [slot, { datagram, from }] of taken.entries()) {
      batch.slot(slot).set(datagram);
      batch.setDatagram(slot, datagram.length);
      this.#sources[slot] = from;
    }
    batch.readSource = (_batch, slot) => this.#sources[slot]!;
    return batch.count = taken.length;
  }

  readable(timeoutMs?: number): Promise<void> | void {
    if (this.#queue.length === 0) return this.#waiter.wait(timeoutMs);
  }

  wake(): void {
    this.#waiter.wake();
  }

  dropped(): number {
    return this.#dropped;
  }

  [Symbol.dispose](): void {
    this.#close();
    this.#waiter.wake();
  }
}

class MemorySender implements DatagramSender {
  readonly engine: EngineName = "portable";
  readonly maxSegments = 1;
  readonly path = "";
  readonly address: Address;
  readonly #counters: Float64Array;
  readonly #deliver: (datagram: Uint8Array) => boolean;

  constructor(
    address: Address,
    counters: Float64Array,
    deliver: (datagram: Uint8Array) => boolean,
  ) {
    this.address = address;
    this.#counters = counters;
    this.#deliver = deliver;
  }

  send(batch: DatagramBatch): void {
    for (let slot = 0; slot < batch.count; slot++) {
      const bytes = batch.filled(slot);
      const size = Math.max(1, batch.segmentSizes[slot]!);
      let start = 0;
      do {
        const datagram = bytes.slice(start, start + size);
        if (this.#deliver(datagram)) {
          this.#counters[SentSlot.datagrams]!++;
          this.#counters[SentSlot.bytes]! += datagram.length;
        } else this.#counters[SentSlot.refused]!++;
        start += size;
      } while (start < bytes.length);
    }
  }

  [Symbol.dispose](): void {}
}
