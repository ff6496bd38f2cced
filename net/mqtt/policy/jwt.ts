/** Authenticates by a JSON Web Token (RFC 7519) in the password or the username. */
import { createPublicKey, type KeyObject } from "node:crypto";
import {
  createRemoteJWKSet,
  errors,
  importSPKI,
  type JWTPayload,
  jwtVerify,
  type JWTVerifyGetKey,
} from "jose";
import { UsageError } from "../../errors.ts";
import { decide } from "../hooks/decision.ts";
import { ALLOWANCE, type Allowance, type Credentials } from "./verdict.ts";
import type { Verdict } from "./verdict.ts";

/** How tokens are checked. */
export interface JwtOptions {
  /** Algorithms that are taken; the key's own kind only, so that none passes for another. */
  algorithms: readonly JwtAlgorithm[];
  /** For HS256, HS384, HS512. Default: none. */
  secret?: string | undefined;
  /** In PEM (SPKI), for RS256, ES256 and the like. Default: none. */
  publicKey?: string | undefined;
  /** Where keys are published (RFC 7517). Default: none. */
  jwksUrl?: string | undefined;
  /** The claim `iss` that is wanted. Default: any. */
  issuer?: string | undefined;
  /** What the claim `aud` must hold. Default: any. */
  audience?: string | undefined;
  /** The field of the CONNECT that carries the token. */
  from: "password" | "username";
  /** The claim that is the username. Without it, tokens prove no name. Default: none. */
  usernameClaim?: string | undefined;
  /** The claim that the client identifier must equal. Default: any client identifier. */
  clientIdClaim?: string | undefined;
  /** Client identifiers that its clients may use. Default: those of the policy. */
  clientIds?: readonly string[] | undefined;
  /** How far clocks may differ, in seconds. */
  leewaySeconds: number;
}

/** Signature algorithms (RFC 7518, 3.1). */
export const JWT_ALGORITHMS = [
  ...["HS256", "HS384", "HS512", "RS256", "RS384", "RS512"] as const,
  ...["PS256", "ES256", "ES384", "EdDSA"] as const,
] as const;

/** A signature algorithm. */
export type JwtAlgorithm = typeof JWT_ALGORITHMS[number];

const decoder = new TextDecoder();

/** Checks tokens. */
export class JwtAuthenticator {
  /** What a token is held to, but for the clocks: the same for those that take the same ones. */
  readonly terms: string;
  readonly #options: JwtOptions;
  #key: Promise<Uint8Array | CryptoKey> | undefined;
  readonly #keySet: JWTVerifyGetKey | undefined;

  /** Throws a UsageError where key and algorithms do not belong together. */
  constructor(options: JwtOptions) {
    const { secret, publicKey, jwksUrl, algorithms } = options;
    if ([secret, publicKey, jwksUrl].filter(Boolean).length !== 1) {
      throw new UsageError(
        "auth.jwt: one of secret, public_key and jwks_url is wanted",
      );
    }
    // A public key that is taken for a secret would let everybody sign.
    for (const algorithm of algorithms) {
      if (algorithm.startsWith("HS") !== (secret !== undefined)) {
        throw new UsageError(
          `auth.jwt: ${algorithm} does not go with ${
            secret ? "a secret" : "a public key"
          }`,
        );
      }
    }
    if (algorithms.length === 0) {
      throw new UsageError("auth.jwt: no algorithm is given");
    }
    if (publicKey && algorithms.length > 1) {
      throw new UsageError("auth.jwt: one public key has one algorithm");
    }
    if (publicKey && !isKeyFor(publicKey, algorithms[0]!)) {
      throw new UsageError(
        `auth.jwt: public_key is no PEM public key for ${algorithms[0]}`,
      );
    }
    // Client identifiers are held to the policy's own, whatever let them in.
    const { leewaySeconds: _, clientIds: __, ...terms } = options;
    this.terms = JSON.stringify(terms);
    if (jwksUrl) this.#keySet = createRemoteJWKSet(new URL(jwksUrl));
    this.#options = options;
  }

  /** Says nothing (undefined) where there is no token. */
  async authenticate(
    credentials: Credentials,
    nowMs: number,
  ): Promise<Verdict | undefined> {
    const { from, usernameClaim, clientIdClaim } = this.#options;
    const { username, password, clientId } = credentials;
    const token = from === "username"
      ? username
      : password && decoder.decode(password);
    if (!token || !/^[\w-]+\.[\w-]+\.[\w-]*$/.test(token)) return undefined;
    let claims: JWTPayload;
    try {
      claims = await this.#verify(token, nowMs);
    } catch (error) {
      const mayRetry = error instanceof errors.JWKSTimeout ||
        !(error instanceof errors.JOSEError);
      return {
        kind: "deny",
        reasonCode: mayRetry ? 0x88 : 0x86,
        reason: mayRetry
          ? `the token could not be checked: ${(error as Error).message}`
          : `the token is not good: ${(error as Error).message}`,
      };
    }
    const claim = (name: string) => {
      const value = claims[name];
      return typeof value === "string" && value !== "" ? value : undefined;
    };
    if (clientIdClaim && claim(clientIdClaim) !== clientId) {
      return {
        kind: "deny",
        reasonCode: 0x85,
        reason: `the token is for another client identifier`,
      };
    }
    const name = usernameClaim ? claim(usernameClaim) : undefined;
    if (usernameClaim && name === undefined) {
      return {
        kind: "deny",
        reasonCode: 0x86,
        reason: `the token has no ${usernameClaim}`,
      };
    }
    const { exp } = claims;
    return allowance({
      username: name,
      // A session ends when a new one would be refused.
      expiresMs: exp === undefined
        ? undefined
        : (exp + this.#options.leewaySeconds) * 1000,
    });
  }

  async #verify(token: string, nowMs: number): Promise<JWTPayload> {
    const { algorithms, issuer, audience, leewaySeconds } = this.#options;
    const checks = {
      algorithms: [...algorithms],
      currentDate: new Date(nowMs),
      clockTolerance: leewaySeconds,
      ...(issuer === undefined ? {} : { issuer }),
      ...(audience === undefined ? {} : { audience }),
    };
    const { payload } = this.#keySet
      ? await jwtVerify(token, this.#keySet, checks)
      : await jwtVerify(token, await this.#ownKey(), checks);
    return payload;
  }

  #ownKey(): Promise<Uint8Array | CryptoKey> {
    const { secret, publicKey, algorithms } = this.#options;
    return this.#key ??= secret === undefined
      ? importSPKI(publicKey!, algorithms[0]!) as Promise<CryptoKey>
      : Promise.resolve(new TextEncoder().encode(secret));
  }
}

/** What the claims of a good token come to; a name that MQTT cannot carry is none. */
function allowance(claims: Allowance): Verdict {
  try {
    decide(ALLOWANCE, claims);
    return { kind: "allow", ...claims };
  } catch (error) {
    return {
      kind: "deny",
      reasonCode: 0x86,
      reason: "the token's claims are not understood",
      misunderstood: `a token ${(error as Error).message}`,
    };
  }
}

/** Checked here: the import of a key says so at each token, and nobody at the start. */
function isKeyFor(publicKey: string, algorithm: JwtAlgorithm): boolean {
  let key: KeyObject;
  try {
    key = createPublicKey(publicKey);
  } catch {
    return false;
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  switch (algorithm) {
    case "ES256":
      return type === "ec" && details?.namedCurve === "prime256v1";
    case "ES384":
      return type === "ec" && details?.namedCurve === "secp384r1";
    case "EdDSA":
      return type === "ed25519";
    default:
      return type === "rsa";
  }
}
