/** The policy file: TOML to what the policy goes by. Pure. */
import * as v from "valibot";
import { UsageError } from "../../errors.ts";
import {
  parseTomlTree,
  placeAt,
  plainValue,
  type TomlProblem,
  TomlSyntaxError,
  type TomlTable,
} from "../../toml.ts";
import { isShare, isTopicFilter } from "../topic.ts";
import type { AclRule } from "./acl.ts";
import { HTTP_AUTH_FORMATS } from "./http_answer.ts";
import type { HttpAuthOptions } from "./http_auth.ts";
import { JWT_ALGORITHMS, type JwtOptions } from "./jwt.ts";
import { checkHash } from "./password.ts";
import { type Placeholder, unknownPlaceholder } from "./placeholders.ts";
import type { VerdictCacheOptions } from "./verdict.ts";

/** A user with a password. */
export interface PolicyUser {
  /** As a CONNECT gives it. */
  readonly name: string;
  /** A hash. */
  readonly password: string;
  /** Client identifiers that it may use, with `*` and `%u`. Default: the policy's. */
  readonly clientIds: readonly string[] | undefined;
}

/** What limits are counted by. */
export type LimitScope = "session" | "user" | "address";

/** What a policy goes by. */
export interface PolicyConfig {
  /** By name. */
  readonly users: ReadonlyMap<string, PolicyUser>;
  /** Whether clients without credentials are allowed. They have no name. */
  readonly anonymous: boolean;
  /** Whether the broker proves the usernames that nothing here does. */
  readonly brokerAuthenticates: boolean;
  /** Client identifiers that clients may use, with `*` and `%u`. Default: any. */
  readonly clientIds: readonly string[] | undefined;
  /** What of a client's certificate is its username. */
  readonly certificate: CertificateName;
  /** How long verdicts are believed. */
  readonly cache: VerdictCacheOptions;
  /** How tokens are checked, where they are taken. */
  readonly jwt: JwtOptions | undefined;
  /** The web service that is asked, where there is one. */
  readonly http: HttpAuthOptions | undefined;
  /** In order: the first that fits decides. */
  readonly rules: readonly AclRule[];
  /** What goes where no rule fits. */
  readonly defaultAllows: boolean;
  /** What slows clients down or is taken from their messages. */
  readonly limits: PolicyLimits;
  /** Credentials that brokers get in place of the client's. */
  readonly brokerUsername: string | undefined;
  /** The password that goes with it. */
  readonly brokerPassword: string | undefined;
  /** Whether brokers get no credentials at all. */
  readonly hidesCredentials: boolean;
}

/** What of a certificate is a username. */
export type CertificateName = "none" | "common_name" | "subject";

/** Limits of a policy. */
export interface PolicyLimits {
  /** Whose messages and bytes are counted together. */
  readonly scope: LimitScope;
  /** PUBLISH packets of a second; beyond it, the client is not read. */
  readonly messagesPerSecond: number | undefined;
  /** Bytes of a second; beyond it, the client is not read. */
  readonly bytesPerSecond: number | undefined;
  /** For how many seconds' worth more may come at once. */
  readonly burstSeconds: number;
  /** What happens to a message beyond the rate. */
  readonly overLimit: "slow" | "drop" | "refuse" | "disconnect";
  /** CONNECTs of one address in a second; beyond it, they are refused. */
  readonly connectsPerSecond: number | undefined;
  /** Highest QoS of messages and subscriptions; more is lowered, MQTT 5 clients are told. */
  readonly maxQos: 0 | 1 | 2;
  /** What becomes of messages that are to be kept. */
  readonly retain: "allow" | "strip" | "deny";
  /** Longest payload of a message. */
  readonly maxPayloadBytes: number | undefined;
}

const count = v.pipe(v.number(), v.minValue(0));
const positive = v.pipe(v.number(), v.gtValue(0));
/** Longer ones overflow the system's timers, which then end at once. */
const timeout = v.pipe(positive, v.maxValue(2_147_483));

/** `localhost:8080/auth` is a URL too, of the scheme "localhost". */
const url = v.pipe(
  v.string(),
  v.check(
    (text) => /^https?:\/\//i.test(text) && isRequest(text),
    "expected http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH",
  ),
);

const headers = v.pipe(
  v.record(v.string(), v.string()),
  v.check(
    (fields) => isRequest("http://localhost/", fields),
    "expected names and values that HTTP can carry",
  ),
);

/** Whether `fetch` would send it, which otherwise says so at each login. */
function isRequest(url: string, headers: Record<string, string> = {}): boolean {
  try {
    new Request(url, { method: "POST", headers });
    return true;
  } catch {
    return false;
  }
}

