import { assertEquals, assertMatch } from "@std/assert";
import { connect as connectTls } from "node:tls";
import { setImmediate } from "node:timers";
import { CertificateAuthority } from "../support/certificate_authority.ts";
import { soon } from "../support/deadline.ts";
import { TestFolder } from "../support/folder.ts";
import { startMosquitto } from "../support/mosquitto.ts";
import {
  bytes,
  connectPacket,
  packet,
  publishPacket,
  ScriptedBroker,
  subscribePacket,
} from "../support/mqtt_peer.ts";
import { connectTo, portOf } from "../support/mqtt_role.ts";
import { assertWrongUsage, startPeer, startRole } from "../support/process.ts";
import { needsLinux, needsProgram, testUnless } from "../support/skip.ts";

Deno.test("mproxy-mqtt says what is wrong in one line and exits with 2", async () => {
  const target = ["--target", "mqtt://127.0.0.1:1"];
  const listen = ["--listen", "mqtt://127.0.0.1:0"];
  const cases: [string[], RegExp][] = [
    [[], /Missing --listen URL/],
    [listen, /Missing --target URL/],
    [["--listen", "http://x", ...target], /"http:\/\/x"/],
    [["--listen", "1884", "--target", "1883"], /use 127.0.0.1:1883/],
    [
      ["--listen", "1884", "--target", "tcp://localhost:1884"],
      /"tcp:\/\/localhost:1884": it is the listener/,
    ],
    [[...listen, ...target, "--audit-required"], /--audit/],
    [["--listen", "mqtts://:0", ...target], /TLS requires --cert and --key/],
    [["--listen", "mqtt://:0?cert=x", ...target], /"cert"/],
    [[...listen, ...target, "--policy", "/nowhere.toml"], /"\/nowhere.toml"/],
    [[...listen, ...target, "--hooks", "/nowhere.ts"], /"\/nowhere.ts"/],
    [
      [...listen, ...target, "--hooks", "tests/support/skip.ts"],
      /default export/,
    ],
    [[...listen, ...target, "--on-deny", "shrug"], /none of ack, close/],
    [[...listen, ...target, "--max-packet-size", "1"], /128/],
    [
      [...listen, ...target, "--target-cert", "x"],
      /--target-cert and --target-key require each other/,
    ],
    // What has no effect is no protection either.
    [[...listen, ...target, "--client-ca", "x"], /--client-ca.* no --listen/],
    [
      [...listen, ...target, "--cert", "x"],
      /--cert.* no --listen URL is mqtts/,
    ],
    [[...listen, ...target, "--client-auth", "optional"], /--client-auth/],
    [[...listen, ...target, "--ws-origin", "https://a.b"], /--ws-origin.* ws:/],
    [
      ["--listen", "ws://:0", ...target, "--ws-origin", "a.b/c"],
      /"a.b\/c".* https:\/\/HOST/,
    ],
    [[...listen, ...target, "--target-insecure"], /no --target URL is mqtts/],
    [[...listen, ...target, "--target-server-name", "x"], /--target-server-na/],
    [
      [...listen, ...target, "--audit-messages"],
      /--audit-messages .* requires --audit$/,
    ],
    [
      [...listen, ...target, "--audit", "-", "--audit-payloads"],
      /--audit-messages/,
    ],
    [[...listen, ...target, "--connect-timeout", "0"], /"0".* above 0/],
    [[...listen, ...target, "--broker-timeout", "0"], /"0".* above 0/],
    [[...listen, ...target, "--hook-timeout", "0"], /"0".* above 0/],
  ];
  for (const [args, line] of cases) await assertWrongUsage("mqtt", args, line);
});

