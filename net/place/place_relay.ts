/** Puts a relay into a Worker and stands for it here. */
import type { Address } from "../address.ts";
import type { SocketState } from "../engine/socket_state.ts";
import { OperationError, UsageError } from "../errors.ts";
import type { CounterBlock } from "../observe/counters.ts";
import type { Log } from "../observe/log.ts";
import type { Task } from "../tasks.ts";
import { workerModuleUnreadable } from "../worker_module.ts";
import type {
  PlannedLog,
  RelayOrder,
  RelayPlan,
  RelayReport,
  ReportedError,
} from "./relay_plan.ts";

const WORKER_MODULE = import.meta.resolve("./relay_worker.ts");

/** Why no relay can be put into a Worker here, or undefined where one can. Never prompts. */
export function placeRelayUnavailable(): string | undefined {
  return workerModuleUnreadable(WORKER_MODULE);
}

/** What a relay in a Worker shares with this thread. */
export interface PlaceRelayOptions {
  plan: RelayPlan;
  /** Slots of RECEIVE_COUNTERS. */
  received: CounterBlock<string>;
  /** The listener's state. */
  state: SocketState;
  /** Slots of SEND_COUNTERS, for each destination. */
  sent: readonly CounterBlock<string>[];
  /** A state for each destination. */
  sentStates: readonly SocketState[];
  /** Called when the listener is lost, with the reason. */
  onLost: (reason: string) => void;
  /** Called when a destination is lost. */
  onDestinationLost: (index: number, reason: string) => void;
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
  readonly #options: PlaceRelayOptions;
  readonly #stop = new Int32Array(new SharedArrayBuffer(4));
  readonly #listening = Promise.withResolvers<void>();
  readonly #logOpen = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  #address: Address | undefined;
  #onLogEnd: ((reason: OperationError) => void) | undefined;
  #running = false;

  constructor(options: PlaceRelayOptions) {
    const { plan, received, state, sent, sentStates, log } = options;
    this.#options = options;
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
      sent: sent.map((block) => block.buffer),
      sentStates: sentStates.map((one) => one.buffer),
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
          this.#options.onLost(report.reason);
        } else {
          this.#options.onDestinationLost(report.destination, report.reason);
        }
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
    this.#listening.reject(error);
    this.#logOpen.reject(error);
    this.#ended.reject(error);
    this.#worker.terminate();
  }
}

function errorOf({ usage, message, code }: ReportedError): Error {
  return usage
    ? new UsageError(message)
    : new OperationError(message, { code });
}
