/**
 * Sockets within a specification: `name:port`, `ipv4:port`, `[ipv6]:port`, or a
 * port of 127.0.0.1; and what is wrong with a text that is none. Pure.
 */
import {
  type Address,
  canonicalIp,
  isHostName,
  parseIpv4,
  parseIpv6,
} from "../../../address.ts";

/** A socket that was read. */
export interface ReadSocket {
  readonly address: Address;
  /** Index after it. */
  readonly end: number;
}

/** Where a text is wrong. */
export interface Diagnosis {
  /** Index into the text. */
  readonly offset: number;
  /** What is wrong there, or what was expected. */
  readonly wanted: string;
}

const NAME = /[A-Za-z0-9._-]+/y;
const IPV4 = /\d+\.\d+\.\d+\.\d+(?![A-Za-z0-9._-])/y;
const IPV6 = /\[([0-9A-Fa-f:.]*)(?:%([^\]]+))?\]/y;
const DIGITS = /\d+/y;

function match(pattern: RegExp, text: string, at: number) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/** A socket at an index, or undefined where none starts there. */
export function readSocket(text: string, at: number): ReadSocket | undefined {
  const host = readHost(text, at);
  if (host && text[host.end] === ":") {
    const port = readPort(text, host.end + 1);
    if (port) {
      const { hostname, zone } = host;
      return {
        address: {
          hostname,
          port: port.port,
          ...(zone === undefined ? {} : { zone }),
        },
        end: port.end,
      };
    }
  }
  const port = readPort(text, at);
  return port && {
    address: { hostname: "127.0.0.1", port: port.port },
    end: port.end,
  };
}

function readHost(
  text: string,
  at: number,
): { hostname: string; zone?: string; end: number } | undefined {
  const v4 = match(IPV4, text, at)?.[0];
  if (v4 !== undefined) {
    // Leading zeros are refused: some resolvers read them as octal.
    return parseIpv4(v4) && { hostname: v4, end: at + v4.length };
  }
  const name = match(NAME, text, at)?.[0];
  if (name !== undefined) {
    return isHostName(name)
      ? { hostname: name, end: at + name.length }
      : undefined;
  }
  const v6 = match(IPV6, text, at);
  const hostname = v6?.[1] && parseIpv6(v6[1]) && canonicalIp(v6[1]);
  if (!v6 || !hostname) return undefined;
  const zone = v6[2];
  return {
    hostname,
    ...(zone === undefined ? {} : { zone }),
    end: at + v6[0].length,
  };
}

function readPort(
  text: string,
  at: number,
): { port: number; end: number } | undefined {
  const digits = match(DIGITS, text, at)?.[0];
  if (digits === undefined || Number(digits) > 65535) return undefined;
  return { port: Number(digits), end: at + digits.length };
}

/**
 * What is wrong with the socket at an index that could not be read, or not as
 * far as `follower`, the character that should come after it.
 */
export function diagnoseSocket(
  text: string,
  at: number,
  follower?: string,
): Diagnosis {
  const bad = (offset: number, wanted: string) => ({ offset, wanted });
  const space = text.indexOf(" ", at);
  const stop = text.slice(at).search(/[=,]/);
  const end = stop < 0 ? text.length : at + stop;
  if (space >= 0 && space < end) return bad(space, "unexpected space");
  if (text[at] === "[") return diagnoseBrackets(text, at, follower);
  // A "[" further on opens the options.
  const bracket = text.indexOf("[", at);
  const token = text.slice(at, bracket >= 0 && bracket < end ? bracket : end);
  const colon = token.indexOf(":");
  if (token === "") return bad(at, "expected a port or host:port");
  if (/^\d+$/.test(token)) return diagnosePort(text, at, follower);
  if (colon < 0) {
    if (readHost(text, at)?.end === at + token.length) {
      return bad(at + token.length, "expected a port, such as :3000");
    }
    return diagnoseHost(token, at);
  }
  if (token.indexOf(":", colon + 1) >= 0) {
    return bad(at, "an IPv6 address requires brackets, such as [::1]:3000");
  }
  const [host, rest] = [token.slice(0, colon), token.slice(colon + 1)];
  if (host === "") {
    return bad(
      at,
      `missing host before ":"; use ${rest} for 127.0.0.1, or 0.0.0.0:${rest} for every address`,
    );
  }
  if (follower === "=" && /^\d+$/.test(host)) {
    return bad(
      at + colon,
      `expected "=" between the port and its remote, such as ${host}=${rest}`,
    );
  }
  if (readHost(text, at)?.end !== at + colon) return diagnoseHost(host, at);
  return diagnosePort(text, at + colon + 1, follower);
}

function diagnoseBrackets(
  text: string,
  at: number,
  follower: string | undefined,
): Diagnosis {
  const close = text.indexOf("]", at);
  if (close < 0) return { offset: at, wanted: 'missing "]" of this "["' };
  if (!match(IPV6, text, at) || !readHost(text, at)) {
    return { offset: at + 1, wanted: "invalid IPv6 address" };
  }
  if (text[close + 1] !== ":") {
    return {
      offset: close + 1,
      wanted: "expected a port, such as [::1]:3000",
    };
  }
  return diagnosePort(text, close + 2, follower);
}

function diagnoseHost(host: string, at: number): Diagnosis {
  const bad = (offset: number, wanted: string) => ({ offset, wanted });
  if (host === "*") {
    return bad(
      at,
      '"*" is not an address; use 0.0.0.0 or [::] for every address',
    );
  }
  if (/^\d+$/.test(host)) return bad(at, "a host name is not a number");
  if (/^[\d.]+$/.test(host)) return bad(at, "invalid IPv4 address");
  const odd = host.search(/[^A-Za-z0-9._-]/);
  if (odd >= 0) return bad(at + odd, "unexpected character in a host name");
  const empty = host.startsWith(".") ? 0 : host.indexOf("..") + 1;
  if (empty > 0 || host.startsWith(".")) {
    return bad(at + empty, "empty label in a host name");
  }
  const before = host.search(/(^|\.)-/);
  if (before >= 0) {
    return bad(
      at + before + (host[before] === "." ? 1 : 0),
      'a label of a host name does not start with "-"',
    );
  }
  const after = host.search(/-(\.|$)/);
  if (after >= 0) {
    return bad(at + after, 'a label of a host name does not end with "-"');
  }
  return bad(
    at,
    "a host name has at most 253 characters, each of its labels at most 63",
  );
}

function diagnosePort(text: string, at: number, follower?: string): Diagnosis {
  const digits = match(DIGITS, text, at)?.[0] ?? "";
  if (digits === "") return { offset: at, wanted: "expected a port number" };
  if (Number(digits) > 65535) {
    return { offset: at, wanted: "a port must be at most 65535" };
  }
  const end = at + digits.length;
  return {
    offset: end,
    wanted: follower === "="
      ? 'expected "=" and a remote'
      : follower === ","
      ? 'expected "," and a remote, or options in "[" and "]"'
      : "unexpected characters after the port",
  };
}
