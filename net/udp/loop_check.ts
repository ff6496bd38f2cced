/** Finds destinations that a role itself listens on: what it sends would come back without end. */
import {
  type Address,
  formatAddress,
  isIpv6,
  isLoopback,
  isMulticast,
  isUnspecified,
} from "../address.ts";
import { unmapped } from "../engine/interfaces.ts";
import { UsageError } from "../errors.ts";

/** What decides whether a datagram comes back, beside the addresses. */
export interface LoopOptions {
  /** The interface of groups that name none. */
  networkInterface?: string | undefined;
  /** Whether this machine hears what it sends to groups. @default {true} */
  loop?: boolean | undefined;
  /** Groups that others of the role join. */
  joined?: readonly Address[] | undefined;
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
    const on = listen.find((one) =>
      comesBack(one, to, options, own) || isJoined(one, to, listen, options)
    );
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

/**
 * Whether a listener on the unspecified address receives what is sent to a
 * group, because this machine has joined it: by another listener of the role,
 * or always, as all nodes have (IP_MULTICAST_ALL of ip(7) is on by default).
 */
function isJoined(
  on: Address,
  to: Address,
  listen: readonly Address[],
  { loop = true, joined = [] }: LoopOptions,
): boolean {
  if (!loop || on.port !== to.port || on.port === 0) return false;
  if (!isUnspecified(on.hostname) || !isMulticast(to.hostname)) return false;
  if (isIpv6(on.hostname) !== isIpv6(to.hostname)) return false;
  return ALL_NODES.has(to.hostname) ||
    [...listen, ...joined].some(({ hostname }) => hostname === to.hostname);
}

/** Groups that every machine has joined (RFC 1112, RFC 4291). */
const ALL_NODES = new Set(["224.0.0.1", "ff01::1", "ff02::1"]);

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
  if (!isUnspecified(hostname)) return unmapped(hostname);
  return isIpv6(hostname) ? "::1" : "127.0.0.1";
}

/** Addresses and directed broadcast addresses of this machine, where they may be read without asking the user. */
function ownAddresses(): ReadonlySet<string> {
  const sys = { name: "sys", kind: "networkInterfaces" } as const;
  if (Deno.permissions.querySync(sys).state !== "granted") return new Set();
  return new Set(
    Deno.networkInterfaces().flatMap(({ address, family, netmask }) =>
      family === "IPv4"
        ? [address, broadcastAddress(address, netmask)]
        : [address.replace(/%.*/, "")]
    ),
  );
}

/** `10.0.0.255` of `10.0.0.7` and `255.255.255.0`: all bits of the host set (RFC 919). */
export function broadcastAddress(address: string, netmask: string): string {
  const mask = netmask.split(".").map(Number);
  return address.split(".")
    .map((byte, i) => Number(byte) | ~mask[i]! & 255)
    .join(".");
}
