/** The roles with socat and ncat at the other end, in both directions. */
import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { CertificateAuthority } from "../support/certificate_authority.ts";
import { freeUdpPort, ownGroup, Receiver } from "../support/datagram_peer.ts";
import { testOnEngines } from "../support/engines.ts";
import { TestFolder } from "../support/folder.ts";
import { startPeer, startRole, type TestProcess } from "../support/process.ts";
import { refusingAddress } from "../support/tcp.ts";
import { needsLinux, needsProgram } from "../support/skip.ts";

const skip = needsLinux() ?? needsProgram("socat", "ncat");

/** socat when it has opened both of its ends. */
async function socat(args: string[], stdin = false): Promise<TestProcess> {
  const peer = startPeer("socat", ["-d", "-d", ...args], { stdin });
  await peer.line(/starting data transfer loop/);
  return peer;
}

/** What is written to a peer's stdin, whole. */
async function say(peer: TestProcess, text: string): Promise<void> {
  const writer = peer.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  writer.releaseLock();
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** A kind of UDP address: how socat receives on it and sends to it, and how we do. */
interface Kind {
  name: string;
  receive: (port: number) => string;
  send: (port: number) => string;
  /** Where a role sends so that socat gets it. */
  address: (port: number) => string;
  /** Where a role listens to get what socat sends; port 0. */
  listen: string;
  args: string[];
}

function kinds(): Kind[] {
  const group = ownGroup();
  return [
    {
      name: "IPv4",
      receive: (port) => `UDP4-RECV:${port},bind=127.0.0.1`,
      send: (port) => `UDP4-SENDTO:127.0.0.1:${port}`,
      address: (port) => `127.0.0.1:${port}`,
      listen: "127.0.0.1:0",
      args: [],
    },
    {
      name: "IPv6",
      receive: (port) => `UDP6-RECV:${port},bind=[::1]`,
      send: (port) => `UDP6-SENDTO:[::1]:${port}`,
      address: (port) => `[::1]:${port}`,
      listen: "[::1]:0",
      args: [],
    },
    {
      name: "multicast",
      receive: (port) =>
        `UDP4-RECV:${port},bind=${group},reuseaddr,ip-add-membership=${group}:127.0.0.1`,
      send: (port) =>
        `UDP4-DATAGRAM:${group}:${port},ip-multicast-if=127.0.0.1`,
      address: (port) => `${group}:${port}`,
      listen: `${group}:0`,
      args: ["--interface=lo"],
    },
    {
      name: "broadcast",
      receive: (port) => `UDP4-RECV:${port}`,
      send: (port) => `UDP4-DATAGRAM:127.255.255.255:${port},broadcast`,
      address: (port) => `127.255.255.255:${port}`,
      listen: "0.0.0.0:0",
      args: [],
    },
  ];
}

for (const kind of kinds()) {
  testOnEngines(`client sends to socat over ${kind.name}`, async (engine) => {
    await using files = await TestFolder.create();
    const path = await files.file("data", "twenty-one point five");
    const port = await freeUdpPort();
    await using peer = await socat(["-u", kind.receive(port), "STDOUT"]);
    const { code, stderr } = await startRole("client", [
      ...["--path", path, "--server-addr", kind.address(port)],
      ...[...kind.args, "--engine", engine],
    ]).end;
    assertEquals(code, 0, stderr);
    assertEquals(text(await peer.stdoutBytes(21)), "twenty-one point five");
  }, skip);

  testOnEngines(
    `proxy hears socat and sends to socat over ${kind.name}`,
    async (engine) => {
      const port = await freeUdpPort();
      await using to = await socat(["-u", kind.receive(port), "STDOUT"]);
      await using proxy = startRole("proxy", [
        ...["--udp-listen-addr", kind.listen, "--engine", engine, ...kind.args],
        ...["--udp-downstream-addr", kind.address(port)],
      ]);
      const [, address] = await proxy.line(/ listening address=\S+:(\d+)/);
      await using from = await socat([
        "-u",
        "STDIN",
        kind.send(Number(address)),
      ], true);
      let heard = "";
      for (const word of ["one;", "two;"]) {
        heard += word;
        await say(from, word);
        assertEquals(text(await to.stdoutBytes(heard.length)), heard);
      }
      assertEquals((await proxy.stop()).code, 0);
    },
    skip,
  );
}

testOnEngines("client sends to ncat, and proxy hears ncat", async (engine) => {
  for (const host of ["127.0.0.1", "::1"]) {
    const name = host.includes(":") ? `[${host}]` : host;
    const port = await freeUdpPort();
    await using to = startPeer("ncat", ["-v", "-u", "-l", host, `${port}`]);
    await to.line(/Listening on/);
    await using proxy = startRole("proxy", [
      ...["--udp-listen-addr", `${name}:0`, "--engine", engine],
      ...["--udp-downstream-addr", `${name}:${port}`],
    ]);
    const [, listening] = await proxy.line(/ listening address=\S+:(\d+)/);
    await using from = startPeer("ncat", ["-u", host, listening!], {
      stdin: true,
    });
    await say(from, "by ncat;");
    assertEquals(text(await to.stdoutBytes(8)), "by ncat;");
    assertEquals((await proxy.stop()).code, 0);
  }
}, skip);

testOnEngines("proxy reads what socat and ncat say on TCP", async (engine) => {
  await using receiver = await Receiver.open();
  await using authority = await CertificateAuthority.create();
  const { cert, key } = await authority.sign("DNS:localhost");
  await using files = await TestFolder.create();
  const pem = await files.file(
    "both.pem",
    await Deno.readTextFile(cert) + await Deno.readTextFile(key),
  );
  // ncat does not tell a port that the system chose.
  const ncatPort = `${refusingAddress().port}`;
  // Each says a word to whoever connects.
  const peers = [
    {
      args: [
        "socat",
        "-d",
        "-d",
        "TCP4-LISTEN:0,bind=127.0.0.1,fork",
        "SYSTEM:printf socat;cat",
      ],
      port: /listening on AF=2 127\.0\.0\.1:(\d+)/,
      address: (port: string) => `127.0.0.1:${port}`,
    },
    {
      args: [
        "socat",
        "-d",
        "-d",
        "TCP6-LISTEN:0,bind=[::1],fork",
        "SYSTEM:printf socat6;cat",
      ],
      port: /listening on AF=10 \[\S+\]:(\d+)/,
      address: (port: string) => `[::1]:${port}`,
    },
    {
      args: [
        "ncat",
        "-v",
        "-l",
        "127.0.0.1",
        ncatPort,
        "-k",
        "--sh-exec",
        "printf ncat;cat",
      ],
      port: /Listening on 127\.0\.0\.1:(\d+)/,
      address: (port: string) => `127.0.0.1:${port}`,
    },
    {
      args: [
        "socat",
        "-d",
        "-d",
        `OPENSSL-LISTEN:0,bind=127.0.0.1,fork,cert=${pem},verify=0`,
        "SYSTEM:printf tls;cat",
      ],
      port: /listening on AF=2 127\.0\.0\.1:(\d+)/,
      address: (port: string) => `tls://localhost:${port}`,
    },
  ];
  await using stack = new AsyncDisposableStack();
  const addresses: string[] = [];
  for (const { args, port, address } of peers) {
    const peer = stack.use(startPeer(args[0]!, args.slice(1)));
    const [, found] = await peer.line(port);
    addresses.push("--tcp-connect-addr", address(found!));
  }
  await using proxy = startRole("proxy", [
    ...[...addresses, "--tls-ca", authority.cert, "--engine", engine],
    ...["--udp-downstream-addr", receiver.text],
  ]);
  await receiver.atLeast(peers.length);
  assertEquals(receiver.texts.sort(), ["ncat", "socat", "socat6", "tls"]);
  assertEquals((await proxy.stop()).code, 0);
}, skip ?? needsProgram("openssl"));

testOnEngines(
  "reverseproxy takes socat and ncat as producers and subscribers",
  async (engine) => {
    await using reverse = startRole("reverseproxy", [
      ...["--tcp-listen-addr=127.0.0.1:0", "--tcp-output-addr=127.0.0.1:0"],
      ...["--tcp-output-addr=[::1]:0", "--interface=lo", "--engine", engine],
      ...["--multicast-addr", `${ownGroup()}:${await freeUdpPort()}`],
    ]);
    const [, producers] = await reverse.line(
      / for producers address=127\S+:(\d+)/,
    );
    const [, outputs] = await reverse.line(
      / for subscribers address=127\S+:(\d+)/,
    );
    const [, outputs6] = await reverse.line(
      / for subscribers address=\[::1\]:(\d+)/,
    );
    // ncat with an empty stdin ends its own side at once, and still gets the stream.
    await using one = startPeer("ncat", ["127.0.0.1", outputs!]);
    await using other = startPeer("socat", [
      "-u",
      `TCP6:[::1]:${outputs6}`,
      "STDOUT",
    ]);
    await reverse.lines(/ subscriber connected /, 2);
    await using from = startPeer("ncat", ["127.0.0.1", producers!], {
      stdin: true,
    });
    await using also = startPeer("socat", [
      "-u",
      "STDIN",
      `TCP4:127.0.0.1:${producers}`,
    ], { stdin: true });
    let heard = "";
    for (const [peer, word] of [[from, "ncat;"], [also, "socat;"]] as const) {
      heard += word;
      await say(peer, word);
      for (const subscriber of [one, other]) {
        assertEquals(text(await subscriber.stdoutBytes(heard.length)), heard);
      }
    }
    assertEquals((await reverse.stop()).code, 0);
    // The end of the stream is the end of both.
    assertEquals((await other.end).code, 0);
    await one.end;
  },
  skip,
);

testOnEngines(
  "client reads what a shell pipes into it, as the original's README writes it",
  async (engine) => {
    await using files = await TestFolder.create();
    await using one = await Receiver.open();
    const group = `${ownGroup()}:${await freeUdpPort()}`;
    await using other = await Receiver.open(group, { networkInterface: "lo" });
    const main = new URL("../../cli/client/main.ts", import.meta.url).pathname;
    const log = join(files.path, "logfile.log");
    await using shell = startPeer("sh", [
      ...[
        "-c",
        'log="$1"; shift; printf "one\\ntwo\\n" | "$@" >> "$log"',
        "sh",
        log,
      ],
      ...[
        Deno.execPath(),
        "run",
        "-A",
        main,
        "--engine",
        engine,
        "--path",
        "-",
      ],
      ...[
        "--server-addr",
        one.text,
        "--server-addr",
        group,
        "--interface=lo",
        "--tee",
      ],
    ]);
    const { code, stderr } = await shell.end;
    assertEquals(code, 0, stderr);
    assertEquals(await Deno.readTextFile(log), "one\ntwo\n");
    for (const receiver of [one, other]) {
      await receiver.atLeastBytes(8);
      assertEquals(receiver.texts.join(""), "one\ntwo\n");
    }
  },
  skip,
);
