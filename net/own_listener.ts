/** Finds remotes that are listeners of this process: a connection would be forwarded to itself without end. */
import {
  type Address,
  canonicalIp,
  isIpv6,
  isLoopback,
  isUnspecified,
} from "./address.ts";

/**
 * Whether a connection to `remote` is accepted by `listener`. Names other than
 * `localhost` are not resolved: they may change before the next dial.
 *
 * @param own The addresses of this machine, as far as they are known.
 */
export function reachesListener(
  listener: Address,
  remote: Address,
  own: ReadonlySet<string>,
): boolean {
  if (listener.port !== remote.port || listener.port === 0) return false;
  const to = hostOf(remote);
  if (!isUnspecified(listener.hostname)) return hostOf(listener) === to;
  // A listener on [::] takes IPv4 too, one on 0.0.0.0 only IPv4.
  if (isIpv6(to) && !isIpv6(listener.hostname)) return false;
  return isLoopback(to) || own.has(to);
}

/** Addresses of this machine's interfaces; none where reading them would prompt the user. */
export function ownHosts(): ReadonlySet<string> {
  const sys = { name: "sys", kind: "networkInterfaces" } as const;
  if (Deno.permissions.querySync(sys).state !== "granted") return new Set();
  return new Set(
    Deno.networkInterfaces().map(({ address }) => {
      const host = address.replace(/%.*/, "");
      return canonicalIp(host) ?? host;
    }),
  );
}

/** One spelling of a host. A connect to 0.0.0.0 or [::] goes to this machine (Linux, BSD). */
function hostOf({ hostname }: Address): string {
  const name = hostname.toLowerCase();
  if (name === "localhost" || name === "localhost.") return "127.0.0.1";
  if (isUnspecified(name)) return isIpv6(name) ? "::1" : "127.0.0.1";
  const literal = canonicalIp(name) ?? name;
  // RFC 4291, 2.5.5.2: the IPv4 address itself.
  return /^::ffff:\d+\.\d+\.\d+\.\d+$/.test(literal)
    ? literal.slice(7)
    : literal;
}
