/**
 * Who a client is. An identity is made here and nowhere else: rules, limits,
 * the audit log and hooks take names from identities alone, never from what a
 * CONNECT claims.
 *
 * 1. A certificate's name, where the policy takes it.
 * 2. A token, where the field that may hold one does.
 * 3. The password of a user of the policy.
 * 4. A web service.
 * 5. The broker, where the policy says that it checks.
 * 6. Nobody: a client without credentials, where those are allowed. It has no
 *    name. Credentials that nothing here proved are wrong, and refused.
 *
 * Whoever proved the name, the client identifier must be one that it may use:
 * brokers end a session for another one with the same identifier.
 */
import { formatAddress } from "../../address.ts";
import { AnswerError } from "../hooks/decision.ts";
import {
  type ConnectRequest,
  Denial,
  deny,
  type MqttSession,
} from "../hooks/hooks.ts";
import { matchesAny } from "./acl.ts";
import { authenticateByHttp } from "./http_auth.ts";
import { JwtAuthenticator } from "./jwt.ts";
import type { PasswordChecks } from "./password_checks.ts";
import type { CertificateName, PolicyConfig } from "./policy_file.ts";
import { type Credentials, type Verdict, VerdictCache } from "./verdict.ts";

/** What proved an identity, with all that must still hold when the policy changes. */
type Proof =
  | { readonly by: "http" }
  | { readonly by: "broker"; readonly hasPassword: boolean }
  | {
    readonly by: "anonymous";
    readonly hasUsername: boolean;
    readonly hasPassword: boolean;
  }
  | { readonly by: "certificate"; readonly named: CertificateName }
  | { readonly by: "jwt"; readonly terms: string }
  | { readonly by: "password"; readonly name: string; readonly hash: string };

/** Not exported: nobody else can make one, and TypeScript takes no look-alike for `#proof`. */
class ProvenIdentity {
  /** The name that was proved; undefined for clients that have none. */
  readonly username: string | undefined;
  /** When it ends, in milliseconds since 1970. */
  readonly expiresMs: number | undefined;
  readonly #proof: Proof;

  constructor(proof: Proof, username?: string, expiresMs?: number) {
    this.#proof = proof;
    this.username = username;
    this.expiresMs = expiresMs;
  }

  /** What proved it. */
  get by(): Proof["by"] {
    return this.#proof.by;
  }

  /** How it was proved, for this module. */
  static proofOf(identity: ProvenIdentity): Proof {
    return identity.#proof;
  }
}

/** Who a client is. Only an {@linkcode Authenticator} makes one. */
export type Identity = ProvenIdentity;

const BAD_CREDENTIALS = deny(0x86, "wrong user name or password");
const BUSY = deny(0x89, "too many logins at once, try later");
const WRONG_CLIENT_ID = deny(
  0x85,
  "this user may not have this client identifier",
);

/** Proves identities by one configuration. */
export class Authenticator {
  readonly #config: PolicyConfig;
  readonly #jwt: JwtAuthenticator | undefined;
  readonly #passwords: PasswordChecks;
  readonly #cache: VerdictCache;

  /** Throws a UsageError where the configuration does not hold together. */
  constructor(config: PolicyConfig, passwords: PasswordChecks) {
    this.#config = config;
    this.#jwt = config.jwt && new JwtAuthenticator(config.jwt);
    this.#passwords = passwords;
    this.#cache = new VerdictCache(config.cache);
  }

  /**
   * Who a client is, or why it is refused.
   *
   * @throws {AnswerError} where an answer was not understood: it is refused.
   */
  async identify(
    session: MqttSession,
    connect: ConnectRequest,
    nowMs: number,
  ): Promise<Identity | Denial> {
    const identity = await this.#prove(session, connect, nowMs);
    if (identity instanceof Denial) return identity;
    return this.#mayUse(identity, connect.clientId)
      ? identity
      : WRONG_CLIENT_ID;
  }

  /** Whether a client would come in again as who it is, with its identifier. */
  holds(identity: Identity, clientId: string): boolean {
    return this.#isProven(ProvenIdentity.proofOf(identity)) &&
      this.#mayUse(identity, clientId);
  }

