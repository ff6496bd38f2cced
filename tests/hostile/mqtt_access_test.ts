/**
 * Who comes in, and under which name: every authenticator, with and without
 * anonymous clients, in every version of the protocol, with right, wrong and
 * missing credentials. What is right stands in the tables, by hand.
 */
import { assertEquals } from "@std/assert";
import { pbkdf2Sync } from "node:crypto";
import { SignJWT } from "jose";
import type { MqttGateway } from "../../net/mqtt/gateway.ts";
import type {
  MqttSession,
  ProtocolVersion,
} from "../../net/mqtt/hooks/hooks.ts";
import { Policy } from "../../net/mqtt/policy/policy.ts";
import { parsePolicy } from "../../net/mqtt/policy/policy_file.ts";
import { CertificateAuthority } from "../support/certificate_authority.ts";
import {
  type ConnectOptions,
  connectPacket,
  MqttPeer,
  portOf,
  publishPacket,
  ScriptedBroker,
  startTestGateway,
} from "../support/mqtt_peer.ts";
import { needsProgram, testUnless } from "../support/skip.ts";

const config = (text: string) => parsePolicy(text, "policy.toml", () => "");

/** A hash that costs nothing: what it costs is measured elsewhere. */
function hashOf(password: string): string {
  const salt = new TextEncoder().encode("saltsalt");
  const hash = pbkdf2Sync(password, salt, 1, 32, "sha256");
  const base64 = (bytes: Uint8Array) => bytes.toBase64({ omitPadding: true });
  return `$pbkdf2-sha256$i=1$${base64(salt)}$${base64(hash)}`;
}

const SECRET = "a secret of thirty-two characters";

const tokenOf = (claims: Record<string, string>, secret = SECRET) =>
  new SignJWT(claims).setProtectedHeader({ alg: "HS256" })
    .sign(new TextEncoder().encode(secret));

/** A broker that takes everything. */
function agreeableBroker(): ScriptedBroker {
  const broker = new ScriptedBroker();
  void (async () => {
    for (;;) {
      let peer: MqttPeer;
      try {
        peer = await broker.accept();
      } catch {
        return;
      }
      void serve(peer);
    }
  })();
  return broker;
}

async function serve(peer: MqttPeer): Promise<void> {
  using _ = peer;
  const connect = await peer.next();
  if (!connect) return;
  const version = connect[connect[3]! + 4]!;
  await peer.send(version === 5 ? [0x20, 3, 0, 0, 0] : [0x20, 2, 0, 0]);
  for (;;) {
    const packet = await peer.next();
    if (!packet) return;
    // A PUBLISH of QoS 1 with the packet identifier 1.
    if (packet[0]! >> 4 === 3) await peer.send([0x40, 2, 0, 1]);
  }
}

/** What became of a client: refused with a code, or in, with its name and its rights. */
type Outcome =
  | "refused"
  | { name: string | undefined; mayAdminister: boolean };

const IN = (name?: string): Outcome => ({
  name,
  mayAdminister: name === "admin",
});

/** Rules that give `admin/#` to the user of that name. */
const RULES = `
[acl]
[[acl.rules]]
effect = "allow"
topics = ["admin/#"]
users = ["admin"]
[[acl.rules]]
effect = "allow"
topics = ["open/#"]
`;

interface Seen {
  readonly names: (string | undefined)[];
  readonly topics: string[];
}

/** Connects, and where it is let in, publishes where only `admin` may. */
async function tryOut(
  connection: Deno.TcpConn,
  version: ProtocolVersion,
  seen: Seen,
  who: ConnectOptions,
): Promise<Outcome> {
  using client = new MqttPeer(connection, "client", version);
  seen.names.length = seen.topics.length = 0;
  await client.send(connectPacket({ version, ...who }));
  const connack = await client.expect(2);
  if (connack[3] !== 0) return "refused";
  await client.send(publishPacket({ version, topic: "admin/x", qos: 1 }));
  await client.expect(4);
  assertEquals(seen.names.length, 1);
  return { name: seen.names[0], mayAdminister: seen.topics.length === 1 };
}

const watch = (seen: Seen) => ({
  connect: (session: MqttSession) => void seen.names.push(session.username),
  publish: (_: MqttSession, { topic }: { topic: string }) =>
    void seen.topics.push(topic),
});

