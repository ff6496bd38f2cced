/**
 * The PROXY protocol's binary header (version 2), sent ahead of everything
 * else so that a broker sees the client's address and not the gateway's.
 * https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.2. Pure.
 */
import { type Address, parseIpv4, parseIpv6 } from "../../address.ts";

const SIGNATURE = [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10];

/** Version 2, command PROXY. */
const VERSION_AND_COMMAND = 0x21;
const TCP_OVER_IPV4 = 0x11;
const TCP_OVER_IPV6 = 0x21;

/** TLVs of TLS (2.2.6). */
const PP2_TYPE_SSL = 0x20;
const PP2_SUBTYPE_SSL_CN = 0x22;
const PP2_CLIENT_SSL = 0x01;
const PP2_CLIENT_CERT_CONN = 0x02;
const PP2_CLIENT_CERT_SESS = 0x04;

/** What a broker may know about a client. */
export interface ProxyHeaderOptions {
  /** The client. */
  source: Address;
  /** Where it connected to. */
  destination: Address;
  /** Whether it came over TLS. */
  secure: boolean;
  /** Common name of its verified certificate. */
  commonName?: string | undefined;
}

/** The header of a connection. */
export function proxyHeader(
  options: ProxyHeaderOptions,
): Uint8Array<ArrayBuffer> {
  const { source, destination, secure, commonName } = options;
  const from4 = parseIpv4(source.hostname);
  const to4 = parseIpv4(destination.hostname);
  const addresses = from4 && to4
    ? [...from4, ...to4]
    : [...asIpv6(source.hostname), ...asIpv6(destination.hostname)];
  const tlvs = secure ? sslTlv(commonName) : [];
  const body = [
    ...addresses,
    ...bigEndian16(source.port),
    ...bigEndian16(destination.port),
    ...tlvs,
  ];
  return Uint8Array.from([
    ...SIGNATURE,
    VERSION_AND_COMMAND,
    from4 && to4 ? TCP_OVER_IPV4 : TCP_OVER_IPV6,
    ...bigEndian16(body.length),
    ...body,
  ]);
}

function sslTlv(commonName: string | undefined): number[] {
  const name = commonName
    ? [...new TextEncoder().encode(commonName)].slice(0, 1024)
    : [];
  const names = name.length > 0
    ? [PP2_SUBTYPE_SSL_CN, ...bigEndian16(name.length), ...name]
    : [];
  const client = PP2_CLIENT_SSL |
    (name.length > 0 ? PP2_CLIENT_CERT_CONN | PP2_CLIENT_CERT_SESS : 0);
  // verify: zero where a certificate was presented and verified.
  const verify = [0, 0, 0, name.length > 0 ? 0 : 1];
  const value = [client, ...verify, ...names];
  return [PP2_TYPE_SSL, ...bigEndian16(value.length), ...value];
}

function asIpv6(hostname: string): Uint8Array {
  const v4 = parseIpv4(hostname);
  if (v4) {
    const mapped = new Uint8Array(16);
    mapped.set([0xff, 0xff, ...v4], 10);
    return mapped;
  }
  return parseIpv6(hostname) ?? new Uint8Array(16);
}

function bigEndian16(value: number): [number, number] {
  return [value >> 8 & 0xff, value & 0xff];
}
