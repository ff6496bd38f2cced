import { assertEquals, assertThrows } from "@std/assert";
import { exportSPKI, generateKeyPair, SignJWT } from "jose";
import { UsageError } from "../../../../net/errors.ts";
import { hashPassword } from "../../../../net/mqtt/policy/password.ts";
import { Policy } from "../../../../net/mqtt/policy/policy.ts";
import { parsePolicy } from "../../../../net/mqtt/policy/policy_file.ts";
import { startMosquitto } from "../../../support/mosquitto.ts";
import {
  bytes,
  type ConnectOptions,
  connectPacket,
  connectPeer,
  type MqttPeer,
  openBench,
  packet,
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
    assertThrows(() => new Policy(config(`[auth.jwt]\n${text}`)), UsageError);
  }
});

Deno.test("Policy asks a web service, and remembers what it said", async () => {
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
    ["ok", 0],
    ["empty", 0],
    ["json", 0],
    ["no", 0x86],
    ["false", 0x86],
    ["broken", 0x88],
  ];
  for (const [username, code] of cases) {
    for (let i = 0; i < 2; i++) {
      assertEquals(
        [username, await codeFor(policy, { username, password: "pw" })],
        [username, code],
      );
    }
  }
  // The listener's port is a new one each time, so each was asked for anew.
  assertEquals(asked.length, 12);
  const { client_id: id, username, password, header, version } = asked[0]!;
  assertEquals([id, username, password, header, version], [
    "tester",
    "ok",
    "pw",
    "7",
    5,
  ]);
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

Deno.test("Policy gives the broker other credentials, and the session its own name", async () => {
  let name: string | undefined = "";
  await using bench = await openBench({
    connect: connectPacket({ username: "device", password: "x" }),
    policy: new Policy(
      config('[broker]\nusername = "gateway"\npassword = "secret"'),
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

Deno.test("Policy.pauseMs() pauses a session that sends too fast, or all of a user or an address together", async () => {
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
    const sessions: Parameters<Policy["pauseMs"]>[0][] = [];
    const hooks = {
      connect: (session: Parameters<Policy["pauseMs"]>[0]) =>
        void sessions.push(session),
    };
    await using one = await openBench({ policy, hooks });
    await using two = await openBench({ policy, hooks });
    assertEquals(one.gateway === two.gateway, false);
    const [first, second] = sessions;
    assertEquals(policy.pauseMs(first!, 10, 100), 0);
    assertEquals(policy.pauseMs(first!, 5, 100), 500);
    // The CONNECT's bytes were counted before.
    assertEquals(Math.round(policy.pauseMs(first!, 0, 1800) / 100), 10);
    assertEquals(policy.pauseMs(second!, 1, 1) > 0, shared);
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
