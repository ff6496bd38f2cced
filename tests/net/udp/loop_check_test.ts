import { assert, assertEquals, assertThrows } from "@std/assert";
import { parseAddress } from "../../../net/address.ts";
import {
  broadcastAddress,
  checkNoLoop,
  type LoopOptions,
} from "../../../net/udp/loop_check.ts";
import { UsageError } from "../../../net/errors.ts";

const OWN = new Set(["10.0.0.7", "10.0.0.255", "fd00::7"]);

function loops(on: string, to: string, options: LoopOptions = {}): boolean {
  try {
    checkNoLoop([parseAddress(on)], [parseAddress(to)], options, OWN);
    return false;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return true;
  }
}

const HOSTS: readonly [on: string, to: string, loops: boolean][] = [
  ["127.0.0.1:9920", "127.0.0.1:9920", true],
  ["127.0.0.1:9920", "localhost:9920", true],
  ["localhost:9920", "127.0.0.1:9920", true],
  ["127.0.0.1:9920", "0.0.0.0:9920", true],
  ["127.0.0.1:9920", "127.0.0.1:9921", false],
  ["127.0.0.1:9920", "127.0.0.2:9920", false],
  ["127.0.0.1:9920", "10.0.0.7:9920", false],
  ["0.0.0.0:9920", "127.0.0.2:9920", true],
  ["0.0.0.0:9920", "10.0.0.7:9920", true],
  ["0.0.0.0:9920", "10.0.0.8:9920", false],
  ["0.0.0.0:9920", "255.255.255.255:9920", true],
  ["0.0.0.0:9920", "10.0.0.255:9920", true],
  ["0.0.0.0:9920", "10.0.0.255:9921", false],
  ["10.0.0.7:9920", "10.0.0.255:9920", false],
  ["0.0.0.0:9920", "224.0.0.1:9920", true],
  ["[::]:9920", "[ff02::1]:9920", true],
  ["0.0.0.0:9920", "[::1]:9920", false],
  ["[::]:9920", "127.0.0.1:9920", true],
  ["[::]:9920", "[::1]:9920", true],
  ["127.0.0.1:9920", "[::ffff:127.0.0.1]:9920", true],
  ["[::ffff:127.0.0.1]:9920", "127.0.0.1:9920", true],
  ["0.0.0.0:9920", "[::ffff:10.0.0.7]:9920", true],
  ["0.0.0.0:9920", "[::ffff:10.0.0.8]:9920", false],
  ["[::]:9920", "[fd00::7]:9920", true],
  ["[::]:9920", "[fd00::8]:9920", false],
  ["[0:0::1]:9920", "[::1]:9920", true],
  ["[::1]:9920", "127.0.0.1:9920", false],
  ["239.1.2.3:9920", "127.0.0.1:9920", false],
  ["0.0.0.0:9920", "239.1.2.3:9920", false],
  ["239.1.2.3:9920", "239.1.2.4:9920", false],
  ["239.1.2.3:9920", "239.1.2.3:9920", true],
  ["10.0.0.7@239.1.2.3:9920", "239.1.2.3:9920", true],
];

for (const [on, to, expected] of HOSTS) {
  Deno.test(`checkNoLoop() ${expected ? "refuses" : "lets"} ${on} send to ${to}`, () => {
    assertEquals(loops(on, to), expected);
  });
}

Deno.test("checkNoLoop() lets a group go from one interface to another, and where this machine does not hear it", () => {
  const [on, to] = ["[ff02::1%a0]:1", "[ff02::1%b0]:1"];
  assertEquals(loops(on, to), false);
  assertEquals(loops(on, on), true);
  assertEquals(loops(on, on, { loop: false }), false);
  assertEquals(loops("[ff02::1]:1", on, { networkInterface: "a0" }), true);
  assertEquals(loops("[ff02::1]:1", on, { networkInterface: "b0" }), false);
});

Deno.test("checkNoLoop() refuses a group that another listener has joined, where 0.0.0.0 receives it too", () => {
  const listen = ["0.0.0.0:9920", "239.1.2.3:9921"].map((text) =>
    parseAddress(text)
  );
  const to = [parseAddress("239.1.2.3:9920")];
  assertThrows(() => checkNoLoop(listen, to, {}, OWN), UsageError);
  checkNoLoop(listen, to, { loop: false }, OWN);
  checkNoLoop(listen, [parseAddress("239.1.2.4:9920")], {}, OWN);
});

Deno.test("broadcastAddress() sets all bits of the host (RFC 919)", () => {
  for (
    const [address, netmask, expected] of [
      ["10.0.0.7", "255.255.255.0", "10.0.0.255"],
      ["10.0.0.7", "255.0.0.0", "10.255.255.255"],
      ["192.168.5.130", "255.255.255.192", "192.168.5.191"],
      ["10.0.0.7", "255.255.255.255", "10.0.0.7"],
    ] as const
  ) {
    assertEquals(broadcastAddress(address, netmask), expected);
  }
});

Deno.test("checkNoLoop() refuses a group that another listener of the role joins, on every address of its port", () => {
  const joined = [parseAddress("239.1.2.3:9922")];
  assert(loops("0.0.0.0:9920", "239.1.2.3:9920", { joined }));
  assert(!loops("0.0.0.0:9920", "239.1.2.4:9920", { joined }));
  assert(!loops("0.0.0.0:9920", "239.1.2.3:9921", { joined }));
  assert(!loops("0.0.0.0:9920", "239.1.2.3:9920", { joined, loop: false }));
});
