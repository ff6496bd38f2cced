/**
 * When a direction goes through a pipe (splice(2)) in place of a buffer.
 *
 * A copy moves each byte twice through the cache, a splice moves pages; but it
 * is a call more for each message. So a direction has to show bulk first.
 * Measured on 2 shared cores in alternating turns, as rate and CPU time a byte
 * of splice beside copy (`deno task bench:splice`, and the relay itself):
 *
 * | what moves                  | rate        | CPU         |
 * | --------------------------- | ----------: | ----------: |
 * | 16 KiB there and back, 10   |       0.88x |       1.10x |
 * | 32 KiB, 10 and 64           | 0.94, 0.73x | 1.06, 1.07x |
 * | 64 KiB, 1 and 8             | 1.06, 1.06x | 0.73, 0.85x |
 * | 64 KiB, 64                  |       1.03x |       0.68x |
 * | bulk, 1 and 8               | 1.37, 1.25x | 0.60, 0.55x |
 * | bulk, 64                    |       1.33x |       0.50x |
 *
 * So a full read is 48 KiB. Three of them rather than one: on 64 connections
 * with 256 KiB there and back, one had 0.51x the rate, two 0.82x, three 1.06x.
 * A pipe of 256 KiB in place of 1 MiB was no better at any number.
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
  readBytes: 49_152,
  reads: 3,
  pipeBytes: 1 << 20,
};
