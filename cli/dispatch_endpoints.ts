/** `--listen` and `--to`: one spelling at every dispatch role, beside the names of the original. */
import { type Address, formatAddress, parseAddress } from "../net/address.ts";
import { UsageError } from "../net/errors.ts";
import { list, type Option } from "./command.ts";

/** How an endpoint speaks. */
export type EndpointScheme = "udp" | "tcp" | "tls";

/** What `--listen` or `--to` names. */
export interface Endpoint {
  /** `udp` where none is given. */
  scheme: EndpointScheme;
  /** Host and port. */
  address: Address;
}

const SCHEME = /^([a-z][a-z0-9+.-]*):\/\//i;

/** Reads `udp://host:port`, `tcp://host:port`, `host:port` or `:port`; throws a UsageError. */
export function readEndpoint(
  text: string,
  defaultHostname: string,
  allowPortZero: (scheme: EndpointScheme) => boolean,
): Endpoint {
  const match = SCHEME.exec(text);
  const scheme = match?.[1]?.toLowerCase() ?? "udp";
  if (scheme !== "udp" && scheme !== "tcp" && scheme !== "tls") {
    throw new UsageError(
      `"${text}" has an unknown scheme; expected udp://, tcp:// or tls://`,
    );
  }
  const rest = match ? text.slice(match[0].length) : text;
  const address = parseAddress(rest, {
    defaultHostname,
    allowPortZero: allowPortZero(scheme),
  });
  return { scheme, address };
}

/** `--listen`. */
export function listenOption(help: string): Option<Endpoint[]> {
  return list(
    help,
    "[SCHEME://]HOST:PORT",
    (text) => readEndpoint(text, "0.0.0.0", () => true),
  );
}

/** `--to`. */
export function toOption(help: string): Option<Endpoint[]> {
  return list(
    help,
    "[SCHEME://]HOST:PORT",
    (text) => readEndpoint(text, "127.0.0.1", (scheme) => scheme !== "udp"),
  );
}

/**
 * The addresses of one scheme. Throws a UsageError for an endpoint of a scheme
 * that the role does not speak, with what to use in its place.
 */
export function addressesOf(
  endpoints: readonly Endpoint[],
  scheme: EndpointScheme,
  unsupported: Partial<Record<EndpointScheme, string>> = {},
): Address[] {
  for (const one of endpoints) {
    const hint = unsupported[one.scheme];
    if (hint === undefined) continue;
    throw new UsageError(
      `cannot use "${one.scheme}://${formatAddress(one.address)}": ${hint}`,
    );
  }
  return endpoints.filter((one) => one.scheme === scheme)
    .map(({ address }) => address);
}