const connectTo = (gateway: MqttGateway) =>
  Deno.connect({ hostname: "127.0.0.1", port: portOf(gateway.urls[0]!) });

interface Service {
  readonly url: string;
}

interface Authenticator {
  readonly what: string;
  readonly policy: (service: Service) => string;
  /** Credentials, and what becomes of them without and with anonymous clients. */
  readonly cases: readonly [
    what: string,
    who: ConnectOptions,
    withoutAnonymous: Outcome,
    withAnonymous: Outcome,
  ][];
}

const rightToken = await tokenOf({ sub: "admin" });
const wrongToken = await tokenOf(
  { sub: "admin" },
  "another secret, as long as that",
);
const noName = await tokenOf({ role: "x" });

const MISSING: Authenticator["cases"][number] = [
  "none",
  {},
  "refused",
  IN(),
];

const AUTHENTICATORS: Authenticator[] = [
  {
    what: "nothing that authenticates",
    policy: () => "",
    cases: [
      MISSING,
      // They are for the broker to check, and no name here.
      ["credentials", { username: "admin", password: "x" }, "refused", IN()],
      ["a username", { username: "admin" }, "refused", IN()],
    ],
  },
  {
    what: "the broker",
    policy: () => "[auth]\nbroker = true\n",
    cases: [
      MISSING,
      [
        "credentials",
        { username: "admin", password: "x" },
        IN("admin"),
        IN("admin"),
      ],
    ],
  },
  {
    what: "users",
    policy: () =>
      `[[users]]\nname = "admin"\npassword = "${hashOf("right")}"\n`,
    cases: [
      MISSING,
      [
        "the right password",
        { username: "admin", password: "right" },
        IN("admin"),
        IN("admin"),
      ],
      [
        "a wrong password",
        { username: "admin", password: "wrong" },
        "refused",
        "refused",
      ],
      [
        "an empty password",
        { username: "admin", password: "" },
        "refused",
        "refused",
      ],
      ["no password", { username: "admin" }, "refused", "refused"],
      [
        "an unknown user",
        { username: "mallory", password: "right" },
        "refused",
        "refused",
      ],
      ["an unknown name alone", { username: "mallory" }, "refused", "refused"],
      ["an empty name", { username: "" }, "refused", "refused"],
    ],
  },
  {
    what: "tokens whose sub is the name",
    policy: () =>
      `[auth.jwt]\nalgorithms = ["HS256"]\nsecret = "${SECRET}"\nusername_claim = "sub"\n`,
    cases: [
      MISSING,
      [
        "a good token",
        { username: "any", password: rightToken },
        IN("admin"),
        IN("admin"),
      ],
      [
        "a forged token",
        { username: "admin", password: wrongToken },
        "refused",
        "refused",
      ],
      [
        "garbage",
        { username: "admin", password: "garbage" },
        "refused",
        "refused",
      ],
      [
        "a token without the claim",
        { username: "admin", password: noName },
        "refused",
        "refused",
      ],
      ["a name alone", { username: "admin" }, "refused", "refused"],
      [
        "an empty password",
        { username: "admin", password: "" },
        "refused",
        "refused",
      ],
    ],
  },
  {
    what: "tokens that carry no name",
    policy: () => `[auth.jwt]\nalgorithms = ["HS256"]\nsecret = "${SECRET}"\n`,
    cases: [
      MISSING,
      // The CONNECT's username is proved by nobody.
      [
        "a good token",
        { username: "admin", password: noName },
        IN(),
        IN(),
      ],
      [
        "garbage",
        { username: "admin", password: "garbage" },
        "refused",
        "refused",
      ],
    ],
  },
  {
    what: "a web service",
    policy: ({ url }) => `[auth.http]\nurl = "${url}"\n`,
    cases: [
      // Asked, it refuses clients without credentials; where anonymous ones
      // are allowed, it is not asked about them.
      MISSING,
      [
        "the right password",
        { username: "admin", password: "right" },
        IN("admin"),
        IN("admin"),
      ],
      [
        "a wrong password",
        { username: "admin", password: "wrong" },
        "refused",
        "refused",
      ],
      [
        "an answer of another product",
        { username: "admin", password: "emqx" },
        "refused",
        "refused",
      ],
      [
        "another name in the answer",
        { username: "admin", password: "renamed" },
        IN("guest"),
        IN("guest"),
      ],
      ["no password", { username: "admin" }, "refused", "refused"],
    ],
  },
];

