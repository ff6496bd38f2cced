/** The TCP echo server over loopback. */
import { assertEquals } from "@std/assert";
import { TcpEcho } from "../../../net/echo/tcp_echo.ts";
import { connectTo, readExactly, writeAll } from "../../support/tcp.ts";

Deno.test("TcpEcho answers message after message on one connection, of any size", async () => {
  await using echo = new TcpEcho({
    address: { hostname: "127.0.0.1", port: 0 },
  });
  using client = await connectTo(echo.address);
  // Below, at and above the first read's 512 bytes, and down again.
  for (const size of [1, 1, 511, 512, 513, 4096, 70_000, 1, 300_000, 2]) {
    const message = new Uint8Array(size);
    for (let at = 0; at < size; at++) message[at] = (at * 31 + size) & 0xff;
    const [, answer] = await Promise.all([
      writeAll(client, message),
      readExactly(client, size),
    ]);
    assertEquals(answer, message);
  }
  assertEquals(echo.stats().errors, 0);
});
