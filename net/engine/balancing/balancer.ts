/**
 * Which of several remotes the next connection goes to. Pure: what is random
 * comes from a source that is given, and a pick allocates nothing.
 */
/** How connections are spread over remotes. */
export const STRATEGIES = [
  "random",
  "round-robin",
  "minimum-open-connections",
] as const;

/** One of {@linkcode STRATEGIES}. */
export type Strategy = typeof STRATEGIES[number];

/** A number from 0 up to but not 1, as `Math.random` gives. */
export type RandomSource = () => number;

/** What a pick looks at. */
export interface Candidate {
  /** Its number among the tried ones. */
  readonly id: number;
  /** Whether it may be picked. */
  readonly live: boolean;
  /** Connections open or being dialled now. */
  load(): number;
}

/** Picks remotes by one strategy. */
export class Balancer {
  /** How it picks. */
  strategy: Strategy;
  readonly #random: RandomSource;
  /** Id of the last pick, for round robin. */
  #last = NONE;
  /** Where the last pick stood, should it be gone. */
  #lastIndex = -1;
  /** Whether none is live, so that any may be picked. */
  #any = false;

  constructor(strategy: Strategy, random: RandomSource = Math.random) {
    this.strategy = strategy;
    this.#random = random;
  }

  /**
   * Index of a live candidate, or of any where none is live: to refuse everybody
   * is worse than to try; -1 where there is none at all. One that was not yet
   * tried comes before the others; when all were, the one tried longest ago is
   * tried again.
   */
  pick(candidates: readonly Candidate[], tried: readonly number[]): number {
    // The only live one is the answer of every strategy.
    let eligible = 0;
    let only = -1;
    this.#any = !candidates.some(({ live }) => live);
    for (let i = 0; i < candidates.length; i++) {
      const candidate = candidates[i]!;
      if (this.#eligible(candidate, tried)) {
        eligible++;
        only = i;
      }
    }
    const index = eligible === 0
      ? longestAgo(candidates, tried, this.#any)
      : eligible === 1
      ? only
      : this.#choose(candidates, tried, eligible);
    if (index >= 0) {
      this.#last = candidates[index]!.id;
      this.#lastIndex = index;
    }
    return index;
  }

  #eligible(candidate: Candidate, tried: readonly number[]): boolean {
    return (candidate.live || this.#any) && !tried.includes(candidate.id);
  }

  #choose(
    candidates: readonly Candidate[],
    tried: readonly number[],
    eligible: number,
  ): number {
    switch (this.strategy) {
      case "random":
        return this.#nth(
          candidates,
          tried,
          Math.floor(this.#random() * eligible),
        );
      case "round-robin":
        return this.#next(candidates, tried);
      case "minimum-open-connections":
        return this.#leastLoaded(candidates, tried);
    }
  }

  /** Where to begin: behind the last pick, around the end of the list. */
  #from(candidates: readonly Candidate[]): number {
    let from = this.#lastIndex + 1;
    if (candidates[this.#lastIndex]?.id !== this.#last) {
      // The list has changed: go on behind the last pick, or, if that is gone,
      // with the one that took its place.
      const moved = indexOf(candidates, this.#last);
      from = moved >= 0 ? moved + 1 : Math.max(0, this.#lastIndex);
    }
    return from;
  }

  /** The eligible one behind the last pick; there are at least two. */
  #next(candidates: readonly Candidate[], tried: readonly number[]): number {
    const count = candidates.length;
    let index = this.#from(candidates) % count;
    while (!this.#eligible(candidates[index]!, tried)) {
      index = (index + 1) % count;
    }
    return index;
  }

  /** The least loaded eligible one; equals take turns. */
  #leastLoaded(
    candidates: readonly Candidate[],
    tried: readonly number[],
  ): number {
    const count = candidates.length;
    const from = this.#from(candidates);
    let least = -1;
    let leastLoad = Infinity;
    for (let step = 0; step < count && leastLoad > 0; step++) {
      const index = (from + step) % count;
      const candidate = candidates[index]!;
      if (!this.#eligible(candidate, tried)) continue;
      const load = candidate.load();
      if (load < leastLoad) {
        least = index;
        leastLoad = load;
      }
    }
    return least;
  }

  #nth(
    candidates: readonly Candidate[],
    tried: readonly number[],
    nth: number,
  ): number {
    for (let i = 0; i < candidates.length; i++) {
      if (!this.#eligible(candidates[i]!, tried)) continue;
      if (nth-- === 0) return i;
    }
    return -1;
  }
}

/** No candidate has this id. */
const NONE = -1;

function indexOf(candidates: readonly Candidate[], id: number): number {
  for (let i = 0; i < candidates.length; i++) {
    if (candidates[i]!.id === id) return i;
  }
  return -1;
}

/** The live one whose last try is the longest ago; every live one was tried. */
function longestAgo(
  candidates: readonly Candidate[],
  tried: readonly number[],
  any: boolean,
): number {
  let oldest = -1;
  let oldestTry = Infinity;
  for (let i = 0; i < candidates.length; i++) {
    if (!candidates[i]!.live && !any) continue;
    const lastTry = tried.lastIndexOf(candidates[i]!.id);
    if (lastTry < oldestTry) {
      oldest = i;
      oldestTry = lastTry;
    }
  }
  return oldest;
}
