/** Opens listeners: socket options, the address to bind, joins, how drops are counted. */
import {
  type Address,
  formatAddress,
  isIp,
  isIpv6,
  isMulticast,
  isUnspecified,
} from "../../../address.ts";
import { UsageError } from "../../../errors.ts";
import type { DatagramListenOptions } from "../../datagram.ts";
import { ArrivalCount } from "./arrivals.ts";
import {
  AF_INET,
  AF_INET6,
  EADDRNOTAVAIL,
  EPERM,
  IP_MULTICAST_ALL,
  IP_MULTICAST_LOOP,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_UDP,
  IPV6_MULTICAST_ALL,
  IPV6_MULTICAST_LOOP,
  IPV6_V6ONLY,
  SK_MEMINFO_DROPS,
  SK_MEMINFO_VARS,
  SO_BROADCAST,
  SO_MEMINFO,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_RXQ_OVFL,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
  SOL_UDP,
  UDP_GRO,
} from "../ffi/constants.ts";
import { SystemCallError } from "../ffi/errno.ts";
import type { Libc } from "../ffi/libc.ts";
import { routeInterface } from "../ffi/netlink.ts";
import { encodeSockaddr } from "../ffi/sockaddr.ts";
import {
  bindSocket,
  closeDescriptor,
  joinGroup,
  localAddress,
  openSocket,
  readIntOption,
  readOption,
  setIntOption,
} from "../ffi/socket.ts";
import { findLinuxInterface, type LinuxInterface } from "../interfaces.ts";
import {
  type DropCounting,
  LinuxListener,
  type ListenerContext,
} from "./listener.ts";

/**
 * When reads are joined (UDP_GRO): `counted` where the kernel lets us count
 * the datagrams of reads that it drops, `always` with a drop count that takes
 * each such read for one datagram, or `never`.
 */
export type JoinReads = "counted" | "always" | "never";

/**
 * Bytes of the kernel's receive queue where nobody asks for another size; the
 * kernel's own 208 KiB hold 93 datagrams of 1400 bytes. Less where
 * net.core.rmem_max is less.
 */
export const DEFAULT_RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024;

/** What the engine gives to open a listener. */
export interface OpenListenerContext extends ListenerContext {
  readonly joinReads: JoinReads;
}

/** Refuses what no socket could do, before one is opened. */
export function checkListenOptions(options: DatagramListenOptions): void {
  const { address, groups = [], reusePort } = options;
  const all = [address, ...groups];
  const refuse = (one: Address, reason: string): never => {
    throw new UsageError(
      `Cannot listen on "${formatAddress(one)}": ${reason}`,
    );
  };
  for (const group of groups) {
    if (!isMulticast(group.hostname)) refuse(group, "it is not a group");
    if (group.port !== address.port) {
      refuse(group, `its port must be ${address.port}, as that of the others`);
    }
  }
  for (const one of all) {
    if (one.source !== undefined && !isMulticast(one.hostname)) {
      refuse(one, "a source before @ wants a multicast group after it");
    }
    if (reusePort && isMulticast(one.hostname)) {
      refuse(
        one,
        "listeners that share a port each get a copy of what a group gets; use one listener",
      );
    }
  }
  if (
    groups.length > 0 && !isMulticast(address.hostname) &&
    !isUnspecified(address.hostname)
  ) {
    refuse(address, "beside groups it must be a group, 0.0.0.0 or [::]");
  }
}

/**
 * Where the kernel would bind and join now: the number of each group's
 * interface. Throws where an interface, a route or the address is missing.
 */
export function listenPlacement(
  libc: Libc,
  { address, groups = [], networkInterface }: DatagramListenOptions,
): string {
  return [address, ...groups].map(({ hostname, zone }) => {
    const group = isMulticast(hostname);
    const on = zone ?? (group ? networkInterface : undefined);
    if (on !== undefined) return findLinuxInterface(libc, on).index;
    if (group) return routeInterface(libc, hostname);
    if (isIp(hostname) && !isUnspecified(hostname)) {
      checkLocal(libc, hostname);
    }
    return 0;
  }).join(",");
}

