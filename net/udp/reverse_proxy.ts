/**
 * The reverse proxy role: UDP and TCP producers to a group, and the group to
 * TCP subscribers and UDP outputs.
 *
 *     UDP senders ──> --udp-listen-addr ─┐              ┌─> --tcp-output-addr ──> subscribers
 *                                        ├─> the group ─┤
 *     TCP producers ─> --tcp-listen-addr ┘              └─> --udp-output-addr
 */
import { type Address, formatAddress } from "../address.ts";
import { OperationError, UsageError } from "../errors.ts";
import { Tasks } from "../tasks.ts";
import { type Acceptor, acceptTcp } from "./sources/accept.ts";
import type { RecordOptions } from "./sources/splitter.ts";
import {
  closeAll,
  Destinations,
  type DestinationStats,
} from "./sinks/destinations.ts";
import { checkDestinations, checkListeners } from "./distinct.ts";
import { Listeners, type ListenerStats } from "./listeners.ts";
import { LiveDestinations } from "./sinks/live_destinations.ts";
import type { StreamFormat } from "./file_log/log_format.ts";
import { checkNoLoop } from "./loop_check.ts";
import {
  checkDispatchOptions,
  checkEngine,
  checkGroup,
  checkRange,
  chooseEngine,
  type DispatchOptions,
  logOf,
} from "./options.ts";
import {
  producerGate,
  Producers,
  type ProducersStats,
} from "./sources/producers.ts";
import type { AdmissionStats } from "../admission.ts";
import {
  checkRecordOptions,
  refuseRecordOptions,
} from "./sources/record_options.ts";
import { endOnAbort, firstMissing, type RoleHandle } from "./role.ts";
import { openTee, type TeeStats, teeStats } from "./sinks/tee.ts";
import type { SlowPolicy } from "./sinks/subscriber_queue.ts";
import {
  DEFAULT_QUEUE_BYTES,
  Subscribers,
  type SubscribersStats,
} from "./sinks/subscribers.ts";

/** The original's default group: all nodes of the link. */
export const DEFAULT_GROUP: Address = { hostname: "ff02::1", port: 9918 };

/** What a reverse proxy takes and gives. */
export interface ReverseProxyOptions extends DispatchOptions, RecordOptions {
  /** UDP addresses to listen on; what comes goes to the group. Default: none. */
  udpListen?: readonly Address[] | undefined;
  /** TCP addresses where producers connect; what they say goes to the group. Default: none. */
  tcpListen?: readonly Address[] | undefined;
  /** The group. @default {DEFAULT_GROUP} */
  group?: Address | undefined;
  /** TCP addresses where subscribers connect; they get what comes from the group. Default: none. */
  tcpOutput?: readonly Address[] | undefined;
  /** UDP destinations of what comes from the group. Default: none. */
  udpOutput?: readonly Address[] | undefined;
  /** Silence after which a TCP producer is closed, in milliseconds. Default: none. */
  idleTimeoutMs?: number | undefined;
  /** How datagrams are written to TCP subscribers. @default {"raw"} */
  format?: StreamFormat | undefined;
  /** What happens to a datagram for a subscriber that reads too slowly. @default {"drop-oldest"} */
  slowPolicy?: SlowPolicy | undefined;
  /** Bytes that may wait for one subscriber. @default {4194304} */
  queueBytes?: number | undefined;
  /** Memory of all subscribers' queues; at the limit the oldest datagrams are dropped. Default: 64 MiB, or `queueBytes` where that is more. */
  maxQueuedBytes?: number | undefined;
  /** TCP producers at once, and TCP subscribers at once. @default {512} */
  maxConnections?: number | undefined;
  /** Those of one IPv4 address or IPv6 /64 at once. Default: half of `maxConnections`. */
  maxConnectionsPerSource?: number | undefined;
}

/** A reverse proxy's figures. */
export interface ReverseProxyStats {
  /** Listeners of UDP senders. */
  listeners: ListenerStats[];
  /** Listeners of TCP producers. */
  producers: ProducersStats[];
  /** Connections of producers, rejected ones too. */
  producerAdmission: AdmissionStats;
  /** The group as a destination, where there are sources. */
  groupSent: DestinationStats[];
  /** The group as a source, where there are outputs. */
  groupReceived: ListenerStats[];
  /** What TCP subscribers got. */
  subscribers: SubscribersStats;
  /** What each UDP output got. */
  outputs: DestinationStats[];
  /** What stdout got, with `tee`. */
  tee: TeeStats | undefined;
  /** Milliseconds since the start. */
  elapsedMs: number;
}

