/** A relay as plain data, so that it can run in this thread or in a Worker. */
import type { Address } from "../address.ts";
import type { EngineChoice } from "../engine/engine.ts";

/** One destination of a {@linkcode RelayPlan}. */
export interface PlannedDestination {
  address: Address;
  networkInterface: string | undefined;
  ttl: number | undefined;
  loop: boolean | undefined;
  maxWaitMs: number;
}

/** What a relay in a Worker does. */
export interface RelayPlan {
  engine: EngineChoice;
  listen: {
    address: Address;
    networkInterface: string | undefined;
    receiveBufferBytes: number | undefined;
    reusePort: boolean | undefined;
  };
  destinations: PlannedDestination[];
}

/** What starts a relay's Worker: the plan, and slots shared with it. */
export interface RelayOrder {
  plan: RelayPlan;
  /** Slots of RECEIVE_COUNTERS. */
  received: SharedArrayBuffer;
  /** Slots of SEND_COUNTERS, for each destination. */
  sent: SharedArrayBuffer[];
  /** One Int32: 1 drains. */
  stop: SharedArrayBuffer;
}

/** What a relay's Worker tells. */
export type RelayReport =
  | { kind: "listening"; address: Address }
  | { kind: "warning"; message: string }
  | {
    kind: "failed";
    usage: boolean;
    message: string;
    code: string | undefined;
  }
  | { kind: "ended" };
