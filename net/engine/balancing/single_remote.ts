/** The policy of a relay: one remote, one attempt, no opinion about its health. */
import {
  type ForwardPolicy,
  NO_REMOTE,
  type PolicyRemote,
  type PolicySpec,
} from "../stream.ts";

/** Spec of {@linkcode SingleRemote}. */
export interface SingleRemoteSpec extends PolicySpec {
  readonly kind: "single";
}

/** Always the first remote, once. */
export class SingleRemote implements ForwardPolicy {
  readonly wantsClient = false;
  #remote: number = NO_REMOTE;

  setRemotes(remotes: readonly PolicyRemote[]): void {
    this.#remote = remotes[0]?.id ?? NO_REMOTE;
  }

  configure(): void {}

  admit(): boolean {
    return true;
  }

  choose(_client: string, tried: readonly number[]): number {
    return tried.length === 0 ? this.#remote : NO_REMOTE;
  }

  retryDelayMs(): number {
    return 0;
  }

  connected(): void {}

  failed(): void {}

  released(): void {}

  probeDueMs(): number {
    return Infinity;
  }

  takeProbe(): number {
    return NO_REMOTE;
  }

  probed(): void {}
}
