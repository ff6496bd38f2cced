/** The end of the process: its exit code, and what nobody caught before. */
import { flushAllLines } from "../net/line_writer.ts";
import { capText } from "../net/line_text.ts";
import type { Log } from "../net/observe/log.ts";

/** How long the end waits for a stderr or a log file that takes nothing. */
const FLUSH_MS = 1000;

/** Maximum bytes of the stack in a log line. */
const STACK_BYTES = 2000;

/**
 * Ends the process once stderr and log files have taken what waits, or after a
 * deadline.
 * Nothing else may end it: a write that hangs keeps the event loop alive.
 */
export async function exitProcess(
  code: number,
  flushMs: number = FLUSH_MS,
): Promise<never> {
  await flushAllLines(flushMs);
  Deno.exit(code);
}

/** Errors that nobody caught. */
export interface UncaughtErrors extends Disposable {
  /** How many there were. */
  readonly count: number;
}

/**
 * Logs errors and rejections that nobody caught, with their place. The process
 * goes on where `survives` answers true, and ends with 1 elsewhere: one broken
 * session must not end the others, and no end is silent.
 */
export function catchUncaught(
  log: () => Log,
  survives: () => boolean,
): UncaughtErrors {
  let count = 0;
  const caught = (error: unknown, isFatal: boolean): void => {
    count++;
    const { text, at, stack } = describe(error);
    log().limited(`uncaught ${text} ${at}`, `internal error: ${text}`, {
      at,
      stack,
    }, "error");
    if (isFatal || !survives()) void exitProcess(1);
  };
  const onError = (event: ErrorEvent): void => {
    event.preventDefault();
    // A Worker that died has no error object here. It took its sockets with it:
    // going on would be a process that serves nobody.
    const isWorker = (event.error ?? undefined) === undefined;
    caught(isWorker ? event.message : event.error, isWorker);
  };
  const onRejection = (event: PromiseRejectionEvent): void => {
    event.preventDefault();
    caught(event.reason, false);
  };
  globalThis.addEventListener("error", onError);
  globalThis.addEventListener("unhandledrejection", onRejection);
  return {
    get count() {
      return count;
    },
    [Symbol.dispose]: () => {
      globalThis.removeEventListener("error", onError);
      globalThis.removeEventListener("unhandledrejection", onRejection);
    },
  };
}

/** What an error says, where it was thrown, and the way there. */
function describe(
  error: unknown,
): { text: string; at: string | undefined; stack: string | undefined } {
  if (!(error instanceof Error)) {
    return { text: String(error), at: undefined, stack: undefined };
  }
  const frames = (error.stack ?? "").split("\n")
    .map((line) => /^\s+at (.*)$/.exec(line)?.[1])
    .filter((frame) => frame !== undefined);
  const places = frames.map((frame) =>
    /([^/()\s]+:\d+:\d+)\)?$/.exec(frame)?.[1] ?? frame
  );
  return {
    text: `${error.name}: ${error.message}`,
    at: places[0],
    stack: places.length > 1
      ? capText(places.join(" < "), STACK_BYTES)
      : undefined,
  };
}
