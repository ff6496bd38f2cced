/** What a started role gives back. */

/** A running role. */
export interface RoleHandle<Stats> extends AsyncDisposable {
  /** Resolves when it has ended in order; rejects where it failed. */
  readonly finished: Promise<void>;
  /** Its figures now. */
  stats(): Stats;
  /** Whether all its sockets are open and every required feed is alive, or what is missing. */
  ready(): true | string;
  /** Takes nothing new, ends what is in flight; resolves when it has ended. */
  drain(): Promise<void>;
}

/** The parts of a handle that differ from role to role. */
export interface RoleParts<Stats> {
  finished: Promise<void>;
  stats(): Stats;
  /** Default: it is ready. */
  ready?(): true | string;
  /** Begins an end in order. */
  stop(): void;
  /** Ends at once what an end in order would wait for. */
  abort?(): void;
}

/** Makes a handle of a role's parts; an aborted signal drains it. */
export function endOnAbort<Stats>(
  signal: AbortSignal | undefined,
  { finished, stats, ready = () => true, stop, abort }: RoleParts<Stats>,
): RoleHandle<Stats> {
  // Whoever awaits `finished` sees a failure; it is no unhandled one otherwise.
  finished.catch(() => {});
  if (signal?.aborted) stop();
  else if (signal) {
    signal.addEventListener("abort", stop, { once: true });
    finished.finally(() => signal.removeEventListener("abort", stop)).catch(
      () => {},
    );
  }
  return {
    finished,
    stats,
    ready,
    drain: () => {
      stop();
      return finished;
    },
    [Symbol.asyncDispose]: async () => {
      stop();
      abort?.();
      await finished.catch(() => {});
    },
  };
}

/** The first thing that is missing, or true. */
export function firstMissing(
  ...parts: ({ ready(): true | string } | undefined)[]
): true | string {
  for (const part of parts) {
    const state = part?.ready() ?? true;
    if (state !== true) return state;
  }
  return true;
}
