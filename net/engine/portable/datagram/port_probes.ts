/** Whether a listener shares its port with sockets on groups, and who must not have it. */
import { type Address, isIpv6, isUnspecified } from "../../../address.ts";
import type { DatagramListenOptions } from "../../datagram.ts";

/** An address that nobody binds for itself: it conflicts with the unspecified address alone. */
const UNUSED_LOOPBACK = "127.255.255.254";

/**
 * Addresses that must be free before a port is shared, or undefined where it is
 * not. On Linux, SO_REUSEADDR lets sockets on groups and on the unspecified
 * address stand on one port. Two on the unspecified address would take each
 * other's datagrams: one that binds a loopback address exclusively finds them.
 */
export function portProbes(
  { ownsPort, sharePort, v6Only }: DatagramListenOptions,
  { hostname, port }: Address,
): readonly string[] | undefined {
  if (sharePort) return [];
  if (Deno.build.os !== "linux" || !isUnspecified(hostname) || port === 0) {
    return undefined;
  }
  if (ownsPort) return [];
  const probes = isIpv6(hostname)
    ? v6Only ? ["::1"] : ["::1", UNUSED_LOOPBACK]
    : [UNUSED_LOOPBACK];
  return probes.every((probe) => mayBind(probe, port)) ? probes : undefined;
}

/** Whether an address may be bound without asking the user. */
function mayBind(hostname: string, port: number): boolean {
  const host = isIpv6(hostname)
    ? `[${hostname}]:${port}`
    : `${hostname}:${port}`;
  return Deno.permissions.querySync({ name: "net", host }).state === "granted";
}
