/** Names to addresses, as the system resolves them (hosts file included). */
import { lookup } from "node:dns/promises";
import { type Address, isIp } from "../address.ts";
import { failedCall } from "../errors.ts";

/** All addresses of a host, in the system's order; a literal is itself. */
export async function resolveAll(address: Address): Promise<Address[]> {
  if (isIp(address.hostname)) return [address];
  try {
    const found = await lookup(address.hostname, { all: true, verbatim: true });
    return found.map((entry) => ({
      hostname: entry.address,
      port: address.port,
    }));
  } catch (cause) {
    throw failedCall("resolve", `"${address.hostname}"`, cause);
  }
}

/**
 * The address to bind or to send datagrams to: IPv4 where a name has both,
 * because a datagram cannot tell that nobody listens on the other family.
 */
export async function resolveOne(address: Address): Promise<Address> {
  const all = await resolveAll(address);
  return all.find(({ hostname }) => !hostname.includes(":")) ?? all[0]!;
}
