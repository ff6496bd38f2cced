/** What docs/security.md says of doors, beside the options that open one. */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { commands } from "../../cli/mproxy/main.ts";
import { flagName } from "../../cli/parse.ts";
import { allOptions } from "../../cli/run.ts";

const PAGE = await Deno.readTextFile(
  fromFileUrl(new URL("../../docs/security.md", import.meta.url)),
);

Deno.test("docs/security.md says of every option that opens a door who gets in", () => {
  const [, table] = /## What each door lets in\n\n([\s\S]*?)\n\n/.exec(PAGE)!;
  const rows = table!.split("\n").slice(2).map((row) =>
    row.split("|").slice(1, -1).map((cell) => cell.trim())
  );
  for (const [door, flags, who] of rows) {
    assert(door && flags && who && who.length > 10, door);
  }
  const said = rows.map(([, flags]) => flags).join(" ");
  const doors = commands.flatMap((command) =>
    Object.entries(allOptions(command)).filter(([key, { placeholder }]) =>
      /^(HOST:PORT|URL)$/.test(placeholder ?? "") &&
      /listen|tcpOutput|socket|metricsAddr/i.test(key)
    ).map(([key]) => `--${flagName(key)}`)
  );
  assert(new Set(doors).size >= 8, doors.join());
  assertEquals(
    [...new Set(doors)].filter((flag) => !said.includes(`\`${flag}\``)),
    [],
  );
  // Each role that serves stands there by its own name or by its flag.
  for (const role of ["relay", "tunnel", "echo", "MQTT"]) {
    assert(rows.some(([door]) => door!.includes(role)), role);
  }
});
