/**
 * Metrics as plain data, and their Prometheus text. The roles describe what
 * they have counted; the text format (escaping, order, HELP and TYPE) is
 * prom-client's, loaded when the first scrape comes.
 */

/** Labels of one value. */
export type MetricLabels = Readonly<Record<string, string>>;

/** One value of a metric. */
export interface MetricSample {
  /** Labels of the value. Default: none. */
  labels?: MetricLabels;
  /** The value. */
  value: number;
  /** Behind the metric's name: `_bucket`, `_sum`, `_count` of a histogram. Default: the name alone. */
  suffix?: string;
}

/** A metric with all its values, as they are now. As in Prometheus' text format, 0.0.4. */
export interface Metric {
  /** Snake case, with the unit; counters end in `_total`. */
  name: string;
  /** One sentence. */
  help: string;
  /** Prometheus type. */
  type: "counter" | "gauge" | "histogram";
  /** The values; none is a metric that has not happened. */
  samples: readonly MetricSample[];
}

/** Joins the values of metrics that have the same name. */
export function mergeMetrics(metrics: readonly Metric[]): Metric[] {
  const byName = new Map<string, Metric>();
  for (const metric of metrics) {
    const same = byName.get(metric.name);
    byName.set(
      metric.name,
      same
        ? { ...same, samples: [...same.samples, ...metric.samples] }
        : metric,
    );
  }
  return [...byName.values()];
}

/** Prometheus text (format 0.0.4) of metrics. */
export async function prometheusText(
  metrics: readonly Metric[],
): Promise<string> {
  const { Registry } = await import("prom-client");
  const registry = new Registry();
  for (const { name, help, type, samples } of metrics) {
    const values = addUp(samples).map(({ labels = {}, value, suffix }) => ({
      labels,
      value,
      ...(suffix === undefined ? {} : { metricName: name + suffix }),
    }));
    const snapshot = { name, help, type, values, aggregator: "sum" };
    // A registry takes whatever has a name and can be asked; its classes hold
    // values of their own, which ours already have in shared slots.
    registry.registerMetric(
      { name, get: () => Promise.resolve(snapshot) } as never,
    );
  }
  return await registry.metrics();
}

/**
 * One value for each set of labels: two listeners that share an address, or
 * a destination that was given twice, are one series.
 */
function addUp(samples: readonly MetricSample[]): readonly MetricSample[] {
  const bySeries = new Map<string, MetricSample>();
  for (const sample of samples) {
    const { labels = {}, suffix = "" } = sample;
    const series = JSON.stringify([suffix, Object.entries(labels).sort()]);
    const same = bySeries.get(series);
    bySeries.set(
      series,
      same ? { ...same, value: same.value + sample.value } : sample,
    );
  }
  return [...bySeries.values()];
}

/** Content type of {@linkcode prometheusText}. */
export const PROMETHEUS_CONTENT_TYPE =
  "text/plain; version=0.0.4; charset=utf-8";

/**
 * Samples of a histogram from counts per bucket. `counts` has one value per
 * bound and one for the rest; bounds and sum are in the metric's unit.
 */
export function histogramSamples(
  counts: readonly number[],
  bounds: readonly number[],
  sum: number,
  labels: MetricLabels = {},
): MetricSample[] {
  const samples: MetricSample[] = [];
  let count = 0;
  for (const [i, bucket] of counts.entries()) {
    count += bucket;
    const le = i < bounds.length ? String(bounds[i]) : "+Inf";
    samples.push({
      labels: { ...labels, le },
      value: count,
      suffix: "_bucket",
    });
  }
  return [
    ...samples,
    { labels, value: sum, suffix: "_sum" },
    { labels, value: count, suffix: "_count" },
  ];
}
