/**
 * Three hosts in network namespaces of the test's own: a producer, mproxy with
 * two legs, and two receivers on the far leg.
 *
 *     producer p0 ── m0 mproxy m1 ── bridge ─┬─ r0 receiver
 *     10.81.0.1   10.81.0.2 10.81.1.1        └─ r0 receiver
 *     fe80::a     fe80::b   fe80::c
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { linuxEngineUnavailable } from "../../net/engine/linux/datagram/engine.ts";
import { testOnEngines } from "../support/engines.ts";
import { TestFolder } from "../support/folder.ts";
import { NetworkNamespace } from "../support/namespaces.ts";
import type { TestProcess } from "../support/process.ts";
import { assertAllPlaced, placedBytes } from "../support/streams.ts";
import {
  needsNetworkNamespaces,
  needsProgram,
  testUnless,
} from "../support/skip.ts";

const skip = needsNetworkNamespaces() ?? needsProgram("socat");

/** A free choice, since each namespace has all ports to itself. */
const PORT = 9920;

interface ThreeHosts {
  producer: NetworkNamespace;
  middle: NetworkNamespace;
  receivers: readonly [NetworkNamespace, NetworkNamespace];
}

const PRODUCER = {
  name: "p0",
  addresses: ["10.81.0.1/24", "fe80::a/64", "fd81:0::1/64"],
};
const NEAR_LEG = {
  name: "m0",
  addresses: ["10.81.0.2/24", "fe80::b/64", "fd81:0::2/64"],
};
const FAR_LEG = {
  name: "m1",
  addresses: ["10.81.1.1/24", "fe80::c/64", "fd81:1::1/64"],
};

async function threeHosts(stack: AsyncDisposableStack): Promise<ThreeHosts> {
  const create = async () => stack.use(await NetworkNamespace.create());
  const [producer, middle, bridge, one, other] = [
    await create(),
    await create(),
    await create(),
    await create(),
    await create(),
  ];
  await producer.connect(middle, PRODUCER, NEAR_LEG);
  await bridge.ip(..."link add b0 type bridge mcast_snooping 0".split(" "));
  await bridge.ip("link", "set", "b0", "up");
  const ends = [
    [middle, FAR_LEG],
    [one, {
      name: "r0",
      addresses: ["10.81.1.11/24", "fe80::11/64", "fd81:1::11/64"],
    }],
    [other, {
      name: "r0",
      addresses: ["10.81.1.12/24", "fe80::12/64", "fd81:1::12/64"],
    }],
  ] as const;
  for (const [i, [host, end]] of ends.entries()) {
    const port = { name: `b${i + 1}`, addresses: [] };
    await bridge.connect(host, port, end);
    await bridge.ip("link", "set", port.name, "master", "b0");
  }
  for (
    const [host, name] of [
      [producer, "p0"],
      [middle, "m0"],
      [middle, "m1"],
      [one, "r0"],
      [other, "r0"],
    ] as const
  ) await isReady(host, name);
  return { producer, middle, receivers: [one, other] };
}

/**
 * Resolves when an interface carries, and so has its route for IPv6 groups:
 * Linux gives it that a moment after both ends of the cable are up.
 */
async function isReady(host: NetworkNamespace, name: string): Promise<void> {
  for (;;) {
    const link = await host.run("ip", "link", "show", name);
    const routes = await host.run(
      "ip",
      ..."-6 route show table local type multicast dev".split(" "),
      name,
    );
    if (link.includes("LOWER_UP") && routes.includes("ff00::/8")) return;
  }
}

/** Starts a role on a host. */
function startRole(
  host: NetworkNamespace,
  role: string,
  args: readonly string[],
): TestProcess {
  const main = new URL(`../../cli/${role}/main.ts`, import.meta.url).pathname;
  return host.start(Deno.execPath(), ["run", "-A", main, ...args]);
}

/** socat on a host, receiving to its stdout. */
async function receive(
  host: NetworkNamespace,
  address: string,
): Promise<TestProcess> {
  const peer = host.start("socat", ["-d", "-d", "-u", address, "STDOUT"]);
  await peer.line(/starting data transfer loop/);
  return peer;
}

