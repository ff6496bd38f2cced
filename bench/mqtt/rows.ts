/** The rows of the mqtt suite: messages, round trips and idle clients, with different gateways between client and broker. */
import type {
  Contender,
  Expectation,
  Figures,
  Row,
  Suite,
} from "../harness/bench.ts";
import {
  cpuSeconds,
  freePort,
  peakBytes,
  portTaken,
  residentBytes,
  sleep,
} from "../harness/processes.ts";
import { SinkArrivals } from "../harness/arrivals.ts";
import {
  loadSeconds,
  measureTurn,
  startLoad,
  totalsOf,
} from "../dispatch/turn.ts";
import { startPeer, type TestProcess } from "../../tests/support/process.ts";
import {
  ACL,
  DIRECT,
  findGateways,
  type Gateway,
  type Gateways,
  NO_HOOKS,
  ORIGINAL,
  REWRITING,
} from "./contenders.ts";

const SIZES = [16, 256, 4096];

const P50 = "p50 µs";
const P99 = "p99 µs";
/** What is left of the contender's p50 beside one and a half of the direct one. */
const P50_ABOVE = "p50 - 1.5x direct µs";
const KIB_EACH = "KiB/connection";

/** Pools and code are there after so many clients. */
const FIRST_CLIENTS = 200;
const IDLE_CLIENTS = 5000;
const SETTLED_MS = 1000;

/** The suite. `folder` is for files. */
export async function mqttSuite(folder: string): Promise<Suite> {
  const gateways = await findGateways(folder);
  return {
    rows: [
      ...[0, 1].flatMap((qos) =>
        SIZES.map((size) => messagesRow(gateways, size, qos))
      ),
      roundTripRow(gateways),
      idleRow(gateways),
    ],
    peers: gateways.versions,
  };
}

/** One client publishes as fast as it can. */
function messagesRow(gateways: Gateways, size: number, qos: number): Row {
  const expected: Expectation[] = size === 256 && qos === 0
    ? [
      { contender: ACL, atLeast: 500_000 },
      { contender: ACL, against: ORIGINAL, atLeast: 8 },
    ]
    : [];
  return {
    name: `messages, QoS ${qos}, ${size} B`,
    baseline: ORIGINAL,
    rate: "count",
    counted: "messages",
    note: qos === 0
      ? "Gbit/s are those of payloads. The original has hooks that allow all, the rewriting hook puts a level in front of the topic."
      : "Up to 512 messages are unanswered.",
    expected,
    contenders: contenders(gateways, async (gateway, seconds) => {
      await using stack = new AsyncDisposableStack();
      const place = await startPlace(stack, gateway);
      const load = stack.use(startPublisher(place.port, size, qos, seconds));
      return await measureTurn({
        arrivals: new SinkArrivals(place.broker),
        contender: place.gateway,
        seconds,
        endLoad: async () => {
          const [datagrams] = await totalsOf(load);
          return { datagrams: datagrams! };
        },
      });
    }),
  };
}

/** One client publishes with QoS 1 and waits for each answer. */
function roundTripRow(gateways: Gateways): Row {
  // Of the same round: direct has its turn before the others.
  let directP50 = NaN;
  return {
    name: "round trip, QoS 1, 256 B",
    baseline: DIRECT,
    rate: "count",
    counted: "messages",
    expected: [NO_HOOKS, ACL, REWRITING].flatMap((contender) => [
      { contender, column: P50, atMost: 100 },
      { contender, column: P50_ABOVE, atMost: 40 },
    ]),
    contenders: contenders(gateways, async (gateway, seconds) => {
      await using stack = new AsyncDisposableStack();
      const place = await startPlace(stack, gateway);
      const load = stack.use(
        startPublisher(place.port, 256, 1, seconds, "--alternate"),
      );
      const figures = await measureTurn({
        arrivals: new SinkArrivals(place.broker),
        contender: place.gateway,
        seconds,
        endLoad: async () => {
          const [datagrams] = await totalsOf(load);
          return { datagrams: datagrams! };
        },
      });
      const [, ...told] = await load.line(/^latency (\S+) (\S+)$/);
      const [p50, p99] = told.map(Number) as [number, number];
      if (!gateway) directP50 = p50;
      const more: Record<string, number> = { [P50]: p50, [P99]: p99 };
      if (gateway) more[P50_ABOVE] = p50 - 1.5 * directP50;
      return { ...figures, more };
    }),
  };
}

