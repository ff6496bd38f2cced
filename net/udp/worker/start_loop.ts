/** Puts a relay into a Worker and stands for it here. */
import type { Address } from "../../address.ts";
import type { SocketState } from "../../engine/socket_state.ts";
import { OperationError, UsageError } from "../../errors.ts";
import type { CounterBlock } from "../../observe/counters.ts";
import type { Log } from "../../observe/log.ts";
import type { Task } from "../../tasks.ts";
import { workerModuleUnreadable } from "../../worker_module.ts";
import {
  type PlannedDestination,
  type PlannedLog,
  type RelayOrder,
  type RelayPlan,
  type RelayReport,
  type ReportedError,
  StopSlot,
} from "./loop_plan.ts";

const WORKER_MODULE = import.meta.resolve("./loop_worker.ts");

/** Why no relay can be put into a Worker here, or undefined where one can. Never prompts. */
export function placeRelayUnavailable(): string | undefined {
  return workerModuleUnreadable(WORKER_MODULE);
}

/** What the destinations of a relay in a Worker share with this thread. */
export interface SharedDestinations {
  /** Slots of SEND_COUNTERS, for each destination. */
  readonly counters: readonly CounterBlock<string>[];
  /** A state for each destination. */
  readonly states: readonly SocketState[];
  /** Called when a destination is lost, with the reason. */
  readonly onLost: (index: number, reason: string) => void;
}

/** What a relay in a Worker shares with this thread. */
export interface PlaceRelayOptions {
  plan: RelayPlan;
  /** Slots of RECEIVE_COUNTERS. */
  received: CounterBlock<string>;
  /** The listener's state. */
  state: SocketState;
  /** What the destinations share; none where there are no destinations. */
  sent: SharedDestinations | undefined;
  /** Called when the listener is lost, with the reason. */
  onLost: (reason: string) => void;
  /** Where its lines go. */
  log: Log;
}

/** A relay that listens in a Worker; disposed of, it ends in order. */
export interface PlacedRelay extends Task, AsyncDisposable {
  /** The bound address, with the real port. */
  readonly address: Address;
  /**
   * Has it write to a log as well; before it runs. Rejects where the file
   * cannot be opened. `onEnd` is called where the log takes nothing more.
   */
  openLog(log: PlannedLog, onEnd: (reason: OperationError) => void): Promise<
    void
  >;
  /**
   * Has it send to other destinations, with what they share, while it runs. Rejects where one cannot be opened: it keeps those that it has.
   */
  setDestinations(
    destinations: PlannedDestination[],
    sent: SharedDestinations,
  ): Promise<void>;
}

/** Starts a Worker; resolves when its relay listens, rejects where it cannot. */
export async function placeRelay(
  options: PlaceRelayOptions,
): Promise<PlacedRelay> {
  const relay = new WorkerRelay(options);
  await relay.listening;
  return relay;
}

class WorkerRelay implements PlacedRelay {
  /** Resolves when it listens. */
  readonly listening: Promise<void>;
  readonly #worker: Worker;
  readonly #log: Log;
  readonly #onLost: (reason: string) => void;
  #sent: SharedDestinations | undefined;
  readonly #stop = new Int32Array(new SharedArrayBuffer(4));
  readonly #listening = Promise.withResolvers<void>();
  readonly #logOpen = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  #address: Address | undefined;
  #onLogEnd: ((reason: OperationError) => void) | undefined;
  #running = false;
  #paused = Promise.withResolvers<void>();
  #destinationsSet = Promise.withResolvers<ReportedError | undefined>();

