/**
 * A load test as a picture: requests per second (a bar per scenario, or the
 * course over time of the only one) above latency by percentile, both with
 * their figures. SVG 1.1 without scripts or outside fonts. Pure.
 */
import { type Address, formatAddress } from "../address.ts";
import type { LoadResult } from "./load_test.ts";
import {
  cutName,
  errorPercent,
  formatLatency,
  formatMessageSize,
  requestsPerSecond,
} from "./report.ts";

const WIDTH = 960;
const LEFT = 220;
const RIGHT = 40;
const PLOT_WIDTH = WIDTH - LEFT - RIGHT;
const BAR_HEIGHT = 22;
const COURSE_HEIGHT = 200;
const LATENCY_HEIGHT = 320;
const LEGEND_ROW = 20;

/** Colours that stay apart for colour-blind eyes (Okabe and Ito), used in turn. */
const COLOURS = [
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#cc79a7",
  "#56b4e9",
  "#e69f00",
  "#000000",
] as const;

/** Percentiles on the axis; equal steps of nines, so that the tail has room. */
const AXIS_PERCENTILES = [0, 50, 90, 99, 99.9, 99.99];

/** The picture of results, as an SVG document. */
export function loadChart(
  target: Address,
  results: readonly LoadResult[],
): string {
  const [only] = results;
  const upper = results.length === 1
    ? coursePanel(only!, 80)
    : barsPanel(results, 80);
  const lower = latencyPanel(results, upper.bottom + 50);
  const height = lower.bottom + 20;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#222">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    text(LEFT, 30, `Load test of ${formatAddress(target)}`, {
      size: 18,
      weight: "bold",
    }),
    text(LEFT, 48, subtitle(results), { fill: "#666" }),
    ...upper.parts,
    ...lower.parts,
    "</svg>",
    "",
  ].join("\n");
}

function subtitle(results: readonly LoadResult[]): string {
  const [first] = results;
  if (!first) return "no results";
  const loop = first.ratePerSecond === undefined
    ? "closed loop: each connection sends after its last answer"
    : `open loop: ${first.ratePerSecond} requests per second, latency from when a request was due`;
  if (results.length > 1) return loop;
  const { connections, messageBytes } = first.scenario;
  return `${connections} connections, ${
    formatMessageSize(messageBytes)
  } messages, ${(first.durationMs / 1000).toFixed(1)} s; ${loop}`;
}

interface Panel {
  parts: string[];
  bottom: number;
}

function barsPanel(results: readonly LoadResult[], top: number): Panel {
  const most = Math.max(1, ...results.map(requestsPerSecond));
  const parts = [heading(top, "Requests per second")];
  let y = top + 14;
  for (const [i, result] of results.entries()) {
    const rate = requestsPerSecond(result);
    // Room for the figure behind the longest bar.
    const length = rate / most * (PLOT_WIDTH - 130);
    const errors = errorPercent(result);
    parts.push(
      text(LEFT - 8, y + 15, scenarioLabel(result), { anchor: "end" }),
      `<rect x="${LEFT}" y="${y + 2}" width="${round(length)}" height="${
        BAR_HEIGHT - 4
      }" fill="${colour(i)}"/>`,
      text(
        LEFT + length + 6,
        y + 15,
        `${rate.toFixed(0)}${
          errors > 0 ? ` (${errors.toFixed(1)}% errors)` : ""
        }`,
        {},
      ),
    );
    y += BAR_HEIGHT;
  }
  return { parts, bottom: y };
}

function coursePanel(result: LoadResult, top: number): Panel {
  const { course, intervalMs, durationMs } = result;
  const plotTop = top + 14;
  const bottom = plotTop + COURSE_HEIGHT;
  const rates = course.map((count, i) => {
    // The last interval may be cut short by the end.
    const ms = Math.min(intervalMs, durationMs - i * intervalMs);
    return ms > intervalMs / 10 ? count * 1000 / ms : undefined;
  }).filter((rate) => rate !== undefined);
  const most = niceCeiling(Math.max(1, ...rates));
  const seconds = Math.max(durationMs / 1000, 0.001);
  const x = (i: number) =>
    LEFT + Math.min(1, i * intervalMs / 1000 / seconds) * PLOT_WIDTH;
  const y = (rate: number) => bottom - rate / most * COURSE_HEIGHT;
  const parts = [
    heading(
      top,
      `Requests per second: ${
        requestsPerSecond(result).toFixed(0)
      } on average, ${errorPercent(result).toFixed(2)}% errors`,
    ),
  ];
  for (let step = 0; step <= 4; step++) {
    const rate = most * step / 4;
    parts.push(
      gridLine(LEFT, y(rate), LEFT + PLOT_WIDTH, y(rate)),
      text(LEFT - 8, y(rate) + 4, shortNumber(rate), { anchor: "end" }),
    );
  }
  for (let step = 0; step <= 5; step++) {
    const at = LEFT + PLOT_WIDTH * step / 5;
    parts.push(
      text(at, bottom + 16, `${shortNumber(seconds * step / 5)} s`, {
        anchor: "middle",
      }),
    );
  }
  const steps = rates.flatMap((rate, i) => [
    `${round(x(i))},${round(y(rate))}`,
    `${round(x(i + 1))},${round(y(rate))}`,
  ]);
  parts.push(polyline(steps, colour(0)));
  return { parts, bottom: bottom + 16 };
}

