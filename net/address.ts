/**
 * Addresses as users write them: `host:port`, `[v6]:port`, `[fe80::1%eth0]:port`,
 * a bare port where the original allowed one, and of groups `239.1.2.3%eth0:port`
 * for one of several interfaces and `SRC@GROUP:port` for source-specific
 * multicast (RFC 4607). Pure: names are not resolved here.
 */
import { UsageError } from "./errors.ts";

/** A host and a port. */
export interface Address {
  /** IPv4 or IPv6 literal in its canonical form, or a name; no brackets, no zone. */
  readonly hostname: string;
  /** 0 to 65535. */
  readonly port: number;
  /** Interface of an IPv6 literal or of a group: the text behind `%`. None where the host has no need of one. */
  readonly zone?: string;
  /** Only sender of a source-specific group: the text before `@`. */
  readonly source?: string;
}

/** What an address may be. */
export interface ParseAddressOptions {
  /** Host of a bare port or of `:port`; without it, a host is wanted. */
  defaultHostname?: string;
  /**
   * Whether port 0, "any free port", is meant.
   * @default {false}
   */
  allowPortZero?: boolean;
}

const NAME =
  /^(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?$/;

/** Longest name in DNS (RFC 1035, 2.3.4), without the dot of the root. */
const MAX_NAME_CHARS = 253;

/** Numbers of an IPv4 address as inet_aton(3) reads them: decimal, octal or hexadecimal. */
const NUMBERS = /^((0[xX][0-9A-Fa-f]*|\d+)\.?)+$/;

/**
 * Whether the resolver takes a text as a host name: labels of letters, digits,
 * "-" and "_", with a dot at the end for one that is complete. A name of
 * numbers is not one: resolvers read `127.1` and `0x7f.1` as IPv4 addresses.
 */
export function isHostName(text: string): boolean {
  return text.replace(/\.$/, "").length <= MAX_NAME_CHARS &&
    NAME.test(text) && !NUMBERS.test(text);
}

/**
 * Reads an address, or throws a {@linkcode UsageError} that shows the text.
 * IPv6 as RFC 4291, 2.2 writes it, its zone as RFC 4007, 11; `SRC@GROUP` as
 * in multicat.
 */
export function parseAddress(
  text: string,
  options: ParseAddressOptions = {},
): Address {
  const fail = (wanted: string): never => {
    throw new UsageError(`Cannot use "${text}" as an address: ${wanted}`);
  };
  const { defaultHostname, allowPortZero = false } = options;
  let rest = text;
  let source: string | undefined;
  const at = rest.indexOf("@");
  if (at >= 0) {
    source = canonicalIp(rest.slice(0, at).replace(/^\[(.*)\]$/, "$1"));
    if (source === undefined) fail("the source before @ must be an IP address");
    rest = rest.slice(at + 1);
  }
  let host: string;
  let portText: string;
  if (rest.startsWith("[")) {
    const end = rest.indexOf("]");
    if (end < 0) fail('"]" is missing');
    host = rest.slice(1, end);
    if (!host.includes(":")) fail("only an IPv6 address stands in brackets");
    if (rest[end + 1] !== ":") fail("a port must follow, such as [::1]:9920");
    portText = rest.slice(end + 2);
  } else {
    const colon = rest.lastIndexOf(":");
    if (colon !== rest.indexOf(":")) {
      const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(rest)?.[1];
      if (scheme) fail(`it has a scheme, "${scheme}://"; use HOST:PORT`);
      if (/[,;\s]/.test(rest)) fail("it is more than one; repeat the option");
      fail("an IPv6 address must stand in brackets, such as [::1]:9920");
    }
    host = colon < 0 ? "" : rest.slice(0, colon);
    portText = rest.slice(colon + 1);
    if (host === "") {
      if (defaultHostname === undefined) {
        fail("host and port are wanted, such as 127.0.0.1:9920");
      }
      host = defaultHostname!;
    }
  }
  if (!/^\d{1,5}$/.test(portText)) {
    fail("the port must be a number, such as 127.0.0.1:9920");
  }
  const port = Number(portText);
  if (port > 65535) fail("the port must be at most 65535");
  if (port === 0 && !allowPortZero) {
    fail("port 0 cannot be sent to or found by a peer");
  }

  const [literal, zone] = splitZone(host);
  if (zone === "") fail("an interface must follow %");
  const hostname = canonicalIp(literal) ?? literal;
  if (zone !== undefined && !hostname.includes(":") && !isMulticast(hostname)) {
    fail("only an IPv6 address or a group has a zone");
  }
  if (!isIp(hostname)) {
    if (literal.includes(":")) fail("the IPv6 address is wrong");
    if (literal === "*") {
      fail('"*" is not an address; use 0.0.0.0 or [::] for every address');
    }
    if (!isHostName(literal)) {
      fail("the host is neither an IP address nor a name");
    }
  }
  if (source !== undefined) {
    if (!isMulticast(hostname)) {
      fail("a source before @ wants a multicast group after it");
    }
    if (source.includes(":") !== hostname.includes(":")) {
      fail("source and group must both be IPv4 or both IPv6");
    }
  }
  return {
    hostname,
    port,
    ...(zone !== undefined ? { zone } : {}),
    ...(source !== undefined ? { source } : {}),
  };
}

/**
 * The text that {@linkcode parseAddress} reads back to the same address.
 * IPv6 in the form of RFC 5952.
 */
export function formatAddress(address: Address): string {
  const { hostname, port, zone, source } = address;
  const literal = zone === undefined ? hostname : `${hostname}%${zone}`;
  const host = hostname.includes(":") ? `[${literal}]` : literal;
  const before = source === undefined
    ? ""
    : source.includes(":")
    ? `[${source}]@`
    : `${source}@`;
  return `${before}${host}:${port}`;
}

/** Throws a UsageError where an address can only be listened on. */
export function checkSendable(address: Address): void {
  if (address.source === undefined) return;
  throw new UsageError(
    `Cannot send to "${
      formatAddress(address)
    }": a source before @ is for listening`,
  );
}

/** The host as the system's resolver takes it: `fe80::1%eth0` where there is a zone. */
export function hostWithZone({ hostname, zone }: Address): string {
  return zone === undefined ? hostname : `${hostname}%${zone}`;
}

function splitZone(host: string): [string, string | undefined] {
  const percent = host.indexOf("%");
  return percent < 0
    ? [host, undefined]
    : [host.slice(0, percent), host.slice(percent + 1)];
}

/** Whether a host is an IPv4 or IPv6 literal. */
export function isIp(hostname: string): boolean {
  return parseIpv4(hostname) !== undefined || parseIpv6(hostname) !== undefined;
}

/** Whether a host is an IPv6 literal. */
export function isIpv6(hostname: string): boolean {
  return hostname.includes(":");
}

/** Whether a literal is a group: 224.0.0.0/4 (RFC 5771) or ff00::/8 (RFC 4291, 2.7). */
export function isMulticast(hostname: string): boolean {
  const v4 = parseIpv4(hostname);
  if (v4) return v4[0]! >= 224 && v4[0]! <= 239;
  return parseIpv6(hostname)?.[0] === 0xff;
}

/** Whether a literal stays on this machine: 127.0.0.0/8, ::1 or their mapped form. */
export function isLoopback(hostname: string): boolean {
  const v4 = parseIpv4(hostname);
  if (v4) return v4[0] === 127;
  const v6 = parseIpv6(hostname);
  if (!v6) return hostname === "localhost";
  const zeros = v6.subarray(0, 10).every((byte) => byte === 0);
  if (zeros && v6[10] === 0xff && v6[11] === 0xff) return v6[12] === 127;
  return zeros && v6.subarray(10, 15).every((byte) => byte === 0) &&
    v6[15] === 1;
}

/**
 * Whether a literal means something on one link alone, so that sending to it
 * takes an interface: fe80::/10, groups of an interface or a link (RFC 4291, 2.7).
 */
export function isOfOneLink(hostname: string): boolean {
  const v6 = parseIpv6(hostname);
  if (!v6) return false;
  if (v6[0] === 0xff) return (v6[1]! & 0xf) === 1 || (v6[1]! & 0xf) === 2;
  return v6[0] === 0xfe && (v6[1]! & 0xc0) === 0x80;
}

/** Whether a literal means "every address of this machine". */
export function isUnspecified(hostname: string): boolean {
  return (parseIpv4(hostname) ?? parseIpv6(hostname))?.every((byte) =>
    byte === 0
  ) ?? false;
}

/** One spelling of an IP literal (RFC 5952), or undefined. */
export function canonicalIp(text: string): string | undefined {
  const v4 = parseIpv4(text);
  if (v4) return v4.join(".");
  const v6 = parseIpv6(text);
  return v6 && formatIpv6(v6);
}

/** The four bytes of a dotted IPv4 literal, or undefined. */
export function parseIpv4(text: string): Uint8Array | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    // No leading zeros: inet_aton reads them as octal, other parsers do not.
    if (!/^(0|[1-9]\d{0,2})$/.test(parts[i]!)) return undefined;
    const value = Number(parts[i]);
    if (value > 255) return undefined;
    bytes[i] = value;
  }
  return bytes;
}

