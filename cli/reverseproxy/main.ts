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
  checkReverseProxyAddresses,
  DEFAULT_GROUP,
  formatAddress,
  type ReverseProxyStats,
  SLOW_POLICIES,
  startReverseProxy,
  STREAM_FORMATS,
  UsageError,
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
  listen: cli.listenOption(
    "Where to listen: udp:// as --udp-listen-addr, tcp:// as --tcp-listen-addr; :PORT is every IPv4 address",
  ),
  to: cli.toOption(
    "Where the group goes: udp:// as --udp-output-addr, tcp:// as --tcp-output-addr; :PORT is this machine",
  ),
  tee: cli.teeOption,
  datagramSize: cli.datagramSizeOption,
  lines: cli.linesOption,
  fill: cli.fillOption,
  fillWait: cli.fillWaitOption,
  idleTimeout: cli.idleTimeoutOption,
  format: cli.choice(
    "How datagrams are written to TCP subscribers: raw is byte for byte, lines ends each with one newline, jsonl is an object each, length puts 4 bytes of length before each, big-endian (raw without it)",
    STREAM_FORMATS,
    undefined,
  ),
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
  maxQueued: cli.value(
    "Memory of all subscribers' queues; at the limit the oldest datagrams are dropped, and subscribers stuck on them closed",
    "BYTES",
    cli.scaled(4 << 20, 2 ** 40),
    { defaultText: "64Mi" },
  ),
  maxConnections: cli.value(
    "TCP producers at once, and TCP subscribers at once",
    "N",
    cli.integer(1, 1_000_000),
    { fallback: 512 },
  ),
  maxConnectionsPerSource: cli.value(
    "TCP producers, and subscribers, of one IPv4 address or IPv6 /64 at once",
    "N",
    cli.integer(1, 1_000_000),
    { defaultText: "half of --max-connections" },
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
    "connected there: that is --tcp-output-addr now.\n\n" +
    "SIGHUP reads --config again: UDP outputs change at once, and what requires a restart is named.",
  options,
  renamedOptions: {
    udpListen: "udpListenAddr",
    tcpListen: "tcpListenAddr",
    group: "multicastAddr",
    tcpOutput: "tcpOutputAddr",
    udpOutput: "udpOutputAddr",
    slowPolicy: "slowSubscriber",
    queueBytes: "queue",
    maxQueuedBytes: "maxQueued",
    datagramBytes: "datagramSize",
    networkInterface: "interface",
    receiveBufferBytes: "rcvbuf",
    sharePort: "reusePort",
    resolveIntervalMs: "resolveInterval",
    readyWithinMs: "readyWithin",
  },
  examples: [
    "--udp-listen-addr 0.0.0.0:9920 --tcp-output-addr '[::1]:9921' --multicast-addr 224.0.0.1:9922",
    "--tcp-listen-addr 0.0.0.0:9925 --multicast-addr '[ff15::99%eth0]:9922'",
    "--multicast-addr 239.1.2.3:9922 --interface eth0 --udp-output-addr 10.0.0.7:9920",
  ],
  checkConfig(_config, values) {
    checkReverseProxyAddresses({
      ...addressesOf(values),
      networkInterface: values.interface,
      loop: values.loop,
    });
    return [];
  },
  async start(values, context) {
    const { log } = context;
    const addresses = addressesOf(values);
    const records = cli.recordOptions(
      values,
      addresses.tcpListen.length > 0 ? undefined : "--tcp-listen-addr",
    );
    if (values.format && addresses.tcpOutput.length === 0) {
      throw new UsageError(
        "cannot use --format without subscribers: UDP outputs carry each datagram as it came; requires --tcp-output-addr",
      );
    }
    const reverse = await startReverseProxy({
      ...addresses,
      tee: values.tee,
      ...records,
      idleTimeoutMs: values.idleTimeout && Math.ceil(values.idleTimeout * 1000),
      format: values.format,
      slowPolicy: values.slowSubscriber,
      queueBytes: values.queue,
      maxQueuedBytes: values.maxQueued,
      maxConnections: values.maxConnections,
      maxConnectionsPerSource: values.maxConnectionsPerSource,
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
      reload: cli.reloader({
        values,
        context,
        destinationsOf: (values) => addressesOf(values).udpOutput,
        keys: ["udpOutputAddr", "to"],
        apply: (to) => reverse.setUdpOutput(to),
      }),
    };
  },
});

type AddressKey =
  | "udpListenAddr"
  | "tcpListenAddr"
  | "multicastAddr"
  | "tcpOutputAddr"
  | "udpOutputAddr"
  | "listen"
  | "to";

function addressesOf(
  values: cli.Values<Pick<typeof options, AddressKey>>,
) {
  const tls = { tls: "the reverse proxy speaks no TLS; use tcp://" };
  const { listen, to } = values;
  return {
    udpListen: [
      ...values.udpListenAddr,
      ...cli.addressesOf(listen, "udp", tls),
    ],
    tcpListen: [...values.tcpListenAddr, ...cli.addressesOf(listen, "tcp")],
    group: values.multicastAddr,
    tcpOutput: [...values.tcpOutputAddr, ...cli.addressesOf(to, "tcp", tls)],
    udpOutput: [...values.udpOutputAddr, ...cli.addressesOf(to, "udp")],
  };
}

function metrics(stats: ReverseProxyStats): cli.Metric[] {
  return cli.mergeMetrics([
    ...cli.listenerMetrics([...stats.listeners, ...stats.groupReceived]),
    ...cli.producerMetrics(stats.producers),
    ...cli.destinationMetrics([...stats.groupSent, ...stats.outputs]),
    ...cli.subscriberMetrics(stats.subscribers),
    ...cli.admissionMetrics([
      { listener: "producers", stats: stats.producerAdmission },
      { listener: "subscribers", stats: stats.subscribers.admission },
    ]),
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
    ...producers.map((
      { address, total, readBytes, cutDatagrams, droppedPartial },
    ) =>
      `read from ${cli.counted(total, "producer")} on ${address}: ${
        cli.amount(readBytes, cutDatagrams)
      }${cli.partials(droppedPartial)}`
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
