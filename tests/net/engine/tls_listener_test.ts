import { assertEquals, assertThrows } from "@std/assert";
import { TlsListener } from "../../../net/engine/portable/tls_listener.ts";

const VECTORS = new URL("../../vectors/tls/", import.meta.url);
const [cert, key, ca] = ["localhost.pem", "localhost.key", "ca.pem"].map((
  name,
) => Deno.readTextFileSync(new URL(name, VECTORS)));
const TLS = { cert: cert!, key: key! };
const ANY = { hostname: "127.0.0.1", port: 0, tcpBacklog: 128 };

/** Accepts until it is closed; gives the number of clients that shook hands. */
async function serve(listener: TlsListener): Promise<number> {
  const serving: Promise<boolean>[] = [];
  for (;;) {
    try {
      const conn = await listener.accept();
      serving.push(
        conn.handshake().then(() => true, () => false).finally(() =>
          conn.close()
        ),
      );
    } catch {
      break;
    }
  }
  return (await Promise.all(serving)).filter(Boolean).length;
}

Deno.test("TlsListener changes its certificate, and is there for the next client", async () => {
  const listener = new TlsListener(ANY, TLS);
  const { port } = listener.addr;
  const served = serve(listener);
  for (let i = 0; i < 50; i++) {
    if (i % 5 === 0) await listener.setTls(TLS);
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
  const listener = new TlsListener(ANY, TLS);
  const served = serve(listener);
  await listener.setTls({ cert: "x", key: "y" }).then(
    () => {
      throw new Error("taken");
    },
    () => {},
  );
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

Deno.test("TlsListener does not share a port that somebody else listens on", () => {
  const first = new TlsListener(ANY, TLS);
  const { port } = first.addr;
  assertThrows(
    () => new TlsListener({ ...ANY, port }, TLS),
    Deno.errors.AddrInUse,
  );
  first.close();
  const again = new TlsListener({ ...ANY, port }, TLS);
  again.close();
});

Deno.test("TlsListener opens its port again where ports cannot be shared", async () => {
  const module = new URL(
    "../../../net/engine/portable/tls_listener.ts",
    import.meta.url,
  );
  const script = `
    import { TlsListener } from ${JSON.stringify(module.href)};
    const [cert, key, ca] = ${JSON.stringify([cert, key, ca])};
    const listener = new TlsListener(${JSON.stringify(ANY)}, { cert, key });
    let count = 0;
    const served = (async () => {
      for (;;) {
        const conn = await listener.accept().catch(() => undefined);
        if (!conn) break;
        await conn.handshake();
        conn.close();
        count++;
      }
    })();
    for (let i = 0; i < 5; i++) {
      const conn = await Deno.connectTls({ hostname: "localhost", port: listener.addr.port, caCerts: [ca] });
      await conn.handshake();
      conn.close();
      await listener.setTls({ cert, key });
    }
    listener.close();
    await served;
    console.log(count);`;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(file, script);
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    // Without --unstable-net, which deno.json would set.
    args: ["run", "-A", "--no-config", "--no-lock", file],
    stdout: "piped",
    stderr: "piped",
  }).output();
  await Deno.remove(file);
  const said = new TextDecoder().decode(stdout);
  assertEquals(said, "5\n", new TextDecoder().decode(stderr));
});
