/** Listeners of relay and tunnel under attack: a client is served all the while. */
import { assertEquals } from "@std/assert";
import { parseAddress } from "../../net/address.ts";
import {
  assertWithstands,
  attacks,
  inTurns,
  readUntil,
  type Victim,
  withConnection,
} from "../support/hostile.ts";
import { startRole } from "../support/process.ts";
import { needsLinux, testUnless } from "../support/skip.ts";
import {
  echoServer,
  howItEnds,
  readExactly,
  type TestServer,
  writeAll,
} from "../support/tcp.ts";

const VECTORS = new URL("../vectors/tls/", import.meta.url).pathname;
const PING = new TextEncoder().encode("ping");

async function withTlsTunnel(
  options: readonly string[],
  use: (victim: Victim, server: TestServer) => Promise<void>,
): Promise<void> {
  await using server = echoServer();
  await using role = startRole("tunnel", [
    ...options,
    `127.0.0.1:0=${server.address.port}[tls-cert=${VECTORS}localhost.pem,tls-key=${VECTORS}localhost.key]`,
  ]);
  const [, text] = await role.line(/listening address=(\S+)/);
  const address = parseAddress(text!);
  const caCerts = [Deno.readTextFileSync(`${VECTORS}ca.pem`)];
  await use({
    address,
    pid: role.pid,
    deadlineMs: 10_000,
    good: async () => {
      using conn = await Deno.connectTls({
        hostname: "localhost",
        port: address.port,
        caCerts,
      });
      await writeAll(conn, PING);
      assertEquals(await readExactly(conn, PING.length), PING);
    },
  }, server);
}

testUnless(
  needsLinux(),
  "a tunnel's TLS listener withstands silent, slow, half and broken handshakes",
  () =>
    withTlsTunnel([], async (victim) => {
      const half = Uint8Array.of(0x16, 3, 1, 2, 0, 1, 0, 1);
      for (const attack of inTurns(attacks({ half }))) {
        await assertWithstands(victim, attack);
      }
    }),
);

testUnless(
  needsLinux(),
  "a tunnel's TLS listener makes room for a client by the oldest handshake",
  () =>
    withTlsTunnel(["--max-connections", "4"], async (victim) => {
      const { hostname, port } = victim.address;
      const silent = await Promise.all(
        Array.from({ length: 4 }, () => Deno.connect({ hostname, port })),
      );
      await victim.good();
      // One of them has gone for it, long before the deadline.
      await Promise.race(silent.map((conn) => howItEnds(conn)));
      for (const conn of silent) conn.close();
    }),
);

for (const engine of ["portable", "linux"]) {
  testUnless(
    needsLinux(),
    `a relay of the ${engine} engine withstands clients that say nothing and end by reset`,
    async () => {
      await using server = echoServer();
      await using role = startRole("relay", [
        ...["--engine", engine, "--idle-timeout", "2"],
        ...["127.0.0.1:0", `127.0.0.1:${server.address.port}`],
      ]);
      const [, text] = await role.line(/Proxy listening on:\s+(\S+)/);
      const address = parseAddress(text!);
      const victim: Victim = {
        address,
        pid: role.pid,
        deadlineMs: 2000,
        good: () =>
          withConnection(address, async (connection) => {
            await connection.write(PING);
            await readUntil(connection, /ping/);
          }),
      };
      // Whatever bytes come are the target's matter: only silence and resets are ours.
      const list = attacks({ half: PING })
        .filter(({ name }) => /silen|reset/i.test(name));
      assertEquals(list.length > 0, true);
      for (const attack of list) await assertWithstands(victim, attack);
    },
  );
}
