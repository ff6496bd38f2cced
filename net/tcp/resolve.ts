/** The addresses of this machine or of a name, as the C library finds them. */
import { lookup } from "node:dns/promises";
import { type Address, formatAddress, isIp } from "../address.ts";
import { OperationError } from "../errors.ts";

/**
 * Literal addresses of a host, in the resolver's order; a literal is its own.
 * Throws an OperationError for a name that is not known.
 */
export async function resolveAddress(address: Address): Promise<Address[]> {
  if (isIp(address.hostname)) return [address];
  try {
    const found = await lookup(address.hostname, { all: true });
    return found.map(({ address: hostname }) => ({
      hostname,
      port: address.port,
    }));
  } catch (cause) {
    const { code } = cause as { code?: string };
    throw new OperationError(
      `Cannot resolve "${address.hostname}" of ${
        formatAddress(address)
      }: the name is not known; check its spelling or use an IP address`,
      { cause, code },
    );
  }
}
