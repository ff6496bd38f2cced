/**
 * The least that a receiver over `Deno.listenDatagram` can be. Prints as
 * samples.ts says.
 */
import { SAMPLE_MS, Samples, say } from "./samples.ts";

const socket = Deno.listenDatagram({
  transport: "udp",
  hostname: "127.0.0.1",
  port: 0,
});
say(`listening ${(socket.addr as Deno.NetAddr).port}`);
const buffer = new Uint8Array(65536);
const samples = new Samples();
setInterval(() => samples.sayIfDue(() => 0), SAMPLE_MS);
for (;;) {
  const [datagram] = await socket.receive(buffer);
  samples.bytes += datagram.length;
  samples.datagrams++;
}
