/** Completions and manual pages, read by the programs for which they are written. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { completionScript, SHELLS } from "../../cli/completions.ts";
import { manualPage, programPage } from "../../cli/manual.ts";
import { commands } from "../../cli/mproxy/main.ts";
import { flagName } from "../../cli/parse.ts";
import { allOptions } from "../../cli/run.ts";
import { withFolder } from "../support/folder.ts";
import { startRole } from "../support/process.ts";
import { needsProgram, testUnless } from "../support/skip.ts";

const ALL = commands.map((command) => ({
  command,
  table: allOptions(command),
}));

/** Names of a command's flags that are shown. */
function flagNames(table: typeof ALL[number]["table"]): string[] {
  return Object.entries(table).filter(([, { hidden }]) => !hidden).flatMap((
    [key, { short, negatable }],
  ) => [
    ...short ? [`-${short}`] : [],
    `--${flagName(key)}`,
    ...negatable ? [`--no-${flagName(key)}`] : [],
  ]);
}

async function run(
  program: string,
  args: string[],
  input: string,
  cwd?: string,
): Promise<string> {
  const child = new Deno.Command(program, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    ...cwd === undefined ? {} : { cwd },
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { stdout, stderr } = await child.output();
  assertEquals(new TextDecoder().decode(stderr), "");
  return new TextDecoder().decode(stdout);
}

/** What bash offers for the last of these words. */
async function bashOffers(words: string[], cwd?: string): Promise<string[]> {
  const quoted = words.map((word) => `'${word}'`).join(" ");
  const out = await run(
    "bash",
    ["--norc", "-s"],
    `${completionScript("bash", "mproxy", ALL)}
COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}
_mproxy '${words[0]}'
printf '%s\\n' "\${COMPREPLY[@]}"
`,
    cwd,
  );
  return out.split("\n").filter(Boolean).sort();
}

const needsBash = needsProgram("bash");

testUnless(
  needsBash,
  "bash completes roles, and both extra commands",
  async () => {
    assertEquals(await bashOffers(["mproxy", "re"]), ["relay", "reverseproxy"]);
    assertEquals(await bashOffers(["mproxy", "man", "tun"]), ["tunnel"]);
    assertEquals(
      await bashOffers(["mproxy", "completions", ""]),
      [...SHELLS].sort(),
    );
  },
);

testUnless(
  needsBash,
  "bash completes every flag of every role, in both programs",
  async () => {
    for (const { command: { name }, table } of ALL) {
      const wanted = flagNames(table).sort();
      assertEquals(await bashOffers(["mproxy", name, "-"]), wanted);
      assertEquals(await bashOffers([`/opt/bin/mproxy-${name}`, "-"]), wanted);
    }
  },
);

testUnless(
  needsBash,
  "bash completes fixed values and files, and no flag where a value is wanted",
  () =>
    withFolder(async (folder) => {
      await Deno.writeTextFile(join(folder, "a b.log"), "");
      await Deno.writeTextFile(join(folder, "c.log"), "");
      const engines = ["auto", "linux", "portable"];
      assertEquals(
        await bashOffers(["mproxy", "client", "--engine", ""]),
        engines,
      );
      assertEquals(
        await bashOffers(["mproxy", "client", "--engine", "=", "li"]),
        ["linux"],
      );
      assertEquals(
        await bashOffers(["mproxy", "client", "--path", ""], folder),
        [
          "a b.log",
          "c.log",
        ],
      );
      assertEquals(await bashOffers(["mproxy", "client", "--rate", ""]), []);
    }),
);

testUnless(
  needsProgram("zsh"),
  "zsh takes the script for correct",
  async () => {
    await run("zsh", ["-fn"], completionScript("zsh", "mproxy", ALL));
    const functions = await run(
      "zsh",
      ["-fs"],
      `autoload -Uz compinit; compinit -D\n${
        completionScript("zsh", "mproxy", ALL)
      }\nprint $_comps[mproxy-relay]\n`,
    );
    assertEquals(functions, "_mproxy\n");
  },
);

/** What an interactive zsh offers at the end of each line. */
function zshOffers(lines: readonly string[]): Promise<string[][]> {
  return withFolder(async (folder) => {
    await Deno.writeTextFile(
      join(folder, "_mproxy"),
      completionScript("zsh", "mproxy", ALL),
    );
    const script = fromFileUrl(
      new URL("../support/zsh/offers.zsh", import.meta.url),
    );
    const said = await run(
      "zsh",
      ["-f", script, folder],
      lines.map((line) => `${line}\n`).join(""),
    );
    return said.split("<end>\n").slice(0, -1).map((offers) =>
      [...new Set(offers.split("\n").filter(Boolean))].sort()
    );
  });
}

testUnless(
  needsProgram("zsh"),
  "zsh completes roles, flags, fixed values in both spellings, and files",
  async () => {
    const wanted = {
      "mproxy re": ["relay", "reverseproxy"],
      "mproxy man tun": ["tunnel"],
      "mproxy completions f": ["fish"],
      "mproxy relay --h": ["--half-close-timeout", "--help"],
      "mproxy-client --server-a": ["--server-addr"],
      "mproxy client --engine li": ["linux"],
      "mproxy client --engine=li": ["linux"],
      "mproxy client --path /etc/host": ["hosts"],
      "mproxy client --path=/etc/hosts": ["hosts"],
      "mproxy client --rate 5": [],
      "mproxy server x": [],
    };
    const offers = await zshOffers(Object.keys(wanted));
    assertEquals(
      Object.fromEntries(
        Object.keys(wanted).map((line, i) => [
          line,
          // Other files of the machine, and the sign behind a flag, aside.
          offers[i]!.map((one) => one.replace(/=$/, "")).filter((one) =>
            !line.includes("/etc/") || one === "hosts"
          ),
        ]),
      ),
      wanted,
    );
  },
);

testUnless(
  needsProgram("fish"),
  "fish completes roles, flags and fixed values",
  async () => {
    const script = completionScript("fish", "mproxy", ALL);
    const offers = async (line: string) =>
      (await run("fish", ["--no-config"], `${script}\ncomplete -C '${line}'\n`))
        .split("\n").map((one) => one.split("\t")[0]).filter(Boolean);
    assertEquals((await offers("mproxy re")).sort(), ["relay", "reverseproxy"]);
    assertEquals(await offers("mproxy client --engine li"), ["linux"]);
    assertEquals(await offers("mproxy-client --server-a"), ["--server-addr"]);
  },
);

Deno.test("completionScript of zsh and fish name every flag of every role", () => {
  const zsh = completionScript("zsh", "mproxy", ALL);
  const fish = completionScript("fish", "mproxy", ALL);
  for (const { command: { name }, table } of ALL) {
    const [, body] = zsh.split(`_mproxy_${name}() {\n`);
    for (const flag of flagNames(table)) {
      assert(
        new RegExp(`'\\*?${flag}=?\\[`).test(body!.split("\n}\n")[0]!),
        `${name} ${flag}`,
      );
      const written = flag.startsWith("--")
        ? `-l ${flag.slice(2)} `
        : `-s ${flag.slice(1)} `;
      assert(
        fish.split("\n").some((line) =>
          line.startsWith(`complete -c mproxy-${name} ${written}`)
        ),
        `${name} ${flag}`,
      );
    }
  }
  // Quotes are in pairs on each line, so a help's apostrophe ends nothing early.
  for (const line of [...zsh.split("\n"), ...fish.split("\n")]) {
    if (line.startsWith("#")) continue;
    const bare = line.replaceAll("\\'", "");
    assertEquals(bare.split("'").length % 2, 1, line);
  }
});

testUnless(
  needsProgram("groff"),
  "groff formats every manual page without a warning",
  async () => {
    for (const { command, table } of ALL) {
      const page = manualPage("mproxy", command, table, "1.2.3");
      const text = (await run(
        "groff",
        ["-man", "-Tascii", "-ww", "-P-c", "-P-b", "-P-u", "-rLL=500n"],
        page,
      )).replaceAll(/\s+/g, " ");
      for (const heading of ["NAME", "SYNOPSIS", "EXIT STATUS", "SIGNALS"]) {
        assert(text.includes(` ${heading} `), heading);
      }
      for (const flag of flagNames(table)) {
        const shown = flag.replace(/^--(no-)?/, "--[no-]");
        assert(text.includes(flag) || text.includes(shown), `${flag}\n${text}`);
      }
      for (const example of command.examples) {
        assert(
          text.includes(`mproxy-${command.name} ${example}`),
          `${example}\n${text}`,
        );
      }
    }
  },
);

testUnless(
  needsProgram("groff"),
  "groff formats the page of the all-in-one, which leads to every role's",
  async () => {
    const text = await run(
      "groff",
      ["-man", "-Tascii", "-ww", "-P-c", "-P-b", "-P-u"],
      programPage("mproxy", ALL.map(({ command }) => command), "1.2.3"),
    );
    for (const { command: { name } } of ALL) {
      assert(text.includes(`mproxy-${name}(1)`), name);
    }
    assertMatch(text, /mproxy completions bash\|zsh\|fish/);
  },
);

testUnless(
  needsProgram("man"),
  "man shows a page",
  () =>
    withFolder(async (folder) => {
      const { command, table } = ALL[0]!;
      const file = join(folder, "mproxy-client.1");
      await Deno.writeTextFile(
        file,
        manualPage("mproxy", command, table, "1.2.3"),
      );
      const text = await run("man", ["--warnings", "-l", file], "");
      assertMatch(text, /mproxy 1\.2\.3/);
    }),
);

Deno.test("the all-in-one prints completions and manual pages, and refuses others", async () => {
  for (
    const [args, code, said] of [
      [["completions", "bash"], 0, /^# bash completion/],
      [["man", "relay"], 0, /^\.TH MPROXY/],
      [["completions", "csh"], 2, /requires one of bash, zsh, fish/],
      [["man"], 2, /requires one of client/],
    ] as const
  ) {
    await using process = startRole("mproxy", args);
    const end = await process.end;
    assertEquals(end.code, code);
    assertMatch(new TextDecoder().decode(end.stdout) + end.stderr, said);
  }
});
