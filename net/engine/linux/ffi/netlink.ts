/** rtnetlink(7): routes as the kernel answers, and notices of what has changed. */
import { parseIpv4, parseIpv6 } from "../../../address.ts";
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  EAGAIN,
  EINTR,
  MSG_DONTWAIT,
  NETLINK_ROUTE,
  NLM_F_REQUEST,
  NLMSG_ERROR,
  RTA_DST,
  RTA_OIF,
  RTM_GETROUTE,
  RTM_NEWROUTE,
  RTMGRP_IPV4_IFADDR,
  RTMGRP_IPV4_ROUTE,
  RTMGRP_IPV6_IFADDR,
  RTMGRP_IPV6_ROUTE,
  RTMGRP_LINK,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_RAW,
} from "./constants.ts";
import { SystemCallError } from "./errno.ts";
import type { Libc } from "./libc.ts";
import { bindSocket, closeDescriptor, openSocket } from "./socket.ts";
import { nlmsgerr, nlmsghdr, rtattr, rtmsg, sockaddrNl } from "./structs.ts";

/** What changes the way of a datagram. */
const CHANGES = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE |
  RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE;

/** Room for one read: NLMSG_GOODSIZE is a page. */
const READ_BYTES = 8192;

/** A socket that becomes readable when interfaces, addresses or routes change. */
export function openNetworkNotices(libc: Libc): number {
  return openNetlink(libc, CHANGES);
}

/**
 * Reads all notices. Whether there were any; lost ones (ENOBUFS) are too, as
 * what has changed is asked for afterwards.
 */
export function takeNetworkNotices(libc: Libc, fd: number): boolean {
  const buffer = new Uint8Array(new ArrayBuffer(READ_BYTES));
  let any = false;
  for (;;) {
    const bytes = libc.symbols.recvPart(
      fd,
      buffer,
      BigInt(READ_BYTES),
      MSG_DONTWAIT,
    );
    if (bytes < 0) {
      const errno = libc.errno();
      if (errno === EAGAIN) return any;
      if (errno === EINTR) continue;
    }
    any = true;
    if (bytes === 0) return any;
  }
}

/** Index of the interface by which the kernel sends to an IP literal; throws a SystemCallError. */
export function routeInterface(libc: Libc, hostname: string): number {
  const fd = openNetlink(libc, 0);
  try {
    const request = routeRequest(hostname);
    const sent = libc.symbols.sendPart(
      fd,
      request,
      BigInt(request.length),
      0,
    );
    if (sent < 0) throw new SystemCallError("send", libc.errno());
    // The kernel answers within the send.
    const answer = new Uint8Array(new ArrayBuffer(READ_BYTES));
    const bytes = libc.symbols.recvPart(
      fd,
      answer,
      BigInt(READ_BYTES),
      MSG_DONTWAIT,
    );
    if (bytes < 0) throw new SystemCallError("recv", libc.errno());
    return readRoute(answer.subarray(0, bytes));
  } finally {
    closeDescriptor(libc, fd);
  }
}

/** RTM_GETROUTE for one destination. */
export function routeRequest(hostname: string): Uint8Array<ArrayBuffer> {
  const v4 = parseIpv4(hostname);
  const address = v4 ?? parseIpv6(hostname)!;
  const attributeAt = nlmsghdr.size + rtmsg.size;
  const bytes = new Uint8Array(
    new ArrayBuffer(attributeAt + rtattr.size + address.length),
  );
  const view = new DataView(bytes.buffer);
  view.setUint32(nlmsghdr.at.nlmsgLen, bytes.length, true);
  view.setUint16(nlmsghdr.at.nlmsgType, RTM_GETROUTE, true);
  view.setUint16(nlmsghdr.at.nlmsgFlags, NLM_F_REQUEST, true);
  bytes[nlmsghdr.size + rtmsg.at.rtmFamily] = v4 ? AF_INET : AF_INET6;
  bytes[nlmsghdr.size + rtmsg.at.rtmDstLen] = address.length * 8;
  view.setUint16(
    attributeAt + rtattr.at.rtaLen,
    rtattr.size + address.length,
    true,
  );
  view.setUint16(attributeAt + rtattr.at.rtaType, RTA_DST, true);
  bytes.set(address, attributeAt + rtattr.size);
  return bytes;
}

/** RTA_OIF of an RTM_NEWROUTE, 0 where it has none; throws a SystemCallError for an NLMSG_ERROR. */
export function readRoute(bytes: Uint8Array<ArrayBuffer>): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const type = view.getUint16(nlmsghdr.at.nlmsgType, true);
  if (type === NLMSG_ERROR) {
    const errno = -view.getInt32(nlmsghdr.size + nlmsgerr.at.error, true);
    throw new SystemCallError("RTM_GETROUTE", errno);
  }
  if (type !== RTM_NEWROUTE) return 0;
  const end = Math.min(
    bytes.length,
    view.getUint32(nlmsghdr.at.nlmsgLen, true),
  );
  let at = nlmsghdr.size + rtmsg.size;
  while (at + rtattr.size <= end) {
    const length = view.getUint16(at + rtattr.at.rtaLen, true);
    if (length < rtattr.size) return 0;
    if (view.getUint16(at + rtattr.at.rtaType, true) === RTA_OIF) {
      return view.getUint32(at + rtattr.size, true);
    }
    // RTA_ALIGNTO is 4.
    at += (length + 3) & ~3;
  }
  return 0;
}

function openNetlink(libc: Libc, groups: number): number {
  const fd = openSocket(
    libc,
    AF_NETLINK,
    SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC,
    NETLINK_ROUTE,
  );
  try {
    const address = new Uint8Array(new ArrayBuffer(sockaddrNl.size));
    const view = new DataView(address.buffer);
    view.setUint16(sockaddrNl.at.nlFamily, AF_NETLINK, true);
    view.setUint32(sockaddrNl.at.nlGroups, groups, true);
    bindSocket(libc, fd, address);
  } catch (error) {
    closeDescriptor(libc, fd);
    throw error;
  }
  return fd;
}
