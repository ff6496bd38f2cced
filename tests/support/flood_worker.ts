/** Floods a port from a thread of its own, as fast as the engine sends. */
/// <reference lib="deno.worker" />
import { SEND_COUNTERS } from "../../net/engine/datagram.ts";
import { DatagramBatch } from "../../net/engine/batch.ts";
import { createLinuxEngine } from "../../net/engine/linux/datagram/engine.ts";

/** What is sent. */
export interface FloodOrder {
  port: number;
  /** Bytes of each datagram. */
  size: number;
  /** Datagrams of each slot; with 1, sizes rise from slot to slot, so that none join. */
  joined: number;
  /** For how long. */
  ms: number;
  /** Datagrams a second on average. Default: as many as go. */
  rate?: number;
}

/** Slots of a batch. */
const SLOTS = 16;

self.onmessage = async ({ data }: MessageEvent<FloodOrder>) => {
  const { port, size, joined, ms, rate = Infinity } = data;
  const engine = createLinuxEngine({ blocking: true });
  const counters = new Float64Array(SEND_COUNTERS.length);
  using sender = await engine.connect({
    address: { hostname: "127.0.0.1", port },
    maxWaitMs: Infinity,
    counters,
  });
  const batch = new DatagramBatch(SLOTS);
  for (let slot = 0; slot < SLOTS; slot++) {
    const one = joined === 1 ? size - SLOTS + slot : size;
    batch.slot(slot).fill(slot);
    batch.lengths[slot] = one * joined;
    batch.segmentSizes[slot] = one;
  }
  batch.count = SLOTS;
  const start = performance.now();
  for (;;) {
    const passed = performance.now() - start;
    if (passed >= ms) break;
    if (counters[0]! < rate * passed / 1000) sender.send(batch);
  }
  self.postMessage(counters);
};
