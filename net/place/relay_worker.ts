/**
 * Runs one relay in a thread of its own: it may block there, and its waits are
 * short enough to look at the stop slot in between.
 *
 * 1. `listen` opens the destinations and binds.
 * 2. `openLog` opens the log, when all addresses of the role are bound.
 * 3. `run` holds the thread until the stop slot says so, then closes all.
 */
/// <reference lib="deno.worker" />
import { LOG_COUNTERS } from "../dispatch/append_file.ts";
import { Destination } from "../dispatch/destination.ts";
import { LogFile } from "../dispatch/log_file.ts";
import { Relay, STOP_LOOK_MS } from "../dispatch/relay.ts";
import type { DatagramSink } from "../dispatch/sink.ts";
import { PolledTimers } from "../dispatch/timers.ts";
import { chooseDatagramEngine } from "../engine/choose.ts";
import { type DatagramListener, SEND_COUNTERS } from "../engine/engine.ts";
import { ReopeningListener } from "../engine/reopening_listener.ts";
import { SocketState } from "../engine/socket_state.ts";
import { errorCode, errorText, UsageError } from "../errors.ts";
import { CounterBlock } from "../observe/counters.ts";
import type {
  PlannedLog,
  RelayOrder,
  RelayReport,
  ReportedError,
} from "./relay_plan.ts";

type ListenOrder = Extract<RelayOrder, { kind: "listen" }>;

/** The relay of this thread. */
class WorkerRelay {
  /** Sinks, closed when the listener is. */
  readonly #opened = new AsyncDisposableStack();
  readonly #sinks: DatagramSink[] = [];
  readonly #timers = new PolledTimers();
  #order: ListenOrder | undefined;
  #listener: DatagramListener | undefined;

  async listen(order: ListenOrder): Promise<void> {
    this.#order = order;
    const { plan, state, sent, sentStates } = order;
    const onWarning = (message: string) => warn(message);
    const engine = chooseDatagramEngine(plan.engine, {
      blocking: true,
      onWarning,
    });
    // The port first: the system gives a sender any port that is free, also this one.
    this.#listener = await ReopeningListener.open(engine, {
      ...plan.listen,
      state: new SocketState(state),
      onWarning,
      onNote: (message) => report({ kind: "note", message }),
      onLost: (reason) =>
        report({ kind: "lost", destination: undefined, reason }),
    });
    for (const [i, destination] of plan.destinations.entries()) {
      const counters = new CounterBlock(SEND_COUNTERS, sent[i]!);
      this.#sinks.push(
        this.#opened.use(
          await Destination.open(engine, {
            ...destination,
            counters,
            state: new SocketState(sentStates[i]!),
            onWarning,
            onLost: (reason) =>
              report({ kind: "lost", destination: i, reason }),
          }),
        ),
      );
    }
    report({ kind: "listening", address: this.#listener.address });
  }

  openLog({ counters, ...log }: PlannedLog): void {
    this.#sinks.push(
      this.#opened.use(
        new LogFile({
          ...log,
          counters: new CounterBlock(LOG_COUNTERS, counters),
          keepsHouse: false,
          timers: this.#timers,
          log: {
            debug: (message, fields) =>
              report({ kind: "debug", message, fields }),
            limited: (key, message, fields) => warn(message, fields, key),
          },
          onEnd: (error) =>
            report({ kind: "logEnded", error: reportedError(error) }),
        }),
      ),
    );
    report({ kind: "logOpen" });
  }

  async run(): Promise<void> {
    const { received, stop } = this.#order!;
    const relay = new Relay({
      listener: this.#listener!,
      sinks: this.#sinks,
      counters: new Float64Array(received),
      stop: new Int32Array(stop),
      lookMs: STOP_LOOK_MS,
      ownThread: true,
      timers: this.#timers,
    });
    await relay.run();
  }

  async close(): Promise<void> {
    this.#listener?.[Symbol.dispose]();
    await this.#opened.disposeAsync();
  }
}

function report(message: RelayReport): void {
  self.postMessage(message);
}

function warn(
  message: string,
  fields?: Extract<RelayReport, { kind: "warning" }>["fields"],
  key?: string,
): void {
  report({ kind: "warning", message, fields, key });
}

function reportedError(error: unknown): ReportedError {
  return {
    usage: error instanceof UsageError,
    message: errorText(error),
    code: errorCode(error),
  };
}

const relay = new WorkerRelay();

self.onmessage = async ({ data }: MessageEvent<RelayOrder>) => {
  try {
    switch (data.kind) {
      case "listen":
        await relay.listen(data);
        return;
      case "openLog":
        relay.openLog(data.log);
        return;
      case "run":
        await relay.run();
    }
    await relay.close();
    report({ kind: "ended" });
  } catch (error) {
    // Whatever failed, what was received is written, and nothing stays open.
    await relay.close().catch(() => {});
    report({ kind: "failed", error: reportedError(error) });
  }
  self.close();
};
