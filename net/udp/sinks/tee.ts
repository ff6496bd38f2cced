/** Tee: all data to stdout, byte for byte, beside where it goes anyway. */
import type { Log } from "../../observe/log.ts";
import { type StdoutCounter, StdoutSink, type WhenFull } from "./stdout.ts";

/** What went to stdout, and what did not. */
export type TeeStats = Record<StdoutCounter, number>;

/** Opens stdout for copies; a reader that leaves is said once and ends nothing. */
export function openTee(log: Log, whenFull: WhenFull): StdoutSink {
  return new StdoutSink({
    whenFull,
    onClosed: (reason) => log.warn(`${reason.message}; going on without tee`),
  });
}

/** A tee's figures, where there is one. */
export function teeStats(tee: StdoutSink | undefined): TeeStats | undefined {
  return tee?.stats();
}
