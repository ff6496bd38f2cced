/** What a gateway counts: slots while it runs, metrics when it is asked. */
import { END_REASONS, type EndReason, type Qos } from "./hooks/hooks.ts";
import type { Metric, MetricSample } from "../observe/metrics.ts";
import {
  type Direction,
  hexByte,
  packetName,
  type ProtocolVersion,
} from "./packet/mod.ts";

/** Why a connection never became a session. */
export const TURNED_AWAY_REASONS = [
  "accept",
  "tls_handshake",
  "websocket_handshake",
  "max_connections",
  "max_connections_per_source",
  "connect_rate",
  "draining",
] as const;

/** Why a connection never became a session. */
export type TurnedAwayReason = typeof TURNED_AWAY_REASONS[number];

/** Upper bounds of the histogram of hook times, in seconds. */
const HOOK_BUCKETS = [
  ...[0.00001, 0.0001, 0.001, 0.005, 0.025, 0.1, 0.5, 1, 5],
] as const;

const VERSION_NAMES: Readonly<Record<ProtocolVersion, string>> = {
  3: "3.1",
  4: "3.1.1",
  5: "5.0",
};

const DIRECTIONS: readonly Direction[] = ["upstream", "downstream"];

/** Counters of one direction. */
export interface DirectionCounters {
  /** By packet type, 0 to 15. */
  readonly packets: Float64Array;
  /** Bytes read, and milliseconds for which reading waited for the other side or for a limit. */
  bytes: number;
  writeWaitMs: number;
  limitWaitMs: number;
}

/**
 * Of hooks that answer at once, one call in so many is timed: to read the
 * clock twice takes longer than such a hook, and cost a third of all messages
 * per second.
 */
const TIMED_CALLS = 64;

/** How long one hook of one set took. */
export class HookTimes {
  readonly hook: string;
  readonly set: string;
  readonly buckets: Float64Array = new Float64Array(HOOK_BUCKETS.length + 1);
  sumMs = 0;
  count = 0;
  failures = 0;
  calls = 0;
  /** Whether the last answer was a promise: then every call is timed. */
  isAsync = false;

  constructor(hook: string, set: string) {
    this.hook = hook;
    this.set = set;
  }

  /** The time at which a call starts, or -1 where it is not to be timed. */
  start(): number {
    return this.isAsync || this.calls++ % TIMED_CALLS === 0
      ? performance.now()
      : -1;
  }

  /** A call that was started has its answer. */
  end(startedMs: number): void {
    if (startedMs < 0) return;
    const ms = performance.now() - startedMs;
    this.sumMs += ms;
    this.count++;
    let bucket = 0;
    while (bucket < HOOK_BUCKETS.length && ms > HOOK_BUCKETS[bucket]! * 1000) {
      bucket++;
    }
    this.buckets[bucket]!++;
  }
}

/** What a gateway counts. */
export class MqttMetrics {
  /** What clients send. */
  readonly upstream: DirectionCounters = directionCounters();
  /** What brokers send. */
  readonly downstream: DirectionCounters = directionCounters();
  readonly #connections = new Map<string, { open: number; total: number }>();
  readonly #turnedAway = new Map<TurnedAwayReason, number>();
  readonly #ended = new Map<EndReason, number>();
  readonly #denials = new Map<string, number>();
  readonly #hooks = new Map<string, HookTimes>();
  readonly #targets = new Map<string, { dialled: number; failed: number }>();
  /** Messages for clients that were larger than the limit, and dropped. */
  oversized = 0;
  readonly #overLimit = new Map<string, number>();
  readonly #publishQos = new Float64Array(6);
  /** Lines that the audit log has lost. */
  auditLost = 0;

  /** Counters of a direction. */
  direction(direction: Direction): DirectionCounters {
    return this[direction];
  }

  /** A CONNECT was read. */
  connected(listener: string, version: ProtocolVersion): void {
    const entry = this.#connection(listener, version);
    entry.open++;
    entry.total++;
  }

