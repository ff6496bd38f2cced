/** What a reactor and the thread that owns it say to each other: plain data. */
import type { Address } from "../../../address.ts";
import type {
  ConnectionFilter,
  ConnectionInfo,
  ForwardChange,
  ForwardPlan,
  StreamEvent,
} from "../../stream.ts";

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
    /** One 32-bit slot: clients of all reactors. */
    readonly clients: SharedArrayBuffer;
    readonly remotes: readonly RemoteShare[];
  }
  | {
    readonly kind: "update";
    readonly request: number;
    readonly service: number;
    readonly change: ForwardChange;
    /** In place of the change's. */
    readonly remotes?: readonly RemoteShare[] | undefined;
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
