/** The proxy's TLS sources against servers of node:tls with certificates of openssl. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { formatAddress } from "../../net/address.ts";
import tls from "node:tls";
import {
  type Certificate,
  CertificateAuthority,
} from "../support/certificate_authority.ts";
import { Receiver } from "../support/datagram_peer.ts";
import { type ProcessOptions, startRole } from "../support/process.ts";
import { needsProgram, testUnless } from "../support/skip.ts";
import { assertAllPlaced, placedBytes } from "../support/streams.ts";
import { refusingAddress, TestServer } from "../support/tcp.ts";

const skip = needsProgram("openssl");

/** What a TLS server of a test does. */
interface TlsServerOptions {
  certificate: Certificate;
  /** Authority whose clients alone are let in. */
  clients?: CertificateAuthority;
  serve: (socket: tls.TLSSocket) => void;
}

/** A TLS server on a free port. */
async function serveTls(
  { certificate, clients, serve }: TlsServerOptions,
): Promise<{ port: number } & AsyncDisposable> {
  const sockets = new Set<tls.TLSSocket>();
  const server = tls.createServer({
    cert: await Deno.readTextFile(certificate.cert),
    key: await Deno.readTextFile(certificate.key),
    ...(clients
      ? {
        ca: await Deno.readTextFile(clients.cert),
        requestCert: true,
        rejectUnauthorized: true,
      }
      : {}),
  }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    serve(socket);
  });
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as { port: number }).port,
    [Symbol.asyncDispose]: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

function startProxy(args: readonly string[], options: ProcessOptions = {}) {
  return startRole("proxy", args, options);
}

testUnless(
  skip,
  "proxy reads a tls:// host that --tls-ca verifies, whole, and connects again when it ends",
  async () => {
    await using authority = await CertificateAuthority.create();
    const bytes = placedBytes(60_000);
    let connections = 0;
    await using host = await serveTls({
      certificate: await authority.sign("DNS:localhost"),
      serve: (socket) => {
        const nth = connections++;
        if (nth < 2) {
          socket.end(bytes.subarray(nth * 30_000, (nth + 1) * 30_000));
        }
      },
    });
    await using receiver = await Receiver.open();
    await using proxy = startProxy([
      ...["--tcp-connect-addr", `tls://localhost:${host.port}`],
      ...["--tls-ca", authority.cert, "--udp-downstream-addr", receiver.text],
    ]);
    await receiver.atLeastBytes(bytes.length);
    assertAllPlaced(receiver.datagrams, bytes);
    await proxy.lines(/ connected address=/, 3);
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    assertMatch(
      stderr,
      /read from localhost:\d+: 60.0 kB, .*3 connections, 0 failed attempts/,
    );
  },
);

testUnless(
  skip,
  "proxy --tls speaks TLS to every host, by address too, and trusts the system's roots",
  async () => {
    await using authority = await CertificateAuthority.create();
    await using host = await serveTls({
      certificate: await authority.sign("IP:127.0.0.1", "DNS:localhost"),
      serve: (socket) => socket.write("hello"),
    });
    await using receiver = await Receiver.open();
    for (const [i, name] of ["127.0.0.1", "localhost"].entries()) {
      await using proxy = startProxy([
        ...["--tcp-connect-addr", `${name}:${host.port}`, "--tls"],
        ...["--udp-downstream-addr", receiver.text],
      ], { env: { SSL_CERT_FILE: authority.cert } });
      await receiver.atLeast(i + 1);
      const { code, stderr } = await proxy.stop();
      assertEquals(code, 0, stderr);
      assert(!stderr.includes("trying again"), stderr);
    }
    assertEquals(receiver.texts, ["hello", "hello"]);
  },
);

testUnless(skip, "proxy never reads a host that it cannot verify", async () => {
  await using authority = await CertificateAuthority.create();
  await using foreign = await CertificateAuthority.create();
  let bytesFromUs = 0;
  const serve = (socket: tls.TLSSocket) => {
    bytesFromUs++;
    socket.write("nobody should read this");
  };
  await using wrongName = await serveTls({
    certificate: await authority.sign("DNS:elsewhere.example"),
    serve,
  });
  await using wrongAddress = await serveTls({
    certificate: await authority.sign("IP:127.0.0.2"),
    serve,
  });
  await using unknown = await serveTls({
    certificate: await foreign.sign("DNS:localhost", "IP:127.0.0.1"),
    serve,
  });
  await using receiver = await Receiver.open();
  // By --tls-ca, and by the system's roots: two ways through the code.
  for (
    const trust of [
      { args: ["--tls-ca", authority.cert], env: {} },
      { args: [], env: { SSL_CERT_FILE: authority.cert } },
    ]
  ) {
    await using proxy = startProxy([
      ...["--tcp-connect-addr", `tls://localhost:${wrongName.port}`],
      ...["--tcp-connect-addr", `tls://127.0.0.1:${wrongAddress.port}`],
      ...["--tcp-connect-addr", `tls://localhost:${unknown.port}`],
      ...trust.args,
      ...["--udp-downstream-addr", receiver.text],
    ], { env: trust.env });
    for (const { port } of [wrongName, wrongAddress, unknown]) {
      await proxy.lines(
        new RegExp(
          `trying again address=\\S+:${port} .*reason=.*(ertificate|UnknownIssuer|altname|unable to)`,
        ),
        2,
      );
    }
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    assert(!/ connected /.test(stderr), stderr);
    assertEquals(
      stderr.match(/0 B, 0 datagrams .* 0 connections/g)?.length,
      3,
      stderr,
    );
  }
  assertEquals(receiver.datagrams, []);
});

