/**
 * How many tunnels and remotes there may be. A remote costs about 4 KB of each
 * scrape of the metrics, so the sum over all tunnels has a limit of its own.
 */
import { formatAddress } from "../address.ts";
import { UsageError } from "../errors.ts";
import type { TunnelSpec } from "./spec.ts";

/** Open tunnels. */
export const MAX_TUNNELS = 1024;

/** Remotes of one tunnel. */
export const MAX_REMOTES = 1024;

/** Remotes of all tunnels. */
export const MAX_TOTAL_REMOTES = 4096;

/** A limit that a change would exceed; nothing has changed. */
export class TunnelLimitError extends UsageError {
  /** Always `TunnelLimitError`. */
  override name = "TunnelLimitError";
}

/** What counts against the limits. */
type Counted = Pick<TunnelSpec, "local"> & {
  readonly remotes: readonly unknown[];
};

/** Throws a {@linkcode TunnelLimitError} if these cannot all be open. */
export function checkTunnels(tunnels: readonly Counted[]): void {
  if (tunnels.length > MAX_TUNNELS) {
    throw new TunnelLimitError(
      `too many tunnels (${tunnels.length}); the limit is ${MAX_TUNNELS}`,
    );
  }
  let total = 0;
  for (const tunnel of tunnels) {
    checkRemotes(tunnel.remotes.length, tunnel);
    total += tunnel.remotes.length;
  }
  if (total > MAX_TOTAL_REMOTES) {
    throw new TunnelLimitError(
      `too many remotes in all tunnels (${total}); the limit is ${MAX_TOTAL_REMOTES}`,
    );
  }
}

/** Throws a {@linkcode TunnelLimitError} if one tunnel cannot have that many remotes. */
export function checkRemotes(
  count: number,
  tunnel: Pick<TunnelSpec, "local">,
): void {
  if (count <= MAX_REMOTES) return;
  throw new TunnelLimitError(
    `too many remotes of tunnel ${
      formatAddress(tunnel.local)
    } (${count}); the limit is ${MAX_REMOTES}`,
  );
}
