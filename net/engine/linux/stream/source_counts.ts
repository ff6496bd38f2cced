/**
 * Clients by source, counted over all reactors of a forwarder in shared memory.
 * A source is an IPv4 address or the first 64 bits of an IPv6 address, of which
 * a host chooses the others freely (RFC 4291, 2.5.1).
 *
 * An open-addressed table of 32-bit words under one lock, which is held for a
 * few loads and stores: nothing in it can wait or throw.
 */

/** Sources that fit; three quarters of the places are used at most. */
const PLACES = 1 << 17;
const MAX_USED = PLACES / 4 * 3;

/** Words before the places: the lock, and the places in use. */
const LOCK = 0;
const USED = 1;
const HEAD_WORDS = 2;

/** Words of a place: two of the source, its family, and its clients. */
const HIGH = 0;
const LOW = 1;
const FAMILY = 2;
const COUNT = 3;
const PLACE_WORDS = 4;

const IPV4 = 4;
const IPV6 = 6;

/** Memory for the counts of a forwarder. */
export function sourceCountsBuffer(): SharedArrayBuffer {
  return new SharedArrayBuffer(4 * (HEAD_WORDS + PLACES * PLACE_WORDS));
}

/** Counts of one reactor's view; all views of a buffer are one table. */
export class SourceCounts {
  readonly #words: Int32Array;
  #high = 0;
  #low = 0;
  #family = 0;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  /**
   * Counts a client whose `struct sockaddr` is at an index; false where its
   * source has `max` already, or where there are too many sources to count.
   */
  enter(sockaddr: Uint8Array, at: number, max: number): boolean {
    this.#read(sockaddr, at);
    const words = this.#words;
    this.#lock();
    const place = this.#find();
    const count = words[place + COUNT]!;
    const allowed = count < max && (count > 0 || words[USED]! < MAX_USED);
    if (allowed) {
      words[place + HIGH] = this.#high;
      words[place + LOW] = this.#low;
      words[place + FAMILY] = this.#family;
      words[place + COUNT] = count + 1;
      if (count === 0) words[USED]!++;
    }
    this.#unlock();
    return allowed;
  }

  /** A client that was counted is gone. */
  leave(sockaddr: Uint8Array, at: number): void {
    this.#read(sockaddr, at);
    const words = this.#words;
    this.#lock();
    const place = this.#find();
    if (words[place + COUNT]! > 0 && --words[place + COUNT]! === 0) {
      words[USED]!--;
      this.#close(place);
    }
    this.#unlock();
  }

  /** Sources that have clients. */
  get size(): number {
    return Atomics.load(this.#words, USED);
  }

  #read(bytes: Uint8Array, at: number): void {
    const family = bytes[at]! | bytes[at + 1]! << 8;
    this.#family = IPV4;
    this.#high = 0;
    if (family === AF_INET) {
      this.#low = word(bytes, at + 4);
      return;
    }
    const high = word(bytes, at + 8);
    const low = word(bytes, at + 12);
    // ::ffff:0:0/96 is an IPv4 client of a socket for both (RFC 4291, 2.5.5.2).
    if (high === 0 && low === 0 && word(bytes, at + 16) === 0xffff) {
      this.#low = word(bytes, at + 20);
      return;
    }
    this.#family = IPV6;
    this.#high = high;
    this.#low = low;
  }

  #lock(): void {
    while (Atomics.compareExchange(this.#words, LOCK, 0, 1) !== 0) {
      // Another reactor is in it for less than a microsecond.
    }
  }

  #unlock(): void {
    Atomics.store(this.#words, LOCK, 0);
  }

  /** The place of the source, or the free one where it belongs. */
  #find(): number {
    const words = this.#words;
    for (
      let i = slotOf(this.#high, this.#low, this.#family);;
      i = i + 1 & PLACES - 1
    ) {
      const place = HEAD_WORDS + i * PLACE_WORDS;
      if (words[place + COUNT] === 0) return place;
      if (
        words[place + LOW] === this.#low &&
        words[place + HIGH] === this.#high &&
        words[place + FAMILY] === this.#family
      ) return place;
    }
  }

  /** Moves what stands behind a freed place up, so that searches still meet it. */
  #close(freed: number): void {
    const words = this.#words;
    let hole = (freed - HEAD_WORDS) / PLACE_WORDS;
    for (let i = hole + 1 & PLACES - 1;; i = i + 1 & PLACES - 1) {
      const place = HEAD_WORDS + i * PLACE_WORDS;
      if (words[place + COUNT] === 0) return;
      const home = slotOf(
        words[place + HIGH]!,
        words[place + LOW]!,
        words[place + FAMILY]!,
      );
      // It may move where its home is not between the hole and itself.
      if ((i - home & PLACES - 1) < (i - hole & PLACES - 1)) continue;
      words.copyWithin(
        HEAD_WORDS + hole * PLACE_WORDS,
        place,
        place + PLACE_WORDS,
      );
      words[place + COUNT] = 0;
      hole = i;
    }
  }
}

/** AF_INET of <bits/socket.h>. */
const AF_INET = 2;

function word(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 |
    bytes[at + 3]!;
}

function slotOf(high: number, low: number, family: number): number {
  let hash = Math.imul(high ^ family, 0x9e3779b1) ^ low;
  hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
  hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
  return (hash ^ hash >>> 16) & PLACES - 1;
}
