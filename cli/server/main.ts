/**
 * Logs UDP and multicast to files, to stdout or to a named pipe.
 *
 * ```sh
 * deno run -A jsr:@mproxy/server --path logfile.log --listen-addr 127.0.0.1:9920
 * ```
 *
 * @example Check a command line
 * ```ts
 * import { command } from "@mproxy/server";
 * import { helpText } from "@mproxy/mproxy/cli";
 * import { assert } from "@std/assert";
 *
 * assert(helpText("server", command).includes("--listen-addr"));
 * ```
 *
 * @module
 */
import {
  type Address,
  checkListeners,
  DATAGRAM_FORMATS,
  FSYNC_CHOICES,
  type ServerStats,
  SPLIT_CHOICES,
  startServer,
  UsageError,
  WRITE_ERROR_CHOICES,
} from "@mproxy/mproxy";
import * as cli from "@mproxy/mproxy/cli";

const FILES = { group: "Files" };

const options = {
  path: cli.value(
    "File to append to; - is stdout, a named pipe waits for its reader",
    "FILE|-",
    cli.text,
    { required: true },
  ),
  listenAddr: cli.list(
    "UDP address or group to listen on; all go to one file without --split",
    "HOST:PORT",
    cli.address({ allowPortZero: true }),
  ),
  listen: cli.listenOption(
    "Where to listen, as --listen-addr; udp:// may stand before it, :PORT is every IPv4 address",
  ),
  tee: cli.teeOption,
  format: cli.choice(
    "raw is byte for byte; lines ends each datagram with one newline; jsonl is an object each with time, source, listener, text or base64",
    DATAGRAM_FORMATS,
    "raw",
  ),
  split: cli.choice(
    "A file for each listening address, each sender's address, or each sender's address and port, named after it",
    SPLIT_CHOICES,
    undefined,
    FILES,
  ),
  maxSources: cli.value(
    "Senders that get a file of their own with --split source or source-port; all others share one",
    "N",
    cli.integer(1, 1e6),
    { ...FILES, defaultText: "1024" },
  ),
  rotateSize: cli.value(
    "Begin a new file before one grows larger, such as 100M; datagrams stay whole",
    "BYTES",
    cli.scaled(1, 2 ** 53),
    FILES,
  ),
  rotateInterval: cli.value(
    "Begin a new file every so often, at multiples since 1970, UTC: 3600 is the full hour",
    "SECONDS",
    intervalSeconds,
    FILES,
  ),
  keep: cli.value(
    "Rotated files to keep of each file; all without it",
    "N",
    cli.integer(0, 1e9),
    FILES,
  ),
  gzip: cli.toggle("Compress rotated files (yes without it)", FILES),
  fsync: cli.choice(
    "When the disk must have what was written: never, once a second, or before more is taken",
    FSYNC_CHOICES,
    "none",
    FILES,
  ),
  onWriteError: cli.choice(
    "What a full disk or another failure leads to: retry keeps up to 512 kB and drops what comes beyond, end ends the server (retry without it)",
    WRITE_ERROR_CHOICES,
    undefined,
    FILES,
  ),
  reopen: cli.flag(
    "Wait for the next reader of a named pipe when its reader leaves, in place of ending",
  ),
  interface: cli.interfaceOption,
  rcvbuf: cli.rcvbufOption,
  workers: cli.workersOption,
  reusePort: cli.reusePortOption,
  readyWithin: cli.readyWithinOption,
  engine: cli.engineOption,
};

/** The server's command. */
export const command: cli.Command = cli.defineCommand({
  name: "server",
  summary: "Log UDP and multicast to files, to stdout or to a named pipe",
  description:
    "SIGHUP opens the files anew, for programs such as logrotate that rename them.",
  options,
  renamedOptions: {
    listen: "listenAddr",
    rotateBytes: "rotateSize",
    rotateIntervalMs: "rotateInterval",
    keepFiles: "keep",
    networkInterface: "interface",
    receiveBufferBytes: "rcvbuf",
    sharePort: "reusePort",
    readyWithinMs: "readyWithin",
  },
  examples: [
    "--path logfile.log --listen-addr 127.0.0.1:9920 --listen-addr '[::1]:9921'",
    "--path - --format jsonl --listen-addr 239.1.2.3:9920 --interface eth0 | jq .text",
    "--path feed.log --listen-addr 0.0.0.0:9920 --split source --rotate-size 100M --keep 10",
    "--path day.log --listen-addr 0.0.0.0:9920 --format lines --rotate-interval 86400 --fsync interval",
  ],
  checkConfig(_config, values) {
    checkListeners(listenersOf(values));
    return [];
  },
  async start(values, { log }) {
    const path = values.path!;
    const server = await startServer({
      path,
      listen: listenersOf(values),
      tee: values.tee,
      format: values.format,
      split: values.split,
      maxSources: values.maxSources,
      reopen: values.reopen,
      rotateBytes: values.rotateSize,
      rotateIntervalMs: values.rotateInterval && values.rotateInterval * 1000,
      keepFiles: values.keep,
      gzip: values.gzip,
      fsync: values.fsync,
      onWriteError: values.onWriteError,
      networkInterface: values.interface,
      receiveBufferBytes: values.rcvbuf,
      workers: values.workers,
      sharePort: values.reusePort,
      readyWithinMs: values.readyWithin && Math.ceil(values.readyWithin * 1000),
      engine: values.engine,
      holdsThread: true,
      log,
    });
    const rate = new cli.RateMeter();
    return {
      role: server,
      ready: () => server.ready(),
      metrics: () => metrics(server.stats()),
      progress: () => progress(server.stats(), rate),
      summary: () => summary(path, server.stats()),
      reload: () => {
        server.reopen();
        log.info("opened files anew", { path });
      },
    };
  },
});

function listenersOf(
  { listenAddr, listen }: cli.Values<
    Pick<typeof options, "listenAddr" | "listen">
  >,
): Address[] {
  const hint = "the server receives UDP alone";
  return [
    ...listenAddr,
    ...cli.addressesOf(listen, "udp", { tcp: hint, tls: hint }),
  ];
}

function intervalSeconds(text: string): number {
  const number = cli.seconds(text);
  if (number >= 1) return number;
  throw new UsageError(`"${text}" is less than 1 second`);
}

function metrics(stats: ServerStats): cli.Metric[] {
  return [
    ...cli.listenerMetrics(stats.listeners),
    ...cli.logMetrics(stats.log, stats.stream),
    ...cli.teeMetrics(stats.tee),
  ];
}

function progress(stats: ServerStats, rate: cli.RateMeter): string {
  const bytes = cli.sum(stats.listeners, (one) => one.receivedBytes);
  const { log, stream } = stats;
  const dropped = cli.sum(stats.listeners, (one) => one.droppedKernel) +
    (log?.droppedDiskFullDatagrams ?? 0) +
    (log?.droppedWriteErrorDatagrams ?? 0) +
    (stream?.droppedQueueFullDatagrams ?? 0);
  return `${cli.formatBytes(bytes)} logged, ${rate.since(bytes)}${
    cli.drops(dropped, "", cli.dropsUnknown(stats.listeners))
  }`;
}

function summary(
  path: string,
  { listeners, log, stream, tee, elapsedMs }: ServerStats,
): string[] {
  return [
    ...cli.listenerLines(listeners, elapsedMs),
    ...cli.logLines(path, log, stream),
    ...cli.teeLines(tee),
  ];
}

if (import.meta.main) await cli.runCommand(command);
