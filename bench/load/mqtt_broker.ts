/**
 * A broker that lets everybody in, acknowledges, counts and forgets: what is
 * in front of it is the slower one. MQTT 3.1.1, over the kernel's calls
 * without an event loop between. Prints as samples.ts says: bytes are those of
 * payloads, datagrams are messages.
 */
import {
  AF_INET,
  EAGAIN,
  EINTR,
  EPOLLIN,
} from "../../net/engine/linux/ffi/constants.ts";
import { Epoll } from "../../net/engine/linux/ffi/epoll.ts";
import { SystemCallError } from "../../net/engine/linux/ffi/errno.ts";
import { openLibc } from "../../net/engine/linux/ffi/libc.ts";
import { encodeSockaddr } from "../../net/engine/linux/ffi/sockaddr.ts";
import { localAddress } from "../../net/engine/linux/ffi/socket.ts";
import {
  openStreamListener,
  StreamCalls,
} from "../../net/engine/linux/ffi/stream.ts";
import { SAMPLE_MS, Samples, say } from "./samples.ts";

/** In front of a read, for the first part of a packet that the read before has cut. */
const ROOM_BYTES = 65536;
const READ_BYTES = 1 << 20;
const EVENTS = 256;

const CONNACK = [0x20, 2, 0, 0];
const PINGRESP = [0xd0, 0];

const libc = openLibc();
const calls = new StreamCalls(libc);
const epoll = new Epoll(libc, EVENTS);
const listener = openStreamListener(libc, {
  family: AF_INET,
  address: encodeSockaddr("127.0.0.1", 0),
  backlog: 4096,
  keepAlive: false,
  reusePort: false,
});
epoll.add(listener, EPOLLIN, listener);
say(`listening ${localAddress(libc, listener).port}`);

const samples = new Samples();
const buffer = new Uint8Array(new ArrayBuffer(ROOM_BYTES + READ_BYTES));
const window = buffer.subarray(ROOM_BYTES);
// An acknowledgement is shorter than the shortest message that it answers.
const answers = new Uint8Array(new ArrayBuffer(ROOM_BYTES + READ_BYTES));
let answerBytes = 0;
/** First parts of packets, by descriptor. */
const rests = new Map<number, Uint8Array>();

for (;;) {
  // What came since the last sample is said soon after it.
  const count = epoll.wait(SAMPLE_MS);
  for (let i = 0; i < count; i++) {
    const fd = epoll.token(i);
    if (fd === listener) accept();
    else serve(fd);
  }
  samples.sayIfDue(() => 0);
}

function accept(): void {
  for (;;) {
    const fd = calls.accept(listener);
    if (fd < 0) return;
    epoll.add(fd, EPOLLIN, fd);
  }
}

function serve(fd: number): void {
  const read = calls.receive(fd, window, BigInt(READ_BYTES));
  if (read <= 0) {
    if (read < 0 && isPassing(libc.errno())) return;
    rests.delete(fd);
    calls.close(fd);
    return;
  }
  const rest = rests.get(fd);
  let start = ROOM_BYTES;
  if (rest) {
    start -= rest.length;
    buffer.set(rest, start);
    rests.delete(fd);
  }
  const end = ROOM_BYTES + read;
  const used = take(start, end);
  if (used < end) rests.set(fd, buffer.slice(used, end));
  if (answerBytes > 0) answer(fd);
}

/** Takes whole packets; gives where the first one that is not whole begins. */
function take(from: number, end: number): number {
  let at = from;
  for (;;) {
    if (end - at < 2) return at;
    let body = at + 1;
    let length = 0;
    for (let shift = 0;; shift += 7) {
      if (body === end) return at;
      const byte = buffer[body++]!;
      length |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    if (body + length > end) return at;
    const first = buffer[at]!;
    switch (first >> 4) {
      case 1:
        put(CONNACK);
        break;
      case 3: {
        const qos = first >> 1 & 3;
        const topicEnd = body + 2 + (buffer[body]! << 8 | buffer[body + 1]!);
        if (qos === 1) {
          answers[answerBytes++] = 0x40;
          answers[answerBytes++] = 2;
          answers[answerBytes++] = buffer[topicEnd]!;
          answers[answerBytes++] = buffer[topicEnd + 1]!;
        }
        samples.datagrams++;
        samples.bytes += body + length - topicEnd - (qos === 0 ? 0 : 2);
        break;
      }
      case 12:
        put(PINGRESP);
    }
    at = body + length;
  }
}

function put(packet: readonly number[]): void {
  for (const byte of packet) answers[answerBytes++] = byte;
}

/** Answers are few and small: a socket that has no room for them gets it soon. */
function answer(fd: number): void {
  let rest = answers.subarray(0, answerBytes);
  while (rest.length > 0) {
    const sent = calls.send(fd, rest, rest.length);
    if (sent > 0) rest = rest.subarray(sent);
    else if (!isPassing(libc.errno())) break;
  }
  answerBytes = 0;
}

function isPassing(errno: number): boolean {
  if (errno === EAGAIN || errno === EINTR) return true;
  if (errno > 0) return false;
  throw new SystemCallError("recv", errno);
}
