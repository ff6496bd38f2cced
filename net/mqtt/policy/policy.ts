/**
 * A policy: who may connect, what they may publish and subscribe to, and how
 * fast; without code, from a file that may change while sessions are open.
 */
import { formatAddress } from "../../address.ts";
import {
  type ConnectChange,
  type ConnectRequest,
  Denial,
  deny,
  type FilterAnswers,
  type FilterChange,
  type MessageChange,
  type MessageRequest,
  type MqttHooks,
  type MqttSession,
  type SubscribeRequest,
} from "../hooks.ts";
import type { OverLimit, Throttle } from "../link.ts";
import { matchesAny, type SubjectAcl, subjectAcl } from "./acl.ts";
import { authenticateByHttp } from "./http_auth.ts";
import { JwtAuthenticator } from "./jwt.ts";
import { verifyPassword } from "./password.ts";
import type { CertificateName, PolicyConfig } from "./policy_file.ts";
import { TokenBucket } from "./token_bucket.ts";
import { type Credentials, type Verdict, VerdictCache } from "./verdict.ts";

/** How a session came in: what must still hold when the configuration changes. */
type Entrance =
  | { readonly by: "http" }
  | { readonly by: "anonymous"; readonly hasName: boolean }
  | { readonly by: "certificate"; readonly named: CertificateName }
  | { readonly by: "jwt"; readonly terms: string }
  | {
    readonly by: "password";
    readonly name: string;
    readonly hash: string;
    readonly clientId: string;
  };

/** What a policy knows of a session. */
interface Admitted {
  readonly entrance: Entrance;
  readonly username: string | undefined;
  /** Made anew when the rules or the client identifier change. */
  acl: SubjectAcl | undefined;
  aclGeneration: number;
  aclClientId: string;
  readonly publishes: Map<string, boolean>;
  readonly delivers: Map<string, boolean>;
  buckets: Buckets | undefined;
}

interface Buckets {
  readonly messages: TokenBucket | undefined;
  readonly bytes: TokenBucket | undefined;
  /** How many sessions share them. */
  sessions: number;
}

/** How many topics' verdicts a session remembers, and how long they may be. */
const MAX_REMEMBERED_TOPICS = 512;
const MAX_REMEMBERED_CHARS = 256;

/** How often buckets that nobody uses are looked for. */
const SWEEP_MS = 10_000;

const NOT_AUTHORIZED = deny(0x87);
const BAD_CREDENTIALS = deny(0x86, "wrong user name or password");
const TOO_LARGE = deny(0x97, "the payload is too large");
const NO_RETAIN = deny(0x9a, "messages are not retained here");
const TOO_MANY_CONNECTS = deny(0x9f, "too many connections from this address");

/** A policy; see the module. */
export class Policy implements Throttle {
  /** For the gateway, ahead of all other hooks. */
  readonly hooks: MqttHooks;
  #config: PolicyConfig;
  #generation = 0;
  #cache: VerdictCache;
  #jwt: JwtAuthenticator | undefined;
  readonly #admitted = new WeakMap<MqttSession, Admitted>();
  readonly #expiresMs = new Map<MqttSession, number>();
  readonly #shared = new Map<string, Buckets>();
  readonly #connects = new Map<string, TokenBucket>();
  readonly #now: () => number;
  #sweptMs = 0;

  /**
   * Throws a UsageError where the configuration does not hold together.
   * `now` is in milliseconds since 1970.
   */
  constructor(config: PolicyConfig, now: () => number = Date.now) {
    this.#now = now;
    this.#config = config;
    this.#cache = new VerdictCache(config.cache);
    this.#jwt = config.jwt && new JwtAuthenticator(config.jwt);
    this.hooks = {
      authConnect: (session, connect) => this.#authConnect(session, connect),
      authPublish: (session, message) => this.#authPublish(session, message),
      authSubscribe: (session, request) => this.#authFilters(session, request),
      deliver: (session, message) => this.#deliver(session, message),
      disconnect: (session) => {
        this.#expiresMs.delete(session);
        const buckets = this.#admitted.get(session)?.buckets;
        if (buckets) buckets.sessions--;
      },
    };
  }

