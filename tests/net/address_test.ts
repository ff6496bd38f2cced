import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  type Address,
  canonicalIp,
  checkSendable,
  formatAddress,
  formatIpv6,
  hostWithZone,
  isHostName,
  isIp,
  isLoopback,
  isMulticast,
  isOfOneLink,
  isUnspecified,
  parseAddress,
  parseIpv6,
} from "../../net/address.ts";
import { UsageError } from "../../net/errors.ts";

const ipv4 = fc.ipV4();
const ipv6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).chain((bytes) =>
  // Runs of zeros are what the short form is about.
  fc.tuple(fc.nat({ max: 7 }), fc.nat({ max: 8 })).map(([from, words]) => {
    bytes.fill(0, 2 * from, Math.min(16, 2 * (from + words)));
    return formatIpv6(bytes);
  })
);
const name = fc.domain();
const port = fc.integer({ min: 1, max: 65535 });
const zone = fc.stringMatching(/^[a-z][a-z0-9.]{0,14}$/);

function record<T>(
  parts: { [K in keyof T]: fc.Arbitrary<T[K]> },
): fc.Arbitrary<T> {
  return fc.record(parts, { noNullPrototype: true }) as fc.Arbitrary<T>;
}

const anyAddress: fc.Arbitrary<Address> = fc.oneof(
  record({ hostname: fc.oneof(ipv4, ipv6, name), port }),
  record({ hostname: fc.oneof(ipv6, fc.constant("239.1.2.3")), port, zone }),
  record({
    hostname: fc.ipV4().map((ip) => ip.replace(/^\d+/, "232")),
    port,
    source: ipv4,
  }),
  record({
    hostname: fc.constantFrom("ff3e::8000:1", "ff15::99"),
    port,
    zone,
    source: ipv6,
  }),
);

Deno.test("parseAddress reads back what formatAddress writes", () => {
  fc.assert(fc.property(anyAddress, (address) => {
    assertEquals(parseAddress(formatAddress(address)), address);
  }));
});

Deno.test("formatAddress writes one text for all spellings of an address", () => {
  const spellings: readonly [string, string][] = [
    ["127.0.0.1:9920", "127.0.0.1:9920"],
    ["localhost:09920", "localhost:9920"],
    ["[0:0:0:0:0:0:0:1]:9921", "[::1]:9921"],
    ["239.1.2.3%eth0:9", "239.1.2.3%eth0:9"],
    ["10.0.0.9@232.1.2.3%eth0:9", "10.0.0.9@232.1.2.3%eth0:9"],
    ["[FF02::1]:9923", "[ff02::1]:9923"],
    ["[fe80:0::1%eth0]:9", "[fe80::1%eth0]:9"],
    ["[fe80::1%4]:9", "[fe80::1%4]:9"],
    ["[::ffff:7f00:1]:9", "[::ffff:127.0.0.1]:9"],
    ["10.0.0.9@232.1.2.3:5000", "10.0.0.9@232.1.2.3:5000"],
    ["[2001:DB8::0:9]@[ff3e::1]:5000", "[2001:db8::9]@[ff3e::1]:5000"],
    ["2001:db8::9@[ff3e::1%eth0]:5000", "[2001:db8::9]@[ff3e::1%eth0]:5000"],
    ["sensor_1.example.:65535", "sensor_1.example.:65535"],
  ];
  for (const [given, wanted] of spellings) {
    assertEquals(formatAddress(parseAddress(given)), wanted);
  }
});

