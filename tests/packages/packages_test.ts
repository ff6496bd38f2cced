/** What would be published, unpacked where nothing else is, and run as a stranger does. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { toFileUrl } from "@std/path";
import { permissions } from "../../.ci/permissions.ts";
import manifest from "../../deno.json" with { type: "json" };
import { freePort } from "../../bench/harness/processes.ts";
import { formatAddress } from "../../net/address.ts";
import { Receiver } from "../support/datagram_peer.ts";
import { roleSmoke, sendDatagram } from "../support/role_smoke.ts";
import { TestFolder } from "../support/folder.ts";
import { type UnpackedPackages, unpackPackages } from "../support/packages.ts";
import { TestProcess } from "../support/process.ts";

const ROLES = permissions.map(({ role }) => role);

/** What each role is asked for where one of its permissions is missing. */
const WITHOUT_PERMISSION: Readonly<Record<string, readonly string[]>> = {
  client: ["--path=FOLDER/in", "--server-addr=127.0.0.1:9"],
  server: ["--path=FOLDER/out", "--listen-addr=127.0.0.1:0"],
  proxy: ["--udp-listen-addr=127.0.0.1:0", "--udp-downstream-addr=127.0.0.1:9"],
  reverseproxy: [
    "--udp-listen-addr=127.0.0.1:0",
    "--multicast-addr=239.255.90.22:9",
  ],
  relay: ["127.0.0.1:0", "127.0.0.1:9"],
  tunnel: ["0=127.0.0.1:9"],
  mqtt: ["--listen=mqtt://127.0.0.1:0", "--target=mqtt://127.0.0.1:9"],
  echo: ["--listen=127.0.0.1:0"],
  loadtest: ["--target=127.0.0.1:9", "--duration=0.1", "--json"],
};

/** Runs a package in the folder of a user, where nobody answers questions. */
function runPackage(
  { app }: UnpackedPackages,
  name: string,
  denoFlags: readonly string[],
  args: readonly string[],
): TestProcess {
  return new TestProcess(
    Deno.execPath(),
    ["run", "--no-prompt", ...denoFlags, `jsr:@mproxy/${name}`, ...args],
    { cwd: app },
  );
}

async function text(process: TestProcess): Promise<string> {
  const { code, stdout, stderr } = await process.end;
  assertEquals(code, 0, stderr);
  return new TextDecoder().decode(stdout);
}

