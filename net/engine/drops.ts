/** How many datagrams the kernel has dropped of what came to a socket. Pure. */

/** Most datagrams of one joined read: UDP_MAX_SEGMENTS of <linux/udp.h>. */
const MAX_SEGMENTS = 128;

/** Sums a 32-bit counter of the kernel that starts again at 0. */
export class WrappingCount {
  /** The sum. */
  total = 0;
  #last = 0;

  /** Takes the counter's value. */
  set(value: number): void {
    this.total += (value - this.#last) >>> 0;
    this.#last = value >>> 0;
  }
}

/** What is known at one moment, in this order of reading. */
export interface Arrived {
  /** Reads that the kernel dropped: the socket's drop count. */
  droppedReads: number;
  /** Reads that arrived. */
  reads: number;
  /** Datagrams that arrived. */
  datagrams: number;
  /** Reads that were received. */
  receivedReads: number;
  /** Datagrams that were received. */
  receivedDatagrams: number;
}

/**
 * Dropped datagrams of a socket with joined reads.
 *
 * Reads that arrived and were neither received nor dropped are queued. With
 * none queued the answer is exact: what arrived and was not received. The drop
 * count must be read before the arrivals: a drop between the two then looks
 * like a queued read, so that an exact answer is never given too early. With
 * some queued the answer is the least that it can be.
 */
export class JoinedDrops {
  /** Dropped datagrams; never falls. */
  dropped = 0;
  /** Whether the last answer was exact. */
  exact = true;
  /** Dropped reads and datagrams when the answer was exact last. */
  #exactReads = 0;
  #exactDatagrams = 0;
  /** Datagrams that were counted as dropped and not as arrived: a wrong checksum. */
  #corrupted = 0;

  /** The count at a moment. */
  update(now: Arrived): number {
    let queued = now.reads + this.#corrupted - now.receivedReads -
      now.droppedReads;
    if (queued < 0) {
      // The checksum is verified before the filter sees a datagram.
      this.#corrupted -= queued;
      queued = 0;
    }
    const missing = now.datagrams + this.#corrupted - now.receivedDatagrams;
    this.exact = queued === 0;
    if (this.exact) {
      this.#exactReads = now.droppedReads;
      this.#exactDatagrams = missing;
    }
    const least = Math.max(
      this.#exactDatagrams + now.droppedReads - this.#exactReads,
      missing - queued * MAX_SEGMENTS,
    );
    return this.dropped = Math.max(this.dropped, least);
  }
}
