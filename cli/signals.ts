/**
 * Signals while a role runs: the first drains it, the second ends the process
 * at once; SIGHUP reloads.
 *
 * After the grace period the runner closes what is left. Whatever hangs then
 * (a system call, a Worker, a reader of stdout), the process is gone one second
 * after the grace period.
 */
import type { Log } from "../net/observe/log.ts";
import type { RunningRole } from "./command.ts";
import { errorText } from "../net/errors.ts";

/** 128 + SIGINT, as a shell reports it. */
const ENDED_BY_SIGNAL = 130;

/** The exit code of SIGHUP by default, which ends a role that does not reload. */
const ENDED_BY_SIGHUP = 129;

/** After the grace period, for closing; the rest of the second is for the last lines. */
const CLOSING_MS = 600;

/** The longest wait of a timer. */
const LONGEST_MS = 2 ** 31 - 1;

/** What the runner does with signals. */
export interface WatchedSignals {
  /** Resolves when the grace period is over; rejects where the drain failed. */
  readonly graceIsOver: Promise<void>;
  /** The role has started; it drains at once where a signal came before. */
  attach(role: RunningRole): void;
  /**
   * The role has ended. Signals stay watched to the exit, which is near: their
   * default action would turn a clean end into a killed one.
   */
  ended(): void;
}

/** Options of {@linkcode watchSignals}. */
export interface SignalOptions {
  /** Takes log lines. */
  readonly log: Log;
  /** Grace period, in seconds. */
  readonly graceSeconds: number;
  /** Ends the process: something hangs. */
  readonly onStuck: () => void;
}

/** Watches SIGINT, SIGTERM (SIGBREAK on Windows) and, for a role that reloads, SIGHUP. */
export function watchSignals(options: SignalOptions): WatchedSignals {
  const { log, graceSeconds, onStuck } = options;
  let running: RunningRole | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let first: Deno.Signal | undefined;
  let over = false;
  const graceIsOver = Promise.withResolvers<void>();
  const drain = (signal: Deno.Signal): void => {
    running?.draining?.(signal);
    running?.role.drain().catch((error) => graceIsOver.reject(error));
  };
  const expire = (): void => {
    log.warn("the grace period is over: closing what is in flight");
    if (running === undefined) onStuck();
    else graceIsOver.resolve();
  };
  const end = (signal: Deno.Signal): void => {
    if (first !== undefined) Deno.exit(ENDED_BY_SIGNAL);
    first = signal;
    if (over) {
      // The role has ended by itself, and its last lines find no reader.
      setTimeout(onStuck, CLOSING_MS);
      return;
    }
    setTimeout(
      onStuck,
      Math.min(graceSeconds * 1000 + CLOSING_MS, LONGEST_MS),
    );
    timer = setTimeout(expire, graceSeconds * 1000);
    drain(signal);
    // Who reads this line may rely on it.
    log.info("draining: a second signal ends at once", { graceSeconds });
  };
  const reload = async (): Promise<void> => {
    try {
      await running?.reload?.();
    } catch (error) {
      log.error(
        `Cannot reload: ${errorText(error)}`,
      );
    }
  };
  // From the first moment on: its default action would end a role that starts.
  let early = false;
  const hangUp = (): void => {
    if (running === undefined) early = true;
    else if (running.reload === undefined) Deno.exit(ENDED_BY_SIGHUP);
    else reload();
  };
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGHUP", hangUp);
  const terminate = Deno.build.os === "windows" ? "SIGBREAK" : "SIGTERM";
  Deno.addSignalListener("SIGINT", () => end("SIGINT"));
  Deno.addSignalListener(terminate, () => end(terminate));
  return {
    graceIsOver: graceIsOver.promise,
    attach: (role) => {
      running = role;
      if (early) hangUp();
      if (first !== undefined) drain(first);
    },
    ended: () => {
      over = true;
      clearTimeout(timer);
    },
  };
}
