import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { once } from "node:events";
import { connect as connectTls } from "node:tls";
import { exportJWK, exportSPKI, generateKeyPair, SignJWT } from "jose";
import { UsageError } from "../../../../net/errors.ts";
import { Log } from "../../../../net/observe/log.ts";
import { hashPassword } from "../../../../net/mqtt/policy/password.ts";
import type {
  ConnectRequest,
  MqttSession,
} from "../../../../net/mqtt/hooks/hooks.ts";
import { Policy } from "../../../../net/mqtt/policy/policy.ts";
import { parsePolicy } from "../../../../net/mqtt/policy/policy_file.ts";
import { CertificateAuthority } from "../../../support/certificate_authority.ts";
import { startMosquitto } from "../../../support/mosquitto.ts";
import {
  bytes,
  type ConnectOptions,
  connectPacket,
  connectPeer,
  MqttPeer,
  openBench,
  packet,
  portOf,
  publishPacket,
  ScriptedBroker,
  startTestGateway,
  subscribePacket,
} from "../../../support/mqtt_peer.ts";
import { needsProgram, testUnless } from "../../../support/skip.ts";

const config = (text: string, files: Record<string, string> = {}) =>
  parsePolicy(text, "policy.toml", (name) => files[name]!);

/** The code of the CONNACK that a client gets, 0 where it is let in. */
async function codeFor(
  policy: Policy,
  options: ConnectOptions,
): Promise<number> {
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, { policy });
  const version = options.version ?? 5;
  using client = await connectPeer(gateway, version);
  await client.send(connectPacket({ ...options, version }));
  const refused = client.expect(2).then((connack) => connack[3]!);
  const accepted = listener.accept().then(async (broker) => {
    using peer: MqttPeer = broker;
    await peer.expect(1);
    await peer.send(version === 5 ? [0x20, 3, 0, 0, 0] : [0x20, 2, 0, 0]);
    await refused;
  }).catch(() => {});
  const code = await refused;
  listener[Symbol.dispose]();
  await accepted;
  return code;
}

Deno.test("Policy lets users in with their password and a client identifier of theirs", async () => {
  const policy = new Policy(config(`
    [[users]]
    name = "alice"
    password = "${await hashPassword("secret")}"
    client_ids = ["alice-*"]
  `));
  const alice = { username: "alice", password: "secret", clientId: "alice-1" };
  assertEquals(await codeFor(policy, alice), 0);
  assertEquals(await codeFor(policy, { ...alice, version: 4 }), 0);
  assertEquals(await codeFor(policy, { ...alice, password: "other" }), 0x86);
  assertEquals(
    await codeFor(policy, { ...alice, password: "other", version: 4 }),
    4,
  );
  assertEquals(await codeFor(policy, { ...alice, clientId: "bob" }), 0x85);
  assertEquals(await codeFor(policy, { username: "alice" }), 0x86);
  assertEquals(await codeFor(policy, { username: "bob", password: "x" }), 0x86);
  assertEquals(await codeFor(policy, {}), 0x86);
});

Deno.test("Policy lets nobody pass for a user where anonymous clients are let in", async () => {
  const policy = new Policy(config(`
    [[users]]
    name = "alice"
    password = "${await hashPassword("secret")}"
    [auth]
    anonymous = true
  `));
  assertEquals(await codeFor(policy, {}), 0);
  assertEquals(await codeFor(policy, { username: "bob" }), 0x86);
  assertEquals(
    await codeFor(policy, { username: "alice", password: "" }),
    0x86,
  );
});

Deno.test("Policy checks tokens with a secret: signature, times, audience, issuer, claims", async () => {
  const secret = "a secret of thirty-two characters";
  let now = Date.now();
  const policy = new Policy(
    config(`
      [auth.jwt]
      algorithms = ["HS256"]
      secret = "${secret}"
      issuer = "me"
      audience = "mqtt"
      username_claim = "sub"
      client_id_claim = "cid"
    `),
    () => now,
  );
  const token = (
    change: (jwt: SignJWT) => SignJWT = (jwt) => jwt,
    key = secret,
  ) => {
    const seconds = Math.floor(now / 1000);
    const jwt = new SignJWT({ cid: "c1" }).setProtectedHeader({ alg: "HS256" })
      .setSubject("alice").setIssuer("me").setAudience("mqtt")
      .setExpirationTime(seconds + 60);
    return change(jwt).sign(new TextEncoder().encode(key));
  };
  const seconds = Math.floor(now / 1000);
  const code = async (password: string, clientId = "c1") =>
    await codeFor(policy, { username: "any", password, clientId });
  assertEquals(await code(await token()), 0);
  assertEquals(
    await code(await token(undefined, "another secret of enough length..")),
    0x86,
  );
  assertEquals(await code(await token((jwt) => jwt.setIssuer("you"))), 0x86);
  assertEquals(await code(await token((jwt) => jwt.setAudience("http"))), 0x86);
  assertEquals(
    await code(await token((jwt) => jwt.setNotBefore(seconds + 9))),
    0x86,
  );
  assertEquals(await code(await token((jwt) => jwt.setSubject(""))), 0x86);
  assertEquals(await code(await token(), "c2"), 0x85);
  const unsigned = [{ alg: "none" }, { sub: "alice", cid: "c1" }].map((part) =>
    btoa(JSON.stringify(part)).replace(/=+$/, "")
  ).join(".");
  assertEquals(await code(`${unsigned}.`), 0x86);
  assertEquals(await code("no token"), 0x86);
  const good = await token();
  now += 61_000;
  assertEquals(await code(good), 0x86);
});

