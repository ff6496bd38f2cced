/** Figures of tunnels as metrics: under our names, and under the original's. */
import type { ForwardStats, RemoteStats } from "../engine/stream.ts";
import {
  CONNECT_BUCKETS_MS,
  DURATION_BUCKETS_MS,
} from "../engine/stream_counters.ts";
import {
  histogramSamples,
  type Metric,
  type MetricLabels,
  type MetricSample,
} from "../observe/metrics.ts";
import type { Tunnel } from "./tunnel.ts";
import type { Tunnels } from "./tunnels.ts";

/** A tunnel with its figures of one moment. */
interface Shown {
  readonly labels: MetricLabels;
  readonly stats: ForwardStats;
  readonly remotes: readonly ShownRemote[];
}

interface ShownRemote {
  readonly labels: MetricLabels;
  readonly stats: RemoteStats;
}

/** Figures of the open tunnels; `plexy` adds the original's names. */
export function tunnelMetrics(
  tunnels: Tunnels,
  compatibility?: "plexy",
): Metric[] {
  const shown = tunnels.list().map(show);
  return [
    {
      name: "mproxy_tunnels",
      help: "Open tunnels.",
      type: "gauge",
      samples: [{ value: shown.length }],
    },
    {
      name: "mproxy_tunnel_draining_connections",
      help: "Connections of closed tunnels that may still end by themselves.",
      type: "gauge",
      samples: [{
        value: tunnels.draining().reduce((total, tunnel) => {
          const { open, opening } = tunnel.stats();
          return total + open + opening;
        }, 0),
      }],
    },
    {
      name: "mproxy_tunnel_access_log_dropped_total",
      help: "Lines of the access log that were left out.",
      type: "counter",
      samples: [{ value: tunnels.accessLogDropped }],
    },
    ...perTunnel(shown),
    ...perRemote(shown.flatMap(({ remotes }) => remotes)),
    ...(compatibility === "plexy" ? plexyMetrics(shown) : []),
  ];
}

function show(tunnel: Tunnel): Shown {
  const stats = tunnel.stats();
  return {
    labels: { tunnel: tunnel.label },
    stats,
    remotes: [
      ...tunnel.remotes,
      // Another one of the same address may have been added since.
      ...tunnel.removedRemotes.map(({ id, label }) => ({
        id,
        label: `${label} (removed ${id})`,
      })),
    ].flatMap(({ id, label }) => {
      const remote = stats.remotes.get(id);
      const labels = { tunnel: tunnel.label, remote: label };
      return remote ? [{ labels, stats: remote }] : [];
    }),
  };
}

function perTunnel(shown: readonly Shown[]): Metric[] {
  const all = many(shown);
  return [
    all(
      "mproxy_tunnel_accepted_total",
      "counter",
      "Clients accepted.",
      (s) => s.accepted,
    ),
    all(
      "mproxy_tunnel_connections_total",
      "counter",
      "Connections that reached a remote.",
      (s) => s.opened,
    ),
    all(
      "mproxy_tunnel_connections_open",
      "gauge",
      "Connections open now.",
      (s) => s.open,
    ),
    all(
      "mproxy_tunnel_connections_pending",
      "gauge",
      "Clients waiting for a remote now.",
      (s) => s.opening,
    ),
    bytes("mproxy_tunnel_bytes_total", shown),
    byReason(
      "mproxy_tunnel_rejected_total",
      "Clients let go without a remote, by why.",
      shown,
      (s) => s.rejected,
    ),
    byReason(
      "mproxy_tunnel_connections_ended_total",
      "Connections that ended, by why.",
      shown,
      (s) => s.ended,
    ),
    all(
      "mproxy_tunnel_connect_errors_total",
      "counter",
      "Connects to remotes that failed.",
      (s) => s.dialErrors,
    ),
    all(
      "mproxy_tunnel_accept_errors_total",
      "counter",
      "Accepts that failed, such as for want of file descriptors.",
      (s) => s.acceptErrors,
    ),
    {
      name: "mproxy_tunnel_connection_duration_seconds",
      help: "How long connections that ended lasted.",
      type: "histogram",
      samples: shown.flatMap(({ labels, stats }) =>
        histogramSamples(
          stats.durationMs.buckets,
          DURATION_BUCKETS_MS.map(toSeconds),
          toSeconds(stats.durationMs.sum),
          labels,
        )
      ),
    },
  ];
}

