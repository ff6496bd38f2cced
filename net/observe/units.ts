/** Numbers as people read them, and back. Decimal units, as networks use them. */
import { UsageError } from "../errors.ts";

const PREFIXES = ["", "k", "M", "G", "T"] as const;

/** `1536000` as `1.54 MB`; whole below 1000. */
export function formatBytes(bytes: number): string {
  return `${scaled(bytes)}B`;
}

/** Bits per second of bytes in a time: `1.25 Gbit/s`. */
export function formatRate(bytes: number, ms: number): string {
  return `${scaled(ms > 0 ? bytes * 8000 / ms : 0)}bit/s`;
}

/** `1234567` as `1 234 567`. */
export function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, " ");
}

/** Milliseconds as `0.4 s`, `12.0 s`, `3 min 5 s`. */
export function formatDuration(ms: number): string {
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

function scaled(value: number): string {
  let prefix = 0;
  while (value >= 999.5 && prefix < PREFIXES.length - 1) {
    value /= 1000;
    prefix++;
  }
  const digits = prefix === 0 && Number.isInteger(value)
    ? 0
    // Not 10 and 100: what rounds up to them has a figure more before the point.
    : value < 9.995
    ? 2
    : value < 99.95
    ? 1
    : 0;
  return `${value.toFixed(digits)} ${PREFIXES[prefix]}`;
}

/**
 * `64M`, `1.5G`, `512k`, `4096`: a number with a decimal prefix, or a binary
 * one (`Ki`, `Mi`, `Gi`). A `B` or `bit/s` behind it is passed over. Throws a
 * UsageError for another text.
 */
export function parseScaled(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(?:([kKMGT])(i?))?(?:B|bit\/s|bps)?$/.exec(
    text.trim(),
  );
  if (!match) {
    throw new UsageError(
      `"${text}" is not a number with a unit such as 64k, 500M or 4Mi`,
    );
  }
  const [, digits, prefix = "", binary] = match;
  const power = ["", "K", "M", "G", "T"].indexOf(prefix.toUpperCase());
  return Math.round(Number(digits) * (binary ? 1024 : 1000) ** power);
}
