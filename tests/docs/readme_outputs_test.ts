/**
 * The README's examples with their output, run in order as they stand, in a
 * network namespace: what is shown is what the programs say, but for figures.
 */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { roleCommand, simpleCommands } from "../support/command_lines.ts";
import { TestFolder } from "../support/folder.ts";
import { NetworkNamespace } from "../support/namespaces.ts";
import type { TestProcess } from "../support/process.ts";
import {
  needsNetworkNamespaces,
  needsProgram,
  testUnless,
} from "../support/skip.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

/** As many bytes as the README's figures are of. */
const FILE_BYTES = 5_000_000;

/** An example of the README: its commands, and the output that stands below. */
interface Example {
  readonly role: string;
  readonly lines: readonly string[];
  readonly output: readonly string[];
}

/** Examples that show an output, by role. */
function examples(): Map<string, Example> {
  const text = Deno.readTextFileSync(join(ROOT, "README.md"));
  const [, section] = /\n## Examples\n([\s\S]*?)\n## /.exec(text)!;
  const found = new Map<string, Example>();
  const pattern =
    /^```sh\n((?:(?!^```)[\s\S])*)^```\n\n```\n((?:(?!^```)[\s\S])*)^```/gm;
  for (const [, commands, output] of section!.matchAll(pattern)) {
    const lines = commands!.replaceAll(/\\\n\s*/g, " ").trim().split("\n");
    // Its last role is the one that it is about.
    const role = lines.flatMap(simpleCommands).map(roleCommand)
      .findLast((one) => one !== undefined)!.role;
    found.set(role, { role, lines, output: shapes(output!) });
  }
  return found;
}

/** Lines with no figure in them: what stays the same from run to run. */
function shapes(text: string): string[] {
  return text.split("\n").filter((line) => line.trim() !== "").map((line) =>
    line.replace(/^\d{4}-\d\d-\d\dT[\d:.]+Z/, "TIME")
      .replaceAll(/127\.0\.0\.1:\d{5}\b/g, "CLIENT")
      .replaceAll(/\d[\d ]*(\.\d+)?(?=\D|$)/g, "N")
      .replaceAll(/N\s*(us|ms|s)\b/g, "N s")
      .replaceAll(/N\s*([kKMG]?)(B|bit)\b/g, "N $2").trim()
  );
}

/** Fails unless the shown lines are among what was said, in their order. */
function assertShown({ role, output }: Example, said: string): void {
  const lines = shapes(said);
  let at = 0;
  for (const line of output) {
    const found = lines.indexOf(line, at);
    assert(found >= 0, `${role}: "${line}" is not in\n${lines.join("\n")}`);
    at = found + 1;
  }
}

testUnless(
  needsNetworkNamespaces() ??
    needsProgram("nc", "mosquitto", "mosquitto_pub", "mosquitto_sub"),
  "the outputs that the README shows are what its examples say",
  async (t) => {
    const all = examples();
    assertEquals(
      [...all.keys()].sort(),
      ["client", "loadtest", "mqtt", "proxy", "relay", "reverseproxy"]
        .concat("server", "tunnel").sort(),
    );
    await using folder = await TestFolder.create();
    await folder.file("sensor.log", new Uint8Array(FILE_BYTES).fill(10));
    await using namespace = await NetworkNamespace.create();
    // A group goes where a route leads.
    await namespace.ip("route", "add", "default", "dev", "lo");
    const start = (line: string): TestProcess => {
      const [{ role, args }] = simpleCommands(line).map((argv) =>
        roleCommand(argv)!
      ) as [{ role: string; args: readonly string[] }];
      return namespace.start(
        Deno.execPath(),
        ["run", "-A", join(ROOT, `cli/${role}/main.ts`), ...args],
        { cwd: folder.path },
      );
    };
    const shell = (line: string) => namespace.run("bash", "-c", line);
    const lineOf = (role: string, index = 0) => all.get(role)!.lines[index]!;
    /** Ends a role as Ctrl+C does. */
    const interrupted = async (process: TestProcess): Promise<string> => {
      process.signal("SIGINT");
      const { code, stderr } = await process.end;
      assertEquals(code, 0, stderr);
      return stderr;
    };

    await t.step("client and server", async () => {
      await using server = start(lineOf("server"));
      await server.lines(/listening address/, 2);
      await using client = start(lineOf("client"));
      const { stderr } = await client.end;
      assertShown(all.get("client")!, stderr);
      assertShown(all.get("server")!, await interrupted(server));
    });
    await t.step("proxy", async () => {
      await using sink = start(
        "mproxy server --path out --listen-addr '[::1]:9921'",
      );
      await sink.line(/listening address/);
      await using proxy = start(lineOf("proxy"));
      await proxy.line(/listening address/);
      await using client = start(
        "mproxy client --path sensor.log --rate 50M --server-addr 127.0.0.1:9920",
      );
      await client.end;
      assertShown(all.get("proxy")!, await interrupted(proxy));
      await interrupted(sink);
    });
    await t.step("reverseproxy", async () => {
      await using reverse = start(lineOf("reverseproxy"));
      await reverse.lines(/listening/, 3);
      await using subscriber = namespace.start("nc", ["127.0.0.1", "9921"]);
      await reverse.line(/subscriber connected/);
      await using client = start(
        "mproxy client --path sensor.log --rate 50M --server-addr 127.0.0.1:9920",
      );
      await client.end;
      await subscriber.stdoutBytes(FILE_BYTES);
      assertShown(all.get("reverseproxy")!, await interrupted(reverse));
    });
    await t.step("echo, relay, loadtest", async () => {
      await using echo = start(lineOf("relay").replace(/ &$/, ""));
      await echo.line(/listening address/);
      await using relay = start(lineOf("relay", 1));
      await relay.line(/Proxy listening on/);
      await shell(
        "exec 3<>/dev/tcp/127.0.0.1/8080; echo hello >&3; head -1 <&3",
      );
      await relay.line(/ConnectionClosed/);
      assertShown(all.get("relay")!, relay.stderr);
      await using load = start(
        lineOf("loadtest").replace(/--duration \d+/, "--duration 0.2"),
      );
      const { stdout, code } = await load.end;
      assertEquals(code, 0);
      assertShown(all.get("loadtest")!, new TextDecoder().decode(stdout));
      await interrupted(relay);
      await interrupted(echo);
    });
    await t.step("tunnel", async () => {
      await using one = start("mproxy echo 127.0.0.1:8081");
      await using two = start("mproxy echo 127.0.0.1:8082");
      for (const echo of [one, two]) await echo.line(/listening address/);
      await using tunnel = start(lineOf("tunnel"));
      await tunnel.line(/control door/);
      await shell(
        "exec 3<>/dev/tcp/127.0.0.1/3000; echo hello >&3; head -1 <&3",
      );
      assertShown(all.get("tunnel")!, await shell(lineOf("tunnel", 1)));
      for (const role of [tunnel, one, two]) await interrupted(role);
    });
    await t.step("mqtt", async () => {
      await using broker = namespace.start("mosquitto", ["-p", "1883", "-v"]);
      await broker.line(/running/);
      await using gateway = start(lineOf("mqtt"));
      await gateway.line(/listening address/);
      const client = ["-h", "127.0.0.1", "-p", "1884", "-t", "plant/1"];
      await using subscriber = namespace.start(
        "mosquitto_sub",
        [...client, "-C", "1"],
      );
      await broker.line(/Sending SUBACK/);
      await namespace.run("mosquitto_pub", ...client, "-m", "21.5");
      assertEquals((await subscriber.end).code, 0);
      assertShown(all.get("mqtt")!, await interrupted(gateway));
    });
  },
);
