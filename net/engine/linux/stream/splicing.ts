/**
 * When a direction goes through a pipe (splice(2)) in place of a buffer.
 *
 * A copy moves each byte twice through the cache, a splice moves pages; but it
 * is two more calls where little moves at a time. So a direction has to show
 * bulk first. The figures are measured by `deno task bench:splice`.
 */

/** What shows bulk, and how large a pipe is. */
export interface Splicing {
  /** A read of so many bytes is a full one. */
  readonly readBytes: number;
  /** So many full reads in a row show bulk. Infinity copies always. */
  readonly reads: number;
  /** Size that pipes are asked to have; a forwarder may use less of it. */
  readonly pipeBytes: number;
}

/** What is used where nobody says anything else. */
export const DEFAULT_SPLICING: Splicing = {
  readBytes: 98_304,
  reads: 3,
  pipeBytes: 1 << 20,
};
