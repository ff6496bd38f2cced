import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { UsageError } from "../../../../net/errors.ts";
import {
  checkHash,
  hashPassword,
  verifyPassword,
} from "../../../../net/mqtt/policy/password.ts";
import { parsePolicy } from "../../../../net/mqtt/policy/policy_file.ts";
import { TokenBucket } from "../../../../net/mqtt/policy/token_bucket.ts";
import {
  type Credentials,
  type Verdict,
  VerdictCache,
} from "../../../../net/mqtt/policy/verdict.ts";

import { needsProgram, testUnless } from "../../../support/skip.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);

// Passwords

Deno.test("verifyPassword() takes the password of hashPassword(), and no other", async () => {
  const hash = await hashPassword("pässword");
  assertEquals(hash.startsWith("$scrypt$ln=15,r=8,p=1$"), true);
  assertEquals(await verifyPassword(utf8("pässword"), hash), true);
  assertEquals(await verifyPassword(utf8("password"), hash), false);
  assertEquals(await hashPassword("pässword") === hash, false);
});

Deno.test("verifyPassword() takes PBKDF2 with SHA-256", async () => {
  // By Python's hashlib.pbkdf2_hmac("sha256", b"secret", b"saltsalt", 1000).
  const hash =
    "$pbkdf2-sha256$i=1000$c2FsdHNhbHQ$hgR9HsqtKupWxpnv8y99TrPDajTT/9PcSTlNafpdLXQ";
  assertEquals(await verifyPassword(utf8("secret"), hash), true);
  assertEquals(await verifyPassword(utf8("Secret"), hash), false);
});

testUnless(
  needsProgram("mosquitto_passwd"),
  "verifyPassword() takes the hashes of mosquitto_passwd",
  async () => {
    const file = await Deno.makeTempFile();
    try {
      await new Deno.Command("mosquitto_passwd", {
        args: ["-b", "-c", file, "alice", "secret"],
      }).output();
      const [, hash] = (await Deno.readTextFile(file)).trim().split(":");
      assertEquals(hash!.startsWith("$7$"), true);
      assertEquals(await verifyPassword(utf8("secret"), hash!), true);
      assertEquals(await verifyPassword(utf8("Secret"), hash!), false);
    } finally {
      await Deno.remove(file);
    }
  },
);

Deno.test("checkHash() refuses what is no hash, or costs too much, without showing it", () => {
  const salt = "c2FsdHNhbHQ";
  const key = "MDEyMzQ1Njc4OTAxMjM0NQ";
  const wrong = [
    "plain-secret",
    `$md5$x$${salt}$${key}`,
    `$scrypt$ln=40,r=8,p=1$${salt}$${key}`,
    `$scrypt$ln=20,r=64,p=1$${salt}$${key}`,
    `$scrypt$r=8$${salt}$${key}`,
    `$pbkdf2-sha256$i=0$${salt}$${key}`,
    `$pbkdf2-sha256$i=99999999$${salt}$${key}`,
    `$7$101$c2E$${key}`,
  ];
  for (const text of wrong) {
    const error = assertThrows(() => checkHash(text), UsageError) as UsageError;
    assertEquals(error.message.includes(text), false);
  }
});

// Token bucket

Deno.test("TokenBucket.excessMs() tells when tokens will be there, and takes none", () => {
  const bucket = new TokenBucket(10, 5, 0);
  assertEquals(bucket.excessMs(5, 0), 0);
  bucket.take(5, 0);
  assertEquals(bucket.excessMs(1, 0), 100);
  assertEquals(bucket.excessMs(1, 60), 40);
  assertEquals(bucket.excessMs(1, 100), 0);
  // More than it holds is there when it is full.
  assertEquals(bucket.excessMs(50, 100), 400);
});

Deno.test("TokenBucket never lets more pass than its rate and its burst", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 1000 }),
    fc.integer({ min: 1, max: 1000 }),
    fc.array(fc.tuple(fc.nat(50), fc.nat(300)), { maxLength: 100 }),
    (rate, burst, steps) => {
      const bucket = new TokenBucket(rate, burst, 0);
      let now = 0;
      let taken = 0;
      for (const [count, passed] of steps) {
        now += passed;
        taken += count;
        // Who waits as told is never ahead of the rate.
        now += bucket.take(count, now);
        assertEquals(taken <= burst + rate * now / 1000 + 1e-6, true);
      }
    },
  ));
});