Deno.test("the published packages work where nothing else of the project is", async (t) => {
  await using folder = await TestFolder.create();
  const packages = await unpackPackages(folder.path);
  const { app, folders } = packages;

  await t.step("they are the roles, the all-in-one and the library", () => {
    assertEquals(
      [...folders.keys()].sort(),
      ["cli", "mproxy", ...ROLES].map((name) => `@mproxy/${name}`).sort(),
    );
  });

  await t.step(
    "no module comes from outside the packages, npm and Deno",
    async () => {
      const inside = toFileUrl(`${await Deno.realPath(folder.path)}/packages/`);
      for (const name of folders.keys()) {
        const doors = name === "@mproxy/mproxy" ? ["", "/cli", "/mqtt"] : [""];
        for (const door of doors) {
          const { code, stdout, stderr } = await new Deno.Command(
            Deno.execPath(),
            { args: ["info", "--json", `jsr:${name}${door}`], cwd: app },
          ).output();
          assertEquals(code, 0, new TextDecoder().decode(stderr));
          const { modules } = JSON.parse(new TextDecoder().decode(stdout));
          assert(modules.length > 0);
          for (const { specifier, error } of modules) {
            assertEquals(error, undefined);
            assertMatch(
              specifier,
              new RegExp(
                // The standard library where offline/ does not stand in for it.
                `^(npm:|node:|data:|https://jsr\\.io/@std/|${
                  RegExp.escape(inside.href)
                })`,
              ),
            );
          }
        }
      }
    },
  );

  await t.step("every command shows its help and version", async () => {
    for (const name of [...ROLES, "cli"]) {
      const program = name === "cli" ? "mproxy" : `mproxy-${name}`;
      const help = await text(runPackage(packages, name, [], ["--help"]));
      assert(help.startsWith(`${program}: `), help);
      assertEquals(
        await text(runPackage(packages, name, [], ["--version"])),
        `${program} ${manifest.version}\n`,
      );
    }
  });

  for (const { role, least } of permissions) {
    const flags = least.map((one) =>
      one.replace("FILE", `${folder.path}/in`).replace("FOLDER", folder.path)
    );
    const variants: Record<string, string[]> = {
      "with -A": ["-A"],
      "with -A and --unstable-net": ["-A", "--unstable-net"],
      [`with ${least.join(" ")}`]: flags,
      [`with ${least.join(" ")} and --unstable-net`]: [
        ...flags,
        "--unstable-net",
      ],
      ...("linux" === Deno.build.os
        ? { "with the least and --allow-ffi": [...flags, "--allow-ffi"] }
        : {}),
    };
    for (const [title, denoFlags] of Object.entries(variants)) {
      // Loopback is no interface to which the system sends groups by itself.
      const onLoopback = role === "reverseproxy" && !denoFlags.includes("-A")
        ? ["--allow-sys=networkInterfaces"]
        : [];
      await t.step(`${role} serves ${title}`, async () => {
        await Deno.remove(`${folder.path}/out`).catch(() => {});
        await roleSmoke[role]!(
          (...args) =>
            runPackage(packages, role, [...denoFlags, ...onLoopback], args),
          folder.path,
        );
      });
    }
    for (const missing of flags) {
      const name = missing.replace(/=.*/, "");
      await t.step(
        `${role} says without a stack that ${name} is missing`,
        async () => {
          const given = flags.filter((flag) => flag !== missing);
          await using process = runPackage(
            packages,
            role,
            given,
            WITHOUT_PERMISSION[role]!.map((arg) =>
              arg.replace("FOLDER", folder.path)
            ),
          );
          const { stdout, stderr } = await process.end;
          const said = new TextDecoder().decode(stdout) + stderr;
          assertMatch(said, new RegExp(`${name}|may not be read by this user`));
          assert(!said.includes("    at "), said);
        },
      );
    }
  }

  await t.step(
    "the README's examples of the library have right types",
    async () => {
      const readme = await Deno.readTextFile(
        new URL("../../README.md", import.meta.url),
      );
      const examples = [...readme.matchAll(/^```ts\n([\s\S]*?)^```/gm)];
      assert(examples.length > 0);
      for (const [i, [, example]] of examples.entries()) {
        const file = `${app}/example_${i}.ts`;
        await Deno.writeTextFile(file, example!);
        const { code, stderr } = await new Deno.Command(Deno.execPath(), {
          args: ["check", "--unstable-net", file],
          cwd: app,
        }).output();
        assertEquals(code, 0, new TextDecoder().decode(stderr));
      }
    },
  );

  await t.step("the README's example of the library forwards", async () => {
    const readme = await Deno.readTextFile(
      new URL("../../README.md", import.meta.url),
    );
    const [, example] = /^```ts\n([\s\S]*?)^```/m.exec(readme)!;
    await using receiver = await Receiver.open();
    const listen = { hostname: "127.0.0.1", port: freePort("udp") };
    const file = `${app}/library.ts`;
    await Deno.writeTextFile(
      file,
      example!.replace("127.0.0.1:9920", formatAddress(listen))
        .replace("239.1.2.3:9921", formatAddress(receiver.address)),
    );
    for (const flags of [["-A"], ["--allow-net", "--unstable-net"]]) {
      await using process = new TestProcess(
        Deno.execPath(),
        ["run", "--no-prompt", ...flags, file],
        { cwd: app },
      );
      // Its figures come once a second, from when it listens.
      await process.stdoutBytes(1);
      const before = receiver.bytes.length;
      await sendDatagram(listen);
      await receiver.atLeastBytes(before + 1);
    }
  });

  await t.step(
    "every role serves as a subcommand of the all-in-one",
    async () => {
      await roleSmoke.echo!(
        (...args) => runPackage(packages, "cli", ["-A"], ["echo", ...args]),
        folder.path,
      );
      for (const role of ROLES) {
        const help = await text(
          runPackage(packages, "cli", [], [role, "--help"]),
        );
        assert(help.startsWith(`mproxy ${role}: `), help);
      }
    },
  );
});
