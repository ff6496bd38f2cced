/** What would be published, unpacked where nothing else is, and run as a stranger does. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { toFileUrl } from "@std/path";
import { permissions } from "../../tools/permissions.ts";
import manifest from "../../deno.json" with { type: "json" };
import { freePort } from "../../bench/harness/processes.ts";
import { formatAddress } from "../../net/address.ts";
import { Receiver } from "../support/datagram_peer.ts";
import { roleSmoke, sendDatagram } from "../support/role_smoke.ts";
import { TestFolder } from "../support/folder.ts";
import { echoServer } from "../support/tcp.ts";
import { type UnpackedPackages, unpackPackages } from "../support/packages.ts";
import { TestProcess } from "../support/process.ts";

const ROLES = permissions.map(({ role }) => role);

const MQTT_ADDRESSES = [
  "--listen=mqtt://127.0.0.1:0",
  "--target=mqtt://127.0.0.1:9",
];

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

/**
 * What the README's table says that options want beside the least: run with
 * that and no more. Files lie in FOLDER.
 */
const WITH_MORE: Readonly<
  Record<string, Readonly<Record<string, readonly (readonly string[])[]>>>
> = {
  client: {
    "--allow-sys=networkInterfaces": [
      ["--path=FOLDER/in", "--server-addr=127.0.0.1:9", "--interface=lo"],
    ],
    "--allow-ffi": [
      // A broadcast address: nobody listens, and nobody refuses.
      [
        ...["--path=FOLDER/in", "--server-addr=127.255.255.255:9"],
        "--engine=linux",
      ],
    ],
  },
  server: {
    "--allow-sys=networkInterfaces": [
      ["--path=FOLDER/out", "--listen-addr=239.255.90.22:0", "--interface=lo"],
    ],
    "--allow-ffi": [
      ["--path=FOLDER/out", "--listen-addr=127.0.0.1:0", "--engine=linux"],
    ],
  },
  proxy: {
    "--allow-read": [
      ["--config=FOLDER/proxy.toml"],
      [
        ...["--tcp-connect-addr=tls://localhost:9", "--tls-ca=FOLDER/ca.pem"],
        ...["--udp-listen-addr=127.0.0.1:0"],
        ...["--udp-downstream-addr=127.0.0.1:9"],
      ],
    ],
    "--allow-sys": [
      [
        ...["--tcp-connect-addr=tls://localhost:9"],
        ...["--udp-listen-addr=127.0.0.1:0"],
        ...["--udp-downstream-addr=127.0.0.1:9"],
      ],
    ],
    "--allow-sys=networkInterfaces": [
      [
        ...["--udp-listen-addr=239.255.90.22:0", "--interface=lo"],
        ...["--udp-downstream-addr=127.0.0.1:9"],
      ],
    ],
    "--allow-ffi": [
      [
        ...["--udp-listen-addr=127.0.0.1:0", "--engine=linux"],
        ...["--udp-downstream-addr=127.0.0.1:9"],
      ],
    ],
  },
  reverseproxy: {
    "--allow-read": [["--config=FOLDER/reverseproxy.toml"]],
    "--allow-sys=networkInterfaces": [
      [`--multicast-addr=239.255.90.22:${freePort("udp")}`, "--interface=lo"]
        .concat("--tcp-output-addr=127.0.0.1:0"),
    ],
    "--allow-ffi": [
      ["--udp-listen-addr=127.0.0.1:0", "--engine=linux"]
        .concat("--multicast-addr=239.255.90.22:9"),
    ],
  },
  relay: {
    "--allow-read": [["--config=FOLDER/relay.toml"]],
    "--allow-ffi": [["127.0.0.1:0", "127.0.0.1:9", "--metrics-addr=off"]],
  },
  tunnel: {
    "--allow-read": [
      ["--config=FOLDER/tunnel.toml"],
      ["0=127.0.0.1:9", "--ca-bundle=FOLDER/ca.pem"],
      [
        ...["0=127.0.0.1:9", "--control-socket=0.0.0.0:0"],
        ...["--control-token-file=FOLDER/token"],
      ],
    ],
    "--allow-read --allow-write": [
      ["0=127.0.0.1:9", "--state=FOLDER/state.json"],
    ],
    "--allow-write": [["0=127.0.0.1:9", "--access-log=FOLDER/access.log"]],
    "--allow-sys": [["0=127.0.0.1:9[remote-tls=true]"]],
    "--allow-ffi": [["0=127.0.0.1:9"]],
  },
  mqtt: {
    "--allow-read": [
      ["--config=FOLDER/mqtt.toml"],
      [...MQTT_ADDRESSES, "--policy=FOLDER/policy.toml"],
      [...MQTT_ADDRESSES, "--hooks=FOLDER/hooks.ts"],
      [
        ...["--listen=mqtts://127.0.0.1:0", "--target=mqtt://127.0.0.1:9"],
        ...["--cert=FOLDER/localhost.pem", "--key=FOLDER/localhost.key"],
      ],
    ],
    "--allow-write": [[...MQTT_ADDRESSES, "--audit=FOLDER/audit.jsonl"]],
    "--allow-read --allow-sys": [
      [
        ...["--listen=mqtt://127.0.0.1:0", "--target=mqtts://127.0.0.1:9"],
        ...["--target-ca=FOLDER/ca.pem"],
      ],
    ],
    "--allow-env": [[]],
  },
  echo: { "--allow-read": [["--config=FOLDER/echo.toml"]] },
  loadtest: {
    "--allow-read": [["--config=FOLDER/loadtest.toml"]],
    "--allow-write": [["--duration=0.1", "--svg=FOLDER/load.svg"]],
  },
};