  /** Takes another configuration from now on; call `review` for the sessions that are open. */
  replace(config: PolicyConfig): void {
    const jwt = config.jwt && new JwtAuthenticator(config.jwt);
    this.#config = config;
    this.#jwt = jwt;
    this.#cache = new VerdictCache(config.cache);
    this.#shared.clear();
    this.#connects.clear();
    this.#generation++;
  }

  /**
   * Ends the sessions that could not come in any more. What the others may not
   * receive any more, they do not get; what they may not send is denied.
   */
  review(sessions: Iterable<MqttSession>): void {
    for (const session of sessions) {
      const admitted = this.#admitted.get(session);
      if (!admitted) continue;
      admitted.buckets = undefined;
      if (!this.#stillGood(admitted.entrance)) {
        session.end({ reasonCode: 0x87, reason: "revoked by the policy" });
      }
    }
  }

  /** Ends the sessions whose allowance is over. */
  tick(): void {
    const now = this.#now();
    for (const [session, expiresMs] of this.#expiresMs) {
      if (expiresMs > now) continue;
      this.#expiresMs.delete(session);
      session.end({ reasonCode: 0x87, reason: "the allowance is over" });
    }
    if (now - this.#sweptMs < SWEEP_MS) return;
    this.#sweptMs = now;
    for (const [key, bucket] of this.#connects) {
      if (bucket.isFull(now)) this.#connects.delete(key);
    }
    for (const [key, { sessions, messages, bytes }] of this.#shared) {
      const isFull = (messages?.isFull(now) ?? true) &&
        (bytes?.isFull(now) ?? true);
      if (sessions === 0 && isFull) this.#shared.delete(key);
    }
  }

  get overLimit(): OverLimit {
    return this.#config.limits.overLimit;
  }

  /** Charges a session for what it sends; see {@linkcode Throttle}. */
  charge(session: MqttSession, messages: number, bytes: number): number {
    const { messagesPerSecond, bytesPerSecond, overLimit } =
      this.#config.limits;
    if (messagesPerSecond === undefined && bytesPerSecond === undefined) {
      return 0;
    }
    const admitted = this.#admitted.get(session);
    if (!admitted) return 0;
    const nowMs = this.#now();
    let { buckets } = admitted;
    if (!buckets) {
      buckets = admitted.buckets = this.#bucketsOf(session, nowMs);
      buckets.sessions++;
    }
    const excessMs = overLimit === "slow" ? 0 : Math.max(
      buckets.messages?.excessMs(messages, nowMs) ?? 0,
      buckets.bytes?.excessMs(bytes, nowMs) ?? 0,
    );
    if (excessMs > 0) return excessMs;
    return Math.max(
      buckets.messages?.take(messages, nowMs) ?? 0,
      buckets.bytes?.take(bytes, nowMs) ?? 0,
    );
  }

  // CONNECT

  async #authConnect(
    session: MqttSession,
    connect: ConnectRequest,
  ): Promise<ConnectChange | Denial> {
    const now = this.#now();
    const { hostname } = session.remote;
    const { limits } = this.#config;
    if (limits.connectsPerSecond !== undefined) {
      let bucket = this.#connects.get(hostname);
      if (!bucket) {
        const burst = Math.max(1, limits.connectsPerSecond);
        bucket = new TokenBucket(limits.connectsPerSecond, burst, now);
        this.#connects.set(hostname, bucket);
      }
      if (!bucket.tryTake(1, now)) return TOO_MANY_CONNECTS;
    }
    const config = this.#config;
    const entrance = await this.#enter(config, session, connect, now);
    if (entrance instanceof Denial) return entrance;
    const { admitted, expiresMs } = entrance;
    // A session that waited while the configuration changed was not reviewed.
    if (config !== this.#config && !this.#stillGood(admitted.entrance)) {
      return BAD_CREDENTIALS;
    }
    this.#admitted.set(session, admitted);
    if (expiresMs !== undefined) this.#expiresMs.set(session, expiresMs);
    const { username } = admitted;
    const { brokerUsername, brokerPassword, hidesCredentials } = config;
    return {
      identity: username ?? null,
      ...(limits.maxQos < 2 ? { maximumQos: limits.maxQos as 0 | 1 } : {}),
      ...(limits.retain === "deny" ? { retainAvailable: false } : {}),
      ...(brokerUsername !== undefined || hidesCredentials
        ? { username: brokerUsername ?? null, password: brokerPassword ?? null }
        : admitted.entrance.by === "certificate"
        ? { username: username!, password: null }
        : {}),
    };
  }

