/** The metrics endpoint under attack: a liveness probe is answered all the while. */
import { assertMatch } from "@std/assert";
import { parseAddress } from "../../net/address.ts";
import {
  assertWithstands,
  attacks,
  inTurns,
  readUntil,
  type Victim,
  withConnection,
} from "../support/hostile.ts";
import { startRole, type TestProcess } from "../support/process.ts";
import { needsLinux, testUnless } from "../support/skip.ts";

const encode = (text: string) => new TextEncoder().encode(text);

/** The endpoint's deadline for a request, and for the answer to be read. */
const DEADLINE_MS = 10_000;

async function victimOf(role: TestProcess): Promise<Victim> {
  const [, url] = await role.line(/url=http:\/\/(\S+)\/metrics/);
  const address = parseAddress(url!);
  return {
    address,
    pid: role.pid,
    deadlineMs: DEADLINE_MS,
    good: () =>
      withConnection(address, async (connection) => {
        await connection.write(
          encode("GET /healthz HTTP/1.1\r\nHost: probe\r\n\r\n"),
        );
        assertMatch(await readUntil(connection, /ok\n/), /^HTTP\/1.1 200 /);
      }),
  };
}

const PHRASES = {
  half: encode("GET /metrics HTTP/1.1\r\nHost: a\r\nX-Slow: "),
  whole: encode("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"),
  oversize: encode("X-Long: ".padEnd(65536, "y")),
};

for (const attack of inTurns(attacks(PHRASES))) {
  testUnless(
    needsLinux(),
    `the metrics endpoint withstands ${attack.name}`,
    async () => {
      await using role = startRole("echo", [
        ...["--listen", "127.0.0.1:0", "--metrics-addr", "127.0.0.1:0"],
      ]);
      await assertWithstands(await victimOf(role), attack);
    },
  );
}
