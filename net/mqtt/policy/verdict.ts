/** What ways to authenticate answer, and a memory of it. */
import { createHmac, randomBytes } from "node:crypto";
import { type ChangeShape, isMqttText, objectOf } from "../hooks/decision.ts";

/** Credentials of a CONNECT: what a way to authenticate goes by. */
export interface Credentials {
  readonly clientId: string;
  readonly username: string | undefined;
  readonly password: Uint8Array | undefined;
  readonly commonName: string | undefined;
  /** Address and port of the client. */
  readonly remote: string;
  readonly listener: string;
  readonly version: 3 | 4 | 5;
  /** Clean Session, or Clean Start in MQTT 5. Default: it is. */
  readonly cleanStart?: boolean | undefined;
}

/** What a service or a token may say about a client that it allows. */
export interface Allowance {
  /** The name that was proved. Undefined where none was. */
  readonly username?: string | undefined;
  /** When it ends, in milliseconds since 1970. */
  readonly expiresMs?: number | undefined;
}

/** The form of an allowance. */
export const ALLOWANCE: ChangeShape = objectOf({
  username: (value) => isMqttText(value) && value !== "",
  expiresMs: Number.isFinite,
});

/** What one way to authenticate answers. */
export type Verdict =
  | Allowance & { readonly kind: "allow" }
  | {
    readonly kind: "deny";
    /** Of MQTT 5: 0x86 for wrong credentials, 0x88 where nobody could be asked. */
    readonly reasonCode: number;
    readonly reason: string;
    /** What came, where it was not understood: for the log. */
    readonly misunderstood?: string | undefined;
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
 * Remembers verdicts by all that was asked, and asks once where many clients
 * come with the same credentials together. Pure but for the question itself.
 */
export class VerdictCache {
  readonly #options: VerdictCacheOptions;
  // A key of this cache alone: memory holds nothing that passwords could be
  // guessed by elsewhere.
  readonly #key = randomBytes(32);
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
    const key = this.#keyOf(credentials);
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
      // No verdict at all: whoever was to be asked may be back by now.
      if (verdict.kind === "deny" && verdict.reasonCode === 0x88) {
        if (this.#entries.get(key) === entry) this.#entries.delete(key);
        return verdict;
      }
      entry.untilMs = verdict.kind === "allow"
        ? Math.min(nowMs + allowMs, verdict.expiresMs ?? Infinity)
        : nowMs + denyMs;
      return verdict;
    } catch (error) {
      if (this.#entries.get(key) === entry) this.#entries.delete(key);
      throw error;
    }
  }

  /**
   * Everything that is asked, but the client's port, which changes with each
   * connection. No password is another question than an empty one.
   */
  #keyOf(credentials: Credentials): string {
    const { password, remote, version, cleanStart = true } = credentials;
    const { clientId, username, commonName, listener } = credentials;
    const hmac = createHmac("sha256", this.#key);
    hmac.update(`${version}${cleanStart}`);
    const address = remote.replace(/:\d+$/, "");
    for (const text of [clientId, username, commonName, listener, address]) {
      // The length in UTF-16 units and the text in UTF-8: MQTT's texts are
      // well-formed, so neither is ambiguous.
      hmac.update(text === undefined ? "-" : `${text.length}:${text}`);
    }
    if (password !== undefined) hmac.update("+").update(password);
    return hmac.digest("base64");
  }
}
