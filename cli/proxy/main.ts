/**
 * Forwards UDP, multicast, TCP and TLS sources to UDP destinations.
 *
 * ```sh
 * deno run -A jsr:@mproxy/proxy --udp-listen-addr 0.0.0.0:9920 --udp-downstream-addr '[::1]:9921'
 * ```
 *
 * @example Check a command line
 * ```ts
 * import { command } from "@mproxy/proxy";
 * import { helpText } from "@mproxy/mproxy/cli";
 * import { assert } from "@std/assert";
 *
 * assert(helpText("proxy", command).includes("--udp-downstream-addr"));
 * ```
 *
 * @module
 */
import {
  type Address,
  checkProxyAddresses,
  type ProxyStats,
  startProxy,
} from "@mproxy/mproxy";
import * as cli from "@mproxy/mproxy/cli";

const TLS = { group: "TLS of --tcp-connect-addr" };

const options = {
  udpListenAddr: cli.list(
    "UDP address or group to listen on",
    "HOST:PORT",
    cli.address({ allowPortZero: true }),
    { aliases: ["listen-addr"] },
  ),
  udpDownstreamAddr: cli.list(
    "UDP address, group or broadcast address to forward to",
    "HOST:PORT",
    cli.address(),
    { aliases: ["downstream-addr"] },
  ),
  tcpConnectAddr: cli.list(
    "TCP host to connect to, its stream forwarded; tls://HOST:PORT for TLS",
    "HOST:PORT",
    cli.tlsAddress,
  ),
  listen: cli.listenOption(
    "Where to listen, as --udp-listen-addr; udp:// may stand before it, :PORT is every IPv4 address",
  ),
  to: cli.toOption(
    "Where to forward to, as --udp-downstream-addr; udp:// may stand before it, :PORT is this machine",
  ),
  tee: cli.teeOption,
  datagramSize: cli.datagramSizeOption,
  lines: cli.linesOption,
  fill: cli.fillOption,
  fillWait: cli.fillWaitOption,
  idleTimeout: cli.idleTimeoutOption,
  tls: cli.flag("Speak TLS to every --tcp-connect-addr", TLS),
  tlsCa: cli.value(
    "Roots to trust in place of the system's, PEM",
    "FILE",
    cli.text,
    TLS,
  ),
  tlsCert: cli.value("Our certificate chain, PEM", "FILE", cli.text, TLS),
  tlsKey: cli.value("Our private key, PEM", "FILE", cli.text, {
    ...TLS,
    secretFile: true,
  }),
  tlsServerName: cli.value(
    "Name to verify in place of the host's",
    "NAME",
    cli.text,
    TLS,
  ),
  tlsInsecure: cli.flag("Believe anybody to be the host", TLS),
  interface: cli.interfaceOption,
  ttl: cli.ttlOption,
  loop: cli.loopOption,
  rcvbuf: cli.rcvbufOption,
  workers: cli.workersOption,
  reusePort: cli.reusePortOption,
  resolveInterval: cli.resolveIntervalOption,
  readyWithin: cli.readyWithinOption,
  engine: cli.engineOption,
};

