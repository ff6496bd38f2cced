/**
 * Which of several remotes the next connection goes to. Pure: what is random
 * comes from a source that is given, and a pick allocates nothing.
 */
import type { Strategy } from "./spec.ts";

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

  constructor(strategy: Strategy, random: RandomSource = Math.random) {
    this.strategy = strategy;
    this.#random = random;
  }

  /**
   * Index of a live candidate, or -1 where there is none. One that was not yet
   * tried comes before the others; when all were, the one tried longest ago is
   * tried again.
   */
  pick(candidates: readonly Candidate[], tried: readonly number[]): number {
    // The only live one is the answer of every strategy.
    let eligible = 0;
    let only = -1;
    for (let i = 0; i < candidates.length; i++) {
      const candidate = candidates[i]!;
      if (candidate.live && !tried.includes(candidate.id)) {
        eligible++;
        only = i;
      }
    }
    const index = eligible === 0
      ? longestAgo(candidates, tried)
      : eligible === 1
      ? only
      : this.#choose(candidates, tried, eligible);
    if (index >= 0) {
      this.#last = candidates[index]!.id;
      this.#lastIndex = index;
    }
    return index;
  }

  #choose(
    candidates: readonly Candidate[],
    tried: readonly number[],
    eligible: number,
  ): number {
    switch (this.strategy) {
      case "random":
        return nthEligible(
          candidates,
          tried,
          Math.floor(this.#random() * eligible),
        );
      case "round-robin":
        return this.#next(candidates, tried);
      case "minimum-open-connections":
        return leastLoaded(candidates, tried);
    }
  }

  /** The eligible one behind the last pick, around the end of the list. */
  #next(candidates: readonly Candidate[], tried: readonly number[]): number {
    const count = candidates.length;
    let from = this.#lastIndex + 1;
    if (candidates[this.#lastIndex]?.id !== this.#last) {
      // The list has changed: go on behind the last pick, or, if that is gone,
      // with the one that took its place.
      const moved = indexOf(candidates, this.#last);
      from = moved >= 0 ? moved + 1 : Math.max(0, this.#lastIndex);
    }
    for (let step = 0; step < count; step++) {
      const index = (from + step) % count;
      const candidate = candidates[index]!;
      if (candidate.live && !tried.includes(candidate.id)) return index;
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

function nthEligible(
  candidates: readonly Candidate[],
  tried: readonly number[],
  nth: number,
): number {
  for (let i = 0; i < candidates.length; i++) {
    const candidate = candidates[i]!;
    if (!candidate.live || tried.includes(candidate.id)) continue;
    if (nth-- === 0) return i;
  }
  return -1;
}

/** The least loaded eligible one; of equals the first. */
function leastLoaded(
  candidates: readonly Candidate[],
  tried: readonly number[],
): number {
  let least = -1;
  let leastLoad = Infinity;
  for (let i = 0; i < candidates.length && leastLoad > 0; i++) {
    const candidate = candidates[i]!;
    if (!candidate.live || tried.includes(candidate.id)) continue;
    const load = candidate.load();
    if (load < leastLoad) {
      least = i;
      leastLoad = load;
    }
  }
  return least;
}

/** The live one whose last try is the longest ago; every live one was tried. */
function longestAgo(
  candidates: readonly Candidate[],
  tried: readonly number[],
): number {
  let oldest = -1;
  let oldestTry = Infinity;
  for (let i = 0; i < candidates.length; i++) {
    if (!candidates[i]!.live) continue;
    const lastTry = tried.lastIndexOf(candidates[i]!.id);
    if (lastTry < oldestTry) {
      oldest = i;
      oldestTry = lastTry;
    }
  }
  return oldest;
}
