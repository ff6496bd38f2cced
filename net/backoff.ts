/** How long to wait before the next try. Pure: chance is an argument. */

/** Bounds of a back-off. */
export interface BackoffOptions {
  /** Wait before the first try again, in milliseconds. */
  firstMs: number;
  /** Longest wait, in milliseconds. */
  mostMs: number;
}

/**
 * Doubles from `firstMs` to `mostMs`, less up to a half by chance, so that many
 * clients of a peer that comes back do not come at once.
 *
 * @param failures Tries that failed in a row, from 1.
 * @param chance From 0 to 1.
 */
export function backoffMs(
  failures: number,
  chance: number,
  { firstMs, mostMs }: BackoffOptions,
): number {
  const most = Math.min(mostMs, firstMs * 2 ** Math.min(failures - 1, 30));
  return most * (1 - chance / 2);
}
