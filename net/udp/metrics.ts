/** The dispatch roles' figures as metrics. */
import { SEND_COUNTERS } from "../engine/datagram.ts";
import type { Metric, MetricSample } from "../observe/metrics.ts";
import type { DestinationStats } from "./sinks/destinations.ts";
import type { ListenerStats } from "./listeners.ts";
import type { ProducersStats } from "./sources/producers.ts";
import type { LogStats, StreamStats } from "./server_output.ts";
import type { SubscribersStats } from "./sinks/subscribers.ts";
import type { TcpSourceStats } from "./sources/tcp.ts";
import type { TeeStats } from "./sinks/tee.ts";

/** A counter with a value for each row. */
export function counterMetric<Row>(
  name: string,
  help: string,
  rows: readonly Row[],
  sample: (row: Row) => MetricSample | MetricSample[],
): Metric {
  return { name, help, type: "counter", samples: rows.flatMap(sample) };
}

/** What listeners received and lost. */
export function listenerMetrics(listeners: readonly ListenerStats[]): Metric[] {
  return [
    counterMetric(
      "mproxy_received_datagrams_total",
      "Datagrams received.",
      listeners,
      ({ address, receivedDatagrams }) => ({
        labels: { listener: address },
        value: receivedDatagrams,
      }),
    ),
    counterMetric(
      "mproxy_received_bytes_total",
      "Payload bytes received.",
      listeners,
      ({ address, receivedBytes }) => ({
        labels: { listener: address },
        value: receivedBytes,
      }),
    ),
    counterMetric(
      "mproxy_receive_dropped_datagrams_total",
      "Datagrams received but not forwarded, or dropped by the kernel because the receive queue was full.",
      listeners,
      ({ address, droppedKernel, dropsUnknown, droppedLoop }) => [
        // Where nobody can tell, no value is truer than 0.
        ...dropsUnknown === 0 || droppedKernel > 0
          ? [{
            labels: { listener: address, reason: "queue_full" },
            value: droppedKernel,
          }]
          : [],
        { labels: { listener: address, reason: "loop" }, value: droppedLoop },
      ],
    ),
    counterMetric(
      "mproxy_receive_errors_total",
      "Receive calls that failed.",
      listeners,
      ({ address, receiveErrors }) => ({
        labels: { listener: address },
        value: receiveErrors,
      }),
    ),
    ...socketMetrics("listener", listeners),
    {
      name: "mproxy_listener_last_received_seconds",
      help: "Seconds since a datagram was received, or since the start.",
      type: "gauge",
      samples: listeners.map(({ address, silentMs }) => ({
        labels: { listener: address },
        value: Math.floor(silentMs / 1000),
      })),
    },
  ];
}

/** Names in full, so that a search finds them. */
const SOCKET_METRICS = {
  listener: {
    open: "mproxy_listener_open",
    lost: "mproxy_listener_lost_total",
    reopened: "mproxy_listener_reopened_total",
  },
  destination: {
    open: "mproxy_destination_open",
    lost: "mproxy_destination_lost_total",
    reopened: "mproxy_destination_reopened_total",
  },
} as const;

/** Whether sockets are open, and how often they were not. */
function socketMetrics(
  label: keyof typeof SOCKET_METRICS,
  rows: readonly {
    address: string;
    open: boolean;
    losses: number;
    reopens: number;
  }[],
): Metric[] {
  const names = SOCKET_METRICS[label];
  return [
    {
      name: names.open,
      help: `Whether the ${label}'s socket is open.`,
      type: "gauge",
      samples: rows.map(({ address, open }) => ({
        labels: { [label]: address },
        value: open ? 1 : 0,
      })),
    },
    counterMetric(
      names.lost,
      `Times that an interface, address, route or name of the ${label} was lost.`,
      rows,
      ({ address, losses }) => ({
        labels: { [label]: address },
        value: losses,
      }),
    ),
    counterMetric(
      names.reopened,
      `Times that the ${label}'s socket was opened again.`,
      rows,
      ({ address, reopens }) => ({
        labels: { [label]: address },
        value: reopens,
      }),
    ),
  ];
}

