/** What the system takes in one message to a path, as it can be asked. */
import {
  IP_MTU,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_MTU,
  SOL_UDP,
  UDP_SEGMENT,
} from "../ffi/constants.ts";
import { SystemCallError } from "../ffi/errno.ts";
import type { Libc } from "../ffi/libc.ts";
import { readIntOption, setIntOption } from "../ffi/socket.ts";

/** UDP_MAX_SEGMENTS: 128 since Linux 6.9, before that 64. */
export const MAX_SEGMENTS = 128;
export const OLDER_MAX_SEGMENTS = 64;

/** Headers of IPv4 or IPv6 without options, and of UDP. */
const IPV4_HEADERS = 20 + 8;
const IPV6_HEADERS = 40 + 8;

/** Bytes of a datagram that the path takes in one packet: a segment is never fragmented. */
export function maxSegmentBytes(libc: Libc, fd: number, v6: boolean): number {
  const mtu = v6
    ? readIntOption(libc, fd, IPPROTO_IPV6, IPV6_MTU)
    : readIntOption(libc, fd, IPPROTO_IP, IP_MTU);
  return mtu - (v6 ? IPV6_HEADERS : IPV4_HEADERS);
}

/** Whether the kernel knows UDP_SEGMENT (Linux 4.18): 0 leaves it off for sends that do not ask. */
export function cutsSegments(libc: Libc, fd: number): boolean {
  try {
    setIntOption(libc, fd, SOL_UDP, UDP_SEGMENT, 0);
    return true;
  } catch (error) {
    if (error instanceof SystemCallError) return false;
    throw error;
  }
}