/** A running reverse proxy. */
export interface ReverseProxyHandle extends RoleHandle<ReverseProxyStats> {
  /** Where UDP senders send, with the real ports. */
  readonly udpListen: readonly Address[];
  /** Where producers connect. */
  readonly tcpListen: readonly Address[];
  /** Where subscribers connect. */
  readonly tcpOutput: readonly Address[];
  /** Sends what comes from the group to other UDP addresses from the next datagram on. */
  setUdpOutput(addresses: readonly Address[]): Promise<void>;
}

/** Throws a UsageError where addresses are given twice or would loop. */
export function checkReverseProxyAddresses(
  options: Pick<
    ReverseProxyOptions,
    | "udpListen"
    | "tcpListen"
    | "group"
    | "tcpOutput"
    | "udpOutput"
    | "networkInterface"
    | "loop"
  >,
): void {
  const { udpListen = [], tcpListen = [], group = DEFAULT_GROUP } = options;
  const { tcpOutput = [], udpOutput = [] } = options;
  checkListeners(udpListen);
  checkListeners([...tcpListen, ...tcpOutput]);
  checkDestinations(udpOutput);
  if (udpListen.length + tcpListen.length > 0) {
    // Without an output nobody joins the group here.
    const joined = tcpOutput.length + udpOutput.length > 0 ? [group] : [];
    checkNoLoop(udpListen, [group, ...udpOutput], { ...options, joined });
  }
  if (tcpOutput.length + udpOutput.length > 0) {
    checkNoLoop([group], udpOutput, options);
  }
}

/**
 * Gathers senders into a group and gives the group to subscribers, until drained.
 * As MPROXY's `reverse_proxy_udp`, `reverse_proxy_udp_tcp` and
 * `reverse_proxy_tcp_udp`.
 *
 * @throws {UsageError} where the options cannot be right.
 * @throws {OperationError} where an address cannot be had.
 */
