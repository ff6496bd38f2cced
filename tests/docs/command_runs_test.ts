/**
 * Every command line of a role in README and docs, run as it stands, in a
 * network namespace that has what they name: eth0, 10.0.0.7, free ports.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { hashPassword } from "../../net/mqtt/policy/password.ts";
import {
  fencedLines,
  type RoleCommand,
  roleCommand,
  simpleCommands,
} from "../support/command_lines.ts";
import { TestFolder } from "../support/folder.ts";
import { NetworkNamespace } from "../support/namespaces.ts";
import type { TestProcess } from "../support/process.ts";
import {
  needsNetworkNamespaces,
  needsProgram,
  testUnless,
} from "../support/skip.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

/** How long what measures measures. */
const SHORT_SECONDS = "0.1";

/** What takes minutes: seven scenarios of ten seconds. */
const TOO_LONG = ["loadtest --matrix"];

/** Hosts of the examples, which are all this one. */
const HOSTS =
  /\b(collector\.example|far\.example|feed\.example|example\.com|broker|web1|web2)(?=:)/g;

interface DocumentedRun extends RoleCommand {
  readonly title: string;
}

/** Each command line of a role once, by the page where it stands first. */
function documentedRuns(): DocumentedRun[] {
  const found = new Map<string, DocumentedRun>();
  for (const { file, line, refused } of fencedLines()) {
    if (refused !== undefined) continue;
    for (const argv of simpleCommands(line)) {
      const command = roleCommand(argv);
      if (!command) continue;
      const text = [command.role, ...command.args].join(" ");
      if (TOO_LONG.includes(text) || found.has(text)) continue;
      found.set(text, { ...command, title: `${file}: ${text}` });
    }
  }
  return [...found.values()];
}

