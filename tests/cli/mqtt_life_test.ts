/** The gateway's command over its life: brokers that come and go, signals, permissions. */
import { assertEquals, assertMatch } from "@std/assert";
import { freePort } from "../../bench/harness/processes.ts";
import { hashPassword } from "../../net/mqtt/policy/password.ts";
import { CertificateAuthority } from "../support/certificate_authority.ts";
import { soon } from "../support/deadline.ts";
import { TestFolder } from "../support/folder.ts";
import { startMosquitto } from "../support/mosquitto.ts";
import {
  type MqttPeer,
  publishPacket,
  subscribePacket,
} from "../support/mqtt_peer.ts";
import { connectTo, portOf } from "../support/mqtt_role.ts";
import { startPeer, startRole } from "../support/process.ts";
import { needsLinux, needsProgram, testUnless } from "../support/skip.ts";

const noMosquitto = needsProgram("mosquitto", "mosquitto_sub");

testUnless(
  noMosquitto,
  "mproxy-mqtt starts before its broker, outlives it, and serves clients as soon as it is there again",
  async () => {
    const port = freePort("tcp");
    const target = `mqtt://127.0.0.1:${port}`;
    await using role = startRole("mqtt", [
      ...["--listen", "mqtt://127.0.0.1:0", "--target", target],
      ...["--metrics-addr", "127.0.0.1:0"],
    ]);
    const at = await portOf(role);
    const [, url] = await role.line(/metrics door is open url=(\S+)/);
    const door = async (path: string) => {
      const answer = await fetch(url!.replace("/metrics", path));
      return [answer.status, (await answer.text()).trim()] as const;
    };
    assertEquals(await door("/healthz"), [200, "ok"]);
    const [status, why] = await door("/readyz");
    assertEquals(status, 503);
    assertMatch(why, new RegExp(`^Cannot connect to ${target}: .*refused`));
    for (const version of [3, 4, 5] as const) {
      using client = await connectTo(at, { version });
      const connack = await client.expect(2);
      assertEquals(connack[3], version === 5 ? 0x88 : 3);
      assertEquals(await client.rest(), []);
    }
    await role.line(/warn cannot reach a broker target=/);

    for (let life = 0; life < 2; life++) {
      const mosquitto = await startMosquitto({ port });
      const clients: MqttPeer[] = [];
      for (const version of [3, 4, 5] as const) {
        const clientId = `client-${version}`;
        const client = await connectTo(at, { version, clientId });
        assertEquals((await client.expect(2))[3], 0);
        await client.send(subscribePacket(version, 1, [["a", 0]]));
        await client.expect(9);
        clients.push(client);
      }
      mosquitto.log.signal("SIGKILL");
      await mosquitto[Symbol.asyncDispose]();
      for (const client of clients) {
        assertEquals(await client.rest(), []);
        client[Symbol.dispose]();
      }
    }
    await role.line(
      new RegExp(
        `warn broker closed the connection target=${target} .*broker_lost`,
      ),
    );
    assertEquals((await door("/healthz"))[0], 200);
    const metrics = (await door("/metrics"))[1];
    assertMatch(metrics, /sessions_ended_total\{reason="broker_lost"\} 6/);
    assertMatch(metrics, /mqtt_connections\{version="5.0".*\} 0/);
    assertEquals((await role.stop()).code, 0);
  },
);

testUnless(
  noMosquitto,
  "mproxy-mqtt tells its clients of Ctrl+C, ends with 0, and the broker publishes their wills",
  async () => {
    await using mosquitto = await startMosquitto();
    await using role = startRole("mqtt", [
      ...["--listen", "mqtt://127.0.0.1:0", "--target", mosquitto.url],
    ]);
    const at = await portOf(role);
    await using watcher = startPeer("mosquitto_sub", [
      ...["-h", "127.0.0.1", "-p", String(mosquitto.port), "-i", "watcher"],
      ...["-t", "wills/#", "-v", "-C", "3", "-W", "20"],
    ]);
    await mosquitto.log.line(/Sending SUBACK to watcher/);
    const clients: MqttPeer[] = [];
    for (const version of [3, 4, 5] as const) {
      const client = await connectTo(at, {
        version,
        clientId: `client-${version}`,
        will: { topic: `wills/${version}`, payload: "gone" },
      });
      assertEquals((await client.expect(2))[3], 0);
      clients.push(client);
    }
    // What was sent before it goes on.
    await clients[1]!.send(publishPacket({ topic: "last", qos: 1, id: 7 }));
    await clients[1]!.expect(4);
    role.signal("SIGINT");
    for (const [i, client] of clients.entries()) {
      const rest = await client.rest();
      assertEquals(
        rest.map((packet) => [packet[0], packet[2]]),
        i === 2 ? [[0xe0, 0x8b]] : [],
      );
      client[Symbol.dispose]();
    }
    const { code, stderr } = await role.end;
    assertEquals(code, 0);
    assertMatch(stderr, /\nsessions: 3\nmessages: 1, denied: 0\n/);
    const { stdout } = await watcher.end;
    assertEquals(
      new TextDecoder().decode(stdout).trim().split("\n").sort(),
      [3, 4, 5].map((version) => `wills/${version} gone`),
    );
  },
);

