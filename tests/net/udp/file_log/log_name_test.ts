import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import type { Address } from "../../../../net/address.ts";
import { canonicalIp } from "../../../../net/address.ts";
import {
  legalName,
  parseRotatedName,
  rotatedName,
  splitName,
  splitNameSides,
} from "../../../../net/udp/file_log/log_name.ts";

function assertLegal(name: string): void {
  // deno-lint-ignore no-control-regex
  assert(!/[\x00-\x1f\x7f<>:"/\\|?*%[\]]/.test(name), name);
  assert(!/[. ]$/.test(name), `"${name}" ends with a dot or space`);
  assert(
    !/^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])[ ]*(\.|$)/i.test(name),
    `"${name}" is a device`,
  );
  assert(new TextEncoder().encode(name).length <= 255, `"${name}" is too long`);
  assert(name.length > 0);
}

const address: fc.Arbitrary<Address> = fc.record({
  hostname: fc.oneof(
    fc.ipV4(),
    fc.ipV6().map((text) => canonicalIp(text)!),
    fc.domain(),
    fc.constantFrom("ip6-ff02--1", "ff02--1", "localhost"),
  ),
  port: fc.nat({ max: 65535 }),
}).chain(({ hostname, port }) =>
  hostname.includes(":")
    ? fc.option(fc.stringMatching(/^[!-~]{1,15}$/), { nil: undefined })
      .map((zone) =>
        zone === undefined ? { hostname, port } : { hostname, port, zone }
      )
    : fc.constant({ hostname, port })
);

/** What people and others who do not mean well call their files. */
const name = fc.oneof(
  fc.string({ minLength: 1, unit: "grapheme" }),
  fc.constantFrom(
    "feed.log",
    ".log",
    "con",
    "NUL.txt",
    "a:b.log",
    "x. ",
    "com1.",
    "aux .log",
  ),
  fc.string({ minLength: 200, maxLength: 300 }),
).filter((text) => text.isWellFormed());

Deno.test("splitName puts the address before the extension", () => {
  const of = (hostname: string, zone?: string) =>
    splitName("feed.log", { hostname, port: 9920, ...(zone ? { zone } : {}) });
  assertEquals(of("127.0.0.1"), "feed.127.0.0.1_9920.log");
  assertEquals(of("ff02::1"), "feed.ip6-ff02--1_9920.log");
  assertEquals(of("fe80::1", "eth0"), "feed.ip6-fe80--1~eth0_9920.log");
  assertEquals(of("fe80::1", "Eth0.5"), "feed.ip6-fe80--1~=45th0=2e5_9920.log");
  assertEquals(of("Sensor_1.lan"), "feed.host-sensor=5f1.lan_9920.log");
  assertEquals(splitName("feed", { hostname: "::", port: 1 }), "feed.ip6---_1");
  assertEquals(splitNameSides("feed.log"), ["feed.", ".log"]);
});

Deno.test("splitName is legal on every system, whatever file and address are called", () => {
  fc.assert(
    fc.property(name, address, (name, address) => {
      const split = splitName(name, address);
      assertLegal(split);
      const [before, after] = splitNameSides(name);
      assert(split.startsWith(before));
      assert(split.endsWith(after));
    }),
    { numRuns: 1000 },
  );
});

Deno.test("splitName never gives one name to two addresses", () => {
  fc.assert(
    fc.property(address, address, (one, other) => {
      const lower = (address: Address) => ({
        ...address,
        hostname: address.hostname.toLowerCase(),
      });
      fc.pre(JSON.stringify(lower(one)) !== JSON.stringify(lower(other)));
      assertNotEquals(
        splitName("feed.log", one).toLowerCase(),
        splitName("feed.log", other).toLowerCase(),
      );
    }),
    { numRuns: 1000 },
  );
});

Deno.test("legalName leaves a legal name alone and marks a device's name", () => {
  assertEquals(legalName("feed-1 (old)~ö.log"), "feed-1 (old)~ö.log");
  assertEquals(legalName("con.log"), "con=.log");
  assertEquals(legalName("LPT1"), "LPT1=");
  assertEquals(legalName("a:b"), "a=3ab");
});

Deno.test("parseRotatedName reads what rotatedName wrote, and orders like the time", () => {
  const time = fc.date({
    min: new Date(0),
    max: new Date("2999-01-01"),
    noInvalidDate: true,
  })
    .map((date) => date.getTime());
  fc.assert(fc.property(
    name,
    time,
    time,
    fc.nat({ max: 99_999 }),
    fc.nat({ max: 99_999 }),
    (base, oneMs, otherMs, oneRepeat, otherRepeat) => {
      const one = parseRotatedName(rotatedName(base, oneMs, oneRepeat))!;
      const other = parseRotatedName(rotatedName(base, otherMs, otherRepeat))!;
      assertEquals(one.base, base);
      assertEquals([one.compressed, one.partial], [false, false]);
      const byTime = oneMs - otherMs || oneRepeat - otherRepeat;
      assertEquals(
        Math.sign(byTime),
        one.order < other.order ? -1 : one.order > other.order ? 1 : 0,
      );
    },
  ));
});

Deno.test("parseRotatedName tells compressed, partial and other files apart", () => {
  const rotated = rotatedName(
    "feed.log",
    Date.UTC(2026, 7, 22, 10, 15, 30, 123),
    2,
  );
  assertEquals(rotated, "feed.log.20260822T101530123Z-2");
  assertEquals(parseRotatedName(`${rotated}.gz`)?.compressed, true);
  assertEquals(parseRotatedName(`${rotated}.gz.tmp`)?.partial, true);
  for (
    const other of [
      "feed.log",
      "feed.log.gz",
      `${rotated}.tmp`,
      `${rotated}.bak`,
    ]
  ) {
    assertEquals(parseRotatedName(other), undefined);
  }
});
