import { assert, assertEquals } from "@std/assert";
import {
  type Command,
  flag,
  list,
  text,
  toggle,
  value,
} from "../../cli/command.ts";
import { helpText } from "../../cli/help.ts";
import { allOptions } from "../../cli/run.ts";
import { flagName, readValues, splitArguments } from "../../cli/parse.ts";
import { command as client } from "../../cli/client/main.ts";
import { commands } from "../../cli/mproxy/main.ts";
import { command as proxy } from "../../cli/proxy/main.ts";
import { command as reverseproxy } from "../../cli/reverseproxy/main.ts";
import { command as server } from "../../cli/server/main.ts";

const command: Command = {
  name: "sample",
  summary: "Do a thing",
  description: "More about it. ".repeat(20).trim(),
  options: {
    path: value("A file", "FILE", text, { required: true }),
    serverAddr: list("Where to send", "HOST:PORT", text),
    tee: flag("Copy", { short: "t" }),
    loop: toggle("Hear oneself", { group: "Socket options" }),
    ttl: value("Hops", "N", text, { fallback: 4, group: "Socket options" }),
    aRatherLongNameOfAnOption: value("Long", "SOMETHING", text),
    old: flag("Older", { hidden: true }),
  },
  examples: ["--path x --server-addr a:1"],
  start: () => Promise.resolve(undefined),
};

Deno.test("helpText shows names, placeholders, defaults, groups and examples", () => {
  const help = helpText("mproxy-sample", command, command.options);
  const lines = help.split("\n");
  assertEquals(lines[0], "mproxy-sample: Do a thing");
  for (
    const wanted of [
      "  mproxy-sample [OPTIONS]",
      "      --path FILE                 A file (required)",
      "      --server-addr HOST:PORT     Where to send (may be repeated)",
      "  -t, --tee                       Copy",
      "Socket options:",
      "      --[no-]loop                 Hear oneself",
      "      --ttl N                     Hops (default 4)",
      "      --a-rather-long-name-of-an-option SOMETHING",
      "                                  Long",
      "  mproxy-sample --path x --server-addr a:1",
    ]
  ) assert(lines.includes(wanted), `${wanted}\n${help}`);
  assert(!help.includes("--old"));
  assert(lines.every((line) => line.length <= 80));
});

for (const role of commands) {
  Deno.test(`helpText of ${role.name} shows every option of its table once`, () => {
    const table = allOptions(role);
    const help = helpText(`mproxy-${role.name}`, role, table);
    for (const [key, option] of Object.entries(table)) {
      const name = option.negatable
        ? `--[no-]${flagName(key)}`
        : `--${flagName(key)}`;
      const shown = help.split("\n").filter((line) =>
        new RegExp(`^  (-\\w, |    )${name.replace(/[[\]]/g, "\\$&")}( |$)`)
          .test(line)
      );
      assertEquals(shown.length, option.hidden ? 0 : 1, name);
    }
    assertEquals(help.split("\n").filter((line) => line.endsWith(" ")), []);
    // Only examples, which are for copying, may be wider than a terminal.
    const [before] = help.split("Examples:");
    assert(before!.split("\n").every((line) => line.length <= 80), before);
  });
}

/** Command lines of the READMEs that these roles answer to, as they are printed there. */
const ORIGINALS: readonly [command: Command, lines: readonly string[]][] = [
  [client, [
    "--path /dev/random --server-addr 127.0.0.1:9920 --server-addr [::1]:9921",
    "--path - --server-addr 224.0.0.1:9922 --server-addr [ff02::1]:9923 --tee",
    "--path /dev/random --server_addr 127.0.0.1:9921",
    "--path x --server-addr localhost:9920 -t",
  ]],
  [proxy, [
    "--udp-listen-addr 0.0.0.0:9920 --udp-downstream-addr [::1]:9921 " +
    "--udp-downstream-addr localhost:9922 --tcp-connect-addr localhost:9925 --tee",
    "--listen_addr 0.0.0.0:9921 --downstream_addr [::1]:9922 --tee",
  ]],
  [reverseproxy, [
    "--udp-listen-addr 0.0.0.0:9920 --tcp-output-addr [::1]:9921 --multicast-addr 224.0.0.1:9922",
    "--udp_listen_addr 0.0.0.0:9921 --tcp_listen_addr 0.0.0.0:9921 --multicast_addr 224.0.0.1:9922",
    "--udp-listen-addr=0.0.0.0:9920 --udp_output_addr=127.0.0.1:9921 -t",
  ]],
  [server, [
    "--path logfile.log --listen-addr 127.0.0.1:9920 --listen-addr [::1]:9921",
    "--path logfile.log --listen_addr 0.0.0.0:9921 --listen_addr [::]:9922",
  ]],
];

for (const [role, lines] of ORIGINALS) {
  Deno.test(`${role.name} reads the command lines of the READMEs, and its own examples`, () => {
    const table = allOptions(role);
    const own = role.examples.map((example) =>
      example.replaceAll("'", "").replace(/ (>>|\|) .*/, "")
    );
    for (const line of [...lines, ...own]) {
      const { texts, positionals } = splitArguments(line.split(" "), table);
      assertEquals(positionals, [], line);
      readValues(table, texts);
    }
  });
}

Deno.test("helpText of reverseproxy explains where subscribers connected in the oldest tool", () => {
  const help = helpText("mproxy-reverseproxy", reverseproxy);
  assert(
    /oldest MPROXY[^]*--tcp_listen_addr[^]*--tcp-output-addr now/.test(help),
    help,
  );
});
