/**
 * A token bucket that may go into debt: what arrived is charged, and who is in
 * debt waits before more is read. So a limit slows a client through its own
 * connection and loses nothing. Pure: the clock is an argument.
 */
export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #atMs: number;

  /** `perSecond` tokens come in; at most `burst` are kept. */
  constructor(perSecond: number, burst: number, nowMs: number) {
    this.#perMs = perSecond / 1000;
    this.#burst = burst;
    this.#tokens = burst;
    this.#atMs = nowMs;
  }

  /** Takes tokens, and returns for how many milliseconds nothing more should be taken. */
  take(count: number, nowMs: number): number {
    this.#refill(nowMs);
    this.#tokens -= count;
    return Math.max(0, Math.ceil(-this.#tokens / this.#perMs));
  }

  /** How many milliseconds until so many tokens are there; takes none. */
  excessMs(count: number, nowMs: number): number {
    this.#refill(nowMs);
    // More than the bucket holds never come together: a full one has to do.
    const missing = Math.min(count, this.#burst) - this.#tokens;
    return Math.max(0, Math.ceil(missing / this.#perMs));
  }

  /** Takes tokens only if they are there. */
  tryTake(count: number, nowMs: number): boolean {
    this.#refill(nowMs);
    if (this.#tokens < count) return false;
    this.#tokens -= count;
    return true;
  }

  /** Whether it is as full as a new one, so that nothing is lost by forgetting it. */
  isFull(nowMs: number): boolean {
    this.#refill(nowMs);
    return this.#tokens >= this.#burst;
  }

  #refill(nowMs: number): void {
    // A clock that was set back gives nothing and takes nothing.
    const passed = Math.max(0, nowMs - this.#atMs);
    this.#atMs = nowMs;
    this.#tokens = Math.min(this.#burst, this.#tokens + passed * this.#perMs);
  }
}