/** Sends one datagram from a host. */
async function send(
  host: NetworkNamespace,
  address: string,
  text: string,
): Promise<void> {
  await host.run(
    "sh",
    "-c",
    'printf %s "$1" | socat -u STDIN "$2"',
    "sh",
    text,
    address,
  );
}

/** Waits for all that a peer should hear, and that it heard nothing else. */
async function hears(peer: TestProcess, text: string): Promise<void> {
  const bytes = await peer.stdoutBytes(text.length);
  assertEquals(new TextDecoder().decode(bytes), text);
}

/** Groups that an interface is a member of, as the kernel tells. */
async function memberships(
  host: NetworkNamespace,
  name: string,
): Promise<string> {
  return await host.run("ip", "maddr", "show", "dev", name);
}

testOnEngines(
  "proxy carries a group of one leg to a group of the other, joins it and leaves it",
  async (engine) => {
    await using stack = new AsyncDisposableStack();
    const { producer, middle, receivers } = await threeHosts(stack);
    const [near, far] = ["239.81.0.1", "239.81.1.1"];
    const peers = [];
    for (const host of receivers) {
      peers.push(
        stack.use(
          await receive(host, `UDP4-RECV:${PORT},ip-add-membership=${far}:r0`),
        ),
      );
    }
    assert(!(await memberships(middle, "m0")).includes(near));
    const proxy = stack.use(startRole(middle, "proxy", [
      ...["--udp-listen-addr", `${near}%m0:${PORT}`],
      ...["--udp-downstream-addr", `${far}%m1:${PORT}`, "--engine", engine],
    ]));
    await proxy.line(/ listening address=239\.81\.0\.1%m0:9920/);
    assert((await memberships(middle, "m0")).includes(near));
    assert(!(await memberships(middle, "m1")).includes(near));

    // The same group on the other leg is another one: nobody joined it there.
    await send(
      receivers[0],
      `UDP4-DATAGRAM:${near}:${PORT},ip-multicast-if=10.81.1.11`,
      "wrong leg;",
    );
    const group = `UDP4-DATAGRAM:${near}:${PORT},ip-multicast-if=10.81.0.1`;
    await send(producer, group, "one;");
    for (const peer of peers) await hears(peer, "one;");

    // A receiver that leaves gets no more, and the other one goes on.
    await peers[0]!.stop();
    await send(producer, group, "two;");
    await hears(peers[1]!, "one;two;");

    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    assertMatch(stderr, /received on 239\.81\.0\.1%m0:9920: 8 B, 2 datagrams/);
    assert(!(await memberships(middle, "m0")).includes(near));
  },
  skip,
);

testOnEngines(
  "proxy --interface joins on one leg and reaches hosts behind the other",
  async (engine) => {
    await using stack = new AsyncDisposableStack();
    const { producer, middle, receivers } = await threeHosts(stack);
    const peers = [];
    for (const host of receivers) {
      peers.push(stack.use(await receive(host, `UDP4-RECV:${PORT}`)));
    }
    const proxy = stack.use(startRole(middle, "proxy", [
      ...["--udp-listen-addr", `239.81.0.2:${PORT}`, "--interface=m0"],
      ...["--udp-downstream-addr", `10.81.1.11:${PORT}`],
      ...["--udp-downstream-addr", `10.81.1.12:${PORT}`, "--engine", engine],
    ]));
    await proxy.line(/ listening /);
    await send(
      producer,
      `UDP4-DATAGRAM:239.81.0.2:${PORT},ip-multicast-if=10.81.0.1`,
      "hello",
    );
    for (const peer of peers) await hears(peer, "hello");
    assertEquals((await proxy.stop()).code, 0);
  },
  skip,
);

