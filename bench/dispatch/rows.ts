/** The rows of the dispatch suite: datagrams through each role, beside others. */
import { join } from "@std/path";
import { FileArrivals, SinkArrivals } from "../harness/arrivals.ts";
import type {
  Contender,
  Expectation,
  Figures,
  Row,
  Suite,
} from "../harness/bench.ts";
import { programVersion } from "../harness/machine.ts";
import {
  cpuSeconds,
  freePort,
  peakBytes,
  portTaken,
  sleep,
} from "../harness/processes.ts";
import { startPeer, type TestProcess } from "../../tests/support/process.ts";
import {
  type CommandLine,
  findPrograms,
  type Program,
  type Programs,
} from "./contenders.ts";
import { loadSeconds, measureTurn, startLoad, totalsOf } from "./turn.ts";

const SIZES = [64, 512, 1400, 8192];
const FAN_OUTS = [8, 64];

/** More than any client reads in a turn; it has no blocks, so it takes no memory. */
const INPUT_BYTES = 2 ** 40;

/** The suite. `folder` is for files, best in memory. */
export async function dispatchSuite(folder: string): Promise<Suite> {
  const programs = await findPrograms(folder);
  const iperf3 = await programVersion("iperf3", "--version");
  if (iperf3) programs.versions["iperf3"] = iperf3;
  const input = join(folder, "input");
  using file = await Deno.open(input, { write: true, create: true });
  await file.truncate(INPUT_BYTES);
  const rows = SIZES.flatMap((size) => [
    directRow(size, iperf3 !== undefined),
    forwardRow(programs, size, 1, "joined"),
    forwardRow(programs, size, 1, "plain"),
    ...size === 1400 ? [forwardRow(programs, size, 1, "steady")] : [],
    ...FAN_OUTS.map((copies) => forwardRow(programs, size, copies, "joined")),
    fromTcpRow(programs, size),
    clientRow(programs, size, input),
    serverRow(programs, size, "joined", folder),
    serverRow(programs, size, "plain", folder),
    clientServerRow(programs, size, input, folder),
  ]);
  return { rows, peers: programs.versions };
}

/**
 * How the load sends: equal datagrams joined (UDP_SEGMENT), each by itself, or
 * single ones at a steady rate, where what counts is the CPU time.
 */
type Sending = "joined" | "plain" | "steady";

/** Datagrams a second of a steady load: all contenders keep up. */
const STEADY_PER_SECOND = 10_000;

function forwardRow(
  programs: Programs,
  size: number,
  copies: number,
  sending: Sending,
): Row {
  const original = baselineOf(programs);
  const expected: Expectation[] = [];
  const expect = (contender: string, against: string, atLeast: number) =>
    expected.push({ contender, against, atLeast });
  if (size === 1400 && copies === 1 && sending === "joined") {
    expect("mproxy linux", original, 8);
    expect("mproxy linux", "socat", 15);
    expect("mproxy portable", "socat", 1.4);
  }
  if (size === 1400 && copies === 1 && sending === "plain") {
    expect("mproxy linux", original, 1.3);
    expect("mproxy portable", "socat", 1.4);
  }
  if (size === 1400 && copies === 8) expect("mproxy linux", original, 4);
  const what = copies === 1 ? "forward" : `fan-out ${copies}`;
  return {
    name: `${what}, ${sending} sender, ${size} B`,
    baseline: original,
    counted: "datagrams",
    ...(copies > 1 ? { note: "Rates are sums over all destinations." } : {}),
    ...(sending === "steady"
      ? {
        note:
          `Single datagrams, ${STEADY_PER_SECOND} a second: CPU is what counts.`,
      }
      : {}),
    expected,
    contenders: contenders(
      programs,
      size,
      (program) => copies > 1 && !program.fansOut ? undefined : program.forward,
      async (
        forward,
        seconds,
      ) => {
        await using stack = new AsyncDisposableStack();
        const [sink, sinkPort] = await startSink(stack);
        const port = freePort("udp");
        const to = Array.from(
          { length: copies },
          (_, i) => `127.0.0.${i + 1}:${sinkPort}`,
        );
        const contender = start(stack, forward(port, to));
        await portTaken("udp", port);
        const load = stack.use(startSender(port, size, sending, seconds));
        return await measureTurn({
          arrivals: new SinkArrivals(sink),
          contender: [contender],
          seconds,
          copies,
          endLoad: async () => {
            const [datagrams] = await totalsOf(load);
            return { datagrams: datagrams! };
          },
        });
      },
    ),
  };
}

