import { assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { formatSource, sourceOf, sourceOfBytes } from "../../net/source.ts";

Deno.test("an IPv4 address is a source, in its mapped form too", () => {
  assertEquals(formatSource(sourceOf("192.0.2.1")), "192.0.2.1");
  assertEquals(sourceOf("::ffff:192.0.2.1"), sourceOf("192.0.2.1"));
  assertNotEquals(sourceOf("192.0.2.1"), sourceOf("192.0.2.2"));
  assertEquals(formatSource(sourceOf("255.255.255.255")), "255.255.255.255");
});

Deno.test("the first 64 bits of an IPv6 address are a source, whatever its zone", () => {
  assertEquals(sourceOf("2001:db8::1"), sourceOf("2001:db8::ffff:2"));
  assertNotEquals(sourceOf("2001:db8::1"), sourceOf("2001:db8:0:1::1"));
  assertEquals(formatSource(sourceOf("2001:db8::1")), "2001:db8::/64");
  assertEquals(sourceOf("fe80::1%eth0"), sourceOf("fe80::2%eth1"));
  // Compatible, not mapped: RFC 4291, 2.5.5.1.
  assertEquals(formatSource(sourceOf("::1")), "::/64");
});

Deno.test("what is no IP literal is a source of its own", () => {
  assertEquals(formatSource(sourceOf("@hidden")), "@hidden");
});

Deno.test("bytes and text of an address give the same source", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 4, maxLength: 4 }), (v4) => {
    const padded = new Uint8Array([9, 9, ...v4, 9]);
    assertEquals(sourceOfBytes(padded, 2, 4), sourceOf(v4.join(".")));
    assertEquals(formatSource(sourceOfBytes(v4, 0, 4)), v4.join("."));
  }));
});