Deno.test("Policy checks tokens with a public key, and takes it for no secret", async () => {
  for (const algorithm of ["ES256", "RS256"] as const) {
    const { publicKey, privateKey } = await generateKeyPair(algorithm);
    const pem = await exportSPKI(publicKey);
    const policy = new Policy(config(
      `[auth.jwt]\nalgorithms = ["${algorithm}"]\npublic_key_file = "key"\nfrom = "username"`,
      { key: pem },
    ));
    const sign = (alg: string, key: Parameters<SignJWT["sign"]>[0]) =>
      new SignJWT({}).setProtectedHeader({ alg }).sign(key);
    const good = await sign(algorithm, privateKey);
    const forged = await sign("HS256", new TextEncoder().encode(pem));
    assertEquals(await codeFor(policy, { username: good }), 0);
    assertEquals(await codeFor(policy, { username: forged }), 0x86);
  }
});

Deno.test("Policy refuses keys and algorithms that do not belong together", () => {
  const wrong = [
    'algorithms = ["HS256"]',
    'algorithms = ["HS256"]\npublic_key = "x"',
    'algorithms = ["RS256"]\nsecret = "x"',
    'algorithms = ["RS256", "HS256"]\njwks_url = "http://127.0.0.1/"',
    'algorithms = []\nsecret = "x"',
    'algorithms = ["HS256"]\nsecret = "x"\njwks_url = "http://127.0.0.1/"',
  ];
  for (const text of wrong) {
    assertThrows(
      () => new Policy(config(`[auth.jwt]\n${text}`)),
      UsageError,
      "auth.jwt",
    );
  }
});

Deno.test("Policy refuses a public key that is none, or of another algorithm, before a token comes", async () => {
  const keyOf = async (algorithm: string) =>
    await exportSPKI(
      (await generateKeyPair(algorithm, { extractable: true })).publicKey,
    );
  const [rsa, p256, p384, ed25519] = await Promise.all(
    ["RS256", "ES256", "ES384", "EdDSA"].map(keyOf),
  ) as [string, string, string, string];
  const policyWith = (algorithm: string, key: string) =>
    new Policy(config(
      `[auth.jwt]\nalgorithms = ["${algorithm}"]\npublic_key_file = "key"`,
      { key },
    ));
  const wrong: [string, string][] = [
    ["RS256", "nonsense"],
    ["RS256", rsa.replace(/[a-zA-Z0-9]{20}/, "")],
    ["RS256", p256],
    ["ES256", p384],
    ["ES256", ed25519],
    ["EdDSA", rsa],
  ];
  for (const [algorithm, key] of wrong) {
    const error = assertThrows(() => policyWith(algorithm, key), UsageError);
    assertEquals(
      (error as Error).message,
      `auth.jwt: public_key is no PEM public key for ${algorithm}`,
    );
  }
  const right: [string, string][] = [
    ["RS256", rsa],
    ["PS256", rsa],
    ["ES256", p256],
    ["ES384", p384],
    ["EdDSA", ed25519],
  ];
  for (const [algorithm, key] of right) policyWith(algorithm, key);
});

Deno.test("Policy checks tokens with the keys that are published at a URL, which it asks for once", async () => {
  const { publicKey, privateKey } = await generateKeyPair("ES256", {
    extractable: true,
  });
  const keys = [{ ...await exportJWK(publicKey), kid: "one" }];
  let asked = 0;
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => {
      asked++;
      return Response.json({ keys });
    },
  );
  const jwksUrl = `http://127.0.0.1:${server.addr.port}/keys`;
  const text = `[auth.jwt]\nalgorithms = ["ES256"]\njwks_url = "${jwksUrl}"`;
  const sign = (kid: string) =>
    new SignJWT({}).setProtectedHeader({ alg: "ES256", kid }).sign(privateKey);
  const policy = new Policy(config(text));
  const codes = [];
  for (const kid of ["one", "one", "two"]) {
    codes.push(
      await codeFor(policy, { username: "u", password: await sign(kid) }),
    );
  }
  assertEquals(codes, [0, 0, 0x86]);
  assertEquals(asked, 1);
  await server.shutdown();
  // Whose keys cannot be had is not let in, and may come again.
  const later = new Policy(config(text));
  const who = { username: "u", password: await sign("one") };
  assertEquals(await codeFor(later, who), 0x88);
});

Deno.test("Policy asks a web service", async () => {
  const asked: Record<string, unknown>[] = [];
  const answers: Record<string, Response> = {};
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      const body = await request.json();
      asked.push({ ...body, header: request.headers.get("x-key") });
      return answers[body.username]!.clone();
    },
  );
  Object.assign(answers, {
    ok: new Response("ok"),
    empty: new Response(null, { status: 204 }),
    json: Response.json({ allow: true, username: "renamed" }),
    no: new Response("no", { status: 403 }),
    false: Response.json({ allow: false }),
    broken: new Response("oops", { status: 500 }),
  });
  const policy = new Policy(config(`
    [auth.http]
    url = "http://127.0.0.1:${server.addr.port}/auth"
    headers = { x-key = "7" }
  `));
  const cases: [string, number][] = [
    ["ok", 0x87],
    ["empty", 0],
    ["json", 0],
    ["no", 0x86],
    ["false", 0x86],
    ["broken", 0x88],
  ];
  for (const [username, code] of cases) {
    assertEquals(
      [username, await codeFor(policy, { username, password: "pw" })],
      [username, code],
    );
  }
  assertEquals(asked.length, cases.length);
  const { client_id: id, username, password, header, version } = asked[0]!;
  assertEquals([id, username, password, header, version], [
    "tester",
    "ok",
    "pw",
    "7",
    5,
  ]);
});

