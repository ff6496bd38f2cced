import { assert, assertEquals, assertMatch } from "@std/assert";
import { formatAddress } from "../../net/address.ts";
import { assertWrongUsage, startRole } from "../support/process.ts";
import { echoServer, refusingAddress } from "../support/tcp.ts";

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

async function inFolder(
  run: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("loadtest reports on stdout and nothing else there", async () => {
  await using server = echoServer();
  await using loadtest = startRole("loadtest", [
    formatAddress(server.address),
    "--duration=0.3",
    "--connections=3",
  ]);
  const { code, stdout, stderr } = await loadtest.end;
  assertEquals(code, 0, stderr);
  assertMatch(
    textOf(stdout),
    /^=== Load Test Results ===\nDuration: {8}0\.3s\nConnections: {5}3\nTotal requests: {2}\d+\n/,
  );
  assertMatch(textOf(stdout), /^Errors: {10}0 \(0\.00%\)$/m);
  assertMatch(stderr, /^ {8}Load Tester Starting$/m);
  assert(!/^[=-]+$/m.test(stderr), stderr);
  assertMatch(stderr, /^Message size: {4}1024 bytes$/m);
});

Deno.test("loadtest has the original's defaults without any file", async () => {
  await using loadtest = startRole("loadtest", []);
  await loadtest.line(/^Target: {10}127\.0\.0\.1:8080$/);
  await loadtest.line(/^Connections: {5}10$/);
  await loadtest.line(/^Duration: {8}30s$/);
  await loadtest.line(/^Message size: {4}1024 bytes$/);
});

Deno.test("loadtest runs the original's load_test.toml as a matrix", async () => {
  await using server = echoServer();
  await inFolder(async (folder) => {
    const file = `${folder}/load_test.toml`;
    await Deno.writeTextFile(
      file,
      `# Matrix
target_addr = "${formatAddress(server.address)}"

[[scenarios]]
name = "baseline"
connections = 10
duration_secs = 0.2
message_size = 1024

[[scenarios]]
name = "big-data"
duration_secs = 0.2
message_size = 65536
`,
    );
    await using loadtest = startRole("loadtest", ["--config", file]);
    const { code, stdout, stderr } = await loadtest.end;
    assertEquals(code, 0, stderr);
    assertMatch(stderr, /^ {5}Load Tester - Matrix Mode$/m);
    assertMatch(stderr, /^Scenarios: {7}2$/m);
    assertMatch(
      stderr,
      /^\[1\/2\] Running: baseline \(conns=10, msg=1024B, dur=0\.2s\)$/m,
    );
    assertMatch(stderr, /^ {9}-> \d+ RPS, p99=\d+us, err=0\.0%$/m);
    const lines = textOf(stdout).trimEnd().split("\n");
    assertEquals(lines[0], "=".repeat(100));
    assertMatch(lines[5]!, /^baseline +10 +1KB +\d+ +\d+ /);
    assertMatch(lines[6]!, /^big-data +10 +64KB +\d+ +\d+ /);
    assertEquals(lines.length, 8);
  });
});

Deno.test("loadtest --matrix runs the original's seven scenarios, and reports those that ran", async () => {
  await using server = echoServer();
  await using loadtest = startRole("loadtest", [
    `--target=${formatAddress(server.address)}`,
    "--matrix",
    "--stats=0.05",
  ]);
  await loadtest.line(/^Scenarios: {7}7$/);
  await loadtest.line(
    /^\[1\/7\] Running: baseline \(conns=10, msg=1024B, dur=5s\)$/,
  );
  await loadtest.line(/measuring .* [1-9]\d* req\/s/);
  loadtest.signal("SIGINT");
  const { code, stdout, stderr } = await loadtest.end;
  assertEquals(code, 0, stderr);
  assertMatch(textOf(stdout), /^baseline +10 +1KB +[1-9]\d* /m);
  assert(!textOf(stdout).includes("small-packets"), textOf(stdout));
});

Deno.test("loadtest --message-size says what each request carries", async () => {
  await using server = echoServer();
  await using loadtest = startRole("loadtest", [
    `--target=${formatAddress(server.address)}`,
    ...["--connections=1", "--duration=0.2", "--message-size=3000", "--json"],
  ]);
  const { code, stdout, stderr } = await loadtest.end;
  assertEquals(code, 0, stderr);
  const { scenarios: [only] } = JSON.parse(textOf(stdout));
  assertEquals([only.connections, only.message_size], [1, 3000]);
  assert(only.requests > 0);
  assertEquals(only.bytes_received, only.requests * 3000);
});

Deno.test("loadtest reads the original's single mode from a file", async () => {
  await using server = echoServer();
  await inFolder(async (folder) => {
    const file = `${folder}/load_test.toml`;
    await Deno.writeTextFile(
      file,
      `target_addr = "${formatAddress(server.address)}"
connections = 2
duration_secs = 1
message_size = 64
`,
    );
    await using loadtest = startRole("loadtest", [
      "--config",
      file,
      "--duration=0.1",
    ]);
    const { code, stdout } = await loadtest.end;
    assertEquals(code, 0);
    assertMatch(textOf(stdout), /^Connections: {5}2$/m);
    assertMatch(textOf(stdout), /^Duration: {8}0\.1s$/m);
  });
});

Deno.test("loadtest writes JSON and a chart", async () => {
  await using server = echoServer();
  await inFolder(async (folder) => {
    const svg = `${folder}/load.svg`;
    await using loadtest = startRole("loadtest", [
      formatAddress(server.address),
      "--duration=0.3",
      "--warm-up=0.1",
      "--rate=500",
      "--json",
      `--svg=${svg}`,
    ]);
    const { code, stdout, stderr } = await loadtest.end;
    assertEquals(code, 0, stderr);
    const { scenarios: [only] } = JSON.parse(textOf(stdout));
    assertEquals(only.rate, 500);
    assertEquals(only.requests + only.errors, 150);
    assert(only.latency_us.p99 >= only.latency_us.p50);
    assertMatch(await Deno.readTextFile(svg), /^<svg [^]*<\/svg>\n$/);
  });
});

Deno.test("loadtest reports what it has on Ctrl+C", async () => {
  await using server = echoServer();
  await using loadtest = startRole("loadtest", [
    formatAddress(server.address),
    "--duration=3600",
    "--stats=0.05",
  ]);
  await loadtest.line(/measuring .* [1-9]\d* req\/s/);
  loadtest.signal("SIGINT");
  const { code, stdout } = await loadtest.end;
  assertEquals(code, 0);
  assertMatch(textOf(stdout), /^Total requests: {2}[1-9]\d*$/m);
  assertMatch(textOf(stdout), /^Stopped early\.$/m);
});

Deno.test("loadtest exits with 1 where everything failed, and says why", async () => {
  await using loadtest = startRole("loadtest", [
    formatAddress(refusingAddress()),
    "--duration=0.2",
  ]);
  const { code, stdout } = await loadtest.end;
  assertEquals(code, 1);
  assertMatch(
    textOf(stdout),
    /^no valid answer from 127\.0\.0\.1:\d+$/m,
  );
  assertMatch(textOf(stdout), /^ {2}10 x connect .*: Connection refused$/m);
});

Deno.test("loadtest refuses wrong usage in one line", async () => {
  const cases: [string[], RegExp][] = [
    [["a b:1"], /Cannot use "a b:1"/],
    [["8080", "--connections=0"], /--connections: "0" is not a whole number/],
    [["8080", "--rate=0"], /--rate: "0" is not a rate/],
    [["8080", "--duration=0"], /--duration: "0" is not between/],
    [["8080", "8081"], /One TARGET is wanted/],
  ];
  for (const [args, line] of cases) {
    await assertWrongUsage("loadtest", args, line);
  }
});

Deno.test("loadtest refuses a scenario that is wrong, before it connects", async () => {
  await inFolder(async (folder) => {
    const file = `${folder}/load_test.toml`;
    const cases: [string, RegExp][] = [
      ["scenarios = 3", /"scenarios" wants tables/],
      ["[[scenarios]]\nconnections = 1", /"name" is missing/],
      ['[[scenarios]]\nname = "x"\nsize = 1', /the key "size" is none of/],
    ];
    for (const [content, pattern] of cases) {
      await Deno.writeTextFile(file, content);
      await using loadtest = startRole("loadtest", ["--config", file]);
      const { code, stderr } = await loadtest.end;
      assertEquals(code, 2, stderr);
      assertMatch(stderr, pattern);
    }
  });
});
