/**
 * One client of MQTT 3.1.1 that publishes for a time, without an event loop.
 *
 *     mqtt_publish.ts --to 127.0.0.1:PORT --size BYTES --qos 0|1 --seconds S
 *                     [--alternate]
 *
 * QoS 0 goes as fast as it is taken; of QoS 1 at most {@linkcode WINDOW} are
 * unanswered. With `--alternate`, each message of QoS 1 waits for the answer
 * to the one before, and how long that took is told. Prints
 * `latency P50 P99` in microseconds where it was asked for, and
 * `sent MESSAGES`, on stderr.
 */
import { parseArgs } from "@std/cli/parse-args";
import {
  AF_INET,
  IPPROTO_TCP,
  MSG_NOSIGNAL,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  TCP_NODELAY,
} from "../../net/engine/linux/ffi/constants.ts";
import { checked } from "../../net/engine/linux/ffi/errno.ts";
import { openLibc } from "../../net/engine/linux/ffi/libc.ts";
import { encodeSockaddr } from "../../net/engine/linux/ffi/sockaddr.ts";
import {
  connectSocket,
  openSocket,
  setIntOption,
} from "../../net/engine/linux/ffi/socket.ts";
import { connectPacket, publishPacket } from "../../tests/support/mqtt_peer.ts";
import { say } from "./samples.ts";

/** Messages of QoS 1 that may be unanswered; they go and are answered by halves. */
const WINDOW = 512;

/** What is written at once of QoS 0. */
const WRITE_BYTES = 65536;

const PUBACK_BYTES = 4;
const MOST_ROUND_TRIPS = 1_000_000;

const CLIENT_ID = "bench-client";

/** Messages go to so many topics by turns: one alone is the easiest to remember. */
const TOPICS = 8;

const { to, size, qos, seconds, alternate } = parseArgs(Deno.args, {
  string: ["to", "size", "qos", "seconds"],
  boolean: ["alternate"],
});
const [host, port] = to!.split(":") as [string, string];

const libc = openLibc();
const fd = openSocket(libc, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
setIntOption(libc, fd, IPPROTO_TCP, TCP_NODELAY, 1);
connectSocket(libc, fd, encodeSockaddr(host, Number(port)));
const input = new Uint8Array(new ArrayBuffer(65536));
sendAll(connectPacket({ clientId: CLIENT_ID, keepAlive: 0 }));
receive(4);
if (input[0] !== 0x20 || input[3] !== 0) {
  throw new Error(`Not let in: ${input.subarray(0, 4).toHex()}`);
}

const payload = "x".repeat(Number(size));
const end = performance.now() + Number(seconds) * 1000;
let sent = 0;
if (alternate) alternately();
else if (qos === "1") window();
else flood();
// The end comes behind all that was sent.
sendAll(Uint8Array.of(0xe0, 0));
say(`sent ${sent}`);

function flood(): void {
  const length = publish(0).length;
  const count = TOPICS * Math.ceil(WRITE_BYTES / (TOPICS * length));
  const many = publishes(count);
  while (performance.now() < end) {
    sendAll(many);
    sent += count;
  }
}

function window(): void {
  const { length } = publish(0);
  const half = WINDOW / 2;
  const many = publishes(half);
  const idAt = length - payload.length - 2;
  let id = 0;
  let unanswered = 0;
  while (performance.now() < end) {
    for (let i = 0; i < half; i++) {
      id = id % 65535 + 1;
      many[i * length + idAt] = id >> 8;
      many[i * length + idAt + 1] = id & 0xff;
    }
    sendAll(many);
    sent += half;
    unanswered += half;
    if (unanswered === WINDOW) {
      receive(half * PUBACK_BYTES);
      unanswered -= half;
    }
  }
  receive(unanswered * PUBACK_BYTES);
}

function alternately(): void {
  const one = publish(0);
  const took = new Float64Array(MOST_ROUND_TRIPS);
  for (let now = performance.now(); now < end && sent < took.length;) {
    sendAll(one);
    receive(PUBACK_BYTES);
    const after = performance.now();
    took[sent++] = after - now;
    now = after;
  }
  const sorted = took.subarray(0, sent).sort();
  const at = (share: number) =>
    (sorted[Math.floor(sent * share)]! * 1000).toFixed(1);
  say(`latency ${at(0.5)} ${at(0.99)}`);
}

/** All are of one length. */
function publish(index: number): Uint8Array {
  const topic = `devices/${CLIENT_ID}/sensor-${index % TOPICS}`;
  return publishPacket({ topic, payload, qos: Number(qos) });
}

function publishes(count: number): Uint8Array {
  const { length } = publish(0);
  const many = new Uint8Array(length * count);
  for (let i = 0; i < count; i++) many.set(publish(i), i * length);
  return many;
}

function sendAll(bytes: Uint8Array): void {
  let rest = bytes as Uint8Array<ArrayBuffer>;
  for (;;) {
    const length = BigInt(rest.length);
    const done = checked(
      "send",
      libc.symbols.sendPart(fd, rest, length, MSG_NOSIGNAL),
      libc,
    );
    if (done === rest.length) return;
    rest = rest.subarray(done);
  }
}

/** Reads so many bytes; the last ones lie at the front of `input`. */
function receive(bytes: number): void {
  for (let left = bytes; left > 0;) {
    const most = BigInt(Math.min(left, input.length));
    const read = checked(
      "recv",
      libc.symbols.recvPart(fd, input, most, 0),
      libc,
    );
    if (read === 0) throw new Error("The connection was closed");
    left -= read;
  }
}
