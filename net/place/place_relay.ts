/** Puts a relay into a Worker and stands for it here. */
import type { Address } from "../address.ts";
import { OperationError, UsageError } from "../errors.ts";
import type { CounterBlock } from "../observe/counters.ts";
import type { Task } from "../tasks.ts";
import type { RelayOrder, RelayPlan, RelayReport } from "./relay_plan.ts";

/** What a relay in a Worker shares with this thread. */
export interface PlaceRelayOptions {
  plan: RelayPlan;
  /** Slots of RECEIVE_COUNTERS. */
  received: CounterBlock<string>;
  /** Slots of SEND_COUNTERS, for each destination. */
  sent: readonly CounterBlock<string>[];
  onWarning: (message: string) => void;
}

/** A relay that runs in a Worker. */
export interface PlacedRelay extends Task {
  /** The bound address, with the real port. */
  readonly address: Address;
}

/** Starts a relay in a Worker; resolves when it listens, rejects where it cannot. */
export async function placeRelay(
  options: PlaceRelayOptions,
): Promise<PlacedRelay> {
  const { plan, received, sent, onWarning } = options;
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(import.meta.resolve("./relay_worker.ts"), {
    type: "module",
    name: "relay",
  });
  const listening = Promise.withResolvers<Address>();
  const ended = Promise.withResolvers<void>();
  ended.promise.catch(() => {});
  const fail = (error: Error): void => {
    listening.reject(error);
    ended.reject(error);
    worker.terminate();
  };
  worker.onerror = (event) => {
    event.preventDefault();
    fail(new OperationError(`A relay's Worker failed: ${event.message}`));
  };
  worker.onmessage = ({ data }: MessageEvent<RelayReport>) => {
    switch (data.kind) {
      case "listening":
        listening.resolve(data.address);
        break;
      case "warning":
        onWarning(data.message);
        break;
      case "failed":
        fail(
          data.usage
            ? new UsageError(data.message)
            : new OperationError(data.message, { code: data.code }),
        );
        break;
      case "ended":
        ended.resolve();
        worker.terminate();
    }
  };
  const order: RelayOrder = {
    plan,
    received: received.buffer,
    sent: sent.map((block) => block.buffer),
    stop: stop.buffer,
  };
  worker.postMessage(order);
  return {
    address: await listening.promise,
    run: () => ended.promise,
    stop: () => {
      Atomics.store(stop, 0, 1);
    },
  };
}
