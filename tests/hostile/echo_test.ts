/** The TCP echo server under attack: a client is served all the while. */
import { parseAddress } from "../../net/address.ts";
import {
  assertWithstands,
  attacks,
  inTurns,
  readUntil,
  withConnection,
} from "../support/hostile.ts";
import { startRole } from "../support/process.ts";
import { needsLinux, testUnless } from "../support/skip.ts";

const PING = new TextEncoder().encode("ping");

testUnless(
  needsLinux(),
  "a TCP echo server withstands clients that are silent, take nothing and reset",
  async () => {
    await using role = startRole("echo", [
      ...["127.0.0.1:0", "--protocol", "tcp", "--idle-timeout", "2"],
    ]);
    const [, text] = await role.line(/listening address=(\S+)/);
    const address = parseAddress(text!);
    const victim = {
      address,
      pid: role.pid,
      // The check of idle clients takes half a second more.
      deadlineMs: 2500,
      good: () =>
        withConnection(address, async (connection) => {
          await connection.write(PING);
          await readUntil(connection, /ping/);
        }),
    };
    // Whoever sends bytes again and again, and takes them, is served.
    const list = attacks({ half: PING })
      .filter(({ name }) => name !== "a byte a second");
    for (const attack of inTurns(list)) await assertWithstands(victim, attack);
  },
);