  #isProven(proof: Proof): boolean {
    const { users, certificate, http, anonymous, brokerAuthenticates } =
      this.#config;
    switch (proof.by) {
      case "password":
        return users.get(proof.name)?.password === proof.hash;
      case "certificate":
        return certificate === proof.named;
      case "jwt":
        return this.#jwt?.terms === proof.terms;
      case "http":
        return http !== undefined;
      case "broker":
        // What the broker was to check may be checked here now.
        return brokerAuthenticates &&
          !this.#isWrong(true, proof.hasPassword);
      case "anonymous":
        return anonymous &&
          !this.#isWrong(proof.hasUsername, proof.hasPassword);
    }
  }

  /** Whether usernames and passwords are checked here: those that were not proved are wrong then. */
  get #checksPasswords(): boolean {
    const { users, http } = this.#config;
    return users.size > 0 || this.#jwt !== undefined || http !== undefined;
  }

  /**
   * Whether something that nothing here proved must be refused. Where only
   * certificates count, a username alone is no credential: it is passed on to
   * the broker, and is no name here.
   */
  #isWrong(hasUsername: boolean, hasPassword: boolean): boolean {
    return this.#checksPasswords
      ? hasUsername || hasPassword
      : this.#config.certificate !== "none" && hasPassword;
  }

  /** The narrowest list counts: the user's own, its way's, the policy's. */
  #mayUse({ by, username }: Identity, clientId: string): boolean {
    const { users, jwt, http, clientIds } = this.#config;
    const user = username === undefined ? undefined : users.get(username);
    const ofWay = by === "jwt"
      ? jwt?.clientIds
      : by === "http"
      ? http?.clientIds
      : undefined;
    return matchesAny(user?.clientIds ?? ofWay ?? clientIds, clientId, {
      username,
      whenNameless: false,
    });
  }

  async #prove(
    session: MqttSession,
    connect: ConnectRequest,
    nowMs: number,
  ): Promise<Identity | Denial> {
    const config = this.#config;
    const { username, password } = connect;
    if (config.certificate !== "none" && session.hasUntrustedCertificate) {
      return BAD_CREDENTIALS;
    }
    const name = certificateName(config.certificate, session);
    if (name) {
      const proof = { by: "certificate", named: config.certificate } as const;
      return new ProvenIdentity(proof, name);
    }
    const credentials = credentialsOf(session, connect);
    const isKnownUser = username !== undefined && config.users.has(username);
    const token = await this.#jwt?.authenticate(credentials, nowMs);
    // A user's password may look like a token.
    if (token && (token.kind === "allow" || !isKnownUser)) {
      const proof = { by: "jwt", terms: this.#jwt!.terms } as const;
      return allowed(token, proof, token.kind === "allow" && token.username);
    }
    if (isKnownUser) return await this.#proveUser(session, credentials);

    const hasUsername = username !== undefined;
    const hasPassword = password !== undefined;
    const { http } = config;
    const isNobody = !hasUsername && !hasPassword &&
      credentials.commonName === undefined;
    if (http && !(isNobody && config.anonymous)) {
      const verdict = await this.#cache.get(
        credentials,
        nowMs,
        () => authenticateByHttp(http, credentials, nowMs),
      );
      // The service was asked about the username: a yes proves it.
      return allowed(
        verdict,
        { by: "http" },
        verdict.kind === "allow" && (verdict.username ?? username),
      );
    }
    if (this.#isWrong(hasUsername, hasPassword)) {
      // As slow as for a known user.
      return await this.#proveUser(session, credentials);
    }
    if (config.brokerAuthenticates && username !== undefined) {
      return new ProvenIdentity({ by: "broker", hasPassword }, username);
    }
    return config.anonymous
      ? new ProvenIdentity({ by: "anonymous", hasUsername, hasPassword })
      : BAD_CREDENTIALS;
  }

  async #proveUser(
    session: MqttSession,
    { username, password }: Credentials,
  ): Promise<Identity | Denial> {
    if (username === undefined || password === undefined) {
      return BAD_CREDENTIALS;
    }
    const verdict = await this.#passwords.check({
      client: session,
      hostname: session.remote.hostname,
      username,
      password,
    });
    const user = this.#config.users.get(username);
    if (verdict === "busy") return BUSY;
    if (verdict !== "right" || !user) return BAD_CREDENTIALS;
    const proof = { by: "password", name: user.name, hash: user.password };
    return new ProvenIdentity(proof as Proof, user.name);
  }
}

/** What a verdict comes to; throws where it was one that was not understood. */
function allowed(
  verdict: Verdict,
  proof: Proof,
  username: string | undefined | false,
): Identity | Denial {
  if (verdict.kind === "allow") {
    return new ProvenIdentity(proof, username || undefined, verdict.expiresMs);
  }
  const { reasonCode, reason, misunderstood } = verdict;
  if (misunderstood !== undefined) throw AnswerError.of(misunderstood);
  return deny(reasonCode, reason);
}

function certificateName(
  named: CertificateName,
  { certificate }: MqttSession,
): string | undefined {
  switch (named) {
    case "none":
      return undefined;
    case "common_name":
      return certificate?.commonName;
    case "subject":
      return certificate?.subject;
  }
}

function credentialsOf(
  session: MqttSession,
  { clientId, username, password, cleanStart }: ConnectRequest,
): Credentials {
  const { certificate, remote, listener, version } = session;
  return {
    clientId,
    username,
    password,
    commonName: certificate?.commonName,
    remote: formatAddress(remote),
    listener,
    version,
    cleanStart,
  };
}
