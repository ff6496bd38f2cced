import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { TlsListener } from "../../../../../net/engine/portable/stream/tls_listener.ts";
import { soon } from "../../../../support/deadline.ts";
import { close, howItEnds } from "../../../../support/tcp.ts";

const VECTORS = new URL("../../../../vectors/tls/", import.meta.url);
const [cert, key, ca] = ["localhost.pem", "localhost.key", "ca.pem"].map((
  name,
) => Deno.readTextFileSync(new URL(name, VECTORS)));
const TLS = { cert: cert!, key: key! };
const ANY = {
  hostname: "127.0.0.1",
  port: 0,
  tcpBacklog: 128,
  keepAlive: true,
};

/** Accepts until it is closed; gives the number of clients that shook hands. */
async function serve(listener: TlsListener): Promise<number> {
  const serving: Promise<boolean>[] = [];
  for (;;) {
    try {
      const conn = await listener.accept();
      serving.push(
        conn.ready().then(() => true, () => false).finally(() => conn.close()),
      );
    } catch {
      break;
    }
  }
  return (await Promise.all(serving)).filter(Boolean).length;
}

Deno.test("TlsListener changes its certificate, and is there for the next client", async () => {
  const listener = await TlsListener.open(ANY, TLS);
  const { port } = listener.addr;
  const served = serve(listener);
  for (let i = 0; i < 50; i++) {
    if (i % 5 === 0) listener.setTls(TLS);
    using conn = await Deno.connectTls({
      hostname: "localhost",
      port,
      caCerts: [ca!],
    });
    await conn.handshake();
  }
  assertEquals(listener.addr.port, port);
  listener.close();
  assertEquals(await served, 50);
});

Deno.test("TlsListener keeps the certificate that it has when the next one is broken", async () => {
  const listener = await TlsListener.open(ANY, TLS);
  const served = serve(listener);
  assertThrows(() => listener.setTls({ cert: "x", key: "y" }));
  const { port } = listener.addr;
  using conn = await Deno.connectTls({
    hostname: "localhost",
    port,
    caCerts: [ca!],
  });
  await conn.handshake();
  listener.close();
  assertEquals(await served, 1);
});

Deno.test("TlsListener does not share a port that somebody else listens on", async () => {
  const first = await TlsListener.open(ANY, TLS);
  const { port } = first.addr;
  const error = await assertRejects(() =>
    TlsListener.open({ ...ANY, port }, TLS)
  );
  assertEquals((error as { code?: string }).code, "EADDRINUSE");
  const ended = assertRejects(
    () => first.accept(),
    Deno.errors.BadResource,
  );
  first.close();
  await ended;
  // The port is free when accept has ended.
  const again = await TlsListener.open({ ...ANY, port }, TLS);
  again.close();
});

Deno.test("TlsListener frees the descriptor of a handshake that is cut", async () => {
  const listener = await TlsListener.open(ANY, TLS);
  const { port } = listener.addr;
  const clients: Deno.TcpConn[] = [];
  for (const hello of [new Uint8Array(), Uint8Array.of(0x16, 3, 1)]) {
    const client = await Deno.connect({ hostname: "127.0.0.1", port });
    clients.push(client);
    if (hello.length > 0) await client.write(hello);
    const conn = await listener.accept();
    const cut = assertRejects(() => conn.ready());
    conn.close();
    await cut;
    // The client sees it: the descriptor is closed, and not only forgotten.
    assertEquals(await soon(howItEnds(client), "an end") !== "", true);
  }
  for (const client of clients) close(client);
  listener.close();
});
