/** A forwarder inside a reactor: what it is, its remotes and its slots. */
import type { Address } from "../../../address.ts";
import { isIp } from "../../../address.ts";
import {
  type Deadlines,
  DEFAULT_DEADLINES,
  type ForwardChange,
  type ForwardPolicy,
  type PolicyRemote,
  type ReportLevel,
} from "../../stream.ts";
import { RemoteSlot } from "../../stream_counters.ts";
import { encodeSockaddr } from "../ffi/sockaddr.ts";
import {
  type ReactorOrder,
  type RemoteShare,
  REPORT_LEVELS,
  SharedSlot,
} from "./orders.ts";

import { SourceCounts } from "./source_counts.ts";

/** Reads have this size at the most, and so has what a short send leaves of one. */
export const LARGEST_READ_BYTES = 262_144;

/** A remote, as the reactor dials it and the policy sees it. */
export class Remote implements PolicyRemote {
  readonly id: number;
  readonly address: Address;
  /** The slots that this reactor writes. */
  readonly slots: Float64Array;
  /** Those of all reactors. */
  readonly #all: readonly Float64Array[];
  /** Its address where that is a literal which needs nothing looked up. */
  readonly sockaddr: Uint8Array<ArrayBuffer> | undefined;

  constructor({ id, address, slots }: RemoteShare, reactor: number) {
    this.id = id;
    this.address = address;
    this.#all = slots.map((buffer) => new Float64Array(buffer));
    this.slots = this.#all[reactor]!;
    this.sockaddr = address.zone === undefined && isIp(address.hostname)
      ? encodeSockaddr(address.hostname, address.port)
      : undefined;
  }

  load(): number {
    let load = 0;
    for (const slots of this.#all) {
      load += slots[RemoteSlot.pending]! + slots[RemoteSlot.open]!;
    }
    return load;
  }
}

/** A forwarder, as far as one reactor serves it. */
export class Service {
  /** Its number among all of the engine. */
  readonly number: number;
  readonly policy: ForwardPolicy;
  /** Slots of this reactor. */
  readonly slots: Float64Array;
  /** Shared with the owner and the other reactors: {@linkcode SharedSlot}. */
  readonly shared: Int32Array;
  /** By id: those of the plan, and removed ones that connections still use. */
  readonly remotes = new Map<number, Remote>();
  readonly keepAlive: boolean;
  /** Most bytes of a read. */
  readonly readLength: number;
  /** The same, as libc takes it. */
  readonly readBytes: bigint;
  /** Most bytes of a pipe. */
  readonly pipeBytes: number;
  /** Those that are chosen from. */
  chosenFrom: readonly Remote[] = [];
  deadlines: Deadlines;
  maxConnections: number;
  /** Of one source; 0 is no limit. */
  maxConnectionsPerSource: number;
  /** Clients by source, where they are limited. */
  sources: SourceCounts | undefined;
  /** Descriptor of the listener; -1 once it is closed. */
  listener: number;
  /** When accepting goes on after it has failed; Infinity where it does. */
  resumeMs = Infinity;
  pauseMs = 0;
  probeDueMs = Infinity;
  /** Clients whose dial lacks a descriptor or memory: they go on when accepting does. */
  readonly starved: number[] = [];
  /** Clients between accept and end. */
  live = 0;
  /** Who waits for that to be none. */
  readonly drains: number[] = [];
  readonly #reactor: number;
  readonly #reactors: number;
  #nextId: number;

  /** What `order` opens, for reactor number `reactor` of `reactors`. */
  constructor(
    order: Extract<ReactorOrder, { kind: "open" }>,
    policy: ForwardPolicy,
    reactor: number,
    reactors: number,
  ) {
    const { plan } = order;
    const bufferBytes = plan.bufferBytes ?? LARGEST_READ_BYTES;
    this.number = order.service;
    this.policy = policy;
    this.slots = new Float64Array(order.slots);
    this.shared = new Int32Array(order.shared);
    this.listener = order.listener;
    this.keepAlive = plan.keepAlive ?? true;
    this.readLength = Math.min(bufferBytes, LARGEST_READ_BYTES);
    this.readBytes = BigInt(this.readLength);
    this.pipeBytes = bufferBytes;
    this.deadlines = { ...DEFAULT_DEADLINES, ...plan.deadlines };
    this.maxConnections = plan.maxConnections ?? 0;
    this.maxConnectionsPerSource = plan.maxConnectionsPerSource ?? 0;
    this.countSources(order.sources);
    this.#reactor = reactor;
    this.#reactors = reactors;
    this.#nextId = reactor + 1;
  }

  /** Counts clients by source from now on. */
  countSources(buffer: SharedArrayBuffer | undefined): void {
    if (buffer) this.sources ??= new SourceCounts(buffer);
  }

  /** What is told: the owner may change it from one event to the next. */
  get report(): ReportLevel {
    return REPORT_LEVELS[this.shared[SharedSlot.report]!]!;
  }

  /** The next connection's number: reactors count in steps, so that no two are alike. */
  takeId(): number {
    const id = this.#nextId;
    this.#nextId += this.#reactors;
    return id;
  }

  /** Serves otherwise from now on. What is told of it is the owner's to say. */
  change(
    { deadlines, maxConnections, maxConnectionsPerSource, policy }:
      ForwardChange,
    nowMs: number,
  ): void {
    this.deadlines = { ...this.deadlines, ...deadlines };
    this.maxConnections = maxConnections ?? this.maxConnections;
    this.maxConnectionsPerSource = maxConnectionsPerSource ??
      this.maxConnectionsPerSource;
    if (policy) this.policy.configure(policy, nowMs);
  }

  /** Chooses from these from now on; those whose id is known stay what they are. */
  setRemotes(shares: readonly RemoteShare[], nowMs: number): void {
    this.chosenFrom = shares.map((share) => {
      const remote = this.remotes.get(share.id) ??
        new Remote(share, this.#reactor);
      this.remotes.set(share.id, remote);
      return remote;
    });
    this.policy.setRemotes(this.chosenFrom, nowMs);
    for (const remote of [...this.remotes.values()]) this.forget(remote);
  }

  /** Drops a remote that was removed once nothing uses it any more. */
  forget(remote: Remote): void {
    const { slots } = remote;
    const used = slots[RemoteSlot.pending]! + slots[RemoteSlot.open]! > 0;
    if (!used && !this.chosenFrom.includes(remote)) {
      this.remotes.delete(remote.id);
    }
  }
}
