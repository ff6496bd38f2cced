import { assert, assertEquals } from "@std/assert";
import { tunnelMetrics } from "../../../net/tunnel/metrics.ts";
import { Tunnels } from "../../../net/tunnel/tunnels.ts";
import { LogWatch } from "../../support/log_watch.ts";

const README = Deno.readTextFileSync(
  new URL("../../../cli/tunnel/README.md", import.meta.url),
);

Deno.test("tunnelMetrics has what its documentation has: names, types and labels", async () => {
  await using tunnels = await Tunnels.start({
    tunnels: ["0=1"],
    log: new LogWatch().log,
  });
  const documented = [...README.matchAll(
    /^\| `(mproxy_\w+)` +\| (\w+) +\| ([\w, ]*?) *\|/gm,
  )].map(([, name, type, labels]) => `${name} ${type} ${labels}`);
  const served = tunnelMetrics(tunnels).map(({ name, type, samples }) => {
    const labels = Object.keys(samples[0]!.labels ?? {});
    return `${name} ${type} ${labels.filter((one) => one !== "le").join(", ")}`;
  });
  assertEquals(served.toSorted(), documented.toSorted());
});

Deno.test("tunnelMetrics has the original's names under plexy only", async () => {
  await using tunnels = await Tunnels.start({
    tunnels: ["0=1"],
    log: new LogWatch().log,
  });
  const ours = new Set(tunnelMetrics(tunnels).map(({ name }) => name));
  const added = tunnelMetrics(tunnels, "plexy")
    .filter(({ name }) => !ours.has(name));
  assertEquals(added.length, 13);
  for (const { name } of added) assert(README.includes(`\`${name}\``), name);
});
