/** Finds destinations that a role itself listens on: what it sends would come back without end. */
import {
  type Address,
  formatAddress,
  isIpv6,
  isLoopback,
  isMulticast,
  isUnspecified,
} from "../address.ts";
import { UsageError } from "../errors.ts";

/** What decides whether a datagram comes back, beside the addresses. */
export interface LoopOptions {
  /** The interface of groups that name none. */
  networkInterface?: string | undefined;
  /** Whether this machine hears what it sends to groups. @default {true} */
  loop?: boolean | undefined;
}

/**
 * Throws a UsageError where a destination is an address that is listened on.
 * Names other than `localhost` are not looked up.
 *
 * @param own The addresses of this machine, as far as they are known.
 */
export function checkNoLoop(
  listen: readonly Address[],
  destinations: readonly Address[],
  options: LoopOptions,
  own: ReadonlySet<string> = ownAddresses(),
): void {
  for (const to of destinations) {
    const on = listen.find((one) => comesBack(one, to, options, own));
    if (on === undefined) continue;
    throw new UsageError(
      `Cannot send to "${formatAddress(to)}" and listen on "${
        formatAddress(on)
      }": what is sent would come back without end; ${
        isMulticast(to.hostname)
          ? "use another group or port, or `loop: false`"
          : "use another port or address"
      }`,
      { option: "loop" },
    );
  }
}

/** Whether what is sent to `to` is received on `on`. */
function comesBack(
  on: Address,
  to: Address,
  { networkInterface, loop = true }: LoopOptions,
  own: ReadonlySet<string>,
): boolean {
  if (on.port !== to.port || on.port === 0) return false;
  if (isMulticast(to.hostname)) {
    const link = ({ zone = networkInterface }: Address) => zone;
    return loop && on.hostname === to.hostname && link(on) === link(to);
  }
  const destination = hostOf(to);
  const listening = hostOf(on);
  if (!isUnspecified(on.hostname)) return listening === destination;
  // A listener on [::] hears IPv4 too, one on 0.0.0.0 nothing else.
  if (isIpv6(destination) && !isIpv6(on.hostname)) return false;
  return isLoopback(destination) || own.has(destination) ||
    destination === "255.255.255.255";
}

/** To send to 0.0.0.0 or [::] is to send to this machine (Linux, BSD). */
function hostOf({ hostname }: Address): string {
  if (hostname === "localhost") return "127.0.0.1";
  if (!isUnspecified(hostname)) return hostname;
  return isIpv6(hostname) ? "::1" : "127.0.0.1";
}

/** Those that may be known without asking the user. */
function ownAddresses(): ReadonlySet<string> {
  const sys = { name: "sys", kind: "networkInterfaces" } as const;
  if (Deno.permissions.querySync(sys).state !== "granted") return new Set();
  return new Set(
    Deno.networkInterfaces().map(({ address }) => address.replace(/%.*/, "")),
  );
}
