/** Command lines of the documentation, and what says whether they are right. */
import { assert } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { programs, TARGETS } from "../../tools/compile.ts";
import manifest from "../../deno.json" with { type: "json" };
import { commands } from "../../cli/mproxy/main.ts";
import type { Command } from "../../cli/command.ts";
import { readValues, splitArguments } from "../../cli/parse.ts";
import { allOptions } from "../../cli/run.ts";
import { parseAddress } from "../../net/address.ts";
import { UsageError } from "../../net/errors.ts";
import { parseTunnel } from "../../net/tunnel/spec.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

/** A command line, and where it stands. */
export interface CommandLine {
  readonly file: string;
  readonly line: string;
  /** What it says that is wrong with it, where it is shown for that. */
  readonly refused?: string;
}

/** Programs that stand in command lines and are not ours. */
const OTHERS = [
  ...["apt-get", "cat", "cd", "chmod", "cp", "curl", "docker", "ethtool"],
  ...["ffmpeg"],
  ...["git", "ip", "journalctl", "jq", "mosquitto_pub", "mosquitto_sub", "nc"],
  ...["ncat", "npm", "sha256sum", "socat", "source", "sudo", "sysctl"],
  ...["systemctl", "tcpdump", "tee", "gh", "brew", "openssl", "printf", "echo"],
  ...["mkdir", "mv", "install", "mandb", "wrk", "head", "sort"],
];

/** What stands in command lines for what a reader puts there. */
const PLACEHOLDERS: Readonly<Record<string, string>> = {
  "GROUP:PORT": "239.1.2.3:9922",
  "HOST:PORT": "127.0.0.1:9920",
  ROLE: "relay",
  "X.Y.Z": "1.2.3",
};

/** Languages of fences in which no command line stands. */
const NO_COMMANDS = ["text", "ts", "toml", "json", "ini", "yaml"];

/** All Markdown files of the project that are written by hand or from tables. */
export function markdownFiles(folder = ""): string[] {
  return [...Deno.readDirSync(join(ROOT, folder))].flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory) {
      return /^(docs|examples|cli|packaging|\.github)$/.test(
          path.split("/")[0]!,
        )
        ? markdownFiles(path)
        : [];
    }
    return path.endsWith(".md") ? [path] : [];
  }).sort();
}

/** A fenced block. */
interface Fence {
  readonly language: string;
  readonly body: string;
}

