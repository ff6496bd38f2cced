/** rtnetlink(7): the messages, and the kernel's answers. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { linuxEngineUnavailable } from "../../../../net/engine/linux/datagram/engine.ts";
import { SystemCallError } from "../../../../net/engine/linux/ffi/errno.ts";
import { openLibc } from "../../../../net/engine/linux/ffi/libc.ts";
import {
  openNetworkNotices,
  readRoute,
  routeInterface,
  routeRequest,
  takeNetworkNotices,
} from "../../../../net/engine/linux/ffi/netlink.ts";
import {
  closeDescriptor,
  interfaceIndex,
} from "../../../../net/engine/linux/ffi/socket.ts";
import { testUnless } from "../../../support/skip.ts";

Deno.test("routeRequest() is an RTM_GETROUTE with an RTA_DST", () => {
  // <linux/rtnetlink.h>: nlmsghdr, rtmsg, rtattr, the address.
  assertEquals([...routeRequest("239.1.2.3")], [
    ...[36, 0, 0, 0, 26, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ...[2, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ...[8, 0, 1, 0, 239, 1, 2, 3],
  ]);
  const v6 = routeRequest("ff02::1");
  assertEquals(v6.length, 48);
  assertEquals([...v6.subarray(16, 18)], [10, 128]);
});

Deno.test("readRoute() finds RTA_OIF behind attributes of any length", () => {
  const answer = Uint8Array.from([
    ...[52, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ...new Array(12).fill(0),
    // An attribute of one byte, padded to four.
    ...[5, 0, 7, 0, 1, 0, 0, 0],
    ...[8, 0, 4, 0, 7, 0, 0, 0],
    ...[8, 0, 1, 0, 1, 2, 3, 4],
  ]);
  assertEquals(readRoute(answer), 7);
  // Cut short or without the attribute: no interface, and no endless loop.
  assertEquals(readRoute(answer.slice(0, 36)), 0);
  answer[28] = 0;
  assertEquals(readRoute(answer), 0);
});

Deno.test("readRoute() throws what the kernel answers", () => {
  const answer = new Uint8Array(36);
  const view = new DataView(answer.buffer);
  view.setUint32(0, 36, true);
  view.setUint16(4, 2, true);
  view.setInt32(16, -101, true);
  const error = assertThrows(() => readRoute(answer), SystemCallError);
  assertEquals(error.code, "ENETUNREACH");
});

testUnless(
  linuxEngineUnavailable(),
  "the kernel names the interface of loopback",
  () => {
    using libc = openLibc();
    assertEquals(routeInterface(libc, "127.0.0.1"), interfaceIndex(libc, "lo"));
    const fd = openNetworkNotices(libc);
    assert(!takeNetworkNotices(libc, fd));
    closeDescriptor(libc, fd);
  },
);