Deno.test("Policy remembers what a web service said for as long as the file and the service say", async () => {
  let asked = 0;
  let now = 1_000_000;
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      asked++;
      const { username } = await request.json();
      return username === "no"
        ? new Response(null, { status: 403 })
        : Response.json({
          allow: true,
          expires_in: username === "short" ? 3 : undefined,
        });
    },
  );
  const policy = new Policy(
    config(`
      [auth]
      cache_seconds = 60
      deny_cache_seconds = 5
      [auth.http]
      url = "http://127.0.0.1:${server.addr.port}/"
    `),
    () => now,
  );
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, { policy });
  const come = async (username: string) => {
    using client = await connectPeer(gateway, 5);
    await client.send(
      connectPacket({ version: 5, username, password: "pw" }),
    );
    if (username === "no") return (await client.expect(2))[3]!;
    using broker = await listener.accept();
    await broker.expect(1);
    await broker.send([0x20, 3, 0, 0, 0]);
    return (await client.expect(2))[3]!;
  };
  const steps: [username: string, afterMs: number, asked: number][] = [
    ["yes", 0, 1],
    ["yes", 59_000, 1],
    ["yes", 1000, 2],
    ["no", 0, 3],
    ["no", 4999, 3],
    ["no", 1, 4],
    ["short", 0, 5],
    ["short", 2999, 5],
    ["short", 1, 6],
  ];
  for (const [username, afterMs, times] of steps) {
    now += afterMs;
    assertEquals(await come(username), username === "no" ? 0x86 : 0);
    assertEquals([username, afterMs, asked], [username, afterMs, times]);
  }
});

Deno.test("Policy refuses with 0x88 where the web service cannot be asked", async () => {
  const closed = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = closed.addr;
  closed.close();
  const policy = new Policy(
    config(`[auth.http]\nurl = "http://127.0.0.1:${port}/"`),
  );
  const who = { username: "u", password: "p" };
  assertEquals(await codeFor(policy, who), 0x88);
  assertEquals(await codeFor(policy, { ...who, version: 4 }), 3);
});

Deno.test("Policy lets each address connect only so often", async () => {
  const policy = new Policy(
    config("[limits]\nconnects_per_second = 2"),
    () => 1000,
  );
  const codes = [];
  for (let i = 0; i < 3; i++) codes.push(await codeFor(policy, {}));
  assertEquals(codes, [0, 0, 0x9f]);
});

Deno.test("Policy gives the broker other credentials, and the session the name that it proved", async () => {
  let name: string | undefined = "";
  await using bench = await openBench({
    connect: connectPacket({ username: "device", password: "x" }),
    policy: new Policy(
      config(
        `[[users]]\nname = "device"\npassword = "${await hashPassword("x")}"
        [broker]\nusername = "gateway"\npassword = "secret"`,
      ),
    ),
    hooks: { connect: (session) => void (name = session.username) },
  });
  assertEquals(
    bench.connect,
    connectPacket({ username: "gateway", password: "secret" }),
  );
  assertEquals(name, "device");
});

Deno.test("Policy hides credentials from the broker", async () => {
  await using bench = await openBench({
    connect: connectPacket({ username: "device", password: "x" }),
    policy: new Policy(config("[broker]\nhide_credentials = true")),
  });
  assertEquals(bench.connect, connectPacket());
});

const ACL = `
  [acl]
  [[acl.rules]]
  effect = "allow"
  topics = ["devices/%c/#"]
  [[acl.rules]]
  effect = "allow"
  action = "subscribe"
  topics = ["news/+"]
`;

Deno.test("Policy decides about messages, filters, wills and deliveries", async () => {
  await using bench = await openBench({ policy: new Policy(config(ACL)) });
  const { client, broker } = bench;
  await client.send(
    publishPacket({ topic: "devices/tester/a", payload: "1" }),
    publishPacket({ topic: "devices/other/a", payload: "2" }),
    publishPacket({ topic: "news/x", payload: "3" }),
    subscribePacket(4, 7, [
      ["devices/+/a", 0],
      ["devices/tester/#", 1],
      ["news/+", 0],
      ["#", 0],
    ]),
  );
  assertEquals(
    await broker.expect(3),
    publishPacket({ topic: "devices/tester/a", payload: "1" }),
  );
  assertEquals(
    await broker.expect(8),
    subscribePacket(4, 7, [["devices/tester/#", 1], ["news/+", 0]]),
  );
  await broker.send([0x90, 4, 0, 7, 1, 0]);
  assertEquals(await client.expect(9), packet(0x90, [0, 7, 0x80, 1, 0, 0x80]));
  await broker.send(
    publishPacket({ topic: "devices/other/a" }),
    publishPacket({ topic: "news/x" }),
  );
  assertEquals(await client.expect(3), publishPacket({ topic: "news/x" }));
  const policy = new Policy(config(ACL));
  const will = (topic: string) => ({ will: { topic, payload: "" } });
  assertEquals(await codeFor(policy, will("devices/tester/gone")), 0);
  assertEquals(await codeFor(policy, will("devices/other/gone")), 0x87);
});

Deno.test("Policy lowers QoS and takes retain away, or denies", async () => {
  {
    const policy = new Policy(
      config('[limits]\nmax_qos = 1\nretain = "strip"'),
    );
    await using bench = await openBench({ policy });
    await bench.client.send(
      publishPacket({ topic: "a", qos: 2, id: 9, retain: true }),
      subscribePacket(4, 7, [["a", 2]]),
    );
    assertEquals(
      await bench.broker.expect(3),
      publishPacket({ topic: "a", qos: 1, id: 9 }),
    );
    assertEquals(
      await bench.broker.expect(8),
      subscribePacket(4, 7, [["a", 1]]),
    );
  }
  {
    const policy = new Policy(
      config('[limits]\nretain = "deny"\nmax_payload_bytes = 2'),
    );
    await using bench = await openBench({ policy });
    await bench.client.send(
      publishPacket({ topic: "a", retain: true }),
      publishPacket({ topic: "a", payload: "123" }),
      publishPacket({ topic: "a", payload: "12" }),
    );
    assertEquals(
      await bench.broker.expect(3),
      publishPacket({ topic: "a", payload: "12" }),
    );
  }
});

