/**
 * The reverse proxy role: UDP and TCP producers to a group, and the group to
 * TCP subscribers and UDP outputs.
 *
 *     UDP senders ──> --udp-listen-addr ─┐              ┌─> --tcp-output-addr ──> subscribers
 *                                        ├─> the group ─┤
 *     TCP producers ─> --tcp-listen-addr ┘              └─> --udp-output-addr
 */
import { type Address, formatAddress } from "../address.ts";
import { UsageError } from "../errors.ts";
import { Tasks } from "../tasks.ts";
import { type Acceptor, acceptTcp } from "./accept.ts";
import {
  closeAll,
  Destinations,
  type DestinationStats,
} from "./destinations.ts";
import { Listeners, type ListenerStats } from "./listeners.ts";
import { checkNoLoop } from "./loops.ts";
import {
  checkDatagramBytes,
  checkDispatchOptions,
  checkEngine,
  checkGroup,
  checkRange,
  chooseEngine,
  type DispatchOptions,
  logOf,
} from "./options.ts";
import { Producers, type ProducersStats } from "./producers.ts";
import { endOnAbort, firstMissing, type RoleHandle } from "./role.ts";
import { openTee, type TeeStats, teeStats } from "./tee.ts";
import type { SlowPolicy } from "./subscriber_queue.ts";
import { Subscribers, type SubscribersStats } from "./subscribers.ts";

/** The original's default group: all nodes of the link. */
export const DEFAULT_GROUP: Address = { hostname: "ff02::1", port: 9918 };

/** What a reverse proxy takes and gives. */
export interface ReverseProxyOptions extends DispatchOptions {
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
  /** Payload of a full datagram made of a TCP stream, 1 to 65507 bytes. @default {1452} */
  datagramBytes?: number | undefined;
  /** Whether datagrams of TCP streams end at line ends. @default {false} */
  lines?: boolean | undefined;
  /** What happens to a datagram for a subscriber that reads too slowly. @default {"drop-oldest"} */
  slowPolicy?: SlowPolicy | undefined;
  /** Bytes that may wait for one subscriber. @default {4194304} */
  queueBytes?: number | undefined;
}

/** A reverse proxy's figures. */
export interface ReverseProxyStats {
  /** Listeners of UDP senders. */
  listeners: ListenerStats[];
  /** Listeners of TCP producers. */
  producers: ProducersStats[];
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
      "Nothing to do: a source (--udp-listen-addr, --tcp-listen-addr) or an output " +
        "(--tcp-output-addr, --udp-output-addr) is wanted",
    );
  }
  checkGroup(group);
  checkDatagramBytes(options.datagramBytes);
  checkRange("queueBytes", queueBytes, 65536, 2 ** 40);
  checkDispatchOptions(options);
  if (hasSources) checkNoLoop(udpListen, [group, ...udpOutput], options);
  if (hasOutputs) checkNoLoop([group], udpOutput, options);

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
      ...(slowPolicy ? { slowPolicy } : {}),
      ...(queueBytes === undefined ? {} : { queueBytes }),
    }),
  );
  const outputs = new Destinations(engine, udpOutput, options, log);
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
  const toGroup = new Destinations(
    engine,
    hasSources ? [group] : [],
    options,
    log,
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
  const producers: Producers[] = [];
  for (const address of tcpListen) {
    producers.push(
      opening.use(
        await Producers.open({
          address,
          log,
          openSinks: async () => {
            const own = await toGroup.open();
            return {
              sinks: tee ? [...own, tee] : own,
              [Symbol.asyncDispose]: () => closeAll(own),
            };
          },
          ...(options.datagramBytes === undefined
            ? {}
            : { datagramBytes: options.datagramBytes }),
          ...(options.lines === undefined ? {} : { lines: options.lines }),
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
  };
}
