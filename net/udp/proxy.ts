/** The proxy role: UDP, multicast, TCP and TLS sources to many UDP destinations. */
import type { Address } from "../address.ts";
import { UsageError } from "../errors.ts";
import { Tasks } from "../tasks.ts";
import { checkRoots } from "../tls_client.ts";
import type { RecordOptions } from "./sources/splitter.ts";
import {
  closeAll,
  Destinations,
  type DestinationStats,
} from "./sinks/destinations.ts";
import {
  checkDestinations,
  checkListeners,
  checkSomeDestination,
} from "./distinct.ts";
import { Listeners, type ListenerStats } from "./listeners.ts";
import { LiveDestinations } from "./sinks/live_destinations.ts";
import { checkNoLoop } from "./loop_check.ts";
import {
  checkDispatchOptions,
  checkEngine,
  checkRange,
  chooseEngine,
  type DispatchOptions,
  logOf,
} from "./options.ts";
import {
  checkRecordOptions,
  refuseRecordOptions,
} from "./sources/record_options.ts";
import { endOnAbort, firstMissing, type RoleHandle } from "./role.ts";
import {
  TcpSource,
  type TcpSourceStats,
  type TcpUpstream,
} from "./sources/tcp.ts";
import { openTee, type TeeStats, teeStats } from "./sinks/tee.ts";

/** What a proxy takes and where it sends it. */
export interface ProxyOptions extends DispatchOptions, RecordOptions {
  /** UDP addresses and groups to listen on. */
  listen: readonly Address[];
  /** TCP and TLS hosts to connect to, again and again. Default: none. */
  connect?: readonly TcpUpstream[] | undefined;
  /** Where to send; none is right only with `tee`. */
  destinations: readonly Address[];
  /** Silence after which a TCP host is connected to again, in milliseconds. Default: none. */
  idleTimeoutMs?: number | undefined;
  /** Threads for each unicast listener (linux engine). @default {1} */
  workers?: number | undefined;
}

/** A proxy's figures. */
export interface ProxyStats {
  /** What each listener received and lost. */
  listeners: ListenerStats[];
  /** What each TCP host gave. */
  sources: TcpSourceStats[];
  /** What each destination got. */
  destinations: DestinationStats[];
  /** What stdout got, with `tee`. */
  tee: TeeStats | undefined;
  /** Milliseconds since the start. */
  elapsedMs: number;
}

/** A running proxy. */
export interface ProxyHandle extends RoleHandle<ProxyStats> {
  /** Where it listens, with the real ports. */
  readonly addresses: readonly Address[];
  /** Sends to other addresses from the next datagram on. */
  setDestinations(addresses: readonly Address[]): Promise<void>;
}

/** Throws a UsageError where addresses are given twice or would loop. */
export function checkProxyAddresses(
  options: Pick<
    ProxyOptions,
    "listen" | "destinations" | "connect" | "networkInterface" | "loop"
  >,
): void {
  const { listen, destinations, connect = [] } = options;
  checkListeners(listen);
  checkListeners(connect.map(({ address }) => address));
  checkDestinations(destinations);
  checkNoLoop(listen, destinations, options);
}

/**
 * Sends what comes from every source to every destination, until drained.
 * As MPROXY's `proxy_gateway` and `proxy_tcp_udp`.
 *
 * @throws {UsageError} where the options cannot be right.
 * @throws {OperationError} where an address cannot be had.
 */
export async function startProxy(options: ProxyOptions): Promise<ProxyHandle> {
  const { listen, connect = [], destinations: to } = options;
  if (listen.length === 0 && connect.length === 0) {
    throw new UsageError(
      "No source: pass `listen` or `connect`",
      { option: ["listen", "connect"] },
    );
  }
  checkSomeDestination(to, options.tee);
  checkRecordOptions(options);
  if (connect.length === 0) refuseRecordOptions(options, "a TCP source");
  checkRange("idleTimeoutMs", options.idleTimeoutMs, 1, 2 ** 31 - 1);
  checkRange("workers", options.workers, 1, 64);
  checkDispatchOptions(options);
  checkProxyAddresses(options);

  const log = logOf(options);
  const engine = chooseEngine(options, log);
  const streams = connect.map(({ address }) => address);
  checkEngine(engine, options, { listen, to, streams });
  const startedMs = performance.now();
  const destinations = new LiveDestinations(
    (addresses) => new Destinations(engine, addresses, options, log),
    to,
  );
  for (const { tls } of connect) if (tls) checkRoots(tls);
  await using opening = new AsyncDisposableStack();
  const tee = options.tee ? opening.use(openTee(log, "drop")) : undefined;
  const listeners = opening.use(
    await Listeners.open({
      engine,
      addresses: listen,
      options,
      log,
      destinations,
      sinksOf: tee ? () => [tee] : undefined,
      alone: connect.length === 0 && tee === undefined,
      workers: options.workers,
    }),
  );
  const sources: TcpSource[] = [];
  for (const upstream of connect) {
    if (upstream.tls?.insecure) {
      log.warn("TLS is not verified: anybody can pretend to be the host", {
        address: upstream.address.hostname,
      });
    }
    const own = await destinations.open();
    opening.defer(() => closeAll(own));
    const sinks = tee ? [...own, tee] : own;
    sources.push(
      new TcpSource({
        upstream,
        sinks,
        log,
        slots: engine.batchSize,
        datagramBytes: options.datagramBytes,
        lines: options.lines,
        fill: options.fill,
        fillWaitMs: options.fillWaitMs,
        idleTimeoutMs: options.idleTimeoutMs,
      }),
    );
  }
  const resources = opening.move();

  const tasks = new Tasks();
  for (const task of [...listeners.tasks, ...sources]) tasks.start(task);
  tasks.seal();
  const warnings = setInterval(() => {
    destinations.warnOfDrops();
    listeners.warnOfDrops();
  }, 1000);
  const finished = tasks.finished.finally(async () => {
    clearInterval(warnings);
    await resources.disposeAsync();
  });
  const { addresses } = listeners;
  return {
    ...endOnAbort(options.signal, {
      finished,
      stats: () => ({
        listeners: listeners.stats(),
        sources: sources.map((source) => source.stats()),
        destinations: destinations.stats(),
        tee: teeStats(tee),
        elapsedMs: performance.now() - startedMs,
      }),
      ready: () => firstMissing(listeners, destinations),
      stop: () => tasks.stop(),
    }),
    addresses,
    setDestinations: async (next) => {
      checkSomeDestination(next, options.tee);
      checkProxyAddresses({ ...options, destinations: next });
      checkEngine(engine, options, { to: next });
      await destinations.replace(next);
    },
  };
}
