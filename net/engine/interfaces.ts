/**
 * Network interfaces by name or address, as `--interface` and zones name them,
 * for engines that know what Deno knows. `linux/interfaces.ts` asks the kernel.
 */
import { canonicalIp, isIp, isOfOneLink } from "../address.ts";
import { UsageError } from "../errors.ts";

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

/** Finds an interface; throws a UsageError that lists those there are. */
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

/** What to throw where there is no such interface: it names those there are. */
export function unknownInterface(nameOrAddress: string): UsageError {
  const names = new Set(Deno.networkInterfaces().map(({ name }) => name));
  return new UsageError(
    `Unknown interface "${nameOrAddress}": this machine has ${
      [...names].join(", ")
    }`,
  );
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