Deno.test("Policy.charge() slows a session that sends too fast, or all of a user or an address together", async () => {
  for (
    const [per, shared] of [["session", false], ["user", true], [
      "address",
      true,
    ]] as const
  ) {
    const policy = new Policy(
      config(
        `[limits]\nper = "${per}"\nmessages_per_second = 10\nbytes_per_second = 1000`,
      ),
      () => 1000,
    );
    const sessions: Parameters<Policy["charge"]>[0][] = [];
    const hooks = {
      connect: (session: Parameters<Policy["charge"]>[0]) =>
        void sessions.push(session),
    };
    await using one = await openBench({ policy, hooks });
    await using two = await openBench({ policy, hooks });
    assertEquals(one.gateway === two.gateway, false);
    const [first, second] = sessions;
    assertEquals(policy.charge(first!, 10, 100), 0);
    assertEquals(policy.charge(first!, 5, 100), 500);
    // The CONNECT's bytes were counted before.
    assertEquals(Math.round(policy.charge(first!, 0, 1800) / 100), 10);
    assertEquals(policy.charge(second!, 1, 1) > 0, shared);
  }
});

Deno.test("Policy.charge() charges nothing for what is not to be slowed", async () => {
  for (const action of ["drop", "refuse", "disconnect"]) {
    const policy = new Policy(
      config(
        `[limits]\nmessages_per_second = 10\nover_limit = "${action}"`,
      ),
      () => 1000,
    );
    const sessions: Parameters<Policy["charge"]>[0][] = [];
    await using _bench = await openBench({
      policy,
      hooks: { connect: (session) => void sessions.push(session) },
    });
    assertEquals(policy.overLimit, action);
    for (let i = 0; i < 10; i++) {
      assertEquals(policy.charge(sessions[0]!, 1, 100), 0);
    }
    // However often it is tried, the next one is due after 100 ms.
    for (let i = 0; i < 10; i++) {
      assertEquals(policy.charge(sessions[0]!, 1, 100), 100);
    }
  }
});

// Changes while sessions are open

Deno.test("Policy.replace() ends sessions that could not come in any more, and leaves the others", async () => {
  const hash = await hashPassword("secret");
  const other = await hashPassword("other");
  const users = (...lines: string[]) => config(lines.join("\n"));
  const user = (name: string, password: string) =>
    `[[users]]\nname = "${name}"\npassword = "${password}"`;
  const policy = new Policy(users(user("alice", hash), user("bob", hash)));
  const connect = (username: string) =>
    connectPacket({ version: 5, username, password: "secret" });
  await using alice = await openBench({
    version: 5,
    policy,
    connect: connect("alice"),
  });
  await using bob = await openBench({
    version: 5,
    policy,
    connect: connect("bob"),
  });
  policy.replace(users(user("alice", hash), user("bob", other)));
  alice.gateway.reviewSessions();
  bob.gateway.reviewSessions();
  const [disconnect] = await bob.client.rest();
  assertEquals([disconnect![0], disconnect![2]], [0xe0, 0x87]);
  await alice.client.send([0xc0, 0]);
  await alice.broker.expect(12);
});

Deno.test("Policy.replace() ends each session that would not come in as who it is", async () => {
  const hash = await hashPassword("secret");
  const other = await hashPassword("other");
  const user = (name: string, ids: string[]) =>
    `[[users]]\nname = "${name}"\npassword = "${hash}"\nclient_ids = ${
      JSON.stringify(ids)
    }\n`;
  const jwt = (lines: string) =>
    `[auth.jwt]\nalgorithms = ["HS256"]\n${lines}\n`;
  const secret = "a secret of thirty-two characters";
  const token = await new SignJWT({}).setProtectedHeader({ alg: "HS256" })
    .setSubject("alice").sign(new TextEncoder().encode(secret));
  const alice = { username: "alice", password: "secret" };
  const bearer = { username: "any", password: token };
  const known = jwt(`secret = "${secret}"`);
  const cases: [
    what: string,
    who: ConnectOptions,
    before: string,
    after: string,
    ends: boolean,
  ][] = [
    [
      "a user who may not have the client identifier any more",
      alice,
      user("alice", ["tester", "x"]),
      user("alice", ["x"]),
      true,
    ],
    [
      "a user who may have one identifier less",
      alice,
      user("alice", ["tester", "x"]),
      user("alice", ["tester"]),
      false,
    ],
    [
      "a name that was anybody's and is a user's now",
      alice,
      "",
      `${user("alice", ["*"])}[auth]\nanonymous = true`,
      true,
    ],
    [
      "nobody, where others have names now",
      {},
      "",
      `${user("alice", ["*"])}[auth]\nanonymous = true`,
      false,
    ],
    [
      "a token of a secret that is replaced",
      bearer,
      known,
      jwt('secret = "another secret, as long as that"'),
      true,
    ],
    [
      "a token for another audience",
      bearer,
      known,
      jwt(`secret = "${secret}"\naudience = "elsewhere"`),
      true,
    ],
    [
      "a token whose secret stays, where clocks may differ more",
      bearer,
      known,
      jwt(`secret = "${secret}"\nleeway_seconds = 9`),
      false,
    ],
    [
      "a token where nobody asks for one",
      bearer,
      known,
      "",
      true,
    ],
    [
      "a user with another password",
      alice,
      user("alice", ["*"]),
      user("alice", ["*"]).replace(hash, other),
      true,
    ],
  ];
  for (const [what, who, before, after, ends] of cases) {
    const policy = new Policy(config(before));
    await using bench = await openBench({
      version: 5,
      policy,
      connect: connectPacket({ version: 5, ...who }),
    });
    policy.replace(config(after));
    bench.gateway.reviewSessions();
    if (ends) {
      const disconnect = await bench.client.next();
      assertEquals([what, disconnect?.[2]], [what, 0x87]);
    } else {
      await bench.client.send([0xc0, 0]);
      assertEquals([what, (await bench.broker.next())?.[0]], [what, 0xc0]);
    }
  }
});

