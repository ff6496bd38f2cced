/** Resolves the names of destinations, again and again. */
import { type Address, isIp } from "../address.ts";
import { resolveAll } from "../engine/resolve.ts";
import { errorText } from "../errors.ts";
import type { Log } from "../observe/log.ts";
import { byPreference } from "./sinks/destination.ts";

/** A name that a service sends away after a failure is asked for again after this, in milliseconds. */
const MIN_INTERVAL_MS = 1000;

/** How long the start of a role waits for a resolver, in milliseconds. */
const FIRST_WAIT_MS = 3000;

/** One name, and what it was resolved to last. */
export class ResolvedName {
  /** IP literals, the preferred one first; none before the first answer. */
  hostnames: readonly string[] = [];
  readonly #address: Address;
  readonly #intervalMs: number;
  readonly #log: Log;
  readonly #now: () => number;
  #askedMs = -Infinity;
  #asking: Promise<boolean> | undefined;

  constructor(
    address: Address,
    intervalMs: number,
    log: Log,
    now: () => number = () => performance.now(),
  ) {
    this.#address = address;
    this.#intervalMs = intervalMs;
    this.#log = log;
    this.#now = now;
    if (isIp(address.hostname)) this.hostnames = [address.hostname];
  }

  /** The first answer, waited for a little; throws where a permission is missing. */
  async first(): Promise<void> {
    if (this.hostnames.length > 0) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, FIRST_WAIT_MS);
    });
    try {
      await Promise.race([this.#ask(), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Asks again where the interval has passed, or at once where sends fail.
   * Whether the preferred address has changed.
   */
  async refresh(failing: boolean): Promise<boolean> {
    if (isIp(this.#address.hostname)) return false;
    const sinceMs = this.#now() - this.#askedMs;
    const unresolved = this.hostnames.length === 0;
    const dueMs = failing || unresolved ? MIN_INTERVAL_MS : this.#intervalMs;
    if (sinceMs < dueMs || this.#asking !== undefined) return false;
    return await this.#ask();
  }

  #ask(): Promise<boolean> {
    this.#askedMs = this.#now();
    return this.#asking ??= this.#resolve().finally(() => {
      this.#asking = undefined;
    });
  }

  async #resolve(): Promise<boolean> {
    const { hostname } = this.#address;
    try {
      const found = byPreference(await resolveAll(this.#address));
      // Answers take turns: an address that is still one of them is kept.
      const [current] = this.hostnames;
      const kept = current !== undefined && found.includes(current);
      this.hostnames = kept
        ? [current, ...found.filter((one) => one !== current)]
        : found;
      return !kept;
    } catch (error) {
      if (isMissingPermission(error)) throw error;
      // Not yet resolved, the destination is lost, and says so itself.
      if (this.hostnames.length === 0) return false;
      this.#log.limited(
        `resolve ${hostname}`,
        "cannot resolve destination, keeping its address",
        {
          name: hostname,
          reason: errorText(error),
        },
      );
      return false;
    }
  }
}

function isMissingPermission(error: unknown): boolean {
  return error instanceof Error &&
    (error.cause instanceof Deno.errors.NotCapable ||
      error instanceof Deno.errors.NotCapable);
}