Deno.test("TokenBucket.tryTake() takes all or nothing, and a clock set back gives nothing", () => {
  const bucket = new TokenBucket(10, 2, 1000);
  assertEquals(bucket.tryTake(2, 1000), true);
  assertEquals(bucket.tryTake(1, 1099), false);
  assertEquals(bucket.tryTake(1, 1100), true);
  assertEquals(bucket.tryTake(1, 0), false);
  assertEquals(bucket.isFull(100), false);
  assertEquals(bucket.isFull(1000), true);
});

// Verdicts

const credentials = (clientId: string): Credentials => ({
  clientId,
  username: "u",
  password: utf8("p"),
  commonName: undefined,
  remote: "192.0.2.1:1",
  listener: "mqtt://192.0.2.2:1883",
  version: 4,
});

Deno.test("VerdictCache asks once for the same credentials, until the verdict is old", async () => {
  const cache = new VerdictCache({ allowMs: 1000, denyMs: 100, maxEntries: 9 });
  let asked = 0;
  const ask = (verdict: Verdict) => () => {
    asked++;
    return Promise.resolve(verdict);
  };
  const allow = ask({ kind: "allow" });
  const deny = ask({ kind: "deny", reasonCode: 0x86, reason: "" });
  await Promise.all([1, 2, 3].map(() => cache.get(credentials("a"), 0, allow)));
  await cache.get(credentials("a"), 999, allow);
  assertEquals(asked, 1);
  await cache.get(credentials("a"), 1000, allow);
  assertEquals(asked, 2);
  await cache.get(credentials("b"), 0, deny);
  await cache.get(credentials("b"), 99, deny);
  assertEquals(asked, 3);
  await cache.get(credentials("b"), 100, deny);
  assertEquals(asked, 4);
  await cache.get({ ...credentials("a"), password: utf8("q") }, 1000, allow);
  await cache.get(
    { ...credentials("a"), username: "up", password: utf8("") },
    1000,
    allow,
  );
  assertEquals(asked, 6);
});

Deno.test("VerdictCache believes no allowance beyond its own end, and no question that failed", async () => {
  const cache = new VerdictCache({ allowMs: 1000, denyMs: 100, maxEntries: 9 });
  let asked = 0;
  const ask = () => {
    asked++;
    return Promise.resolve<Verdict>({ kind: "allow", expiresMs: 50 });
  };
  await cache.get(credentials("a"), 0, ask);
  await cache.get(credentials("a"), 49, ask);
  assertEquals(asked, 1);
  await cache.get(credentials("a"), 50, ask);
  assertEquals(asked, 2);
  await assertRejects(() =>
    cache.get(credentials("b"), 0, () => Promise.reject(new Error("down")))
  );
  await cache.get(credentials("b"), 0, ask);
  assertEquals(asked, 3);
});

Deno.test("VerdictCache remembers no service that could not be asked", async () => {
  const cache = new VerdictCache({ allowMs: 1000, denyMs: 100, maxEntries: 9 });
  const verdicts: Verdict[] = [
    { kind: "deny", reasonCode: 0x88, reason: "no answer" },
    { kind: "allow" },
  ];
  const ask = () => Promise.resolve(verdicts.shift()!);
  // Those that come together share one answer.
  const together = await Promise.all(
    [1, 2].map(() => cache.get(credentials("a"), 0, ask)),
  );
  assertEquals(together.map(({ kind }) => kind), ["deny", "deny"]);
  assertEquals((await cache.get(credentials("a"), 1, ask)).kind, "allow");
});

Deno.test("VerdictCache keeps no more than it may", async () => {
  const cache = new VerdictCache({ allowMs: 1000, denyMs: 100, maxEntries: 2 });
  let asked = 0;
  const ask = () => {
    asked++;
    return Promise.resolve<Verdict>({ kind: "allow" });
  };
  for (const id of ["a", "b", "c", "b", "c", "a"]) {
    await cache.get(credentials(id), 0, ask);
  }
  assertEquals(asked, 4);
});