testUnless(
  needsProgram("openssl"),
  "Policy.replace() ends sessions whose certificate is not their name any more",
  async () => {
    await using authority = await CertificateAuthority.create();
    const server = await authority.sign("IP:127.0.0.1");
    const device = await authority.issue("/O=Acme/CN=device-7", "DNS:device-7");
    const read = (file: string) => Deno.readTextFileSync(file);
    const policyFor = (certificate: string) =>
      config(`[auth]\ncertificate = "${certificate}"\nanonymous = true`);
    for (const next of ["none", "subject"]) {
      const policy = new Policy(policyFor("common_name"));
      using listener = new ScriptedBroker();
      await using gateway = await startTestGateway(listener.url, {
        policy,
        listeners: [{
          url: "mqtts://127.0.0.1:0",
          tls: {
            cert: read(server.cert),
            key: read(server.key),
            clientCa: read(authority.cert),
          },
        }],
      });
      const client = connectTls({
        host: "127.0.0.1",
        port: portOf(gateway.urls[0]!),
        ca: read(authority.cert),
        cert: read(device.cert),
        key: read(device.key),
      });
      client.write(connectPacket({ version: 5, username: "x", password: "y" }));
      using broker = await listener.accept();
      // The certificate's name takes the place of what the client said.
      assertEquals(
        await broker.expect(1),
        connectPacket({
          version: 5,
          username: "device-7",
        }),
      );
      await broker.send([0x20, 3, 0, 0, 0]);
      const [connack] = await once(client, "data");
      assertEquals([connack[0], connack[3]], [0x20, 0]);
      const last = once(client, "data");
      policy.replace(policyFor(next));
      gateway.reviewSessions();
      const [disconnect] = await last;
      assertEquals([disconnect[0], disconnect[2]], [0xe0, 0x87]);
      client.destroy();
    }
  },
);

Deno.test("Policy lets nobody in by rules that were replaced while he waited", async () => {
  const hash = await hashPassword("secret");
  const policy = new Policy(
    config(`[[users]]\nname = "alice"\npassword = "${hash}"`),
  );
  using listener = new ScriptedBroker();
  const asked = Promise.withResolvers<void>();
  await using gateway = await startTestGateway(listener.url, {
    policy,
    // Before the policy, so that what is replaced is what it works with.
    hooks: { intercept: () => asked.resolve() },
  });
  using client = await connectPeer(gateway, 5);
  await client.send(
    connectPacket({ version: 5, username: "alice", password: "secret" }),
  );
  await asked.promise;
  policy.replace(config("[auth]\nanonymous = false"));
  gateway.reviewSessions();
  assertEquals((await client.expect(2))[3], 0x86);
});

Deno.test("Policy.replace() silences what a session may not receive any more, and denies what it may not send", async () => {
  const policy = new Policy(config(ACL));
  await using bench = await openBench({ policy });
  const { client, broker, gateway } = bench;
  await client.send(
    subscribePacket(4, 7, [["news/+", 0]]),
    publishPacket({ topic: "devices/tester/a" }),
  );
  await broker.expect(8);
  await broker.expect(3);
  await broker.send([0x90, 3, 0, 7, 0], publishPacket({ topic: "news/1" }));
  await client.expect(9);
  await client.expect(3);
  policy.replace(config(`
    [acl]
    [[acl.rules]]
    effect = "allow"
    topics = ["other/#"]
  `));
  gateway.reviewSessions();
  await broker.send(
    publishPacket({ topic: "news/2", qos: 1, id: 5 }),
    publishPacket({ topic: "other/x" }),
  );
  assertEquals(await client.expect(3), publishPacket({ topic: "other/x" }));
  assertEquals(await broker.expect(4), bytes(0x40, 2, 0, 5));
  await client.send(
    publishPacket({ topic: "devices/tester/a" }),
    publishPacket({ topic: "other/a" }),
  );
  assertEquals(await broker.expect(3), publishPacket({ topic: "other/a" }));
});

Deno.test("Policy.tick() ends a session whose token is over", async () => {
  const secret = "a secret of thirty-two characters";
  let now = Date.now();
  const policy = new Policy(
    config(`[auth.jwt]\nalgorithms = ["HS256"]\nsecret = "${secret}"`),
    () => now,
  );
  const token = await new SignJWT({}).setProtectedHeader({ alg: "HS256" })
    .setExpirationTime(Math.floor(now / 1000) + 60)
    .sign(new TextEncoder().encode(secret));
  await using bench = await openBench({
    version: 5,
    policy,
    connect: connectPacket({ version: 5, username: "u", password: token }),
  });
  policy.tick();
  await bench.client.send([0xc0, 0]);
  await bench.broker.expect(12);
  now += 61_000;
  policy.tick();
  const [disconnect] = await bench.client.rest();
  assertEquals([disconnect![0], disconnect![2]], [0xe0, 0x87]);
});

