/**
 * Where datagrams end in bytes that lie back to back: runs of equal datagrams,
 * as the slots of a batch hold them. Pure.
 */

/** Runs of datagrams, from byte 0 on. */
export class DatagramRuns {
  /** Where each run ends. */
  readonly #ends: Int32Array;
  /** Bytes of each datagram of a run but its last one. */
  readonly #sizes: Int32Array;
  #count = 0;

  /** Makes room for so many runs. */
  constructor(capacity: number) {
    // A cut inside a datagram turns its run into two.
    this.#ends = new Int32Array(capacity + 1);
    this.#sizes = new Int32Array(capacity + 1);
  }

  /** Whether there is no room for another run. */
  get full(): boolean {
    return this.#count >= this.#ends.length - 1;
  }

  /** How many runs there are. */
  get count(): number {
    return this.#count;
  }

  /** Bytes of all runs. */
  get byteLength(): number {
    return this.#count === 0 ? 0 : this.#ends[this.#count - 1]!;
  }

  /** Adds a run of `length` bytes with datagrams of `size` bytes; one of 0 bytes is a datagram too. */
  add(length: number, size: number): void {
    this.#ends[this.#count] = this.byteLength + length;
    this.#sizes[this.#count] = size > 0 ? size : Math.max(1, length);
    this.#count++;
  }

  /** The same, but as part of the run before where their datagrams are equal. */
  join(length: number, size: number): void {
    const last = this.#count - 1;
    const start = last > 0 ? this.#ends[last - 1]! : 0;
    const before = last >= 0 ? this.#ends[last]! - start : 0;
    if (
      length > 0 && before > 0 && size === this.#sizes[last] &&
      before % size === 0
    ) this.#ends[last]! += length;
    else this.add(length, size);
  }

  /** Forgets all runs. */
  clear(): void {
    this.#count = 0;
  }

  /** How many datagrams end at or before an offset. */
  datagramsBefore(offset: number): number {
    let datagrams = 0;
    let start = 0;
    for (let i = 0; i < this.#count; i++) {
      const end = this.#ends[i]!;
      const size = this.#sizes[i]!;
      if (offset < end) {
        return datagrams + Math.max(0, Math.floor((offset - start) / size));
      }
      datagrams += Math.max(1, Math.ceil((end - start) / size));
      start = end;
    }
    return datagrams;
  }

  /** The last end of a datagram at or before an offset. */
  boundary(offset: number): number {
    let start = 0;
    for (let i = 0; i < this.#count; i++) {
      const end = this.#ends[i]!;
      const size = this.#sizes[i]!;
      if (offset < end) {
        return start + Math.max(0, Math.floor((offset - start) / size)) * size;
      }
      start = end;
    }
    return start;
  }

  /** The first end of a datagram behind an offset that is one; the offset itself at the end of all. */
  nextBoundary(offset: number): number {
    let start = 0;
    for (let i = 0; i < this.#count; i++) {
      const end = this.#ends[i]!;
      const size = this.#sizes[i]!;
      if (offset < end) {
        const inRun = Math.floor((offset - start) / size) + 1;
        return Math.min(end, start + inRun * size);
      }
      start = end;
    }
    return start;
  }

  /** Takes so many bytes from the front, datagrams of 0 bytes there too, perhaps in the middle of a datagram. */
  dropFront(bytes: number): void {
    const next = this.nextBoundary(bytes);
    const inside = bytes > this.boundary(bytes);
    let from = 0;
    while (from < this.#count && this.#ends[from]! <= bytes) from++;
    let to = 0;
    if (inside) {
      // What is left of the cut datagram has another length than its run's.
      const runEnd = this.#ends[from]!;
      const size = this.#sizes[from]!;
      if (next === runEnd) from++;
      else if (from === 0) {
        // No run before this one makes room for the new one.
        this.#ends.copyWithin(1, 0, this.#count);
        this.#sizes.copyWithin(1, 0, this.#count);
        this.#count++;
        from++;
      }
      this.#ends[to] = next - bytes;
      this.#sizes[to] = Math.min(size, next - bytes);
      to++;
    }
    for (; from < this.#count; from++, to++) {
      this.#ends[to] = this.#ends[from]! - bytes;
      this.#sizes[to] = this.#sizes[from]!;
    }
    this.#count = to;
  }
}