/** Runs a package in the folder of a user, where nobody answers questions. */
function runPackage(
  { app }: UnpackedPackages,
  name: string,
  denoFlags: readonly string[],
  args: readonly string[],
  env: Record<string, string> = {},
): TestProcess {
  return new TestProcess(
    Deno.execPath(),
    ["run", "--no-prompt", ...denoFlags, `jsr:@mproxy/${name}`, ...args],
    { cwd: app, env },
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
    "options run with what the README's table names for them",
    async (t) => {
      const files: Record<string, string> = {
        in: "one line\n",
        token: "a token that nobody knows\n",
        "policy.toml": '[acl]\ndefault = "deny"\n',
        "hooks.ts": "export default { publish() {} };\n",
        "proxy.toml":
          'udp-listen-addr = ["127.0.0.1:0"]\nudp-downstream-addr = ["127.0.0.1:9"]\n',
        "reverseproxy.toml":
          'udp-listen-addr = "127.0.0.1:0"\nmulticast-addr = "239.255.90.22:9"\n',
        "relay.toml":
          'listen = "127.0.0.1:0"\ntarget = "127.0.0.1:9"\nmetrics-addr = "off"\n',
        "tunnel.toml": 'tunnels = ["0=127.0.0.1:9"]\n',
        "mqtt.toml":
          'listen = ["mqtt://127.0.0.1:0"]\ntarget = ["mqtt://127.0.0.1:9"]\n',
        "echo.toml": 'listen = "127.0.0.1:0"\n',
        "loadtest.toml": "duration = 0.1\n",
      };
      for (const name of ["ca.pem", "localhost.pem", "localhost.key"]) {
        files[name] = await Deno.readTextFile(
          new URL(`../vectors/tls/${name}`, import.meta.url),
        );
      }
      for (const [name, text] of Object.entries(files)) {
        await Deno.writeTextFile(`${folder.path}/${name}`, text);
      }
      for (const { role, least, more } of permissions) {
        const cases = WITH_MORE[role] ?? {};
        assertEquals(
          more.map(([one]) => one).filter((one) =>
            !Object.keys(cases).some((given) => given.split(" ").includes(one))
          ),
          [],
          role,
        );
        for (const [given, lines] of Object.entries(cases)) {
          // Neither is there elsewhere: libc, and an interface named lo.
          if (
            Deno.build.os !== "linux" &&
            lines.flat().some((arg) => /=(linux|lo)$/.test(arg))
          ) continue;
          for (const line of lines) {
            await t.step(`${role} ${line.join(" ")}, ${given}`, async () => {
              await using target = echoServer();
              const args = line.map((arg) =>
                arg.replace("FOLDER", folder.path)
              );
              if (role === "loadtest") {
                args.push(`--target=${formatAddress(target.address)}`);
              }
              await using process = runPackage(
                packages,
                role,
                [
                  ...least.map((one) =>
                    one.replace("FILE", `${folder.path}/in`)
                      .replace("FOLDER", folder.path)
                  ),
                  ...given.split(" "),
                ],
                args,
                line.length > 0 ? {} : {
                  MPROXY_MQTT_HOST: "127.0.0.1",
                  MPROXY_MQTT_PORT: `${freePort("tcp")}`,
                },
              );
              if (!["client", "loadtest"].includes(role)) {
                await process.line(/listening.* address=/);
                process.signal("SIGTERM");
              }
              const { code, stderr } = await process.end;
              if (Deno.build.os !== "windows") assertEquals(code, 0, stderr);
            });
          }
        }
      }
    },
  );

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
