/** Network interfaces by name, by index or by one of their addresses. */
import { canonicalIp, isIp } from "../../address.ts";
import { UsageError } from "../../errors.ts";
import type { Libc } from "./ffi/libc.ts";
import { interfaceIndex, interfaceName } from "./ffi/socket.ts";

/** An interface that exists. */
export interface NetworkInterface {
  readonly name: string;
  /** From 1. */
  readonly index: number;
  /** The address by which it was asked for. */
  readonly address?: string;
}

/** The interface of a name, an index (as a zone may be written) or an address. */
export function findInterface(libc: Libc, text: string): NetworkInterface {
  const name = isIp(text) ? nameByAddress(text) : text;
  if (name !== undefined) {
    const index = interfaceIndex(libc, name);
    if (index !== 0) {
      return isIp(text)
        ? { name, index, address: canonicalIp(text)! }
        : { name, index };
    }
  }
  if (/^\d{1,9}$/.test(text)) {
    const name = interfaceName(libc, Number(text));
    if (name !== undefined) return { name, index: Number(text) };
  }
  throw new UsageError(
    `Unknown interface "${text}": this machine has none of that ${
      isIp(text) ? "address" : "name"
    }; "ip address" lists them`,
  );
}

function nameByAddress(address: string): string | undefined {
  const sys = { name: "sys", kind: "networkInterfaces" } as const;
  if (Deno.permissions.querySync(sys).state !== "granted") {
    throw new UsageError(
      `Cannot find the network interface of "${address}": give its name, or allow --allow-sys=networkInterfaces`,
    );
  }
  const wanted = canonicalIp(address);
  return Deno.networkInterfaces().find((one) =>
    canonicalIp(one.address.split("%")[0]!) === wanted
  )?.name;
}
