/**
 * Streams a file, a device or stdin to UDP, multicast and broadcast destinations.
 *
 * ```sh
 * deno run -A jsr:@mproxy/client --path sensor.log --server-addr 127.0.0.1:9920
 * ```
 *
 * @example Check a command line
 * ```ts
 * import { command } from "@mproxy/client";
 * import { helpText } from "@mproxy/mproxy/cli";
 * import { assert } from "@std/assert";
 *
 * assert(helpText("client", command).includes("--server-addr"));
 * ```
 *
 * @module
 */
import {
  type Address,
  checkDestinations,
  type ClientStats,
  startClient,
} from "@mproxy/mproxy";
import * as cli from "@mproxy/mproxy/cli";

const options = {
  path: cli.value(
    "File, named pipe or device to send; - is stdin",
    "FILE|-",
    cli.text,
    {
      required: true,
    },
  ),
  serverAddr: cli.list(
    "Where to send: a host, a group or a broadcast address",
    "HOST:PORT",
    cli.address(),
  ),
  to: cli.toOption(
    "Where to send, as --server-addr; udp:// may stand before it, :PORT is this machine",
  ),
  tee: cli.teeOption,
  datagramSize: cli.datagramSizeOption,
  lines: cli.linesOption,
  fill: cli.fillOption,
  fillWait: cli.fillWaitOption,
  rate: cli.rateOption,
  follow: cli.flag(
    "Wait for more at the end of the file, as tail -F, for a file that is missing, or for a named pipe's next writer",
  ),
  baud: cli.value(
    "Speed of a serial port, such as 9600; it is read in raw mode and opened again after an unplug",
    "BAUD",
    cli.integer(300, 4_000_000),
  ),
  interface: cli.interfaceOption,
  ttl: cli.ttlOption,
  loop: cli.loopOption,
  resolveInterval: cli.resolveIntervalOption,
  engine: cli.engineOption,
};

/** The client's command. */
export const command: cli.Command = cli.defineCommand({
  name: "client",
  summary:
    "Stream a file, a device or stdin to UDP, multicast and broadcast destinations",
  description:
    "SIGHUP reads --config again: destinations change at once, and what requires a restart is named.",
  options,
  renamedOptions: {
    destinations: "serverAddr",
    datagramBytes: "datagramSize",
    bitsPerSecond: "rate",
    networkInterface: "interface",
    resolveIntervalMs: "resolveInterval",
  },
  examples: [
    "--path /dev/random --server-addr 127.0.0.1:9920 --server-addr '[::1]:9921'",
    "--path - --server-addr 224.0.0.1:9922 --server-addr '[ff02::1]:9923' --tee >> logfile.log",
    "--path capture.bin --server-addr 239.1.2.3:9920 --interface eth0 --ttl 4 --rate 500M",
    "--path /var/log/sensor.log --follow --lines --server-addr collector.example:9920",
  ],
  checkConfig(_config, values) {
    checkDestinations(destinationsOf(values));
    return [];
  },
  async start(values, context) {
    const { log } = context;
    const client = await startClient({
      path: values.path!,
      destinations: destinationsOf(values),
      tee: values.tee,
      ...cli.recordOptions(values),
      bitsPerSecond: values.rate,
      follow: values.follow,
      baud: values.baud,
      networkInterface: values.interface,
      ttl: values.ttl,
      loop: values.loop,
      resolveIntervalMs: Math.ceil(values.resolveInterval * 1000),
      engine: values.engine,
      holdsThread: true,
      log,
    });
    const rate = new cli.RateMeter();
    return {
      role: client,
      ready: () => client.ready(),
      metrics: () => metrics(values.path!, client.stats()),
      progress: () => progress(client.stats(), rate),
      summary: () => summary(values.path!, client.stats()),
      reload: cli.reloader({
        values,
        context,
        destinationsOf,
        keys: ["serverAddr", "to"],
        apply: (to) => client.setDestinations(to),
      }),
      exitCode: () => exitCode(client.stats(), log),
    };
  },
});

function destinationsOf(
  { serverAddr, to }: cli.Values<Pick<typeof options, "serverAddr" | "to">>,
): Address[] {
  const hint = "the client sends UDP alone";
  return [
    ...serverAddr,
    ...cli.addressesOf(to, "udp", { tcp: hint, tls: hint }),
  ];
}

/** A destination that lost everything is a failure, whatever the others received. */
function exitCode({ destinations }: ClientStats, log: cli.Log): number {
  const lost = destinations.filter((one) =>
    one.sentDatagrams === 0 && one.droppedDatagrams > 0
  );
  for (const one of lost) {
    log.error("destination received nothing", {
      address: one.address,
      dropped: one.droppedDatagrams,
      reasons: cli.dropReasons(one),
    });
  }
  return lost.length > 0 ? 1 : 0;
}

function metrics(path: string, stats: ClientStats): cli.Metric[] {
  return [
    ...cli.streamMetrics([{ ...stats, address: path }]),
    ...cli.destinationMetrics(stats.destinations),
    ...cli.teeMetrics(stats.tee),
  ];
}

function progress(stats: ClientStats, rate: cli.RateMeter): string {
  const { readBytes, sizeBytes, elapsedMs } = stats;
  const dropped = cli.sum(stats.destinations, (one) => one.droppedDatagrams);
  const now = `${rate.since(readBytes)}${cli.drops(dropped)}`;
  if (!sizeBytes) return `${cli.formatBytes(readBytes)} sent, ${now}`;
  const share = readBytes / sizeBytes;
  const left = share > 0
    ? cli.formatDuration(elapsedMs / share - elapsedMs)
    : "?";
  return `${cli.bar(share)} ${(share * 100).toFixed(0).padStart(3)} % of ${
    cli.formatBytes(sizeBytes)
  }, ${now}, ${left} left`;
}

function summary(path: string, stats: ClientStats): string[] {
  const { readBytes, cutDatagrams, elapsedMs, destinations, tee } = stats;
  return [
    `read from ${path}: ${cli.amount(readBytes, cutDatagrams)} ${
      cli.pace(readBytes, elapsedMs)
    }`,
    ...cli.destinationLines(destinations, elapsedMs),
    ...cli.teeLines(tee),
  ];
}

if (import.meta.main) await cli.runCommand(command);
