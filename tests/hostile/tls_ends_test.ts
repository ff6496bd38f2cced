/** Ends of a TLS connection that are no close_notify pass through a tunnel as what they are. */
import { assertEquals } from "@std/assert";
import net from "node:net";
import tls from "node:tls";
import { type Address, parseAddress } from "../../net/address.ts";
import { soon } from "../support/deadline.ts";
import { startPeer, startRole } from "../support/process.ts";
import { needsProgram, testUnless } from "../support/skip.ts";
import {
  howItEnds,
  readExactly,
  readToEnd,
  resettingServer,
  TestServer,
  writeAll,
} from "../support/tcp.ts";

const VECTORS = new URL("../vectors/tls/", import.meta.url).pathname;
const CA = Deno.readTextFileSync(`${VECTORS}ca.pem`);
const ANSWER_BYTES = 1_000_000;
const encoder = new TextEncoder();

/** A tunnel that terminates TLS in front of a server. */
async function withTunnel(
  remote: Address,
  use: (address: Address) => Promise<void>,
): Promise<void> {
  const options =
    `tls-cert=${VECTORS}localhost.pem,tls-key=${VECTORS}localhost.key`;
  await using role = startRole("tunnel", [
    `127.0.0.1:0=${remote.port}[${options}]`,
  ]);
  const [, text] = await role.line(/listening address=(\S+)/);
  await use(parseAddress(text!));
}

testUnless(
  needsProgram("ncat"),
  "a TLS client that ends with FIN and no close_notify gets its whole answer",
  async () => {
    const requests: string[] = [];
    await using server = new TestServer(async (conn) => {
      requests.push(new TextDecoder().decode(await readToEnd(conn)));
      await writeAll(conn, new Uint8Array(ANSWER_BYTES).fill(7));
    });
    await withTunnel(server.address, async ({ hostname, port }) => {
      await using client = startPeer(
        "ncat",
        ["--ssl", hostname, String(port)],
        { stdin: true },
      );
      const stdin = client.stdin.getWriter();
      await stdin.write(encoder.encode("request"));
      await stdin.close();
      const { stdout } = await client.end;
      assertEquals([requests, stdout.length], [["request"], ANSWER_BYTES]);
      assertEquals(stdout.every((byte) => byte === 7), true);
    });
  },
);

Deno.test("a TLS client's reset is a reset for the remote", async () => {
  const ends: Promise<string>[] = [];
  const taken = Promise.withResolvers<void>();
  await using server = new TestServer(async (conn) => {
    await readExactly(conn, 1);
    const end = howItEnds(conn);
    ends.push(end);
    await writeAll(conn, Uint8Array.of(2));
    await end;
    taken.resolve();
  });
  await withTunnel(server.address, async ({ hostname, port }) => {
    const raw = net.connect(port, hostname);
    const client = tls.connect({
      socket: raw,
      ca: CA,
      servername: "localhost",
    });
    client.on("error", () => {});
    client.once("secureConnect", () => client.write(Uint8Array.of(1)));
    client.once("data", () => raw.resetAndDestroy());
    await soon(taken.promise, "the end of the remote's connection");
    assertEquals(await Promise.all(ends), ["ConnectionReset"]);
  });
});

Deno.test("a remote's reset is a reset for its TLS client", async () => {
  await using server = await resettingServer();
  await withTunnel(server.address, async ({ port }) => {
    using client = await Deno.connectTls({
      hostname: "localhost",
      port,
      caCerts: [CA],
    });
    await writeAll(client, Uint8Array.of(1));
    assertEquals(
      await soon(howItEnds(client), "the end of the client's connection"),
      "ConnectionReset",
    );
  });
});
