/**
 * A policy: who may connect, what they may publish and subscribe to, and how
 * fast; without code, from a file that may change while sessions are open.
 */
import type { Metric } from "../../observe/metrics.ts";
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
} from "../hooks/hooks.ts";
import type { OverLimit, Throttle } from "../session/link.ts";
import { type Source, sourceOf } from "../../source.ts";
import { type SubjectAcl, subjectAcl } from "./acl.ts";
import { Authenticator, type Identity } from "./authenticate.ts";
import { MAX_PASSWORD_WAIT_MS, PasswordChecks } from "./password_checks.ts";
import type { PolicyConfig } from "./policy_file.ts";
import { TokenBucket } from "./token_bucket.ts";

/** What a policy knows of a session. */
interface Admitted {
  readonly identity: Identity;
  /** As the client sent it: what the identity may use. */
  readonly clientId: string;
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
const REVOKED = deny(0x86, "the policy changed");
const EXPIRED = deny(0x86, "the allowance is over");
const TOO_LARGE = deny(0x97, "the payload is too large");
const NO_RETAIN = deny(0x9a, "messages are not retained here");
const TOO_MANY_CONNECTS = deny(0x9f, "too many connections from this address");

/** A policy; see the module. */
export class Policy implements Throttle {
  /** For the gateway, ahead of all other hooks. */
  readonly hooks: MqttHooks;
  readonly #passwords: PasswordChecks;
  #config: PolicyConfig;
  #authenticator: Authenticator;
  #generation = 0;
  readonly #admitted = new WeakMap<MqttSession, Admitted>();
  readonly #expiresMs = new Map<MqttSession, number>();
  readonly #shared = new Map<string, Buckets>();
  readonly #connects = new Map<Source, TokenBucket>();
  /** Sessions that ended: an answer about one of them may still come. */
  readonly #ended = new WeakSet<MqttSession>();
  readonly #now: () => number;
  #sweptMs = 0;

  /**
   * Throws a UsageError where the configuration does not hold together.
   * `now` is in milliseconds since 1970.
   */
  constructor(config: PolicyConfig, now: () => number = Date.now) {
    this.#now = now;
    this.#passwords = new PasswordChecks(now);
    this.#config = config;
    this.#authenticator = new Authenticator(config, this.#passwords);
    this.#passwords.replace(config.users, config.cache);
    this.hooks = {
      authConnect: (session, connect) => this.#authConnect(session, connect),
      authPublish: (session, message) => this.#authPublish(session, message),
      authSubscribe: (session, request) => this.#authFilters(session, request),
      deliver: (session, message) => this.#deliver(session, message),
      disconnect: (session) => {
        this.#ended.add(session);
        this.#passwords.leave(session);
        this.#expiresMs.delete(session);
        const buckets = this.#admitted.get(session)?.buckets;
        if (buckets) buckets.sessions--;
      },
    };
  }

  /** How long a login may take beyond the hook timeout, in milliseconds: its waits have deadlines. */
  get loginWaitMs(): number {
    const { users, http } = this.#config;
    return (users.size > 0 ? MAX_PASSWORD_WAIT_MS : 0) + (http?.timeoutMs ?? 0);
  }

  /** Takes another configuration from now on; call `review` for the sessions that are open. */
  replace(config: PolicyConfig): void {
    this.prepare(config)();
  }

  /**
   * Checks another configuration, and returns what puts it in place, which
   * cannot fail. Throws a UsageError where it does not hold together.
   */
  prepare(config: PolicyConfig): () => void {
    const authenticator = new Authenticator(config, this.#passwords);
    return () => {
      this.#config = config;
      this.#authenticator = authenticator;
      this.#passwords.replace(config.users, config.cache);
      this.#shared.clear();
      this.#connects.clear();
      this.#generation++;
    };
  }

  /** What it does now, for the gateway's metrics. */
  metrics(): Metric[] {
    const sample = (value: number) => [{ labels: {}, value }];
    return [
      {
        name: "mproxy_mqtt_logins_waiting",
        help: "Clients that wait for their password to be checked.",
        type: "gauge",
        samples: sample(this.#passwords.waiting),
      },
      {
        name: "mproxy_mqtt_logins_busy_total",
        help: "Clients that were asked to log in later: too many were waiting.",
        type: "counter",
        samples: sample(this.#passwords.refused),
      },
    ];
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
      if (!this.#authenticator.holds(admitted.identity, admitted.clientId)) {
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
    const { limits } = this.#config;
    if (limits.connectsPerSecond !== undefined) {
      const source = sourceOf(session.remote.hostname);
      let bucket = this.#connects.get(source);
      if (!bucket) {
        const burst = Math.max(1, limits.connectsPerSecond);
        bucket = new TokenBucket(limits.connectsPerSecond, burst, now);
        this.#connects.set(source, bucket);
      }
      if (!bucket.tryTake(1, now)) return TOO_MANY_CONNECTS;
    }
    const config = this.#config;
    const identity = await this.#authenticator.identify(session, connect, now);
    if (identity instanceof Denial) return identity;
    const { clientId } = connect;
    // A session that waited while the configuration changed was not reviewed.
    if (
      config !== this.#config && !this.#authenticator.holds(identity, clientId)
    ) return REVOKED;
    if (this.#ended.has(session)) return NOT_AUTHORIZED;
    if ((identity.expiresMs ?? Infinity) <= this.#now()) return EXPIRED;
    this.#admit(session, identity, clientId);
    return changeFor(config, identity, connect);
  }

  #admit(session: MqttSession, identity: Identity, clientId: string): void {
    this.#admitted.set(session, {
      identity,
      clientId,
      acl: undefined,
      aclGeneration: -1,
      aclClientId: "",
      publishes: new Map(),
      delivers: new Map(),
      buckets: undefined,
    });
    const { expiresMs } = identity;
    if (expiresMs !== undefined) this.#expiresMs.set(session, expiresMs);
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
        username: admitted.identity.username,
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
    const name = this.#admitted.get(session)?.identity.username;
    // Clients without a name are not one user.
    const key = scope === "user" && name !== undefined
      ? `user ${name}`
      : `address ${sourceOf(session.remote.hostname)}`;
    let shared = this.#shared.get(key);
    if (!shared) this.#shared.set(key, shared = buckets());
    return shared;
  }
}

/** What becomes of an allowed CONNECT. */
function changeFor(
  config: PolicyConfig,
  identity: Identity,
  connect: ConnectRequest,
): ConnectChange {
  const { limits } = config;
  return {
    identity: identity.username ?? null,
    ...(limits.maxQos < 2 ? { maximumQos: limits.maxQos as 0 | 1 } : {}),
    ...(limits.retain === "deny" ? { retainAvailable: false } : {}),
    ...credentialsFor(config, identity, connect),
  };
}

/**
 * The credentials that the broker gets. A broker that relies on the gateway
 * must not see a name that nobody proved beside one that somebody did.
 */
function credentialsFor(
  config: PolicyConfig,
  { username, by }: Identity,
  connect: ConnectRequest,
): ConnectChange {
  const { brokerUsername, brokerPassword, hidesCredentials, jwt } = config;
  if (brokerUsername !== undefined || hidesCredentials) {
    return {
      username: brokerUsername ?? null,
      password: brokerPassword ?? null,
    };
  }
  if (by === "certificate") return { username: username!, password: null };
  // The token itself may be for the broker.
  const isToken = by === "jwt" && jwt?.from === "username";
  const isClaim = connect.username !== undefined && username !== undefined &&
    connect.username !== username;
  return isClaim && !isToken ? { username } : {};
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
