/**
 * The linux engine for streams, as the thread that uses it sees it: it binds,
 * gives listeners to reactors in threads of their own, and reads shared slots.
 */
import { type Address, formatAddress, isIpv6 } from "../../../address.ts";
import { failedCall, UsageError } from "../../../errors.ts";
import { workerModuleUnreadable } from "../../../worker_module.ts";
import { resolveAll } from "../../resolve.ts";
import type {
  ConnectionFilter,
  ConnectionInfo,
  ForwardChange,
  Forwarder,
  ForwardPlan,
  ForwardStats,
  RemoteSpec,
  RemoteStats,
  ReportLevel,
  StreamEngine,
  StreamEventSink,
} from "../../stream.ts";
import {
  forwardSlots,
  readForward,
  readRemote,
  RemoteSlot,
  remoteSlots,
} from "../../stream_counters.ts";
import { AF_INET, AF_INET6 } from "../ffi/constants.ts";
import { findLibc, type Libc, openLibc } from "../ffi/libc.ts";
import { encodeSockaddr } from "../ffi/sockaddr.ts";
import { closeDescriptor, localAddress } from "../ffi/socket.ts";
import { openStreamListener } from "../ffi/stream.ts";
import { findLinuxInterface } from "../interfaces.ts";
import { linuxEngineUnavailable } from "../datagram/engine.ts";
import {
  type ReactorQuestion,
  type RemoteShare,
  REPORT_LEVELS,
  SHARED_BYTES,
  SharedSlot,
} from "./orders.ts";
import {
  REACTOR_MODULE,
  ReactorLink,
  type StartReactor,
  startReactorWorker,
} from "./reactor_link.ts";
import { sourceCountsBuffer } from "./source_counts.ts";
import { DEFAULT_SPLICING, type Splicing } from "./splicing.ts";

/** Connections that may wait to be accepted; the kernel lowers it to net.core.somaxconn. */
const BACKLOG = 4096;

/** Options of {@linkcode linuxStreamEngine}. */
export interface LinuxStreamOptions {
  /**
   * Reactors, each in a thread of its own, that share every forwarder.
   * @default {1}
   */
  workers?: number;
  /**
   * When bulk is spliced; another choice is for measurements.
   * @default {DEFAULT_SPLICING}
   */
  splicing?: Splicing;
  /** An opened libc in place of this process's; it stays the caller's. */
  libc?: Libc;
  /** Starts the threads; a Worker each without it. */
  startReactor?: StartReactor;
}

/** The engine; opens nothing before its first forwarder. */
export function linuxStreamEngine(
  options: LinuxStreamOptions = {},
): StreamEngine {
  return new LinuxStreamEngine(options);
}

/** Why the engine cannot be had here, or undefined where it can. Never prompts. */
export function linuxStreamEngineUnavailable(): string | undefined {
  return linuxEngineUnavailable() ?? workerModuleUnreadable(REACTOR_MODULE);
}

class LinuxStreamEngine implements StreamEngine {
  readonly name = "linux";
  readonly features = { tls: false };
  readonly #options: LinuxStreamOptions;
  readonly #workers: number;
  #libc: Libc | undefined;
  #links: ReactorLink[] = [];
  readonly #open = new Set<LinuxForwarder>();
  #nextService = 0;

  constructor(options: LinuxStreamOptions) {
    this.#options = options;
    this.#workers = options.workers ?? 1;
  }

  get description(): string {
    const count = this.#workers === 1 ? "" : `, ${this.#workers} threads`;
    return `epoll, splice of ${
      this.#options.libc?.name ?? findLibc() ?? "no libc"
    }${count}`;
  }