/** The files that command lines name, in a folder; gives each one's path. */
async function documentedFiles(
  folder: TestFolder,
): Promise<ReadonlyMap<string, string>> {
  const page = await Deno.readTextFile(join(ROOT, "docs/mqtt.md"));
  const [, policy] = /^```toml\n([\s\S]*?)^```/m.exec(page)!;
  const tls = (name: string) =>
    Deno.readTextFile(join(ROOT, "tests/vectors/tls", name));
  const contents: Record<string, string> = {
    "policy.toml": policy!.replace(
      /\$scrypt\$[^"]*/,
      await hashPassword("secret"),
    ),
    "cert.pem": await tls("localhost.pem"),
    "key.pem": await tls("localhost.key"),
    "/etc/mproxy/token": "a token that nobody knows\n",
    "proxy.toml":
      `listen_addr = "127.0.0.1:3000"\ntarget_addr = "127.0.0.1:8081"\nmetrics_addr = "127.0.0.1:9090"\ngrace_period_secs = 30\nmetrics_log_interval_secs = 10\n`,
    "echo.toml": `listen_addr = "127.0.0.1:8081"\n`,
    "load_test.toml":
      `target_addr = "127.0.0.1:8080"\n\n[[scenarios]]\nname = "small"\nconnections = 2\nduration_secs = ${SHORT_SECONDS}\nmessage_size = 64\n`,
    "collectors.toml": `to = ["10.0.0.8:2055", "10.0.0.9:9995"]\n`,
    "tunnels.toml": `tunnels = ["3000=4000,4001"]\n`,
  };
  for (
    const name of [
      ...["sensor.log", "feed.bin", "capture.bin"],
      ...["/dev/ttyUSB0", "/var/log/sensor.log"],
    ]
  ) contents[name] = "one line\nanother\n".repeat(1000);
  const paths = new Map<string, string>();
  for (const [name, content] of Object.entries(contents)) {
    const path = await folder.file(name.replaceAll("/", "_"), content);
    // What has a path of its own stands for a file of the system.
    if (name.startsWith("/")) paths.set(name, path);
  }
  const pipe = join(folder.path, "feed.pipe");
  await new Deno.Command("mkfifo", { args: [pipe] }).output();
  paths.set("/run/feed.pipe", pipe);
  for (const name of ["hooks.ts", "examples/mqtt/simple.ts"]) {
    paths.set(name, join(ROOT, "examples/mqtt/simple.ts"));
  }
  return paths;
}

/** What ends by itself; of the rest it is known that they listen. */
function endsItself({ role, args }: RoleCommand): boolean {
  return role === "loadtest" || args.includes("--hash-password") ||
    (role === "client" && !isEndless(args));
}

function isEndless(args: readonly string[]): boolean {
  return args.includes("/dev/random") || args.includes("--follow") ||
    args.includes("--baud");
}

testUnless(
  needsNetworkNamespaces() ?? needsProgram("socat", "mkfifo"),
  "every command line of a role in README and docs runs as it stands",
  async (t) => {
    await using folder = await TestFolder.create();
    await using namespace = await NetworkNamespace.create();
    await using far = await NetworkNamespace.create();
    await namespace.connect(
      far,
      { name: "eth0", addresses: ["10.0.0.7/24", "fe80::7/64"] },
      { name: "eth0", addresses: ["10.0.0.1/24", "fe80::1/64"] },
    );
    await namespace.connect(
      far,
      { name: "eth1", addresses: ["10.0.1.7/24", "fe80::17/64"] },
      { name: "eth1", addresses: ["10.0.1.1/24", "fe80::11/64"] },
    );
    await namespace.ip("route", "add", "default", "dev", "eth0");
    const files = await documentedFiles(folder);
    const start = (
      { role, args, denoFlags = ["-A"] }: RoleCommand,
      stdin = false,
    ): TestProcess =>
      namespace.start(
        Deno.execPath(),
        ["run", ...denoFlags, join(ROOT, `cli/${role}/main.ts`), ...args],
        { cwd: folder.path, stdin },
      );

    const runs = documentedRuns();
    assert(runs.length >= 60, `${runs.length}`);
    for (const { title, ...documented } of runs) {
      const args = documented.args.map((arg, i, all) =>
        ["--duration", "--warm-up"].includes(all[i - 1]!)
          ? SHORT_SECONDS
          : files.get(arg) ?? arg.replaceAll(HOSTS, "10.0.0.7")
      );
      const { role } = documented;
      await t.step(title, async () => {
        await using peers = new AsyncDisposableStack();
        if (args.includes("--baud")) {
          const tty = join(folder.path, "tty");
          const cable = peers.use(
            namespace.start("socat", ["-d", "-d", "-", `PTY,link=${tty}`], {
              stdin: true,
            }),
          );
          await cable.line(/starting data transfer loop/);
          args[args.indexOf("--path") + 1] = tty;
        }
        if (args.includes("--reopen")) {
          // The server opens the pipe when a reader comes.
          peers.use(
            namespace.start("cat", [args[args.indexOf("--path") + 1]!]),
          );
        }
        if (role === "loadtest") {
          const target = args.find((arg) => /^127.*:\d+$/.test(arg)) ??
            "127.0.0.1:8080";
          const echo = peers.use(start({ role: "echo", args: [target] }));
          await echo.line(/listening address=/);
        }
        if (isEndless(args)) args.push("--stats", "0.2");
        if (
          role === "loadtest" && !args.includes("--duration") &&
          !args.includes("--config")
        ) args.push("--duration", SHORT_SECONDS);
        const wantsInput = args.includes("-") && role === "client" ||
          args.includes("--hash-password");
        await using process = start({ ...documented, args }, wantsInput);
        if (wantsInput) {
          const writer = process.stdin.getWriter();
          await writer.write(new TextEncoder().encode("a secret\n"));
          await writer.close();
        }
        if (!endsItself({ role, args })) {
          // What only connects says so of a peer that is not there.
          await process.line(
            isEndless(args)
              ? /stats|sent/
              : /listening.* address=|not connected, trying again/,
          );
          process.signal("SIGTERM");
        }
        const { code, stdout, stderr } = await process.end;
        // Where nobody listens, a client says so and fails.
        const unheard = role === "client" &&
          /error destination received nothing .*reasons="refused/.test(stderr);
        assertEquals(code, unheard ? 1 : 0, stderr);
        if (role === "client" && !isEndless(args)) {
          assertMatch(stderr, /^sent to .*/m);
        }
        if (args.includes("--hash-password")) {
          assertMatch(new TextDecoder().decode(stdout), /^\$scrypt\$/);
        }
      });
    }
  },
);
