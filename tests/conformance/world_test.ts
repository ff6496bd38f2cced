/**
 * The world changes under an open socket, asked of every datagram engine: in
 * network namespaces of the test's own.
 *
 *     host: mproxy  d0 ── p0  peer
 *           10.7.0.1      10.7.0.2
 *                   d1 ── p1
 *           10.7.1.1      10.7.1.2
 */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { linuxEngineUnavailable } from "../../net/engine/linux/datagram/engine.ts";
import { TestFolder } from "../support/folder.ts";
import { NetworkNamespace } from "../support/namespaces.ts";
import type { TestProcess } from "../support/process.ts";
import {
  needsMountNamespaces,
  needsNetworkNamespaces,
  needsProgram,
  type SkipReason,
  testUnless,
} from "../support/skip.ts";

const ROOT = new URL("../../", import.meta.url);
const GROUP = "239.5.5.6";
const needs = needsNetworkNamespaces() ?? needsProgram("socat", "curl");

/** One way to open sockets. */
interface Variant {
  readonly name: string;
  readonly skip: SkipReason;
  /** Flags of each role. */
  readonly flags: readonly string[];
  /** One more listener puts every relay into a Worker. */
  readonly moreListeners: readonly string[];
  /** Whether `Deno.listenDatagram` is there. */
  readonly unstable: boolean;
}

const VARIANTS: readonly Variant[] = [
  {
    name: "linux",
    skip: linuxEngineUnavailable(),
    flags: ["--engine=linux"],
    moreListeners: [],
    unstable: true,
  },
  {
    name: "linux in Workers",
    skip: linuxEngineUnavailable(),
    flags: ["--engine=linux"],
    moreListeners: ["127.0.0.1:9999"],
    unstable: true,
  },
  {
    name: "Deno.listenDatagram",
    skip: undefined,
    flags: ["--engine=portable"],
    moreListeners: [],
    unstable: true,
  },
  {
    name: "node:dgram",
    skip: undefined,
    flags: ["--engine=portable"],
    moreListeners: [],
    unstable: false,
  },
];

/** Two hosts, and how roles start on them. */
class World implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;
  readonly #variant: Variant;
  readonly #config: string;
  readonly host: NetworkNamespace;
  readonly peer: NetworkNamespace;

  private constructor(
    stack: AsyncDisposableStack,
    variant: Variant,
    config: string,
    host: NetworkNamespace,
    peer: NetworkNamespace,
  ) {
    this.#stack = stack;
    this.#variant = variant;
    this.#config = config;
    this.host = host;
    this.peer = peer;
  }

  static async create(variant: Variant): Promise<World> {
    await using stack = new AsyncDisposableStack();
    const host = stack.use(await NetworkNamespace.create());
    const peer = stack.use(await NetworkNamespace.create());
    const folder = stack.use(await TestFolder.create());
    return new World(
      stack.move(),
      variant,
      variant.unstable ? "" : await stableConfig(folder),
      host,
      peer,
    );
  }

  /** Flags of Deno itself. */
  get denoFlags(): readonly string[] {
    return this.#config ? ["--no-lock", "--config", this.#config] : [];
  }

  /** Cable 0 or 1 between the hosts. */
  async cable(number: 0 | 1, host = 1, peer = 2): Promise<void> {
    await this.host.connect(
      this.peer,
      { name: `d${number}`, addresses: [`10.7.${number}.${host}/24`] },
      { name: `p${number}`, addresses: [`10.7.${number}.${peer}/24`] },
    );
  }

  /** The role under test, on the host. */
  role(name: string, args: readonly string[]): TestProcess {
    return this.#start(this.host, name, [...args, ...this.#variant.flags]);
  }

  /** A server on the peer, which writes who sent what. */
  async server(listen: string): Promise<TestProcess> {
    const server = this.#start(this.peer, "server", [
      ...["--path=-", "--format=jsonl", "--listen-addr", listen],
    ]);
    await server.line(/ listening address/);
    return server;
  }

  #start(
    on: NetworkNamespace,
    role: string,
    args: readonly string[],
  ): TestProcess {
    const main = new URL(`cli/${role}/main.ts`, ROOT).pathname;
    return this.#stack.use(
      on.start(Deno.execPath(), [
        "run",
        "-A",
        ...this.denoFlags,
        main,
        ...args,
      ]),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** The project's configuration, but for the unstable API. */
async function stableConfig(folder: TestFolder): Promise<string> {
  const { imports, links = [], compilerOptions } = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", ROOT)),
  );
  return await folder.file(
    "deno.json",
    JSON.stringify({
      imports: {
        ...imports,
        "@mproxy/mproxy": new URL("mod.ts", ROOT).href,
        "@mproxy/mproxy/cli": new URL("cli/mod.ts", ROOT).href,
      },
      links: links.map((link: string) => join(ROOT.pathname, link)),
      compilerOptions,
    }),
  );
}