testOnEngines(
  "proxy carries IPv6 groups from zone to zone, of the link and of the site",
  async (engine) => {
    await using stack = new AsyncDisposableStack();
    const { producer, middle, receivers } = await threeHosts(stack);
    const peers = [];
    for (const host of receivers) {
      peers.push(
        stack.use(
          await receive(
            host,
            `UDP6-RECV:${PORT + 1},ipv6-join-group=[ff15::99]:r0`,
          ),
        ),
      );
    }
    const proxy = stack.use(startRole(middle, "proxy", [
      ...["--udp-listen-addr", `[ff02::1%m0]:${PORT}`, "--engine", engine],
      ...["--udp-listen-addr", `[ff15::98%m0]:${PORT}`],
      ...["--udp-downstream-addr", `[ff15::99%m1]:${PORT + 1}`],
    ]));
    await proxy.lines(/ listening /, 2);
    assertMatch(await memberships(middle, "m0"), /ff15::98/);
    assert(!(await memberships(middle, "m1")).includes("ff15::98"));
    // The proxy's own leg hears ff02::1 as well, but not with its zone.
    await send(
      receivers[0],
      `UDP6-DATAGRAM:[ff02::1%r0]:${PORT}`,
      "wrong leg;",
    );
    await send(producer, `UDP6-DATAGRAM:[ff02::1%p0]:${PORT}`, "link;");
    for (const peer of peers) await hears(peer, "link;");
    await send(producer, `UDP6-DATAGRAM:[ff15::98]:${PORT}`, "site;");
    for (const peer of peers) await hears(peer, "link;site;");
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    assert(!(await memberships(middle, "m0")).includes("ff15::98"));
  },
  skip,
);

testOnEngines(
  "client reaches link-local hosts and groups by their zone",
  async (engine) => {
    await using stack = new AsyncDisposableStack();
    const { producer, middle } = await threeHosts(stack);
    const host = stack.use(await receive(middle, `UDP6-RECV:${PORT}`));
    const group = stack.use(
      await receive(
        middle,
        `UDP6-RECV:${PORT + 1},ipv6-join-group=[ff02::81]:m0`,
      ),
    );
    await using files = await TestFolder.create();
    const path = await files.file("data", "hello");
    for (const to of [`[fe80::b%p0]:${PORT}`, `[ff02::81%p0]:${PORT + 1}`]) {
      const { code, stderr } = await startRole(producer, "client", [
        ...["--path", path, "--server-addr", to, "--engine", engine],
      ]).end;
      assertEquals(code, 0, stderr);
      assertMatch(stderr, /sent to .*: 5 B, 1 datagram .* 0 dropped/);
    }
    await hears(host, "hello");
    await hears(group, "hello");
  },
  skip,
);

testOnEngines(
  "client --no-loop sends a group to other hosts alone, and --loop to this one too",
  async (engine) => {
    await using stack = new AsyncDisposableStack();
    const { producer, middle } = await threeHosts(stack);
    const group = "239.81.0.3";
    const recv = (name: string) =>
      `UDP4-RECV:${PORT},ip-add-membership=${group}:${name}`;
    const here = stack.use(await receive(producer, recv("p0")));
    const there = stack.use(await receive(middle, recv("m0")));
    await using files = await TestFolder.create();
    for (
      const [option, text] of [["--no-loop", "others;"], ["--loop", "all;"]]
    ) {
      const path = await files.file("data", text!);
      const { code, stderr } = await startRole(producer, "client", [
        ...["--path", path, "--server-addr", `${group}:${PORT}`],
        ...["--interface=p0", option!, "--engine", engine],
      ]).end;
      assertEquals(code, 0, stderr);
    }
    await hears(there, "others;all;");
    await hears(here, "all;");
  },
  skip,
);

testUnless(
  skip ?? linuxEngineUnavailable(),
  "client --ttl stops at the router where it says so, IPv4 and IPv6",
  async () => {
    await using stack = new AsyncDisposableStack();
    const { producer, middle, receivers: [receiver] } = await threeHosts(stack);
    // The host in the middle is a router now.
    await middle.run(
      "sysctl",
      "-qw",
      "net.ipv4.ip_forward=1",
      "net.ipv6.conf.all.forwarding=1",
    );
    await producer.ip(..."route add default via 10.81.0.2".split(" "));
    await producer.ip(..."-6 route add default via fd81:0::2".split(" "));
    await receiver.ip(..."route add default via 10.81.1.1".split(" "));
    await receiver.ip(..."-6 route add default via fd81:1::1".split(" "));
    await using files = await TestFolder.create();
    for (
      const [recv, to] of [["UDP4-RECV", "10.81.1.11"], [
        "UDP6-RECV",
        "[fd81:1::11]",
      ]]
    ) {
      const peer = stack.use(await receive(receiver, `${recv}:${PORT}`));
      for (const ttl of [1, 2]) {
        const path = await files.file("data", `ttl ${ttl};`);
        const { code, stderr } = await startRole(producer, "client", [
          ...["--path", path, "--server-addr", `${to}:${PORT}`, `--ttl=${ttl}`],
        ]).end;
        // The router's answer may be back before the client ends: then it says so.
        const unheard = ttl === 1 &&
          /error destination received nothing .*unreachable/.test(stderr);
        assertEquals(code, unheard ? 1 : 0, stderr);
      }
      await hears(peer, "ttl 2;");
      await peer.stop();
    }
  },
);