Deno.test("canonicalIp writes IPv6 as RFC 5952 recommends", () => {
  const vectors: readonly [string, string][] = [
    // Section 4.1: leading zeros go.
    ["2001:0db8::0001", "2001:db8::1"],
    // Section 4.2.1: as short as possible.
    ["2001:db8:0:0:0:0:2:1", "2001:db8::2:1"],
    // Section 4.2.2: one zero group is no run.
    ["2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    // Section 4.2.3: the longest run, and the first of equal ones.
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    // Section 4.3: lower case.
    ["2001:DB8::AAAA", "2001:db8::aaaa"],
    // Section 5: IPv4-mapped.
    ["0:0:0:0:0:FFFF:129.144.52.38", "::ffff:129.144.52.38"],
    ["::", "::"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["1::", "1::"],
    ["::1.2.3.4", "::102:304"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
  ];
  for (const [given, wanted] of vectors) {
    assertEquals(canonicalIp(given), wanted);
  }
});

Deno.test("formatIpv6 and parseIpv6 are inverse for all sixteen bytes", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      (bytes) => assertEquals(parseIpv6(formatIpv6(bytes)), bytes),
    ),
  );
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      const bytes = parseIpv6(text);
      assert(bytes, text);
      assertEquals(parseIpv6(formatIpv6(bytes)), bytes);
    }),
  );
});

Deno.test("isIp refuses what only looks like an IP literal", () => {
  for (
    const text of [
      "",
      "1.2.3",
      "1.2.3.4.5",
      "1.2.3.256",
      "01.2.3.4",
      "1.2.3.-4",
      " 1.2.3.4",
      ":",
      ":::",
      "1::2::3",
      "1:2:3:4:5:6:7",
      "1:2:3:4:5:6:7:8:9",
      "1:2:3:4:5:6:7:8::",
      "12345::",
      "g::",
      "::1%eth0",
      "1.2.3.4::",
      "::1.2.3.4:5",
    ]
  ) assertEquals(isIp(text), false, text);
});

Deno.test("isMulticast, isLoopback, isOfOneLink and isUnspecified know the blocks' first and last addresses", () => {
  const cases: readonly [(host: string) => boolean, string[], string[]][] = [
    [isMulticast, ["224.0.0.0", "239.255.255.255", "ff00::", "ff02::1"], [
      "223.255.255.255",
      "240.0.0.0",
      "255.255.255.255",
      "fe80::1",
      "localhost",
    ]],
    [isLoopback, [
      "127.0.0.1",
      "127.255.255.255",
      "::1",
      "::ffff:127.0.0.1",
      "localhost",
    ], [
      "126.255.255.255",
      "128.0.0.0",
      "::",
      "::2",
      "::ffff:128.0.0.1",
      "::ff00:127.0.0.1",
      "::ff:127.0.0.1",
      "1::ffff:127.0.0.1",
    ]],
    [isOfOneLink, ["fe80::1", "febf::1", "ff02::1", "ff12::1", "ff01::1"], [
      "fe7f::1",
      "fec0::1",
      "ff05::1",
      "ff15::1",
      "ff0e::2",
      "224.0.0.1",
      "localhost",
    ]],
    [isUnspecified, ["0.0.0.0", "::"], ["0.0.0.1", "::1", "localhost"]],
  ];
  for (const [is, yes, no] of cases) {
    for (const host of yes) assert(is(host), `${is.name} ${host}`);
    for (const host of no) assert(!is(host), `${is.name} ${host}`);
  }
});

Deno.test("parseAddress takes a bare port only where it is told the host", () => {
  const options = { defaultHostname: "127.0.0.1" };
  assertEquals(parseAddress("9920", options), {
    hostname: "127.0.0.1",
    port: 9920,
  });
  assertEquals(parseAddress(":9920", options).hostname, "127.0.0.1");
  assertThrows(() => parseAddress("9920"), UsageError, "host and port");
});

Deno.test("parseAddress takes port 0 only where any free port is meant", () => {
  assertEquals(parseAddress("[::1]:0", { allowPortZero: true }).port, 0);
  assertThrows(() => parseAddress("[::1]:0"), UsageError, "port 0");
});

