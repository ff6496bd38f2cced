/**
 * Where the portable plane's time goes, and what the datagram seam costs it: a
 * bare `receive`/`send` loop beside its halves, beside other orders of the same
 * calls, and beside the shared relay loop over them. They take turns. Each turn
 * is a quarter of a second under a flood of single datagrams of 1400 bytes from
 * another process, to a socket that nobody reads. CPU time is that of this
 * process with the threads of V8, so other load moves it less than the rate.
 * Linux only, as the flood is.
 *
 *     deno task bench:seam
 */
import process from "node:process";
import { Destination } from "../net/udp/sinks/destination.ts";
import { RECEIVE_COUNTERS, Relay } from "../net/udp/datagram_loop.ts";
import { denoDatagramEngine } from "../net/engine/portable/datagram/deno.ts";
import { CounterBlock } from "../net/observe/counters.ts";
import { startLoad } from "./dispatch/turn.ts";
import { median } from "./harness/bench.ts";

const RUNS = 21;
const WARM_MS = 100;
const TURN_MS = 250;
const FLOOD_SECONDS = 5;
const DATAGRAM_BYTES = 1400;
const BUFFER_BYTES = 65536;

/** Calls in flight at once, where there are several. */
const WINDOW = 16;

/** What a turn gave. */
interface Cost {
  /** Thousands of datagrams a second. */
  rate: number;
  /** CPU time of a datagram, in microseconds. */
  cpuMicros: number;
}

/** Measures from a moment after the first datagram to the end of the turn. */
class Meter {
  cost: Cost | undefined;
  #first: number | undefined;
  #start: number | undefined;
  #startCpu: NodeJS.CpuUsage | undefined;
  #datagrams = 0;

  /** Counts datagrams; false when the turn is over. */
  goesOn(datagrams: number): boolean {
    const now = performance.now();
    this.#first ??= now;
    if (this.#start === undefined) {
      if (now - this.#first < WARM_MS) return true;
      this.#start = now;
      this.#startCpu = process.cpuUsage();
      return true;
    }
    this.#datagrams += datagrams;
    const elapsed = now - this.#start;
    if (elapsed < TURN_MS) return true;
    const { user, system } = process.cpuUsage(this.#startCpu);
    this.cost ??= {
      rate: this.#datagrams / elapsed,
      cpuMicros: (user + system) / this.#datagrams,
    };
    return false;
  }
}

/** Moves datagrams until the meter ends it. */
type Loop = (
  meter: Meter,
  from: Deno.DatagramConn,
  out: Deno.DatagramConn,
  to: Deno.NetAddr,
) => Promise<void>;

const LOOPS: Record<string, Loop> = {
  "bare": async (meter, from, out, to) => {
    const buffer = new Uint8Array(BUFFER_BYTES);
    do {
      const [datagram] = await from.receive(buffer);
      await out.send(datagram, to);
    } while (meter.goesOn(1));
  },
  "receive alone": async (meter, from) => {
    const buffer = new Uint8Array(BUFFER_BYTES);
    do await from.receive(buffer); while (meter.goesOn(1));
  },
  "send alone": async (meter, _from, out, to) => {
    const datagram = new Uint8Array(DATAGRAM_BYTES);
    do await out.send(datagram, to); while (meter.goesOn(1));
  },
  "sends not awaited": async (meter, from, out, to) => {
    const buffers = Array.from(
      { length: WINDOW },
      () => new Uint8Array(BUFFER_BYTES),
    );
    let last: Promise<number> | undefined;
    do {
      for (const buffer of buffers) {
        const [datagram] = await from.receive(buffer);
        last = out.send(datagram, to);
      }
      await last;
    } while (meter.goesOn(WINDOW));
  },
  "next receive while one is sent": async (meter, from, out, to) => {
    let buffer = new Uint8Array(BUFFER_BYTES);
    let other = new Uint8Array(BUFFER_BYTES);
    let next = from.receive(buffer);
    do {
      const [datagram] = await next;
      [buffer, other] = [other, buffer];
      next = from.receive(buffer);
      await out.send(datagram, to);
    } while (meter.goesOn(1));
    await next;
  },
  "16 receives, then 16 sends": async (meter, from, out, to) => {
    const buffers = Array.from(
      { length: WINDOW },
      () => new Uint8Array(BUFFER_BYTES),
    );
    do {
      const received = buffers.map((buffer) => from.receive(buffer));
      let last: Promise<number> | undefined;
      for (const one of received) {
        const [datagram] = await one;
        last = out.send(datagram, to);
      }
      await last;
    } while (meter.goesOn(WINDOW));
  },
};

if (import.meta.main) {
  const unread = listen("127.0.0.1");
  const to = unread.addr as Deno.NetAddr;
  const ways: [name: string, turn: () => Promise<Cost>][] = [
    ...Object.entries(LOOPS).map((
      [name, loop],
    ): [string, () => Promise<Cost>] => [
      name,
      () => measureLoop(loop, to),
    ]),
    ["through the seam", () => measureRelay(to)],
  ];
  const costs = ways.map((): Cost[] => []);
  for (let run = 0; run < RUNS; run++) {
    for (const [i, [, turn]] of ways.entries()) costs[i]!.push(await turn());
  }
  unread.close();
  for (const [i, [name]] of ways.entries()) say(name, costs[i]!, costs[0]!);
  Deno.exit(0);
}

async function measureLoop(loop: Loop, to: Deno.NetAddr): Promise<Cost> {
  const from = listen("127.0.0.1");
  const out = listen("0.0.0.0");
  const meter = new Meter();
  await using _flood = flood((from.addr as Deno.NetAddr).port);
  await loop(meter, from, out, to);
  from.close();
  out.close();
  return meter.cost!;
}

async function measureRelay(to: Deno.NetAddr): Promise<Cost> {
  const listener = await denoDatagramEngine.listen({
    address: { hostname: "127.0.0.1", port: 0 },
  });
  await using destination = await Destination.open(denoDatagramEngine, {
    address: to,
    maxWaitMs: Infinity,
  });
  const meter = new Meter();
  await using _flood = flood(listener.address.port);
  const relay = new Relay({
    listener,
    sinks: [destination, {
      write: ({ count }) => {
        if (!meter.goesOn(count)) relay.drain();
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    }],
    counters: new CounterBlock(RECEIVE_COUNTERS).slots,
  });
  await relay.run();
  return meter.cost!;
}

function listen(hostname: string): Deno.DatagramConn {
  return Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
}

function flood(port: number): AsyncDisposable {
  return startLoad("udp_send.ts", [
    ...["--to", `127.0.0.1:${port}`, "--size", String(DATAGRAM_BYTES)],
    ...["--seconds", String(FLOOD_SECONDS), "--plain"],
  ]);
}

function say(name: string, costs: Cost[], bare: Cost[]): void {
  const pairs = (of: (cost: Cost) => number) =>
    median(costs.map((cost, run) => of(cost) / of(bare[run]!))).toFixed(2);
  // deno-lint-ignore no-console
  console.log(
    `${name}: ${median(costs.map(({ rate }) => rate)).toFixed(0)} kpps, ` +
      `${
        median(costs.map(({ cpuMicros }) => cpuMicros)).toFixed(2)
      } µs of CPU; ` +
      `of bare: rate x ${pairs(({ rate }) => rate)}, ` +
      `CPU x ${pairs(({ cpuMicros }) => cpuMicros)}`,
  );
}
