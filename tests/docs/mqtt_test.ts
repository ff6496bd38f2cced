import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { HOOK_NAMES } from "../../net/mqtt/hooks/hook_chain.ts";
import { MqttMetrics } from "../../net/mqtt/metrics.ts";
import { Policy } from "../../net/mqtt/policy/policy.ts";
import { parsePolicy } from "../../net/mqtt/policy/policy_file.ts";

const page = await Deno.readTextFile(
  fromFileUrl(new URL("../../docs/mqtt.md", import.meta.url)),
);

Deno.test("docs/mqtt.md names all hooks and metrics, and no others", () => {
  const section = (heading: string) =>
    page.split(`## ${heading}\n`)[1]!.split("\n## ")[0]!;
  const firstCells = (text: string) =>
    [...text.matchAll(/^\| (`.*?`) +\|/gm)].flatMap(([, cell]) =>
      [...cell!.matchAll(/`(\w+)`/g)].map(([, name]) => name!)
    );
  assertEquals(
    firstCells(section("Hooks")).sort(),
    [...HOOK_NAMES].sort(),
  );
  const policy = new Policy(parsePolicy("", "policy.toml", () => ""));
  assertEquals(
    firstCells(section("Metrics")).sort(),
    [...new MqttMetrics().metrics(), ...policy.metrics()]
      .map(({ name }) => name).sort(),
  );
});
