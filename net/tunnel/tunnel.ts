/**
 * One open tunnel. Its connections are the forwarder's business
 * (`forward.ts`): accept, choose a remote (`remotes.ts`), dial, pipe. What is
 * done here is what a user does to a tunnel while it runs:
 *
 * 1. open: bind the first free address of its host,
 * 2. add and remove remotes, each with a number of its own,
 * 3. change what can be changed with connections open,
 * 4. read certificates again when their files have changed,
 * 5. close now, or drain.
 *
 * Functions stand in that order.
 */
import { type Address, formatAddress } from "../address.ts";
import type {
  ConnectionInfo,
  Deadlines,
  Forwarder,
  ForwardPlan,
  ForwardStats,
  RemoteSpec,
  RemoteStats,
  ReportLevel,
  StreamEngine,
  StreamEvent,
  StreamEventSink,
} from "../engine/stream.ts";
import type { RemotesPolicySpec } from "../engine/balancing/tunnel_policy.ts";
import { resolveAll } from "../engine/resolve.ts";
import {
  completeOptions,
  formatOptions,
  sameAddress,
  type TunnelOptions,
  type TunnelSpec,
} from "./spec.ts";
import {
  FileStamps,
  readCertificate,
  readRoots,
  type RemoteTls,
  systemRoots,
} from "../tls_files.ts";

/** What a user asked for that cannot be done to tunnels as they are. */
export class TunnelError extends Error {
  /** Always `TunnelError`. */
  override name = "TunnelError";
  /** Which rule it breaks. */
  readonly kind: TunnelErrorKind;