/** Throws a SystemCallError where an address cannot be bound now. */
function checkLocal(libc: Libc, hostname: string): void {
  const family = isIpv6(hostname) ? AF_INET6 : AF_INET;
  const fd = openSocket(libc, family, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
  try {
    bindSocket(libc, fd, encodeSockaddr(hostname, 0));
  } finally {
    closeDescriptor(libc, fd);
  }
}

/** Opens a listener on one IP literal. */
export function openListener(
  context: OpenListenerContext,
  options: DatagramListenOptions,
  hostname: string,
): LinuxListener {
  const { libc } = context;
  const { address, groups = [], networkInterface, loop } = options;
  const v6 = isIpv6(hostname);
  const all = [{ ...address, hostname }, ...groups];
  const joins = all.filter((one) => isMulticast(one.hostname)).map((group) => {
    if (isIpv6(group.hostname) !== v6) {
      throw new UsageError(
        `Cannot listen on "${
          formatAddress(group)
        }" and "${hostname}" at once: one is IPv4, one IPv6`,
      );
    }
    const where = group.zone ?? networkInterface;
    return {
      group,
      on: where === undefined ? undefined : findLinuxInterface(libc, where),
    };
  });
  const level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
  const fd = openSocket(
    libc,
    v6 ? AF_INET6 : AF_INET,
    SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
    IPPROTO_UDP,
  );
  let counting: DropCounting | undefined;
  try {
    setReceiveBuffer(libc, fd, options);
    counting = countDrops(context, fd, options.onNote);
    if (joins.length > 0) {
      // Else a socket hears every group that any program here has joined.
      setIntOption(
        libc,
        fd,
        level,
        v6 ? IPV6_MULTICAST_ALL : IP_MULTICAST_ALL,
        0,
      );
    }
    const port = sharePortOptions(
      libc,
      fd,
      options,
      hostname,
      joins.length > 0,
    );
    if (!v6) setIntOption(libc, fd, SOL_SOCKET, SO_BROADCAST, 1);
    if (loop !== undefined) {
      // Linux asks only the sending socket; set here so that none differs.
      setIntOption(
        libc,
        fd,
        level,
        v6 ? IPV6_MULTICAST_LOOP : IP_MULTICAST_LOOP,
        loop ? 1 : 0,
      );
    }
    const [bindTo, scopeId] = bindAddress(libc, all, joins, v6);
    bindSocket(libc, fd, encodeSockaddr(bindTo, port, scopeId));
    for (const { group, on } of joins) {
      joinGroup(
        libc,
        fd,
        v6 ? AF_INET6 : AF_INET,
        on?.index ?? 0,
        encodeSockaddr(group.hostname, 0),
        group.source === undefined
          ? undefined
          : encodeSockaddr(group.source, 0),
      );
    }
    return new LinuxListener(
      context,
      fd,
      { ...address, hostname, port: localAddress(libc, fd).port },
      counting,
    );
  } catch (error) {
    counting?.arrivals?.[Symbol.dispose]();
    closeDescriptor(libc, fd);
    throw error;
  }
}

/**
 * Who else may have the port, and which port to bind: SO_REUSEADDR lets sockets
 * on groups and on the unspecified address stand on one port, each with what is
 * sent to it. Two on the unspecified address would take each other's datagrams,
 * and so would strangers that share it by SO_REUSEPORT: a port that is held by
 * one is refused, unless the user wants to share it.
 */
function sharePortOptions(
  libc: Libc,
  fd: number,
  { address, reusePort, ownsPort, sharePort, v6Only }: DatagramListenOptions,
  hostname: string,
  group: boolean,
): number {
  const v6 = isIpv6(hostname);
  const unspecified = isUnspecified(hostname);
  // A group of IPv6 bound to [::] must not take IPv4.
  if (v6 && (v6Only || group)) {
    setIntOption(libc, fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  }
  let { port } = address;
  if (!group && !ownsPort && !sharePort && (unspecified || reusePort)) {
    const probes = !unspecified
      ? [hostname]
      : v6
      ? v6Only ? ["::1"] : ["::1", UNUSED_LOOPBACK]
      : [UNUSED_LOOPBACK];
    for (const probe of probes) port = exclusivePort(libc, probe, port);
  }
  // With port 0 the kernel must give a port of its own: it would take one that can be shared.
  if (group || sharePort || unspecified && port !== 0) {
    setIntOption(libc, fd, SOL_SOCKET, SO_REUSEADDR, 1);
  }
  if (!group && (reusePort || sharePort)) {
    setIntOption(libc, fd, SOL_SOCKET, SO_REUSEPORT, 1);
  }
  return port;
}

/** An address that nobody binds for itself: it conflicts with the unspecified address alone. */
const UNUSED_LOOPBACK = "127.255.255.254";

/** Binds a port for a moment without sharing it: throws EADDRINUSE where somebody has it. */
function exclusivePort(libc: Libc, hostname: string, port: number): number {
  const v6 = isIpv6(hostname);
  const fd = openSocket(
    libc,
    v6 ? AF_INET6 : AF_INET,
    SOCK_DGRAM | SOCK_CLOEXEC,
    IPPROTO_UDP,
  );
  try {
    bindSocket(libc, fd, encodeSockaddr(hostname, port));
    return localAddress(libc, fd).port;
  } catch (error) {
    // Without IPv6 on the loopback interface there is nothing to look for.
    if (error instanceof SystemCallError && error.errno === EADDRNOTAVAIL) {
      if (hostname === "::1" || hostname === UNUSED_LOOPBACK) return port;
    }
    throw error;
  } finally {
    closeDescriptor(libc, fd);
  }
}

/**
 * Bound to its group, a socket hears nothing else on the port. Several groups,
 * or a group beside 0.0.0.0, want the unspecified address; then IP_MULTICAST_ALL
 * keeps foreign groups away, and what is sent to this machine's own addresses
 * on the port is heard as well.
 */
function bindAddress(
  libc: Libc,
  all: readonly Address[],
  joins: readonly { on: LinuxInterface | undefined }[],
  v6: boolean,
): [hostname: string, scopeId: number] {
  const [first] = all as [Address];
  const unspecified = v6 ? "::" : "0.0.0.0";
  if (joins.length === 0) {
    const scopeId = first.zone === undefined
      ? 0
      : findLinuxInterface(libc, first.zone).index;
    return [first.hostname, scopeId];
  }
  if (all.length > 1) return [unspecified, 0];
  const index = joins[0]!.on?.index ?? 0;
  // A group of one link (ff02::) cannot be bound without its link (EINVAL).
  if (v6 && index === 0) return [unspecified, 0];
  return [first.hostname, v6 ? index : 0];
}

/** Asks for the receive queue, by privilege past the system's limit, and reads back what was granted. */
function setReceiveBuffer(
  libc: Libc,
  fd: number,
  options: DatagramListenOptions,
): void {
  const { receiveBufferBytes, onWarning } = options;
  const wanted = receiveBufferBytes ?? DEFAULT_RECEIVE_BUFFER_BYTES;
  setIntOption(libc, fd, SOL_SOCKET, SO_RCVBUF, wanted);
  // The kernel doubles what is asked, for its own overhead: socket(7).
  const granted = () => readIntOption(libc, fd, SOL_SOCKET, SO_RCVBUF) / 2;
  if (granted() >= wanted) return;
  try {
    setIntOption(libc, fd, SOL_SOCKET, SO_RCVBUFFORCE, wanted);
  } catch (error) {
    // EPERM: without CAP_NET_ADMIN the limit holds.
    if (!(error instanceof SystemCallError)) throw error;
  }
  if (granted() < wanted && receiveBufferBytes !== undefined) {
    onWarning?.(
      `The receive queue has ${granted()} bytes and not the ${wanted} that were asked for: raise the limit with sysctl net.core.rmem_max=${wanted}`,
    );
  }
}

/** What a process without the right to count arrivals should know. */
const MISSING_RIGHT_NOTE =
  "the kernel does not join datagrams (UDP_GRO), because counting those that it drops is not permitted:" +
  " grant CAP_BPF or set sysctl kernel.unprivileged_bpf_disabled=0 to receive faster";

function countDrops(
  context: OpenListenerContext,
  fd: number,
  onNote?: (message: string) => void,
): DropCounting {
  const { libc, joinReads } = context;
  const memoryInfo = attempt(() =>
    readOption(
      libc,
      fd,
      SOL_SOCKET,
      SO_MEMINFO,
      new Uint32Array(SK_MEMINFO_VARS),
    ) > SK_MEMINFO_DROPS
  ) ?? false;
  // SO_MEMINFO is of Linux 4.12. What SO_RXQ_OVFL says comes with the next
  // datagram, so it never tells of drops after the last one.
  const perRead = !memoryInfo &&
    attempt(
        () => (setIntOption(libc, fd, SOL_SOCKET, SO_RXQ_OVFL, 1), true),
      ) ===
      true;
  let arrivals: ArrivalCount | undefined;
  if (joinReads === "counted" && memoryInfo) {
    arrivals = attempt(() => new ArrivalCount(libc, fd), (error) => {
      if (error.errno === EPERM) onNote?.(MISSING_RIGHT_NOTE);
    });
  }
  const joined = (joinReads === "always" || arrivals !== undefined) &&
    attempt(() => (setIntOption(libc, fd, SOL_UDP, UDP_GRO, 1), true)) === true;
  if (!joined) {
    arrivals?.[Symbol.dispose]();
    arrivals = undefined;
  }
  return { memoryInfo, perRead, joined, arrivals };
}

/** What a probe gives, or undefined where the system refuses it. */
function attempt<T>(
  probe: () => T,
  onRefused?: (error: SystemCallError) => void,
): T | undefined {
  try {
    return probe();
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    onRefused?.(error);
    return undefined;
  }
}
