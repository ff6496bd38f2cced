import { assertEquals, assertRejects } from "@std/assert";
import { connectTls } from "../../net/tls_client.ts";
import { TestServer } from "../support/tcp.ts";

/** A host that answers with what is no TLS. */
function plainServer(): TestServer {
  return new TestServer(async (conn) => {
    await conn.write(new TextEncoder().encode("220 this is no TLS\r\n"));
    while (await conn.read(new Uint8Array(1024)) !== null);
  });
}

// Leaks are found by the sanitizers: a role connects again for as long as it lives.
for (const insecure of [false, true]) {
  Deno.test(`connectTls leaves nothing open where the handshake fails (insecure: ${insecure})`, async () => {
    await using host = plainServer();
    for (let i = 0; i < 3; i++) {
      await assertRejects(() =>
        connectTls(
          { hostname: "localhost", port: host.address.port },
          host.address,
          { insecure },
          new AbortController().signal,
        )
      );
    }
  });

  Deno.test(`connectTls ends a handshake when it is aborted, and leaves nothing open (insecure: ${insecure})`, async () => {
    const abort = new AbortController();
    const reason = new Error("enough");
    await using host = new TestServer(async (conn) => {
      await conn.read(new Uint8Array(1024));
      abort.abort(reason);
      while (await conn.read(new Uint8Array(1024)) !== null);
    });
    const error = await assertRejects(() =>
      connectTls(
        { hostname: "localhost", port: host.address.port },
        host.address,
        { insecure },
        abort.signal,
      )
    );
    assertEquals(error, reason);
  });
}
