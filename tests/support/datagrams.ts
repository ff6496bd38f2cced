/** Datagrams in tests: batches from lists, lists from listeners. */
import { assertEquals } from "@std/assert";
import type { Address } from "../../net/address.ts";
import { DatagramBatch } from "../../net/engine/batch.ts";
import type {
  DatagramEngine,
  DatagramListener,
  DatagramSender,
} from "../../net/engine/datagram.ts";
import { SEND_COUNTERS } from "../../net/engine/datagram.ts";
import { copiedDatagrams } from "./batches.ts";

/** A test that waits longer than this for a datagram has lost it. */
const LOST_MS = 10_000;

/** A received datagram. */
export interface Received {
  bytes: Uint8Array;
  source: Address;
}

/** A batch of slots, each of one datagram or of several that are joined. */
export function batchOf(
  slots: readonly (Uint8Array | readonly Uint8Array[])[],
): DatagramBatch {
  const batch = new DatagramBatch(Math.max(1, slots.length));
  for (const [i, slot] of slots.entries()) {
    const datagrams = slot instanceof Uint8Array ? [slot] : slot;
    let at = 0;
    for (const datagram of datagrams) {
      batch.slot(i).set(datagram, at);
      at += datagram.length;
    }
    batch.lengths[i] = at;
    batch.segmentSizes[i] = datagrams[0]!.length;
  }
  batch.count = slots.length;
  return batch;
}

/** Receives at least so many datagrams. */
export async function receive(
  listener: DatagramListener,
  count: number,
  batch: DatagramBatch = new DatagramBatch(listener.batchSize),
): Promise<Received[]> {
  const found: Received[] = [];
  const end = performance.now() + LOST_MS;
  while (found.length < count) {
    if (listener.tryReceive(batch) === 0) {
      const left = end - performance.now();
      if (left <= 0) {
        throw new Error(`Received ${found.length} of ${count} datagrams`);
      }
      await listener.readable(left);
      continue;
    }
    for (const [i, bytes] of copiedDatagrams(batch).entries()) {
      let slot = 0;
      for (let before = batch.datagramsIn(0); before <= i;) {
        before += batch.datagramsIn(++slot);
      }
      found.push({ bytes, source: batch.source(slot) });
    }
  }
  return found;
}

/** All arrived, with their boundaries, but in another order. */
class Reordered extends Error {}

/**
 * Asserts that what was sent has arrived. The order must be right too, but for
 * {@linkcode despiteReordering}.
 */
export function assertDatagrams(
  received: readonly Received[],
  sent: readonly Uint8Array[],
): void {
  const bytes = received.map((one) => one.bytes);
  const sorted = (list: readonly Uint8Array[]) => list.map(String).sort();
  assertEquals(sorted(bytes), sorted(sent));
  if (bytes.map(String).join() !== sent.map(String).join()) {
    throw new Reordered("What was sent arrived in another order");
  }
}

/**
 * Runs a test again where datagrams overtook each other. The kernel itself lets
 * them: a busy CPU leaves what is sent over loopback in its backlog, and a
 * sender that has moved to another CPU passes it. An engine that does not keep
 * order fails every time.
 */
export async function despiteReordering(
  test: () => Promise<void>,
): Promise<void> {
  for (let left = 5;; left--) {
    try {
      return await test();
    } catch (error) {
      if (!(error instanceof Reordered) || left === 0) throw error;
    }
  }
}

/** `length` bytes that tell where they belong. */
export function pattern(length: number, seed = 0): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + seed * 17 + 7) & 0xff;
  return bytes;
}

/** A sender to an address, with what it counts. */
export async function openSender(
  engine: DatagramEngine,
  address: Address,
  options: Partial<Parameters<DatagramEngine["connect"]>[0]> = {},
): Promise<{ sender: DatagramSender; counters: Float64Array }> {
  const counters = new Float64Array(SEND_COUNTERS.length);
  const sender = await engine.connect({
    address,
    maxWaitMs: 1000,
    counters,
    ...options,
  });
  return { sender, counters };
}