  /** One line about what was asked for. */
  constructor(kind: TunnelErrorKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** Rules that a {@linkcode TunnelError} tells of. */
export type TunnelErrorKind =
  | "tunnel-exists"
  | "no-tunnel"
  | "remote-exists"
  | "no-remote"
  | "no-connection";

/** What all tunnels of a manager share. */
export interface TunnelSetup {
  /** Engines in order of preference; one that cannot do TLS is passed over for TLS. */
  readonly engines: readonly StreamEngine[];
  /** What holds where a specification says nothing; a reload may change it. */
  defaults: TunnelOptions;
  /** PEM file with roots for `remoteTls` where `remoteCa` names none. */
  readonly caBundle?: string | undefined;
  /** Largest buffer of one direction. */
  readonly bufferBytes?: number | undefined;
  /** What `onEvents` is told. */
  readonly report: ReportLevel;
  /** Takes what happens in a tunnel. */
  readonly onEvents: (tunnel: Tunnel, events: readonly StreamEvent[]) => void;
}

/** A remote of an open tunnel. */
export interface TunnelRemote extends RemoteSpec {
  /** Its address as it is shown. */
  readonly label: string;
}

/** A connection through a tunnel. */
export interface TunnelConnection
  extends Omit<ConnectionInfo, "id" | "remote"> {
  /** `TUNNEL-CONNECTION`, both numbers; no two are ever alike. */
  readonly id: string;
  /** Address of the remote. */
  readonly remote: string;
}

/** An open tunnel. */
export class Tunnel {
  /** Its number among all that were ever opened. */
  readonly number: number;
  /** `host:port` as it was asked for, with the real port. */
  readonly label: string;
  readonly #setup: TunnelSetup;
  readonly #forwarder: Forwarder;
  readonly #tlsFiles: FileStamps;
  #spec: TunnelSpec;
  #options: TunnelOptions;
  #remotes: readonly TunnelRemote[];
  /** Removed remotes that connections may still use, by number. */
  readonly #removed = new Map<number, TunnelRemote>();
  #nextRemote: number;
  #draining = false;

  private constructor(
    number: number,
    spec: TunnelSpec,
    options: TunnelOptions,
    setup: TunnelSetup,
    forwarder: Forwarder,
    remotes: readonly TunnelRemote[],
    tlsFiles: FileStamps,
  ) {
    const { port } = forwarder.address;
    this.number = number;
    this.#spec = { ...spec, local: { ...spec.local, port } };
    this.label = formatAddress(this.#spec.local);
    this.#options = options;
    this.#setup = setup;
    this.#forwarder = forwarder;
    this.#remotes = remotes;
    this.#nextRemote = remotes.length;
    this.#tlsFiles = tlsFiles;
  }

  /**
   * Opens a tunnel on the first address of its host that is free; `taken` says
   * which are other tunnels'. Throws a UsageError, a TunnelError or an
   * OperationError; nothing is open then.
   */
  static async open(
    number: number,
    spec: TunnelSpec,
    setup: TunnelSetup,
    taken: (address: Address) => boolean = () => false,
  ): Promise<Tunnel> {
    const options = completeOptions(spec.options, setup.defaults);
    const addresses = await resolveAll(spec.local);
    if (spec.local.port !== 0 && addresses.some(taken)) {
      throw new TunnelError(
        "tunnel-exists",
        `Cannot open a tunnel on ${formatAddress(spec.local)}: there is one`,
      );
    }
    const tlsFiles = new FileStamps(filesOf(options, setup));
    await tlsFiles.take(false);
    const tls = await readTls(options, setup);
    const remotes = spec.remotes.map((address, id) => ({
      id,
      address,
      label: formatAddress(address),
    }));
    const plan: Omit<ForwardPlan, "listen"> = {
      remotes: remotes.map(plain),
      policy: policyOf(options),
      deadlines: deadlinesOf(options),
      bufferBytes: setup.bufferBytes,
      maxConnections: options.maxConnections,
      maxConnectionsPerSource: options.maxConnectionsPerSource,
      report: setup.report,
      ...tls,
    };
    // An engine in another thread may tell of clients before it says that it listens.
    const early: StreamEvent[] = [];
    let onEvents: StreamEventSink = (events) => early.push(...events);
    const engine = engineFor(options, setup.engines);
    let failure: unknown;
    for (const listen of addresses) {
      try {
        const zone = spec.local.zone === undefined
          ? {}
          : { zone: spec.local.zone };
        const forwarder = await engine.forward(
          { ...plan, listen: { ...listen, ...zone } },
          (events) => onEvents(events),
        );
        const tunnel = new Tunnel(
          number,
          spec,
          options,
          setup,
          forwarder,
          remotes,
          tlsFiles,
        );
        onEvents = (events) => setup.onEvents(tunnel, events);
        onEvents(early);
        return tunnel;
      } catch (error) {
        failure ??= error;
      }
    }
    throw failure;
  }

  /** Reads the certificates and roots that a tunnel needs; throws as {@linkcode Tunnel.open} would. */
  static async checkFiles(spec: TunnelSpec, setup: TunnelSetup): Promise<void> {
    await readTls(completeOptions(spec.options, setup.defaults), setup);
  }

  /** As it is now: with its real port and its remotes. */
  get spec(): TunnelSpec {
    return this.#spec;
  }

  /** All options that hold. */
  get options(): TunnelOptions {
    return this.#options;
  }

  /** Where it listens. */
  get address(): Address {
    return this.#forwarder.address;
  }

  /** The engine that moves its bytes. */
  get engine(): string {
    return this.#forwarder.engine;
  }

  /** Its remotes, in order. */
  get remotes(): readonly TunnelRemote[] {
    return this.#remotes;
  }

  /** Removed remotes that have connections yet. */
  get removedRemotes(): readonly TunnelRemote[] {
    const used = this.stats().remotes;
    return [...this.#removed.values()].filter(({ id }) => used.has(id));
  }

  /** Whether it takes no more clients. */
  get draining(): boolean {
    return this.#draining;
  }

  /** Resolves when it is closed; rejects where it broke. */
  get finished(): Promise<void> {
    return this.#forwarder.finished;
  }

  /** Its figures now. */
  stats(): ForwardStats {
    return this.#forwarder.stats();
  }

  /** How a remote is shown, a removed one too. */
  remoteLabel(id: number): string {
    return this.#remotes.find((remote) => remote.id === id)?.label ??
      this.#removed.get(id)?.label ?? "unknown";
  }

  /** Its open connections. */
  async connections(): Promise<TunnelConnection[]> {
    const connections = await this.#forwarder.connections();
    return connections.map(({ id, remote, ...rest }) => ({
      ...rest,
      id: `${this.number}-${id}`,
      remote: this.remoteLabel(remote),
    }));
  }

  /** Ends one connection, by its number within this tunnel. */
  async kill(connection: number): Promise<boolean> {
    return await this.#forwarder.abort({ connection }) > 0;
  }

  /** Adds a remote behind the others. */
  async add(address: Address): Promise<void> {
    if (this.#find(address)) {
      throw new TunnelError(
        "remote-exists",
        `Cannot add ${formatAddress(address)} to ${this.label}: it is there`,
      );
    }
    await this.#setRemotes([...this.#spec.remotes, address]);
  }

  /** Takes a remote away; gives its figures until then. Its connections go on, or end `now`. */
  async remove(
    address: Address,
    mode: "now" | "drain" = "drain",
    deadlineMs = Infinity,
  ): Promise<RemoteStats> {
    const remote = this.#find(address);
    if (!remote) {
      throw new TunnelError(
        "no-remote",
        `Cannot remove ${
          formatAddress(address)
        } from ${this.label}: it is not there`,
      );
    }
    const stats = this.stats().remotes.get(remote.id)!;
    await this.#setRemotes(
      this.#spec.remotes.filter((known) => !sameAddress(known, address)),
    );
    const { id } = remote;
    if (mode === "now") await this.#forwarder.abort({ remote: id });
    else {
      const limitMs = deadlineMs === Infinity
        ? this.#options.drainTimeoutMs
        : deadlineMs;
      if (limitMs > 0 || deadlineMs === 0) this.#endLater(id, limitMs);
    }
    return stats;
  }

  /** Ends what is left of the connections to a removed remote. */
  #endLater(remote: number, ms: number): void {
    const timer = setTimeout(() => this.#forwarder.abort({ remote }), ms);
    const cancel = () => clearTimeout(timer);
    this.finished.then(cancel, cancel);
  }

  /** Whether it is already what a specification of the same address asks for. */
  isLike(spec: TunnelSpec): boolean {
    const next = completeOptions(spec.options, this.#setup.defaults);
    return formatOptions(next) === formatOptions(this.#options) &&
      spec.remotes.length === this.#remotes.length &&
      spec.remotes.every((address, i) =>
        sameAddress(address, this.#remotes[i]!.address)
      );
  }

  /** Whether another specification of the same address can be had without opening anew. */
  canBecome(spec: TunnelSpec): boolean {
    const next = completeOptions(spec.options, this.#setup.defaults);
    return (next.tlsCert === undefined) ===
        (this.#options.tlsCert === undefined) &&
      next.remoteTls === this.#options.remoteTls;
  }

  /** Takes another specification; open connections go on. */
  async become(spec: TunnelSpec): Promise<void> {
    const options = completeOptions(spec.options, this.#setup.defaults);
    const tls = await readTls(options, this.#setup);
    await this.#forwarder.update({
      policy: policyOf(options),
      deadlines: deadlinesOf(options),
      maxConnections: options.maxConnections,
      maxConnectionsPerSource: options.maxConnectionsPerSource,
      ...tls,
    });
    this.#options = options;
    this.#spec = { ...this.#spec, options: spec.options };
    const before = this.#remotes;
    await this.#setRemotes(spec.remotes);
    const { drainTimeoutMs } = options;
    if (drainTimeoutMs === 0) return;
    for (const remote of before) {
      if (!this.#remotes.includes(remote)) {
        this.#endLater(remote.id, drainTimeoutMs);
      }
    }
  }

  #find(address: Address): TunnelRemote | undefined {
    return this.#remotes.find((remote) => sameAddress(remote.address, address));
  }

  async #setRemotes(addresses: readonly Address[]): Promise<void> {
    const before = this.#remotes;
    const remotes = addresses.map((address) =>
      this.#find(address) ??
        { id: this.#nextRemote++, address, label: formatAddress(address) }
    );
    await this.#forwarder.update({ remotes: remotes.map(plain) });
    this.#remotes = remotes;
    this.#spec = { ...this.#spec, remotes: addresses };
    for (const remote of before) {
      if (!remotes.includes(remote)) this.#removed.set(remote.id, remote);
    }
    const used = this.stats().remotes;
    for (const id of this.#removed.keys()) {
      if (!used.has(id)) this.#removed.delete(id);
    }
  }

  /** Reads certificates and roots again if a file has changed (and settled); true where that was so. */
  async refreshTls(settled: boolean): Promise<boolean> {
    if (!await this.#tlsFiles.take(settled)) return false;
    await this.#forwarder.update(await readTls(this.#options, this.#setup));
    return true;
  }

  /** Lets go of its port; open connections go on. */
  stopAccepting(): Promise<void> {
    this.#draining = true;
    return this.#forwarder.stopAccepting();
  }

  /** Lets go of its port, and ends when its connections have, at the latest at the deadline. */
  drain(deadlineMs?: number): Promise<void> {
    this.#draining = true;
    return this.#forwarder.drain(deadlineMs);
  }

  /** Ends everything now; the port is free then. */
  close(): Promise<void> {
    this.#draining = true;
    return this.#forwarder.close();
  }
}

function plain({ id, address }: TunnelRemote): RemoteSpec {
  return { id, address };
}

function engineFor(
  options: TunnelOptions,
  engines: readonly StreamEngine[],
): StreamEngine {
  const tls = options.remoteTls || options.tlsCert !== undefined;
  return engines.find(({ features }) => !tls || features.tls) ?? engines[0]!;
}

function policyOf(options: TunnelOptions): RemotesPolicySpec {
  const { strategy, attempts, errorsTillDead, checkIntervalMs } = options;
  return {
    kind: "remotes",
    strategy,
    attempts,
    errorsTillDead,
    checkIntervalMs,
  };
}

function deadlinesOf(options: TunnelOptions): Partial<Deadlines> {
  const { connectTimeoutMs, idleTimeoutMs, halfCloseTimeoutMs } = options;
  return { connectTimeoutMs, idleTimeoutMs, halfCloseTimeoutMs };
}

/** The PEM files that a tunnel reads. */
function filesOf(options: TunnelOptions, setup: TunnelSetup): string[] {
  const roots = options.remoteTls
    ? options.remoteCa ?? setup.caBundle
    : undefined;
  return [options.tlsCert, options.tlsKey, roots].filter((file) =>
    file !== undefined
  );
}

async function readTls(options: TunnelOptions, setup: TunnelSetup) {
  const { tlsCert, tlsKey, remoteTls, remoteCa } = options;
  const tls = tlsCert === undefined || tlsKey === undefined
    ? undefined
    : await readCertificate(tlsCert, tlsKey);
  const roots = remoteCa ?? setup.caBundle;
  const trusted: RemoteTls | undefined = !remoteTls
    ? undefined
    : roots === undefined
    ? systemRoots()
    : await readRoots(roots);
  const trust: RemoteTls | undefined = trusted && {
    ...trusted,
    name: options.remoteTlsName,
    pins: options.remoteTlsPin === undefined ? [] : [options.remoteTlsPin],
    insecure: options.remoteTlsInsecure,
  };
  return {
    ...(tls ? { tls } : {}),
    ...(trust ? { remoteTls: trust } : {}),
  };
}