  /** A session whose CONNECT was read is over. */
  disconnected(
    listener: string,
    version: ProtocolVersion,
  ): void {
    this.#connection(listener, version).open--;
  }

  /** A session ended. */
  ended(reason: EndReason): void {
    this.#ended.set(reason, (this.#ended.get(reason) ?? 0) + 1);
  }

  /** A connection never became a session. */
  turnedAway(reason: TurnedAwayReason): void {
    this.#turnedAway.set(reason, (this.#turnedAway.get(reason) ?? 0) + 1);
  }

  /** A message of this QoS came. */
  published(direction: Direction, qos: Qos): void {
    this.#publishQos[(direction === "upstream" ? 0 : 3) + qos]!++;
  }

  /** A message exceeded its rate limit and was not forwarded. */
  overLimit(action: string): void {
    this.#overLimit.set(action, (this.#overLimit.get(action) ?? 0) + 1);
  }

  /** A hook denied. */
  denied(hook: string, reasonCode: number): void {
    const key = `${hook} ${hexByte(reasonCode)}`;
    this.#denials.set(key, (this.#denials.get(key) ?? 0) + 1);
  }

  /** Where the times of a hook are counted. */
  hookTimes(hook: string, set: string): HookTimes {
    const key = `${hook} ${set}`;
    let times = this.#hooks.get(key);
    if (!times) this.#hooks.set(key, times = new HookTimes(hook, set));
    return times;
  }

  /** A broker was dialled. */
  dialled(target: string, succeeded: boolean): void {
    const entry = this.#targets.get(target) ?? { dialled: 0, failed: 0 };
    entry.dialled++;
    if (!succeeded) entry.failed++;
    this.#targets.set(target, entry);
  }