function fromTcpRow(programs: Programs, size: number): Row {
  return {
    name: `TCP to UDP, ${size} B`,
    baseline: baselineOf(programs),
    counted: "datagrams",
    note:
      "The original sends pieces of up to 8096 bytes, to its own listener first.",
    contenders: contenders(
      programs,
      size,
      (program) => program.fromTcp,
      async (fromTcp, seconds) => {
        await using stack = new AsyncDisposableStack();
        const [sink, sinkPort] = await startSink(stack);
        const load = stack.use(
          startLoad("tcp_source.ts", [
            "--seconds",
            String(loadSeconds(seconds)),
          ]),
        );
        const [, port] = await load.line(/^listening (\d+)$/);
        const to = `127.0.0.1:${sinkPort}`;
        const contender = start(stack, fromTcp(Number(port), to, size));
        return await measureTurn({
          arrivals: new SinkArrivals(sink),
          contender: [contender],
          seconds,
          endLoad: async () => {
            const [bytes] = await totalsOf(load);
            return { bytes: bytes! };
          },
        });
      },
    ),
  };
}

function clientRow(programs: Programs, size: number, input: string): Row {
  const original = baselineOf(programs);
  return {
    name: `client, file to UDP, ${size} B`,
    baseline: original,
    counted: "datagrams",
    note: "The original's datagrams have 8096 and 96 bytes, by turns.",
    expected: size >= 1400
      ? [{ contender: "mproxy linux", against: original, atLeast: 2 }]
      : [],
    contenders: contenders(
      programs,
      size,
      (program) => program.client,
      async (client, seconds) => {
        await using stack = new AsyncDisposableStack();
        const [sink, sinkPort] = await startSink(stack);
        const to = `127.0.0.1:${sinkPort}`;
        const contender = start(stack, client(input, to, size));
        return await measureTurn({
          arrivals: new SinkArrivals(sink),
          contender: [contender],
          seconds,
          endLoad: () => endClient(contender, input),
        });
      },
    ),
  };
}

function serverRow(
  programs: Programs,
  size: number,
  sending: Sending,
  folder: string,
): Row {
  const original = baselineOf(programs);
  return {
    name: `server, UDP to file, ${sending} sender, ${size} B`,
    baseline: original,
    counted: "datagrams",
    expected: size === 1400 && sending === "joined"
      ? [{ contender: "mproxy linux", against: original, atLeast: 2 }]
      : [],
    contenders: contenders(
      programs,
      size,
      (program) => program.server,
      async (server, seconds) => {
        await using stack = new AsyncDisposableStack();
        const path = outputFile(stack, folder);
        const port = freePort("udp");
        const contender = start(stack, server(port, path));
        await portTaken("udp", port);
        const load = stack.use(startSender(port, size, sending, seconds));
        return await measureTurn({
          arrivals: new FileArrivals(path, size),
          contender: [contender],
          seconds,
          endLoad: async () => {
            const [datagrams] = await totalsOf(load);
            return { datagrams: datagrams! };
          },
        });
      },
    ),
  };
}

function clientServerRow(
  programs: Programs,
  size: number,
  input: string,
  folder: string,
): Row {
  return {
    name: `client to server, file to file, ${size} B`,
    baseline: baselineOf(programs),
    counted: "datagrams",
    note:
      "Not paced: what arrives is what counts. The original's datagrams have 8096 and 96 bytes, by turns.",
    expected: size === 1400
      ? [
        { contender: "mproxy portable", atLeast: 1.5 },
        { contender: "mproxy node:dgram", atLeast: 0.5 },
      ]
      : [],
    contenders: contenders(
      programs,
      size,
      ({ client, server }) => client && server && { client, server },
      async ({ client, server }, seconds) => {
        await using stack = new AsyncDisposableStack();
        const path = outputFile(stack, folder);
        const port = freePort("udp");
        const receiver = start(stack, server(port, path));
        await portTaken("udp", port);
        const sender = start(stack, client(input, `127.0.0.1:${port}`, size));
        return await measureTurn({
          arrivals: new FileArrivals(path, size),
          contender: [sender, receiver],
          seconds,
          endLoad: () => endClient(sender, input),
        });
      },
    ),
  };
}

/** A sender and a receiver with nothing between them: what a forwarder cannot exceed. */
function directRow(size: number, iperf3: boolean): Row {
  const direct = (
    name: string,
    sink: readonly string[],
    send: (port: number, seconds: number) => TestProcess,
  ): Contender => ({
    name,
    run: async (seconds) => {
      await using stack = new AsyncDisposableStack();
      const receiver = stack.use(startLoad(sink[0]!, sink.slice(1)));
      const [, port] = await receiver.line(/^listening (\d+)$/);
      const sender = stack.use(send(Number(port), loadSeconds(seconds)));
      return await measureTurn({
        arrivals: new SinkArrivals(receiver),
        contender: [sender, receiver],
        ownReceiver: true,
        seconds,
        endLoad: async () => {
          const [datagrams] = await totalsOf(sender);
          return { datagrams: datagrams! };
        },
      });
    },
  });
  const sender = (...flags: string[]) => (port: number, seconds: number) =>
    startLoad("udp_send.ts", [
      ...["--to", `127.0.0.1:${port}`, "--size", String(size)],
      ...["--seconds", String(seconds), ...flags],
    ]);
  return {
    name: `direct, sender to receiver, ${size} B`,
    baseline: "bare listenDatagram",
    counted: "datagrams",
    note:
      "The engines themselves, with nothing between sender and receiver. socat and the originals have no sender or receiver without a file.",
    contenders: [
      direct("mproxy linux", ["udp_receive.ts", "linux"], sender()),
      direct(
        "mproxy linux, plain sends",
        ["udp_receive.ts", "linux"],
        sender("--plain"),
      ),
      direct(
        "mproxy portable",
        ["udp_receive.ts", "portable"],
        sender("--engine", "portable"),
      ),
      direct(
        "bare listenDatagram",
        ["bare_receive.ts"],
        (port, seconds) =>
          startLoad("bare_send.ts", [
            `127.0.0.1:${port}`,
            String(size),
            String(seconds),
          ]),
      ),
      {
        name: "iperf3 -u",
        missing: iperf3 ? undefined : "not found: apt-get install iperf3",
        run: (seconds) => iperf3Turn(size, seconds),
      },
    ],
  };
}

