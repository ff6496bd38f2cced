/**
 * What the datagram seam costs the portable plane: a bare `receive`/`send`
 * loop against the shared relay loop over the same calls, alternating.
 * Each run forwards datagrams of 1400 bytes for a quarter of a second from a
 * sender in a Worker to a socket nobody reads.
 *
 *     deno task bench:seam
 */
import { Destination } from "../net/dispatch/destination.ts";
import { RECEIVE_COUNTERS, Relay } from "../net/dispatch/relay.ts";
import { denoDatagramEngine } from "../net/engine/portable/deno_datagram.ts";
import { CounterBlock } from "../net/observe/counters.ts";

const RUNS = 25;
const RUN_MS = 250;
const DATAGRAM_BYTES = 1400;

if (import.meta.main) {
  const sink = Deno.listenDatagram({
    transport: "udp",
    hostname: "127.0.0.1",
    port: 0,
  });
  const to = sink.addr as Deno.NetAddr;
  const rates = { bare: [] as number[], seam: [] as number[] };
  for (let run = 0; run < RUNS; run++) {
    rates.bare.push(await bareRate(to));
    rates.seam.push(await seamRate(to));
  }
  sink.close();
  const bare = median(rates.bare);
  const seam = median(rates.seam);
  const ratio = median(rates.seam.map((rate, run) => rate / rates.bare[run]!));
  // deno-lint-ignore no-console
  console.log(
    `bare ${bare.toFixed(0)} kpps, through the seam ${seam.toFixed(0)} kpps: ` +
      `median ratio of the pairs ${ratio.toFixed(3)}`,
  );
  Deno.exit(0);
}

async function bareRate(to: Deno.NetAddr): Promise<number> {
  const socket = Deno.listenDatagram({
    transport: "udp",
    hostname: "127.0.0.1",
    port: 0,
  });
  const out = Deno.listenDatagram({
    transport: "udp",
    hostname: "0.0.0.0",
    port: 0,
  });
  const flood = startFlood((socket.addr as Deno.NetAddr).port);
  const buffer = new Uint8Array(65536);
  let count = 0;
  const start = performance.now();
  while (performance.now() - start < RUN_MS) {
    const [datagram] = await socket.receive(buffer);
    await out.send(datagram, to);
    count++;
  }
  const elapsed = performance.now() - start;
  flood.terminate();
  socket.close();
  out.close();
  return count / elapsed;
}

async function seamRate(to: Deno.NetAddr): Promise<number> {
  const listener = await denoDatagramEngine.listen({
    address: { hostname: "127.0.0.1", port: 0 },
  });
  const destination = await Destination.open(denoDatagramEngine, {
    address: to,
    maxWaitMs: Infinity,
  });
  const counters = new CounterBlock(RECEIVE_COUNTERS);
  const relay = new Relay({
    listener,
    sinks: [destination],
    counters: counters.slots,
  });
  const flood = startFlood(listener.address.port);
  const start = performance.now();
  const running = relay.run();
  await new Promise((resolve) => setTimeout(resolve, RUN_MS));
  const count = counters.read().receivedDatagrams;
  const elapsed = performance.now() - start;
  flood.terminate();
  relay.drain();
  await running;
  await destination[Symbol.asyncDispose]();
  return count / elapsed;
}

function startFlood(port: number): Worker {
  const source = `
    const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
    const data = new Uint8Array(${DATAGRAM_BYTES});
    for (;;) await socket.send(data, { transport: "udp", hostname: "127.0.0.1", port: ${port} });
  `;
  const url = URL.createObjectURL(
    new Blob([source], { type: "text/javascript" }),
  );
  return new Worker(url, { type: "module" });
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
