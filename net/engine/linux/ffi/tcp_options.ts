/** Keepalive and state of TCP sockets (tcp(7)). */
import {
  IPPROTO_TCP,
  SO_KEEPALIVE,
  SOL_SOCKET,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_USER_TIMEOUT,
} from "./constants.ts";
import type { Libc } from "./libc.ts";

/**
 * A peer that vanished is noticed after 30 s + 3 * 10 s of silence (the kernel's
 * defaults are 7200 s + 9 * 75 s), and after as long while it owes
 * acknowledgements (15 retransmissions, some 15 minutes, by default). A peer
 * that answers window probes and does not read is not concerned.
 */
const KEEPALIVE: readonly (readonly [
  option: number,
  value: Int32Array<
    ArrayBuffer
  >,
])[] = [
  [TCP_KEEPIDLE, Int32Array.of(30)],
  [TCP_KEEPINTVL, Int32Array.of(10)],
  [TCP_KEEPCNT, Int32Array.of(3)],
  [TCP_USER_TIMEOUT, Int32Array.of(60_000)],
];

const ON = Int32Array.of(1);

/** Turns keepalive on, for a socket or for all that a listener accepts. */
export function setKeepAlive(libc: Libc, fd: number): void {
  const { symbols } = libc;
  symbols.setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, ON, 4);
  for (const [option, value] of KEEPALIVE) {
    symbols.setsockopt(fd, IPPROTO_TCP, option, value, 4);
  }
}