testUnless(
  needsProgram("mosquitto"),
  "Policy checks what a kept session was subscribed to before",
  async () => {
    await using mosquitto = await startMosquitto();
    const policy = new Policy(config(""));
    await using gateway = await startTestGateway(mosquitto.url, { policy });
    const connect = connectPacket({ clientId: "kept", clean: false });
    {
      using client = await connectPeer(gateway, 4);
      await client.send(connect, subscribePacket(4, 7, [["a/#", 1]]));
      await client.expect(2);
      await client.expect(9);
      await client.send([0xe0, 0]);
      await client.rest();
    }
    policy.replace(config(
      '[acl]\n[[acl.rules]]\neffect = "allow"\ntopics = ["a/open"]',
    ));
    {
      using sender = await connectPeer(
        await startOpen(mosquitto.url, gateways),
        4,
      );
      await sender.send(
        connectPacket({ clientId: "sender" }),
        publishPacket({ topic: "a/secret", qos: 1, id: 1 }),
        publishPacket({ topic: "a/open", qos: 1, id: 2 }),
      );
      await sender.expect(2);
      await sender.expect(4);
      await sender.expect(4);
    }
    using client = await connectPeer(gateway, 4);
    await client.send(connect);
    assertEquals(await client.expect(2), bytes(0x20, 2, 1, 0));
    const message = await client.expect(3);
    assertEquals(
      new TextDecoder().decode(message.subarray(4, 10)),
      "a/open",
    );
    await Promise.all(gateways.splice(0).map((one) => one.drain()));
  },
);

const gateways: Awaited<ReturnType<typeof startTestGateway>>[] = [];

/** A gateway without a policy, to send what the one under test would not let through. */
async function startOpen(url: string, list: typeof gateways) {
  const gateway = await startTestGateway(url);
  list.push(gateway);
  return gateway;
}

testUnless(
  needsProgram("mosquitto"),
  "Policy denies what a share would take from a topic that a rule denies, in all versions",
  async () => {
    await using mosquitto = await startMosquitto();
    const policy = new Policy(config(`
      [acl]
      default = "allow"
      [[acl.rules]]
      effect = "deny"
      topics = ["secret/#"]
    `));
    await using gateway = await startTestGateway(mosquitto.url, { policy });
    for (const version of [3, 4, 5] as const) {
      using client = await connectPeer(gateway, version);
      const filters = ["$share/g/secret/#", "$share/g/open/#"];
      await client.send(
        connectPacket({ version, clientId: `c${version}` }),
        subscribePacket(version, 1, filters.map((one) => [one, 0])),
      );
      await client.expect(2);
      const suback = await client.expect(9);
      // MQTT 3.1 has no code that refuses a filter: it is granted and unused.
      const refused = { 3: 0, 4: 0x80, 5: 0x87 }[version];
      assertEquals([version, ...suback.slice(-2)], [version, refused, 0]);
      const direct = await Deno.connect({
        hostname: "127.0.0.1",
        port: mosquitto.port,
      });
      using sender = new MqttPeer(direct, "client", 4);
      await sender.send(
        connectPacket({ clientId: "sender" }),
        publishPacket({ topic: "secret/a", payload: "no" }),
        publishPacket({ topic: "open/a", payload: "yes" }),
      );
      const message = await client.expect(3);
      assertEquals(
        new TextDecoder().decode(message.slice(4, 4 + message[3]!)),
        "open/a",
      );
      await client.send([0xe0, 0]);
      await client.rest();
    }
  },
);

// Identities

Deno.test("Policy gives the broker the name that was proved in place of another one that was claimed", async () => {
  const secret = "a secret of thirty-two characters";
  const token = await new SignJWT({ sub: "alice" })
    .setProtectedHeader({ alg: "HS256" })
    .sign(new TextEncoder().encode(secret));
  const jwt = `[auth.jwt]\nalgorithms = ["HS256"]\nsecret = "${secret}"\n`;
  const cases: [policy: string, sent: ConnectOptions, got: ConnectOptions][] = [
    [
      `${jwt}username_claim = "sub"`,
      { username: "admin", password: token },
      { username: "alice", password: token },
    ],
    // The broker may check the token itself.
    [
      `${jwt}username_claim = "sub"\nfrom = "username"`,
      { username: token },
      { username: token },
    ],
    [
      jwt,
      { username: "device", password: token },
      { username: "device", password: token },
    ],
  ];
  for (const [text, sent, got] of cases) {
    await using bench = await openBench({
      policy: new Policy(config(text)),
      connect: connectPacket(sent),
    });
    assertEquals(bench.connect, connectPacket(got));
  }
});

/** A token without an end. */
const tokenOf = (claims: Record<string, string>, secret: string) =>
  new SignJWT(claims).setProtectedHeader({ alg: "HS256" })
    .sign(new TextEncoder().encode(secret));

Deno.test("Policy holds every identity to client identifiers with its own name in them", async () => {
  const secret = "a secret of thirty-two characters";
  await using service = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response(null, { status: 204 }),
  );
  const hash = await hashPassword("secret");
  const jwt =
    `[auth.jwt]\nalgorithms = ["HS256"]\nsecret = "${secret}"\nusername_claim = "sub"\n`;
  const http = `[auth.http]\nurl = "http://127.0.0.1:${service.addr.port}/"\n`;
  const ids = 'client_ids = ["%u", "%u-*"]\n';
  const alice = { username: "alice", password: "secret" };
  const token = await tokenOf({ sub: "alice" }, secret);
  const bearer = { username: "bob", password: token };
  const user = `[[users]]\nname = "alice"\npassword = "${hash}"\n`;
  const cases: [what: string, policy: string, who: ConnectOptions][] = [
    ["a user's own list", `${user}${ids}`, alice],
    ["the policy's list, for users", `${user}[auth]\n${ids}`, alice],
    ["the policy's list, for tokens", `[auth]\n${ids}${jwt}`, bearer],
    ["the tokens' list", `${jwt}${ids}`, bearer],
    ["the policy's list, for a service", `[auth]\n${ids}${http}`, alice],
    ["the service's list", `${http}${ids}`, alice],
    ["the broker's users", `[auth]\nbroker = true\n${ids}`, alice],
    ["a token whose sub is a user", `${user}${ids}${jwt}`, bearer],
  ];
  const expected: [clientId: string, code: number][] = [
    ["alice", 0],
    ["alice-1", 0],
    ["bob", 0x85],
    ["bob-1", 0x85],
    ["alice2", 0x85],
    ["%u", 0x85],
    ["", 0x85],
  ];
  for (const [what, text, who] of cases) {
    const policy = new Policy(config(text));
    for (const [clientId, code] of expected) {
      const got = await codeFor(policy, { ...who, clientId });
      assertEquals([what, clientId, got], [what, clientId, code]);
    }
  }
  // Nobody has no name that could be in an identifier.
  const anonymous = new Policy(config(`[auth]\n${ids}`));
  assertEquals(await codeFor(anonymous, { clientId: "alice" }), 0x85);
  assertEquals(await codeFor(anonymous, { clientId: "-x" }), 0x85);
});

