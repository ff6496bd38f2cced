import { assertEquals, assertThrows } from "@std/assert";
import { parseAddress } from "../../../net/address.ts";
import {
  checkDestinations,
  checkListeners,
} from "../../../net/udp/distinct.ts";
import { UsageError } from "../../../net/errors.ts";

const addresses = (...texts: readonly string[]) =>
  texts.map((text) => parseAddress(text, { allowPortZero: true }));

Deno.test("checkListeners() refuses an address that is given twice, but not port 0 or another source of a group", () => {
  const { message } = assertThrows(
    () => checkListeners(addresses("[0::1]:1", "127.0.0.1:1", "[::1]:1")),
    UsageError,
  );
  assertEquals(
    message,
    'cannot listen on "[::1]:1" twice: it is given more than once; remove one',
  );
  checkListeners(addresses("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:1"));
  checkListeners(
    addresses("10.0.0.1@232.1.2.3:1", "10.0.0.2@232.1.2.3:1", "232.1.2.3:1"),
  );
});

Deno.test("checkDestinations() refuses a destination that is given twice, and the unspecified address", () => {
  assertThrows(
    () => checkDestinations(addresses("10.0.0.7:1", "10.0.0.7:1")),
    UsageError,
    'cannot send to "10.0.0.7:1" twice',
  );
  for (
    const [text, own] of [["0.0.0.0:1", "127.0.0.1:1"], ["[::]:1", "[::1]:1"]]
  ) {
    assertThrows(
      () => checkDestinations(addresses(text!)),
      UsageError,
      `use ${own} for this machine`,
    );
  }
  checkDestinations(addresses("10.0.0.7:1", "10.0.0.7:2", "[::1]:1"));
});
