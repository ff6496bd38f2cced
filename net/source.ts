/**
 * Whom a peer's address stands for, where limits are counted by source. Pure.
 */
import { formatIpv6, parseIpv4, parseIpv6 } from "./address.ts";

/**
 * What counts as one source: an IPv4 address as a number, or the first 64 bits
 * of an IPv6 address as text. A host on IPv6 chooses the other 64 bits freely
 * (RFC 4291, 2.5.1), and has 2^64 of them.
 */
export type Source = number | string;

/** The source that a peer's address belongs to. Other text than an IP literal is a source of its own. */
export function sourceOf(hostname: string): Source {
  const v4 = parseIpv4(hostname);
  if (v4) return sourceOfBytes(v4, 0, 4);
  const zone = hostname.indexOf("%");
  const v6 = parseIpv6(zone < 0 ? hostname : hostname.slice(0, zone));
  return v6 ? sourceOfBytes(v6, 0, 16) : hostname;
}

/** The source of an address in network byte order, of 4 or 16 bytes at `at`. */
export function sourceOfBytes(
  bytes: Uint8Array,
  at: number,
  length: 4 | 16,
): Source {
  if (length === 4) return word(bytes, at);
  const first = word(bytes, at);
  const second = word(bytes, at + 4);
  // ::ffff:0:0/96 is an IPv4 peer of a socket for both (RFC 4291, 2.5.5.2).
  if (first === 0 && second === 0 && word(bytes, at + 8) === 0xffff) {
    return word(bytes, at + 12);
  }
  return `${hex(first)}${hex(second)}`;
}

/** A source as logs show it: `192.0.2.1`, `2001:db8::/64`. */
export function formatSource(source: Source): string {
  if (typeof source === "number") {
    return [24, 16, 8, 0].map((shift) => source >>> shift & 0xff).join(".");
  }
  if (!/^[0-9a-f]{16}$/.test(source)) return source;
  const bytes = new Uint8Array(16);
  for (let i = 0; i < 8; i++) {
    bytes[i] = parseInt(source.slice(2 * i, 2 * i + 2), 16);
  }
  return `${formatIpv6(bytes)}/64`;
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 |
    bytes[at + 3]!) >>> 0;
}

function hex(value: number): string {
  return value.toString(16).padStart(8, "0");
}
