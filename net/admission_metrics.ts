/** Figures of admission as metrics: the same rows for every listening socket. */
import { type AdmissionStats, REJECT_REASONS } from "./admission.ts";
import type { Metric, MetricSample } from "./observe/metrics.ts";

/** One listening socket's figures. */
export interface ListenerAdmission {
  /** What the socket is for, such as `metrics`; the label `listener`. */
  readonly listener: string;
  /** Its stats, now. */
  readonly stats: AdmissionStats;
}

/** The rows of every listening socket of a role. */
export function admissionMetrics(
  listeners: readonly ListenerAdmission[],
): Metric[] {
  const each = (name: keyof AdmissionStats): MetricSample[] =>
    listeners.map(({ listener, stats }) => ({
      labels: { listener },
      value: stats[name],
    }));
  return [
    {
      name: "mproxy_listener_connections_open",
      help: "Accepted connections that are open now.",
      type: "gauge",
      samples: each("open"),
    },
    {
      name: "mproxy_listener_connections_unproved",
      help:
        "Open connections that have a deadline to finish their handshake or first request.",
      type: "gauge",
      samples: each("unproved"),
    },
    {
      name: "mproxy_listener_held_bytes",
      help: "Bytes kept in queues for open connections.",
      type: "gauge",
      samples: each("heldBytes"),
    },
    {
      name: "mproxy_listener_connections_admitted_total",
      help: "Connections admitted.",
      type: "counter",
      samples: each("admitted"),
    },
    {
      name: "mproxy_listener_connections_rejected_total",
      help:
        "Connections rejected, or closed unproved or idle, by reason: limit, source-limit, bytes, deadline, displaced.",
      type: "counter",
      samples: listeners.flatMap(({ listener, stats }) =>
        REJECT_REASONS.map((reason) => ({
          labels: { listener, reason },
          value: stats[reason],
        }))
      ),
    },
  ];
}