Deno.test("mproxy-mqtt refuses certificates and keys that do not fit, before it listens", async () => {
  await using authority = await CertificateAuthority.create();
  const ca = authority.cert;
  const one = await authority.issue("/CN=one", "DNS:localhost");
  const other = await authority.issue("/CN=other", "DNS:localhost");
  const tls = ["--listen", "mqtts://127.0.0.1:0"];
  const plain = ["--listen", "mqtt://127.0.0.1:0"];
  const cases: [string[], RegExp][] = [
    [[...tls, "--cert", one.key, "--key", one.key], /0.key".*certificate/],
    [[...tls, "--cert", one.cert, "--key", ca], /ca.pem".*private key/],
    [[...tls, "--cert", one.cert, "--key", other.key], /1.key".*not the/],
    [
      [...tls, "--cert", one.cert, "--key", one.key, "--client-ca", one.key],
      /0.key".*certificate/,
    ],
    [[...plain, "--target-ca", one.key], /0.key".*certificate/],
    [
      [...plain, "--target-cert", one.cert, "--target-key", other.key],
      /1.key".*not the/,
    ],
  ];
  for (const [args, says] of cases) {
    const { code, stderr } = await startRole("mqtt", [
      ...["--target", "mqtt://127.0.0.1:1", ...args],
    ]).end;
    assertEquals([args, code], [args, 2]);
    assertMatch(stderr, says);
    assertEquals(stderr.split("\n").length, 1);
  }
});

Deno.test("mproxy-mqtt takes new certificates on SIGHUP, and keeps the old ones where the new are wrong", async () => {
  await using authority = await CertificateAuthority.create();
  await using served = await TestFolder.create();
  using listener = new ScriptedBroker();
  const cert = `${served.path}/served.pem`;
  const key = `${served.path}/served.key`;
  const serve = async (name: string) => {
    const one = await authority.issue(`/CN=${name}`, "IP:127.0.0.1");
    await Deno.copyFile(one.cert, cert);
    await Deno.copyFile(one.key, key);
  };
  await serve("first");
  await using role = startRole("mqtt", [
    ...["--listen", "mqtts://127.0.0.1:0", "--cert", cert, "--key", key],
    ...["--target", listener.url],
  ]);
  const port = await portOf(role);
  const ca = await Deno.readTextFile(authority.cert);
  assertEquals(await commonNameAt(port, ca), "first");

  await serve("second");
  role.signal("SIGHUP");
  await role.lines(/ reloaded/, 1);
  assertEquals(await commonNameAt(port, ca), "second");

  await Deno.writeTextFile(key, "half of a key");
  role.signal("SIGHUP");
  await role.line(/Cannot reload: .*served.key.* no PEM private key/);
  assertEquals(await commonNameAt(port, ca), "second");
});

for (const scheme of ["mqtt", "mqtts", "wss"]) {
  testUnless(
    needsLinux() ?? needsProgram("bash"),
    `mproxy-mqtt out of file descriptors says so, and takes clients at ${scheme}:// again when some are free`,
    async () => {
      await using authority = await CertificateAuthority.create();
      const { cert, key } = await authority.issue("/CN=here", "IP:127.0.0.1");
      using listener = new ScriptedBroker();
      const files = 96;
      const script = `ulimit -n ${files}; exec "$0" run -A cli/mqtt/main.ts ` +
        `--listen ${scheme}://127.0.0.1:0 --target ${listener.url} ` +
        (scheme === "mqtt" ? "" : `--cert ${cert} --key ${key}`);
      await using role = startPeer("bash", ["-c", script, Deno.execPath()]);
      const address = { hostname: "127.0.0.1", port: await portOf(role) };
      const open = () => [...Deno.readDirSync(`/proc/${role.pid}/fd`)].length;
      // They say nothing, so that they are held until they leave.
      const clients = await Promise.all(
        Array.from({ length: 2 * files }, () => Deno.connect(address)),
      );
      const until = async (isSo: () => boolean) => {
        while (!isSo()) await new Promise((go) => setImmediate(go));
      };
      await soon(until(() => open() >= files), "all descriptors in use");
      await role.line(/warn a connection failed: accept .*Too many open files/);
      for (const client of clients) client.close();
      if (scheme === "mqtt") {
        await using client = await connectTo(address.port);
        await using broker = await listener.accept();
        await broker.expect(1);
        await broker.send([0x20, 2, 0, 0]);
        await client.expect(2);
      } else {
        const ca = await Deno.readTextFile(authority.cert);
        const name = soon(commonNameAt(address.port, ca), "a TLS handshake");
        assertEquals(await name, "here");
      }
      await soon(until(() => open() < files / 2), "descriptors given back");
    },
  );
}

/** The name that a listener shows in its TLS handshake. */
function commonNameAt(port: number, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: "127.0.0.1", port, ca });
    socket.on("error", reject);
    socket.on("secureConnect", () => {
      const { CN } = socket.getPeerCertificate().subject;
      socket.on("close", () => resolve(String(CN)));
      socket.destroy();
    });
  });
}

