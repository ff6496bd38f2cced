/** The engine on real interfaces, in network namespaces of the test's own. */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import {
  createLinuxEngine,
  linuxEngineUnavailable,
} from "../../../../../net/engine/linux/datagram/engine.ts";
import { batchOf, openSender, pattern } from "../../../../support/datagrams.ts";
import { NetworkNamespace } from "../../../../support/namespaces.ts";
import { startPeer } from "../../../../support/process.ts";
import {
  needsNetworkNamespaces,
  needsProgram,
  testUnless,
} from "../../../../support/skip.ts";

const scenarios = fromFileUrl(
  import.meta.resolve("../../../../support/linux_scenarios.ts"),
);
const skip = linuxEngineUnavailable() ?? needsNetworkNamespaces();

/** A namespace with `a0`, cabled to `b0` of another. */
async function cabled(stack: AsyncDisposableStack): Promise<{
  near: NetworkNamespace;
  far: NetworkNamespace;
}> {
  const near = stack.use(await NetworkNamespace.create());
  const far = stack.use(await NetworkNamespace.create());
  await near.connect(
    far,
    { name: "a0", addresses: ["10.77.0.1/24", "fe80::a/64"] },
    { name: "b0", addresses: ["10.77.0.2/24", "fe80::b/64"] },
  );
  return { near, far };
}

function runScenario(namespace: NetworkNamespace, ...args: string[]) {
  return namespace.run(Deno.execPath(), "run", "-A", scenarios, ...args);
}

for (
  const [name, title] of [
    [
      "ipv6 groups",
      "listen() hears the IPv6 groups that it joined, by zone, interface and source",
    ],
    [
      "loop",
      "connect() decides whether this machine hears what it sends to a group",
    ],
    ["one interface", "listen() joins a group on one interface alone"],
    ["no address", "roles take an interface that has no address"],
    ["unicast", "connect() and listen() take zones and interfaces of hosts"],
    ["no route", "connect() and send() say and count what has no route"],
  ] as const
) {
  testUnless(skip, title, async () => {
    await using stack = new AsyncDisposableStack();
    const { near } = await cabled(stack);
    await runScenario(near, name);
  });
}

/** Starts a receiver at the far end; gives its port and its end, which fails where datagrams were lost. */
async function startReceiver(
  stack: AsyncDisposableStack,
  far: NetworkNamespace,
  count: number,
): Promise<{ port: string; end: () => Promise<void> }> {
  const peer = stack.use(
    far.start(Deno.execPath(), [
      "run",
      "-A",
      scenarios,
      "receiver",
      String(count),
    ]),
  );
  const [, port] = await peer.line(/^listening port=(\d+)/);
  return {
    port: port!,
    end: async () => {
      const { code, stderr } = await peer.end;
      assertEquals(code, 0, stderr);
    },
  };
}

testUnless(
  skip,
  "send() cuts nothing that the path takes and lowers when the path shrinks",
  async () => {
    await using stack = new AsyncDisposableStack();
    const { near, far } = await cabled(stack);
    const receiver = await startReceiver(stack, far, 50);
    await runScenario(near, "path mtu", receiver.port);
    await receiver.end();
  },
);

testUnless(
  skip ?? needsProgram("tc"),
  "send() is held up by a slow interface and loses nothing",
  async () => {
    await using stack = new AsyncDisposableStack();
    const { near, far } = await cabled(stack);
    await near.run(
      "tc",
      ..."qdisc add dev a0 root tbf rate 100mbit burst 64kb limit 70kb".split(
        " ",
      ),
    );
    const receiver = await startReceiver(stack, far, 3600);
    await runScenario(near, "slow interface", receiver.port);
    await receiver.end();
    const queue = await near.run("tc", "-s", "qdisc", "show", "dev", "a0");
    const [, dropped] = /dropped (\d+)/.exec(queue)!;
    assert(Number(dropped) > 0, "the interface was not slow");
  },
);

for (
  const [hostname, ttl, variable] of [
    ["127.0.0.1", 7, "SOCAT_IP_TTL"],
    ["239.77.3.1", 3, "SOCAT_IP_TTL"],
    ["::1", 9, "SOCAT_IPV6_HOPLIMIT"],
  ] as const
) {
  testUnless(
    linuxEngineUnavailable() ?? needsProgram("socat"),
    `connect() to ${hostname} sets the hops that a datagram may take`,
    async () => {
      const engine = createLinuxEngine({ blocking: false });
      // Its port is free: this socket had it until now.
      const { port } = await (async () => {
        using listener = await engine.listen({
          address: { hostname: "::", port: 0 },
        });
        return listener.address;
      })();
      const options = hostname.includes(":")
        ? `UDP6-RECVFROM:${port},bind=[::1],ipv6-recvhoplimit`
        : hostname.startsWith("239")
        ? `UDP4-RECVFROM:${port},ip-add-membership=${hostname}:lo,ip-recvttl`
        : `UDP4-RECVFROM:${port},bind=127.0.0.1,ip-recvttl`;
      await using peer = startPeer("socat", [
        "-d",
        "-d",
        "-d",
        options,
        `SYSTEM:echo hops $${variable} >&2`,
      ]);
      await peer.line(/receiving on/);
      const { sender } = await openSender(
        engine,
        { hostname, port },
        {
          ttl,
          networkInterface: hostname.startsWith("239") ? "lo" : undefined,
        },
      );
      using _ = sender;
      await sender.send(batchOf([pattern(5)]));
      const [, hops] = await peer.line(/^hops (\d+)/);
      assertEquals(Number(hops), ttl);
    },
  );
}
