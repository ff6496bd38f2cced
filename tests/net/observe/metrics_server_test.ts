import { assert, assertEquals, assertRejects } from "@std/assert";
import { OperationError } from "../../../net/errors.ts";
import { formatAddress } from "../../../net/address.ts";
import { serveMetrics } from "../../../net/observe/metrics_server.ts";
import { scrape } from "../../support/prometheus.ts";

const ANY = { hostname: "127.0.0.1", port: 0 };

Deno.test("serveMetrics answers /metrics with what is counted now", async () => {
  let value = 1;
  await using server = await serveMetrics({
    address: ANY,
    metrics: () => [
      {
        name: "mproxy_a_total",
        help: "A.",
        type: "counter",
        samples: [{ value }],
      },
    ],
  });
  const url = `http://${formatAddress(server.address)}/metrics`;
  assertEquals((await scrape(url)).sum("mproxy_a_total"), 1);
  value = 7;
  assertEquals((await scrape(url)).sum("mproxy_a_total"), 7);
});

Deno.test("serveMetrics says whether it is alive and ready, and why not", async () => {
  let state: boolean | string = true;
  await using server = await serveMetrics({
    address: ANY,
    metrics: () => [],
    ready: () => state,
  });
  const base = `http://${formatAddress(server.address)}`;
  const get = async (path: string, init?: RequestInit) => {
    const response = await fetch(`${base}${path}`, init);
    return [response.status, await response.text()];
  };
  assertEquals(await get("/healthz"), [200, "ok\n"]);
  assertEquals(await get("/readyz"), [200, "ready\n"]);
  state = "no backend";
  assertEquals(await get("/readyz"), [503, "no backend\n"]);
  state = false;
  assertEquals(await get("/readyz"), [503, "not ready\n"]);
  assertEquals(await get("/other"), [404, "Not found\n"]);
  assertEquals((await get("/metrics", { method: "POST" }))[0], 405);
});

Deno.test("serveMetrics names the address that it cannot have", async () => {
  await using server = await serveMetrics({ address: ANY, metrics: () => [] });
  const { message, code } = await assertRejects(
    () => serveMetrics({ address: server.address, metrics: () => [] }),
    OperationError,
  );
  assertEquals(code, "EADDRINUSE");
  assert(message.includes(formatAddress(server.address)), message);
});

Deno.test("serveMetrics ends although a client holds a connection and half a request", async () => {
  const server = await serveMetrics({ address: ANY, metrics: () => [] });
  const { hostname, port } = server.address;
  using client = await Deno.connect({ hostname, port });
  await client.write(new TextEncoder().encode("GET /metrics HTTP/1.1\r\n"));
  using idle = await Deno.connect({ hostname, port });
  await idle.write(
    new TextEncoder().encode("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
  );
  await idle.read(new Uint8Array(1024));
  await server[Symbol.asyncDispose]();
});
