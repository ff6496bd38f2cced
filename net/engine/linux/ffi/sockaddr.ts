/** Socket addresses between their text and `struct sockaddr_in`, `sockaddr_in6`. */
import { formatIpv6, parseIpv4, parseIpv6 } from "../../../address.ts";
import { AF_INET, AF_INET6 } from "./constants.ts";
import { sockaddrIn, sockaddrIn6 } from "./structs.ts";

/** Room for either struct. */
export const SOCKADDR_BYTES: number = sockaddrIn6.size;

/** What a struct says. */
export interface SocketAddress {
  /** IP literal in its canonical form, without a zone. */
  readonly hostname: string;
  readonly port: number;
  /** Index of the interface of an IPv6 address that needs one, or 0. */
  readonly scopeId: number;
}

/** The struct of an IP literal. */
export function encodeSockaddr(
  hostname: string,
  port: number,
  scopeId = 0,
): Uint8Array<ArrayBuffer> {
  const v4 = parseIpv4(hostname);
  const v6 = v4 ? undefined : parseIpv6(hostname);
  if (v4) {
    const { size, at } = sockaddrIn;
    const bytes = new Uint8Array(new ArrayBuffer(size));
    const view = new DataView(bytes.buffer);
    view.setUint16(at.sinFamily, AF_INET, true);
    view.setUint16(at.sinPort, port, false);
    bytes.set(v4, at.sinAddr);
    return bytes;
  }
  if (!v6) throw new TypeError(`"${hostname}" is not an IP address`);
  const { size, at } = sockaddrIn6;
  const bytes = new Uint8Array(new ArrayBuffer(size));
  const view = new DataView(bytes.buffer);
  view.setUint16(at.sin6Family, AF_INET6, true);
  view.setUint16(at.sin6Port, port, false);
  bytes.set(v6, at.sin6Addr);
  view.setUint32(at.sin6ScopeId, scopeId, true);
  return bytes;
}

/** What a struct at `offset` says. */
export function decodeSockaddr(bytes: Uint8Array, offset = 0): SocketAddress {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset);
  const family = view.getUint16(0, true);
  if (family === AF_INET) {
    const { at } = sockaddrIn;
    const from = offset + at.sinAddr;
    return {
      hostname: bytes.subarray(from, from + 4).join("."),
      port: view.getUint16(at.sinPort, false),
      scopeId: 0,
    };
  }
  if (family !== AF_INET6) {
    throw new TypeError(`${family} is not an address family of IP`);
  }
  const { at } = sockaddrIn6;
  const from = offset + at.sin6Addr;
  return {
    hostname: formatIpv6(bytes.subarray(from, from + 16)),
    port: view.getUint16(at.sin6Port, false),
    scopeId: view.getUint32(at.sin6ScopeId, true),
  };
}
