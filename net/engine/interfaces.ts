/**
 * Network interfaces by name or address, as `--interface` and zones name them,
 * for engines that know what Deno knows. `linux/interfaces.ts` asks the kernel.
 */
import {
  type Address,
  canonicalIp,
  formatAddress,
  isIp,
  isIpv6,
  isMulticast,
  isOfOneLink,
  isUnspecified,
} from "../address.ts";
import { OperationError, UsageError } from "../errors.ts";

/** One interface with what joining and sending need. */
export interface NetworkInterface {
  /** `eth0`. */
  readonly name: string;
  /** The system's number of it, as IPv6 scopes use it. */
  readonly index: number;
  /** Its first IPv4 address. */
  readonly ipv4: string | undefined;
  /** An IPv6 address of it, link-local where there is one. */
  readonly ipv6: string | undefined;
}

/**
 * A host of an interface as the system's resolver takes it: those that mean
 * something on one link alone with the interface's number (RFC 4007), others
 * as they are. glibc takes a name only for some of the first, for no other.
 */
export function scopedHostname(
  hostname: string,
  on: NetworkInterface | undefined,
): string {
  return on && isOfOneLink(hostname) ? `${hostname}%${on.index}` : hostname;
}

/** Finds an interface; throws an OperationError that lists those there are. */
export function findInterface(nameOrAddress: string): NetworkInterface {
  const all = Deno.networkInterfaces();
  const name = isIp(nameOrAddress)
    ? nameOfAddress(nameOrAddress)
    : all.find((entry) =>
      entry.name === nameOrAddress || indexOf(entry) === Number(nameOrAddress)
    )?.name;
  if (name === undefined) throw unknownInterface(nameOrAddress);
  const entries = all.filter((entry) => entry.name === name);
  const v6 = entries.filter((entry) => entry.family === "IPv6")
    .map((entry) => entry.address.replace(/%.*/, ""));
  return {
    name,
    index: entries.map(indexOf).find((index) => index > 0) ?? 0,
    ipv4: entries.find((entry) => entry.family === "IPv4")?.address,
    ipv6: v6.find((address) => /^fe[89ab]/i.test(address)) ?? v6[0],
  };
}

/** The name of the interface that has an address. */
export function nameOfAddress(address: string): string | undefined {
  const wanted = canonicalIp(address);
  return Deno.networkInterfaces().find((entry) =>
    canonicalIp(entry.address.replace(/%.*/, "")) === wanted
  )?.name;
}

/** The error of an interface that is missing, with those there are. It may come later. */
export function unknownInterface(nameOrAddress: string): OperationError {
  const names = new Set(Deno.networkInterfaces().map(({ name }) => name));
  return new OperationError(
    `Unknown interface "${nameOrAddress}": this machine has ${
      [...names].join(", ")
    }`,
    { code: "ENODEV" },
  );
}

/** Throws a UsageError where a text can be no interface's name, number or address. */
export function checkInterfaceName(nameOrAddress: string): void {
  // dev_valid_name() of Linux; Windows and macOS have longer names.
  const valid = nameOrAddress !== "" && nameOrAddress.length <= 256 &&
    !/[/\0]|^\.{1,2}$/.test(nameOrAddress) &&
    (Deno.build.os !== "linux" || isIp(nameOrAddress) ||
      !/[\s:]/.test(nameOrAddress) &&
        new TextEncoder().encode(nameOrAddress).length < 16);
  if (valid) return;
  throw new UsageError(
    `Unknown interface "${nameOrAddress}": an interface name has at most 15 bytes and no "/", ":" or space`,
  );
}

/** The IPv4 address of a sender that a socket on `[::]` shows as `::ffff:192.0.2.1` (RFC 4291, 2.5.5.2). */
export function unmapped(hostname: string): string {
  return hostname.startsWith("::ffff:") && hostname.includes(".")
    ? hostname.slice(7)
    : hostname;
}

/** Throws a UsageError where a destination is the unspecified address. */
export function checkDestination(address: Address): void {
  if (!isUnspecified(address.hostname)) return;
  throw new UsageError(
    `Cannot send to "${
      formatAddress(address)
    }": it is the address of no host; use ${
      isIpv6(address.hostname) ? "[::1]" : "127.0.0.1"
    } for this machine`,
  );
}

/** Whether interfaces may be listed without asking the user. */
export function mayListInterfaces(): boolean {
  const sys = { name: "sys", kind: "networkInterfaces" } as const;
  return Deno.permissions.querySync(sys).state === "granted";
}

/** All interfaces with their numbers and addresses, as text that changes with them. */
export function interfacesText(): string {
  return Deno.networkInterfaces()
    .map((entry) => `${entry.name} ${indexOf(entry)} ${entry.address}`)
    .sort().join("\n");
}

/** Where a listener without FFI would bind and join now; {@linkcode DatagramEngine.placement}. */
export function placementOf(
  groups: readonly Address[],
  networkInterface: string | undefined,
): string {
  return groups.map(({ hostname, zone }) => {
    const group = isMulticast(hostname);
    const on = zone ?? (group ? networkInterface : undefined);
    if (on !== undefined) return findInterface(on).index;
    if (!isIp(hostname) || isUnspecified(hostname)) return "";
    if (!mayListInterfaces()) return "";
    // Only the system knows which interface it takes for the group.
    if (group) return interfaceNumbers();
    if (
      nameOfAddress(hostname) === undefined && !isBroadcastOrLocal(hostname)
    ) {
      throw new OperationError(
        `Cannot listen on "${hostname}": no interface has this address`,
        { code: "EADDRNOTAVAIL" },
      );
    }
    return "";
  }).join(",");
}

function interfaceNumbers(): string {
  const numbers = new Set(Deno.networkInterfaces().map(indexOf));
  return [...numbers].sort((a, b) => a - b).join(" ");
}

/** Whether an address can be bound that is not listed: of 127.0.0.0/8, or a broadcast address. */
function isBroadcastOrLocal(hostname: string): boolean {
  if (hostname.startsWith("127.") || hostname === "255.255.255.255") {
    return true;
  }
  return Deno.networkInterfaces().some(({ family, address, netmask }) => {
    if (family !== "IPv4") return false;
    const mask = netmask.split(".").map(Number);
    const broadcast = address.split(".").map((byte, i) =>
      Number(byte) | ~mask[i]! & 255
    ).join(".");
    return broadcast === hostname;
  });
}

function indexOf(entry: Deno.NetworkInterfaceInfo): number {
  if (Deno.build.os === "linux") {
    try {
      return Number(
        Deno.readTextFileSync(`/sys/class/net/${entry.name}/ifindex`),
      );
    } catch {
      // Without the right to read there, a link-local address still tells.
    }
  }
  return entry.scopeid ?? 0;
}
