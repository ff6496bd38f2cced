/**
 * Refuses remotes that no client can be forwarded to: port 0, and those that
 * lead back to their own tunnel, where one client would take every file
 * descriptor. Pure.
 */
import { type Address, formatAddress } from "../address.ts";
import { UsageError } from "../errors.ts";
import { ownHosts, reachesListener } from "../own_listener.ts";

/** A remote that cannot be one; nothing has changed. */
export class TunnelRouteError extends UsageError {
  /** Always `TunnelRouteError`. */
  override name = "TunnelRouteError";
}

/** A tunnel, as far as its route goes. */
interface Hop {
  readonly local: Address;
  readonly remotes: readonly Address[];
}

/** Throws a {@linkcode TunnelRouteError} if a remote has port 0 or leads back to its own tunnel, over others or not. */
export function checkRoutes(
  tunnels: readonly Hop[],
  own: ReadonlySet<string> = ownHosts(),
): void {
  const byPort = Map.groupBy(tunnels, ({ local }) => local.port);
  const done = new Set<Hop>();
  const path = new Set<Hop>();
  const visit = (hop: Hop): void => {
    path.add(hop);
    for (const remote of hop.remotes) {
      checkPort(hop, remote);
      for (const next of byPort.get(remote.port) ?? []) {
        if (!reachesListener(next.local, remote, own)) continue;
        if (path.has(next)) throw loopError(hop, remote, next);
        if (!done.has(next)) visit(next);
      }
    }
    path.delete(hop);
    done.add(hop);
  };
  for (const tunnel of tunnels) if (!done.has(tunnel)) visit(tunnel);
}

function checkPort({ local }: Hop, remote: Address): void {
  if (remote.port !== 0) return;
  throw new TunnelRouteError(
    `cannot forward ${formatAddress(local)} to ${
      formatAddress(remote)
    }: port 0 cannot be connected to`,
  );
}

function loopError(from: Hop, remote: Address, to: Hop): TunnelRouteError {
  const local = formatAddress(from.local);
  const over = from === to
    ? "it is the tunnel itself"
    : `tunnel ${formatAddress(to.local)} leads back to ${local}`;
  return new TunnelRouteError(
    `cannot forward ${local} to ${
      formatAddress(remote)
    }: ${over}; use another port`,
  );
}
