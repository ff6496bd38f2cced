/**
 * Network interfaces by name, by index or by one of their addresses, as the
 * kernel tells them: without a permission but for addresses, and those too
 * that have no address, which Deno does not list. `../interfaces.ts` finds them
 * for engines that need their addresses and may not ask the kernel.
 */
import { canonicalIp, isIp } from "../../address.ts";
import { nameOfAddress, unknownInterface } from "../interfaces.ts";
import type { Libc } from "./ffi/libc.ts";
import { interfaceIndex, interfaceName } from "./ffi/socket.ts";

/** An interface that exists. */
export interface LinuxInterface {
  readonly name: string;
  /** From 1. */
  readonly index: number;
  /** The address by which it was asked for. */
  readonly address?: string;
}

/** The interface of a name, an index (as a zone may be written) or an address. */
export function findLinuxInterface(libc: Libc, text: string): LinuxInterface {
  const address = isIp(text) ? canonicalIp(text) : undefined;
  const name = address === undefined ? text : nameOfAddress(address);
  const index = name === undefined ? 0 : interfaceIndex(libc, name);
  if (name !== undefined && index !== 0) {
    return { name, index, ...(address === undefined ? {} : { address }) };
  }
  if (/^\d{1,9}$/.test(text)) {
    const name = interfaceName(libc, Number(text));
    if (name !== undefined) return { name, index: Number(text) };
  }
  throw unknownInterface(text);
}
