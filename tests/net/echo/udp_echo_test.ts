import { assertEquals, assertRejects } from "@std/assert";
import { serveUdpEcho } from "../../../net/echo/udp_echo.ts";
import { OperationError } from "../../../net/errors.ts";

for (const over of ["deno", "node"] as const) {
  Deno.test(`serveUdpEcho() over ${over} sends each datagram back`, async () => {
    await using server = await serveUdpEcho(
      { hostname: "127.0.0.1", port: 0 },
      over,
    );
    const client = Deno.listenDatagram({
      transport: "udp",
      hostname: "127.0.0.1",
      port: 0,
    });
    try {
      for (const bytes of [1, 1400, 0, 65507]) {
        const sent = new Uint8Array(bytes).fill(7);
        await client.send(sent, { transport: "udp", ...server.address });
        const [received] = await client.receive(new Uint8Array(65536));
        assertEquals(received, sent);
      }
      // Counted when the system has taken the last one.
      await server[Symbol.asyncDispose]();
      assertEquals(server.stats(), {
        datagrams: 4,
        bytes: 66908,
        errors: 0,
        refused: { port: 0, loop: 0, rate: 0 },
      });
    } finally {
      client.close();
    }
  });

  Deno.test(`serveUdpEcho() over ${over} tells that its port is taken`, async () => {
    await using first = await serveUdpEcho(
      { hostname: "127.0.0.1", port: 0 },
      over,
    );
    const error = await assertRejects(
      () => serveUdpEcho(first.address, over),
      OperationError,
      "Cannot listen on",
    );
    assertEquals(error.code, "EADDRINUSE");
  });
}
