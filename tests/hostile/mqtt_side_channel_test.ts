/** The audit log of the MQTT gateway, and errors of hooks, cannot stop its sessions. */
import { assertEquals, assertMatch } from "@std/assert";
import { soon } from "../support/deadline.ts";
import { TestFolder } from "../support/folder.ts";
import { startMosquitto } from "../support/mosquitto.ts";
import { bytes } from "../support/mqtt_peer.ts";
import { connectTo, portOf } from "../support/mqtt_role.ts";
import { startRole } from "../support/process.ts";
import { needsProgram, testUnless } from "../support/skip.ts";
import { needsSmallDisk, withSmallDisk } from "../support/small_disk.ts";

const noMosquitto = needsProgram("mosquitto");

/** A client is served: CONNACK 0, and PINGRESP. */
async function assertServed(port: number, clientId: string): Promise<void> {
  using client = await connectTo(port, { clientId });
  assertEquals(await soon(client.expect(2), "CONNACK"), bytes(0x20, 2, 0, 0));
  await client.send([0xc0, 0]);
  await soon(client.expect(13), "PINGRESP");
}

testUnless(
  noMosquitto ?? needsSmallDisk(),
  "an audit log on a full disk costs its lines; the gateway serves on and ends in order",
  async () => {
    await withSmallDisk(16, async (folder) => {
      await using mosquitto = await startMosquitto({ quiet: true });
      await using role = startRole("mqtt", [
        ...["--listen", "mqtt://127.0.0.1:0", "--target", mosquitto.url],
        ...["--audit", `${folder}/audit.jsonl`],
      ]);
      const port = await portOf(role);
      // Clients that nobody has let in, with identifiers as long as can be.
      for (let i = 0; i < 20; i++) {
        using client = await connectTo(port, {
          clientId: `${i}-`.padEnd(60_000, "x"),
        });
        await client.next();
      }
      await assertServed(port, "good");
      const file = await Deno.stat(`${folder}/audit.jsonl`);
      assertEquals(file.mode! & 0o777, 0o640);
      assertEquals((await role.stop()).code, 0);
    });
  },
);

testUnless(
  noMosquitto ?? needsSmallDisk(),
  "with --audit-required, new sessions are refused while the disk is full, and let in when it is not",
  async () => {
    await withSmallDisk(16, async (folder) => {
      await using mosquitto = await startMosquitto({ quiet: true });
      const filler = `${folder}/filler`;
      await using role = startRole("mqtt", [
        ...["--listen", "mqtt://127.0.0.1:0", "--target", mosquitto.url],
        ...["--audit", `${folder}/audit.jsonl`, "--audit-required"],
      ]);
      const port = await portOf(role);
      await assertServed(port, "first");
      await fill(filler);
      let refused = 0;
      for (let i = 0; i < 200 && refused === 0; i++) {
        using client = await connectTo(port, { clientId: `${i}` });
        const connack = await client.expect(2);
        if (connack[3] === 3) refused++;
      }
      assertEquals(refused, 1);
      await Deno.remove(filler);
      // The writer looks again by itself; so does a client.
      for (;;) {
        using client = await connectTo(port, { clientId: "again" });
        if ((await client.expect(2))[3] === 0) break;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      await role.stop();
    });
  },
);

/** Fills the disk. */
async function fill(file: string): Promise<void> {
  using out = await Deno.open(file, { write: true, create: true });
  try {
    for (;;) await out.write(new Uint8Array(512));
  } catch {
    // Full.
  }
}

for (const stdout of ["unread", "closed"] as const) {
  testUnless(
    noMosquitto,
    `--audit - into a pipe that is ${stdout} holds up no session and no end`,
    async () => {
      await using mosquitto = await startMosquitto({ quiet: true });
      await using role = startRole("mqtt", [
        ...["--listen", "mqtt://127.0.0.1:0", "--target", mosquitto.url],
        ...["--audit", "-"],
      ], { stdout });
      const port = await portOf(role);
      // More than a pipe holds: 64 KiB.
      for (let i = 0; i < 60; i++) {
        using client = await connectTo(port, {
          clientId: `${i}-`.padEnd(5000, "x"),
        });
        await client.next();
      }
      await assertServed(port, "good");
      role.signal("SIGTERM");
      await soon(role.end, "the end of the process");
    },
  );
}

testUnless(
  noMosquitto,
  "an error that a hook leaves behind, in a promise or a timer, does not end the process",
  async () => {
    await using mosquitto = await startMosquitto({ quiet: true });
    await using folder = await TestFolder.create();
    const hooks = `${folder.path}/hooks.ts`;
    await Deno.writeTextFile(
      hooks,
      `export default {
        connect({ clientId }) {
          if (clientId === "promise") Promise.reject(new Error("in a promise"));
          if (clientId === "timer") setTimeout(() => { throw new Error("in a timer"); });
        },
      };\n`,
    );
    await using role = startRole("mqtt", [
      ...["--listen", "mqtt://127.0.0.1:0", "--target", mosquitto.url],
      ...["--hooks", hooks],
    ]);
    const port = await portOf(role);
    using promise = await connectTo(port, { clientId: "promise" });
    await soon(promise.rest(), "the end of its session");
    const [line] = await role.line(/session failed .*/);
    assertMatch(line, /clientId=promise .*in a promise.*hooks\.ts/);
    using _timer = await connectTo(port, { clientId: "timer" });
    await role.line(/error outside of any session .*in a timer.*hooks\.ts/);
    await assertServed(port, "good");
    assertEquals((await role.stop()).code, 0);
  },
);
