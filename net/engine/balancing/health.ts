/**
 * Whether a remote is alive, learned from how connects to it end, and when a
 * dead one is probed. A pure state machine with the clock as an argument:
 *
 *             errorsTillDead failures in a row
 *     live ──────────────────────────────────────▶ dead
 *       ▲                                           │ probe at death + interval,
 *       └─────── a probe or a connect succeeds ─────┘ then every interval
 */

/** When a remote is dead and how often it is then probed. */
export interface HealthPolicy {
  /** Failed connects in a row after which a remote is dead; 0 is as 1. */
  readonly errorsTillDead: number;
  /** From death to the first probe, and from one probe's start to the next. */
  readonly checkIntervalMs: number;
}

/** Health of one remote. */
export class RemoteHealth {
  #live = true;
  #recentErrors = 0;
  /** When the next probe is due, where none is under way. */
  #probeDueMs = Infinity;
  /** When the probe under way began. */
  #probedAtMs = NEVER;

  /** Whether connections go there. */
  get live(): boolean {
    return this.#live;
  }

  /** Failures since the last success. */
  get recentErrors(): number {
    return this.#recentErrors;
  }

  /** When a probe is due; Infinity where it is alive or being probed. */
  get probeDueMs(): number {
    return this.#probeDueMs;
  }

  /** A connect failed. True where it has died of it. */
  failed(policy: HealthPolicy, nowMs: number): boolean {
    this.#recentErrors++;
    // A failure that began before death says nothing new about when to probe.
    if (!this.#live || this.#recentErrors < policy.errorsTillDead) return false;
    this.#live = false;
    this.#probeDueMs = nowMs + policy.checkIntervalMs;
    return true;
  }

  /** A connect succeeded. True where it has come back to life by it. */
  succeeded(): boolean {
    const recovered = !this.#live;
    this.#live = true;
    this.#recentErrors = 0;
    this.#probeDueMs = Infinity;
    this.#probedAtMs = NEVER;
    return recovered;
  }

  /** Takes a probe that is due: whoever gets true dials and calls {@linkcode probed}. */
  takeProbe(nowMs: number): boolean {
    if (nowMs < this.#probeDueMs) return false;
    this.#probeDueMs = Infinity;
    this.#probedAtMs = nowMs;
    return true;
  }

  /** The probe taken last has ended. True where the remote has come back to life. */
  probed(success: boolean, policy: HealthPolicy, nowMs: number): boolean {
    // A connect that succeeded meanwhile has settled the question.
    if (this.#probedAtMs === NEVER) return false;
    if (success) return this.succeeded();
    this.#recentErrors++;
    this.#probeDueMs = Math.max(
      nowMs,
      this.#probedAtMs + policy.checkIntervalMs,
    );
    this.#probedAtMs = NEVER;
    return false;
  }

  /** Other figures hold from now on: a probe that waits is not later than they want. */
  reconfigured(policy: HealthPolicy, nowMs: number): void {
    if (this.#probeDueMs === Infinity) return;
    this.#probeDueMs = Math.min(
      this.#probeDueMs,
      nowMs + policy.checkIntervalMs,
    );
  }
}

/** No probe is under way. */
const NEVER = -Infinity;