function perRemote(shown: readonly ShownRemote[]): Metric[] {
  const all = many(shown);
  return [
    all(
      "mproxy_tunnel_remote_up",
      "gauge",
      "Whether the remote is chosen from (1) or dead (0).",
      (s) => s.live ? 1 : 0,
    ),
    all(
      "mproxy_tunnel_remote_connections_total",
      "counter",
      "Connections opened to the remote.",
      (s) => s.opened,
    ),
    all(
      "mproxy_tunnel_remote_connections_open",
      "gauge",
      "Connections open to the remote now.",
      (s) => s.open,
    ),
    all(
      "mproxy_tunnel_remote_connections_pending",
      "gauge",
      "Connects to the remote under way now.",
      (s) => s.pending,
    ),
    bytes("mproxy_tunnel_remote_bytes_total", shown),
    byReason(
      "mproxy_tunnel_remote_connect_errors_total",
      "Connects to the remote that failed, by how.",
      shown,
      (s) => s.failures,
    ),
    all(
      "mproxy_tunnel_remote_recent_errors",
      "gauge",
      "Failed connects since the last success.",
      (s) => s.recentErrors,
    ),
    all(
      "mproxy_tunnel_remote_last_error_timestamp_seconds",
      "gauge",
      "When a connect failed last, since 1970; 0 for never.",
      (s) => toSeconds(s.lastErrorAtMs),
    ),
    all(
      "mproxy_tunnel_remote_probes_total",
      "counter",
      "Probes of the remote while it was dead.",
      (s) => s.probes,
    ),
    all(
      "mproxy_tunnel_remote_probe_errors_total",
      "counter",
      "Probes that failed.",
      (s) => s.probeErrors,
    ),
    {
      name: "mproxy_tunnel_remote_connect_seconds",
      help: "How long successful connects took, with TLS where it is spoken.",
      type: "histogram",
      samples: shown.flatMap(({ labels, stats }) =>
        histogramSamples(
          stats.connectMs.buckets,
          CONNECT_BUCKETS_MS.map(toSeconds),
          toSeconds(stats.connectMs.sum),
          labels,
        )
      ),
    },
  ];
}

/**
 * The original's names, `retote_` as it has it. `tunnel_bytes_received_total`,
 * which it adds to what is sent, is right here.
 */
function plexyMetrics(shown: readonly Shown[]): Metric[] {
  const tunnels = many(shown);
  const remotes = many(shown.flatMap(({ remotes }) => remotes));
  return [
    {
      name: "number_of_tunnels",
      help: "Number of tunnels open",
      type: "gauge",
      samples: [{ value: shown.length }],
    },
    tunnels(
      "tunnel_bytes_sent_total",
      "counter",
      "Bytes sent to remotes",
      (s) => s.bytesUpstream,
    ),
    tunnels(
      "tunnel_bytes_received_total",
      "counter",
      "Bytes received from remotes",
      (s) => s.bytesDownstream,
    ),
    tunnels(
      "tunnel_streams_open",
      "gauge",
      "Clients connected",
      (s) => s.open + s.opening,
    ),
    tunnels(
      "tunnel_total_connections_total",
      "counter",
      "Clients ever connected",
      (s) => s.accepted,
    ),
    remotes(
      "tunnel_errors_total",
      "counter",
      "Failed connects",
      (s) => s.errors,
    ),
    remotes(
      "remote_bytes_sent_total",
      "counter",
      "Bytes sent to the remote",
      (s) => s.bytesUpstream,
    ),
    remotes(
      "remote_bytes_received_total",
      "counter",
      "Bytes received from the remote",
      (s) => s.bytesDownstream,
    ),
    remotes("remote_streams_open", "gauge", "Connections open", (s) => s.open),
    remotes(
      "remote_streams_pending",
      "gauge",
      "Connects under way",
      (s) => s.pending,
    ),
    remotes(
      "remote_errors",
      "gauge",
      "Failed connects in a row",
      (s) => s.recentErrors,
    ),
    remotes(
      "remote_total_connections_total",
      "counter",
      "Connections ever opened",
      (s) => s.opened,
    ),
    remotes(
      "retote_total_error_total",
      "counter",
      "Failed connects and probes",
      (s) => s.errors + s.probeErrors,
    ),
  ];
}

/** Makes metrics with one value for each of many. */
function many<Stats>(
  shown: readonly { labels: MetricLabels; stats: Stats }[],
): (
  name: string,
  type: "counter" | "gauge",
  help: string,
  pick: (stats: Stats) => number,
) => Metric {
  return (name, type, help, pick) => ({
    name,
    type,
    help,
    samples: shown.map(({ labels, stats }) => ({ labels, value: pick(stats) })),
  });
}

function bytes(
  name: string,
  shown: readonly {
    labels: MetricLabels;
    stats: { bytesUpstream: number; bytesDownstream: number };
  }[],
): Metric {
  return {
    name,
    help: "Bytes written to remotes (upstream) and to clients.",
    type: "counter",
    samples: shown.flatMap(({ labels, stats }) => [
      {
        labels: { ...labels, direction: "upstream" },
        value: stats.bytesUpstream,
      },
      {
        labels: { ...labels, direction: "downstream" },
        value: stats.bytesDownstream,
      },
    ]),
  };
}

function byReason<Stats>(
  name: string,
  help: string,
  shown: readonly { labels: MetricLabels; stats: Stats }[],
  pick: (stats: Stats) => Readonly<Record<string, number>>,
): Metric {
  const samples: MetricSample[] = shown.flatMap(({ labels, stats }) =>
    Object.entries(pick(stats)).map(([reason, value]) => ({
      labels: { ...labels, reason },
      value,
    }))
  );
  return { name, help, type: "counter", samples };
}

function toSeconds(ms: number): number {
  return ms / 1000;
}