// The file

const parse = (text: string) =>
  parsePolicy(text, "policy.toml", (name) => `content of ${name}\n`);

Deno.test("parsePolicy() reads a file with everything in it", async () => {
  const hash = await hashPassword("x");
  const config = parse(`
    [[users]]
    name = "alice"
    password = "${hash}"
    client_ids = ["alice-*"]

    [auth]
    certificate = "common_name"
    cache_seconds = 5
    [auth.jwt]
    algorithms = ["ES256"]
    public_key_file = "key.pem"
    audience = "mqtt"
    username_claim = "sub"
    [auth.http]
    url = "http://127.0.0.1:9/auth"
    headers = { authorization = "Bearer x" }

    [acl]
    [[acl.rules]]
    effect = "allow"
    topics = ["devices/%c/#"]
    action = "publish"

    [limits]
    per = "user"
    messages_per_second = 100
    max_qos = 1
    retain = "strip"

    [broker]
    username = "gateway"
    password = "secret"
  `);
  assertEquals(config.users.get("alice")!.clientIds, ["alice-*"]);
  assertEquals(config.anonymous, false);
  assertEquals(config.certificate, "common_name");
  assertEquals(config.cache.allowMs, 5000);
  assertEquals(config.jwt!.publicKey, "content of key.pem\n");
  assertEquals(config.http!.headers, { authorization: "Bearer x" });
  assertEquals(config.defaultAllows, false);
  assertEquals(config.rules[0]!.actions, ["publish"]);
  assertEquals(config.limits.scope, "user");
  assertEquals(config.limits.maxQos, 1);
  assertEquals(config.brokerUsername, "gateway");
});

Deno.test("parsePolicy() allows what an empty file says nothing about", () => {
  const config = parse("");
  assertEquals([config.anonymous, config.defaultAllows], [true, true]);
});

Deno.test("parsePolicy() says where a file is wrong", () => {
  const wrong: [text: string, says: string][] = [
    ["[auth", '"policy.toml:1:'],
    ["[unknown]", '"policy.toml:1:2": the key "unknown" is unknown'],
    ["[acl]\nrulez = []", '"policy.toml:2:1": the key "acl.rulez" is unknown'],
    [
      '[acl]\n[[acl.rules]]\neffect = "maybe"\ntopics = ["a"]',
      '"policy.toml:3:1": "acl.rules.0.effect": ',
    ],
    [
      '[acl]\n[[acl.rules]]\neffect = "allow"\ntopics = ["a/#/b"]',
      '"policy.toml:4:11": "acl.rules.0.topics.0": expected a topic filter',
    ],
    [
      '[[users]]\nname = "a"\npassword = "plain"',
      '"policy.toml:3:1": "users.0.password": a password must be a hash',
    ],
    // The misspelt key stands beside the one that is missing for it.
    [
      '[[acl.rules]]\neffect = "allow"\ntopic = ["a"]',
      '"policy.toml:1:3": "acl.rules.0.topics" is missing; 3:1: the key "acl.rules.0.topic" is unknown',
    ],
    ["[limits]\nmax_qos = 3", '"policy.toml:2:1": "limits.max_qos": '],
    [
      "[limits]\nmessages_per_second = 0",
      '"policy.toml:2:1": "limits.messages_per_second": ',
    ],
    [
      '[auth.http]\nurl = "not a url"',
      '"policy.toml:2:1": "auth.http.url": ',
    ],
    // All of these would be refused at each login, by whatever sends them.
    [
      '[auth.http]\nurl = "localhost:8080/auth"',
      '"policy.toml:2:1": "auth.http.url": expected http://HOST',
    ],
    [
      '[auth.http]\nurl = "file:///etc/passwd"',
      '"policy.toml:2:1": "auth.http.url": expected http://HOST',
    ],
    [
      '[auth.jwt]\nalgorithms = ["RS256"]\njwks_url = "id.example:443/keys"',
      '"policy.toml:3:1": "auth.jwt.jwks_url": expected http://HOST',
    ],
    [
      '[auth.http]\nurl = "http://h/"\nheaders = { "x y" = "1" }',
      '"policy.toml:3:1": "auth.http.headers": expected names and values',
    ],
    [
      '[auth.http]\nurl = "http://h/"\nheaders = { x = "a\\nb" }',
      '"policy.toml:3:1": "auth.http.headers": expected names and values',
    ],
    // 2^31 ms and more overflow a timer, which then ends at once.
    [
      '[auth.http]\nurl = "http://h/"\ntimeout_seconds = 2147484',
      '"policy.toml:3:1": "auth.http.timeout_seconds": ',
    ],
  ];
  for (const [text, says] of wrong) {
    const error = assertThrows(() => parse(text), UsageError) as UsageError;
    assertEquals([text, error.message.includes(says)], [text, true]);
    assertEquals(error.message.includes("\n"), false);
  }
});

