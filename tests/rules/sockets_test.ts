/** Every place that opens a socket stands in the table of what bounds it. */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { SOCKETS } from "../hostile/sockets.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));
const CALLS =
  /(?<![\w.])(Deno\.(?:listen\w*|connect\w*|startTls|serve)|createServer|createSecureServer|createSocket|fetch|new WebSocket)\(|\b(symbols\.socket)\(/g;
/** `connect` has many meanings: only those of these modules open sockets. */
const NODE_IMPORT = /import \{([^}]*)\} from "node:(?:net|tls|http2?|https)"/g;
const OPENERS = /\b(connect|createConnection|request|get)\b(?:\s+as\s+(\w+))?/g;

/** How often each call that opens a socket stands in a source text. */
function openingCalls(source: string): Map<string, number> {
  const code = source.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  const calls = new Map<string, number>();
  const count = (call: string) => calls.set(call, (calls.get(call) ?? 0) + 1);
  for (const [, call, libc] of code.matchAll(CALLS)) count((call ?? libc)!);
  for (const [, names] of code.matchAll(NODE_IMPORT)) {
    for (const [, name, alias] of names!.matchAll(OPENERS)) {
      const pattern = new RegExp(`(?<![\\w.])${alias ?? name}\\(`, "g");
      for (const _ of code.matchAll(pattern)) count((alias ?? name)!);
    }
  }
  return calls;
}

function* sources(directory: string): Iterable<string> {
  for (const entry of Deno.readDirSync(ROOT + directory)) {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory) yield* sources(path);
    else if (path.endsWith(".ts")) yield path;
  }
}

Deno.test("openingCalls() finds calls under another name, and none in comments", () => {
  const text = `import { connect as dial } from "node:net";
    /** createServer() */
    dial({}); a.dial(); Deno.connectTls({}); libc.symbols.socket(1);`;
  assertEquals(
    [...openingCalls(text)],
    [["Deno.connectTls", 1], ["symbols.socket", 1], ["dial", 1]],
  );
});

Deno.test("the table of sockets has every call in net/ and cli/ that opens one, and no other", () => {
  const inCode = ["net", "cli"].flatMap((directory) => [...sources(directory)])
    .flatMap((file) =>
      [...openingCalls(Deno.readTextFileSync(ROOT + file))]
        .map(([call, times]) => `${file} ${call} ${times}`)
    );
  const inTable = SOCKETS.map(({ file, call, times = 1 }) =>
    `${file} ${call} ${times}`
  );
  assertEquals(inTable.toSorted(), inCode.toSorted());
  for (const row of SOCKETS) {
    for (const text of [row.openedBy, row.limit, row.deadline, row.gauge]) {
      assert(text.length > 0, row.file);
    }
  }
});