/** A text whose placeholders are ours, and are among these. */
const pattern = (...known: Placeholder[]) =>
  v.pipe(
    v.string(),
    v.nonEmpty(),
    v.rawCheck(({ dataset, addIssue }) => {
      const message = dataset.typed &&
        unknownPlaceholder(dataset.value, known);
      if (message) addIssue({ message });
    }),
  );

const topicPattern = v.pipe(
  pattern("cn", "c", "u"),
  v.check(
    (text) => isTopicFilter(text.replace(/%(cn|c|u)/g, "x")),
    "expected a topic filter, such as devices/%c/#",
  ),
  v.check(
    (text) => !isShare(text),
    "expected the filter without $share/NAME/: rules see it that way",
  ),
);

const names = v.array(pattern());
const clientIds = v.array(pattern("u"));

const hash = v.pipe(
  v.string(),
  v.rawCheck(({ dataset, addIssue }) => {
    try {
      if (dataset.typed) checkHash(dataset.value);
    } catch (error) {
      addIssue({ message: (error as Error).message });
    }
  }),
);

const schema = v.strictObject({
  users: v.optional(
    v.array(v.strictObject({
      name: v.pipe(v.string(), v.nonEmpty()),
      password: hash,
      client_ids: v.optional(clientIds),
    })),
    [],
  ),
  auth: v.optional(
    v.strictObject({
      anonymous: v.optional(v.boolean()),
      broker: v.optional(v.boolean(), false),
      client_ids: v.optional(clientIds),
      certificate: v.optional(
        v.picklist(["none", "common_name", "subject"]),
        "none",
      ),
      cache_seconds: v.optional(count, 60),
      deny_cache_seconds: v.optional(count, 5),
      cache_entries: v.optional(count, 10_000),
      jwt: v.optional(v.strictObject({
        algorithms: v.array(v.picklist(JWT_ALGORITHMS)),
        secret: v.optional(v.string()),
        secret_file: v.optional(v.string()),
        public_key: v.optional(v.string()),
        public_key_file: v.optional(v.string()),
        jwks_url: v.optional(url),
        issuer: v.optional(v.string()),
        audience: v.optional(v.string()),
        from: v.optional(v.picklist(["password", "username"]), "password"),
        username_claim: v.optional(v.string()),
        client_id_claim: v.optional(v.string()),
        client_ids: v.optional(clientIds),
        leeway_seconds: v.optional(count, 0),
      })),
      http: v.optional(v.strictObject({
        url,
        timeout_seconds: v.optional(timeout, 2),
        headers: v.optional(headers, {}),
        format: v.optional(v.picklist(HTTP_AUTH_FORMATS), "mproxy"),
        client_ids: v.optional(clientIds),
      })),
    }),
    {},
  ),
  acl: v.optional(
    v.strictObject({
      default: v.optional(v.picklist(["allow", "deny"])),
      rules: v.optional(
        v.array(v.strictObject({
          effect: v.picklist(["allow", "deny"]),
          action: v.optional(
            v.picklist(["publish", "subscribe", "all"]),
            "all",
          ),
          topics: v.pipe(v.array(topicPattern), v.nonEmpty()),
          users: v.optional(names),
          client_ids: v.optional(clientIds),
          common_names: v.optional(names),
        })),
        [],
      ),
    }),
    {},
  ),
  limits: v.optional(
    v.strictObject({
      per: v.optional(v.picklist(["session", "user", "address"]), "session"),
      messages_per_second: v.optional(positive),
      bytes_per_second: v.optional(positive),
      burst_seconds: v.optional(positive, 1),
      over_limit: v.optional(
        v.picklist(["slow", "drop", "refuse", "disconnect"]),
        "slow",
      ),
      connects_per_second: v.optional(positive),
      max_qos: v.optional(v.picklist([0, 1, 2]), 2),
      retain: v.optional(v.picklist(["allow", "strip", "deny"]), "allow"),
      max_payload_bytes: v.optional(count),
    }),
    {},
  ),
  broker: v.optional(
    v.strictObject({
      username: v.optional(v.string()),
      password: v.optional(v.string()),
      hide_credentials: v.optional(v.boolean(), false),
    }),
    {},
  ),
});

/**
 * Reads a policy file's text. `readFile` gets the files that it names.
 *
 * @throws {UsageError} that names the file and the key.
 */
