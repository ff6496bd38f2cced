/** Since when a broker owes an answer, from what is seen of it a few times a second. */
import type { KeepAliveState } from "./keep_alive.ts";
import type { StreamWriter } from "./stream_writer.ts";

/** The direction from the broker. */
export interface BrokerReading {
  /** Reads that returned bytes. */
  readonly reads: number;
  /** Whether it is read now. */
  readonly isReading: boolean;
}

/** Watches one session's broker; see {@linkcode KeepAliveState}. */
export class BrokerWatch {
  #reads = -1;
  #heardMs = 0;
  /** Bytes that it had been sent when it was last heard. */
  #heardBytes = 0;
  #unansweredMs: number | undefined;

  /**
   * Looks at both directions. What is not read, because the client does not
   * take it, is not the broker's silence.
   */
  look(
    from: BrokerReading,
    to: StreamWriter,
    nowMs: number,
  ): Pick<
    KeepAliveState,
    "unansweredMs" | "unansweredBytes" | "brokerStalledMs"
  > {
    if (from.reads !== this.#reads || !from.isReading) {
      this.#reads = from.reads;
      this.#heardMs = nowMs;
      this.#heardBytes = to.writtenBytes;
      this.#unansweredMs = undefined;
    } else if (
      to.wroteAtMs > this.#heardMs || to.stalledSinceMs !== undefined
    ) this.#unansweredMs ??= nowMs;
    return {
      unansweredMs: this.#unansweredMs,
      unansweredBytes: to.writtenBytes - this.#heardBytes,
      brokerStalledMs: to.stalledSinceMs,
    };
  }
}
