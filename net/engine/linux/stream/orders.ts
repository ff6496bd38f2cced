/** What a reactor and the thread that owns it say to each other: plain data. */
import type { Address } from "../../../address.ts";
import type {
  ConnectionFilter,
  ConnectionInfo,
  ForwardChange,
  ForwardPlan,
  ReportLevel,
  StreamEvent,
} from "../../stream.ts";
import type { Splicing } from "./splicing.ts";

/** What the owner and all reactors of a forwarder share. */
export const SharedSlot = {
  /** Clients of all reactors, for the limit. */
  clients: 0,
  /**
   * Index of what is told in {@linkcode REPORT_LEVELS}: who begins to listen
   * hears of what happens next, not of what happens after an order.
   */
  report: 1,
} as const;

/** Bytes of all of them. */
export const SHARED_BYTES = 8;

/** All levels, in order. */
export const REPORT_LEVELS: readonly ReportLevel[] = [
  "problems",
  "connections",
  "traffic",
];

/** A remote with its slots, one buffer per reactor. */
export interface RemoteShare {
  readonly id: number;
  readonly address: Address;
  readonly slots: readonly SharedArrayBuffer[];
}

/** What a Worker is told before anything else. */
export interface ReactorStart {
  /** Its number among the engine's. */
  readonly reactor: number;
  /** How many there are. */
  readonly reactors: number;
  /** Descriptor of the event that ends its wait. */
  readonly wakeDescriptor: number;
  readonly splicing: Splicing;
  /** One 32-bit slot: orders given so far. */
  readonly posted: SharedArrayBuffer;
}

/** What a reactor is told to do. Those with a `request` are answered. */
export type ReactorOrder =
  | {
    readonly kind: "open";
    readonly request: number;
    readonly service: number;
    readonly plan: ForwardPlan;
    /** A listening socket, the reactor's from now on. */
    readonly listener: number;
    readonly slots: SharedArrayBuffer;
    /** 32-bit slots: {@linkcode SharedSlot}. */
    readonly shared: SharedArrayBuffer;
    readonly remotes: readonly RemoteShare[];
    /** Clients by source (`source_counts.ts`); none where they are not limited. */
    readonly sources?: SharedArrayBuffer | undefined;
  }
  | {
    readonly kind: "update";
    readonly request: number;
    readonly service: number;
    readonly change: ForwardChange;
    /** In place of the change's. */
    readonly remotes?: readonly RemoteShare[] | undefined;
    /** As in `open`. */
    readonly sources?: SharedArrayBuffer | undefined;
  }
  | {
    readonly kind: "connections" | "stop-accepting" | "close";
    readonly request: number;
    readonly service: number;
  }
  | {
    /** Answered when no client is left. */
    readonly kind: "drained";
    readonly request: number;
    readonly service: number;
  }
  | {
    readonly kind: "abort";
    readonly request: number;
    readonly service: number;
    readonly filter: ConnectionFilter;
  }
  | {
    readonly kind: "resolved";
    readonly lookup: number;
    /** None where that failed. */
    readonly hostnames: readonly string[];
    readonly detail: string;
  }
  | { readonly kind: "end" };

/** An order that is answered, before its request has a number. */
export type ReactorQuestion = Unnumbered<
  Extract<ReactorOrder, { request: number }>
>;

/** Of each kind of its own, so that kind and fields stay together. */
type Unnumbered<O> = O extends unknown ? Omit<O, "request"> : never;

/** What a reactor says. */
export type ReactorReport =
  | {
    readonly kind: "answer";
    readonly request: number;
    readonly value: ConnectionInfo[] | number;
  }
  | {
    readonly kind: "events";
    readonly service: number;
    readonly events: readonly StreamEvent[];
  }
  | {
    readonly kind: "lookup";
    readonly lookup: number;
    readonly hostname: string;
  }
  | { readonly kind: "failed"; readonly message: string }
  | { readonly kind: "ended" };