  async forward(
    plan: ForwardPlan,
    onEvents?: StreamEventSink,
  ): Promise<Forwarder> {
    refuseTls(plan);
    this.#libc ??= this.#options.libc ?? openLibc();
    const { listeners, address } = await bind(
      this.#libc,
      plan,
      this.#workers,
    );
    // Another call may have started them while this one waited.
    if (this.#links.length === 0) this.#start(this.#libc);
    const forwarder = new LinuxForwarder(
      this.#nextService++,
      address,
      this.#links,
      plan,
      onEvents,
    );
    this.#open.add(forwarder);
    const forget = () => this.#open.delete(forwarder);
    forwarder.finished.then(forget, forget);
    await forwarder.open(plan, listeners);
    return forwarder;
  }

  #start(libc: Libc): void {
    const { startReactor = startReactorWorker, splicing = DEFAULT_SPLICING } =
      this.#options;
    const reactors = this.#workers;
    for (let reactor = 0; reactor < reactors; reactor++) {
      this.#links.push(
        new ReactorLink(libc, startReactor, { reactor, reactors, splicing }),
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      [...this.#open].map((forwarder) => forwarder.close().catch(() => {})),
    );
    const links = this.#links;
    this.#links = [];
    await Promise.all(links.map((link) => link.end()));
    if (this.#libc !== this.#options.libc) this.#libc?.[Symbol.dispose]();
    this.#libc = undefined;
  }
}

function refuseTls({ tls, remoteTls }: ForwardPlan | ForwardChange): void {
  if (!tls && !remoteTls) return;
  throw new UsageError(
    "Cannot speak TLS on the linux engine: set `engine` to portable or auto",
    { option: "engine" },
  );
}

/**
 * Binds the first address of a name that is free, once per reactor. Several
 * share it by SO_REUSEPORT, which would also share it with another program of
 * the same user: whether it is free is asked without.
 */
async function bind(
  libc: Libc,
  plan: ForwardPlan,
  count: number,
): Promise<{ listeners: number[]; address: Address }> {
  const { listen, keepAlive = true } = plan;
  let failure: unknown;
  let addresses: Address[];
  try {
    addresses = await resolveAll(listen);
  } catch (cause) {
    throw failedCall("listen on", formatAddress(listen), cause);
  }
  for (const { hostname } of addresses) {
    const listeners: number[] = [];
    try {
      const scopeId = listen.zone === undefined
        ? 0
        : findLinuxInterface(libc, listen.zone).index;
      const open = (port: number, reusePort: boolean) =>
        openStreamListener(libc, {
          family: isIpv6(hostname) ? AF_INET6 : AF_INET,
          address: encodeSockaddr(hostname, port, scopeId),
          backlog: BACKLOG,
          keepAlive,
          reusePort,
        });
      listeners.push(open(listen.port, false));
      const { port } = localAddress(libc, listeners[0]!);
      if (count > 1) {
        closeDescriptor(libc, listeners.pop()!);
        for (let i = 0; i < count; i++) listeners.push(open(port, true));
      }
      const zone = listen.zone === undefined ? {} : { zone: listen.zone };
      return { listeners, address: { hostname, port, ...zone } };
    } catch (error) {
      for (const fd of listeners) closeDescriptor(libc, fd);
      failure ??= error;
    }
  }
  if (failure instanceof UsageError) throw failure;
  throw failedCall("listen on", formatAddress(listen), failure);
}

class LinuxForwarder implements Forwarder {
  readonly engine = "linux";
  readonly address: Address;
  readonly finished: Promise<void>;
  readonly #service: number;
  readonly #links: readonly ReactorLink[];
  readonly #slots: readonly Float64Array<SharedArrayBuffer>[];
  readonly #shared = new Int32Array(new SharedArrayBuffer(SHARED_BYTES));
  /** Slots of remotes, one array per reactor, by id. */
  readonly #remotes = new Map<number, Float64Array<SharedArrayBuffer>[]>();
  #current: ReadonlySet<number> = new Set();
  readonly #done = Promise.withResolvers<void>();
  #sources: SharedArrayBuffer | undefined;
  #stopped: Promise<void> | undefined;
  #closed: Promise<void> | undefined;
  /** Changes wait for each other, so that all reactors take them in one order. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(
    service: number,
    address: Address,
    links: readonly ReactorLink[],
    plan: ForwardPlan,
    onEvents: StreamEventSink | undefined,
  ) {
    this.#service = service;
    this.address = address;
    this.#links = [...links];
    this.#slots = links.map(() => forwardSlots());
    this.finished = this.#done.promise;
    this.#share(plan.remotes);
    this.#setReport(plan.report ?? "problems");
    for (const link of links) {
      if (onEvents) link.listen(service, onEvents);
      link.failed.catch((error) => {
        this.#done.reject(error);
        this.#done.promise.catch(() => {});
      });
    }
  }

  /** Gives each reactor its listener. */
  async open(plan: ForwardPlan, listeners: readonly number[]): Promise<void> {
    const remotes = this.#share(plan.remotes);
    await Promise.all(this.#links.map((link, i) =>
      link.ask({
        kind: "open",
        service: this.#service,
        plan,
        listener: listeners[i]!,
        slots: this.#slots[i]!.buffer,
        shared: this.#shared.buffer,
        remotes,
        sources: this.#countSources(plan.maxConnectionsPerSource),
      })
    ));
  }

  /** Memory for clients by source; none as long as they are not limited. */
  #countSources(limit: number | undefined): SharedArrayBuffer | undefined {
    if (limit) this.#sources ??= sourceCountsBuffer();
    return this.#sources;
  }

