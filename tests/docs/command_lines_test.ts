/** Every command line of the documentation, read by the tables that it is for. */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import manifest from "../../deno.json" with { type: "json" };
import { commands } from "../../cli/mproxy/main.ts";
import { readValues, splitArguments } from "../../cli/parse.ts";
import { allOptions } from "../../cli/run.ts";
import { UsageError } from "../../net/errors.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

/** Programs that stand in command lines and are not ours. */
const OTHERS = [
  ...["apt-get", "cat", "cd", "chmod", "cp", "curl", "docker", "ethtool"],
  ...["git", "ip", "journalctl", "jq", "mosquitto_pub", "mosquitto_sub", "nc"],
  ...["ncat", "npm", "sha256sum", "socat", "source", "sudo", "sysctl"],
  ...["systemctl", "tcpdump", "tee", "gh", "brew", "openssl", "printf", "echo"],
  ...["mkdir", "mv", "install", "mandb", "wrk", "head", "sort"],
];

function markdownFiles(folder = ""): string[] {
  return [...Deno.readDirSync(join(ROOT, folder))].flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory) {
      return /^(docs|examples|cli)$/.test(path.split("/")[0]!)
        ? markdownFiles(path)
        : [];
    }
    return path.endsWith(".md") ? [path] : [];
  }).sort();
}

/** Words of a line as a shell splits them; ends at a comment. */
function words(line: string): string[] {
  const found: string[] = [];
  const token = /\s*(?:(#.*$)|((?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])+))/gy;
  for (const [, comment, word] of line.matchAll(token)) {
    if (comment !== undefined || word === undefined) break;
    found.push(
      word.replaceAll(
        /'([^']*)'|"([^"]*)"|\\(.)/g,
        (_, a, b, c) => a ?? b ?? c,
      ),
    );
  }
  return found;
}

/** Simple commands of a line: what stands between pipes and lists. */
function simpleCommands(line: string): string[][] {
  const commands: string[][] = [[]];
  const all = words(line);
  for (let i = 0; i < all.length; i++) {
    const word = all[i]!;
    if (["|", "||", "&&", "&", ";"].includes(word)) commands.push([]);
    else if (/^\d?(>>?|<)(&\d)?$/.test(word)) i += word.includes("&") ? 0 : 1;
    else if (commands.at(-1)!.length > 0 || !/^[A-Z_]+=/.test(word)) {
      commands.at(-1)!.push(word);
    }
  }
  return commands.filter(({ length }) => length > 0);
}

interface CommandLine {
  file: string;
  line: string;
}

function commandLines(): CommandLine[] {
  return markdownFiles().flatMap((file) => {
    const text = Deno.readTextFileSync(join(ROOT, file));
    return [...text.matchAll(/^ *```(?:sh|bash)\n([\s\S]*?)^ *```/gm)].flatMap(
      ([, block]) =>
        block!.replaceAll(/\\\n\s*/g, " ").split("\n")
          .map((line) => line.trim())
          .filter((line) => line !== "" && !line.startsWith("#"))
          .map((line) => ({ file, line: line.replace(/^\$ /, "") })),
    );
  });
}

/** Arguments of a role, read as its command reads them; throws a UsageError. */
function checkRole(role: string, args: string[]): void {
  const command = commands.find(({ name }) => name === role);
  if (!command) throw new UsageError(`There is no role "${role}"`);
  const table = allOptions(command);
  const { texts, positionals } = splitArguments(args, table);
  if (positionals.length > 0 && command.positionals === undefined) {
    throw new UsageError(`${role} takes no argument "${positionals[0]}"`);
  }
  if (["help", "version", "config", "hashPassword"].some((k) => texts.has(k))) {
    return;
  }
  // A file of the reader's is not here.
  texts.delete("controlTokenFile");
  readValues(table, texts);
}

/** Arguments of `mproxy`. */
function checkAll([first = "", ...rest]: string[]): void {
  if (["--help", "--version", "-h", "-V"].includes(first)) return;
  if (first === "completions") {
    assert(["bash", "zsh", "fish"].includes(rest[0]!));
  } else if (first === "man") checkRole(rest[0]!, ["--help"]);
  else checkRole(first, rest);
}

/** Checks a simple command; false where it is not about this project. */
function checkCommand(argv: string[]): boolean {
  let [program, ...args] = argv as [string, ...string[]];
  if (["sudo", "exec", "time"].includes(program)) {
    return checkCommand(args);
  }
  if (program === "npx") {
    const at = args.findIndex((arg) => arg.startsWith("deno@"));
    assert(at >= 0);
    [program, args] = ["deno", args.slice(at + 1)];
  }
  program = program.replace(/^.*\/(?=mproxy)/, "");
  if (program === "mproxy") checkAll(args);
  else if (program.startsWith("mproxy-")) checkRole(program.slice(7), args);
  else if (program === "docker" && args[0] === "run") {
    const at = args.indexOf("mproxy");
    if (at >= 0) checkAll(args.slice(at + 1));
  } else if (program === "deno") checkDeno(args);
  else return false;
  return true;
}

function checkDeno([action = "", ...args]: string[]): void {
  if (action === "task") {
    assert(args[0]! in manifest.tasks, `There is no task "${args[0]}"`);
    return;
  }
  if (action !== "run") return;
  const at = args.findIndex((arg) => !arg.startsWith("-"));
  const script = args[at]!;
  const rest = args.slice(at + 1);
  const published = /^jsr:@mproxy\/(\w+)$/.exec(script);
  const local = /^cli\/(\w+)\/main\.ts$/.exec(script);
  if (published?.[1] === "cli" || local?.[1] === "mproxy") checkAll(rest);
  else if (published ?? local) checkRole((published ?? local)![1]!, rest);
  else assert(Deno.statSync(join(ROOT, script)).isFile);
}

Deno.test("every command line of README, docs and examples is one that the option tables take", () => {
  const wrong: string[] = [];
  let checked = 0;
  for (const { file, line } of commandLines()) {
    for (const argv of simpleCommands(line)) {
      try {
        if (checkCommand(argv)) checked++;
        else if (!OTHERS.includes(argv[0]!)) {
          throw new UsageError(`unknown program ${argv[0]}`);
        }
      } catch (error) {
        wrong.push(`${file}: ${line}\n    ${(error as Error).message}`);
      }
    }
  }
  assertEquals(wrong, []);
  // As many as there are now, or more: an expression that finds none proves nothing.
  assert(checked >= 40, `only ${checked}`);
});

Deno.test("every example of the option tables is one that they take", () => {
  for (const { name, examples } of commands) {
    assert(examples.length > 0, name);
    for (const example of examples) {
      for (const argv of simpleCommands(`mproxy ${name} ${example}`)) {
        assert(checkCommand(argv) || OTHERS.includes(argv[0]!));
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
      "deno task no_such_task",
      "deno run -A jsr:@mproxy/relay --listen nonsense:port",
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
  for (const file of markdownFiles("docs")) {
    const text = Deno.readTextFileSync(join(ROOT, file));
    for (const [, flag] of text.matchAll(/`(--[a-z][\w-]*)/g)) {
      // Deno's own permissions and switches.
      if (/^--(allow|deny|unstable)-/.test(flag!)) continue;
      const name = flag!.replaceAll("_", "-");
      if (!flags.has(name)) wrong.push(`${file}: ${flag}`);
    }
    for (const [metric] of text.matchAll(/\bmproxy_\w+/g)) {
      if (!metrics.has(metric)) wrong.push(`${file}: ${metric}`);
    }
  }
  assertEquals(wrong, []);
});