/** The proxy's command. */
export const command: cli.Command = cli.defineCommand({
  name: "proxy",
  summary: "Forward UDP, multicast, TCP and TLS sources to UDP destinations",
  description:
    "SIGHUP reads --config again: destinations change at once, and what requires a restart is named.",
  options,
  renamedOptions: {
    listen: "udpListenAddr",
    connect: "tcpConnectAddr",
    destinations: "udpDownstreamAddr",
    datagramBytes: "datagramSize",
    networkInterface: "interface",
    receiveBufferBytes: "rcvbuf",
    sharePort: "reusePort",
    resolveIntervalMs: "resolveInterval",
    readyWithinMs: "readyWithin",
  },
  examples: [
    "--udp-listen-addr 0.0.0.0:9920 --udp-downstream-addr '[::1]:9921' " +
    "--udp-downstream-addr localhost:9922 --tcp-connect-addr localhost:9925 --tee",
    "--udp-listen-addr 239.1.2.3:9920 --interface eth0 --udp-downstream-addr 10.0.0.7:9920",
    "--tcp-connect-addr tls://feed.example:443 --lines --udp-downstream-addr 239.1.2.3:9920",
  ],
  checkConfig(_config, values) {
    cli.refuseUnusedTls(values, values.tcpConnectAddr, "--tcp-connect-addr");
    checkProxyAddresses({
      listen: listenersOf(values),
      destinations: destinationsOf(values),
      connect: values.tcpConnectAddr,
      networkInterface: values.interface,
      loop: values.loop,
    });
    return [];
  },
  async start(values, context) {
    const { log } = context;
    cli.refuseUnusedTls(values, values.tcpConnectAddr, "--tcp-connect-addr");
    const tls = cli.readTlsOptions(values);
    const records = cli.recordOptions(
      values,
      values.tcpConnectAddr.length > 0 ? undefined : "--tcp-connect-addr",
    );
    const proxy = await startProxy({
      listen: listenersOf(values),
      connect: values.tcpConnectAddr.map(({ address, secure }) => ({
        address,
        tls: secure || values.tls ? tls : undefined,
      })),
      destinations: destinationsOf(values),
      tee: values.tee,
      ...records,
      idleTimeoutMs: values.idleTimeout && Math.ceil(values.idleTimeout * 1000),
      networkInterface: values.interface,
      ttl: values.ttl,
      loop: values.loop,
      receiveBufferBytes: values.rcvbuf,
      workers: values.workers,
      sharePort: values.reusePort,
      resolveIntervalMs: Math.ceil(values.resolveInterval * 1000),
      readyWithinMs: values.readyWithin && Math.ceil(values.readyWithin * 1000),
      engine: values.engine,
      holdsThread: true,
      log,
    });
    const rate = new cli.RateMeter();
    return {
      role: proxy,
      ready: () => proxy.ready(),
      metrics: () => metrics(proxy.stats()),
      progress: () => progress(proxy.stats(), rate),
      summary: () => summary(proxy.stats()),
      reload: cli.reloader({
        values,
        context,
        destinationsOf,
        keys: ["udpDownstreamAddr", "to"],
        apply: (to) => proxy.setDestinations(to),
      }),
    };
  },
});

type ProxyValues = cli.Values<typeof options>;

function listenersOf(
  { udpListenAddr, listen }: Pick<ProxyValues, "udpListenAddr" | "listen">,
): Address[] {
  const hint =
    "the proxy connects to TCP hosts with --tcp-connect-addr; reverseproxy accepts TCP producers";
  return [
    ...udpListenAddr,
    ...cli.addressesOf(listen, "udp", { tcp: hint, tls: hint }),
  ];
}

function destinationsOf(
  { udpDownstreamAddr, to }: Pick<ProxyValues, "udpDownstreamAddr" | "to">,
): Address[] {
  const hint = "the proxy sends UDP alone; reverseproxy serves TCP subscribers";
  return [
    ...udpDownstreamAddr,
    ...cli.addressesOf(to, "udp", { tcp: hint, tls: hint }),
  ];
}

function metrics(stats: ProxyStats): cli.Metric[] {
  return [
    ...cli.listenerMetrics(stats.listeners),
    ...cli.tcpSourceMetrics(stats.sources),
    ...cli.destinationMetrics(stats.destinations),
    ...cli.teeMetrics(stats.tee),
  ];
}

function progress(stats: ProxyStats, rate: cli.RateMeter): string {
  const bytes = cli.sum(stats.listeners, (one) => one.receivedBytes) +
    cli.sum(stats.sources, (one) => one.readBytes);
  const dropped = cli.sum(stats.listeners, (one) => one.droppedKernel) +
    cli.sum(stats.destinations, (one) => one.droppedDatagrams);
  return `${cli.formatBytes(bytes)} forwarded, ${rate.since(bytes)}${
    cli.drops(dropped, "", cli.dropsUnknown(stats.listeners))
  }`;
}

function summary(
  { listeners, sources, destinations, tee, elapsedMs }: ProxyStats,
): string[] {
  return [
    ...cli.listenerLines(listeners, elapsedMs),
    ...sources.map((
      { address, readBytes, cutDatagrams, connects, failures, droppedPartial },
    ) =>
      `read from ${address}: ${cli.amount(readBytes, cutDatagrams)} ${
        cli.pace(readBytes, elapsedMs)
      }, ${cli.counted(connects, "connection")}, ${
        cli.counted(failures, "failed attempt")
      }${cli.partials(droppedPartial)}`
    ),
    ...cli.destinationLines(destinations, elapsedMs),
    ...cli.teeLines(tee),
  ];
}

if (import.meta.main) await cli.runCommand(command);
