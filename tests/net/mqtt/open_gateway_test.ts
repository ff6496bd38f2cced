/** Reloads where one part is wrong: all stays as it was. */
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import {
  type OpenedMqttGateway,
  openMqttGateway,
} from "../../../net/mqtt/open_gateway.ts";
import { Log } from "../../../net/observe/log.ts";
import { TestFolder } from "../../support/folder.ts";
import {
  connectPacket,
  connectPeer,
  publishPacket,
  ScriptedBroker,
} from "../../support/mqtt_peer.ts";

const allow = (topic: string) =>
  `[[acl.rules]]\neffect = "allow"\ntopics = ["${topic}"]\n`;

/** What a reload says is wrong, or an empty text. */
async function reload(opened: OpenedMqttGateway): Promise<string> {
  try {
    await opened.reload();
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

Deno.test("openMqttGateway().reload() changes nothing where one part is wrong", async () => {
  await using folder = await TestFolder.create();
  const policy = await folder.file("policy.toml", allow("old/#"));
  const audit = join(folder.path, "audit.jsonl");
  using broker = new ScriptedBroker();
  const opened = await openMqttGateway({
    listen: ["mqtt://127.0.0.1:0"],
    target: [broker.url],
    policy,
    audit,
    log: new Log({ write: () => {} }),
  });
  await using gateway = opened.gateway;
  using client = await connectPeer(gateway, 5);
  await client.send(connectPacket({ version: 5 }));
  using peer = await broker.accept();
  await peer.expect(1);
  await peer.send([0x20, 3, 0, 0, 0]);
  await client.expect(2);
  /** Which topics reach the broker. */
  const passes = async (...topics: string[]) => {
    for (const topic of topics) {
      await client.send(publishPacket({ version: 5, topic }));
    }
    await client.send([0xc0, 0]);
    const passed: string[] = [];
    for (;;) {
      const packet = (await peer.next())!;
      if (packet[0] === 0xc0) break;
      passed.push(new TextDecoder().decode(packet.slice(4, 4 + packet[3]!)));
    }
    await peer.send([0xd0, 0]);
    await client.expect(13);
    return passed;
  };
  assertEquals(await passes("old/a", "new/a"), ["old/a"]);

  // The audit log cannot be opened: the policy stays, though it is right.
  await Deno.writeTextFile(policy, allow("new/#"));
  await Deno.rename(audit, `${audit}.1`);
  await Deno.mkdir(audit);
  assertMatch(await reload(opened), /audit\.jsonl/);
  assertEquals(await passes("old/a", "new/a"), ["old/a"]);

  // The policy is wrong in what only shows when all of it is put together:
  // the audit log stays as well.
  await Deno.remove(audit);
  await Deno.writeTextFile(
    policy,
    `${allow("new/#")}[auth.jwt]\nalgorithms = ["RS256"]\nsecret = "x"\n`,
  );
  assertMatch(await reload(opened), /policy\.toml.*auth\.jwt/);
  assertEquals(await passes("old/a", "new/a"), ["old/a"]);
  assertEquals(
    [...Deno.readDirSync(folder.path)].some(({ name }) =>
      name === "audit.jsonl"
    ),
    false,
  );

  await Deno.writeTextFile(policy, allow("new/#"));
  assertEquals(await reload(opened), "");
  assertEquals(await passes("old/a", "new/a"), ["new/a"]);
  assertEquals(Deno.statSync(audit).isFile, true);
});

/** What opening a gateway with this policy says is wrong, or an empty text. */
async function openWith(
  text: string | Uint8Array<ArrayBuffer>,
  more: Record<string, string | Uint8Array<ArrayBuffer>> = {},
): Promise<string> {
  await using folder = await TestFolder.create();
  const write = async (
    name: string,
    content: string | Uint8Array<ArrayBuffer>,
  ) => {
    const path = join(folder.path, name);
    await Deno.writeFile(
      path,
      typeof content === "string"
        ? new TextEncoder().encode(content.replaceAll("FOLDER", folder.path))
        : content,
    );
    return path;
  };
  for (const [name, content] of Object.entries(more)) {
    await write(name, content);
  }
  try {
    const { gateway } = await openMqttGateway({
      listen: ["mqtt://127.0.0.1:0"],
      target: ["mqtt://127.0.0.1:1"],
      policy: await write("policy.toml", text),
      log: new Log({ write: () => {} }),
    });
    await gateway.drain();
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

Deno.test("openMqttGateway() refuses an empty policy, which would allow everything", async () => {
  for (const text of ["", "\n", "\ufeff", "# rules\r\n\t # of ours\r\n"]) {
    assertMatch(await openWith(text), /policy\.toml": the policy is empty/);
  }
  assertEquals(await openWith("[acl]\ndefault = 'allow'"), "");
});

Deno.test("openMqttGateway() refuses a policy and a secret that are not UTF-8", async () => {
  // TOML 1.0: "A TOML file must be a valid UTF-8 encoded Unicode document."
  const latin1 = Uint8Array.from(
    '[acl]\ndefault="allow"\nrules=[{effect="deny",topics=["b\u00fcro/#"]}]',
    (char) => char.charCodeAt(0),
  );
  assertMatch(await openWith(latin1), /policy\.toml": it is not UTF-8/);
  const secret = Uint8Array.from({ length: 64 }, (_, i) => 0x80 + i);
  const policy =
    `[auth.jwt]\nalgorithms = ["HS256"]\nsecret_file = "FOLDER/secret"`;
  assertMatch(await openWith(policy, { secret }), /secret": it is not UTF-8/);
  assertEquals(await openWith(policy, { secret: "x".repeat(32) }), "");
});