testOnEngines(
  "proxy --ttl lets a group pass a multicast router, which stops it without",
  async (engine) => {
    await using stack = new AsyncDisposableStack();
    const { producer, middle, receivers: [receiver] } = await threeHosts(stack);
    const group = "239.81.1.4";
    const router = stack.use(middle.start(Deno.execPath(), [
      "run",
      "-A",
      new URL("../support/multicast_router.ts", import.meta.url).pathname,
      "m0",
      "m1",
      "10.81.0.1",
      group,
    ]));
    await router.line(/^routing/);
    const peer = stack.use(
      await receive(
        receiver,
        `UDP4-RECV:${PORT},ip-add-membership=${group}:r0`,
      ),
    );
    for (
      const [args, text] of [[[], "stays;"], [["--ttl=2"], "passes;"]] as const
    ) {
      const proxy = stack.use(startRole(producer, "proxy", [
        ...["--udp-listen-addr", `127.0.0.1:${PORT}`, "--interface=p0"],
        ...[
          "--udp-downstream-addr",
          `${group}:${PORT}`,
          "--engine",
          engine,
          ...args,
        ],
      ]));
      await proxy.line(/ listening /);
      await send(producer, `UDP4-SENDTO:127.0.0.1:${PORT}`, text);
      // What has arrived is sent before the end.
      const { code, stderr } = await proxy.stop();
      assertEquals(code, 0, stderr);
      assertMatch(stderr, /sent to .*, 1 datagram .* 0 dropped/);
    }
    await hears(peer, "passes;");
  },
  skip,
);

for (
  const { family, near, far, good, join, send: sendTo } of [
    {
      family: "IPv4",
      near: "239.81.0.5",
      far: "239.81.1.5",
      good: "10.81.0.1",
      join: "UDP4-RECV:9920,ip-add-membership=239.81.1.5:r0",
      send: "UDP4-DATAGRAM:239.81.0.5:9920,ip-multicast-if=10.81.0.1",
    },
    {
      family: "IPv6",
      near: "[ff15::5",
      far: "[ff15::6",
      good: "[fd81:0::1]",
      join: "UDP6-RECV:9920,ipv6-join-group=[ff15::6]:r0",
      send: "UDP6-DATAGRAM:[ff15::5]:9920",
    },
  ]
) {
  testOnEngines(
    `proxy goes on while an ${family} leg is down, and serves it again when it is up`,
    async (engine) => {
      await using stack = new AsyncDisposableStack();
      const { producer, middle, receivers: [receiver] } = await threeHosts(
        stack,
      );
      // As a router's announcements would, its addresses come back with the link.
      for (const host of [producer, middle]) {
        await host.run(
          "sysctl",
          "-qw",
          "net.ipv6.conf.all.keep_addr_on_down=1",
        );
      }
      const end = family === "IPv6" ? "]" : "";
      const [from, to] = [
        `${near}%m0${end}:${PORT}`,
        `${far}%m1${end}:${PORT}`,
      ];
      const lost = stack.use(await receive(receiver, join));
      const other = stack.use(
        await receive(producer, `UDP${family.at(-1)}-RECV:${PORT + 1}`),
      );
      const proxy = stack.use(startRole(middle, "proxy", [
        ...["--udp-listen-addr", from, "--engine", engine],
        ...["--udp-downstream-addr", to],
        ...["--udp-downstream-addr", `${good}:${PORT + 1}`],
      ]));
      await proxy.line(/ listening /);
      const say = (text: string) => send(producer, sendTo, text);
      await say("before;");
      await hears(lost, "before;");
      await hears(other, "before;");

      await middle.ip("link", "set", "m1", "down");
      await say("down;");
      await hears(other, "before;down;");
      if (engine === "linux") {
        // Without IP_RECVERR the kernel says that it has sent what it drops.
        await proxy.line(
          /warn destination drops datagrams .*%m1.*unreachable 1/,
        );
      }

      await middle.ip("link", "set", "m1", "up");
      await isReady(middle, "m1");
      await say("up;");
      await hears(other, "before;down;up;");
      await hears(lost, "before;up;");

      // The leg that it listens on goes and comes: it is still a member.
      await middle.ip("link", "set", "m0", "down");
      await middle.ip("link", "set", "m0", "up");
      await isReady(middle, "m0");
      await isReady(producer, "p0");
      await say("again;");
      await hears(lost, "before;up;again;");
      const { code, stderr } = await proxy.stop();
      assertEquals(code, 0, stderr);
      if (engine === "linux") {
        assertMatch(
          stderr,
          /sent to .*%m1.*, 3 datagrams .* 1 dropped \(unreachable 1\)/,
        );
      }
    },
    skip,
  );
}

