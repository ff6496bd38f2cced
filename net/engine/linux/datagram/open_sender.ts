/** Opens senders: socket options, the interface and address to send from, what can be joined. */
import {
  type Address,
  checkSendable,
  formatAddress,
  isIp,
  isIpv6,
  isMulticast,
  isOfOneLink,
} from "../../../address.ts";
import { UsageError } from "../../../errors.ts";
import type { DatagramConnectOptions, DatagramTarget } from "../../datagram.ts";
import { checkDestination } from "../../interfaces.ts";
import {
  AF_INET,
  AF_INET6,
  IP_MULTICAST_LOOP,
  IP_MULTICAST_TTL,
  IP_RECVERR,
  IP_TTL,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_UDP,
  IPV6_MULTICAST_HOPS,
  IPV6_MULTICAST_IF,
  IPV6_MULTICAST_LOOP,
  IPV6_RECVERR,
  IPV6_UNICAST_HOPS,
  SO_BINDTODEVICE,
  SO_BROADCAST,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
} from "../ffi/constants.ts";
import { SystemCallError } from "../ffi/errno.ts";
import type { Libc } from "../ffi/libc.ts";
import { encodeSockaddr } from "../ffi/sockaddr.ts";
import {
  bindSocket,
  closeDescriptor,
  connectSocket,
  interfaceAddress,
  localAddress,
  openSocket,
  readIntOption,
  setIntOption,
  setMulticastInterface,
  setOption,
} from "../ffi/socket.ts";
import { findLinuxInterface } from "../interfaces.ts";
import { cutsSegments, MAX_SEGMENTS, maxSegmentBytes } from "./path_limits.ts";
import { LinuxSender, type SenderContext } from "./sender.ts";

/** Bytes that may be on their way out of this machine before a send must wait. */
const SEND_BUFFER_BYTES = 4 * 1024 * 1024;

/** Refuses what no socket could do, before one is opened. */
export function checkConnectOptions({ address, ttl }: DatagramTarget): void {
  checkSendable(address);
  checkDestination(address);
  if (ttl !== undefined && (!Number.isInteger(ttl) || ttl < 0 || ttl > 255)) {
    throw new UsageError(`Cannot send with ttl ${ttl}: 0 to 255 is wanted`);
  }
  // A name tells only when it is resolved whether it is a group's.
  if (isIp(address.hostname)) checkTtl(address, address.hostname, ttl);
}

/** IP_TTL of 0 is no value that Linux takes; groups and IPv6 may stay on this machine. */
function checkTtl(
  address: Address,
  hostname: string,
  ttl: number | undefined,
): void {
  if (ttl === 0 && !isIpv6(hostname) && !isMulticast(hostname)) {
    throw new UsageError(
      `Cannot send to "${
        formatAddress(address)
      }" with ttl 0: 1 to 255 is wanted for a host`,
    );
  }
}

/** Opens a sender to one IP literal. */
export function openSender(
  context: SenderContext,
  options: DatagramConnectOptions,
  hostname: string,
): LinuxSender {
  const { libc } = context;
  const { address, networkInterface, loop, ttl } = options;
  const v6 = isIpv6(hostname);
  const group = isMulticast(hostname);
  const zone = address.zone === undefined
    ? undefined
    : findLinuxInterface(libc, address.zone);
  const on = zone ??
    (networkInterface === undefined
      ? undefined
      : findLinuxInterface(libc, networkInterface));
  checkTtl(address, hostname, ttl);
  const level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
  const fd = openSocket(
    libc,
    v6 ? AF_INET6 : AF_INET,
    SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
    IPPROTO_UDP,
  );
  try {
    setSendBuffer(libc, fd);
    if (!v6) setIntOption(libc, fd, SOL_SOCKET, SO_BROADCAST, 1);
    // Without it the kernel says nothing of what an interface's full queue drops.
    setIntOption(libc, fd, level, v6 ? IPV6_RECVERR : IP_RECVERR, 1);
    if (group) {
      if (on && v6) setIntOption(libc, fd, level, IPV6_MULTICAST_IF, on.index);
      else if (on) {
        setMulticastInterface(
          libc,
          fd,
          on.index,
          on.address !== undefined && !isIpv6(on.address)
            ? on.address
            : interfaceAddress(libc, fd, on.name),
        );
      }
      if (ttl !== undefined) {
        setIntOption(
          libc,
          fd,
          level,
          v6 ? IPV6_MULTICAST_HOPS : IP_MULTICAST_TTL,
          ttl,
        );
      }
      if (loop !== undefined) {
        setIntOption(
          libc,
          fd,
          level,
          v6 ? IPV6_MULTICAST_LOOP : IP_MULTICAST_LOOP,
          loop ? 1 : 0,
        );
      }
    } else {
      if (ttl !== undefined) {
        setIntOption(libc, fd, level, v6 ? IPV6_UNICAST_HOPS : IP_TTL, ttl);
      }
      if (on?.address !== undefined && isIpv6(on.address) === v6) {
        bindSocket(libc, fd, encodeSockaddr(on.address, 0, v6 ? on.index : 0));
      } else if (on && on !== zone) {
        setOption(
          libc,
          fd,
          SOL_SOCKET,
          SO_BINDTODEVICE,
          new TextEncoder().encode(on.name),
        );
      }
    }
    const scopeId = on === undefined && group && isOfOneLink(hostname)
      ? groupInterface(libc)
      : on?.index ?? 0;
    connectSocket(
      libc,
      fd,
      encodeSockaddr(hostname, address.port, v6 ? scopeId : 0),
    );
    const local = localAddress(libc, fd);
    return new LinuxSender(context, fd, options, {
      address: { ...address, hostname },
      path: `${local.hostname}%${local.scopeId || (on?.index ?? 0)}`,
      local: local.hostname === hostname || /^127\./.test(hostname),
    }, {
      maxSegments: cutsSegments(libc, fd) ? MAX_SEGMENTS : 1,
      maxSegmentBytes: maxSegmentBytes(libc, fd, v6),
    });
  } catch (error) {
    closeDescriptor(libc, fd);
    throw error;
  }
}

/**
 * The interface by which the system sends IPv6 groups where none is named. A
 * socket cannot be connected to a group of the link without one (EINVAL), but
 * to a wider group, and then its own address tells where it would send.
 */
function groupInterface(libc: Libc): number {
  const fd = openSocket(libc, AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
  try {
    connectSocket(libc, fd, encodeSockaddr("ff05::1", 9));
    const { hostname, scopeId } = localAddress(libc, fd);
    return scopeId || findLinuxInterface(libc, hostname).index;
  } finally {
    closeDescriptor(libc, fd);
  }
}

function setSendBuffer(libc: Libc, fd: number): void {
  setIntOption(libc, fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER_BYTES);
  if (readIntOption(libc, fd, SOL_SOCKET, SO_SNDBUF) / 2 < SEND_BUFFER_BYTES) {
    try {
      setIntOption(libc, fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES);
    } catch (error) {
      // EPERM: without CAP_NET_ADMIN the limit holds; sends wait a little more often.
      if (!(error instanceof SystemCallError)) throw error;
    }
  }
}
