import { assertEquals, assertThrows } from "@std/assert";
import { addressesOf, readEndpoint } from "../../cli/dispatch_endpoints.ts";
import { formatAddress } from "../../net/address.ts";
import { UsageError } from "../../net/errors.ts";
import { Receiver } from "../support/datagram_peer.ts";
import { TestFolder } from "../support/folder.ts";
import { assertWrongUsage, startRole } from "../support/process.ts";

Deno.test("readEndpoint() reads a scheme, a host, a group and a bare port", () => {
  for (
    const [text, scheme, address] of [
      ["udp://239.1.2.3:9920", "udp", "239.1.2.3:9920"],
      ["TCP://[::1]:9920", "tcp", "[::1]:9920"],
      ["tls://feed.example:443", "tls", "feed.example:443"],
      ["10.0.0.7:1", "udp", "10.0.0.7:1"],
      [":9920", "udp", "0.0.0.0:9920"],
      ["tcp://:9920", "tcp", "0.0.0.0:9920"],
      ["10.0.0.7@232.1.2.3:1", "udp", "10.0.0.7@232.1.2.3:1"],
    ]
  ) {
    const read = readEndpoint(text!, "0.0.0.0", () => false);
    assertEquals([read.scheme, formatAddress(read.address)], [scheme, address]);
  }
  assertThrows(
    () => readEndpoint("http://a:1", "0.0.0.0", () => false),
    UsageError,
    "expected udp://, tcp:// or tls://",
  );
  assertThrows(() => readEndpoint(":0", "0.0.0.0", () => false), UsageError);
});

Deno.test("addressesOf() gives those of a scheme, and refuses one that the role does not speak", () => {
  const endpoints = ["udp://a:1", "tcp://b:2", "c:3"].map((text) =>
    readEndpoint(text, "0.0.0.0", () => false)
  );
  assertEquals(addressesOf(endpoints, "udp").map(formatAddress), [
    "a:1",
    "c:3",
  ]);
  assertThrows(
    () => addressesOf(endpoints, "udp", { tcp: "no TCP here" }),
    UsageError,
    'cannot use "tcp://b:2": no TCP here',
  );
});

Deno.test("every dispatch role takes --listen and --to, and refuses what it does not speak", async () => {
  await using files = await TestFolder.create();
  const path = await files.file("in", "from a file");
  await using receiver = await Receiver.open();
  await using proxy = startRole("proxy", [
    ...["--listen=udp://127.0.0.1:0", `--to=:${receiver.port}`],
  ]);
  const [, address] = await proxy.line(/ listening address=(\S+)/);
  await using client = startRole("client", ["--path", path, "--to", address!]);
  assertEquals((await client.end).code, 0);
  await receiver.atLeast(1);
  assertEquals(receiver.texts, ["from a file"]);
  assertEquals((await proxy.stop()).code, 0);

  await using reverse = startRole("reverseproxy", [
    ...["--listen=tcp://127.0.0.1:0", "--interface=lo"],
    ...["--multicast-addr=239.255.7.7:39917", "--to=tcp://127.0.0.1:0"],
  ]);
  await reverse.line(/ listening for subscribers /);
  await reverse.line(/ listening for producers /);
  assertEquals((await reverse.stop()).code, 0);

  const cases: [string, string[], RegExp][] = [
    ["server", ["--path=-", "--listen=tcp://:1"], /receives UDP alone/],
    ["client", ["--path=-", "--to=tcp://:1"], /sends UDP alone/],
    ["proxy", ["--listen=tls://a:1", "--to=:2"], /--tcp-connect-addr/],
    ["reverseproxy", ["--listen=tls://a:1"], /speaks no TLS/],
  ];
  for (const [role, args, line] of cases) {
    await assertWrongUsage(role, args, line);
  }
});

Deno.test("--check-config shows an address that is given twice, and a loop", async () => {
  await using files = await TestFolder.create();
  const cases: [string, string, RegExp][] = [
    ["proxy", 'udp-listen-addr = ["127.0.0.1:1", "127.0.0.1:1"]', /twice/],
    [
      "proxy",
      'udp-listen-addr = ["0.0.0.0:1"]\nto = ["127.255.255.255:1"]',
      /come back/,
    ],
    [
      "client",
      'path = "-"\nserver-addr = ["127.0.0.1:1"]\nto = [":1"]',
      /twice/,
    ],
    ["server", 'path = "-"\nlisten-addr = ["[::1]:1", "[::1]:1"]', /twice/],
  ];
  for (const [role, config, line] of cases) {
    const path = await files.file("config.toml", `${config}\n`);
    await assertWrongUsage(role, ["--check-config", "--config", path], line);
  }
});
