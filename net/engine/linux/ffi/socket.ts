/** Sockets: open, bind, connect, options, groups. Each throws a SystemCallError. */
import { parseIpv4 } from "../../../address.ts";
import {
  AF_INET6,
  EFD_CLOEXEC,
  EFD_NONBLOCK,
  IF_NAMESIZE,
  IP_MULTICAST_IF,
  IPPROTO_IP,
  IPPROTO_IPV6,
  MCAST_JOIN_GROUP,
  MCAST_JOIN_SOURCE_GROUP,
  SIOCGIFADDR,
} from "./constants.ts";
import { checked } from "./errno.ts";
import type { Libc } from "./libc.ts";
import {
  decodeSockaddr,
  SOCKADDR_BYTES,
  type SocketAddress,
} from "./sockaddr.ts";
import { groupReq, groupSourceReq, ifreq, ipMreqn } from "./structs.ts";

/** socket(2). */
export function openSocket(
  libc: Libc,
  family: number,
  type: number,
  protocol: number,
): number {
  return checked(
    "socket",
    libc.symbols.socket(family, type, protocol),
    libc,
  );
}

/** close(2); what it says is of no use to anybody. */
export function closeDescriptor(libc: Libc, fd: number): void {
  libc.symbols.close(fd);
}

/** bind(2). */
export function bindSocket(
  libc: Libc,
  fd: number,
  address: Uint8Array<ArrayBuffer>,
): void {
  checked("bind", libc.symbols.bind(fd, address, address.length), libc);
}

/** connect(2). */
export function connectSocket(
  libc: Libc,
  fd: number,
  address: Uint8Array<ArrayBuffer>,
): void {
  checked("connect", libc.symbols.connect(fd, address, address.length), libc);
}

/** getsockname(2). */
export function localAddress(libc: Libc, fd: number): SocketAddress {
  const address = new Uint8Array(new ArrayBuffer(SOCKADDR_BYTES));
  const length = new Uint32Array([SOCKADDR_BYTES]);
  checked("getsockname", libc.symbols.getsockname(fd, address, length), libc);
  return decodeSockaddr(address);
}

/** setsockopt(2) with bytes. */
export function setOption(
  libc: Libc,
  fd: number,
  level: number,
  option: number,
  value: Uint8Array<ArrayBuffer> | Int32Array<ArrayBuffer>,
): void {
  checked(
    "setsockopt",
    libc.symbols.setsockopt(fd, level, option, value, value.byteLength),
    libc,
  );
}

/** setsockopt(2) with an int. */
export function setIntOption(
  libc: Libc,
  fd: number,
  level: number,
  option: number,
  value: number,
): void {
  setOption(libc, fd, level, option, Int32Array.of(value));
}

/** getsockopt(2) of 32-bit words; fills `words` and gives the number filled. */
export function readOption(
  libc: Libc,
  fd: number,
  level: number,
  option: number,
  words: Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>,
): number {
  const length = Uint32Array.of(words.byteLength);
  checked(
    "getsockopt",
    libc.symbols.getsockopt(fd, level, option, words, length),
    libc,
  );
  return length[0]! / 4;
}

/** getsockopt(2) of an int. */
export function readIntOption(
  libc: Libc,
  fd: number,
  level: number,
  option: number,
): number {
  const value = new Int32Array(1);
  readOption(libc, fd, level, option, value);
  return value[0]!;
}

/** Joins a group on an interface; index 0 leaves the choice to the routing table. */
export function joinGroup(
  libc: Libc,
  fd: number,
  family: number,
  interfaceIndex: number,
  group: Uint8Array<ArrayBuffer>,
  source?: Uint8Array<ArrayBuffer>,
): void {
  const level = family === AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
  const struct = source ? groupSourceReq : groupReq;
  const request = new Uint8Array(new ArrayBuffer(struct.size));
  // The interface's index stands first in both structs.
  new DataView(request.buffer).setUint32(0, interfaceIndex, true);
  if (source) {
    request.set(group, groupSourceReq.at.gsrGroup);
    request.set(source, groupSourceReq.at.gsrSource);
    setOption(libc, fd, level, MCAST_JOIN_SOURCE_GROUP, request);
  } else {
    request.set(group, groupReq.at.grGroup);
    setOption(libc, fd, level, MCAST_JOIN_GROUP, request);
  }
}

/**
 * Sends IPv4 multicast from an interface and from an address of it. Left to
 * itself the kernel takes no address that is valid on this host alone, and so
 * sends what leaves by `lo` from an address of another interface.
 */
export function setMulticastInterface(
  libc: Libc,
  fd: number,
  index: number,
  address: string | undefined,
): void {
  const request = new Uint8Array(new ArrayBuffer(ipMreqn.size));
  new DataView(request.buffer).setInt32(ipMreqn.at.imrIfindex, index, true);
  if (address !== undefined) {
    request.set(parseIpv4(address)!, ipMreqn.at.imrAddress);
  }
  setOption(libc, fd, IPPROTO_IP, IP_MULTICAST_IF, request);
}

/** The first IPv4 address of an interface, or undefined; `fd` is any IPv4 socket. */
export function interfaceAddress(
  libc: Libc,
  fd: number,
  name: string,
): string | undefined {
  const request = new Uint8Array(new ArrayBuffer(ifreq.size));
  request.set(new TextEncoder().encode(name), ifreq.at.ifrName);
  if (libc.symbols.ioctl(fd, BigInt(SIOCGIFADDR), request) < 0) {
    return undefined;
  }
  return decodeSockaddr(request, ifreq.at.ifrAddr).hostname;
}

/** if_nametoindex(3), or 0. */
export function interfaceIndex(libc: Libc, name: string): number {
  const bytes = new TextEncoder().encode(name);
  if (bytes.length === 0 || bytes.length >= IF_NAMESIZE) return 0;
  const text = new Uint8Array(new ArrayBuffer(IF_NAMESIZE));
  text.set(bytes);
  return libc.symbols.if_nametoindex(text);
}

/** if_indextoname(3), or undefined. */
export function interfaceName(libc: Libc, index: number): string | undefined {
  const text = new Uint8Array(new ArrayBuffer(IF_NAMESIZE));
  if (libc.symbols.if_indextoname(index, text) === null) return undefined;
  return new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
}

/** eventfd(2): starts at 0, is never waited for. */
export function openEvent(libc: Libc): number {
  return checked(
    "eventfd",
    libc.symbols.eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
    libc,
  );
}

/** Adds one to an event. A full counter (EAGAIN) is an event that is set. */
export function signalEvent(libc: Libc, fd: number): void {
  libc.symbols.write(fd, BigUint64Array.of(1n), 8n);
}

/** Sets an event back to 0. One that is 0 already (EAGAIN) stays so. */
export function clearEvent(libc: Libc, fd: number): void {
  libc.symbols.read(fd, new BigUint64Array(1), 8n);
}
