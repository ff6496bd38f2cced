/** Waits for datagrams in a thread of its own until another thread wakes it. */
/// <reference lib="deno.worker" />
import { DatagramBatch } from "../../net/engine/batch.ts";
import { createLinuxEngine } from "../../net/engine/linux/datagram/engine.ts";

self.onmessage = async ({ data }: MessageEvent<number>) => {
  const engine = createLinuxEngine({ blocking: true, wakeDescriptor: data });
  const batch = new DatagramBatch(4);
  {
    using listener = await engine.listen({
      address: { hostname: "127.0.0.1", port: 0 },
    });
    for (let turn = 0; turn < 3; turn++) {
      self.postMessage("waiting");
      // Holds the thread: only the event can end it.
      listener.readable();
      if (listener.tryReceive(batch) !== 0) throw new Error("Not woken");
    }
  }
  self.postMessage("closed");
};
