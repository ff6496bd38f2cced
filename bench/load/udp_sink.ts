/**
 * Counts datagrams of 127.0.0.0/8 and nothing else, as cheaply as can be: none
 * is copied out of the kernel, joined reads stay joined, and nobody waits on
 * the socket, so that its sender pays for no wake-up. Prints as samples.ts says.
 */
import {
  AF_INET,
  IPPROTO_UDP,
  MSG_TRUNC,
  SK_MEMINFO_DROPS,
  SK_MEMINFO_VARS,
  SO_MEMINFO,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOL_SOCKET,
  SOL_UDP,
  UDP_GRO,
} from "../../net/engine/linux/ffi/constants.ts";
import { type Libc, openLibc } from "../../net/engine/linux/ffi/libc.ts";
import { ReceiveVector } from "../../net/engine/linux/ffi/messages.ts";
import { encodeSockaddr } from "../../net/engine/linux/ffi/sockaddr.ts";
import {
  bindSocket,
  localAddress,
  openSocket,
  readOption,
  setIntOption,
} from "../../net/engine/linux/ffi/socket.ts";
import { Samples, say } from "./samples.ts";

/** Enough for the stalls of a process that shares its cores with a flood. */
const RECEIVE_BUFFER_BYTES = 64 << 20;

const MESSAGES = 64;
const PAUSE_MS = 1;

const libc = openLibc();
const fd = openSocket(libc, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
setIntOption(libc, fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER_BYTES);
try {
  setIntOption(libc, fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES);
} catch {
  // Without CAP_NET_ADMIN the system's limit holds; what is lost here is shown.
}
setIntOption(libc, fd, SOL_UDP, UDP_GRO, 1);
bindSocket(libc, fd, encodeSockaddr("0.0.0.0", 0));
say(`listening ${localAddress(libc, fd).port}`);

// With no room for a message and MSG_TRUNC, recvmmsg tells its length alone.
const vector = new ReceiveVector(new Uint8Array(8), MESSAGES, 0);
const counting: Libc = {
  ...libc,
  symbols: {
    ...libc.symbols,
    recvmmsg: (fd, headers, messages, flags, timeout) =>
      libc.symbols.recvmmsg(fd, headers, messages, flags | MSG_TRUNC, timeout),
  },
};
const samples = new Samples();
const memoryInfo = new Uint32Array(SK_MEMINFO_VARS);
const never = new Int32Array(new SharedArrayBuffer(4));
let reads = 0;
for (;;) {
  const taken = vector.receive(counting, fd, MESSAGES);
  for (let i = 0; i < taken; i++) {
    const length = vector.length(i);
    const size = vector.segmentSize(i);
    samples.bytes += length;
    samples.datagrams += size > 0 ? Math.ceil(length / size) : 1;
    reads++;
  }
  samples.sayIfDue(dropped);
  if (taken < MESSAGES) Atomics.wait(never, 0, 0, PAUSE_MS);
}

/** A joined read that is dropped counts once: it is taken to hold as much as others. */
function dropped(): number {
  readOption(libc, fd, SOL_SOCKET, SO_MEMINFO, memoryInfo);
  const reported = memoryInfo[SK_MEMINFO_DROPS]!;
  return Math.round(reported * samples.datagrams / reads);
}