for (const { what, policy, cases } of AUTHENTICATORS) {
  Deno.test(`Policy with ${what} lets in whom the table says, under the name that was proved`, async () => {
    await using service = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      async (request) => {
        const { password } = await request.json();
        return password === "right"
          ? new Response(null, { status: 204 })
          : password === "emqx"
          ? Response.json({ result: "deny" })
          : password === "renamed"
          ? Response.json({ allow: true, username: "guest" })
          : new Response(null, { status: 403 });
      },
    );
    const url = `http://127.0.0.1:${service.addr.port}/`;
    for (const anonymous of [false, true]) {
      const text = policy({ url }).includes("[auth]")
        ? policy({ url }).replace("[auth]", `[auth]\nanonymous = ${anonymous}`)
        : `${policy({ url })}\n[auth]\nanonymous = ${anonymous}\n`;
      const seen: Seen = { names: [], topics: [] };
      using broker = agreeableBroker();
      await using gateway = await startTestGateway(broker.url, {
        policy: new Policy(config(text + RULES)),
        hooks: watch(seen),
      });
      for (const version of [3, 4, 5] as const) {
        for (const [credentials, who, without, withThem] of cases) {
          // [MQTT-3.1.2-22] of 3.1.1: no password without a username.
          const outcome = await tryOut(
            await connectTo(gateway),
            version,
            seen,
            who,
          );
          assertEquals({ anonymous, version, credentials, outcome }, {
            anonymous,
            version,
            credentials,
            outcome: anonymous ? withThem : without,
          });
        }
      }
    }
  });
}

testUnless(
  needsProgram("openssl"),
  "Policy with certificates lets in whom the table says, under the name that was proved",
  async () => {
    await using authority = await CertificateAuthority.create();
    await using stranger = await CertificateAuthority.create();
    const server = await authority.sign("IP:127.0.0.1");
    const read = (file: string) => Deno.readTextFileSync(file);
    const pair = async (from: CertificateAuthority, name: string) => {
      const { cert, key } = await from.issue(`/CN=${name}`, `DNS:${name}`);
      return { cert: read(cert), key: read(key) };
    };
    const admin = await pair(authority, "admin");
    const guest = await pair(authority, "guest");
    const forged = await pair(stranger, "admin");
    const claims = { username: "admin", password: "x" };
    type Case = [
      what: string,
      certificate: typeof admin | undefined,
      who: ConnectOptions,
      withoutAnonymous: Outcome,
      withAnonymous: Outcome,
    ];
    const cases: Case[] = [
      ["the right one", admin, {}, IN("admin"), IN("admin")],
      ["another one", guest, {}, IN("guest"), IN("guest")],
      ["another one, and a claim", guest, claims, IN("guest"), IN("guest")],
      ["none", undefined, {}, "refused", IN()],
      ["none, and a claim", undefined, claims, "refused", "refused"],
      // Nothing here checks names alone: it is none.
      ["none, and a name", undefined, { username: "admin" }, "refused", IN()],
      ["one of another authority", forged, {}, "refused", "refused"],
    ];
    for (const anonymous of [false, true]) {
      const seen: Seen = { names: [], topics: [] };
      using broker = agreeableBroker();
      await using gateway = await startTestGateway(broker.url, {
        policy: new Policy(config(
          `[auth]\ncertificate = "common_name"\nanonymous = ${anonymous}\n${RULES}`,
        )),
        hooks: watch(seen),
        listeners: [{
          url: "mqtts://127.0.0.1:0",
          tls: {
            cert: read(server.cert),
            key: read(server.key),
            clientCa: read(authority.cert),
            clientAuth: "optional",
          },
        }],
      });
      for (const version of [3, 4, 5] as const) {
        for (const [what, certificate, who, without, withThem] of cases) {
          const connection = await Deno.connectTls({
            hostname: "127.0.0.1",
            port: portOf(gateway.urls[0]!),
            caCerts: [read(authority.cert)],
            ...certificate,
          });
          const outcome = await tryOut(
            connection as unknown as Deno.TcpConn,
            version,
            seen,
            who,
          ).catch((): Outcome => "refused");
          assertEquals({ anonymous, version, what, outcome }, {
            anonymous,
            version,
            what,
            outcome: anonymous ? withThem : without,
          });
        }
      }
    }
  },
);