/** Sends texts again and again, numbered, until a process has written one of them. */
async function sendUntil(
  from: NetworkNamespace,
  to: string,
  text: string,
  receiver: TestProcess,
): Promise<string> {
  for (let i = 0;; i++) {
    await from.run(
      "sh",
      "-c",
      'printf "%s\\n" "$1" | socat -u STDIN "$2"',
      "sh",
      text,
      to,
    );
    const received = new TextDecoder().decode(receiver.stdout);
    if (received.includes(text)) return received;
    if (i === 200) throw new Error(`Never came: ${text}\n${receiver.stderr}`);
  }
}

/** The source of the line that holds a text. */
function sourceOf(received: string, text: string): string {
  const line = received.split("\n").find((one) => one.includes(text))!;
  return JSON.parse(line).source.replace(/:\d+$/, "");
}

/** The status of `/readyz`, when it is the expected one. */
async function isReady(
  host: NetworkNamespace,
  role: TestProcess,
  status: number,
): Promise<string> {
  const [, url] = await role.line(/url=(\S+)\/metrics/);
  for (;;) {
    const answer = await host.run(
      ...["curl", "-s", "-w", "%{http_code}", `${url}/readyz`] as const,
    );
    if (answer.endsWith(`${status}`)) return answer;
  }
}