  /** Remotes with their slots; those whose id is known keep theirs. */
  #share(specs: readonly RemoteSpec[]): RemoteShare[] {
    this.#current = new Set(specs.map(({ id }) => id));
    return specs.map(({ id, address }) => {
      let slots = this.#remotes.get(id);
      if (!slots) {
        this.#remotes.set(id, slots = this.#links.map(() => remoteSlots()));
      }
      return { id, address, slots: slots.map(({ buffer }) => buffer) };
    });
  }

  #askAll(
    question: ReactorQuestion,
  ): Promise<(ConnectionInfo[] | number)[]> {
    return Promise.all(this.#links.map((link) => link.ask(question)));
  }

  stats(): ForwardStats {
    const remotes = new Map<number, RemoteStats>();
    for (const [id, slots] of this.#remotes) {
      if (!this.#current.has(id) && unused(slots)) this.#remotes.delete(id);
      else remotes.set(id, readRemote(slots));
    }
    return readForward(this.#slots, remotes);
  }

  async connections(): Promise<ConnectionInfo[]> {
    if (this.#closed) return [];
    const service = this.#service;
    const found = await this.#askAll({ kind: "connections", service });
    return (found as ConnectionInfo[][]).flat();
  }

  async abort(filter: ConnectionFilter): Promise<number> {
    if (this.#closed) return 0;
    const service = this.#service;
    const counts = await this.#askAll({ kind: "abort", service, filter });
    return (counts as number[]).reduce((all, one) => all + one, 0);
  }

  async update(change: ForwardChange): Promise<void> {
    refuseTls(change);
    if (this.#closed) return;
    if (change.report) this.#setReport(change.report);
    const service = this.#service;
    const before = this.#turn;
    const done = (async () => {
      await before;
      const remotes = change.remotes && this.#share(change.remotes);
      const sources = this.#countSources(change.maxConnectionsPerSource);
      await this.#askAll({ kind: "update", service, change, remotes, sources });
    })();
    this.#turn = done.catch(() => {});
    await done;
  }

  #setReport(report: ReportLevel): void {
    Atomics.store(
      this.#shared,
      SharedSlot.report,
      REPORT_LEVELS.indexOf(report),
    );
  }

  stopAccepting(): Promise<void> {
    const service = this.#service;
    return this.#stopped ??= this.#askAll({ kind: "stop-accepting", service })
      .then(() => {});
  }

  async drain(deadlineMs = Infinity): Promise<void> {
    await this.stopAccepting();
    if (deadlineMs > 0 && !this.#closed) {
      const service = this.#service;
      const drained = this.#askAll({ kind: "drained", service });
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = Promise.withResolvers<void>();
      if (deadlineMs !== Infinity) timer = setTimeout(late.resolve, deadlineMs);
      await Promise.race([drained, late.promise, this.#done.promise]);
      clearTimeout(timer);
    }
    await this.close();
  }

  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    const service = this.#service;
    try {
      // Whatever was asked before is answered by then: orders keep their order.
      await this.#askAll({ kind: "close", service });
    } finally {
      for (const link of this.#links) link.unlisten(service);
    }
    this.#done.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function unused(slots: readonly Float64Array[]): boolean {
  return slots.every((one) =>
    one[RemoteSlot.pending]! + one[RemoteSlot.open]! === 0
  );
}