/** The sixteen bytes of an IPv6 literal without a zone (RFC 4291, 2.2), or undefined. */
export function parseIpv6(text: string): Uint8Array | undefined {
  const halves = text.split("::");
  if (halves.length > 2 || !text.includes(":")) return undefined;
  const groups: number[][] = [];
  for (const [index, half] of halves.entries()) {
    const words: number[] = [];
    if (half !== "") {
      const parts = half.split(":");
      for (const [at, part] of parts.entries()) {
        const last = index === halves.length - 1 && at === parts.length - 1;
        if (last && part.includes(".")) {
          const v4 = parseIpv4(part);
          if (!v4) return undefined;
          words.push(v4[0]! << 8 | v4[1]!, v4[2]! << 8 | v4[3]!);
        } else if (/^[0-9A-Fa-f]{1,4}$/.test(part)) {
          words.push(parseInt(part, 16));
        } else return undefined;
      }
    }
    groups.push(words);
  }
  const [head, tail = []] = groups as [number[], number[]?];
  const missing = 8 - head.length - tail.length;
  // "::" stands for at least one group.
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const words = [...head, ...new Array<number>(missing).fill(0), ...tail];
  const bytes = new Uint8Array(16);
  for (const [i, word] of words.entries()) {
    bytes[2 * i] = word >> 8;
    bytes[2 * i + 1] = word & 0xff;
  }
  return bytes;
}

/** Canonical text of sixteen bytes (RFC 5952): lower case, longest run of zeros as `::`. */
export function formatIpv6(bytes: Uint8Array): string {
  const words = Array.from(
    { length: 8 },
    (_, i) => bytes[2 * i]! << 8 | bytes[2 * i + 1]!,
  );
  if (words.slice(0, 5).every((word) => word === 0) && words[5] === 0xffff) {
    return `::ffff:${bytes.subarray(12, 16).join(".")}`;
  }
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (words[end] === 0) end++;
    if (end - i > length) [start, length] = [i, end - i];
    if (end > i) i = end;
  }
  const hex = (part: number[]) =>
    part.map((word) => word.toString(16)).join(":");
  if (start < 0) return hex(words);
  return `${hex(words.slice(0, start))}::${hex(words.slice(start + length))}`;
}
