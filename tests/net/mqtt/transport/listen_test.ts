/** Connections of a listener with TLS before and during their handshake. */
import { assertEquals } from "@std/assert";
import { listen } from "../../../../net/mqtt/transport/listen.ts";
import { parseEndpoint } from "../../../../net/mqtt/transport/endpoint.ts";
import { BufferPool } from "../../../../net/mqtt/session/buffer_pool.ts";
import { CertificateAuthority } from "../../../support/certificate_authority.ts";
import { soon } from "../../../support/deadline.ts";
import { needsLinux, needsProgram, testUnless } from "../../../support/skip.ts";

testUnless(
  needsLinux() ?? needsProgram("openssl", "socat"),
  "listen() lets go of every handshake, also of those that share a client's port",
  async () => {
    await using authority = await CertificateAuthority.create();
    const { cert, key } = await authority.sign("IP:127.0.0.1");
    const arrived = Array.from(
      { length: 2 },
      () => Promise.withResolvers<void>(),
    );
    const left = Array.from(
      { length: 2 },
      () => Promise.withResolvers<void>(),
    );
    let count = 0;
    let leaves = 0;
    using listener = await listen({
      endpoint: parseEndpoint("mqtts://0.0.0.0:0", { listens: true }),
      tls: {
        cert: Deno.readTextFileSync(cert),
        key: Deno.readTextFileSync(key),
      },
      maxFrameBytes: 1024,
      handshakeTimeoutMs: 60_000,
      pool: new BufferPool(),
      onArrival: (_hostname, close) => {
        arrived[count++]!.resolve();
        return {
          close,
          prove: () => {},
          leave: () => left[leaves++]!.resolve(),
        };
      },
      onConnection: () => {},
      onFailure: () => {},
    });
    const { port } = listener.endpoint.address;
    const own = freePort("127.9.9.9");
    const clients: Deno.ChildProcess[] = [];
    try {
      for (const [i, host] of ["127.0.0.1", "127.0.0.2"].entries()) {
        const address = `TCP:${host}:${port},bind=127.9.9.9:${own},reuseaddr`;
        clients.push(
          new Deno.Command("socat", {
            args: ["-u", address, "STDOUT"],
            stdin: "null",
            stdout: "null",
          }).spawn(),
        );
        await soon(arrived[i]!.promise, "a connection");
      }
    } finally {
      for (const client of clients) client.kill("SIGKILL");
      await Promise.all(clients.map(({ status }) => status));
    }
    await soon(
      Promise.all(left.map(({ promise }) => promise)),
      () => `the end of all handshakes, only of ${leaves}`,
    );
    assertEquals(leaves, 2);
  },
);

/** A port of an address that is free now. */
function freePort(hostname: string): number {
  using listener = Deno.listen({ hostname, port: 0 });
  return (listener.addr as Deno.NetAddr).port;
}

testUnless(
  needsProgram("openssl", "timeout"),
  "listen() resumes no TLS session of a client whose root was removed",
  async () => {
    await using former = await CertificateAuthority.create();
    await using present = await CertificateAuthority.create();
    const server = await former.sign("IP:127.0.0.1");
    const device = await former.issue("/CN=device-7", "DNS:device-7");
    const read = (file: string) => Deno.readTextFileSync(file);
    const tls = (clientCa: string) => ({
      cert: read(server.cert),
      key: read(server.key),
      clientCa,
    });
    const ca = (authority: CertificateAuthority) => read(authority.cert);
    using listener = await listen({
      endpoint: parseEndpoint("mqtts://127.0.0.1:0", { listens: true }),
      tls: tls(ca(former)),
      maxFrameBytes: 1024,
      handshakeTimeoutMs: 60_000,
      pool: new BufferPool(),
      onArrival: (_hostname, close) => ({
        close,
        prove: () => {},
        leave: () => {},
      }),
      onConnection: ({ stream }) => {
        void stream.write(new TextEncoder().encode("in"))
          .then(() => stream.close(), () => {});
      },
      onFailure: () => {},
    });
    const { port } = listener.endpoint.address;
    const session = `${device.cert}.session`;
    /** What a client is sent, with its certificate or a session alone. */
    const client = async (version: string, ...args: string[]) => {
      const to = ["-quiet", "-connect", `127.0.0.1:${port}`, version];
      const { stdout } = await new Deno.Command("timeout", {
        args: ["20", "openssl", "s_client", ...to, ...args],
        stdin: "null",
        stderr: "null",
      }).output();
      return new TextDecoder().decode(stdout);
    };
    const own = ["-cert", device.cert, "-key", device.key];
    for (const version of ["-tls1_2", "-tls1_3"]) {
      listener.reloadTls(tls(ca(former)));
      assertEquals(await client(version, ...own, "-sess_out", session), "in");
      assertEquals(await client(version, "-sess_in", session), "in");
      listener.reloadTls(tls(ca(present) + ca(former)));
      assertEquals(await client(version, "-sess_in", session), "in");
      listener.reloadTls(tls(ca(present)));
      assertEquals(await client(version, "-sess_in", session), "");
    }
  },
);
