/**
 * The least that a forwarder over `Deno.listenDatagram` can be.
 *
 *     bare_forward.ts LISTEN_PORT HOST:PORT...
 */
import { parseAddress } from "../../net/address.ts";

const [port, ...to] = Deno.args;
const socket = Deno.listenDatagram({
  transport: "udp",
  hostname: "127.0.0.1",
  port: Number(port),
});
const out = Deno.listenDatagram({
  transport: "udp",
  hostname: "0.0.0.0",
  port: 0,
});
const destinations = to.map((text): Deno.NetAddr => ({
  transport: "udp",
  ...parseAddress(text),
}));
const buffer = new Uint8Array(65536);
for (;;) {
  const [datagram] = await socket.receive(buffer);
  for (const destination of destinations) await out.send(datagram, destination);
}
