/** Dials without a local port left, on both stream engines, in a namespace that has two. */
import { assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { testOnEngines } from "../support/engines.ts";
import { NetworkNamespace } from "../support/namespaces.ts";
import { needsNetworkNamespaces } from "../support/skip.ts";

const PROGRAM = fromFileUrl(
  new URL("../support/port_shortage.ts", import.meta.url),
);

testOnEngines(
  "a dial for which no local port is left lacks resources, and others go on",
  async (engine) => {
    await using namespace = await NetworkNamespace.create();
    await namespace.run(
      "sysctl",
      ...["-qw", "net.ipv4.ip_local_port_range=40000 40001"],
    );
    const out = await namespace.run(
      Deno.execPath(),
      ...["run", "-A", PROGRAM, engine],
    );
    const { detail, ...found } = JSON.parse(out);
    assertMatch(detail, /EADDRNOTAVAIL|assign requested address/);
    assertEquals(found, {
      failure: "resources",
      reason: "connect-failed",
      resources: 1,
      acceptErrors: 0,
      open: 2,
    });
  },
  needsNetworkNamespaces(),
);