export async function startReverseProxy(
  options: ReverseProxyOptions,
): Promise<ReverseProxyHandle> {
  const { udpListen = [], tcpListen = [], group = DEFAULT_GROUP } = options;
  const { tcpOutput = [], udpOutput = [], slowPolicy, queueBytes } = options;
  const hasSources = udpListen.length + tcpListen.length > 0;
  const hasOutputs = tcpOutput.length + udpOutput.length > 0;
  if (!hasSources && !hasOutputs) {
    throw new UsageError(
      "Nothing to do: pass a source (`udpListen`, `tcpListen`) or an output " +
        "(`tcpOutput`, `udpOutput`)",
      { option: ["udpListen", "tcpListen", "tcpOutput", "udpOutput"] },
    );
  }
  checkGroup(group);
  checkRecordOptions(options);
  if (tcpListen.length === 0) {
    refuseRecordOptions(options, "a TCP listener for producers");
  }
  if (options.format !== undefined && tcpOutput.length === 0) {
    throw new UsageError(
      "cannot use format without TCP subscribers: UDP outputs carry each datagram as it came; requires a TCP output",
    );
  }
  checkRange("idleTimeoutMs", options.idleTimeoutMs, 1, 2 ** 31 - 1);
  checkRange("queueBytes", queueBytes, 65536, 2 ** 40);
  checkRange(
    "maxQueuedBytes",
    options.maxQueuedBytes,
    Math.max(4 << 20, queueBytes ?? DEFAULT_QUEUE_BYTES),
    2 ** 40,
  );
  checkRange("maxConnections", options.maxConnections, 1, 1_000_000);
  checkRange(
    "maxConnectionsPerSource",
    options.maxConnectionsPerSource,
    1,
    1_000_000,
  );
  checkDispatchOptions(options);
  checkReverseProxyAddresses(options);

  const log = logOf(options);
  const engine = chooseEngine(options, log);
  checkEngine(engine, options, {
    listen: hasOutputs ? [...udpListen, group] : udpListen,
    to: hasSources ? [group, ...udpOutput] : udpOutput,
    streams: [...tcpListen, ...tcpOutput],
  });
  const startedMs = performance.now();
  await using opening = new AsyncDisposableStack();
  const tee = options.tee ? opening.use(openTee(log, "drop")) : undefined;

  // From the group: first of all, so that nothing of our own sources is missed.
  const subscribers = opening.use(
    new Subscribers({
      log,
      format: options.format,
      listener: group,
      maxQueuedBytes: options.maxQueuedBytes,
      maxConnections: options.maxConnections,
      maxConnectionsPerSource: options.maxConnectionsPerSource,
      ...(slowPolicy ? { slowPolicy } : {}),
      ...(queueBytes === undefined ? {} : { queueBytes }),
    }),
  );
  const destinationsOf = (addresses: readonly Address[]) =>
    new Destinations(engine, addresses, options, log);
  const outputs = new LiveDestinations(destinationsOf, udpOutput);
  const fromGroup = hasOutputs
    ? opening.use(
      await Listeners.open({
        engine,
        addresses: [group],
        options,
        log,
        destinations: outputs,
        // Without a source here, the group itself is what can be copied to stdout.
        sinksOf: () => tee && !hasSources ? [subscribers, tee] : [subscribers],
      }),
    )
    : undefined;
  const acceptors: Acceptor[] = [];
  for (const address of tcpOutput) {
    const acceptor = opening.use(
      await acceptTcp(
        address,
        (connection) => subscribers.add(connection),
        log,
      ),
    );
    acceptors.push(acceptor);
    log.info("listening for subscribers", {
      address: formatAddress(acceptor.address),
    });
  }

  // To the group.
  const toGroup = new LiveDestinations(
    destinationsOf,
    hasSources ? [group] : [],
  );
  const listeners = opening.use(
    await Listeners.open({
      engine,
      addresses: udpListen,
      options,
      log,
      destinations: toGroup,
      sinksOf: tee ? () => [tee] : undefined,
    }),
  );
  const gate = opening.use(producerGate(options, log));
  const producers: Producers[] = [];
  for (const address of tcpListen) {
    producers.push(
      opening.use(
        await Producers.open({
          address,
          log,
          gate,
          openSinks: async () => {
            const own = await toGroup.open();
            return {
              sinks: tee ? [...own, tee] : own,
              [Symbol.asyncDispose]: () => closeAll(own),
            };
          },
          datagramBytes: options.datagramBytes,
          lines: options.lines,
          fill: options.fill,
          fillWaitMs: options.fillWaitMs,
          idleTimeoutMs: options.idleTimeoutMs,
        }),
      ),
    );
  }
  const resources = opening.move();

  const sources = new Tasks();
  for (const task of listeners.tasks) sources.start(task);
  const sinks = new Tasks();
  for (const task of fromGroup?.tasks ?? []) sinks.start(task);
  const warnings = setInterval(() => {
    listeners.warnOfDrops();
    fromGroup?.warnOfDrops();
    toGroup.warnOfDrops();
    outputs.warnOfDrops();
  }, 1000);

  const stop = Promise.withResolvers<void>();
  const abort = Promise.withResolvers<void>();
  const run = async () => {
    const failed = Promise.all([sources.finished, sinks.finished]);
    await Promise.race([stop.promise, failed]);
    // In the order in which bytes pass: what a source has said reaches the subscribers.
    for (const one of producers) await one[Symbol.asyncDispose]();
    sources.stop();
    await sources.finished;
    for (const acceptor of acceptors) acceptor[Symbol.dispose]();
    sinks.stop();
    await sinks.finished;
    await Promise.race([subscribers.drained(), abort.promise]);
  };
  const finished = run().finally(async () => {
    clearInterval(warnings);
    await resources.disposeAsync();
  });
  return {
    ...endOnAbort(options.signal, {
      finished,
      stats: () => ({
        listeners: listeners.stats(),
        producers: producers.map((one) => one.stats()),
        producerAdmission: gate.stats(),
        groupSent: toGroup.stats(),
        groupReceived: fromGroup?.stats() ?? [],
        subscribers: subscribers.stats(),
        outputs: outputs.stats(),
        tee: teeStats(tee),
        elapsedMs: performance.now() - startedMs,
      }),
      ready: () => firstMissing(listeners, fromGroup, toGroup, outputs),
      stop: () => stop.resolve(),
      abort: () => abort.resolve(),
    }),
    udpListen: listeners.addresses,
    tcpListen: producers.map((one) => one.address),
    tcpOutput: acceptors.map((acceptor) => acceptor.address),
    setUdpOutput: async (addresses) => {
      checkReverseProxyAddresses({ ...options, udpOutput: addresses });
      checkEngine(engine, options, { to: addresses });
      if (fromGroup === undefined && addresses.length > 0) {
        throw new OperationError(
          "cannot add UDP outputs: the group is not received without outputs at the start; restart the role",
        );
      }
      await outputs.replace(addresses);
    },
  };
}
