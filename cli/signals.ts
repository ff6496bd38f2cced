/** Signals while a role runs: the first ends it in order, the second at once; SIGHUP reloads. */
import type { Log } from "../net/observe/log.ts";
import type { RunningRole } from "./command.ts";

/** 128 + SIGINT, as a shell reports it. */
const ENDED_BY_SIGNAL = 130;

/** What the runner does with signals. */
export interface WatchedSignals {
  /** Resolves when the grace period of an end is over; rejects where the end failed. */
  readonly graceIsOver: Promise<void>;
  /** The role has started; it ends at once where a signal came before. */
  attach(role: RunningRole): void;
  /** Gives the signals their meaning back. */
  unwatch(): void;
}

/** Watches SIGINT, SIGTERM (SIGBREAK on Windows) and, for a role that reloads, SIGHUP. */
export function watchSignals(log: Log, graceSeconds: number): WatchedSignals {
  let running: RunningRole | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let first: Deno.Signal | undefined;
  const graceIsOver = Promise.withResolvers<void>();
  const drain = (signal: Deno.Signal): void => {
    running?.draining?.(signal);
    running?.role.drain().catch((error) => graceIsOver.reject(error));
  };
  const end = (signal: Deno.Signal): void => {
    if (first !== undefined) Deno.exit(ENDED_BY_SIGNAL);
    first = signal;
    log.info("draining: a second signal ends at once", { graceSeconds });
    timer = setTimeout(() => {
      log.warn("the grace period is over: ending with work in flight");
      if (running === undefined) Deno.exit(ENDED_BY_SIGNAL);
      graceIsOver.resolve();
    }, graceSeconds * 1000);
    drain(signal);
  };
  const reload = async (): Promise<void> => {
    try {
      await running?.reload?.();
    } catch (error) {
      log.error(
        `Cannot reload: ${error instanceof Error ? error.message : error}`,
      );
    }
  };
  const watched: [Deno.Signal, () => void][] = [];
  const watch = (signal: Deno.Signal, handler: () => void): void => {
    Deno.addSignalListener(signal, handler);
    watched.push([signal, handler]);
  };
  const terminate = Deno.build.os === "windows" ? "SIGBREAK" : "SIGTERM";
  watch("SIGINT", () => end("SIGINT"));
  watch(terminate, () => end(terminate));
  return {
    graceIsOver: graceIsOver.promise,
    attach: (role) => {
      running = role;
      if (role.reload && Deno.build.os !== "windows") watch("SIGHUP", reload);
      if (first !== undefined) drain(first);
    },
    unwatch: () => {
      clearTimeout(timer);
      for (const [signal, handler] of watched) {
        Deno.removeSignalListener(signal, handler);
      }
    },
  };
}
