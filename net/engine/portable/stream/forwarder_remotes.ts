/**
 * The remotes of a forwarder of the portable engine: their slots, how dials to
 * them end, and probes of those that the policy wants to see alive. A remote
 * that was removed stays until nothing uses it any more.
 */
import type { Address } from "../../../address.ts";
import {
  DIAL_FAILURES,
  type DialFailure,
  type ForwardPolicy,
  type PolicyRemote,
  type RemoteSpec,
  type RemoteStats,
} from "../../stream.ts";
import {
  CONNECT_BUCKETS_MS,
  countInBucket,
  ForwardSlot,
  readRemote,
  RemoteSlot,
  remoteSlots,
  RemoteState,
} from "../../stream_counters.ts";
import { DialError } from "./sockets.ts";
import type { StreamConn } from "./stream_conn.ts";
import { errorText } from "../../../errors.ts";
import type { ForwardEvents } from "./forwarder_events.ts";

/** A remote and its slots. */
export class Remote implements PolicyRemote {
  readonly id: number;
  readonly address: Address;
  readonly slots = remoteSlots();

  constructor({ id, address }: RemoteSpec) {
    this.id = id;
    this.address = address;
  }

  load(): number {
    return this.slots[RemoteSlot.pending]! + this.slots[RemoteSlot.open]!;
  }
}

/** What the remotes of a forwarder need. */
export interface RemoteSetOptions {
  readonly policy: ForwardPolicy;
  readonly events: ForwardEvents;
  /** Slots of the forwarder. */
  readonly slots: Float64Array;
  /** Dials one, until it succeeds, fails or `signal` ends it. */
  readonly dial: (remote: Remote, signal: AbortSignal) => Promise<StreamConn>;
  /** Keeps what runs until it has ended. */
  readonly keep: (work: Promise<void>) => void;
}

/** Remotes by id. */
export class RemoteSet {
  readonly #options: RemoteSetOptions;
  /** Of the plan, and removed ones that connections still use. */
  readonly #remotes = new Map<number, Remote>();
  readonly #ending = new AbortController();
  #chosenFrom: readonly Remote[] = [];
  #probeTimer: ReturnType<typeof setTimeout> | undefined;
  #probing = true;

  constructor(options: RemoteSetOptions) {
    this.#options = options;
  }

  /** All that are chosen from, from now on; those whose id is known stay what they are. */
  set(specs: readonly RemoteSpec[]): void {
    this.#chosenFrom = specs.map((spec) => {
      const remote = this.#remotes.get(spec.id) ?? new Remote(spec);
      this.#remotes.set(spec.id, remote);
      return remote;
    });
    this.#options.policy.setRemotes(this.#chosenFrom, performance.now());
    for (const remote of [...this.#remotes.values()]) this.forget(remote);
    this.planProbe();
  }

  /** One of them. */
  get(id: number): Remote | undefined {
    return this.#remotes.get(id);
  }

  /** Drops one that was removed, once nothing uses it any more. */
  forget(remote: Remote): void {
    if (remote.load() === 0 && !this.#chosenFrom.includes(remote)) {
      this.#remotes.delete(remote.id);
    }
  }

  /** Figures of all of them. */
  stats(): Map<number, RemoteStats> {
    const remotes = new Map<number, RemoteStats>();
    for (const { id, slots } of this.#remotes.values()) {
      remotes.set(id, readRemote([slots]));
    }
    return remotes;
  }

  /** A client's dial succeeded, after so long. */
  connected(remote: Remote, ms: number): void {
    const { slots } = remote;
    slots[RemoteSlot.connectSumMs]! += ms;
    countInBucket(slots, RemoteSlot.connects, CONNECT_BUCKETS_MS, ms);
    this.#watchState(
      remote,
      () => this.#options.policy.connected(remote.id, performance.now()),
    );
  }

  /** A client's dial failed. */
  failed(remote: Remote, client: string, error: unknown): void {
    const failure = failureOf(error);
    const { slots } = remote;
    const { events, policy } = this.#options;
    this.#options.slots[ForwardSlot.dialErrors]!++;
    slots[RemoteSlot.errors]!++;
    slots[RemoteSlot.lastErrorAtMs] = Date.now();
    slots[RemoteSlot.failures + DIAL_FAILURES.indexOf(failure)]!++;
    events.add({
      type: "dial-failed",
      client,
      remote: remote.id,
      failure,
      detail: errorText(error),
    });
    // A limit of this machine says nothing about the remote.
    if (failure === "resources") return;
    this.#watchState(
      remote,
      () => policy.failed(remote.id, failure, performance.now()),
    );
  }

  /** Sets the timer of the next probe. */
  planProbe(): void {
    clearTimeout(this.#probeTimer);
    this.#probeTimer = undefined;
    if (!this.#probing) return;
    const dueMs = this.#options.policy.probeDueMs();
    if (dueMs === Infinity) return;
    this.#probeTimer = setTimeout(
      () => this.#probe(),
      Math.max(0, Math.ceil(dueMs - performance.now())),
    );
  }

  #probe(): void {
    const { policy, keep } = this.#options;
    for (;;) {
      const remote = this.#remotes.get(policy.takeProbe(performance.now()));
      if (!remote) break;
      keep(this.#probeRemote(remote));
    }
    this.planProbe();
  }

  async #probeRemote(remote: Remote): Promise<void> {
    const { dial, events, policy } = this.#options;
    let failure: DialFailure | undefined;
    remote.slots[RemoteSlot.probes]!++;
    try {
      (await dial(remote, this.#ending.signal)).close();
    } catch (error) {
      if (this.#ending.signal.aborted) return;
      failure = failureOf(error);
      remote.slots[RemoteSlot.probeErrors]!++;
      events.add({
        type: "probe-failed",
        remote: remote.id,
        failure,
        detail: errorText(error),
      });
    }
    this.#watchState(
      remote,
      () => policy.probed(remote.id, failure, performance.now()),
    );
  }

  /** Reports where an outcome makes the policy change a remote's state. */
  #watchState(remote: Remote, outcome: () => void): void {
    const before = remote.slots[RemoteSlot.state];
    outcome();
    const state = remote.slots[RemoteSlot.state]!;
    if (state !== before) {
      const dueMs = this.#options.policy.probeDueMs(remote.id);
      this.#options.events.add({
        type: "remote-state",
        remote: remote.id,
        live: state === RemoteState.live,
        probeInMs: dueMs === Infinity
          ? undefined
          : Math.max(0, dueMs - performance.now()),
      });
    }
    this.planProbe();
  }

  /** No probe begins any more. */
  stopProbing(): void {
    this.#probing = false;
    this.planProbe();
  }

  /** Probes that are under way end. */
  end(): void {
    this.stopProbing();
    this.#ending.abort();
  }
}

function failureOf(error: unknown): DialFailure {
  return error instanceof DialError ? error.failure : "other";
}
