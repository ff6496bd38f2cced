import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { formatIpv6 } from "../../../../../net/address.ts";
import {
  decodeSockaddr,
  encodeSockaddr,
} from "../../../../../net/engine/linux/ffi/sockaddr.ts";

Deno.test("encodeSockaddr() lays out a sockaddr_in", () => {
  assertEquals(
    [...encodeSockaddr("192.0.2.7", 9920)],
    [2, 0, 0x26, 0xc0, 192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0],
  );
});

Deno.test("encodeSockaddr() lays out a sockaddr_in6 with its scope", () => {
  const bytes = encodeSockaddr("ff02::1", 9918, 4);
  assertEquals(bytes.length, 28);
  assertEquals([...bytes.subarray(0, 4)], [10, 0, 0x26, 0xbe]);
  assertEquals([...bytes.subarray(4, 8)], [0, 0, 0, 0]);
  assertEquals([...bytes.subarray(8, 10)], [0xff, 2]);
  assertEquals(bytes[23], 1);
  assertEquals([...bytes.subarray(24)], [4, 0, 0, 0]);
});

Deno.test("decodeSockaddr() reads back what encodeSockaddr() wrote, at any offset", () => {
  const v4 = fc.ipV4().map((hostname) => ({ hostname, scopeId: 0 }));
  const v6 = fc.tuple(
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
    fc.nat(0xffff),
  ).map(([bytes, scopeId]) => ({ hostname: formatIpv6(bytes), scopeId }));
  fc.assert(
    fc.property(
      fc.oneof(v4, v6),
      fc.nat(65535),
      fc.nat(40),
      ({ hostname, scopeId }, port, offset) => {
        const bytes = encodeSockaddr(hostname, port, scopeId);
        const memory = new Uint8Array(100);
        memory.set(bytes, offset);
        assertEquals(decodeSockaddr(memory, offset), {
          hostname,
          port,
          scopeId,
        });
      },
    ),
  );
});

Deno.test("encodeSockaddr() and decodeSockaddr() refuse what is no IP address", () => {
  assertThrows(() => encodeSockaddr("localhost", 1), TypeError, "localhost");
  assertThrows(() => decodeSockaddr(new Uint8Array(28)), TypeError, "0");
});