/** iperf3 tells its own figures; CPU time is read over its time. */
async function iperf3Turn(size: number, seconds: number): Promise<Figures> {
  await using stack = new AsyncDisposableStack();
  const port = freePort("tcp");
  const server = start(stack, ["iperf3", "-s", "-1", "-p", String(port)]);
  await portTaken("tcp", port);
  const whole = Math.max(1, Math.ceil(seconds));
  const client = start(stack, [
    "iperf3",
    ...["-c", "127.0.0.1", "-p", String(port), "-u", "-b", "0"],
    ...["-l", String(size), "-t", String(whole), "--json"],
  ]);
  const pids = [server.pid, client.pid];
  await sleep(whole * 900);
  const cpu = cpuSeconds(pids) / 0.9;
  const peak = peakBytes(pids);
  const { stdout } = await client.end;
  const { end, error } = JSON.parse(new TextDecoder().decode(stdout));
  if (error) throw new Error(error);
  const { bytes, packets, lost_packets: lost, seconds: took } = end.sum;
  return {
    seconds: took,
    bytes: bytes * (1 - lost / packets),
    count: packets - lost,
    cpuSeconds: cpu,
    peakBytes: peak,
    lost,
    lostCounted: lost,
  };
}

/** The contender that ratios count from: the first original, there or not. */
function baselineOf({ all }: Programs): string {
  return all.find(({ name }) => name.startsWith("original"))!.name;
}

/** A contender for each program that has what the row wants. */
function contenders<Role>(
  { all }: Programs,
  size: number,
  roleOf: (program: Program) => Role | undefined,
  turn: (role: Role, seconds: number) => Promise<Figures>,
): Contender[] {
  const measured = all.filter(({ sizes }) => sizes?.includes(size) ?? true);
  return measured.map((program) => {
    const role = roleOf(program);
    const { name, missing } = program;
    return {
      name,
      missing: missing ?? (role ? undefined : "it cannot do this"),
      run: (seconds) => turn(role!, seconds),
    };
  });
}

function start(
  stack: AsyncDisposableStack,
  [program, ...args]: CommandLine,
): TestProcess {
  return stack.use(startPeer(program, args));
}

async function startSink(
  stack: AsyncDisposableStack,
): Promise<[TestProcess, number]> {
  const sink = stack.use(startLoad("udp_sink.ts", []));
  const [, port] = await sink.line(/^listening (\d+)$/);
  return [sink, Number(port)];
}

function startSender(
  port: number,
  size: number,
  sending: Sending,
  seconds: number,
): TestProcess {
  return startLoad("udp_send.ts", [
    ...["--to", `127.0.0.1:${port}`, "--size", String(size)],
    ...["--seconds", String(loadSeconds(seconds))],
    ...sending === "plain" ? ["--plain"] : [],
    ...sending === "steady" ? ["--per-second", String(STEADY_PER_SECOND)] : [],
  ]);
}

function outputFile(stack: AsyncDisposableStack, folder: string): string {
  const path = join(folder, "output");
  stack.defer(() => Deno.remove(path).catch(() => {}));
  return path;
}

/** Halts a client where it stands, and reads how far it has come in its file. */
async function endClient(
  client: TestProcess,
  input: string,
): Promise<{ bytes?: number }> {
  client.signal("SIGSTOP");
  await sleep(20);
  const bytes = positionIn(client.pid, input);
  client.signal("SIGKILL");
  return bytes === undefined ? {} : { bytes };
}

/** How far a process has read a file that it has open. */
function positionIn(pid: number, path: string): number | undefined {
  for (const { name } of Deno.readDirSync(`/proc/${pid}/fd`)) {
    let target: string;
    try {
      target = Deno.readLinkSync(`/proc/${pid}/fd/${name}`);
    } catch {
      continue;
    }
    if (target !== path) continue;
    const info = Deno.readTextFileSync(`/proc/${pid}/fdinfo/${name}`);
    return Number(/^pos:\s*(\d+)/m.exec(info)?.[1]);
  }
}
