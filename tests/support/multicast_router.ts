/**
 * A multicast router of one route, for tests of hop limits: the kernel forwards
 * a group of one source from one interface to another as long as this program
 * runs in a network namespace (Linux, multicast routing version 1, see
 * include/uapi/linux/mroute.h). Arguments: interface in, interface out, source, group.
 */
import { parseIpv4 } from "../../net/address.ts";

const AF_INET = 2;
const SOCK_RAW = 3;
const IPPROTO_IP = 0;
const IPPROTO_IGMP = 2;
const MRT_INIT = 200;
const MRT_ADD_VIF = 202;
const MRT_ADD_MFC = 204;
const VIFF_USE_IFINDEX = 8;

/** struct vifctl: vifi 0, flags 2, threshold 3, rate limit 4, interface index 8, remote 12. */
const VIFCTL_BYTES = 16;

/** struct mfcctl: origin 0, group 4, parent 8, ttls[32] 10, counters 44. */
const MFCCTL_BYTES = 60;

const [from, to, source, group] = Deno.args as [string, string, string, string];

const libc = Deno.dlopen("libc.so.6", {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  setsockopt: {
    parameters: ["i32", "i32", "i32", "buffer", "u32"],
    result: "i32",
  },
});

function indexOf(name: string): number {
  return Number(Deno.readTextFileSync(`/sys/class/net/${name}/ifindex`));
}

const fd = libc.symbols.socket(AF_INET, SOCK_RAW, IPPROTO_IGMP);

function set(option: number, value: Uint8Array<ArrayBuffer>): void {
  if (
    libc.symbols.setsockopt(fd, IPPROTO_IP, option, value, value.length) === 0
  ) return;
  throw new Error(`The kernel refuses option ${option}`);
}

set(MRT_INIT, Uint8Array.of(1, 0, 0, 0));
for (const [vif, name] of [from, to].entries()) {
  const bytes = new Uint8Array(VIFCTL_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, vif, true);
  view.setUint8(2, VIFF_USE_IFINDEX);
  // What leaves must have more hops left than this.
  view.setUint8(3, 1);
  view.setInt32(8, indexOf(name), true);
  set(MRT_ADD_VIF, bytes);
}
const route = new Uint8Array(MFCCTL_BYTES);
route.set(parseIpv4(source)!, 0);
route.set(parseIpv4(group)!, 4);
// Threshold of the interface out; 0 of the others: not there.
route[10 + 1] = 1;
set(MRT_ADD_MFC, route);

await Deno.stderr.write(new TextEncoder().encode("routing\n"));
// The kernel forgets the route when the socket closes: with this process.
setInterval(() => {}, 60_000);
