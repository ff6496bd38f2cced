/** Finds addresses that are given twice: the second listener would fail, the second destination would double. Pure. */
import {
  type Address,
  formatAddress,
  isIpv6,
  isUnspecified,
} from "../address.ts";
import { UsageError } from "../errors.ts";

/** Throws a UsageError where an address is given twice; port 0 is another port each time. */
export function checkListeners(addresses: readonly Address[]): void {
  checkDistinct("listen on", addresses.filter(({ port }) => port !== 0));
}

/** Throws a UsageError where a destination is given twice or is no host. */
export function checkDestinations(addresses: readonly Address[]): void {
  for (const address of addresses) {
    if (!isUnspecified(address.hostname)) continue;
    const own = isIpv6(address.hostname) ? "[::1]" : "127.0.0.1";
    throw new UsageError(
      `cannot send to "${
        formatAddress(address)
      }": the unspecified address is no destination; use ${own}:${address.port} for this machine`,
    );
  }
  checkDistinct("send to", addresses);
}

/** Throws a UsageError where data has nowhere to go: everything would be discarded. */
export function checkSomeDestination(
  addresses: readonly Address[],
  tee: boolean | undefined,
): void {
  if (addresses.length > 0 || tee) return;
  throw new UsageError(
    "No destination: pass `destinations` or `tee`",
    { option: ["destinations", "tee"] },
  );
}

function checkDistinct(verb: string, addresses: readonly Address[]): void {
  const seen = new Set<string>();
  for (const address of addresses) {
    const text = formatAddress(address);
    if (seen.has(text)) {
      throw new UsageError(
        `cannot ${verb} "${text}" twice: it is given more than once; remove one`,
      );
    }
    seen.add(text);
  }
}
