/**
 * Pacing as a token bucket. Pure: the clock is an argument.
 *
 * Bytes may go when the bucket holds as many; it fills at the rate. It holds
 * little, so that a sender that woke late does not catch up by more than a
 * receiver survives: a default receive queue of 212 992 bytes takes 93
 * datagrams of 1400 bytes.
 */

/** How long one burst takes at the rate, in milliseconds; timers are no finer. */
const BURST_MS = 1;

/** How late a wake-up may be made good, in milliseconds. */
const LATE_MS = 10;

/** Most bytes in a row: half of a default receive queue, as the kernel counts it. */
const MOST_DEPTH_BYTES = 64 * 1024;

/** Most bytes of one burst: half of that, so that a late wake-up can be made good at fast rates too. */
const MOST_BURST_BYTES = MOST_DEPTH_BYTES / 2;

/** Decides when the next bytes may go. */
export class Pacer {
  readonly #bytesPerMs: number;
  readonly #burstBytes: number;
  readonly #depthBytes: number;
  #credit: number;
  #last: number;

  /**
   * @param bitsPerSecond The rate.
   * @param datagramBytes Bytes of a full datagram; a burst is at least one.
   * @param nowMs The clock now, in milliseconds.
   */
  constructor(bitsPerSecond: number, datagramBytes: number, nowMs: number) {
    this.#bytesPerMs = bitsPerSecond / 8000;
    const burst = Math.min(BURST_MS * this.#bytesPerMs, MOST_BURST_BYTES);
    this.#burstBytes = Math.max(1, Math.floor(burst / datagramBytes)) *
      datagramBytes;
    this.#depthBytes = Math.max(
      this.#burstBytes,
      Math.min(LATE_MS * this.#bytesPerMs, MOST_DEPTH_BYTES),
    );
    this.#credit = this.#burstBytes;
    this.#last = nowMs;
  }

  /** Most bytes to hand to the kernel at once: whole datagrams, at least one. */
  get burstBytes(): number {
    return this.#burstBytes;
  }

  /** How late a wake-up may be and is still made good, in milliseconds. */
  get catchUpMs(): number {
    return this.#depthBytes / this.#bytesPerMs;
  }

  /** Milliseconds until `bytes` may go; 0 is now. */
  delayMs(bytes: number, nowMs: number): number {
    const elapsed = Math.max(0, nowMs - this.#last);
    this.#last = nowMs;
    this.#credit = Math.min(
      this.#depthBytes,
      this.#credit + elapsed * this.#bytesPerMs,
    );
    const missing = Math.min(bytes, this.#depthBytes) - this.#credit;
    // A rest of less than a byte is a rounding error of the sum above.
    return missing < 1 ? 0 : missing / this.#bytesPerMs;
  }

  /** Takes out what was sent. */
  sent(bytes: number): void {
    this.#credit -= bytes;
  }
}
