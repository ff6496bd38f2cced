/** How the proxy finds its TCP hosts by name, with a hosts file of the test's own. */
import { assertEquals } from "@std/assert";
import { Receiver } from "../support/datagram_peer.ts";
import { TestFolder } from "../support/folder.ts";
import { startPeer } from "../support/process.ts";
import {
  needsLinux,
  needsProgram,
  type SkipReason,
  testUnless,
} from "../support/skip.ts";
import { writeAll } from "../support/tcp.ts";

const skip = needsLinux() ?? needsProgram("unshare", "mount") ??
  needsMountNamespaces();

function needsMountNamespaces(): SkipReason {
  const { success } = new Deno.Command("unshare", {
    args: ["-m", "true"],
    stderr: "null",
  }).outputSync();
  return success ? undefined : "mount namespaces are not permitted";
}

/** The proxy in a mount namespace where a file stands for /etc/hosts. */
function startProxy(hosts: string, args: readonly string[]) {
  const main = new URL("../../cli/proxy/main.ts", import.meta.url).pathname;
  return startPeer("unshare", [
    ...[
      "-m",
      "sh",
      "-c",
      'mount --bind "$1" /etc/hosts; shift; exec "$@"',
      "sh",
    ],
    ...[hosts, Deno.execPath(), "run", "-A", main, ...args],
  ]);
}

/** Listens on an address of 127.0.0.0/8, on a port that another one has as well. */
function listen(hostname: string, port = 0): Deno.TcpListener {
  return Deno.listen({ hostname, port });
}

testUnless(
  skip,
  "proxy resolves a name anew each time that it connects",
  async () => {
    await using files = await TestFolder.create();
    const hosts = await files.file("hosts", "127.0.0.1 feed.test\n");
    using first = listen("127.0.0.1");
    using second = listen("127.0.0.2", first.addr.port);
    await using receiver = await Receiver.open();
    await using proxy = startProxy(hosts, [
      ...["--tcp-connect-addr", `feed.test:${first.addr.port}`],
      ...["--udp-downstream-addr", receiver.text],
    ]);
    {
      using conn = await first.accept();
      await writeAll(conn, new TextEncoder().encode("first"));
      await receiver.atLeast(1);
      await Deno.writeTextFile(hosts, "127.0.0.2 feed.test\n");
    }
    using conn = await second.accept();
    await writeAll(conn, new TextEncoder().encode("second"));
    await receiver.atLeast(2);
    assertEquals(receiver.texts, ["first", "second"]);
    assertEquals((await proxy.stop()).code, 0);
  },
);

testUnless(
  skip,
  "proxy tries all addresses of a name, IPv6 and IPv4",
  async () => {
    await using files = await TestFolder.create();
    const hosts = await files.file(
      "hosts",
      "::1 feed.test\n127.0.0.3 feed.test\n127.0.0.2 feed.test\n",
    );
    await using receiver = await Receiver.open();
    for (const hostname of ["127.0.0.2", "::1"]) {
      using listener = listen(hostname);
      await using proxy = startProxy(hosts, [
        ...["--tcp-connect-addr", `feed.test:${listener.addr.port}`],
        ...["--udp-downstream-addr", receiver.text],
      ]);
      using conn = await listener.accept();
      await writeAll(conn, new TextEncoder().encode(hostname));
      await receiver.until(
        () => receiver.texts.includes(hostname),
        `a word by ${hostname}`,
      );
      assertEquals((await proxy.stop()).code, 0);
    }
  },
);

testUnless(
  skip,
  "proxy waits for a name that cannot be found yet",
  async () => {
    await using files = await TestFolder.create();
    const hosts = await files.file("hosts", "127.0.0.1 localhost\n");
    using listener = listen("127.0.0.1");
    await using proxy = startProxy(hosts, [
      ...["--tcp-connect-addr", `feed.test:${listener.addr.port}`, "--tee"],
    ]);
    await proxy.line(/trying again .*Cannot resolve/);
    await Deno.writeTextFile(hosts, "127.0.0.1 feed.test\n");
    using conn = await listener.accept();
    await writeAll(conn, new TextEncoder().encode("found"));
    await proxy.stdoutBytes(5);
    assertEquals((await proxy.stop()).code, 0);
  },
);
