/**
 * Password checks. A hash costs a tenth of a second of a core and 33 MB, so
 * that guessing is slow; unbounded, a crowd of clients takes all of both.
 *
 * 1. A verdict that is remembered answers at once. It is remembered by user and
 *    password, not by client identifier, which a guesser could vary; under a
 *    key of this process alone, so that memory holds no password.
 * 2. As many hashes are computed at once as there are cores. The others wait,
 *    fairly by address; wrong passwords put their address behind the others.
 * 3. Who waits too long, or finds no room, is asked to try later. Who is gone
 *    gives up its place.
 * 4. An unknown user costs as much as a known one.
 */
import { createHmac, randomBytes } from "node:crypto";
import { type Source, sourceOf } from "../../source.ts";
import { FairQueue } from "./fair_queue.ts";
import { verifyPassword } from "./password.ts";
import type { PolicyUser } from "./policy_file.ts";

/** What a check comes to; `busy` where it could not be made in time. */
export type PasswordVerdict = "right" | "wrong" | "busy";

/** One client's question. */
export interface PasswordQuestion {
  /** Who asks: `leave` is called with it. */
  readonly client: object;
  /** Where it comes from. */
  readonly hostname: string;
  readonly username: string;
  readonly password: Uint8Array;
}

/** How checks are made. */
export interface PasswordCheckOptions {
  /** Hashes computed at once. */
  readonly concurrency: number;
  /** How long a client waits for its turn, in milliseconds. */
  readonly maxWaitMs: number;
  /** Clients that wait, in all. */
  readonly maxWaiting: number;
  /** Clients of one address that wait. */
  readonly maxWaitingPerAddress: number;
  /** Computes and compares a hash. */
  readonly verify: typeof verifyPassword;
}

/** For how long and for how many passwords verdicts are remembered. */
export interface PasswordMemory {
  readonly allowMs: number;
  readonly denyMs: number;
  readonly maxEntries: number;
}

interface Job {
  readonly source: Source;
  readonly key: string;
  readonly hash: string;
  readonly isKnownUser: boolean;
  readonly password: Uint8Array;
  /** Everybody who asks the same. */
  readonly waiters: Map<object, (verdict: PasswordVerdict) => void>;
  readonly generation: number;
}

/** How long a client waits for its turn. Most give up sooner themselves, and leave the queue. */
export const MAX_PASSWORD_WAIT_MS = 60_000;

const DEFAULTS: PasswordCheckOptions = {
  concurrency: Math.max(1, navigator.hardwareConcurrency),
  maxWaitMs: MAX_PASSWORD_WAIT_MS,
  maxWaiting: 4096,
  maxWaitingPerAddress: 512,
  verify: verifyPassword,
};

/** Longest time for which a verdict is remembered. */
const MAX_REMEMBERED_MS = 60_000;

/** Bytes of passwords that wait. */
const MAX_WAITING_BYTES = 4 << 20;

/** A wrong password costs its address so many turns more. */
const WRONG_PASSWORD_TURNS = 8;

/** Password checks; see the module. */
export class PasswordChecks {
  readonly #options: PasswordCheckOptions;
  readonly #key = randomBytes(32);
  readonly #queue: FairQueue<Job>;
  /** Those that wait or run, by what they ask. */
  readonly #jobs = new Map<string, Job>();
  readonly #jobOf = new Map<object, Job>();
  readonly #remembered = new Map<
    string,
    { readonly isRight: boolean; readonly untilMs: number }
  >();
  #users: ReadonlyMap<string, PolicyUser> = new Map();
  #hashes: readonly string[] = [];
  #memory: PasswordMemory = { allowMs: 0, denyMs: 0, maxEntries: 0 };
  #generation = 0;
  #running = 0;
  #refused = 0;
  readonly #now: () => number;

