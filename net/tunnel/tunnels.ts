/**
 * Many tunnels, opened, changed, drained and closed while they run.
 *
 * What there should be is the configuration with the changes made since
 * (`tunnel_changes.ts`); `#apply` makes what there is into that, at the start
 * and at every reload, and touches only what differs. Every other method makes
 * one change, remembers it, and saves it before it resolves. Changes wait for
 * each other; connections wait for none of them.
 */
import { type Address, formatAddress } from "../address.ts";
import type { EngineChoice } from "../engine/datagram.ts";
import type {
  ForwardStats,
  RemoteStats,
  StreamEngine,
  StreamEvent,
} from "../engine/stream.ts";
import { errorText, OperationError, UsageError } from "../errors.ts";
import { Log } from "../observe/log.ts";
import type { AccessEntry, AccessLog } from "./access_log.ts";
import { chooseStreamEngine } from "../engine/choose_stream.ts";
import { resolveAll } from "../engine/resolve.ts";
import {
  DEFAULT_TUNNEL_OPTIONS,
  parseTunnel,
  sameAddress,
  type TunnelOptions,
  type TunnelSpec,
} from "./spec.ts";
import {
  Tunnel,
  type TunnelConnection,
  TunnelError,
  type TunnelSetup,
} from "./tunnel.ts";
import {
  NO_CHANGES,
  type TunnelChanges,
  tunnelKey,
  wantedTunnels,
  withClosed,
  withOpened,
  withoutStale,
  withRemoteAdded,
  withRemoteRemoved,
} from "./changes.ts";
import { warnIfPublic } from "../text_file.ts";
import { checkTunnels } from "./limits.ts";
import { checkRoutes } from "./routes.ts";
import { StateFile } from "./state.ts";

/** What a configuration says; read at the start and at every reload. */
export interface TunnelsConfig {
  /** Tunnels that there should be. */
  readonly tunnels: readonly TunnelSpec[];
  /** What holds where a tunnel says nothing. */
  readonly defaults: TunnelOptions;
}

/** Options of {@linkcode Tunnels}. */
export interface TunnelsOptions {
  /** Tunnels to begin with, as specifications or as text. Default: none. */
  readonly tunnels?: readonly (TunnelSpec | string)[];
  /** What holds where a tunnel says nothing. Default: `DEFAULT_TUNNEL_OPTIONS`. */
  readonly defaults?: Partial<TunnelOptions>;
  /** Reads the configuration anew; in place of `tunnels` and `defaults`. */
  readonly load?: () => TunnelsConfig | Promise<TunnelsConfig>;
  /** PEM file of roots for TLS to remotes, beside the built-in ones. Default: the built-in ones alone. */
  readonly caBundle?: string | undefined;
  /** Largest buffer of one direction of a connection. Default: the engine's. */
  readonly bufferBytes?: number | undefined;
  /** File that keeps changes over a restart. Default: none. */
  readonly stateFile?: string | undefined;
  /** Told of every client. It stays the caller's. Default: none. */
  readonly accessLog?: AccessLog | undefined;
  /** Default: stderr. */
  readonly log?: Log;
  /**
   * What moves the bytes. TLS is spoken on the portable engine, whatever is chosen.
   * @default {"auto"}
   */
  readonly engine?: EngineChoice;
  /**
   * Threads that share every listener without TLS; more than one is for the linux engine.
   * @default {1}
   */
  readonly workers?: number | undefined;
  /**
   * How often certificate files are looked at; they are read again when they
   * have changed and stand still from one look to the next.
   * @default {2000}
   */
  readonly tlsCheckMs?: number;
  /** Closes everything when it is aborted. Default: none. */
  readonly signal?: AbortSignal;
}

/** How something ends: at once, or when its connections have ended. */
export interface Ending {
  /** At once, or when its connections have ended. */
  readonly mode: "now" | "drain";
  /** Longest time that a drain takes; without it, as long as it takes. */
  readonly deadlineMs?: number | undefined;
}

/** What a reload has done, by {@linkcode Tunnel.label}. */
export interface ReloadReport {
  /** New ones. */
  readonly opened: readonly string[];
  /** Those that are no longer asked for. */
  readonly closed: readonly string[];
  /** Those whose remotes or options are others now. */
  readonly changed: readonly string[];
  /** Those that were left alone. */
  readonly unchanged: readonly string[];
  /** What could not be done, and why. */
  readonly failed: readonly {
    readonly tunnel: string;
    readonly error: unknown;
  }[];
}

