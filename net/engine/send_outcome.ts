/** Why a datagram could not be sent, as a counter's slot. */
import { errorCode } from "../errors.ts";
import { SentSlot } from "./datagram.ts";

const SLOTS: Readonly<Record<string, number>> = {
  // ICMP port unreachable, told on the next call (udp(7)).
  ECONNREFUSED: SentSlot.refused,
  ENETUNREACH: SentSlot.unreachable,
  EHOSTUNREACH: SentSlot.unreachable,
  ENETDOWN: SentSlot.unreachable,
  ENODEV: SentSlot.unreachable,
  EADDRNOTAVAIL: SentSlot.unreachable,
  // A firewall's verdict, or a broadcast without SO_BROADCAST.
  EPERM: SentSlot.permission,
  EACCES: SentSlot.permission,
  EMSGSIZE: SentSlot.tooBig,
  EAGAIN: SentSlot.queueFull,
  ENOBUFS: SentSlot.queueFull,
};

/** The slot in which a datagram that failed with an errno is counted. */
export function slotOfCode(code: string | undefined): number {
  return (code === undefined ? undefined : SLOTS[code]) ?? SentSlot.other;
}

/** The same for an error of Deno or node. */
export function slotOfError(error: unknown): number {
  const code = errorCode(error);
  if (code !== undefined) return slotOfCode(code);
  const text = error instanceof Error ? error.message : "";
  if (/message too long|too big|os error 90\b/i.test(text)) {
    return SentSlot.tooBig;
  }
  if (/unreachable|no such device|network is down/i.test(text)) {
    return SentSlot.unreachable;
  }
  if (/not permitted/i.test(text)) return SentSlot.permission;
  return SentSlot.other;
}