  /** `now` is in milliseconds. */
  constructor(
    now: () => number,
    options: Partial<PasswordCheckOptions> = {},
  ) {
    this.#now = now;
    this.#options = { ...DEFAULTS, ...options };
    this.#queue = new FairQueue({
      maxItems: this.#options.maxWaiting,
      maxItemsPerSource: this.#options.maxWaitingPerAddress,
      maxBytes: MAX_WAITING_BYTES,
    });
  }

  /** Clients that wait for their turn. */
  get waiting(): number {
    return this.#jobOf.size;
  }

  /** Clients that were asked to try later. */
  get refused(): number {
    return this.#refused;
  }

  /** Takes other users; what was remembered of the former is forgotten. */
  replace(users: ReadonlyMap<string, PolicyUser>, memory: PasswordMemory) {
    this.#users = users;
    this.#hashes = [...users.values()].map(({ password }) => password);
    this.#memory = memory;
    this.#remembered.clear();
    this.#generation++;
  }

  /** Whether the password is the user's. */
  check(
    question: PasswordQuestion,
  ): PasswordVerdict | Promise<PasswordVerdict> {
    const { client, hostname, username, password } = question;
    const user = this.#users.get(username);
    const name = this.#fingerprint("user", username);
    // An unknown user is checked against one of the others' hashes, always the
    // same, so that time does not tell who is known.
    const hash = user?.password ??
      this.#hashes[name.readUint32BE(0) % this.#hashes.length];
    if (hash === undefined) return "wrong";
    const key = this.#fingerprint("password", username, hash, password)
      .toString("base64");
    const known = this.#recall(key);
    if (known !== undefined) return known ? "right" : "wrong";
    let job = this.#jobs.get(key);
    if (!job) {
      job = {
        source: sourceOf(hostname),
        key,
        hash,
        isKnownUser: user !== undefined,
        password: password.slice(),
        waiters: new Map(),
        generation: this.#generation,
      };
      if (!this.#queue.add(job.source, job, password.length)) {
        this.#refused++;
        return "busy";
      }
      this.#jobs.set(key, job);
    }
    const verdict = this.#wait(job, client);
    this.#start();
    return verdict;
  }

  /** A client is gone: its place is given up. */
  leave(client: object): void {
    this.#settle(client, "wrong");
  }

  #wait(job: Job, client: object): Promise<PasswordVerdict> {
    const { promise, resolve } = Promise.withResolvers<PasswordVerdict>();
    const timer = setTimeout(() => {
      this.#refused++;
      this.#settle(client, "busy");
    }, this.#options.maxWaitMs);
    job.waiters.set(client, (verdict) => {
      clearTimeout(timer);
      resolve(verdict);
    });
    this.#jobOf.set(client, job);
    return promise;
  }

  /** Answers one client; a job that nobody waits for any more is dropped. */
  #settle(client: object, verdict: PasswordVerdict): void {
    const job = this.#jobOf.get(client);
    if (!job) return;
    this.#jobOf.delete(client);
    const answer = job.waiters.get(client)!;
    job.waiters.delete(client);
    if (job.waiters.size === 0 && this.#queue.remove(job.source, job)) {
      this.#jobs.delete(job.key);
    }
    answer(verdict);
  }

  #start(): void {
    while (this.#running < this.#options.concurrency) {
      const job = this.#queue.take();
      if (!job) return;
      this.#running++;
      void this.#run(job);
    }
  }

  async #run(job: Job): Promise<void> {
    let verdict: PasswordVerdict;
    try {
      const matches = await this.#options.verify(job.password, job.hash);
      verdict = matches && job.isKnownUser ? "right" : "wrong";
      // The users may be others by now: the answer holds, but is not kept.
      if (job.generation === this.#generation) {
        this.#remember(job.key, verdict === "right");
      }
    } catch {
      // Out of memory, say: nobody comes in by it, and nobody guessed.
      verdict = "busy";
    }
    this.#running--;
    this.#jobs.delete(job.key);
    if (verdict === "wrong") {
      this.#queue.charge(job.source, WRONG_PASSWORD_TURNS);
    }
    for (const client of [...job.waiters.keys()]) this.#settle(client, verdict);
    this.#start();
  }

  #recall(key: string): boolean | undefined {
    const entry = this.#remembered.get(key);
    if (entry && entry.untilMs > this.#now()) return entry.isRight;
    this.#remembered.delete(key);
    return undefined;
  }

  #remember(key: string, isRight: boolean): void {
    const { allowMs, denyMs, maxEntries } = this.#memory;
    const ms = Math.min(isRight ? allowMs : denyMs, MAX_REMEMBERED_MS);
    if (ms <= 0 || maxEntries < 1) return;
    this.#remembered.set(key, { isRight, untilMs: this.#now() + ms });
    if (this.#remembered.size <= maxEntries) return;
    this.#remembered.delete(this.#remembered.keys().next().value!);
  }

  /** A keyed hash of what stands in the list, each part with its length. */
  #fingerprint(...parts: (string | Uint8Array)[]) {
    const hmac = createHmac("sha256", this.#key);
    for (const part of parts) {
      const bytes = typeof part === "string" ? encoder.encode(part) : part;
      hmac.update(`${bytes.length}:`).update(bytes);
    }
    return hmac.digest();
  }
}

const encoder = new TextEncoder();
