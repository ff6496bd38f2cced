/**
 * Runs one relay in a thread of its own: it may block there, and its waits are
 * short enough to look at the stop slot in between.
 */
/// <reference lib="deno.worker" />
import { chooseDatagramEngine } from "../engine/choose.ts";
import { SEND_COUNTERS } from "../engine/engine.ts";
import { Destination } from "../dispatch/destination.ts";
import { Relay } from "../dispatch/relay.ts";
import { errorCode, UsageError } from "../errors.ts";
import { CounterBlock } from "../observe/counters.ts";
import type { RelayOrder, RelayReport } from "./relay_plan.ts";

/** How long a wait lasts before the stop slot is looked at, in milliseconds. */
const LOOK_MS = 50;

function report(message: RelayReport): void {
  self.postMessage(message);
}

async function runRelay(
  { plan, received, sent, stop }: RelayOrder,
): Promise<void> {
  const onWarning = (message: string) => report({ kind: "warning", message });
  const engine = chooseDatagramEngine(plan.engine, {
    blocking: true,
    onWarning,
  });
  await using stack = new AsyncDisposableStack();
  const sinks: Destination[] = [];
  for (const [i, destination] of plan.destinations.entries()) {
    const counters = new CounterBlock(SEND_COUNTERS, sent[i]!);
    sinks.push(
      stack.use(
        await Destination.open(engine, { ...destination, counters, onWarning }),
      ),
    );
  }
  const listener = await engine.listen({ ...plan.listen, onWarning });
  report({ kind: "listening", address: listener.address });
  const relay = new Relay({
    listener,
    sinks,
    counters: new Float64Array(received),
    stop: new Int32Array(stop),
    lookMs: LOOK_MS,
    ownThread: true,
  });
  await relay.run();
}

self.onmessage = async ({ data }: MessageEvent<RelayOrder>) => {
  try {
    await runRelay(data);
    report({ kind: "ended" });
  } catch (error) {
    report({
      kind: "failed",
      usage: error instanceof UsageError,
      message: error instanceof Error ? error.message : String(error),
      code: errorCode(error),
    });
  }
  self.close();
};