  constructor(options: PlaceRelayOptions) {
    const { plan, received, state, sent, log } = options;
    this.#onLost = options.onLost;
    this.#sent = sent;
    this.#log = log;
    this.listening = this.#listening.promise;
    // Whoever waits sees a failure; nobody has to.
    this.#logOpen.promise.catch(() => {});
    this.#ended.promise.catch(() => {});
    this.#worker = new Worker(WORKER_MODULE, {
      type: "module",
      name: "relay",
    });
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(
        new OperationError(`A relay's Worker failed: ${event.message}`),
      );
    };
    this.#worker.onmessage = ({ data }) => this.#take(data);
    this.#tell({
      kind: "listen",
      plan,
      received: received.buffer,
      state: state.buffer,
      ...buffersOf(sent),
      stop: this.#stop.buffer,
    });
  }

  get address(): Address {
    return this.#address!;
  }

  async openLog(
    log: PlannedLog,
    onEnd: (reason: OperationError) => void,
  ): Promise<void> {
    this.#onLogEnd = onEnd;
    this.#tell({ kind: "openLog", log });
    await this.#logOpen.promise;
  }

  async setDestinations(
    destinations: PlannedDestination[],
    sent: SharedDestinations,
  ): Promise<void> {
    const { run, pause } = StopSlot;
    if (Atomics.compareExchange(this.#stop, 0, run, pause) !== run) {
      throw new OperationError(
        "cannot change destinations: the relay is ending",
      );
    }
    this.#paused = Promise.withResolvers();
    this.#destinationsSet = Promise.withResolvers();
    await Promise.race([this.#paused.promise, this.#ended.promise]);
    const before = this.#sent;
    this.#sent = sent;
    this.#tell({ kind: "setDestinations", destinations, ...buffersOf(sent) });
    const error = await this.#destinationsSet.promise;
    if (error) this.#sent = before;
    // A drain that was asked for meanwhile stays.
    Atomics.compareExchange(this.#stop, 0, pause, run);
    this.#tell({ kind: "run" });
    if (error) throw errorOf(error);
  }

  run(): Promise<void> {
    if (!this.#running) this.#tell({ kind: "run" });
    this.#running = true;
    return this.#ended.promise;
  }

  stop(): void {
    Atomics.store(this.#stop, 0, 1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    if (!this.#running) this.#tell({ kind: "close" });
    await this.#ended.promise.catch(() => {});
  }

  #tell(order: RelayOrder): void {
    this.#worker.postMessage(order);
  }

  #take(report: RelayReport): void {
    switch (report.kind) {
      case "listening":
        this.#address = report.address;
        this.#listening.resolve();
        break;
      case "logOpen":
        this.#logOpen.resolve();
        break;
      case "paused":
        this.#paused.resolve();
        break;
      case "destinationsSet":
        this.#destinationsSet.resolve(report.error);
        break;
      case "logEnded":
        this.#onLogEnd?.(
          new OperationError(report.error.message, { code: report.error.code }),
        );
        break;
      case "note":
        this.#log.once(report.message);
        break;
      case "lost":
        if (report.destination === undefined) {
          this.#onLost(report.reason);
        } else this.#sent?.onLost(report.destination, report.reason);
        break;
      case "debug":
        this.#log.debug(report.message, report.fields);
        break;
      case "warning":
        if (report.key === undefined) {
          this.#log.warn(report.message, report.fields);
        } else this.#log.limited(report.key, report.message, report.fields);
        break;
      case "failed":
        this.#fail(errorOf(report.error));
        break;
      case "ended":
        this.#ended.resolve();
        // It has closed all that it had opened and writes nothing more.
        this.#worker.terminate();
    }
  }

  #fail(error: Error): void {
    this.#destinationsSet.resolve(undefined);
    this.#listening.reject(error);
    this.#logOpen.reject(error);
    this.#ended.reject(error);
    this.#worker.terminate();
  }
}

function errorOf({ usage, options, message, code }: ReportedError): Error {
  return usage
    ? new UsageError(message, { option: options })
    : new OperationError(message, { code });
}

function buffersOf(sent: SharedDestinations | undefined) {
  return {
    sent: sent?.counters.map(({ buffer }) => buffer) ?? [],
    sentStates: sent?.states.map(({ buffer }) => buffer) ?? [],
  };
}
