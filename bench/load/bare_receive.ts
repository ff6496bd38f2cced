/**
 * The least that a receiver over `Deno.listenDatagram` can be; prints as
 * udp_sink.ts does.
 */
const SAMPLE_MS = 20;

const socket = Deno.listenDatagram({
  transport: "udp",
  hostname: "127.0.0.1",
  port: 0,
});
say(`listening ${(socket.addr as Deno.NetAddr).port}`);
const buffer = new Uint8Array(65536);
let bytes = 0;
let datagrams = 0;
let said = 0;
setInterval(() => {
  if (datagrams === said) return;
  said = datagrams;
  const at = (performance.timeOrigin + performance.now()).toFixed(3);
  say(`${at} ${bytes} ${datagrams} 0`);
}, SAMPLE_MS);
for (;;) {
  const [datagram] = await socket.receive(buffer);
  bytes += datagram.length;
  datagrams++;
}

function say(line: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`));
}