testOnEngines(
  "reverseproxy gives everything on the default group to two subscribers here and to two other hosts",
  async (engine) => {
    await using stack = new AsyncDisposableStack();
    const { producer, middle, receivers } = await threeHosts(stack);
    const source = stack.use(startRole(middle, "reverseproxy", [
      ...["--udp-listen-addr", `10.81.0.2:${PORT}`, "--interface=m1"],
      ...["--tcp-output-addr", `10.81.0.2:${PORT}`, "--engine", engine],
    ]));
    await source.line(/ listening address=\[ff02::1\]:9918/);
    await source.line(/ listening for subscribers /);
    const subscribers: TestProcess[] = [];
    for (let i = 0; i < 2; i++) {
      subscribers.push(
        stack.use(
          producer.start("socat", ["-u", `TCP4:10.81.0.2:${PORT}`, "STDOUT"]),
        ),
      );
    }
    await source.lines(/ subscriber connected /, 2);
    const hosts: TestProcess[] = [];
    for (const host of receivers) {
      const reverse = stack.use(startRole(host, "reverseproxy", [
        ...[
          "--tcp-output-addr",
          `127.0.0.1:${PORT}`,
          "--interface=r0",
          "--engine",
          engine,
        ],
      ]));
      hosts.push(reverse);
      await reverse.line(/ listening for subscribers /);
      for (let i = 0; i < 2; i++) {
        subscribers.push(
          stack.use(
            host.start("socat", ["-u", `TCP4:127.0.0.1:${PORT}`, "STDOUT"]),
          ),
        );
      }
      await reverse.lines(/ subscriber connected /, 2);
    }
    let said = "";
    for (const word of ["one;", "two;", "three;"]) {
      said += word;
      await send(producer, `UDP4-SENDTO:10.81.0.2:${PORT}`, word);
      for (const subscriber of subscribers) await hears(subscriber, said);
    }
    for (const reverse of [source, ...hosts]) {
      const { code, stderr } = await reverse.stop();
      assertEquals(code, 0, stderr);
      assertMatch(
        stderr,
        /sent to 2 subscribers: 28 B, 6 datagrams, 0 dropped/,
      );
    }
  },
  skip,
);

testOnEngines(
  "reverseproxy finds the link of the default group by itself where there is one",
  async (engine) => {
    await using stack = new AsyncDisposableStack();
    const { receivers: hosts } = await threeHosts(stack);
    const subscribers: TestProcess[] = [];
    const roles: TestProcess[] = [];
    for (const [i, host] of hosts.entries()) {
      const reverse = stack.use(startRole(host, "reverseproxy", [
        ...i === 0 ? ["--udp-listen-addr", `127.0.0.1:${PORT}`] : [],
        ...["--tcp-output-addr", `127.0.0.1:${PORT}`, "--engine", engine],
      ]));
      roles.push(reverse);
      await reverse.line(/ listening for subscribers /);
      if (i === 0) await reverse.line(/ listening address=127\.0\.0\.1:9920/);
      subscribers.push(stack.use(host.start("socat", [
        ...["-u", `TCP4:127.0.0.1:${PORT}`, "STDOUT"],
      ])));
      await reverse.line(/ subscriber connected /);
    }
    await send(hosts[0], `UDP4-SENDTO:127.0.0.1:${PORT}`, "hello");
    for (const subscriber of subscribers) await hears(subscriber, "hello");
    for (const reverse of roles) {
      const { code, stderr } = await reverse.stop();
      assertEquals(code, 0, stderr);
    }
  },
  skip,
);