function latencyPanel(results: readonly LoadResult[], top: number): Panel {
  const plotTop = top + 14;
  const bottom = plotTop + LATENCY_HEIGHT;
  const parts = [heading(top, "Latency by percentile")];
  const curves = results.map((result) => percentileCurve(result));
  const values = curves.flat().map(({ ms }) => ms).filter((ms) => ms > 0);
  const low = 10 ** Math.floor(Math.log10(Math.min(1, ...values)));
  const high = 10 ** Math.ceil(Math.log10(Math.max(low * 10, ...values)));
  const y = (ms: number) =>
    bottom -
    Math.log10(Math.max(ms, low) / low) / Math.log10(high / low) *
      LATENCY_HEIGHT;
  for (let ms = low; ms <= high * 1.001; ms *= 10) {
    parts.push(
      gridLine(LEFT, y(ms), LEFT + PLOT_WIDTH, y(ms)),
      text(LEFT - 8, y(ms) + 4, axisLatency(ms), { anchor: "end" }),
    );
  }
  for (const percent of AXIS_PERCENTILES) {
    const x = percentX(percent);
    parts.push(
      gridLine(x, plotTop, x, bottom),
      text(x, bottom + 16, percent === 0 ? "min" : `p${percent}`, {
        anchor: "middle",
      }),
    );
  }
  let legend = bottom + 44;
  for (const [i, result] of results.entries()) {
    const points = curves[i]!.map(({ percent, ms }) =>
      `${round(percentX(percent))},${round(y(ms))}`
    );
    const { latency } = result;
    const figures = [50, 95, 99].map((percent) =>
      `p${percent} ${formatLatency(latency.percentile(percent))}`
    );
    parts.push(
      polyline(points, colour(i)),
      `<line x1="${LEFT}" y1="${legend - 4}" x2="${LEFT + 24}" y2="${
        legend - 4
      }" stroke="${colour(i)}" stroke-width="3"/>`,
      text(
        LEFT + 32,
        legend,
        `${scenarioLabel(result)}: ${figures.join(", ")}, max ${
          formatLatency(latency.max)
        }`,
        {},
      ),
    );
    legend += LEGEND_ROW;
  }
  return { parts, bottom: legend - LEGEND_ROW };
}

/** Points of a curve, no further into the tail than there are values. */
function percentileCurve({ latency }: LoadResult) {
  const points: { percent: number; ms: number }[] = [];
  if (latency.count === 0) return points;
  const last = AXIS_PERCENTILES.at(-1)!;
  for (let nines = 0; nines <= 4.001; nines += 0.05) {
    const percent = Math.min(last, 100 * (1 - 10 ** -nines));
    if (100 - percent < 100 / latency.count / 1.001) break;
    points.push({ percent, ms: latency.percentile(percent) });
  }
  return points;
}

function percentX(percent: number): number {
  const nines = -Math.log10(1 - percent / 100);
  return LEFT + nines / 4 * PLOT_WIDTH;
}

function scenarioLabel({ scenario }: LoadResult): string {
  const { name, connections, messageBytes } = scenario;
  return name === ""
    ? `${connections} x ${formatMessageSize(messageBytes)}`
    : `${cutName(name)} ${connections}x${formatMessageSize(messageBytes)}`;
}

function axisLatency(ms: number): string {
  if (ms >= 1000) return `${shortNumber(ms / 1000)} s`;
  if (ms >= 1) return `${shortNumber(ms)} ms`;
  return `${shortNumber(ms * 1000)} us`;
}

/** The next of 1, 2, 5 times a power of ten. */
function niceCeiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power)
    .find((nice) => nice >= value)!;
}

function shortNumber(value: number): string {
  if (value >= 10_000) return `${Number((value / 1000).toFixed(1))}k`;
  return String(Number(value.toPrecision(3)));
}

function colour(index: number): string {
  return COLOURS[index % COLOURS.length]!;
}

function heading(y: number, title: string): string {
  return text(LEFT, y, title, { size: 14, weight: "bold" });
}

function text(
  x: number,
  y: number,
  content: string,
  style: { anchor?: string; size?: number; weight?: string; fill?: string },
): string {
  const { anchor, size, weight, fill } = style;
  const attributes = [
    ...(anchor ? [`text-anchor="${anchor}"`] : []),
    ...(size ? [`font-size="${size}"`] : []),
    ...(weight ? [`font-weight="${weight}"`] : []),
    ...(fill ? [`fill="${fill}"`] : []),
  ].map((attribute) => ` ${attribute}`).join("");
  return `<text x="${round(x)}" y="${round(y)}"${attributes}>${
    escapeXml(content)
  }</text>`;
}

function gridLine(x1: number, y1: number, x2: number, y2: number): string {
  return `<line x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${
    round(y2)
  }" stroke="#ddd"/>`;
}

function polyline(points: readonly string[], stroke: string): string {
  return `<polyline points="${
    points.join(" ")
  }" fill="none" stroke="${stroke}" stroke-width="2"/>`;
}

function escapeXml(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;").replaceAll('"', "&quot;")
    // XML 1.0 allows no other control characters at all.
    // deno-lint-ignore no-control-regex
    .replace(/[\x00-\x08\x0b\x0c\x0e-\x1f]/g, "?");
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
