/**
 * The remotes of a tunnel: where each connection goes ({@linkcode Balancer}),
 * which remotes are alive ({@linkcode RemoteHealth}), and how often a client
 * is tried again. Pure: it runs in whatever thread accepts, dials nothing and
 * keeps no timer. What is open, pending and moved is counted by the engine, in
 * slots that belong to one remote alone and go with it.
 */
import {
  type DialFailure,
  type ForwardPolicy,
  NO_REMOTE,
  type PolicyRemote,
  type PolicySpec,
} from "../stream.ts";
import { RemoteSlot, RemoteState } from "../stream_counters.ts";
import {
  Balancer,
  type Candidate,
  type RandomSource,
  type Strategy,
} from "./balancer.ts";
import { type HealthPolicy, RemoteHealth } from "./health.ts";

/** What a {@linkcode RemotesPolicy} is made from. */
export interface RemotesPolicySpec extends PolicySpec, HealthPolicy {
  readonly kind: "remotes";
  readonly strategy: Strategy;
  /** Connects that one client is worth, in total; 0 never connects. */
  readonly attempts: number;
}

/** Wait before the first attempt at a remote that has just failed. */
const FIRST_BACKOFF_MS = 50;
/** Longest wait between two attempts. */
const LONGEST_BACKOFF_MS = 1000;

/** Balances over remotes that live and die. */
export class RemotesPolicy implements ForwardPolicy {
  /** Nothing here depends on who the client is. */
  readonly wantsClient = false;
  readonly #balancer: Balancer;
  #spec: RemotesPolicySpec;
  #remotes: TunnelRemote[] = [];
  readonly #byId = new Map<number, TunnelRemote>();

  constructor(spec: RemotesPolicySpec, random?: RandomSource) {
    this.#spec = spec;
    this.#balancer = new Balancer(spec.strategy, random);
  }

  setRemotes(remotes: readonly PolicyRemote[], _nowMs: number): void {
    this.#remotes = remotes.map((remote) =>
      this.#byId.get(remote.id) ?? new TunnelRemote(remote)
    );
    this.#byId.clear();
    for (const remote of this.#remotes) this.#byId.set(remote.id, remote);
  }

  configure(spec: RemotesPolicySpec, nowMs: number): void {
    this.#spec = spec;
    this.#balancer.strategy = this.#spec.strategy;
    for (const remote of this.#remotes) {
      remote.health.reconfigured(this.#spec, nowMs);
    }
  }

  admit(): boolean {
    return true;
  }

  choose(_client: string, tried: readonly number[]): number {
    if (tried.length >= this.#spec.attempts) return NO_REMOTE;
    const index = this.#balancer.pick(this.#remotes, tried);
    return index < 0 ? NO_REMOTE : this.#remotes[index]!.id;
  }

  /** None while another remote may serve; then twice as long each time around. */
  retryDelayMs(tried: readonly number[]): number {
    // Once the attempts are used up there is nothing to wait for.
    if (tried.length >= this.#spec.attempts) return 0;
    const any = !this.#remotes.some(({ live }) => live);
    let rounds = Infinity;
    for (const remote of this.#remotes) {
      if (!remote.live && !any) continue;
      rounds = Math.min(rounds, countOf(remote.id, tried));
    }
    return rounds === 0 || rounds === Infinity
      ? 0
      : Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (rounds - 1));
  }

  connected(remote: number): void {
    const known = this.#byId.get(remote);
    if (!known) return; // Removed while it was dialled.
    known.health.succeeded();
    known.show();
  }

  failed(remote: number, _failure: DialFailure, nowMs: number): void {
    const known = this.#byId.get(remote);
    if (!known) return;
    known.health.failed(this.#spec, nowMs);
    known.show();
  }

  released(): void {}

  probeDueMs(remote?: number): number {
    if (remote !== undefined) {
      return this.#byId.get(remote)?.health.probeDueMs ?? Infinity;
    }
    let due = Infinity;
    for (const { health } of this.#remotes) {
      due = Math.min(due, health.probeDueMs);
    }
    return due;
  }

  takeProbe(nowMs: number): number {
    for (const remote of this.#remotes) {
      if (remote.health.takeProbe(nowMs)) return remote.id;
    }
    return NO_REMOTE;
  }

  probed(
    remote: number,
    failure: DialFailure | undefined,
    nowMs: number,
  ): void {
    const known = this.#byId.get(remote);
    if (!known) return;
    known.health.probed(failure === undefined, this.#spec, nowMs);
    known.show();
  }
}

function countOf(id: number, tried: readonly number[]): number {
  let count = 0;
  for (const one of tried) if (one === id) count++;
  return count;
}

/** A remote with its health, as the balancer sees it. */
class TunnelRemote implements Candidate {
  readonly id: number;
  readonly health = new RemoteHealth();
  readonly #remote: PolicyRemote;

  constructor(remote: PolicyRemote) {
    this.id = remote.id;
    this.#remote = remote;
  }

  get live(): boolean {
    return this.health.live;
  }

  load(): number {
    return this.#remote.load();
  }

  /** Writes what the statistics show. */
  show(): void {
    const { slots } = this.#remote;
    slots[RemoteSlot.state] = this.health.live
      ? RemoteState.live
      : RemoteState.dead;
    slots[RemoteSlot.recentErrors] = this.health.recentErrors;
  }
}
