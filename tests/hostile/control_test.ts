/** The tunnel's control endpoints under attack: an operator is served all the while. */
import { assertMatch } from "@std/assert";
import { parseAddress } from "../../net/address.ts";
import {
  assertWithstands,
  type Attack,
  attacks,
  inTurns,
  readUntil,
  type Victim,
  withConnection,
} from "../support/hostile.ts";
import { startRole, type TestProcess } from "../support/process.ts";
import { needsLinux, testUnless } from "../support/skip.ts";

const encode = (text: string) => new TextEncoder().encode(text);

const TOKEN = "0123456789abcdef0123456789abcdef";

/** A tunnel with both endpoints, where a token is required. */
async function withRole(
  use: (role: TestProcess) => Promise<void>,
): Promise<void> {
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, TOKEN, { mode: 0o600 });
  try {
    await using role = startRole("tunnel", [
      ...["--control-socket", "127.0.0.1:0", "--rpc-socket", "127.0.0.1:0"],
      ...["--control-token-file", file],
    ]);
    await use(role);
  } finally {
    await Deno.remove(file);
  }
}

async function lineVictim(role: TestProcess): Promise<Victim> {
  const [, text] = await role.line(/control door is open address=(\S+)/);
  const address = parseAddress(text!);
  return {
    address,
    pid: role.pid,
    deadlineMs: 30_000,
    good: () =>
      withConnection(address, async (connection) => {
        await connection.write(encode(`AUTH ${TOKEN}\nSTATUS\n`));
        await readUntil(connection, /OK\nOK: Tunnels: 0\n/);
      }),
  };
}

async function rpcVictim(role: TestProcess): Promise<Victim> {
  const [, text] = await role.line(/JSON-RPC door is open address=(\S+)/);
  const address = parseAddress(text!);
  const body = '{"jsonrpc":"2.0","id":1,"method":"numberOfTunnels"}';
  return {
    address,
    pid: role.pid,
    deadlineMs: 10_000,
    good: () =>
      withConnection(address, async (connection) => {
        await connection.write(encode(
          `POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKEN}\r\n` +
            "Content-Type: application/json\r\n" +
            `Content-Length: ${body.length}\r\n\r\n${body}`,
        ));
        assertMatch(
          await readUntil(connection, /"id":1\}/),
          /^HTTP\/1.1 200 [^]*"result":0/,
        );
      }),
  };
}

const upgrade = (headers: string) =>
  encode(
    "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n" +
      "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
      `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${headers}\r\n`,
  );

const RPC_ATTACKS: Attack[] = [
  ...attacks({
    half: encode(
      "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n",
    ),
    whole: encode("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
  }),
  {
    name: "refused upgrades that keep the socket",
    waits: true,
    begin: (socket) => socket.write(upgrade("")),
  },
  {
    name: "half a body of somebody with the token",
    waits: true,
    begin: (socket) =>
      socket.write(
        `POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKEN}\r\n` +
          "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
      ),
  },
];

for (const attack of inTurns(RPC_ATTACKS)) {
  testUnless(
    needsLinux(),
    `JSON-RPC withstands ${attack.name}`,
    () =>
      withRole(async (role) => {
        await assertWithstands(await rpcVictim(role), attack);
      }),
  );
}

const LINE_ATTACKS = attacks({
  half: encode("AUTH 0123"),
  whole: encode("HELP\n"),
});

for (const attack of inTurns(LINE_ATTACKS)) {
  testUnless(
    needsLinux(),
    `the line protocol withstands ${attack.name}`,
    () =>
      withRole(async (role) => {
        await assertWithstands(await lineVictim(role), attack);
      }),
  );
}