for (const scheme of ["mqtt", "mqtts"]) {
  testUnless(
    needsLinux() ?? needsProgram("openssl"),
    `mproxy-mqtt keeps many clients that come at once at ${scheme}:// waiting, and turns none away`,
    async () => {
      await using authority = await CertificateAuthority.create();
      const { cert, key } = await authority.issue("/CN=here", "IP:127.0.0.1");
      await using role = startRole("mqtt", [
        ...["--listen", `${scheme}://127.0.0.1:0`],
        ...["--target", "mqtt://127.0.0.1:1"],
        ...scheme === "mqtt" ? [] : ["--cert", cert, "--key", key],
      ]);
      const port = await portOf(role);
      // It has no time for anybody: the system holds them for it.
      role.signal("SIGSTOP");
      const connections = Promise.all(
        Array.from(
          { length: 800 },
          () => Deno.connect({ hostname: "127.0.0.1", port }),
        ),
      );
      const clients = await soon(connections, "room for all clients");
      for (const client of clients) client.close();
      role.signal("SIGCONT");
      assertEquals((await role.stop()).code, 0);
    },
  );
}

Deno.test("mproxy-mqtt says in one line which listener's port is taken, and leaves with 1", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const url = `mqtt://127.0.0.1:${taken.addr.port}`;
  const { code, stdout, stderr } = await startRole("mqtt", [
    ...["--listen", "mqtt://127.0.0.1:0", "--listen", url],
    ...["--target", "mqtt://127.0.0.1:1"],
  ]).end;
  assertEquals([code, stdout.length], [1, 0]);
  assertMatch(
    stderr.split("\n").at(-1)!,
    new RegExp(`^mproxy-mqtt: Cannot listen on ${url}: .*; .*another port$`),
  );
});

testUnless(
  noMosquitto,
  "mproxy-mqtt runs hooks under the permissions that it was given, and no others",
  async () => {
    await using mosquitto = await startMosquitto();
    await using folder = await TestFolder.create();
    const file = `${folder.path}/hooks.ts`;
    const write = `Deno.writeTextFileSync("${folder.path}/written", "x")`;
    const start = (...more: string[]) =>
      startRole("mqtt", [
        ...["--listen", "mqtt://127.0.0.1:0", "--target", mosquitto.url],
        ...["--hooks", file],
      ], {
        denoFlags: [
          ...["--no-prompt", "--allow-net", "--allow-read", ...more],
        ],
      });

    await Deno.writeTextFile(file, `${write};\nexport default {};\n`);
    const { code, stderr } = await start().end;
    assertEquals(code, 2);
    assertMatch(stderr, /^mproxy-mqtt: Cannot load hooks from .*--allow-write/);

    await Deno.writeTextFile(
      file,
      `export default { authPublish() { ${write}; } };\n`,
    );
    for (const allowed of [false, true]) {
      await using role = start(
        ...allowed ? [`--allow-write=${folder.path}`] : [],
      );
      using client = await connectTo(await portOf(role), { version: 5 });
      await client.expect(2);
      await client.send(
        publishPacket({ version: 5, topic: "a", qos: 1, id: 9 }),
      );
      const puback = await client.expect(4);
      // 0x10: nobody has subscribed.
      assertEquals(puback[4], allowed ? 0x10 : 0x80);
      if (!allowed) {
        await role.line(/hook authPublish failed .*--allow-write/);
      }
      assertEquals((await role.stop()).code, 0);
    }
    assertEquals(await Deno.readTextFile(`${folder.path}/written`), "x");
  },
);

testUnless(
  noMosquitto,
  "mproxy-mqtt on SIGHUP ends the sessions of users that are gone, keeps the others, and opens its audit log anew",
  async () => {
    await using mosquitto = await startMosquitto();
    await using folder = await TestFolder.create();
    const policy = `${folder.path}/policy.toml`;
    const audit = `${folder.path}/audit.jsonl`;
    const users = async (...names: string[]) =>
      await Deno.writeTextFile(
        policy,
        names.map((name) =>
          `[[users]]\nname = "${name}"\npassword = "${hash}"\n`
        ).join(""),
      );
    const hash = await hashPassword("secret");
    await users("alice", "bob");
    await using role = startRole("mqtt", [
      ...["--listen", "mqtt://127.0.0.1:0", "--target", mosquitto.url],
      ...["--policy", policy, "--audit", audit],
    ]);
    const at = await portOf(role);
    const come = async (username: string, version: 4 | 5) => {
      const clientId = `${username}-${version}`;
      const client = await connectTo(at, {
        version,
        clientId,
        username,
        password: "secret",
      });
      assertEquals((await client.expect(2))[3], 0);
      return client;
    };
    using alice = await come("alice", 4);
    using bob4 = await come("bob", 4);
    using bob5 = await come("bob", 5);

    await Deno.rename(audit, `${audit}.1`);
    await users("alice");
    role.signal("SIGHUP");
    await role.line(/info reloaded/);
    assertEquals(await bob4.rest(), []);
    const [disconnect] = await bob5.rest();
    assertEquals([disconnect![0], disconnect![2]], [0xe0, 0x87]);
    await alice.send([0xc0, 0]);
    await alice.expect(13);
    using again = await connectTo(at, { username: "bob", password: "secret" });
    assertEquals(await again.expect(2), Uint8Array.of(0x20, 2, 0, 4));
    assertEquals((await role.stop()).code, 0);

    const eventsOf = async (file: string) =>
      (await Deno.readTextFile(file)).trim().split("\n").map((line) => {
        const { event, clientId } = JSON.parse(line);
        return `${event} ${clientId}`;
      }).sort();
    const ids = ["alice-4", "bob-4", "bob-5"];
    assertEquals(await eventsOf(`${audit}.1`), [
      ...ids.map((id) => `connect ${id}`),
      ...ids.map((id) => `connect_allowed ${id}`),
    ]);
    assertEquals(await eventsOf(audit), [
      "connect_denied tester",
      ...["alice-4", "bob-4", "bob-5", "tester"].map((id) =>
        `disconnect ${id}`
      ),
    ]);
  },
);
