/**
 * Datagrams that wait for a loop, copied one behind the other into one memory
 * that is used round and round. node:dgram gives every datagram, however
 * short, an array of 64 KiB, so what is held must not be those arrays.
 */
import type { Address } from "../../../address.ts";
import type { DatagramBatch } from "../../batch.ts";

/** Room that each datagram takes at least, so that empty ones are bounded too. */
export const LEAST_BYTES = 64;

interface Queued {
  start: number;
  length: number;
  source: Address;
}

/** A queue bounded in bytes. */
export class DatagramQueue {
  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #queued: Queued[] = [];
  #sources: Address[] = [];
  /** Where the next one goes. */
  #end = 0;

  constructor(bytes: number) {
    // Pages that nothing was ever written to take no memory.
    this.#memory = new Uint8Array(bytes);
  }

  /** Datagrams that wait. */
  get length(): number {
    return this.#queued.length;
  }

  /** Copies a datagram; false where there is no room for it in one piece. */
  put(datagram: Uint8Array, source: Address): boolean {
    const { length } = datagram;
    const start = this.#room(Math.max(length, LEAST_BYTES));
    if (start < 0) return false;
    this.#memory.set(datagram, start);
    this.#queued.push({ start, length, source });
    this.#end = start + Math.max(length, LEAST_BYTES);
    return true;
  }

  /** Fills a batch from the front; the slots filled. */
  take(batch: DatagramBatch): number {
    const taken = this.#queued.splice(0, batch.slots);
    for (const [slot, { start, length }] of taken.entries()) {
      batch.slot(slot).set(this.#memory.subarray(start, start + length));
      batch.setDatagram(slot, length);
    }
    this.#sources = taken.map(({ source }) => source);
    batch.readSource = this.#readSource;
    return batch.count = taken.length;
  }

  readonly #readSource = (_batch: DatagramBatch, slot: number): Address =>
    this.#sources[slot]!;

  /** Where so many bytes have room, or -1. */
  #room(bytes: number): number {
    const first = this.#queued[0];
    // Empty, it begins anew: what is short-lived touches few pages.
    if (first === undefined) return bytes <= this.#memory.length ? 0 : -1;
    if (this.#end <= first.start) {
      return bytes <= first.start - this.#end ? this.#end : -1;
    }
    if (bytes <= this.#memory.length - this.#end) return this.#end;
    return bytes <= first.start ? 0 : -1;
  }
}
