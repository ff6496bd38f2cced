/** Bounds the memory of all packets that are not complete yet. Pure. */

/** A packet up to this size is held outside of the budget: each connection has that much. */
export const FREE_HELD_BYTES = 65_536;

/** Bytes that the framers of a gateway may hold together. */
export class HeldBudget {
  readonly maxBytes: number;
  #usedBytes = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /** Bytes that are held now. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Takes bytes, or returns false. */
  tryTake(bytes: number): boolean {
    if (this.#usedBytes + bytes > this.maxBytes) return false;
    this.#usedBytes += bytes;
    return true;
  }

  /** Gives bytes back. */
  give(bytes: number): void {
    this.#usedBytes -= bytes;
  }
}
