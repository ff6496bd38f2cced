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
import { type ClientStats, startClient } from "@mproxy/mproxy";
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
  tee: cli.teeOption,
  datagramSize: cli.datagramSizeOption,
  lines: cli.linesOption,
  rate: cli.value(
    "Bits per second at most, such as 500M; without it, as fast as the path takes it",
    "BITS",
    cli.scaled(1000, 1e12),
  ),
  follow: cli.flag("Wait for more at the end of the file, as tail -F"),
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
  options,
  examples: [
    "--path /dev/random --server-addr 127.0.0.1:9920 --server-addr '[::1]:9921'",
    "--path - --server-addr 224.0.0.1:9922 --server-addr '[ff02::1]:9923' --tee >> logfile.log",
    "--path capture.bin --server-addr 239.1.2.3:9920 --interface eth0 --ttl 4 --rate 500M",
    "--path /var/log/sensor.log --follow --lines --server-addr collector.example:9920",
  ],
  async start(values, { log }) {
    const client = await startClient({
      path: values.path!,
      destinations: values.serverAddr,
      tee: values.tee,
      datagramBytes: values.datagramSize,
      lines: values.lines,
      bitsPerSecond: values.rate,
      follow: values.follow,
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
    };
  },
});

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
