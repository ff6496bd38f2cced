/**
 * The least that a sender over `Deno.listenDatagram` can be.
 *
 *     bare_send.ts HOST:PORT SIZE SECONDS
 */
import { parseAddress } from "../../net/address.ts";
import { say } from "./samples.ts";

const [to, size, seconds] = Deno.args;
const socket = Deno.listenDatagram({
  transport: "udp",
  hostname: "127.0.0.1",
  port: 0,
});
const destination: Deno.NetAddr = { transport: "udp", ...parseAddress(to!) };
const datagram = new Uint8Array(Number(size));
const end = performance.now() + Number(seconds) * 1000;
let sent = 0;
while (performance.now() < end) {
  await socket.send(datagram, destination);
  sent++;
}
socket.close();
say(`sent ${sent} ${sent * datagram.length}`);
