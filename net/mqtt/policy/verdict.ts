/** What ways to authenticate say, and a memory of it. */
import { createHash } from "node:crypto";

/** Credentials of a CONNECT. */
export interface Credentials {
  readonly clientId: string;
  readonly username: string | undefined;
  readonly password: Uint8Array | undefined;
  readonly commonName: string | undefined;
  readonly remote: string;
  readonly listener: string;
  readonly version: 3 | 4 | 5;
}

/** What one way to authenticate says. */
export type Verdict =
  | {
    readonly kind: "allow";
    /** The name that counts from then on, where it is not that of the CONNECT. */
    readonly username?: string | undefined;
    /** When it ends, in milliseconds since 1970. */
    readonly expiresMs?: number | undefined;
  }
  | {
    readonly kind: "deny";
    /** Of MQTT 5: 0x86 for wrong credentials, 0x88 where nobody could be asked. */
    readonly reasonCode: number;
    readonly reason: string;
  };

/** How long verdicts are believed. */
export interface VerdictCacheOptions {
  /** Milliseconds for an allowance. */
  allowMs: number;
  /** Milliseconds for a refusal. */
  denyMs: number;
  /** Most verdicts that are kept. */
  maxEntries: number;
}

interface Entry {
  readonly verdict: Promise<Verdict>;
  untilMs: number;
}

/**
 * Remembers verdicts by a hash of the credentials, and asks once where many
 * clients come with the same ones together. Pure but for the question itself.
 */
export class VerdictCache {
  readonly #options: VerdictCacheOptions;
  // In the order of their making: the first is the oldest.
  readonly #entries = new Map<string, Entry>();

  constructor(options: VerdictCacheOptions) {
    this.#options = options;
  }

  /** The verdict on credentials: remembered, or from `ask`. */
  async get(
    credentials: Credentials,
    nowMs: number,
    ask: () => Promise<Verdict>,
  ): Promise<Verdict> {
    const { allowMs, denyMs, maxEntries } = this.#options;
    const key = keyOf(credentials);
    const known = this.#entries.get(key);
    if (known && known.untilMs > nowMs) return await known.verdict;
    this.#entries.delete(key);
    const entry: Entry = { verdict: ask(), untilMs: Infinity };
    this.#entries.set(key, entry);
    if (this.#entries.size > maxEntries) {
      this.#entries.delete(this.#entries.keys().next().value!);
    }
    try {
      const verdict = await entry.verdict;
      entry.untilMs = verdict.kind === "allow"
        ? Math.min(nowMs + allowMs, verdict.expiresMs ?? Infinity)
        : nowMs + denyMs;
      return verdict;
    } catch (error) {
      if (this.#entries.get(key) === entry) this.#entries.delete(key);
      throw error;
    }
  }
}

/** The address without its port may change between two connections; the rest may not. */
function keyOf(credentials: Credentials): string {
  const { clientId, username, password, commonName, listener } = credentials;
  const hash = createHash("sha256");
  for (const text of [clientId, username, commonName, listener]) {
    hash.update(text === undefined ? "-" : `${text.length}:${text}`);
  }
  hash.update(password ?? "");
  return hash.digest("base64");
}
