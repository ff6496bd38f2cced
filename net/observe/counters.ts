/**
 * Counters as slots of a typed array over shared memory: counting costs an
 * increment, and whoever shows them reads without a message. A slot has one
 * writer, so no atomic operation is needed; a reader may be one turn behind.
 */

/** Named slots over shared memory. */
export class CounterBlock<Name extends string> {
  /** The names, in the order of the slots. */
  readonly names: readonly Name[];
  /** The values: a writer adds to `slots[index]`. Exact to 2^53. */
  readonly slots: Float64Array<SharedArrayBuffer>;

  /** New slots, or those of a buffer that another thread shares. */
  constructor(names: readonly Name[], buffer?: SharedArrayBuffer) {
    this.names = names;
    this.slots = new Float64Array(
      buffer ?? new SharedArrayBuffer(8 * names.length),
    );
  }

  /** The memory, to give to another thread. */
  get buffer(): SharedArrayBuffer {
    return this.slots.buffer;
  }

  /** The values by name, now. */
  read(): Record<Name, number> {
    const values = {} as Record<Name, number>;
    for (const [i, name] of this.names.entries()) values[name] = this.slots[i]!;
    return values;
  }
}
