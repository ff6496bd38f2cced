/** A relay's figures as metrics and as its JSON document. */
import type { ConnectionInfo, ForwardStats } from "../engine/stream.ts";
import {
  CONNECT_BUCKETS_MS,
  DURATION_BUCKETS_MS,
} from "../engine/stream_counters.ts";
import { histogramSamples, type Metric } from "../observe/metrics.ts";
import type { RelaySnapshot } from "./relay.ts";

/**
 * Metrics of a relay: four under the names that Monkey D. TCP gave them, then
 * what it did not count. Its byte counts have no `_total`, so they are declared
 * gauges, as a checker of the format wants it; `mproxy_relay_bytes_total` is
 * the counter.
 */
export function relayMetrics(stats: ForwardStats): Metric[] {
  const target = [...stats.remotes.values()][0];
  return [
    metric("connections_active", "gauge", "Connections open now.", stats.open),
    metric(
      "connections_total",
      "counter",
      "Connections ever opened.",
      stats.opened,
    ),
    metric(
      "bytes_upstream",
      "gauge",
      "Bytes written to the target so far.",
      stats.bytesUpstream,
    ),
    metric(
      "bytes_downstream",
      "gauge",
      "Bytes written to clients so far.",
      stats.bytesDownstream,
    ),
    {
      name: "mproxy_relay_bytes_total",
      help: "Bytes written to the target (upstream) and to clients.",
      type: "counter",
      samples: [
        { labels: { direction: "upstream" }, value: stats.bytesUpstream },
        { labels: { direction: "downstream" }, value: stats.bytesDownstream },
      ],
    },
    metric(
      "mproxy_relay_accepted_total",
      "counter",
      "Clients accepted.",
      stats.accepted,
    ),
    metric(
      "mproxy_relay_accept_errors_total",
      "counter",
      "Accepts that failed, such as for want of file descriptors.",
      stats.acceptErrors,
    ),
    metric(
      "mproxy_relay_connections_pending",
      "gauge",
      "Clients waiting for the target now.",
      stats.opening,
    ),
    byReason(
      "mproxy_relay_connections_ended_total",
      "Connections that ended, by why.",
      stats.ended,
    ),
    byReason(
      "mproxy_relay_rejected_total",
      "Clients let go without the target, by why.",
      stats.rejected,
    ),
    byReason(
      "mproxy_relay_connect_errors_total",
      "Connects to the target that failed, by how.",
      target?.failures ?? {},
    ),
    {
      name: "mproxy_relay_connect_seconds",
      help: "How long successful connects to the target took.",
      type: "histogram",
      samples: histogramSamples(
        target?.connectMs.buckets ?? [],
        CONNECT_BUCKETS_MS.map(toSeconds),
        toSeconds(target?.connectMs.sum ?? 0),
      ),
    },
    {
      name: "mproxy_relay_connection_duration_seconds",
      help: "How long connections that ended lasted.",
      type: "histogram",
      samples: histogramSamples(
        stats.durationMs.buckets,
        DURATION_BUCKETS_MS.map(toSeconds),
        toSeconds(stats.durationMs.sum),
      ),
    },
  ];
}

/** The JSON document of a relay: Monkey D. TCP's four keys, and its open connections. */
export function relayJson(
  snapshot: RelaySnapshot,
  connections: readonly ConnectionInfo[],
): Record<string, unknown> {
  return {
    active_connections: snapshot.activeConnections,
    total_connections: snapshot.totalConnections,
    bytes_upstream: snapshot.bytesUpstream,
    bytes_downstream: snapshot.bytesDownstream,
    clients: connections.map((connection) => ({
      client: connection.client,
      bytes_upstream: connection.bytesUpstream,
      bytes_downstream: connection.bytesDownstream,
      age_seconds: toSeconds(Math.round(connection.ageMs)),
      idle_seconds: toSeconds(Math.round(connection.idleMs)),
      half_closed: connection.halfClosed,
    })),
  };
}

function metric(
  name: string,
  type: "counter" | "gauge",
  help: string,
  value: number,
): Metric {
  return { name, type, help, samples: [{ value }] };
}

function byReason(
  name: string,
  help: string,
  counts: Readonly<Record<string, number>>,
): Metric {
  const samples = Object.entries(counts).map(([reason, value]) => ({
    labels: { reason },
    value,
  }));
  return { name, help, type: "counter", samples };
}

function toSeconds(ms: number): number {
  return ms / 1000;
}
