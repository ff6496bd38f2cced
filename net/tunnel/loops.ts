/** Finds tunnels that lead back to themselves: one client would take every file descriptor. Pure. */
import { type Address, formatAddress } from "../address.ts";
import { UsageError } from "../errors.ts";
import { ownHosts, reachesListener } from "../own_listener.ts";

/** Tunnels that would forward a client in a circle; nothing has changed. */
export class TunnelLoopError extends UsageError {
  /** Always `TunnelLoopError`. */
  override name = "TunnelLoopError";
}

/** A tunnel, as far as loops go. */
interface Hop {
  readonly local: Address;
  readonly remotes: readonly Address[];
}

/** Throws a {@linkcode TunnelLoopError} if a remote leads back to its own tunnel, over others or not. */
export function checkNoTunnelLoop(
  tunnels: readonly Hop[],
  own: ReadonlySet<string> = ownHosts(),
): void {
  const byPort = Map.groupBy(tunnels, ({ local }) => local.port);
  const done = new Set<Hop>();
  const path = new Set<Hop>();
  const visit = (hop: Hop): void => {
    path.add(hop);
    for (const remote of hop.remotes) {
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

function loopError(from: Hop, remote: Address, to: Hop): TunnelLoopError {
  const local = formatAddress(from.local);
  const over = from === to
    ? "it is the tunnel itself"
    : `tunnel ${formatAddress(to.local)} leads back to ${local}`;
  return new TunnelLoopError(
    `cannot forward ${local} to ${
      formatAddress(remote)
    }: ${over}; use another port`,
  );
}