for (const variant of VARIANTS) {
  const test = (title: string, fn: (world: World) => Promise<void>) =>
    testUnless(needs ?? variant.skip, `${variant.name}: ${title}`, async () => {
      await using world = await World.create(variant);
      await fn(world);
    });
  const more = (flag: string) =>
    variant.moreListeners.flatMap((address) => [flag, address]);

  test("a group is joined again on an interface that was created again", async (world) => {
    const { host, peer } = world;
    await world.cable(1);
    const server = world.role("server", [
      ...["--path=-", "--format=lines", "--metrics-addr=127.0.0.1:0"],
      ...["--listen-addr", `${GROUP}%d1:9920`, ...more("--listen-addr")],
    ]);
    await server.line(/ listening address/);
    const to = `UDP4-DATAGRAM:${GROUP}:9920,ip-multicast-if=10.7.1.2`;
    await sendUntil(peer, to, "before", server);
    await isReady(host, server, 200);
    await host.ip("link", "del", "d1");
    await server.line(/warn not listening, trying again .*%d1/);
    assertStringIncludes(await isReady(host, server, 503), "is lost");
    await world.cable(1);
    await server.line(/info listening again .*%d1/);
    await sendUntil(peer, to, "after", server);
    await isReady(host, server, 200);
    const { code, stderr } = await server.stop();
    assertEquals(code, 0, stderr);
    assertEquals(stderr.match(/trying again/g)?.length, 1, stderr);
  });

  test("a destination on an interface that was created again gets everything", async (world) => {
    const { host } = world;
    await world.cable(1);
    const proxy = world.role("proxy", [
      ...["--udp-listen-addr", "127.0.0.1:9920", "--metrics-addr=127.0.0.1:0"],
      ...["--udp-downstream-addr", `${GROUP}%d1:9921`],
      ...more("--udp-listen-addr"),
    ]);
    await proxy.line(/ listening address/);
    const input = "UDP4-SENDTO:127.0.0.1:9920";
    const before = await world.server(`${GROUP}%p1:9921`);
    await sendUntil(host, input, "before", before);
    await host.ip("link", "del", "d1");
    await proxy.line(/warn destination lost, trying again .*%d1/);
    assertStringIncludes(await isReady(host, proxy, 503), "is lost");
    await world.cable(1, 3);
    await proxy.line(/info destination reachable again .*%d1/);
    // The peer's interface is another one too: its server has joined it again.
    const received = await sendUntil(host, input, "after", before);
    assertEquals(sourceOf(received, "after"), "10.7.1.3");
    await isReady(host, proxy, 200);
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
  });

  test("destinations follow a change of the machine's address and of the route", async (world) => {
    const { host, peer } = world;
    await world.cable(0);
    await world.cable(1);
    await peer.ip("addr", "add", "10.9.9.9/32", "dev", "lo");
    // Replies are not awaited, and so no way back is needed.
    await peer.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0");
    const route = (verb: string, number: number) =>
      host.ip(
        ...["route", verb, "10.9.9.9/32", "via", `10.7.${number}.2`],
        ...["dev", `d${number}`],
      );
    await route("add", 0);
    const proxy = world.role("proxy", [
      ...["--udp-listen-addr", "127.0.0.1:9920"],
      ...["--udp-downstream-addr", "10.9.9.9:9921"],
      ...more("--udp-listen-addr"),
    ]);
    await proxy.line(/ listening address/);
    const input = "UDP4-SENDTO:127.0.0.1:9920";
    const server = await world.server("10.9.9.9:9921");
    const from = async (text: string) =>
      sourceOf(await sendUntil(host, input, text, server), text);
    const comesFrom = async (address: string) => {
      // The change is noticed a moment after it was made.
      for (let i = 0;; i++) {
        const source = await from(`${address} ${i};`);
        if (source === address || i === 50) {
          assertEquals(source, address);
          return;
        }
      }
    };
    await comesFrom("10.7.0.1");
    await host.ip("addr", "del", "10.7.0.1/24", "dev", "d0");
    await host.ip("addr", "add", "10.7.0.7/24", "dev", "d0");
    await route("add", 0);
    await comesFrom("10.7.0.7");
    await route("replace", 1);
    await comesFrom("10.7.1.1");
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
  });

  test("roles start before their interfaces, addresses and routes are there", async (world) => {
    const { host, peer } = world;
    const proxy = world.role("proxy", [
      ...["--udp-listen-addr", "10.7.0.1:9920", "--metrics-addr=127.0.0.1:0"],
      ...["--udp-listen-addr", `${GROUP}%d1:9920`],
      ...["--udp-downstream-addr", "127.0.0.1:9921"],
      ...["--udp-downstream-addr", "10.7.0.2:9922"],
      ...["--udp-downstream-addr", "nosuchname.invalid:9923"],
    ]);
    await proxy.line(/warn not listening, trying again .*10\.7\.0\.1/);
    await proxy.line(/warn not listening, trying again .*%d1/);
    await proxy.line(/warn destination lost, trying again .*nosuchname/);
    await isReady(host, proxy, 503);
    await world.cable(0);
    await world.cable(1);
    await proxy.line(/info listening address=10\.7\.0\.1/);
    await proxy.line(/info listening address=.*%d1/);
    const server = await world.server("10.7.0.2:9922");
    await sendUntil(peer, "UDP4-SENDTO:10.7.0.1:9920", "unicast", server);
    await sendUntil(
      peer,
      `UDP4-DATAGRAM:${GROUP}:9920,ip-multicast-if=10.7.1.2`,
      "multicast",
      server,
    );
    assertStringIncludes(await isReady(host, proxy, 503), "nosuchname");
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
  });

  testUnless(
    needs ?? variant.skip ?? needsMountNamespaces(),
    `${variant.name}: a destination's name is resolved again`,
    async () => {
      await using world = await World.create(variant);
      await using folder = await TestFolder.create();
      const hosts = await folder.file("hosts", "127.0.0.1 moves.test\n");
      const main = new URL("cli/proxy/main.ts", ROOT).pathname;
      await using proxy = world.host.start("unshare", [
        ...["-m", "sh", "-c", 'mount --bind "$1" /etc/hosts; shift; exec "$@"'],
        ...["sh", hosts, Deno.execPath(), "run", "-A"],
        ...world.denoFlags,
        main,
        ...["--udp-listen-addr", "127.0.0.1:9920", "--resolve-interval=0.5"],
        ...["--udp-downstream-addr", "moves.test:9921", ...variant.flags],
        ...more("--udp-listen-addr"),
      ]);
      await proxy.line(/ listening address/);
      const receive = async (host: string) => {
        const peer = world.host.start("socat", [
          ...["-d", "-d", "-u", `UDP4-RECV:9921,bind=${host}`, "STDOUT"],
        ]);
        await peer.line(/starting data transfer loop/);
        return peer;
      };
      const input = "UDP4-SENDTO:127.0.0.1:9920";
      await using first = await receive("127.0.0.1");
      await using second = await receive("127.0.0.2");
      await sendUntil(world.host, input, "first", first);
      await Deno.writeTextFile(hosts, "127.0.0.2 moves.test\n");
      await proxy.line(/info destination resolved .*to=127\.0\.0\.2/);
      await sendUntil(world.host, input, "second", second);
      const { stderr } = await proxy.stop();
      assertMatch(stderr, /sent to moves\.test:9921: .* 0 dropped/);
    },
  );
}
