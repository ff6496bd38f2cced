/**
 * The end of a process: one second after the grace period at the latest,
 * whatever hangs, with what was cut in the summary and in the exit code. An
 * error that nobody caught is logged and ends nothing else.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { freePort, portTaken } from "../../bench/harness/processes.ts";
import { BrokenOutput } from "../support/broken_output.ts";
import { soon } from "../support/deadline.ts";
import { TestFolder } from "../support/folder.ts";
import { startPeer, startRole, type TestProcess } from "../support/process.ts";
import { needsLinux, testUnless } from "../support/skip.ts";
import {
  connectTo,
  echoServer,
  readExactly,
  writeAll,
} from "../support/tcp.ts";

const HANGING = fromFileUrl(
  new URL("../support/hanging_role.ts", import.meta.url),
);

/** The grace period, a second, and what this loaded machine may add. */
const LONGEST_MS = 1000 + 1000 + 8000;

function hang(what: string, ...args: string[]): TestProcess {
  return startPeer(Deno.execPath(), [
    ...["run", "-A", HANGING, `--what=${what}`, "--grace=1", ...args],
  ]);
}

async function endAfter(role: TestProcess) {
  const start = performance.now();
  const end = await soon(role.stop(), "the end of the role");
  const ms = performance.now() - start;
  assert(ms < LONGEST_MS, `ended after ${Math.round(ms)} ms`);
  assertEquals(end.signal, null);
  return end;
}

for (const what of ["drain", "dispose", "call", "worker", "pipe"]) {
  testUnless(
    needsLinux(),
    `a role ends after its grace period, with what was cut, while its ${what} hangs`,
    async () => {
      await using role = hang(what);
      await role.line(/started/);
      const { code, stderr } = await endAfter(role);
      assertEquals(code, 1, stderr);
      assertMatch(stderr, /^1 summary$/m);
      assertMatch(
        stderr,
        /^cut {8}3 connections when the grace period was over$/m,
      );
    },
  );
}

testUnless(
  needsLinux(),
  "a role in which everything hangs ends at once on a second signal",
  async () => {
    await using role = startPeer(Deno.execPath(), [
      ...["run", "-A", HANGING, "--what=dispose", "--grace=600"],
    ]);
    await role.line(/started/);
    role.signal("SIGTERM");
    await role.line(/draining/);
    role.signal("SIGINT");
    assertEquals((await soon(role.end, "the end")).code, 130);
  },
);

testUnless(
  needsLinux(),
  "a role that hangs in its start ends after the grace period",
  async () => {
    await using role = hang("start");
    await role.line(/starting/);
    assertEquals((await endAfter(role)).code, 130);
  },
);

testUnless(
  needsLinux(),
  "a role ends with 1 where something fails in its start that nobody awaits",
  async () => {
    await using role = hang("early-rejection");
    const { code, stderr } = await soon(role.end, "the end");
    assertEquals(code, 1, stderr);
    assertMatch(
      stderr,
      / error internal error: TypeError: nobody awaits me at=hanging_role\.ts:\d+:\d+/,
    );
  },
);

for (
  const [what, line] of [
    [
      "rejection",
      /TypeError: nobody awaits\\u000ame at=hanging_role\.ts:\d+:\d+/,
    ],
    ["exception", /RangeError: nobody catches me at=hanging_role\.ts:\d+:\d+/],
  ] as const
) {
  testUnless(
    needsLinux(),
    `a role goes on after one ${what} that nobody caught`,
    async () => {
      const port = freePort("tcp");
      await using role = hang(what, "--metrics-addr", `127.0.0.1:${port}`);
      await role.line(/ error internal error: /);
      await portTaken("tcp", port);
      const response = await fetch(`http://127.0.0.1:${port}/metrics`);
      assertMatch(await response.text(), /^mproxy_internal_errors_total 1$/m);
      const { code, stderr } = await endAfter(role);
      assertEquals(code, 0, stderr);
      assertMatch(stderr, line);
    },
  );
}

testUnless(
  needsLinux(),
  "a role whose Worker died ends with 1 and the Worker's error",
  async () => {
    await using role = hang("dead-worker");
    const { code, stderr } = await soon(role.end, "the end");
    assertEquals(code, 1, stderr);
    assertMatch(
      stderr,
      / error internal error: Uncaught Error: the end of a Worker$/m,
    );
  },
);

testUnless(
  needsLinux(),
  "tunnel answers an OPEN whose remote-ca is a named pipe, and ends in time",
  async () => {
    await using folder = await TestFolder.create();
    const pipe = `${folder.path}/pipe`;
    await new Deno.Command("mkfifo", { args: [pipe] }).output();
    const control = freePort("tcp");
    await using tunnel = startRole("tunnel", [
      ...["--control-socket", `127.0.0.1:${control}`, "--grace=1"],
    ]);
    await tunnel.line(/control/);
    using client = await connectTo({ hostname: "127.0.0.1", port: control });
    await writeAll(
      client,
      new TextEncoder().encode(
        `OPEN 0=127.0.0.1:9[remote-tls=true,remote-ca=${pipe}]\n`,
      ),
    );
    let answer = "";
    const decoder = new TextDecoder();
    while (!answer.includes("named pipe")) {
      answer += decoder.decode(
        await soon(readExactly(client, 1), () => `an answer, not ${answer}`),
        { stream: true },
      );
    }
    assertEquals((await endAfter(tunnel)).code, 0);
  },
);

testUnless(
  needsLinux(),
  "loadtest ends in time while nobody reads its report",
  async () => {
    await using folder = await TestFolder.create();
    using stdout = await BrokenOutput.create("unread pipe", folder.path);
    await using target = echoServer();
    const main = fromFileUrl(
      new URL("../../cli/loadtest/main.ts", import.meta.url),
    );
    await using loadtest = startPeer("sh", [
      ...["-c", 'exec "$@" >>"$0"', stdout.path, Deno.execPath(), "run", "-A"],
      ...[main, "--target", `127.0.0.1:${target.address.port}`, "--grace=1"],
      ...["--connections=1", "--duration=600", "--log-level=debug"],
    ]);
    await loadtest.line(/./);
    const { code } = await endAfter(loadtest);
    assertEquals(code, 1);
  },
);