/** Sums over all tunnels since the start, closed ones too. */
export interface TunnelTotals {
  /** Clients accepted. */
  readonly accepted: number;
  /** Connections open now. */
  readonly open: number;
  /** Bytes from clients to remotes. */
  readonly bytesUpstream: number;
  /** Bytes from remotes to clients. */
  readonly bytesDownstream: number;
  /** Clients let go without a remote. */
  readonly rejected: number;
  /** Dials that failed. */
  readonly dialErrors: number;
}

/**
 * Tunnels that run.
 * As Plexy's, balanced and changed while they run.
 *
 * @example
 * ```ts
 * import { formatAddress, parseSocket, Tunnels } from "@mproxy/mproxy";
 * import { assertEquals } from "@std/assert";
 *
 * await using tunnels = await Tunnels.start({
 *   tunnels: ["0=db1:5432,db2:5432[strategy=round-robin]"],
 * });
 * const [tunnel] = tunnels.list();
 * console.log(`Listening on ${formatAddress(tunnel!.address)}`);
 * await tunnels.addRemote(tunnel!.address, parseSocket("db3:5432"));
 * assertEquals(tunnel!.remotes.length, 3);
 * ```
 */
export class Tunnels implements AsyncDisposable {
  /** Resolves when all has ended; never rejects. */
  readonly finished: Promise<void>;
  readonly #options: TunnelsOptions;
  readonly #log: Log;
  readonly #setup: TunnelSetup;
  readonly #load: () => TunnelsConfig | Promise<TunnelsConfig>;
  readonly #done = Promise.withResolvers<void>();
  readonly #onAbort = () => void this.close();
  /** Open tunnels, in the order in which they were opened, by {@linkcode tunnelKey}. */
  readonly #open = new Map<string, Tunnel>();
  /** Tunnels whose port is free and whose connections go on. */
  readonly #draining = new Set<Tunnel>();
  #configured: readonly TunnelSpec[] = [];
  /** Configured tunnels that asked for any port and have one now. */
  readonly #anyPort = new WeakSet<TunnelSpec>();
  #changes: TunnelChanges = NO_CHANGES;
  #state: StateFile | undefined;
  #failures: ReloadReport["failed"] = [];
  #nextNumber = 1;
  /** The last of the changes that wait for each other. */
  #turn: Promise<unknown> = Promise.resolve();
  #tlsTimer: ReturnType<typeof setInterval> | undefined;
  /** The look at certificates that is under way. */
  #refreshing: Promise<void> | undefined;
  #ending = false;
  #ended: TunnelTotals = totalsOf([]);

