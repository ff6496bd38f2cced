/**
 * Runs one relay in a thread of its own: it may block there, and its waits are
 * short enough to look at the stop slot in between.
 *
 * 1. `listen` opens the destinations and binds.
 * 2. `openLog` opens the log, when all addresses of the role are bound.
 * 3. `run` holds the thread until the stop slot says so, then closes all.
 */
/// <reference lib="deno.worker" />
import { LOG_COUNTERS } from "../file_log/append_file.ts";
import { Destination } from "../sinks/destination.ts";
import { closeAll } from "../sinks/destinations.ts";
import { LogFile } from "../file_log/log_file.ts";
import { Relay, STOP_LOOK_MS } from "../datagram_loop.ts";
import { loopGuardOf } from "../report_loop.ts";
import type { DatagramSink } from "../sinks/sink.ts";
import { PolledTimers } from "../timers.ts";
import { chooseDatagramEngine } from "../../engine/choose_datagram.ts";
import {
  type DatagramEngine,
  type DatagramListener,
  SEND_COUNTERS,
} from "../../engine/datagram.ts";
import { ReopeningListener } from "../../engine/reopening_listener.ts";
import { SocketState } from "../../engine/socket_state.ts";
import { errorCode, errorText, UsageError } from "../../errors.ts";
import { CounterBlock } from "../../observe/counters.ts";
import {
  type PlannedDestination,
  type PlannedLog,
  type RelayOrder,
  type RelayReport,
  type ReportedError,
  StopSlot,
} from "./loop_plan.ts";

type ListenOrder = Extract<RelayOrder, { kind: "listen" }>;

/** The relay of this thread. */
class WorkerRelay {
  /** Sinks, closed when the listener is. */
  readonly #opened = new AsyncDisposableStack();
  readonly #sinks: DatagramSink[] = [];
  #destinations: Destination[] = [];
  #engine: DatagramEngine | undefined;
  readonly #timers = new PolledTimers();
  #order: ListenOrder | undefined;
  #listener: DatagramListener | undefined;

  async listen(order: ListenOrder): Promise<void> {
    this.#order = order;
    const { plan, state, sent, sentStates } = order;
    const onWarning = (message: string) => warn(message);
    const engine = this.#engine = chooseDatagramEngine(plan.engine, {
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
    this.#destinations = await openDestinations(
      engine,
      plan.destinations,
      sent,
      sentStates,
    );
    report({ kind: "listening", address: this.#listener.address });
  }

  openLog({ counters, ...log }: PlannedLog): void {
    this.#sinks.push(
      this.#opened.use(
        new LogFile({
          ...log,
          counters: new CounterBlock(LOG_COUNTERS, counters),
          keepsHouse: false,
          listener: this.#listener!.address,
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

  /** Sends to other destinations from the next run on; where one cannot be opened, to those of before. */
  async setDestinations(
    planned: readonly PlannedDestination[],
    sent: readonly SharedArrayBuffer[],
    states: readonly SharedArrayBuffer[],
  ): Promise<void> {
    try {
      const opened = await openDestinations(
        this.#engine!,
        planned,
        sent,
        states,
      );
      await closeAll(this.#destinations);
      this.#destinations = opened;
      report({ kind: "destinationsSet", error: undefined });
    } catch (error) {
      report({ kind: "destinationsSet", error: reportedError(error) });
    }
  }

  /** Whether it has only paused. */
  async run(): Promise<boolean> {
    const { received } = this.#order!;
    const stop = new Int32Array(this.#order!.stop);
    const relay = new Relay({
      listener: this.#listener!,
      sinks: [...this.#destinations, ...this.#sinks],
      counters: new Float64Array(received),
      stop,
      lookMs: STOP_LOOK_MS,
      ownThread: true,
      timers: this.#timers,
      loopGuard: this.#destinations.length === 0 ? undefined : loopGuardOf(
        this.#listener!.address,
        (key, message, fields) => warn(message, fields, key),
      ),
    });
    await relay.run();
    return stop[0] === StopSlot.pause;
  }

  async close(): Promise<void> {
    this.#listener?.[Symbol.dispose]();
    await closeAll(this.#destinations);
    await this.#opened.disposeAsync();
  }
}

async function openDestinations(
  engine: DatagramEngine,
  planned: readonly PlannedDestination[],
  sent: readonly SharedArrayBuffer[],
  states: readonly SharedArrayBuffer[],
): Promise<Destination[]> {
  const opened: Destination[] = [];
  try {
    for (const [i, destination] of planned.entries()) {
      opened.push(
        await Destination.open(engine, {
          ...destination,
          counters: new CounterBlock(SEND_COUNTERS, sent[i]!),
          state: new SocketState(states[i]!),
          onWarning: (message) => warn(message),
          onLost: (reason) => report({ kind: "lost", destination: i, reason }),
        }),
      );
    }
    return opened;
  } catch (error) {
    await closeAll(opened);
    throw error;
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
    options: error instanceof UsageError ? error.options : [],
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
      case "setDestinations":
        await relay.setDestinations(
          data.destinations,
          data.sent,
          data.sentStates,
        );
        return;
      case "run":
        if (await relay.run()) {
          report({ kind: "paused" });
          return;
        }
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