Deno.test("parseAddress says of every bad text in one line what is wrong with it", () => {
  const wrong: readonly [string, string][] = [
    ["", "host and port are wanted"],
    ["host", "host and port are wanted"],
    ["host:", "the port must be a number"],
    ["host:http", "the port must be a number"],
    ["host:-1", "the port must be a number"],
    ["host:1e3", "the port must be a number"],
    ["host: 80", "the port must be a number"],
    ["host:65536", "at most 65535"],
    ["host:123456", "the port must be a number"],
    ["::1:9920", "must stand in brackets"],
    ["[::1:9920", '"]" is missing'],
    ["[::1]", "a port must follow"],
    ["[::1]9920", "a port must follow"],
    ["[127.0.0.1]:9920", "only an IPv6 address stands in brackets"],
    ["[::g]:9920", "the IPv6 address is wrong"],
    ["[fe80::1%]:9920", "an interface must follow %"],
    ["127.0.0.1%eth0:9920", "only an IPv6 address or a group has a zone"],
    ["host%eth0:9920", "only an IPv6 address or a group has a zone"],
    ["256.1.1.1:9920", "neither an IP address nor a name"],
    ["1.2.3:9920", "neither an IP address nor a name"],
    ["127.1:9920", "neither an IP address nor a name"],
    ["0x7f000001:9920", "neither an IP address nor a name"],
    ["0x7f.0X0.0.1:9920", "neither an IP address nor a name"],
    ["http://host:9920", 'it has a scheme, "http://"'],
    ["udp4://127.0.0.1:9920", 'it has a scheme, "udp4://"'],
    ["127.0.0.1:9920,127.0.0.1:9921", "repeat the option"],
    ["a:1 b:2", "repeat the option"],
    ["-host:9920", "neither an IP address nor a name"],
    ["host-:9920", "neither an IP address nor a name"],
    ["ho st:9920", "neither an IP address nor a name"],
    ["a..b:9920", "neither an IP address nor a name"],
    [`${"a".repeat(64)}:9920`, "neither an IP address nor a name"],
    ["host@232.1.1.1:9920", "the source before @ must be an IP address"],
    ["@232.1.1.1:9920", "the source before @ must be an IP address"],
    ["10.0.0.1@10.0.0.2:9920", "wants a multicast group after it"],
    ["10.0.0.1@host:9920", "wants a multicast group after it"],
    ["10.0.0.1@[ff3e::1]:9920", "must both be IPv4 or both IPv6"],
    ["udp://127.0.0.1:9920", "it has a scheme"],
  ];
  for (const [text, reason] of wrong) {
    const { message } = assertThrows(() => parseAddress(text), UsageError);
    assert(message.includes(reason), `${text}: ${message}`);
    assert(message.includes(`"${text}"`), message);
    assert(!message.includes("\n"), message);
  }
});

Deno.test("parseAddress gives an address or a UsageError for any text at all", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.stringMatching(/^[[\]:.%@0-9a-f]{0,30}$/)),
      (text) => {
        let address: Address;
        try {
          address = parseAddress(text);
        } catch (error) {
          assert(error instanceof UsageError);
          return;
        }
        assertEquals(parseAddress(formatAddress(address)), address);
      },
    ),
    { numRuns: 1000 },
  );
});

Deno.test("isHostName takes names of up to 253 characters, without the dot at the end (RFC 1035, 2.3.4)", () => {
  const name = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)]
    .join(".");
  assertEquals(name.length, 253);
  assertEquals([name, `${name}.`, `${name}d`, `${name}d.`].map(isHostName), [
    true,
    true,
    false,
    false,
  ]);
});

Deno.test("hostWithZone puts the zone where there is one behind the host", () => {
  assertEquals(
    ["[fe80::1%eth0]:9920", "[fe80::1]:9920", "host.test:9920"].map((text) =>
      hostWithZone(parseAddress(text))
    ),
    ["fe80::1%eth0", "fe80::1", "host.test"],
  );
});

Deno.test("checkSendable refuses an address with a source, which can only be listened on", () => {
  const group = { hostname: "232.1.1.1", port: 9920 };
  checkSendable(group);
  assertThrows(
    () => checkSendable({ ...group, source: "192.0.2.1" }),
    UsageError,
    "Cannot send to",
  );
});