  private constructor(options: TunnelsOptions) {
    this.#options = options;
    this.#log = options.log ?? new Log();
    this.finished = this.#done.promise;
    const defaults = { ...DEFAULT_TUNNEL_OPTIONS, ...options.defaults };
    this.#load = options.load ?? (() => ({
      tunnels: (options.tunnels ?? []).map((tunnel) =>
        typeof tunnel === "string" ? parseTunnel(tunnel) : tunnel
      ),
      defaults,
    }));
    this.#setup = {
      engines: enginesOf(options, this.#log),
      defaults,
      caBundle: options.caBundle,
      bufferBytes: options.bufferBytes,
      report: options.accessLog ? "connections" : "problems",
      onEvents: (tunnel, events) => this.#hear(tunnel, events),
    };
  }

  /**
   * Opens the configured tunnels and those of the state file. A tunnel that
   * cannot be opened is logged and left out ({@linkcode Tunnels.ready} tells);
   * a configuration that cannot be read is thrown.
   */
  static async start(options: TunnelsOptions = {}): Promise<Tunnels> {
    const tunnels = new Tunnels(options);
    const { stateFile, signal, tlsCheckMs = 2000 } = options;
    if (stateFile !== undefined) {
      tunnels.#state = new StateFile(stateFile);
      tunnels.#changes = await tunnels.#state.read();
    }
    try {
      await tunnels.#exclusive(async () =>
        tunnels.#apply(await tunnels.#load())
      );
    } catch (error) {
      await tunnels.close();
      throw error;
    }
    tunnels.#tlsTimer = setInterval(
      () => tunnels.#refreshing ?? tunnels.#refreshTls(true),
      tlsCheckMs,
    );
    signal?.addEventListener("abort", tunnels.#onAbort);
    if (signal?.aborted) await tunnels.close();
    return tunnels;
  }

  // ---- what there is

  /** The open tunnels, in the order in which they were opened. */
  list(): Tunnel[] {
    return [...this.#open.values()];
  }

  /** Tunnels that take no more clients and have some left. */
  draining(): Tunnel[] {
    return [...this.#draining];
  }

  /** What holds where a tunnel says nothing. */
  get defaults(): TunnelOptions {
    return this.#setup.defaults;
  }

  /** Lines of the access log that were left out. */
  get accessLogDropped(): number {
    return this.#options.accessLog?.dropped ?? 0;
  }

  /** Whether every tunnel that there should be is open, or which is not. */
  ready(): true | string {
    if (this.#ending) return "draining";
    return this.#failures.length === 0 ||
      `not open: ${this.#failures.map(({ tunnel }) => tunnel).join(", ")}`;
  }

  /** Sums since the start. */
  totals(): TunnelTotals {
    return totalsOf(
      [...this.list(), ...this.draining()].map((tunnel) => tunnel.stats()),
      this.#ended,
    );
  }

  /**
   * The open tunnel of an address in any spelling: as it was written, as it is
   * bound, or by a name that resolves to where it is bound. Throws a
   * TunnelError where there is none.
   */
  async find(local: Address): Promise<Tunnel> {
    const found = this.#open.get(formatAddress(local).toLowerCase()) ??
      this.#boundTo([local]) ??
      this.#boundTo(await resolveAll(local).catch(() => []));
    if (found) return found;
    throw new TunnelError(
      "no-tunnel",
      `There is no tunnel on ${formatAddress(local)}`,
    );
  }

  #boundTo(addresses: readonly Address[]): Tunnel | undefined {
    for (const tunnel of this.#open.values()) {
      if (addresses.some((one) => sameAddress(one, tunnel.address))) {
        return tunnel;
      }
    }
  }

  /** Connections of a tunnel, and of what drains behind the same address. */
  async connections(local: Address): Promise<TunnelConnection[]> {
    const key = formatAddress(local).toLowerCase();
    const same = this.draining().filter((tunnel) =>
      tunnelKey(tunnel.spec) === key || sameAddress(tunnel.address, local)
    );
    const tunnel = await this.find(local).catch((error) => {
      if (same.length === 0) throw error;
    });
    const tunnels = tunnel ? [tunnel, ...same] : same;
    return (await Promise.all(tunnels.map((one) => one.connections()))).flat();
  }

  /** Ends one connection, by {@linkcode TunnelConnection.id}. */
  async kill(id: string): Promise<void> {
    const [, number, connection] = /^(\d+)-(\d+)$/.exec(id) ?? [];
    const tunnel = [...this.#open.values(), ...this.#draining].find((one) =>
      one.number === Number(number)
    );
    if (tunnel && await tunnel.kill(Number(connection))) return;
    throw new TunnelError("no-connection", `There is no connection ${id}`);
  }

  // ---- one change each

  /** Opens a tunnel. */
  open(spec: TunnelSpec | string): Promise<Tunnel> {
    const wanted = typeof spec === "string" ? parseTunnel(spec) : spec;
    return this.#exclusive(async () => {
      const draining = this.draining().map(({ spec }) => spec);
      checkTunnels([...this.#specs(), ...draining, wanted]);
      checkRoutes([...this.#specs(), wanted]);
      const tunnel = await this.#openTunnel(wanted);
      await this.#changed(
        withOpened(this.#changes, this.#configured, tunnel.spec),
      );
      return tunnel;
    });
  }

  /** Closes a tunnel; resolves when its port is free, and after `now` nothing is left of it. */
  close(local: Address, ending?: Ending): Promise<void>;
  /** Closes everything now. */
  close(): Promise<void>;
  async close(...given: [local?: Address, ending?: Ending]): Promise<void> {
    // Not by an undefined address: one that got lost must not end all tunnels.
    if (given.length === 0) return await this.end({ mode: "now" });
    const [local, ending = { mode: "now" }] = given;
    if (typeof local?.hostname !== "string") {
      throw new UsageError(
        `cannot close a tunnel: invalid address (${String(local)})`,
      );
    }
    await this.#exclusive(async () => {
      const tunnel = await this.find(local);
      await this.#closeTunnel(tunnel, ending);
      await this.#changed(
        withClosed(this.#changes, this.#configured, tunnelKey(tunnel.spec)),
      );
    });
  }

  /** Adds a remote to a tunnel. */
  addRemote(local: Address, remote: Address): Promise<void> {
    return this.#exclusive(async () => {
      const tunnel = await this.find(local);
      const { local: address, remotes } = tunnel.spec;
      const tunnels = [
        ...this.#specs().filter((spec) => spec !== tunnel.spec),
        { local: address, remotes: [...remotes, remote] },
      ];
      checkTunnels(tunnels);
      checkRoutes(tunnels);
      await tunnel.add(remote);
      await this.#changed(
        withRemoteAdded(this.#changes, tunnelKey(tunnel.spec), remote),
      );
    });
  }

  /** Takes a remote from a tunnel; gives its figures until then. */
  removeRemote(
    local: Address,
    remote: Address,
    ending: Ending = { mode: "drain" },
  ): Promise<RemoteStats> {
    return this.#exclusive(async () => {
      const tunnel = await this.find(local);
      const stats = await tunnel.remove(remote, ending.mode, ending.deadlineMs);
      await this.#changed(
        withRemoteRemoved(this.#changes, tunnelKey(tunnel.spec), remote),
      );
      return stats;
    });
  }

  /**
   * Reads the configuration again and makes it so. Tunnels that did not change
   * keep their connections, those that go drain. Throws where it cannot be
   * read; nothing has changed then.
   */
  reload(): Promise<ReloadReport> {
    return this.#exclusive(async () => {
      const config = await this.#load();
      await this.#options.accessLog?.reopen();
      const report = await this.#apply(config);
      await this.#refreshing;
      await this.#refreshTls(false);
      return report;
    });
  }

  // ---- how it is done

  /** Runs one change when the ones before it are done. */
  #exclusive<Result>(change: () => Promise<Result>): Promise<Result> {
    const turn = this.#turn.then(() => {
      if (this.#ending) throw new OperationError("The tunnels are ending");
      return change();
    });
    this.#turn = turn.catch(() => {});
    return turn;
  }

  #specs(): TunnelSpec[] {
    return this.list().map(({ spec }) => spec);
  }

  async #apply(config: TunnelsConfig): Promise<ReloadReport> {
    const asked = wantedTunnels(config.tunnels, this.#changes);
    checkTunnels(asked);
    checkRoutes(asked);
    this.#setup.defaults = config.defaults;
    this.#configured = this.#withKnownPorts(config.tunnels);
    this.#changes = withoutStale(this.#changes, this.#configured);
    const wanted = wantedTunnels(this.#configured, this.#changes);
    const opened: string[] = [];
    const closed: string[] = [];
    const changed: string[] = [];
    const unchanged: string[] = [];
    const failed: { tunnel: string; error: unknown }[] = [];
    const keys = new Set(wanted.map(tunnelKey));
    for (const [key, tunnel] of [...this.#open]) {
      if (keys.has(key)) continue;
      await this.#closeTunnel(tunnel, { mode: "drain" });
      closed.push(tunnel.label);
    }
    for (const spec of wanted) {
      const tunnel = this.#open.get(tunnelKey(spec));
      try {
        if (!tunnel) opened.push((await this.#openTunnel(spec)).label);
        else if (tunnel.isLike(spec)) unchanged.push(tunnel.label);
        else {
          await this.#changeTunnel(tunnel, spec);
          changed.push(tunnel.label);
        }
      } catch (error) {
        const label = formatAddress(spec.local);
        failed.push({ tunnel: label, error });
        this.#log.error(
          errorText(error),
          {
            tunnel: label,
          },
        );
      }
    }
    this.#failures = failed;
    await this.#save();
    return { opened, closed, changed, unchanged, failed };
  }

  /** Gives tunnels with port 0 the ports that they have since they were opened. */
  #withKnownPorts(specs: readonly TunnelSpec[]): TunnelSpec[] {
    const known = this.#configured.filter((spec) => this.#anyPort.has(spec));
    return specs.map((spec) => {
      if (spec.local.port !== 0) return spec;
      const index = known.findIndex(({ local }) =>
        sameAddress({ ...local, port: 0 }, spec.local)
      );
      if (index < 0) return spec;
      const [{ local }] = known.splice(index, 1) as [TunnelSpec];
      const same = { ...spec, local };
      this.#anyPort.add(same);
      return same;
    });
  }

  async #openTunnel(spec: TunnelSpec): Promise<Tunnel> {
    const tunnel = await Tunnel.open(
      this.#nextNumber++,
      spec,
      this.#setup,
      (address) => this.#boundTo([address]) !== undefined,
    );
    this.#open.set(tunnelKey(tunnel.spec), tunnel);
    const { tlsKey } = spec.options;
    if (tlsKey !== undefined) void warnIfPublic(tlsKey, this.#log);
    this.#log.info("listening", {
      address: formatAddress(tunnel.address),
      tunnel: tunnel.label,
      remotes: tunnel.remotes.map(({ label }) => label).join(","),
      engine: tunnel.engine,
      ...(tunnel.engine === this.#setup.engines[0]!.name
        ? {}
        : { reason: "it speaks TLS" }),
    });
    if (spec.local.port === 0) {
      const index = this.#configured.indexOf(spec);
      const concrete = { ...spec, local: tunnel.spec.local };
      if (index >= 0) {
        this.#configured = this.#configured.with(index, concrete);
        this.#anyPort.add(concrete);
      }
    }
    if (tunnel.options.remoteTlsInsecure) {
      this.#log.warn("certificates of remotes are not verified", {
        tunnel: tunnel.label,
      });
    }
    const forget = () => this.#forget(tunnel);
    tunnel.finished.then(forget, (error) => {
      this.#log.error(
        `A tunnel broke: ${errorText(error)}`,
        { tunnel: tunnel.label },
      );
      forget();
    });
    return tunnel;
  }

  /** Frees the port, then ends the connections as was asked. */
  async #closeTunnel(tunnel: Tunnel, ending: Ending): Promise<void> {
    this.#log.info("closing tunnel", {
      tunnel: tunnel.label,
      mode: ending.mode,
    });
    await tunnel.stopAccepting();
    this.#open.delete(tunnelKey(tunnel.spec));
    this.#draining.add(tunnel);
    if (ending.mode === "now") await tunnel.close();
    // Where it breaks, `finished` tells.
    else tunnel.drain(ending.deadlineMs).catch(() => {});
  }

  async #changeTunnel(tunnel: Tunnel, spec: TunnelSpec): Promise<void> {
    if (tunnel.canBecome(spec)) return await tunnel.become(spec);
    // TLS comes and goes with the listener: old connections drain. What the new
    // one needs is read first, so that a missing file closes nothing.
    await Tunnel.checkFiles(spec, this.#setup);
    const before = tunnel.spec;
    await this.#closeTunnel(tunnel, { mode: "drain" });
    try {
      await this.#openTunnel(spec);
    } catch (error) {
      await this.#openTunnel(before).catch(() => {});
      throw error;
    }
  }

  #forget(tunnel: Tunnel): void {
    const key = tunnelKey(tunnel.spec);
    const known = this.#draining.delete(tunnel) ||
      (this.#open.get(key) === tunnel && this.#open.delete(key));
    if (known) this.#ended = totalsOf([tunnel.stats()], this.#ended);
  }

  async #changed(changes: TunnelChanges): Promise<void> {
    this.#changes = changes;
    try {
      await this.#save();
    } catch (error) {
      throw new OperationError(
        `The change was made, but is lost with a restart: ${errorText(error)}`,
        { cause: error },
      );
    }
  }

  async #save(): Promise<void> {
    await this.#state?.save(this.#changes);
  }

  #refreshTls(settled: boolean): Promise<void> {
    const looking = this.#lookAtTls(settled).finally(() => {
      this.#refreshing = undefined;
    });
    this.#refreshing = looking;
    return looking;
  }

  async #lookAtTls(settled: boolean): Promise<void> {
    for (const tunnel of this.#open.values()) {
      try {
        if (await tunnel.refreshTls(settled)) {
          this.#log.info("certificates read again", { tunnel: tunnel.label });
        }
      } catch (error) {
        this.#log.warn(
          `Certificates stay as they were: ${errorText(error)}`,
          { tunnel: tunnel.label },
        );
      }
    }
  }

  #hear(tunnel: Tunnel, events: readonly StreamEvent[]): void {
    for (const event of events) this.#tell(tunnel, event);
    this.#options.accessLog?.write(accessEntries(tunnel, events));
  }

  #tell(tunnel: Tunnel, event: StreamEvent): void {
    const { label } = tunnel;
    const log = this.#log;
    switch (event.type) {
      case "dial-failed": {
        const remote = tunnel.remoteLabel(event.remote);
        log.limited(`dial ${label} ${remote}`, "cannot connect to remote", {
          tunnel: label,
          remote,
          reason: event.failure,
          detail: event.detail,
        });
        break;
      }
      case "probe-failed":
        log.debug("remote is still dead", {
          tunnel: label,
          remote: tunnel.remoteLabel(event.remote),
          reason: event.failure,
        });
        break;
      case "remote-state":
        log.warn(event.live ? "remote is live again" : "remote is dead", {
          tunnel: label,
          remote: tunnel.remoteLabel(event.remote),
          ...(event.probeInMs === undefined
            ? {}
            : { next_try_in: `${Math.round(event.probeInMs / 100) / 10}s` }),
        });
        break;
      case "rejected":
        log.limited(`reject ${label} ${event.reason}`, "client rejected", {
          tunnel: label,
          client: event.client,
          reason: event.reason,
          ...(event.detail === undefined ? {} : { detail: event.detail }),
        });
        break;
      case "accept-failed":
        log.limited(`accept ${label}`, "cannot accept a client", {
          tunnel: label,
          code: event.code,
          detail: event.detail,
        });
        break;
    }
  }

  // ---- the end

  /** Takes no more clients, and ends when the connections have, at the latest at the deadline. */
  drain(deadlineMs?: number): Promise<void> {
    return this.end({ mode: "drain", deadlineMs });
  }

  /** Ends everything; resolves when it has. The state file keeps the tunnels. */
  async end(ending: Ending): Promise<void> {
    this.#ending = true;
    await this.#turn;
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    clearInterval(this.#tlsTimer);
    await this.#refreshing;
    const all = [...this.#open.values(), ...this.#draining];
    await Promise.allSettled(
      all.map((tunnel) =>
        ending.mode === "now" ? tunnel.close() : tunnel.drain(ending.deadlineMs)
      ),
    );
    for (const tunnel of all) this.#forget(tunnel);
    for (const engine of this.#setup.engines) {
      await engine[Symbol.asyncDispose]();
    }
    this.#done.resolve();
  }

  /** Closes all tunnels at once. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The chosen engine, and the portable one behind it where it cannot do TLS. */
function enginesOf(options: TunnelsOptions, log: Log): StreamEngine[] {
  const chosen = chooseStreamEngine(options.engine ?? "auto", {
    workers: options.workers,
    onFallback: (reason) => log.debug("the portable engine serves", { reason }),
  });
  return chosen.features.tls
    ? [chosen]
    : [chosen, chooseStreamEngine("portable")];
}

function totalsOf(
  stats: readonly ForwardStats[],
  before?: TunnelTotals,
): TunnelTotals {
  const sum = (
    pick: (stats: ForwardStats) => number,
    earlier: number | undefined,
  ) => stats.reduce((total, one) => total + pick(one), earlier ?? 0);
  return {
    accepted: sum((one) => one.accepted, before?.accepted),
    open: sum((one) => one.open + one.opening, 0),
    bytesUpstream: sum((one) => one.bytesUpstream, before?.bytesUpstream),
    bytesDownstream: sum((one) => one.bytesDownstream, before?.bytesDownstream),
    rejected: sum(
      (one) => Object.values(one.rejected).reduce((a, b) => a + b, 0),
      before?.rejected,
    ),
    dialErrors: sum((one) => one.dialErrors, before?.dialErrors),
  };
}

function accessEntries(
  tunnel: Tunnel,
  events: readonly StreamEvent[],
): AccessEntry[] {
  const entries: AccessEntry[] = [];
  for (const event of events) {
    if (event.type === "closed") {
      const { atMs, client, bytesUpstream, bytesDownstream, durationMs } =
        event;
      entries.push({
        atMs,
        client,
        tunnel: tunnel.label,
        remote: tunnel.remoteLabel(event.remote),
        bytesUpstream,
        bytesDownstream,
        durationMs,
        end: event.reason,
      });
    } else if (event.type === "rejected") {
      entries.push({
        atMs: event.atMs,
        client: event.client,
        tunnel: tunnel.label,
        ...(event.remotes.length === 0 ? {} : {
          remote: event.remotes.map((id) => tunnel.remoteLabel(id)).join(),
        }),
        bytesUpstream: 0,
        bytesDownstream: 0,
        durationMs: event.durationMs,
        end: `rejected-${event.reason}`,
        ...(event.detail === undefined ? {} : { detail: event.detail }),
      });
    }
  }
  return entries;
}
