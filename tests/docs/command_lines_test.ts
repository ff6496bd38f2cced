/** Every command line of the documentation, read by the tables that it is for. */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { commands } from "../../cli/mproxy/main.ts";
import { allOptions } from "../../cli/run.ts";
import {
  checkCommand,
  type CommandLine,
  fencedLines,
  inlineLines,
  linesOf,
  markdownFiles,
  simpleCommands,
} from "../support/command_lines.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

/** What is wrong in lines, and how many of their commands are of this project. */
function checkLines(
  lines: readonly CommandLine[],
): { wrong: string[]; checked: number } {
  const wrong: string[] = [];
  let checked = 0;
  for (const { file, line, refused } of lines) {
    for (const argv of simpleCommands(line)) {
      let said: string | undefined;
      try {
        if (checkCommand(argv)) checked++;
      } catch (error) {
        said = (error as Error).message;
      }
      if (said !== refused) wrong.push(`${file}: ${line}\n    ${said}`);
    }
  }
  return { wrong, checked };
}

Deno.test("every fenced command line of the documentation is one that programs and tasks take", () => {
  const { wrong, checked } = checkLines(fencedLines());
  assertEquals(wrong, []);
  // As many as there are now, or more: an expression that finds none proves nothing.
  assert(checked >= 60, `only ${checked}`);
});

Deno.test("every command line inside a sentence is one that programs and tasks take", () => {
  const { wrong, checked } = checkLines(inlineLines());
  assertEquals(wrong, []);
  assert(checked >= 40, `only ${checked}`);
});

Deno.test("command lines are found in every fence, and in none that is code", () => {
  const text = [
    ...["```sh", "one \\", "  --more", "# no", "", "two", "```"],
    ...["1. In a list:", "", "   ```bash", "   three", "   ```"],
    ...["```", "$ four --flag", "what it says", "```"],
    ...["~~~console", "$ five", "its output", "~~~"],
    ...["```ts", "$ nothing", "```", "As `mproxy relay 1 2` and", "`mproxy"],
    "man relay` say, but not `mproxy` alone.",
  ].join("\n");
  assertEquals(linesOf(text), {
    fenced: ["one --more", "two", "three", "four --flag", "five"],
    inline: ["mproxy relay 1 2", "mproxy man relay"],
  });
});

Deno.test("every example of the option tables is one that they take", () => {
  for (const { name, examples } of commands) {
    assert(examples.length > 0, name);
    for (const example of examples) {
      for (const argv of simpleCommands(`mproxy ${name} ${example}`)) {
        checkCommand(argv);
      }
    }
  }
});

Deno.test("a wrong command line is found", () => {
  for (
    const line of [
      "mproxy client --path x --server-addr 127.0.0.1",
      "mproxy client --path x --sever-addr 127.0.0.1:1",
      "mproxy-clint --path x",
      "mproxy nothing",
      "mproxy completions csh",
      "mproxy relay 8080",
      "mproxy relay 8080 8081x",
      "mproxy tunnel 3000-4000",
      "mproxy tunnel --config x.toml --remote-retries many",
      "deno task no_such_task",
      "deno task demo --no-such",
      "deno task compile --target vax",
      "deno task compile no_role",
      "deno task bench dispach",
      "deno task bench dispatch --olny dgram",
      "deno run -A jsr:@mproxy/relay --listen nonsense:port",
      "deno run --alow-net jsr:@mproxy/relay 1 2",
      "deno run -A tools/no_such.ts",
      "no-such-program",
    ]
  ) {
    let error: unknown;
    try {
      simpleCommands(line).forEach(checkCommand);
    } catch (thrown) {
      error = thrown;
    }
    assert(error instanceof Error, line);
  }
});

Deno.test("every link of the documentation leads to a file and a heading that there are", () => {
  const wrong: string[] = [];
  for (const file of markdownFiles()) {
    const text = Deno.readTextFileSync(join(ROOT, file));
    const bare = text.replaceAll(/^```[\s\S]*?^```/gm, "");
    for (const [, link] of bare.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link!)) continue;
      const [path, anchor] = link!.split("#");
      const target = path === ""
        ? join(ROOT, file)
        : join(ROOT, file, "..", path!);
      try {
        if (anchor === undefined) Deno.statSync(target);
        else {
          const ids = [
            ...Deno.readTextFileSync(target).matchAll(/^#+ (.*)$/gm),
          ].map(([, heading]) =>
            heading!.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "")
              .replaceAll(" ", "-")
          );
          assert(ids.includes(anchor), "no such heading");
        }
      } catch (error) {
        wrong.push(`${file}: ${link}: ${(error as Error).message}`);
      }
    }
  }
  assertEquals(wrong, []);
});

Deno.test("every flag and metric that the documentation names is one that there is", () => {
  const flags = new Set(
    commands.flatMap((command) =>
      Object.entries(allOptions(command)).flatMap(([key, { aliases }]) =>
        [
          key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
          ...aliases ?? [],
        ].flatMap((name) => [`--${name}`, `--no-${name}`])
      )
    ),
  );
  const metrics = new Set<string>();
  const collect = (folder: string) => {
    for (const { name, isDirectory } of Deno.readDirSync(join(ROOT, folder))) {
      if (isDirectory) collect(`${folder}/${name}`);
      else if (name.endsWith(".ts")) {
        const text = Deno.readTextFileSync(join(ROOT, folder, name));
        for (const [found] of text.matchAll(/\bmproxy_\w+/g)) {
          metrics.add(found);
        }
      }
    }
  };
  collect("net");
  const wrong: string[] = [];
  // Those of the tasks, and what stands for any.
  for (
    const name of ["--quick", "--list", "--only", "--target", "--check", "--a"]
  ) {
    flags.add(name);
  }
  for (const file of markdownFiles()) {
    const text = Deno.readTextFileSync(join(ROOT, file));
    for (const [, flag] of text.matchAll(/`(--[a-z][\w-]*)/g)) {
      // Deno's own permissions and switches.
      if (/^--(allow|deny|unstable)-|^--env-file$/.test(flag!)) continue;
      const name = flag!.replaceAll("_", "-");
      if (!flags.has(name)) wrong.push(`${file}: ${flag}`);
    }
    for (const [metric] of text.matchAll(/\bmproxy_\w+/g)) {
      if (!metrics.has(metric)) wrong.push(`${file}: ${metric}`);
    }
  }
  assertEquals(wrong, []);
});
