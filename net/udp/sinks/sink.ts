/**
 * Where datagrams go: a destination, a log file, subscribers, stdout. A relay
 * gives each batch to each of its sinks in turn.
 */
import type { DatagramBatch } from "../../engine/batch.ts";

/** Takes batches of datagrams. */
export interface DatagramSink extends AsyncDisposable {
  /**
   * Takes every datagram of a batch, in order. Does not throw for what befalls
   * this sink alone: that is counted, so that the other sinks go on. The batch
   * must be left alone until the promise, if there is one, resolves.
   */
  write(batch: DatagramBatch): Promise<void> | void;
  /**
   * Called when nothing more is there for now, before the relay waits: a sink
   * that gathers small writes hands them on.
   */
  flush?(): Promise<void> | void;
}