export function parsePolicy(
  text: string,
  file: string,
  readFile: (name: string) => string,
): PolicyConfig {
  let root: TomlTable;
  try {
    root = parseTomlTree(text);
  } catch (cause) {
    if (!(cause instanceof TomlSyntaxError)) throw cause;
    throw policyError(file, [cause]);
  }
  const result = v.safeParse(schema, plainValue(root));
  if (!result.success) {
    throw policyError(
      file,
      result.issues.map((issue) => problemOf(issue, root)),
    );
  }
  const { users, auth, acl, limits, broker } = result.output;
  const byName = new Map<string, PolicyUser>();
  for (const [i, user] of users.entries()) {
    const { name, password, client_ids: clientIds } = user;
    if (byName.has(name)) {
      const message = `user "${name}" stands twice`;
      const place = placeAt(root, ["users", i, "name"]);
      throw policyError(file, [{ ...place, message }]);
    }
    byName.set(name, { name, password, clientIds });
  }
  if (auth.broker) checkBrokerProves(file, root, broker);
  const authenticates = users.length > 0 || auth.jwt !== undefined ||
    auth.http !== undefined || auth.certificate !== "none";
  return {
    users: byName,
    anonymous: auth.anonymous ?? !authenticates,
    brokerAuthenticates: auth.broker,
    clientIds: auth.client_ids,
    certificate: auth.certificate,
    cache: {
      allowMs: auth.cache_seconds * 1000,
      denyMs: auth.deny_cache_seconds * 1000,
      maxEntries: auth.cache_entries,
    },
    jwt: auth.jwt && {
      algorithms: auth.jwt.algorithms,
      secret: auth.jwt.secret ??
        (auth.jwt.secret_file === undefined
          ? undefined
          : readFile(auth.jwt.secret_file).trimEnd()),
      publicKey: auth.jwt.public_key ??
        (auth.jwt.public_key_file === undefined
          ? undefined
          : readFile(auth.jwt.public_key_file)),
      jwksUrl: auth.jwt.jwks_url,
      issuer: auth.jwt.issuer,
      audience: auth.jwt.audience,
      from: auth.jwt.from,
      usernameClaim: auth.jwt.username_claim,
      clientIdClaim: auth.jwt.client_id_claim,
      clientIds: auth.jwt.client_ids,
      leewaySeconds: auth.jwt.leeway_seconds,
    },
    http: auth.http && {
      url: auth.http.url,
      timeoutMs: auth.http.timeout_seconds * 1000,
      headers: auth.http.headers,
      format: auth.http.format,
      clientIds: auth.http.client_ids,
    },
    rules: acl.rules.map((rule) => ({
      effect: rule.effect,
      actions: rule.action === "all" ? ["publish", "subscribe"] : [rule.action],
      topics: rule.topics,
      users: rule.users,
      clientIds: rule.client_ids,
      commonNames: rule.common_names,
    })),
    defaultAllows: (acl.default ??
      (acl.rules.length === 0 ? "allow" : "deny")) === "allow",
    limits: {
      scope: limits.per,
      messagesPerSecond: limits.messages_per_second,
      bytesPerSecond: limits.bytes_per_second,
      burstSeconds: limits.burst_seconds,
      overLimit: limits.over_limit,
      connectsPerSecond: limits.connects_per_second,
      maxQos: limits.max_qos,
      retain: limits.retain,
      maxPayloadBytes: limits.max_payload_bytes,
    },
    brokerUsername: broker.username,
    brokerPassword: broker.password,
    hidesCredentials: broker.hide_credentials,
  };
}

/** A broker that never gets the client's credentials proves nothing. */
function checkBrokerProves(
  file: string,
  root: TomlTable,
  broker: v.InferOutput<typeof schema>["broker"],
): void {
  if (broker.username === undefined && !broker.hide_credentials) return;
  throw policyError(file, [{
    ...placeAt(root, ["auth", "broker"]),
    message:
      '"auth.broker" requires that the broker gets the client\'s credentials; remove broker.username and broker.hide_credentials',
  }]);
}

/** What a check of the schema found, in words, with its place. */
function problemOf(
  issue: v.InferIssue<typeof schema>,
  root: TomlTable,
): TomlProblem {
  const path = (issue.path ?? []).map(({ key }) => key as string | number);
  const name = path.join(".");
  const place = placeAt(root, path);
  if (issue.expected === "never") {
    return { ...place, message: `the key "${name}" is unknown` };
  }
  return issue.received === "undefined"
    ? { ...place, message: `"${name}" is missing` }
    : { ...place, message: `"${name}": ${issue.message}` };
}

/** One line for all problems of a file. */
function policyError(
  file: string,
  problems: readonly TomlProblem[],
): UsageError {
  const [first, ...more] = problems.toSorted((a, b) =>
    a.line - b.line || a.column - b.column
  );
  const { line, column, message } = first!;
  return new UsageError(
    [
      `Cannot use "${file}:${line}:${column}": ${message}`,
      ...more.map((one) => `${one.line}:${one.column}: ${one.message}`),
    ].join("; "),
  );
}