Deno.test("parsePolicy() refuses the placeholders of other products, with their place", () => {
  // EMQX, HiveMQ, RabbitMQ, AWS IoT, VerneMQ, flespi, Solace, Kubernetes.
  const foreign = [
    "devices/${username}/#",
    "devices/${clientid}",
    "devices/${{clientid}}",
    "devices/{username}/#",
    "devices/{{client_id}}",
    "devices/${iot:Connection.Thing.ThingName}",
    "devices/%{user}",
    "devices/%(user)s",
    "devices/$(VAR)",
    "devices/$client-id",
    "devices/$username/x",
    "devices/%d",
    "devices/%e/x",
    "devices/%m",
    "devices/%U",
    "devices/%username",
    "devices/%clientid",
    "devices/%ccn",
  ];
  const rule = (lines: string) =>
    `[acl]\n[[acl.rules]]\neffect = "deny"\n${lines}`;
  const refused = (text: string, place: string) => {
    const { message } = assertThrows(() => parse(text), UsageError);
    assertEquals([text, message.slice(0, place.length)], [text, place]);
    assertEquals([text, message.includes("unknown placeholder")], [text, true]);
  };
  for (const topic of foreign) {
    refused(
      rule(`topics = ["a", "${topic}"]`),
      'Cannot use "policy.toml:4:16": "acl.rules.0.topics.1"',
    );
  }
  const others = [
    'users = ["${username}"]',
    'users = ["%u"]',
    'client_ids = ["%c"]',
    'client_ids = ["{username}-*"]',
    'common_names = ["%cn"]',
  ];
  for (const line of others) {
    refused(rule(`topics = ["a"]\n${line}`), 'Cannot use "policy.toml:5:');
  }
  refused('[auth]\nclient_ids = ["%d-*"]', 'Cannot use "policy.toml:2:15"');
});

Deno.test("parsePolicy() takes its own placeholders, and what only looks like one", () => {
  const topics = ["%u", "a/%c/%cn/#", "%u-%c/x", "100%", "50%/x", "$SYS/#"];
  const config = parse(
    `[auth]\nclient_ids = ["%u", "%u-*"]\n[[acl.rules]]\neffect = "allow"\ntopics = ${
      JSON.stringify(topics)
    }\nclient_ids = ["%u-*"]`,
  );
  assertEquals(config.rules[0]!.topics, topics);
  assertEquals(config.clientIds, ["%u", "%u-*"]);
});

Deno.test("parsePolicy() refuses $share in a rule, which sees filters without it", () => {
  assertThrows(
    () => parse('[[acl.rules]]\neffect = "deny"\ntopics = ["$share/g/a"]'),
    UsageError,
    'policy.toml:3:11": "acl.rules.0.topics.0": expected the filter without $share',
  );
});

Deno.test("parsePolicy() lets no broker prove names that never sees them", () => {
  for (const line of ['username = "gateway"', "hide_credentials = true"]) {
    assertThrows(
      () => parse(`[auth]\nbroker = true\n[broker]\n${line}`),
      UsageError,
      '"auth.broker" requires',
    );
  }
});

Deno.test("parsePolicy() takes no user twice", async () => {
  const hash = await hashPassword("x");
  const user = `[[users]]\nname = "a"\npassword = "${hash}"\n`;
  assertThrows(() => parse(user + user), UsageError, "stands twice");
});
