/** Policies by the kind of their spec: the one list that every thread makes them from. */
import type { ForwardPolicy, PolicySpec } from "../stream.ts";
import { RemotesPolicy, type RemotesPolicySpec } from "./tunnel_policy.ts";
import { SingleRemote } from "./single_remote.ts";

/** Makes the policy of a spec; throws a TypeError for a kind that is not known. */
export function createPolicy(spec: PolicySpec): ForwardPolicy {
  switch (spec.kind) {
    case "single":
      return new SingleRemote();
    case "remotes":
      return new RemotesPolicy(spec as RemotesPolicySpec);
    default:
      throw new TypeError(`Cannot make a policy of kind "${spec.kind}"`);
  }
}