Deno.test("mproxy-mqtt refuses hooks that it would never ask", async () => {
  const file = await Deno.makeTempFile({ suffix: ".js" });
  try {
    for (
      const [code, says] of [
        ["{ authpublish() {} }", /"authpublish" is none of the hooks .*authPu/],
        ["{ authPublish: true }", /"authPublish" must be a function/],
        ["{ limit: 3 }", /none of the hooks/],
        [
          "{ connect() {} }; export function authPublish() {}",
          /"authPublish" is exported by its name/,
        ],
        ["() => { throw new Error('one\\ntwo') }", /one two/],
        ["() => Promise.reject(undefined)", /hooks.*: undefined/],
        ["{ get deliver() { throw new Error('no') } }", /hooks.*: no$/],
        ["null; throw null", /hooks.*: null/],
        ["(", /SyntaxError/],
        ["{}; import './nowhere.ts'", /^[ -~]*Module not found[ -~]*$/],
      ] as const
    ) {
      await Deno.writeTextFile(file, `export default ${code};\n`);
      const { code: exit, stderr } = await startRole("mqtt", [
        ...["--listen", "mqtt://127.0.0.1:0", "--target", "mqtt://127.0.0.1:1"],
        ...["--hooks", file],
      ], { env: { NO_COLOR: "" } }).end;
      assertEquals([code, exit], [code, 2]);
      assertMatch(stderr, says);
      assertEquals(stderr.split("\n").length, 1);
    }
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("mproxy-mqtt says in its log which broker cannot be reached", async () => {
  const closed = new ScriptedBroker();
  const { url } = closed;
  closed[Symbol.dispose]();
  await using role = startRole("mqtt", [
    ...["--listen", "mqtt://127.0.0.1:0", "--target", url],
  ]);
  using client = await connectTo(await portOf(role));
  assertEquals(await client.expect(2), bytes(0x20, 2, 0, 3));
  const [line] = await role.line(/cannot reach a broker .*/);
  assertMatch(line, new RegExp(`target=${url} error=.*refused`, "i"));
});

Deno.test("mproxy-mqtt --hash-password prints a hash for the policy", async () => {
  await using role = startRole("mqtt", ["--hash-password"], { stdin: true });
  const writer = role.stdin.getWriter();
  await writer.write(new TextEncoder().encode("secret\n"));
  await writer.close();
  const { code, stdout } = await role.end;
  assertEquals(code, 0);
  assertMatch(new TextDecoder().decode(stdout), /^\$scrypt\$ln=15,r=8,p=1\$/);
});

Deno.test("mproxy-mqtt warns of variables that it does not know, and its flags win over those it does", async () => {
  using listener = new ScriptedBroker();
  await using role = startRole("mqtt", [
    ...["--listen", "mqtt://127.0.0.1:0", "--target", listener.url],
  ], {
    env: {
      MGATE_MQTT_WITHOUT_TLS_ADDRESS: ":1",
      MGATE_MQTT_WITHOUT_TLS_TARGET: "nowhere:1",
      MGATE_HTTP_WITHOUT_TLS_PORT: "1",
    },
  });
  await role.line(/unknown environment variables: MGATE_HTTP_WITHOUT_TLS_PORT/);
  using client = await connectTo(await portOf(role));
  using broker = await listener.accept();
  assertEquals(await broker.expect(1), connectPacket());
  client[Symbol.dispose]();
  assertEquals((await role.stop()).code, 0);
});

Deno.test("mproxy-mqtt starts from mGate's variables alone", async () => {
  using listener = new ScriptedBroker();
  await using role = startRole("mqtt", [], {
    env: {
      MGATE_MQTT_WITHOUT_TLS_ADDRESS: "127.0.0.1:0",
      MGATE_MQTT_WITHOUT_TLS_TARGET: listener.url.slice(7),
    },
  });
  using _client = await connectTo(await portOf(role));
  using broker = await listener.accept();
  assertEquals(await broker.expect(1), connectPacket());
  assertEquals((await role.stop()).code, 0);
});

testUnless(
  needsProgram("mosquitto"),
  "mproxy-mqtt takes a policy, reads it again on SIGHUP, shows metrics, writes an audit log and drains on SIGTERM",
  async () => {
    await using mosquitto = await startMosquitto();
    const folder = await Deno.makeTempDir();
    try {
      const policy = `${folder}/policy.toml`;
      const audit = `${folder}/audit.jsonl`;
      const rules = (topic: string) =>
        Deno.writeTextFile(
          policy,
          `[[acl.rules]]\neffect = "allow"\ntopics = ["${topic}"]\n`,
        );
      await rules("one/#");
      await using role = startRole("mqtt", [
        ...["--listen", "mqtt://127.0.0.1:0", "--target", mosquitto.url],
        ...["--policy", policy, "--audit", audit],
        ...["--metrics-addr", "127.0.0.1:0"],
      ]);
      const port = await portOf(role);
      const [, url] = await role.line(/metrics door is open url=(\S+)/);
      assertEquals(
        await (await fetch(url!.replace("/metrics", "/readyz"))).text(),
        "ready\n",
      );

      using client = await connectTo(port, {
        version: 5,
        username: "u",
        password: "top-secret",
      });
      await client.expect(2);
      await client.send(
        subscribePacket(5, 7, [["one/a", 0], ["two/a", 0]]),
        publishPacket({ version: 5, topic: "one/a", payload: "private" }),
        publishPacket({ version: 5, topic: "two/a", qos: 1, id: 9 }),
      );
      // The gateway's own PUBACK need not wait for the broker.
      const seen = new Map<number, Uint8Array>();
      for (let i = 0; i < 3; i++) {
        const next = (await client.next())!;
        seen.set(next[0]! >> 4, next);
      }
      assertEquals([...seen.keys()].sort(), [3, 4, 9]);
      assertEquals(seen.get(9), packet(0x90, [0, 7, 0, 0, 0x87]));
      assertEquals(seen.get(4), bytes(0x40, 3, 0, 9, 0x87));

      await rules("two/#");
      role.signal("SIGHUP");
      await role.line(/reloaded/);
      await client.send(
        publishPacket({ version: 5, topic: "one/a", qos: 1, id: 10 }),
      );
      assertEquals(await client.expect(4), bytes(0x40, 3, 0, 10, 0x87));

      // What is wrong is not taken, and the gateway goes on.
      await Deno.writeTextFile(policy, "[[nonsense");
      role.signal("SIGHUP");
      await role.line(/Cannot reload: .*policy.toml/);

      const metrics = await (await fetch(url!)).text();
      for (
        const line of [
          `mproxy_mqtt_connections{version="5.0",listener="mqtt://127.0.0.1:${port}"} 1`,
          'mproxy_mqtt_packets_total{direction="upstream",type="PUBLISH"} 3',
          'mproxy_mqtt_denials_total{hook="authPublish",reason="0x87"} 2',
          'mproxy_mqtt_hook_seconds_count{hook="authConnect",set="policy"} 1',
        ]
      ) assertEquals([line, metrics.includes(line)], [line, true]);

      role.signal("SIGTERM");
      const disconnect = await client.expect(14);
      assertEquals(disconnect[2], 0x8b);
      assertEquals(await client.rest(), []);
      const { code, stderr } = await role.end;
      assertEquals(code, 0);
      assertMatch(stderr, /sessions: 1\nmessages: 4, denied: \d/);

      const text = await Deno.readTextFile(audit);
      const events = text.trim().split("\n").map((line) => JSON.parse(line));
      assertEquals(events.map(({ event }) => event).sort(), [
        "connect",
        "connect_allowed",
        "disconnect",
        "publish_denied",
        "publish_denied",
        "subscribe",
        "subscribe_denied",
      ]);
      assertEquals(/private|top-secret/.test(text), false);
      assertEquals(events.at(-1).reason, "drained");
      assertEquals(
        events.filter(({ event }) => event === "publish_denied").map((
          { topic, clientId },
        ) => [topic, clientId]),
        [["two/a", "tester"], ["one/a", "tester"]],
      );
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

testUnless(
  needsProgram("mosquitto"),
  "mproxy-mqtt --audit - writes messages and payloads to stdout where that is asked for",
  async () => {
    await using mosquitto = await startMosquitto();
    await using role = startRole("mqtt", [
      ...["--listen", "mqtt://127.0.0.1:0", "--target", mosquitto.url],
      ...["--audit", "-", "--audit-messages", "--audit-payloads"],
    ]);
    using client = await connectTo(await portOf(role));
    await client.expect(2);
    await client.send(
      publishPacket({ topic: "a", payload: "hello", qos: 1, id: 1 }),
    );
    await client.expect(4);
    const { stdout } = await role.stop();
    const events = new TextDecoder().decode(stdout).trim().split("\n").map((
      line,
    ) => JSON.parse(line));
    const publish = events.find(({ event }) => event === "publish");
    assertEquals(
      [publish.topic, publish.payload, publish.qos],
      ["a", "hello", 1],
    );
  },
);

testUnless(
  needsProgram("openssl"),
  "mproxy-mqtt starts from mGate's stock environment, but for the listeners that need OCSP",
  async () => {
    await using authority = await CertificateAuthority.create();
    const { cert, key } = await authority.issue("/CN=here", "IP:127.0.0.1");
    const listener = (name: string, tls: boolean) => ({
      [`MGATE_${name}_HOST`]: "127.0.0.1",
      [`MGATE_${name}_PORT`]: "0",
      [`MGATE_${name}_TARGET_PROTOCOL`]: name.includes("WS") ? "ws" : "mqtt",
      [`MGATE_${name}_TARGET_HOST`]: "localhost",
      [`MGATE_${name}_TARGET_PORT`]: "1",
      [`MGATE_${name}_TARGET_PATH`]: "",
      ...tls
        ? {
          [`MGATE_${name}_CERT_FILE`]: cert,
          [`MGATE_${name}_KEY_FILE`]: key,
          [`MGATE_${name}_SERVER_CA_FILE`]: authority.cert,
        }
        : {},
    });
    const mutual = (name: string) => ({
      ...listener(name, true),
      [`MGATE_${name}_CLIENT_CA_FILE`]: authority.cert,
      [`MGATE_${name}_CERT_VERIFICATION_METHODS`]: "ocsp",
      [`MGATE_${name}_OCSP_RESPONDER_URL`]: "http://localhost:8080/ocsp",
    });
    await using role = startRole("mqtt", [], {
      env: {
        ...listener("MQTT_WITHOUT_TLS", false),
        ...listener("MQTT_WITH_TLS", true),
        ...mutual("MQTT_WITH_MTLS"),
        ...listener("MQTT_WS_WITHOUT_TLS", false),
        ...listener("MQTT_WS_WITH_TLS", true),
        ...mutual("MQTT_WS_WITH_MTLS"),
        ...listener("HTTP_WITHOUT_TLS", false),
        ...mutual("HTTP_WITH_MTLS"),
        ...listener("COAP_WITH_DTLS", true),
      },
    });
    await role.lines(/ listening address/, 4);
    assertEquals((await role.stop()).code, 0);
    const warnings = role.stderr.split("\n").filter((line) =>
      line.includes(" warn ")
    );
    assertEquals(warnings.length, 4, warnings.join("\n"));
    assertMatch(warnings.join("\n"), /MQTT_WITH_MTLS_CERT_VERIFICATION_METHO/);
    assertMatch(warnings.join("\n"), /unknown environment variables: .* more/);
  },
);