/** What went to destinations and what did not, by reason. */
export function destinationMetrics(
  destinations: readonly DestinationStats[],
): Metric[] {
  return [
    counterMetric(
      "mproxy_sent_datagrams_total",
      "Datagrams sent.",
      destinations,
      ({ address, sentDatagrams }) => ({
        labels: { destination: address },
        value: sentDatagrams,
      }),
    ),
    counterMetric(
      "mproxy_sent_bytes_total",
      "Payload bytes sent.",
      destinations,
      ({ address, sentBytes }) => ({
        labels: { destination: address },
        value: sentBytes,
      }),
    ),
    counterMetric(
      "mproxy_send_dropped_datagrams_total",
      "Datagrams that could not be sent.",
      destinations,
      (stats) =>
        SEND_COUNTERS.filter((name) => name.startsWith("dropped")).map((
          name,
        ) => ({
          labels: { destination: stats.address, reason: reasonLabel(name) },
          value: stats[name],
        })),
    ),
    ...socketMetrics("destination", destinations),
  ];
}

/** What streams were read and cut into datagrams. */
export function streamMetrics(
  streams: readonly {
    address: string;
    readBytes: number;
    cutDatagrams: number;
    droppedPartial: number;
  }[],
): Metric[] {
  return [
    counterMetric(
      "mproxy_stream_read_bytes_total",
      "Bytes read from files and TCP streams.",
      streams,
      ({ address, readBytes }) => ({
        labels: { source: address },
        value: readBytes,
      }),
    ),
    counterMetric(
      "mproxy_stream_cut_datagrams_total",
      "Datagrams made of files and TCP streams.",
      streams,
      ({ address, cutDatagrams }) => ({
        labels: { source: address },
        value: cutDatagrams,
      }),
    ),
    counterMetric(
      "mproxy_stream_dropped_records_total",
      "Lines and records dropped because their stream ended in them.",
      streams,
      ({ address, droppedPartial }) => ({
        labels: { source: address, reason: "partial" },
        value: droppedPartial,
      }),
    ),
  ];
}

/** The state of TCP hosts that are connected to. */
export function tcpSourceMetrics(sources: readonly TcpSourceStats[]): Metric[] {
  return [
    ...streamMetrics(sources),
    {
      name: "mproxy_tcp_source_connected",
      help: "Whether the TCP host is connected now.",
      type: "gauge",
      samples: sources.map(({ address, connected }) => ({
        labels: { source: address },
        value: connected ? 1 : 0,
      })),
    },
    {
      name: "mproxy_tcp_source_last_received_seconds",
      help: "Seconds since data was received, or since the start.",
      type: "gauge",
      samples: sources.map(({ address, silentMs }) => ({
        labels: { source: address },
        value: Math.floor(silentMs / 1000),
      })),
    },
    counterMetric(
      "mproxy_tcp_source_connects_total",
      "Connections made to the TCP host.",
      sources,
      ({ address, connects }) => ({
        labels: { source: address },
        value: connects,
      }),
    ),
    counterMetric(
      "mproxy_tcp_source_failures_total",
      "Connects that failed and connections that broke.",
      sources,
      ({ address, failures }) => ({
        labels: { source: address },
        value: failures,
      }),
    ),
  ];
}

/** The state of TCP producers. */
export function producerMetrics(
  producers: readonly ProducersStats[],
): Metric[] {
  return [
    ...streamMetrics(producers),
    {
      name: "mproxy_producers_connected",
      help: "TCP producers connected now.",
      type: "gauge",
      samples: producers.map(({ address, connected }) => ({
        labels: { listener: address },
        value: connected,
      })),
    },
    counterMetric(
      "mproxy_producers_total",
      "TCP producers that have connected.",
      producers,
      ({ address, total }) => ({ labels: { listener: address }, value: total }),
    ),
  ];
}