Deno.test("Policy takes a username for text, not for a pattern, in client identifiers", async () => {
  const policy = new Policy(config(
    `[[users]]\nname = "*"\npassword = "${await hashPassword("x")}"
    [auth]\nclient_ids = ["%u-*"]`,
  ));
  const star = { username: "*", password: "x" };
  assertEquals(await codeFor(policy, { ...star, clientId: "*-1" }), 0);
  assertEquals(await codeFor(policy, { ...star, clientId: "alice-1" }), 0x85);
});

Deno.test("Policy takes a token or the password of a known user, whichever is right", async () => {
  const secret = "a secret of thirty-two characters";
  const dotted = "looks.like.one";
  const policy = new Policy(config(
    `[[users]]\nname = "alice"\npassword = "${await hashPassword(dotted)}"
    [auth.jwt]\nalgorithms = ["HS256"]\nsecret = "${secret}"\nusername_claim = "sub"`,
  ));
  const code = (password: string) =>
    codeFor(policy, { username: "alice", password });
  assertEquals(await code(dotted), 0);
  assertEquals(await code(await tokenOf({ sub: "alice" }, secret)), 0);
  assertEquals(await code(await tokenOf({ sub: "alice" }, `${secret}!`)), 0x86);
});

Deno.test("Session shows hooks and the audit log no name before one is proved, nor one that was not", async () => {
  const lines: Record<string, unknown>[] = [];
  const names: [hook: string, name: string | undefined][] = [];
  const policy = new Policy(config(
    `[[users]]\nname = "alice"\npassword = "${await hashPassword("right")}"`,
  ));
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, {
    policy,
    audit: { write: (line) => void lines.push(JSON.parse(line)) },
    hooks: {
      intercept: (session) => void names.push(["intercept", session.username]),
      authConnect: (session) =>
        void names.push(["authConnect", session.username]),
      disconnect: (session) =>
        void names.push(["disconnect", session.username]),
    },
  });
  using client = await connectPeer(gateway, 5);
  await client.send(
    connectPacket({ version: 5, username: "alice", password: "wrong" }),
  );
  assertEquals((await client.expect(2))[3], 0x86);
  await client.rest();
  assertEquals(
    lines.slice(0, 1).map((
      { event, username, claimedUsername },
    ) => [event, username, claimedUsername]),
    [["connect_denied", undefined, "alice"]],
  );
  using good = await connectPeer(gateway, 5);
  await good.send(
    connectPacket({ version: 5, username: "alice", password: "right" }),
  );
  using broker = await listener.accept();
  await broker.expect(1);
  const allowed = lines.find(({ event }) => event === "connect_allowed");
  assertEquals([allowed!.username, allowed!.claimedUsername], [
    "alice",
    undefined,
  ]);
  assertEquals(names.filter(([, name]) => name !== undefined), []);
});

Deno.test("Policy.prepare() changes nothing before it is put in place", async () => {
  const hash = await hashPassword("secret");
  const policy = new Policy(
    config(`[[users]]\nname = "alice"\npassword = "${hash}"`),
  );
  const alice = { username: "alice", password: "secret" };
  const commit = policy.prepare(config("[auth]\nanonymous = false"));
  assertEquals(await codeFor(policy, alice), 0);
  commit();
  assertEquals(await codeFor(policy, alice), 0x86);
  assertThrows(
    () =>
      policy.replace(
        config('[auth.jwt]\nalgorithms = ["RS256"]\nsecret = "x"'),
      ),
    UsageError,
  );
  assertEquals(await codeFor(policy, alice), 0x86);
});

Deno.test({
  name:
    "Policy forgets the login of a client that is gone, and its place in the queue",
  // A hash that is being computed cannot be called off.
  sanitizeOps: false,
  fn: forgetsClientsThatAreGone,
});

async function forgetsClientsThatAreGone() {
  const policy = new Policy(
    config(
      `[[users]]\nname = "alice"\npassword = "${await hashPassword("x")}"`,
    ),
  );
  const waiting = () =>
    policy.metrics().find(({ name }) => name === "mproxy_mqtt_logins_waiting")!
      .samples[0]!.value;
  using listener = new ScriptedBroker();
  const ended = Promise.withResolvers<void>();
  let left = 0;
  let lost = 0;
  const gone = 40;
  await using gateway = await startTestGateway(listener.url, {
    policy,
    hooks: {
      disconnect: (_, { reason }) => {
        if (reason === "client_lost") lost++;
        if (++left === gone) ended.resolve();
      },
    },
  });
  const clients: MqttPeer[] = [];
  for (let i = 0; i < gone; i++) {
    const client = await connectPeer(gateway, 5);
    const password = `guess ${i}`;
    clients.push(client);
    await client.send(
      connectPacket({ version: 5, username: "alice", password }),
    );
  }
  // Long before their turns would come: 40 take some two seconds of a core each.
  for (const client of clients) client[Symbol.dispose]();
  await ended.promise;
  // Some may have been refused before they were gone.
  assertEquals(lost > gone / 2, true);
  assertEquals(waiting(), 0);
}