  async #enter(
    config: PolicyConfig,
    session: MqttSession,
    connect: ConnectRequest,
    now: number,
  ): Promise<{ admitted: Admitted; expiresMs?: number | undefined } | Denial> {
    const { username, clientId, password } = connect;
    const admit = (
      entrance: Entrance,
      name: string | undefined,
      expiresMs?: number,
    ) => ({ admitted: this.#admit(entrance, name), expiresMs });

    const { certificate } = session;
    const certificateName = config.certificate === "none"
      ? undefined
      : config.certificate === "common_name"
      ? certificate?.commonName
      : certificate?.subject;
    if (certificateName) {
      return admit(
        { by: "certificate", named: config.certificate },
        certificateName,
      );
    }

    const credentials: Credentials = {
      clientId,
      username,
      password,
      commonName: certificate?.commonName,
      remote: formatAddress(session.remote),
      listener: session.listener,
      version: session.version,
    };
    const user = username === undefined
      ? undefined
      : config.users.get(username);
    if (user) {
      const verdict = await this.#cache.get(
        credentials,
        now,
        async () =>
          password && await verifyPassword(password, user.password)
            ? { kind: "allow" }
            : deniedVerdict(BAD_CREDENTIALS),
      );
      if (verdict.kind === "deny") return BAD_CREDENTIALS;
      if (!matchesAny(user.clientIds, clientId)) {
        return deny(0x85, "this user may not have this client identifier");
      }
      return admit(
        { by: "password", name: user.name, hash: user.password, clientId },
        user.name,
      );
    }
    const asked = await this.#ask(config, credentials, now);
    if (asked) {
      const { entrance, verdict } = asked;
      return verdict.kind === "deny"
        ? deny(verdict.reasonCode, verdict.reason)
        : admit(entrance, verdict.username ?? username, verdict.expiresMs);
    }
    // A name that nobody knows is no anonymous client, where names mean something.
    if (!config.anonymous) return BAD_CREDENTIALS;
    if (username !== undefined && config.users.size > 0) return BAD_CREDENTIALS;
    return admit(
      { by: "anonymous", hasName: username !== undefined },
      username,
    );
  }

  /** Asks for a token's or a service's verdict, where there is one to be asked. */
  async #ask(
    config: PolicyConfig,
    credentials: Credentials,
    now: number,
  ): Promise<{ entrance: Entrance; verdict: Verdict } | undefined> {
    const jwt = this.#jwt;
    if (jwt) {
      const verdict = await jwt.authenticate(credentials, now);
      if (verdict) {
        return { entrance: { by: "jwt", terms: jwt.terms }, verdict };
      }
    }
    const { http } = config;
    const { username, password, commonName } = credentials;
    const isNobody = username === undefined && password === undefined &&
      commonName === undefined;
    if (!http || isNobody && config.anonymous) return undefined;
    const verdict = await this.#cache.get(
      credentials,
      now,
      () => authenticateByHttp(http, credentials, now),
    );
    return { entrance: { by: "http" }, verdict };
  }

  #admit(entrance: Entrance, username: string | undefined): Admitted {
    return {
      entrance,
      username,
      acl: undefined,
      aclGeneration: -1,
      aclClientId: "",
      publishes: new Map(),
      delivers: new Map(),
      buckets: undefined,
    };
  }

  /** Whether somebody would come in again as he did, and under the same name. */
  #stillGood(entrance: Entrance): boolean {
    const { users, anonymous, certificate, http } = this.#config;
    switch (entrance.by) {
      case "password": {
        const user = users.get(entrance.name);
        return user?.password === entrance.hash &&
          matchesAny(user.clientIds, entrance.clientId);
      }
      case "certificate":
        return certificate === entrance.named;
      case "jwt":
        return this.#jwt?.terms === entrance.terms;
      case "http":
        return http !== undefined;
      case "anonymous":
        // A name that was anybody's may be a user's now.
        return anonymous && !(entrance.hasName && users.size > 0);
    }
  }

  // Messages and filters

  #authPublish(
    session: MqttSession,
    message: MessageRequest,
  ): MessageChange | Denial | undefined {
    const admitted = this.#current(session);
    if (!admitted) return NOT_AUTHORIZED;
    if (!allows(admitted.acl!, admitted.publishes, "publish", message.topic)) {
      return NOT_AUTHORIZED;
    }
    const { maxQos, retain, maxPayloadBytes } = this.#config.limits;
    if (
      maxPayloadBytes !== undefined && message.payload.length > maxPayloadBytes
    ) return TOO_LARGE;
    const lowers = message.qos > maxQos;
    const keeps = message.retain && retain !== "allow";
    if (!lowers && !keeps) return undefined;
    if (keeps && retain === "deny") return NO_RETAIN;
    return {
      ...(lowers ? { qos: maxQos } : {}),
      ...(keeps ? { retain: false } : {}),
    };
  }

  #authFilters(
    session: MqttSession,
    request: SubscribeRequest,
  ): FilterAnswers<FilterChange> | Denial {
    const admitted = this.#current(session);
    if (!admitted) return NOT_AUTHORIZED;
    const { maxQos } = this.#config.limits;
    return request.filters.map(({ filter, qos }) =>
      !admitted.acl!.allowsFilter(filter)
        ? NOT_AUTHORIZED
        : qos > maxQos
        ? { qos: maxQos }
        : undefined
    );
  }

  /** What was subscribed to under other rules, or by a session kept from before, is checked again. */
  #deliver(session: MqttSession, message: MessageRequest): Denial | undefined {
    const admitted = this.#current(session);
    return admitted &&
        allows(admitted.acl!, admitted.delivers, "subscribe", message.topic)
      ? undefined
      : NOT_AUTHORIZED;
  }

  /** What is known of a session, with the rules as they are now. */
  #current(session: MqttSession): Admitted | undefined {
    const admitted = this.#admitted.get(session);
    if (!admitted) return undefined;
    if (
      admitted.aclGeneration !== this.#generation ||
      admitted.aclClientId !== session.clientId
    ) {
      const { rules, defaultAllows } = this.#config;
      admitted.acl = subjectAcl(rules, defaultAllows, {
        clientId: session.clientId,
        username: admitted.username,
        commonName: session.certificate?.commonName,
      });
      admitted.aclGeneration = this.#generation;
      admitted.aclClientId = session.clientId;
      admitted.publishes.clear();
      admitted.delivers.clear();
    }
    return admitted;
  }

  #bucketsOf(session: MqttSession, nowMs: number): Buckets {
    const { scope, messagesPerSecond, bytesPerSecond, burstSeconds } =
      this.#config.limits;
    const make = (perSecond: number | undefined) =>
      perSecond === undefined
        ? undefined
        // At least one message passes at any rate.
        : new TokenBucket(
          perSecond,
          Math.max(1, perSecond * burstSeconds),
          nowMs,
        );
    const buckets = (): Buckets => ({
      messages: make(messagesPerSecond),
      bytes: make(bytesPerSecond),
      sessions: 0,
    });
    if (scope === "session") return buckets();
    const key = scope === "user"
      ? `user ${this.#admitted.get(session)?.username ?? ""}`
      : `address ${session.remote.hostname}`;
    let shared = this.#shared.get(key);
    if (!shared) this.#shared.set(key, shared = buckets());
    return shared;
  }
}

function allows(
  acl: SubjectAcl,
  remembered: Map<string, boolean>,
  action: "publish" | "subscribe",
  topic: string,
): boolean {
  if (topic.length > MAX_REMEMBERED_CHARS) {
    return acl.allowsTopic(action, topic);
  }
  let verdict = remembered.get(topic);
  if (verdict === undefined) {
    verdict = acl.allowsTopic(action, topic);
    if (remembered.size >= MAX_REMEMBERED_TOPICS) remembered.clear();
    remembered.set(topic, verdict);
  }
  return verdict;
}

function deniedVerdict(denial: Denial): Verdict {
  return {
    kind: "deny",
    reasonCode: denial.reasonCode,
    reason: denial.reason ?? "",
  };
}
