/** Where a gateway listens and where its brokers are: `mqtt://`, `mqtts://`, `ws://`, `wss://`. Pure. */
import {
  type Address,
  formatAddress,
  isIp,
  parseAddress,
} from "../../address.ts";
import { UsageError } from "../../errors.ts";
import type { Scheme } from "./byte_stream.ts";

/** A place to listen at or to connect to. */
export interface Endpoint {
  readonly scheme: Scheme;
  readonly address: Address;
  /** Path of WebSocket; `/` for the others. */
  readonly path: string;
  /** What stands behind `?`, by name. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** The ports that a URL without one means (IANA: mqtt, secure-mqtt, http, https). */
const DEFAULT_PORTS: Readonly<Record<Scheme, number>> = {
  mqtt: 1883,
  mqtts: 8883,
  ws: 80,
  wss: 443,
};

/** What an endpoint may be. */
export interface ParseEndpointOptions {
  /** Names that may stand behind `?`. */
  parameters?: readonly string[];
  /** Whether port 0, "any free port", is meant and the host may be left out. */
  listens?: boolean;
}

/** Schemes of other clients and brokers, by what they are called here. */
const ALIASES: Readonly<Record<string, Scheme>> = {
  tcp: "mqtt",
  ssl: "mqtts",
  tls: "mqtts",
};

/**
 * Reads an endpoint, or throws a {@linkcode UsageError} that shows the text.
 * Without a scheme it is `mqtt://`; a listener may be a port alone.
 */
export function parseEndpoint(
  text: string,
  options: ParseEndpointOptions = {},
): Endpoint {
  const { parameters: known = [], listens = false } = options;
  const fail = (wanted: string): never => {
    throw new UsageError(`Cannot use "${text}" as a URL: ${wanted}`);
  };
  if (/^\d+$/.test(text) && !listens) {
    fail(`a port alone is not enough; use 127.0.0.1:${text}`);
  }
  const url = text.includes("://")
    ? text
    : `mqtt://${/^\d+$/.test(text) && listens ? ":" : ""}${text}`;
  const match = /^([a-z]+):\/\/([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/.exec(url);
  if (!match) {
    return fail("expected mqtt://HOST:PORT, mqtts://, ws:// or wss://");
  }
  const [, name, authority, path, query] = match;
  const scheme = Object.hasOwn(ALIASES, name!) ? ALIASES[name!]! : name!;
  if (!isScheme(scheme)) {
    return fail(
      `unknown scheme "${name}"; expected mqtt, mqtts, ws or wss (or tcp, ssl, tls)`,
    );
  }
  if (authority!.includes("@")) fail("a user name is not allowed in it");
  const hasPort = /^(\[.*\]|[^:[\]]*):\d*$/.test(authority!);
  const withPort = hasPort
    ? authority!
    : `${authority}:${DEFAULT_PORTS[scheme]}`;
  const address = parseAddress(withPort, {
    allowPortZero: listens,
    ...(listens ? { defaultHostname: "127.0.0.1" } : {}),
  });
  if (path !== undefined && path !== "/" && !isWebSocket(scheme)) {
    fail("only ws:// and wss:// have a path");
  }
  if (path !== undefined && !/^[\x21-\x7e]*$/.test(path)) {
    fail("the path must be written in ASCII, other characters as %XX");
  }
  const parameters = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query ?? "")) {
    if (!known.includes(name)) {
      fail(
        known.length === 0
          ? `"${name}" has no place in it`
          : `"${name}" is none of ${known.join(", ")}`,
      );
    }
    parameters.set(name, value);
  }
  return { scheme, address, path: path ?? "/", parameters };
}

/** The text of an endpoint, without what stands behind `?`. */
export function formatEndpoint(
  endpoint: Pick<Endpoint, "scheme" | "address" | "path">,
): string {
  const { scheme, address, path } = endpoint;
  return `${scheme}://${formatAddress(address)}${path === "/" ? "" : path}`;
}

/** The `Host` of a request to an endpoint (RFC 9110, 7.2). */
export function hostHeader(endpoint: Endpoint): string {
  const { scheme, address } = endpoint;
  const text = formatAddress(
    { hostname: address.hostname, port: address.port },
  );
  return address.port === DEFAULT_PORTS[scheme]
    ? text.slice(0, text.lastIndexOf(":"))
    : text;
}

/** Whether connections to a target would come to a listener: on this machine, at its port. */
export function reaches(target: Endpoint, listener: Endpoint): boolean {
  const from = target.address;
  const to = listener.address;
  if (from.port !== to.port || to.port === 0) return false;
  if (from.hostname === to.hostname) return from.zone === to.zone;
  const isAny = ["0.0.0.0", "::"].includes(to.hostname);
  return isLoopback(from.hostname) && (isAny || isLoopback(to.hostname)) &&
    (isAny || from.hostname === "localhost" || to.hostname === "localhost");
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "::1" ||
    hostname.startsWith("127.") && isIp(hostname);
}

/** The host as the system resolves it: with the zone of a link-local address. */
export function systemHost(address: Address): string {
  const { hostname, zone } = address;
  return zone === undefined ? hostname : `${hostname}%${zone}`;
}

/** Whether an endpoint carries TLS. */
export function isSecure(scheme: Scheme): boolean {
  return scheme === "mqtts" || scheme === "wss";
}

/** Whether an endpoint speaks WebSocket. */
export function isWebSocket(scheme: Scheme): boolean {
  return scheme === "ws" || scheme === "wss";
}

function isScheme(text: string): text is Scheme {
  return Object.hasOwn(DEFAULT_PORTS, text);
}