/** A session and a CONNECT as a policy sees them, from any address. */
function login(
  policy: Policy,
  hostname: string,
  connect: Partial<ConnectRequest> = {},
): { session: MqttSession; answer: Promise<unknown>; ended: () => unknown } {
  let end: unknown;
  const session = {
    remote: { hostname, port: 1 },
    clientId: "c1",
    listener: "mqtt://127.0.0.1:1883",
    version: 5,
    end: (options: unknown) => end = options,
  } as unknown as MqttSession;
  const answer = policy.hooks.authConnect!(
    session,
    { clientId: "c1", cleanStart: true, ...connect } as ConnectRequest,
  );
  return { session, answer: Promise.resolve(answer), ended: () => end };
}

Deno.test("Policy counts the connects of an IPv6 /64 together, and those of a mapped address with its IPv4", async () => {
  const policy = new Policy(
    config("[limits]\nconnects_per_second = 2"),
    () => 1000,
  );
  const codes = async (...hostnames: string[]) => {
    const all = [];
    for (const hostname of hostnames) {
      const answer = await login(policy, hostname).answer;
      all.push((answer as { reasonCode?: number }).reasonCode ?? 0);
    }
    return all;
  };
  assertEquals(
    await codes("2001:db8::1", "2001:db8::2", "2001:db8::3"),
    [0, 0, 0x9f],
  );
  assertEquals(await codes("2001:db8:0:1::1"), [0]);
  assertEquals(
    await codes("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"),
    [0, 0, 0x9f],
  );
});

Deno.test("Policy charges an IPv6 /64 as one address", async () => {
  for (const per of ["address", "user"]) {
    const policy = new Policy(
      config(
        `[limits]\nper = "${per}"\nmessages_per_second = 1\nover_limit = "drop"`,
      ),
      () => 1000,
    );
    const charge = async (hostname: string) => {
      const { session, answer } = login(policy, hostname);
      await answer;
      return policy.charge(session, 1, 1);
    };
    assertEquals(await charge("2001:db8::1"), 0);
    assertEquals(await charge("2001:db8::2"), 1000);
    assertEquals(await charge("2001:db8:0:1::1"), 0);
  }
});

Deno.test("Policy ends the session of a token when a new one would be refused", async () => {
  const secret = "a secret of thirty-two characters";
  const startMs = 1_700_000_000_000;
  let now = startMs;
  const policy = new Policy(
    config(
      `[auth.jwt]\nalgorithms = ["HS256"]\nsecret = "${secret}"\nleeway_seconds = 30`,
    ),
    () => now,
  );
  const token = await new SignJWT({}).setProtectedHeader({ alg: "HS256" })
    .setExpirationTime(startMs / 1000 - 10)
    .sign(new TextEncoder().encode(secret));
  const password = new TextEncoder().encode(token);
  const { answer, ended } = login(policy, "127.0.0.1", { password });
  assertEquals(await answer, { identity: null });
  policy.tick();
  assertEquals(ended(), undefined);
  now = startMs + 20_000;
  const late = await login(policy, "127.0.0.1", { password }).answer;
  assertEquals((late as { reasonCode?: number }).reasonCode, 0x86);
  policy.tick();
  assertEquals(ended(), { reasonCode: 0x87, reason: "the allowance is over" });
});

Deno.test("Policy refuses an allowance that is over, and forgets who left before its answer", async () => {
  let now = 1_700_000_000_000;
  let expireAt = now / 1000 - 1;
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => Response.json({ result: "allow", expire_at: expireAt }),
  );
  const policy = new Policy(
    config(
      `[auth]\ncache_seconds = 0\n[auth.http]\nurl = "http://127.0.0.1:${server.addr.port}/"\nformat = "emqx"`,
    ),
    () => now,
  );
  const who = { username: "u", password: new TextEncoder().encode("p") };
  const over = await login(policy, "127.0.0.1", who).answer;
  assertEquals((over as { reasonCode?: number }).reasonCode, 0x86);

  expireAt = now / 1000 + 60;
  const gone = login(policy, "127.0.0.1", who);
  policy.hooks.disconnect!(gone.session, {
    reason: "client_lost",
    reasonCode: 0,
    detail: "",
  });
  await gone.answer;
  const here = login(policy, "127.0.0.1", who);
  await here.answer;
  now += 61_000;
  policy.tick();
  // Only those that are still there are ended: the others are not held.
  assertEquals(gone.ended(), undefined);
  assertEquals(typeof here.ended(), "object");
});

Deno.test("Policy has the log say that a service cannot be asked, with the reason", async () => {
  const closed = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = closed.addr as Deno.NetAddr;
  closed.close();
  const lines: string[] = [];
  using listener = new ScriptedBroker();
  await using gateway = await startTestGateway(listener.url, {
    policy: new Policy(
      config(`[auth.http]\nurl = "http://127.0.0.1:${port}/"`),
    ),
    log: new Log({ write: (line) => void lines.push(line) }),
  });
  using client = await connectPeer(gateway, 5);
  await client.send(
    connectPacket({ version: 5, username: "u", password: "p" }),
  );
  assertEquals((await client.expect(2))[3], 0x88);
  assertMatch(
    lines.join("\n"),
    /warn client refused: .*clientId=.*cannot ask the service/,
  );
});
