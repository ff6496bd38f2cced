import { assertEquals } from "@std/assert";
import { EchoGuard, MAX_REPEATS } from "../../../net/echo/echo_guard.ts";

const PAYLOAD = new Uint8Array(40).fill(7);

Deno.test("EchoGuard refuses source ports of services, and the server's own", () => {
  const guard = new EchoGuard({ port: 8081 });
  for (const port of [0, 7, 13, 19, 53, 123, 1023, 2049, 8081]) {
    assertEquals(guard.check(PAYLOAD, "192.0.2.1", port, 1), "port");
  }
  assertEquals(guard.check(PAYLOAD, "192.0.2.1", 1024, 1), undefined);
});

Deno.test("EchoGuard stops two interleaved loops, and answers again after silence", () => {
  const guard = new EchoGuard({ port: 8081, maxDatagramsPerSource: 0 });
  const other = new Uint8Array(40).fill(9);
  for (let i = 0; i < MAX_REPEATS; i++) {
    for (const payload of [PAYLOAD, other]) {
      assertEquals(guard.check(payload, "192.0.2.1", 5000, i), undefined);
    }
  }
  for (const payload of [PAYLOAD, other]) {
    assertEquals(guard.check(payload, "192.0.2.1", 5000, 300), "loop");
  }
  const numbered = new Uint8Array(40).fill(7, 1);
  assertEquals(guard.check(numbered, "192.0.2.1", 5000, 300), undefined);
  assertEquals(guard.check(PAYLOAD, "192.0.2.1", 5000, 1400), undefined);
});

Deno.test("EchoGuard answers a source address at its rate, whatever the port", () => {
  const guard = new EchoGuard({ port: 8081, maxDatagramsPerSource: 10 });
  const check = (i: number, ms: number, host = "2001:db8::1") =>
    guard.check(Uint8Array.of(i), host, 2050 + i, ms);
  for (let i = 0; i < 10; i++) assertEquals(check(i, 1), undefined);
  assertEquals(check(10, 1), "rate");
  assertEquals(check(11, 1, "2001:db8::2"), "rate");
  assertEquals(check(12, 101), undefined);
  assertEquals(check(13, 101), "rate");
});