testOnEngines(
  "proxy goes on with the good destinations beside hosts that routes or firewalls forbid",
  async (engine) => {
    await using stack = new AsyncDisposableStack();
    const { producer, middle, receivers: [receiver] } = await threeHosts(stack);
    const peer = stack.use(await receive(receiver, `UDP4-RECV:${PORT}`));
    const hosts = ["10.81.1.21", "10.81.1.22"];
    const proxy = stack.use(startRole(middle, "proxy", [
      ...["--udp-listen-addr", `10.81.0.2:${PORT}`, "--engine", engine],
      ...hosts.flatMap((host) => ["--udp-downstream-addr", `${host}:${PORT}`]),
      ...["--udp-downstream-addr", `10.81.1.11:${PORT}`],
    ]));
    await proxy.line(/ listening /);
    // Forbidden while it runs: EACCES of the one, EHOSTUNREACH of the other.
    await middle.ip("route", "add", "prohibit", `${hosts[0]}/32`);
    await middle.ip("route", "add", "unreachable", `${hosts[1]}/32`);
    let said = "";
    for (const word of ["one;", "two;", "three;"]) {
      said += word;
      await send(producer, `UDP4-SENDTO:10.81.0.2:${PORT}`, word);
      await hears(peer, said);
    }
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    assertMatch(
      stderr,
      /sent to 10\.81\.1\.21:.* 0 datagrams .* 3 dropped \(permission 3\)/,
    );
    assertMatch(
      stderr,
      /sent to 10\.81\.1\.22:.* 0 datagrams .* 3 dropped \(unreachable 3\)/,
    );
    assertMatch(stderr, /sent to 10\.81\.1\.11:.* 3 datagrams .* 0 dropped/);
  },
  skip,
);

testOnEngines(
  "client, proxy and server carry a file over two groups to two hosts, whole",
  async (engine) => {
    await using stack = new AsyncDisposableStack();
    const { producer, middle, receivers } = await threeHosts(stack);
    const files = stack.use(await TestFolder.create());
    // As much as the smallest receive queue holds: nothing can be dropped.
    const bytes = placedBytes(80_000);
    const path = await files.file("data", bytes);
    const [near, far] = ["239.81.0.6", "239.81.1.6"];
    const servers: TestProcess[] = [];
    for (const [i, host] of receivers.entries()) {
      const server = stack.use(startRole(host, "server", [
        ...[
          "--path",
          `${files.path}/log${i}`,
          "--format=jsonl",
          "--stats=0.05",
        ],
        ...["--listen-addr", `${far}%r0:${PORT}`, "--engine", engine],
      ]));
      servers.push(server);
      await server.line(/ listening /);
    }
    const proxy = stack.use(startRole(middle, "proxy", [
      ...["--udp-listen-addr", `${near}%m0:${PORT}`, "--engine", engine],
      ...["--udp-downstream-addr", `${far}%m1:${PORT}`, "--stats=0.05"],
    ]));
    await proxy.line(/ listening /);
    const client = await startRole(producer, "client", [
      ...["--path", path, "--server-addr", `${near}%p0:${PORT}`],
      ...["--rate=40M", "--engine", engine],
    ]).end;
    assertEquals(client.code, 0, client.stderr);
    assertMatch(
      client.stderr,
      /sent to .*: 80.0 kB, 56 datagrams .* 0 dropped/,
    );
    for (const role of [proxy, ...servers]) {
      await role.line(/ info 80\.0 kB (forwarded|logged)/);
      const { code, stderr } = await role.stop();
      assertEquals(code, 0, stderr);
      assertMatch(stderr, /received on .*: 80.0 kB, 56 datagrams .* 0 dropped/);
    }
    for (const i of receivers.keys()) {
      const lines = (await Deno.readTextFile(`${files.path}/log${i}`)).trim();
      const datagrams = lines.split("\n").map((line) => {
        const { text, base64, source } = JSON.parse(line);
        assert(source.startsWith("10.81.1.1:"), source);
        return text === undefined
          ? Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))
          : new TextEncoder().encode(text);
      });
      assertAllPlaced(datagrams, bytes);
    }
  },
  skip,
);
