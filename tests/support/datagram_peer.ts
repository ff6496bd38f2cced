/** Senders and receivers of datagrams for tests, over the library's own sockets. */
import {
  type Address,
  formatAddress,
  parseAddress,
} from "../../net/address.ts";
import { Destination } from "../../net/udp/sinks/destination.ts";
import { RECEIVE_COUNTERS, Relay } from "../../net/udp/datagram_loop.ts";
import type { DatagramSink } from "../../net/udp/sinks/sink.ts";
import type { DatagramBatch } from "../../net/engine/batch.ts";
import { chooseDatagramEngine } from "../../net/engine/choose_datagram.ts";
import type { DatagramListener } from "../../net/engine/datagram.ts";
import { CounterBlock } from "../../net/observe/counters.ts";
import { batchOf, concat, copiedDatagrams } from "./batches.ts";
import { soon } from "./deadline.ts";

/** How a peer is opened. */
export interface PeerOptions {
  /** Interface to join on or to send from. */
  networkInterface?: string;
  /** Hops of a sender's datagrams. */
  ttl?: number;
}

/** Takes all datagrams that come to an address. */
export class Receiver implements AsyncDisposable {
  /** What has come, in order. */
  readonly datagrams: Uint8Array<ArrayBuffer>[] = [];
  /** The bound address. */
  readonly address: Address;
  readonly #relay: Relay;
  readonly #running: Promise<void>;
  readonly #counters = new CounterBlock(RECEIVE_COUNTERS);
  readonly #waiting = new Set<() => void>();

  private constructor(listener: DatagramListener) {
    this.address = listener.address;
    const sink: DatagramSink = {
      write: (batch) => this.#take(batch),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
    this.#relay = new Relay({
      listener,
      sinks: [sink],
      counters: this.#counters.slots,
    });
    this.#running = this.#relay.run();
  }

  /** Listens on an address, by default on a free port of 127.0.0.1. */
  static async open(
    address: string = "127.0.0.1:0",
    { networkInterface }: PeerOptions = {},
  ): Promise<Receiver> {
    const engine = chooseDatagramEngine("auto");
    return new Receiver(
      await engine.listen({
        address: parseAddress(address, { allowPortZero: true }),
        networkInterface,
      }),
    );
  }

  /** The bound address as a role's flags take it. */
  get text(): string {
    return formatAddress(this.address);
  }

  /** The port. */
  get port(): number {
    return this.address.port;
  }

  /** Datagrams that came too fast for this process. */
  get dropped(): number {
    return this.#counters.read().droppedKernel;
  }

  /** All that came, one behind the other. */
  get bytes(): Uint8Array {
    return concat(this.datagrams);
  }

  /** What came, as texts. */
  get texts(): string[] {
    const decoder = new TextDecoder();
    return this.datagrams.map((datagram) => decoder.decode(datagram));
  }

  /** Resolves when so many datagrams have come, dropped ones counted too. */
  async atLeast(count: number): Promise<Uint8Array<ArrayBuffer>[]> {
    await this.until(
      () => this.datagrams.length + this.dropped >= count,
      `${count} datagrams`,
    );
    return this.datagrams;
  }

  /** Resolves when so many bytes have come; what was dropped never does. */
  async atLeastBytes(count: number): Promise<Uint8Array> {
    let bytes = 0;
    let counted = 0;
    await this.until(() => {
      while (counted < this.datagrams.length) {
        bytes += this.datagrams[counted++]!.length;
      }
      return bytes >= count;
    }, `${count} bytes`);
    return this.bytes;
  }

  /** Resolves when a condition on what has come holds. */
  async until(holds: () => boolean, what: string): Promise<void> {
    while (!holds()) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      await soon(
        promise,
        () =>
          `${what} at ${this.text}, only ${this.datagrams.length} datagrams` +
          ` and ${this.dropped} dropped`,
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#relay.drain();
    await this.#running;
  }

  #take(batch: DatagramBatch): void {
    this.datagrams.push(...copiedDatagrams(batch));
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

/** Sends datagrams to one address. */
export class Sender implements AsyncDisposable {
  readonly #destination: Destination;

  private constructor(destination: Destination) {
    this.#destination = destination;
  }

  /** Opens a socket to an address. */
  static async open(
    address: string | Address,
    { networkInterface, ttl }: PeerOptions = {},
  ): Promise<Sender> {
    return new Sender(
      await Destination.open(chooseDatagramEngine("auto"), {
        address: typeof address === "string" ? parseAddress(address) : address,
        networkInterface,
        ttl,
        maxWaitMs: Infinity,
      }),
    );
  }

  /** Sends datagrams, bytes or texts. */
  async send(...datagrams: (string | Uint8Array)[]): Promise<void> {
    const encoder = new TextEncoder();
    for (const datagram of datagrams) {
      await this.#destination.write(batchOf({
        bytes: typeof datagram === "string"
          ? encoder.encode(datagram)
          : datagram,
      }));
    }
  }

  /** Datagrams sent so far. */
  get sent(): number {
    return this.#destination.counters.read().sentDatagrams;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#destination[Symbol.asyncDispose]();
  }
}

/** A port that no UDP socket of this machine has now. */
export async function freeUdpPort(): Promise<number> {
  await using receiver = await Receiver.open("0.0.0.0:0");
  return receiver.port;
}

/** An IPv4 group of this test alone (RFC 2365: it stays within the site). */
export function ownGroup(): string {
  const byte = () => Math.floor(Math.random() * 254) + 1;
  return `239.255.${byte()}.${byte()}`;
}
