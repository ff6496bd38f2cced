/**
 * What is between a reactor in its thread and its owner: orders and their
 * answers, events, and the names that a reactor that blocks cannot resolve.
 */
import { lookup } from "node:dns/promises";
import { errorText, OperationError } from "../../../errors.ts";
import type { ConnectionInfo, StreamEventSink } from "../../stream.ts";
import type { Libc } from "../ffi/libc.ts";
import { WakeEvent } from "../wake_event.ts";
import type {
  ReactorOrder,
  ReactorQuestion,
  ReactorReport,
  ReactorStart,
} from "./orders.ts";

/** A thread with a reactor, or what stands for one. */
export interface ReactorThread {
  /** Gives an order; the wake event is set afterwards. */
  post(order: ReactorOrder): void;
  /** Ends the thread once its reactor has ended. */
  terminate(): void;
}

/** Starts a thread; `onReport` hears what its reactor says. */
export type StartReactor = (
  start: ReactorStart,
  onReport: (report: ReactorReport) => void,
) => ReactorThread;

/** What runs in the thread. */
export const REACTOR_MODULE: string = import.meta.resolve(
  "./reactor_worker.ts",
);

/** A reactor in a Worker. */
export const startReactorWorker: StartReactor = (start, onReport) => {
  const worker = new Worker(REACTOR_MODULE, {
    type: "module",
    name: "reactor",
  });
  worker.onmessage = ({ data }: MessageEvent<ReactorReport>) => onReport(data);
  worker.onerror = (event) => {
    event.preventDefault();
    onReport({ kind: "failed", message: event.message });
  };
  worker.postMessage(start);
  return {
    post: (order) => worker.postMessage(order),
    terminate: () => worker.terminate(),
  };
};

/** A reactor as its owner sees it: questions with answers, reports by service. */
export class ReactorLink {
  readonly #thread: ReactorThread;
  readonly #wake: WakeEvent;
  readonly #posted = new Int32Array(new SharedArrayBuffer(4));
  readonly #requests = new Map<
    number,
    PromiseWithResolvers<ConnectionInfo[] | number>
  >();
  readonly #sinks = new Map<number, StreamEventSink>();
  /** Lookups under way, so that dials that begin together ask once. */
  readonly #lookups = new Map<string, Promise<string[]>>();
  readonly #ended = Promise.withResolvers<void>();
  readonly #failed = Promise.withResolvers<never>();
  #nextRequest = 1;
  #over = false;

  constructor(
    libc: Libc,
    start: StartReactor,
    place: Pick<ReactorStart, "reactor" | "reactors" | "splicing">,
  ) {
    this.#wake = new WakeEvent(libc);
    this.#failed.promise.catch(() => {});
    this.#thread = start({
      ...place,
      wakeDescriptor: this.#wake.descriptor,
      posted: this.#posted.buffer,
    }, (report) => this.#hear(report));
  }

  /** Rejects where the reactor broke; never resolves. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** Where the events of a service go. */
  listen(service: number, sink: StreamEventSink): void {
    this.#sinks.set(service, sink);
  }

  /** Nothing of a service is heard any more. */
  unlisten(service: number): void {
    this.#sinks.delete(service);
  }

  /** Gives an order and waits for its answer; rejects where the reactor broke. */
  async ask(question: ReactorQuestion): Promise<ConnectionInfo[] | number> {
    if (this.#over) return await this.#failed.promise;
    const request = this.#nextRequest++;
    const answer = Promise.withResolvers<ConnectionInfo[] | number>();
    this.#requests.set(request, answer);
    this.#post({ ...question, request });
    return await answer.promise;
  }

  #post(order: ReactorOrder): void {
    Atomics.add(this.#posted, 0, 1);
    this.#thread.post(order);
    this.#wake.wake();
  }

  #hear(report: ReactorReport): void {
    switch (report.kind) {
      case "answer":
        this.#requests.get(report.request)?.resolve(report.value);
        this.#requests.delete(report.request);
        break;
      case "events":
        this.#sinks.get(report.service)?.(report.events);
        break;
      case "lookup":
        this.#resolve(report.lookup, report.hostname);
        break;
      case "failed":
        this.#break(
          new OperationError(
            `A reactor of the engine failed: ${report.message}`,
          ),
        );
        break;
      case "ended":
        this.#over = true;
        this.#ended.resolve();
    }
  }

  #break(error: Error): void {
    this.#over = true;
    this.#failed.reject(error);
    for (const answer of this.#requests.values()) answer.reject(error);
    this.#requests.clear();
    this.#ended.resolve();
  }

  async #resolve(id: number, hostname: string): Promise<void> {
    let hostnames: string[] = [];
    let detail = "";
    try {
      let asked = this.#lookups.get(hostname);
      if (!asked) {
        asked = lookup(hostname, { all: true, verbatim: true })
          .then((found) => found.map(({ address }) => address));
        this.#lookups.set(hostname, asked);
      }
      hostnames = await asked;
      if (hostnames.length === 0) detail = `no address of "${hostname}"`;
    } catch (error) {
      detail = errorText(error);
    } finally {
      this.#lookups.delete(hostname);
    }
    if (this.#over) return;
    this.#post({ kind: "resolved", lookup: id, hostnames, detail });
  }

  /** Ends the reactor and its thread. */
  async end(): Promise<void> {
    if (!this.#over) this.#post({ kind: "end" });
    await this.#ended.promise;
    this.#thread.terminate();
    this.#wake[Symbol.dispose]();
  }
}