/** Clients that say nothing. */
function idleRow(gateways: Gateways): Row {
  return {
    name: `${IDLE_CLIENTS} idle connections`,
    baseline: ORIGINAL,
    rate: "count",
    counted: "connections",
    note:
      `Resident memory with ${FIRST_CLIENTS} clients and with ${IDLE_CLIENTS} more; the rate is that of their coming.`,
    expected: [NO_HOOKS, ACL].map((contender) => (
      { contender, column: KIB_EACH, atMost: 30 }
    )),
    contenders: contenders(gateways, idleTurn).filter(({ name }) =>
      name !== DIRECT && name !== REWRITING
    ),
  };
}

async function idleTurn(gateway: Gateway | undefined): Promise<Figures> {
  await using stack = new AsyncDisposableStack();
  const place = await startPlace(stack, gateway);
  const pids = place.gateway.map(({ pid }) => pid);
  const load = stack.use(
    startLoad("mqtt_idle.ts", [
      ...["--to", `127.0.0.1:${place.port}`],
      ...["--first", String(FIRST_CLIENTS), "--more", String(IDLE_CLIENTS)],
    ], { stdin: true }),
  );
  const stdin = load.stdin.getWriter();
  await load.line(/^first$/);
  await sleep(SETTLED_MS);
  const before = residentBytes(pids);
  const cpuBefore = cpuSeconds(pids);
  await stdin.write(new TextEncoder().encode("\n"));
  const [, ms] = await load.line(/^more (\S+)$/);
  const cpu = cpuSeconds(pids) - cpuBefore;
  await sleep(SETTLED_MS);
  const each = (residentBytes(pids) - before) / IDLE_CLIENTS;
  const peak = peakBytes(pids);
  await stdin.close();
  await load.end;
  return {
    seconds: Number(ms) / 1000,
    bytes: 0,
    count: IDLE_CLIENTS,
    cpuSeconds: cpu,
    peakBytes: peak,
    more: { [KIB_EACH]: each / 1024 },
  };
}

/** The broker, what is in front of it, and where clients go. */
interface Place {
  broker: TestProcess;
  gateway: TestProcess[];
  port: number;
}

async function startPlace(
  stack: AsyncDisposableStack,
  gateway: Gateway | undefined,
): Promise<Place> {
  const broker = stack.use(startLoad("mqtt_broker.ts", []));
  const [, brokerPort] = await broker.line(/^listening (\d+)$/);
  if (!gateway) return { broker, gateway: [], port: Number(brokerPort) };
  const port = freePort("tcp");
  const [program, ...args] = gateway.start(port, Number(brokerPort));
  const process = stack.use(startPeer(program, args));
  await portTaken("tcp", port);
  return { broker, gateway: [process], port };
}

function startPublisher(
  port: number,
  size: number,
  qos: number,
  seconds: number,
  ...flags: string[]
): TestProcess {
  return startLoad("mqtt_publish.ts", [
    ...["--to", `127.0.0.1:${port}`, "--size", String(size)],
    ...["--qos", String(qos), "--seconds", String(loadSeconds(seconds))],
    ...flags,
  ]);
}

function contenders(
  { all }: Gateways,
  turn: (gateway: Gateway | undefined, seconds: number) => Promise<Figures>,
): Contender[] {
  return [
    { name: DIRECT, run: (seconds) => turn(undefined, seconds) },
    ...all.map((gateway): Contender => ({
      name: gateway.name,
      missing: gateway.missing,
      run: (seconds) => turn(gateway, seconds),
    })),
  ];
}
