/** Names to addresses, as the system resolves them: /etc/hosts counts. */
import { lookup } from "node:dns/promises";
import { isIp } from "../../address.ts";
import { failedCall } from "../../errors.ts";

/** All IP literals of a host, in the order in which they should be tried. */
export async function resolveHost(hostname: string): Promise<string[]> {
  if (isIp(hostname)) return [hostname];
  try {
    const found = await lookup(hostname, { all: true });
    return found.map(({ address }) => address);
  } catch (cause) {
    throw failedCall("resolve", `"${hostname}"`, cause);
  }
}