  /** Sessions that are open. */
  get openSessions(): number {
    let sum = 0;
    for (const { open } of this.#connections.values()) sum += open;
    return sum;
  }

  /** Sessions that there were. */
  get totalSessions(): number {
    let sum = 0;
    for (const { total } of this.#connections.values()) sum += total;
    return sum;
  }

  /** Messages in both directions. */
  get messages(): number {
    return this.upstream.packets[3]! + this.downstream.packets[3]!;
  }

  /** Refusals of hooks and policy. */
  get denials(): number {
    let sum = 0;
    for (const count of this.#denials.values()) sum += count;
    return sum;
  }

  /** Everything, as it is now. */
  metrics(): Metric[] {
    const connections = [...this.#connections].map(([key, entry]) => {
      const [version, listener] = splitOnce(key);
      return { labels: { version, listener }, entry };
    });
    return [
      {
        name: "mproxy_mqtt_connections",
        help: "Clients that are connected.",
        type: "gauge",
        samples: connections.map(({ labels, entry }) => ({
          labels,
          value: entry.open,
        })),
      },
      {
        name: "mproxy_mqtt_connections_total",
        help: "Clients whose CONNECT was read.",
        type: "counter",
        samples: connections.map(({ labels, entry }) => ({
          labels,
          value: entry.total,
        })),
      },
      counter(
        "mproxy_mqtt_turned_away_total",
        "Connections that ended before they could send a CONNECT.",
        [...this.#turnedAway].map(([reason, value]) => ({
          labels: { reason },
          value,
        })),
      ),
      counter(
        "mproxy_mqtt_sessions_ended_total",
        "Ends of sessions by their reason.",
        END_REASONS.flatMap((reason) => {
          const value = this.#ended.get(reason);
          return value === undefined ? [] : [{ labels: { reason }, value }];
        }),
      ),
      counter(
        "mproxy_mqtt_packets_total",
        "Packets received by type and direction.",
        DIRECTIONS.flatMap((direction) =>
          [...this[direction].packets].flatMap((value, type) =>
            value === 0 ? [] : [{
              labels: { direction, type: packetName(type) },
              value,
            }]
          )
        ),
      ),
      counter(
        "mproxy_mqtt_messages_total",
        "Messages received by QoS and direction.",
        [...this.#publishQos].map((value, index) => ({
          labels: {
            direction: DIRECTIONS[index < 3 ? 0 : 1]!,
            qos: String(index % 3),
          },
          value,
        })),
      ),
      counter(
        "mproxy_mqtt_bytes_total",
        "Bytes received by direction, without those of TLS and WebSocket.",
        DIRECTIONS.map((direction) => ({
          labels: { direction },
          value: this[direction].bytes,
        })),
      ),
      counter(
        "mproxy_mqtt_back_pressure_seconds_total",
        "Time for which a direction waited for its receiver or for a rate limit.",
        DIRECTIONS.flatMap((direction) => [
          {
            labels: { direction, cause: "receiver" },
            value: this[direction].writeWaitMs / 1000,
          },
          {
            labels: { direction, cause: "rate_limit" },
            value: this[direction].limitWaitMs / 1000,
          },
        ]),
      ),
      counter(
        "mproxy_mqtt_denials_total",
        "Refusals by hook and reason code.",
        [...this.#denials].map(([key, value]) => {
          const [hook, reason] = splitOnce(key);
          return { labels: { hook, reason }, value };
        }),
      ),
      counter(
        "mproxy_mqtt_hook_failures_total",
        "Hooks that threw.",
        [...this.#hooks.values()].map(({ hook, set, failures }) => ({
          labels: { hook, set },
          value: failures,
        })),
      ),
      {
        name: "mproxy_mqtt_hook_seconds",
        help:
          "Time that hooks took to answer: of promises always, else of one call in 64.",
        type: "histogram",
        samples: [...this.#hooks.values()].flatMap(histogramSamples),
      },
      counter(
        "mproxy_mqtt_oversized_total",
        "Messages for clients before MQTT 5 that were larger than the limit, and dropped.",
        [{ labels: {}, value: this.oversized }],
      ),
      counter(
        "mproxy_mqtt_over_limit_total",
        "Messages beyond a rate limit that were not forwarded, by action.",
        [...this.#overLimit].map(([action, value]) => ({
          labels: { action },
          value,
        })),
      ),
      counter(
        "mproxy_mqtt_audit_lines_lost_total",
        "Lines that could not be given to the audit log.",
        [{ labels: {}, value: this.auditLost }],
      ),
      counter(
        "mproxy_mqtt_dials_total",
        "Connections to brokers by their result.",
        [...this.#targets].flatMap(([target, { dialled, failed }]) => [
          { labels: { target, result: "ok" }, value: dialled - failed },
          { labels: { target, result: "failed" }, value: failed },
        ]),
      ),
    ];
  }

  #connection(listener: string, version: ProtocolVersion) {
    const key = `${VERSION_NAMES[version]} ${listener}`;
    let entry = this.#connections.get(key);
    if (!entry) this.#connections.set(key, entry = { open: 0, total: 0 });
    return entry;
  }
}

function directionCounters(): DirectionCounters {
  return {
    packets: new Float64Array(16),
    bytes: 0,
    writeWaitMs: 0,
    limitWaitMs: 0,
  };
}

function counter(
  name: string,
  help: string,
  samples: readonly MetricSample[],
): Metric {
  return { name, help, type: "counter", samples };
}

function histogramSamples(times: HookTimes): MetricSample[] {
  const labels = { hook: times.hook, set: times.set };
  let sum = 0;
  const buckets = [...times.buckets].map((count, index) => ({
    labels: { ...labels, le: String(HOOK_BUCKETS[index] ?? "+Inf") },
    suffix: "_bucket",
    value: sum += count,
  }));
  return [
    ...buckets,
    { labels, suffix: "_sum", value: times.sumMs / 1000 },
    { labels, suffix: "_count", value: times.count },
  ];
}

function splitOnce(key: string): [string, string] {
  const space = key.indexOf(" ");
  return [key.slice(0, space), key.slice(space + 1)];
}
