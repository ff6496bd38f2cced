/** Orders to a reactor as its owner gives them, for tests that have no owner. */
import {
  type ReactorOrder,
  type RemoteShare,
  SHARED_BYTES,
} from "../../net/engine/linux/stream/orders.ts";
import type { ForwardPlan } from "../../net/engine/stream.ts";
import { forwardSlots, remoteSlots } from "../../net/engine/stream_counters.ts";

/** An order that opens a forwarder. */
export type OpenOrder = Extract<ReactorOrder, { kind: "open" }>;

/** Opens a forwarder of one listener, with slots of its own, for the only reactor. */
export function openOrder(
  { plan, ...rest }:
    & Partial<Omit<OpenOrder, "plan">>
    & { plan?: Partial<ForwardPlan> } = {},
): OpenOrder {
  return {
    kind: "open",
    request: 1,
    service: 1,
    plan: {
      listen: { hostname: "127.0.0.1", port: 0 },
      remotes: [],
      policy: { kind: "single" },
      ...plan,
    },
    listener: -1,
    slots: forwardSlots().buffer,
    shared: new SharedArrayBuffer(SHARED_BYTES),
    remotes: [],
    ...rest,
  };
}

/** A remote with slots for the only reactor. */
export function remoteShare(
  id: number,
  hostname: string,
  port: number,
): RemoteShare {
  return { id, address: { hostname, port }, slots: [remoteSlots().buffer] };
}
