/** Signals while a role runs: the first ends it in order, the second at once; SIGHUP reloads. */
import type { Log } from "../net/observe/log.ts";
import type { RunningRole } from "./command.ts";
import { errorText } from "../net/errors.ts";

/** 128 + SIGINT, as a shell reports it. */
const ENDED_BY_SIGNAL = 130;

/** What the runner does with signals. */
export interface WatchedSignals {
  /** Resolves when the grace period of an end is over; rejects where the end failed. */
  readonly graceIsOver: Promise<void>;
  /** The role has started; it ends at once where a signal came before. */
  attach(role: RunningRole): void;
  /**
   * The role has ended. Signals stay watched to the exit, which is near: their
   * own meaning would turn a clean end into a killed one.
   */
  ended(): void;
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
  let over = false;
  const end = (signal: Deno.Signal): void => {
    if (over) return;
    if (first !== undefined) Deno.exit(ENDED_BY_SIGNAL);
    first = signal;
    timer = setTimeout(() => {
      log.warn("the grace period is over: ending with work in flight");
      if (running === undefined) Deno.exit(ENDED_BY_SIGNAL);
      graceIsOver.resolve();
    }, graceSeconds * 1000);
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
  const terminate = Deno.build.os === "windows" ? "SIGBREAK" : "SIGTERM";
  Deno.addSignalListener("SIGINT", () => end("SIGINT"));
  Deno.addSignalListener(terminate, () => end(terminate));
  return {
    graceIsOver: graceIsOver.promise,
    attach: (role) => {
      running = role;
      if (role.reload && Deno.build.os !== "windows") {
        Deno.addSignalListener("SIGHUP", reload);
      }
      if (first !== undefined) drain(first);
    },
    ended: () => {
      over = true;
      clearTimeout(timer);
    },
  };
}
