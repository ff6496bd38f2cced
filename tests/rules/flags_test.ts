/** The library names options as its callers write them; only commands know flags. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { commands } from "../../cli/mproxy/main.ts";
import { flagName, withFlags } from "../../cli/flag_names.ts";
import { allOptions } from "../../cli/run.ts";
import { OperationError, UsageError } from "../../net/errors.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

/** Flags of the runtime, which a program that uses the library is given too. */
const RUNTIME_FLAG = /^--(allow|unstable)-/;

/** A text, or what is no text and could look like one: a comment. */
const TEXT =
  /("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|\/\*[^]*?\*\/|\/\/[^\n]*/g;

/** Flags in the texts of a source. */
function flagsOf(source: string): string[] {
  return [...source.matchAll(TEXT)].flatMap(([, text = ""]) => [
    ...text.matchAll(/(?<![\w-])--[a-z][a-z-]+/g),
  ]).map(([flag]) => flag).filter((flag) => !RUNTIME_FLAG.test(flag));
}

async function* sources(folder: string): AsyncIterable<string> {
  for await (const { name, isDirectory } of Deno.readDir(`${ROOT}${folder}`)) {
    const path = `${folder}/${name}`;
    if (isDirectory) yield* sources(path);
    else if (name.endsWith(".ts")) yield path;
  }
}

Deno.test("flagsOf finds flags in texts and none in comments", () => {
  assertEquals(
    flagsOf(
      'const a = "use --one", b = `--two ${c}`;\n' +
        "/** `--three` */ // --four\nconst d = i--; 'x--y' '--allow-net'",
    ),
    ["--one", "--two"],
  );
});

Deno.test("no text of the library names a command-line flag", async () => {
  const found: string[] = [];
  let files = 0;
  for await (const path of sources("net")) {
    files++;
    for (const flag of flagsOf(await Deno.readTextFile(`${ROOT}${path}`))) {
      found.push(`${path}: ${flag}`);
    }
  }
  assertEquals(found, []);
  assert(files > 200, `only ${files} files`);
});

Deno.test("commands rename options of the library to options that they have", () => {
  for (const command of commands) {
    const table = allOptions(command);
    for (const key of Object.values(command.renamedOptions ?? {})) {
      assert(Object.hasOwn(table, key), `${command.name}: ${key}`);
    }
  }
});

Deno.test("withFlags shows flags in place of the options that an error names", () => {
  const table = { listenAddr: 1, tee: 1 };
  const shown = (error: Error) =>
    (withFlags(error, table, { listen: "listenAddr" }) as Error).message;
  assertEquals(
    shown(
      new UsageError(
        "No source: pass `listen`, `tee: false` or `constructor`",
        {
          option: ["listen", "tee", "constructor"],
        },
      ),
    ),
    "No source: pass --listen-addr, --no-tee or `constructor`",
  );
  // What a user wrote is no option.
  assertEquals(
    shown(new UsageError('Cannot read "`listen`"', { option: "tee" })),
    'Cannot read "`listen`"',
  );
  const other = new OperationError("`tee`");
  assertEquals(withFlags(other, table), other);
  assertEquals(flagName("udpListenAddr"), "udp-listen-addr");
});

Deno.test("a command's start throws errors with its flags", async () => {
  const client = commands.find(({ name }) => name === "client")!;
  // deno-lint-ignore no-explicit-any
  const context = {} as any;
  const values = { path: "-", serverAddr: [], tee: false };
  let thrown: unknown;
  try {
    await client.start(values as never, context);
  } catch (error) {
    thrown = error;
  }
  assertThrows(
    () => {
      throw thrown;
    },
    UsageError,
    "No destination: pass --server-addr or --tee",
  );
});
