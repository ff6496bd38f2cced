import {
  assertEquals,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { UsageError } from "../../../net/errors.ts";
import { checkRoutes, TunnelRouteError } from "../../../net/tunnel/routes.ts";
import {
  DEFAULT_TUNNEL_OPTIONS,
  parseSocket,
  parseTunnel,
} from "../../../net/tunnel/spec.ts";
import { Tunnels } from "../../../net/tunnel/tunnels.ts";
import { TcpRelay } from "../../../net/relay/relay.ts";
import { STREAM_ENGINE } from "../../support/engines.ts";
import { LogWatch } from "../../support/log_watch.ts";
import { echoServer, refusingAddress } from "../../support/tcp.ts";

const OWN = new Set(["127.0.0.1", "192.0.2.7"]);

function check(...tunnels: string[]): void {
  checkRoutes(tunnels.map(parseTunnel), OWN);
}

Deno.test("checkRoutes refuses a tunnel that leads to itself, directly or over others", () => {
  const loops = [
    ["3000=3000"],
    ["3000=4000,localhost:3000"],
    ["localhost:3000=LOCALHOST:3000"],
    ["127.0.0.1:3000=0.0.0.0:3000"],
    ["0.0.0.0:3000=127.0.0.9:3000"],
    ["0.0.0.0:3000=192.0.2.7:3000"],
    ["[::]:3000=192.0.2.7:3000"],
    ["[::]:3000=[::1]:3000"],
    ["3000=[::ffff:127.0.0.1]:3000"],
    ["3000=3001", "3001=3000"],
    ["1=2", "5=6", "2=3", "3=9,1"],
  ];
  for (const loop of loops) {
    assertThrows(() => check(...loop), TunnelRouteError);
  }
});

Deno.test("checkRoutes refuses port 0 as a remote's", () => {
  // RFC 6335, 6: reserved; connect(2) to it fails always.
  for (const tunnel of ["3000=0", "0=4000,web1:0", "0=[::1]:0"]) {
    const error = assertThrows(() => check(tunnel), TunnelRouteError);
    assertMatch(error.message, /port 0 cannot be connected to/);
  }
});

Deno.test("checkRoutes allows chains, other hosts and other families", () => {
  check("3000=3001,3001", "3001=3002", "3005=3001");
  check("3000=127.0.0.2:3000");
  check("0.0.0.0:3000=192.0.2.8:3000");
  check("0.0.0.0:3000=[::1]:3000");
  check("0=0.0.0.0:1", "0=1");
  check("3000=web1:3000");
});

Deno.test("Tunnels refuses a loop when it opens, adds, starts and reloads, and keeps what is open", async () => {
  const watch = new LogWatch();
  await using echo = echoServer();
  const options = { log: watch.log, engine: STREAM_ENGINE };
  const { port } = refusingAddress();
  await assertRejects(
    () => Tunnels.start({ ...options, tunnels: [`${port}=${port}`] }),
    TunnelRouteError,
  );
  let configured = [`0=${echo.address.port}`];
  await using tunnels = await Tunnels.start({
    ...options,
    load: () => ({
      tunnels: configured.map(parseTunnel),
      defaults: DEFAULT_TUNNEL_OPTIONS,
    }),
  });
  const [tunnel] = tunnels.list();
  const own = tunnel!.address.port;
  await assertRejects(
    () => tunnels.addRemote(tunnel!.address, parseSocket(`${own}`)),
    TunnelRouteError,
  );
  await assertRejects(() => tunnels.open(`${port}=${port}`), TunnelRouteError);
  await tunnels.open(`${port}=${own}`);
  await assertRejects(
    () => tunnels.addRemote(tunnel!.address, parseSocket(`${port}`)),
    TunnelRouteError,
  );
  assertEquals(tunnel!.remotes.length, 1);
  configured = [`${own}=${own}`];
  await assertRejects(() => tunnels.reload(), TunnelRouteError);
  assertEquals(tunnels.list().length, 2);
});

Deno.test("TcpRelay.bind() refuses itself as its target", async () => {
  const { port } = refusingAddress();
  for (const target of [`127.0.0.1:${port}`, `localhost:${port}`]) {
    await assertRejects(
      () =>
        TcpRelay.bind(`127.0.0.1:${port}`, target, { engine: STREAM_ENGINE }),
      UsageError,
      "it is the relay itself",
    );
  }
});
