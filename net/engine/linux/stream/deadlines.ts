/**
 * The deadlines of a connection: which is next, and which has passed. Pure: the
 * clock is an argument. The reactor has one entry in its wheel for each
 * connection, the next one; what puts it off meanwhile (bytes that move) leaves
 * the entry as it is, and is seen when its time is up.
 */
import { type ConnectionTable, State } from "./connection_table.ts";

/** A deadline that has passed. */
export const Passed = {
  /** None: it was put off since. */
  none: 0,
  /** The pause before the next attempt. */
  pause: 1,
  /** The time that an address has before the next joins the race. */
  headStart: 2,
  connectTimeout: 3,
  halfCloseTimeout: 4,
  idleTimeout: 5,
  lifetime: 6,
} as const;

/** When the next deadline of a connection passes; Infinity where it has none. */
export function nextDeadlineMs(table: ConnectionTable, c: number): number {
  const dial = table.dial[c];
  // The connection that a racer dials for keeps the time of both.
  if (dial && dial.parent >= 0) return Infinity;
  const { deadlines } = table.service[c]!;
  switch (table.state[c]) {
    case State.pausing:
      return dial?.retryAtMs ?? Infinity;
    case State.resolving:
    case State.connecting:
    case State.racing:
      return Math.min(
        after(table.attemptMs[c]!, deadlines.connectTimeoutMs),
        dial?.raceAtMs ?? Infinity,
      );
    case State.piped:
      return Math.min(
        after(table.movedMs[c]!, deadlines.idleTimeoutMs),
        table.halfClosed(c)
          ? after(table.movedMs[c]!, deadlines.halfCloseTimeoutMs)
          : Infinity,
        after(table.sinceMs[c]!, deadlines.lifetimeMs),
      );
  }
  return Infinity;
}

/** Which deadline of a connection has passed; one of {@linkcode Passed}. */
export function passedDeadline(
  table: ConnectionTable,
  c: number,
  nowMs: number,
): number {
  if (nextDeadlineMs(table, c) > nowMs) return Passed.none;
  const { deadlines } = table.service[c]!;
  switch (table.state[c]) {
    case State.pausing:
      return Passed.pause;
    case State.piped:
      if (
        table.halfClosed(c) &&
        after(table.movedMs[c]!, deadlines.halfCloseTimeoutMs) <= nowMs
      ) return Passed.halfCloseTimeout;
      return after(table.movedMs[c]!, deadlines.idleTimeoutMs) <= nowMs
        ? Passed.idleTimeout
        : Passed.lifetime;
  }
  return after(table.attemptMs[c]!, deadlines.connectTimeoutMs) <= nowMs
    ? Passed.connectTimeout
    : Passed.headStart;
}

/** `ms` after a time, or never where a deadline is off. */
export function after(sinceMs: number, ms: number): number {
  return ms > 0 ? sinceMs + ms : Infinity;
}
