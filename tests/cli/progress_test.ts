/** What a person sees who runs a role in a terminal: a pseudo-terminal of script(1). */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Receiver } from "../support/datagram_peer.ts";
import { TestFolder } from "../support/folder.ts";
import { startPeer, startRole } from "../support/process.ts";
import { needsLinux, needsProgram, testUnless } from "../support/skip.ts";

const COLUMNS = 50;

const ESCAPE = "\x1b";

/** All that a command line writes to a terminal of COLUMNS columns. */
async function inTerminal(commandLine: string): Promise<string> {
  await using terminal = startPeer("script", [
    ...["-q", "-e", "-c", `stty cols ${COLUMNS}; exec ${commandLine}`],
    "/dev/null",
  ]);
  const { code, stdout } = await terminal.end;
  const text = new TextDecoder().decode(stdout);
  assertEquals(code, 0, text);
  return text;
}

testUnless(
  needsLinux() ?? needsProgram("script", "stty"),
  "client shows a bar that grows in place in a terminal, log lines above it, and takes it away",
  async () => {
    await using files = await TestFolder.create();
    await using receiver = await Receiver.open();
    const path = await files.file("data", new Uint8Array(300_000));
    const text = await inTerminal(
      `${Deno.execPath()} run -A cli/client/main.ts --path ${path} ` +
        `--server-addr ${receiver.text} --rate 1600k --stats 0.6`,
    );
    // Each is written over the one before: no line end stands between them.
    const parts = text.split(`\r${ESCAPE}[K`);
    const bars = parts.filter((part) => part.startsWith("["));
    assert(bars.length >= 4, text);
    const shares = bars.map((line) => {
      const [, bar, share] = /^\[(=* *)\] +(\d+) % of 300 kB, /.exec(line)!;
      assertEquals(bar!.length, 20);
      assertEquals(bar!.trim().length, Math.round(Number(share) / 5));
      assert(line.split("\n")[0]!.trimEnd().length < COLUMNS, line);
      return Number(share);
    });
    assertEquals(shares, shares.toSorted((a, b) => a - b));
    assert(shares.at(-1)! > shares[0]!, text);
    // A line of the log takes the bar's place, and the bar comes again below.
    const log = parts.find((part) => part.includes(" info "));
    assertMatch(log!, /^\S+ info .*\r\n\[=/);
    // The bar is gone when the summary is there.
    const [rest] = text.split(`\r${ESCAPE}[K`).slice(-1);
    assertMatch(rest!, /^read from .*\r\nsent to .*, 0 dropped\r\n$/);
  },
);

testUnless(
  needsLinux() ?? needsProgram("script", "stty"),
  "client shows no bar in a terminal with --quiet or with lines in JSON",
  async () => {
    await using files = await TestFolder.create();
    await using receiver = await Receiver.open();
    const path = await files.file("data", new Uint8Array(100_000));
    const command = `${Deno.execPath()} run -A cli/client/main.ts --path ` +
      `${path} --server-addr ${receiver.text} --rate 1600k`;
    assertEquals(await inTerminal(`${command} --quiet`), "");
    const json = await inTerminal(`${command} --log-format json`);
    assert(!json.includes(ESCAPE), json);
    for (const line of json.trim().split("\r\n")) JSON.parse(line);
  },
);

Deno.test("client shows no bar where stderr is no terminal", async () => {
  await using files = await TestFolder.create();
  await using receiver = await Receiver.open();
  const path = await files.file("data", new Uint8Array(100_000));
  const { stderr } = await startRole("client", [
    ...["--path", path, "--server-addr", receiver.text, "--rate=1600k"],
  ]).end;
  assert(!stderr.includes(ESCAPE) && !stderr.includes("[="), stderr);
});
