/**
 * Gathers UDP and TCP producers into a multicast group, and gives the group to
 * TCP subscribers and UDP outputs.
 *
 * ```sh
 * deno run -A jsr:@mproxy/reverseproxy --udp-listen-addr 0.0.0.0:9920 \
 *   --multicast-addr 224.0.0.1:9922 --tcp-output-addr '[::1]:9921'
 * ```
 *
 * @example Check a command line
 * ```ts
 * import { command } from "@mproxy/reverseproxy";
 * import { helpText } from "@mproxy/mproxy/cli";
 * import { assert } from "@std/assert";
 *
 * assert(helpText("reverseproxy", command).includes("--tcp-output-addr"));
 * ```
 *
 * @module
 */
import {
  DEFAULT_GROUP,
  formatAddress,
  type ReverseProxyStats,
  SLOW_POLICIES,
  startReverseProxy,
} from "@mproxy/mproxy";
import * as cli from "@mproxy/mproxy/cli";

const listener = cli.address({ allowPortZero: true });

const options = {
  udpListenAddr: cli.list(
    "Listen for UDP senders, forwarded to --multicast-addr",
    "HOST:PORT",
    listener,
  ),
  tcpListenAddr: cli.list(
    "Accept TCP producers, forwarded to --multicast-addr",
    "HOST:PORT",
    listener,
  ),
  multicastAddr: cli.value("The group", "GROUP:PORT", cli.address(), {
    fallback: DEFAULT_GROUP,
    defaultText: formatAddress(DEFAULT_GROUP),
  }),
  tcpOutputAddr: cli.list(
    "Accept TCP subscribers; each gets what comes from the group",
    "HOST:PORT",
    listener,
  ),
  udpOutputAddr: cli.list(
    "Forward what comes from the group to this UDP address",
    "HOST:PORT",
    cli.address(),
  ),
  tee: cli.teeOption,
  datagramSize: cli.datagramSizeOption,
  lines: cli.linesOption,
  slowSubscriber: cli.choice(
    "What happens to a datagram for a subscriber whose queue is full",
    SLOW_POLICIES,
    "drop-oldest",
  ),
  queue: cli.value(
    "Bytes that may wait for one subscriber",
    "BYTES",
    cli.scaled(65536, 2 ** 40),
    { fallback: 4 << 20, defaultText: "4Mi" },
  ),
  interface: cli.interfaceOption,
  ttl: cli.ttlOption,
  loop: cli.loopOption,
  rcvbuf: cli.rcvbufOption,
  reusePort: cli.reusePortOption,
  resolveInterval: cli.resolveIntervalOption,
  readyWithin: cli.readyWithinOption,
  engine: cli.engineOption,
};

/** The reverse proxy's command. */
export const command: cli.Command = cli.defineCommand({
  name: "reverseproxy",
  summary:
    "Gather UDP and TCP producers into a group, and give the group to subscribers",
  description:
    "--tcp-listen-addr is where producers connect. In the oldest MPROXY (the one with " +
    "--udp_listen_addr, --tcp_listen_addr and --multicast_addr only), subscribers " +
    "connected there: that is --tcp-output-addr now.",
  options,
  examples: [
    "--udp-listen-addr 0.0.0.0:9920 --tcp-output-addr '[::1]:9921' --multicast-addr 224.0.0.1:9922",
    "--tcp-listen-addr 0.0.0.0:9925 --multicast-addr '[ff15::99%eth0]:9922'",
    "--multicast-addr 239.1.2.3:9922 --interface eth0 --udp-output-addr 10.0.0.7:9920",
  ],
  async start(values, { log }) {
    const reverse = await startReverseProxy({
      udpListen: values.udpListenAddr,
      tcpListen: values.tcpListenAddr,
      group: values.multicastAddr,
      tcpOutput: values.tcpOutputAddr,
      udpOutput: values.udpOutputAddr,
      tee: values.tee,
      datagramBytes: values.datagramSize,
      lines: values.lines,
      slowPolicy: values.slowSubscriber,
      queueBytes: values.queue,
      networkInterface: values.interface,
      ttl: values.ttl,
      loop: values.loop,
      receiveBufferBytes: values.rcvbuf,
      sharePort: values.reusePort,
      resolveIntervalMs: Math.ceil(values.resolveInterval * 1000),
      readyWithinMs: values.readyWithin && Math.ceil(values.readyWithin * 1000),
      engine: values.engine,
      log,
    });
    const rate = new cli.RateMeter();
    return {
      role: reverse,
      ready: () => reverse.ready(),
      metrics: () => metrics(reverse.stats()),
      progress: () => progress(reverse.stats(), rate),
      summary: () => summary(reverse.stats()),
    };
  },
});

function metrics(stats: ReverseProxyStats): cli.Metric[] {
  return cli.mergeMetrics([
    ...cli.listenerMetrics([...stats.listeners, ...stats.groupReceived]),
    ...cli.producerMetrics(stats.producers),
    ...cli.destinationMetrics([...stats.groupSent, ...stats.outputs]),
    ...cli.subscriberMetrics(stats.subscribers),
    ...cli.teeMetrics(stats.tee),
  ]);
}

function progress(stats: ReverseProxyStats, rate: cli.RateMeter): string {
  const {
    listeners,
    producers,
    groupSent,
    groupReceived,
    subscribers,
    outputs,
  } = stats;
  const bytes = cli.sum(listeners, (one) => one.receivedBytes) +
    cli.sum(producers, (one) => one.readBytes) +
    cli.sum(groupReceived, (one) => one.receivedBytes);
  const dropped = subscribers.droppedDatagrams +
    cli.sum([...listeners, ...groupReceived], (one) => one.droppedKernel) +
    cli.sum([...groupSent, ...outputs], (one) => one.droppedDatagrams);
  return `${cli.formatBytes(bytes)} relayed, ${rate.since(bytes)}, ` +
    `${subscribers.connected} subscribers${
      cli.drops(dropped, "", cli.dropsUnknown([...listeners, ...groupReceived]))
    }`;
}

function summary(stats: ReverseProxyStats): string[] {
  const {
    listeners,
    producers,
    groupSent,
    groupReceived,
    subscribers,
    outputs,
  } = stats;
  const { elapsedMs } = stats;
  const { total, sentBytes, sentDatagrams, droppedDatagrams } = subscribers;
  return [
    ...cli.listenerLines(listeners, elapsedMs),
    ...producers.map(({ address, total, readBytes, cutDatagrams }) =>
      `read from ${cli.counted(total, "producer")} on ${address}: ${
        cli.amount(readBytes, cutDatagrams)
      }`
    ),
    ...cli.destinationLines(groupSent, elapsedMs),
    ...cli.listenerLines(groupReceived, elapsedMs),
    ...total > 0
      ? [
        `sent to ${cli.counted(total, "subscriber")}: ${
          cli.amount(sentBytes, sentDatagrams)
        }${
          cli.drops(droppedDatagrams, droppedDatagrams > 0 ? "queue full" : "")
        }`,
      ]
      : [],
    ...cli.destinationLines(outputs, elapsedMs),
    ...cli.teeLines(stats.tee),
  ];
}

if (import.meta.main) await cli.runCommand(command);