testUnless(
  skip,
  "proxy --tls-server-name is verified in place of the host's name",
  async () => {
    await using authority = await CertificateAuthority.create();
    let asked: string | false | undefined;
    await using host = await serveTls({
      certificate: await authority.sign("DNS:feed.example"),
      serve: (socket) => {
        asked = (socket as unknown as { servername: string }).servername;
        socket.write("hello");
      },
    });
    for (
      const { args, env } of [
        { args: ["--tls-ca", authority.cert], env: {} },
        { args: [], env: { SSL_CERT_FILE: authority.cert } },
      ]
    ) {
      await using receiver = await Receiver.open();
      await using proxy = startProxy([
        ...["--tcp-connect-addr", `tls://127.0.0.1:${host.port}`, ...args],
        ...[
          "--tls-server-name=feed.example",
          "--udp-downstream-addr",
          receiver.text,
        ],
      ], { env });
      await receiver.atLeast(1);
      assertEquals(asked, "feed.example");
      assertEquals((await proxy.stop()).code, 0);
    }
  },
);

testUnless(
  skip,
  "proxy --tls-insecure reads anybody, with a warning",
  async () => {
    await using authority = await CertificateAuthority.create();
    await using host = await serveTls({
      certificate: await authority.sign("DNS:elsewhere.example"),
      serve: (socket) => socket.write("hello"),
    });
    await using receiver = await Receiver.open();
    await using proxy = startProxy([
      ...["--tcp-connect-addr", `tls://localhost:${host.port}`],
      ...["--tls-insecure", "--udp-downstream-addr", receiver.text],
    ]);
    await receiver.atLeast(1);
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    assertStringIncludes(
      stderr,
      "warn TLS is not verified: anybody can pretend to be the host",
    );
  },
);

testUnless(
  skip,
  "proxy shows a certificate of its own with --tls-cert and --tls-key",
  async () => {
    await using authority = await CertificateAuthority.create();
    const own = await authority.sign("DNS:proxy.example");
    let subject: string | undefined;
    await using host = await serveTls({
      certificate: await authority.sign("DNS:localhost"),
      clients: authority,
      serve: (socket) => {
        subject = String(socket.getPeerCertificate().subject.CN);
        socket.write("hello");
      },
    });
    await using receiver = await Receiver.open();
    const args = [
      ...["--tcp-connect-addr", `tls://localhost:${host.port}`],
      ...["--tls-ca", authority.cert, "--udp-downstream-addr", receiver.text],
    ];
    {
      await using without = startProxy(args);
      await without.line(/trying again/);
      assertEquals((await without.stop()).code, 0);
      assertEquals(receiver.datagrams, []);
    }
    await using proxy = startProxy([
      ...args,
      ...["--tls-cert", own.cert, "--tls-key", own.key],
    ]);
    await receiver.atLeast(1);
    assertEquals(subject, "proxy.example");
    assertEquals((await proxy.stop()).code, 0);
  },
);

testUnless(
  skip,
  "proxy --tls-* leaves a host without tls:// beside one with it as plain TCP",
  async () => {
    await using authority = await CertificateAuthority.create();
    await using host = new TestServer(async (conn) => {
      await conn.write(new TextEncoder().encode("plain"));
      await conn.read(new Uint8Array(1));
    });
    await using receiver = await Receiver.open();
    await using proxy = startProxy([
      ...["--tcp-connect-addr", `127.0.0.1:${host.address.port}`],
      ...["--tcp-connect-addr", `tls://${formatAddress(refusingAddress())}`],
      ...["--tls-ca", authority.cert, "--udp-downstream-addr", receiver.text],
    ]);
    await receiver.atLeast(1);
    assertEquals(receiver.texts, ["plain"]);
    assertEquals((await proxy.stop()).code, 0);
  },
);

for (
  const [how, args] of [["the system's roots", []], ["--tls-insecure", [
    "--tls-insecure",
  ]]] as const
) {
  Deno.test(`proxy ends at once although a TLS host never answers the handshake (${how})`, async () => {
    const connected = Promise.withResolvers<void>();
    await using host = new TestServer(async (conn) => {
      // The client's first message has come: the handshake is under way.
      await conn.read(new Uint8Array(1024));
      connected.resolve();
      while (await conn.read(new Uint8Array(1024)) !== null);
    });
    await using proxy = startProxy([
      ...["--tcp-connect-addr", `tls://127.0.0.1:${host.address.port}`],
      ...[...args, "--udp-downstream-addr=127.0.0.1:9", "--grace=600"],
    ]);
    await connected.promise;
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    assertMatch(stderr, /0 connections, 0 failed attempts/);
  });
}