/** What subscribers got and what their full queues dropped. */
export function subscriberMetrics(stats: SubscribersStats): Metric[] {
  const { connected, total, disconnectedSlow, subscribers } = stats;
  return [
    {
      name: "mproxy_subscribers_connected",
      help: "Subscribers connected now.",
      type: "gauge",
      samples: [{ value: connected }],
    },
    counterMetric(
      "mproxy_subscribers_total",
      "Subscribers so far.",
      [total],
      (value) => ({
        value,
      }),
    ),
    counterMetric(
      "mproxy_subscribers_disconnected_total",
      "Subscribers ended because they read too slowly.",
      [disconnectedSlow],
      (value) => ({ value }),
    ),
    counterMetric(
      "mproxy_subscribers_sent_bytes_total",
      "Bytes that all subscribers so far have got.",
      [stats.sentBytes],
      (value) => ({ value }),
    ),
    counterMetric(
      "mproxy_subscribers_dropped_datagrams_total",
      "Datagrams that full queues of all subscribers so far have dropped.",
      [stats.droppedDatagrams],
      (value) => ({ value }),
    ),
    {
      name: "mproxy_subscribers_memory_bytes",
      help: "Memory of all subscribers' queues.",
      type: "gauge",
      samples: [{ value: stats.memoryBytes }],
    },
    {
      name: "mproxy_subscriber_sent_bytes",
      help: "Bytes that a connected subscriber has got.",
      type: "gauge",
      samples: subscribers.map(({ address, sentBytes }) => ({
        labels: { subscriber: address },
        value: sentBytes,
      })),
    },
    {
      name: "mproxy_subscriber_dropped_datagrams",
      help: "Datagrams that a connected subscriber's full queue has dropped.",
      type: "gauge",
      samples: subscribers.map(({ address, droppedDatagrams }) => ({
        labels: { subscriber: address },
        value: droppedDatagrams,
      })),
    },
    {
      name: "mproxy_subscriber_queued_bytes",
      help: "Bytes that wait for a connected subscriber.",
      type: "gauge",
      samples: subscribers.map(({ address, queuedBytes }) => ({
        labels: { subscriber: address },
        value: queuedBytes,
      })),
    },
  ];
}

/** What was copied to stdout. */
export function teeMetrics(tee: TeeStats | undefined): Metric[] {
  if (tee === undefined) return [];
  return [
    counterMetric("mproxy_tee_bytes_total", "Bytes copied to stdout.", [
      tee.bytes,
    ], (value) => ({
      value,
    })),
    counterMetric(
      "mproxy_tee_dropped_datagrams_total",
      "Datagrams not copied to stdout.",
      [
        { reason: "queue_full", value: tee.droppedQueueFullDatagrams },
        { reason: "closed", value: tee.droppedClosedDatagrams },
      ],
      ({ reason, value }) => ({ labels: { reason }, value }),
    ),
  ];
}

/** What a server wrote and what it did not, by reason. */
export function logMetrics(
  log: LogStats | undefined,
  stream: StreamStats | undefined,
): Metric[] {
  const counter = (name: string, help: string, value = 0): Metric =>
    counterMetric(name, help, [value], (value) => ({ value }));
  const dropped: [string, number | undefined][] = [
    ["disk_full", log?.droppedDiskFullDatagrams],
    ["write_error", log?.droppedWriteErrorDatagrams],
    ["queue_full", stream?.droppedQueueFullDatagrams],
    ["closed", stream?.droppedClosedDatagrams],
  ];
  return [
    counter(
      "mproxy_log_written_datagrams_total",
      "Datagrams written.",
      log?.writtenDatagrams ?? stream?.datagrams,
    ),
    counter(
      "mproxy_log_written_bytes_total",
      "Bytes written.",
      log?.writtenBytes ?? stream?.bytes,
    ),
    counterMetric(
      "mproxy_log_dropped_datagrams_total",
      "Datagrams received but not written.",
      dropped.filter(([, value]) => value !== undefined),
      ([reason, value]) => ({ labels: { reason }, value: value! }),
    ),
    counter(
      "mproxy_log_write_errors_total",
      "Writes that failed.",
      log?.writeErrors,
    ),
    counter(
      "mproxy_log_rotations_total",
      "Files that were rotated.",
      log?.rotations,
    ),
    counter(
      "mproxy_log_rotation_errors_total",
      "Rotations that failed.",
      log?.rotationErrors,
    ),
    counter(
      "mproxy_log_sync_errors_total",
      "Times that the system could not put what was written on the disk.",
      log?.syncErrors,
    ),
  ];
}

/** `droppedQueueFull` as `queue_full`. */
function reasonLabel(name: string): string {
  return name.replace("dropped", "").replace(
    /[A-Z]/g,
    (letter, at) => `${at > 0 ? "_" : ""}${letter.toLowerCase()}`,
  );
}