/** All fences of a text; throws where one does not end. */
function fences(text: string): Fence[] {
  const found: Fence[] = [];
  let open: { mark: string; language: string; lines: string[] } | undefined;
  for (const line of text.split("\n")) {
    const [, mark, language] = /^\s*(```+|~~~+)\s*(\S*)/.exec(line) ?? [];
    if (open) {
      if (mark?.startsWith(open.mark) && language === "") {
        found.push({ language: open.language, body: open.lines.join("\n") });
        open = undefined;
      } else open.lines.push(line);
    } else if (mark) open = { mark, language: language!, lines: [] };
  }
  if (open) throw new TypeError(`A fence does not end: ${open.lines[0]}`);
  return found;
}

/** Lines of a block that a shell is given: all in one for a shell, those behind `$` elsewhere. */
function blockLines({ language, body }: Fence): string[] {
  if (NO_COMMANDS.includes(language)) return [];
  const shell = ["sh", "bash", "shell", "console"].includes(language);
  if (!shell && language !== "") {
    throw new TypeError(`A fence has the unknown language "${language}"`);
  }
  const lines = body.replaceAll(/\s*\\\n\s*/g, " ").split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  return shell && !lines.some((line) => line.startsWith("$ "))
    ? lines
    : lines.filter((line) => line.startsWith("$ ")).map((line) =>
      line.slice(2)
    );
}

/** Command lines of a text in Markdown: of its fences, and what is written inside a sentence. */
export function linesOf(text: string): { fenced: string[]; inline: string[] } {
  const bare = text.replaceAll(/^\s*(```+|~~~+)[\s\S]*?^\s*\1/gm, "");
  return {
    fenced: fences(text).flatMap(blockLines),
    inline: [...bare.matchAll(/`((?:mproxy|deno|npx)(?:-\w+)?\s[^`]+)`/g)]
      .map(([, line]) => line!.replaceAll(/\s+/g, " ").replaceAll("\\|", "|")),
  };
}

/** Command lines of all fences of the documentation. */
export function fencedLines(): CommandLine[] {
  return linesOfAll("fenced");
}

/** Command lines inside sentences and tables of the documentation. */
export function inlineLines(): CommandLine[] {
  return linesOfAll("inline");
}

function linesOfAll(kind: "fenced" | "inline"): CommandLine[] {
  return markdownFiles().flatMap((file) => {
    const text = Deno.readTextFileSync(join(ROOT, file));
    return linesOf(text)[kind].map((line) => {
      // "mproxy ROLE: what" as the answer to it.
      const [, refused] = text.split(`$ ${line}\n`)[1]
        ?.match(/^mproxy \w+: (.*)/) ?? [];
      return refused === undefined ? { file, line } : { file, line, refused };
    });
  });
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
export function simpleCommands(line: string): string[][] {
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

/** What a simple command starts: a role with its arguments, or something else. */
export interface RoleCommand {
  readonly role: string;
  readonly args: readonly string[];
  /** Flags of Deno, where the line names them. */
  readonly denoFlags?: readonly string[];
}

/**
 * The role that a simple command starts, or undefined where it starts none.
 * Throws where it is about this project, and wrong.
 */
export function roleCommand(argv: readonly string[]): RoleCommand | undefined {
  let [program, ...args] = argv as [string, ...string[]];
  if (["sudo", "exec", "time"].includes(program)) return roleCommand(args);
  program = program.replace(/^.*\/(?=mproxy)/, "");
  if (program === "mproxy") return ofAll(args);
  if (program.startsWith("mproxy-")) {
    return { role: program.slice("mproxy-".length), args };
  }
  if (program === "docker" && args[0] === "run") {
    const at = args.indexOf("mproxy");
    return at < 0 ? undefined : ofAll(args.slice(at + 1));
  }
  if (program !== "deno" || args[0] !== "run") return undefined;
  const { flags, script, rest } = denoRun(args.slice(1));
  const [, name] = /^jsr:@mproxy\/(\w+)$/.exec(script) ??
    /^cli\/(\w+)\/main\.ts$/.exec(script) ?? [];
  if (name === undefined) return undefined;
  const found = ["cli", "mproxy"].includes(name)
    ? ofAll(rest)
    : { role: name, args: rest };
  return found && { ...found, denoFlags: flags };
}

function ofAll([first = "", ...args]: readonly string[]):
  | RoleCommand
  | undefined {
  if (["", "--help", "--version", "-h", "-V"].includes(first)) return undefined;
  if (["completions", "man"].includes(first)) return undefined;
  return { role: first, args };
}

/** What `deno run` is given. */
function denoRun(
  args: readonly string[],
): { flags: string[]; script: string; rest: string[] } {
  const at = args.findIndex((arg) => !arg.startsWith("-"));
  if (at < 0) throw new UsageError("deno run: no script");
  const flags = args.slice(0, at);
  for (const flag of flags) {
    if (
      !/^(-A|--unstable-net|--no-prompt|--env-file(=.*)?|--allow-(net|read|write|env|ffi|sys)(=.+)?)$/
        .test(flag)
    ) throw new UsageError(`deno run: unknown flag ${flag}`);
  }
  return { flags: [...flags], script: args[at]!, rest: args.slice(at + 1) };
}

/**
 * Checks a simple command; false where it is not about this project.
 *
 * @throws where no program of this project takes it.
 */
export function checkCommand(argv: readonly string[]): boolean {
  let [program, ...args] = argv.map((word) => PLACEHOLDERS[word] ?? word) as [
    string,
    ...string[],
  ];
  if (program === "npx") {
    const at = args.findIndex((arg) => arg.startsWith("deno@"));
    if (at < 0) throw new UsageError("npx starts no Deno");
    // Deno itself, in whose place it stands.
    if (at === args.length - 1) return true;
    [program, args] = ["deno", args.slice(at + 1)];
  }
  const found = roleCommand([program, ...args]);
  // A role by its name alone, as a sentence has it.
  if (found?.args.length === 0) commandOf(found.role);
  else if (found) checkRole(found.role, found.args);
  else if (/(^|\/)mproxy$/.test(program)) checkAll(args);
  else if (program === "deno") checkDeno(args);
  else if (OTHERS.includes(program)) return false;
  else throw new UsageError(`unknown program ${program}`);
  return true;
}

/** A role's command; throws where there is none. */
function commandOf(role: string): Command {
  const command = commands.find(({ name }) => name === role);
  if (!command) throw new UsageError(`There is no role "${role}"`);
  return command;
}

/** Arguments of a role, read as its command reads them. */
function checkRole(role: string, args: readonly string[]): void {
  const command = commandOf(role);
  const table = allOptions(command);
  const { texts, positionals } = splitArguments(args, table);
  checkPositionals(role, positionals);
  const alone = ["help", "version", "hashPassword", "helpTunnel"];
  if (alone.some((key) => texts.has(key))) return;
  // What is needed may stand in the file; what is given must be right.
  const given = texts.has("config")
    ? Object.fromEntries(
      Object.entries(table).filter(([key]) => texts.has(key)),
    )
    : table;
  // A file of the reader's is not here.
  texts.delete("controlTokenFile");
  readValues(given, texts);
}

function checkPositionals(role: string, positionals: readonly string[]): void {
  if (role === "tunnel") positionals.forEach(parseTunnel);
  else if (["relay", "echo", "loadtest"].includes(role)) {
    const most = role === "relay" ? 2 : 1;
    if (![0, most].includes(positionals.length)) {
      throw new UsageError(`${role} takes ${most} arguments, or none`);
    }
    for (const text of positionals) {
      parseAddress(text, { defaultHostname: "127.0.0.1" });
    }
  } else if (positionals.length > 0) {
    throw new UsageError(`${role} takes no argument "${positionals[0]}"`);
  }
}

/** Arguments of `mproxy` that start no role. */
function checkAll([first = "", ...rest]: readonly string[]): void {
  if (first === "completions") {
    assert(["bash", "zsh", "fish"].includes(rest[0]!), `no shell ${rest[0]}`);
    assert(rest.length === 1);
  } else if (first === "man") {
    checkRole(rest[0]!, ["--help"]);
    assert(rest.length === 1);
  } else assert(["--help", "--version", "-h", "-V"].includes(first), first);
}

function checkDeno([action = "", ...args]: readonly string[]): void {
  if (action === "task") return checkTask(args);
  if (action === "run") {
    const { script } = denoRun(args);
    const file = join(ROOT, script);
    assert(Deno.statSync(file).isFile, `${script} is no file`);
  } else assert(["fmt", "compile"].includes(action), `deno ${action}`);
}

/** Arguments of `deno task`; brackets mean that what they hold may be left out. */
function checkTask([task = "", ...rest]: readonly string[]): void {
  if (!(task in manifest.tasks)) {
    throw new UsageError(`There is no task "${task}"`);
  }
  const args = rest.map((arg) => arg.replaceAll(/[[\]]/g, ""));
  if (task === "compile") return checkCompile(args);
  if (task === "bench") return checkBench(args);
  const takes: Record<string, RegExp> = {
    version: /^\d+\.\d+\.\d+$/,
    unlink: /^FOLDER$/,
  };
  for (const arg of args) {
    if (!takes[task]?.test(arg)) {
      throw new UsageError(`deno task ${task} takes no "${arg}"`);
    }
  }
}

function checkCompile(args: readonly string[]): void {
  const names = programs.flatMap(({ name }) => [
    name,
    name.replace(/^mproxy-/, ""),
  ]);
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "--target") {
      const target = args[++i];
      assert(["all", ...TARGETS].includes(target!), `no target ${target}`);
    } else if (arg === "--out") i++;
    else assert([...names, "ROLE"].includes(arg), `compile takes no ${arg}`);
  }
}

function checkBench(args: readonly string[]): void {
  if (args.includes("SUITE")) return;
  const { stdout, stderr, success } = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "bench/main.ts", "--list", ...args],
    cwd: ROOT,
  }).outputSync();
  const said = new TextDecoder().decode(stdout) +
    new TextDecoder().decode(stderr);
  // It runs on Linux alone.
  if (Deno.build.os !== "linux") return;
  assert(success && said !== "", `deno task bench ${args.join(" ")}: ${said}`);
}
