/** Every option that names a file, with files of every kind: one clear line and an exit code, in time. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { writeFileAtomically } from "../../net/atomic_file.ts";
import { readTextFile, readTextFileInTime } from "../../net/text_file.ts";
import { CertificateAuthority } from "../support/certificate_authority.ts";
import { TestFolder } from "../support/folder.ts";
import { startRole } from "../support/process.ts";
import { needsLinux, testUnless } from "../support/skip.ts";

/** How each kind is made, and what the line says about it. */
const KINDS: Readonly<
  Record<string, { make: (path: string) => unknown; says: RegExp }>
> = {
  "named pipe": {
    make: (path) => new Deno.Command("mkfifo", { args: [path] }).outputSync(),
    says: /it is a named pipe, not a regular file/,
  },
  "device without an end": {
    make: (path) => Deno.symlinkSync("/dev/zero", path),
    says: /it is a device, not a regular file/,
  },
  "folder": {
    make: (path) => Deno.mkdirSync(path),
    says: /it is a directory, not a regular file/,
  },
  "link to itself": {
    make: (path) => Deno.symlinkSync(path, path),
    says: /too many levels of symbolic links|too many symbolic links/i,
  },
  "file of 100 MiB": {
    make: (path) => {
      using file = Deno.openSync(path, { write: true, createNew: true });
      file.truncateSync(100 << 20);
    },
    says: /it has 104857600 bytes, more than \d+/,
  },
  "file that is missing": {
    make: () => {},
    says: /there is no such file/,
  },
};

const PROXY = [
  ...["--udp-listen-addr=127.0.0.1:0", "--udp-downstream-addr=127.0.0.1:9"],
  "--tcp-connect-addr=tls://127.0.0.1:9",
];
const MQTT = ["--listen=mqtt://127.0.0.1:0", "--target=mqtt://127.0.0.1:9"];
const MQTTS = ["--listen=mqtts://127.0.0.1:0", "--target=mqtts://127.0.0.1:9"];

/** Arguments with a file at an option; CERT and KEY stand for good ones. */
const OPTIONS: readonly (readonly [
  role: string,
  args: (file: string, cert: string, key: string) => string[],
  mayBeMissing?: boolean,
])[] = [
  ...[
    ...["client", "server", "proxy", "reverseproxy", "relay", "tunnel"],
    ...["mqtt", "echo", "loadtest"],
  ].map((role) => [role, (file: string) => ["--config", file]] as const),
  ["mqtt", (file) => ["--check-config", "--config", file]],
  ["proxy", (file) => [...PROXY, "--tls-ca", file]],
  [
    "proxy",
    (file, _, key) => [...PROXY, `--tls-cert=${file}`, `--tls-key=${key}`],
  ],
  [
    "proxy",
    (file, cert) => [...PROXY, `--tls-cert=${cert}`, `--tls-key=${file}`],
  ],
  [
    "tunnel",
    (
      file,
    ) => [
      "0=127.0.0.1:9",
      "--control-socket=127.0.0.1:0",
      "--control-token-file",
      file,
    ],
  ],
  ["tunnel", (file) => ["0=127.0.0.1:9", "--state", file], true],
  [
    "tunnel",
    (file, _, key) => [`0=127.0.0.1:9[tls-cert=${file},tls-key=${key}]`],
  ],
  [
    "tunnel",
    (file, cert) => [`0=127.0.0.1:9[tls-cert=${cert},tls-key=${file}]`],
  ],
  ["tunnel", (file) => [`0=127.0.0.1:9[remote-tls=true,remote-ca=${file}]`]],
  ["tunnel", (file) => ["0=127.0.0.1:9[remote-tls=true]", "--ca-bundle", file]],
  ["mqtt", (file, _, key) => [...MQTTS, `--cert=${file}`, `--key=${key}`]],
  ["mqtt", (file, cert) => [...MQTTS, `--cert=${cert}`, `--key=${file}`]],
  [
    "mqtt",
    (
      file,
      cert,
      key,
    ) => [...MQTTS, `--cert=${cert}`, `--key=${key}`, `--client-ca=${file}`],
  ],
  [
    "mqtt",
    (
      file,
      cert,
      key,
    ) => [...MQTTS, `--cert=${cert}`, `--key=${key}`, `--target-ca=${file}`],
  ],
  [
    "mqtt",
    (
      file,
      _,
      key,
    ) => [
      "--listen=mqtt://127.0.0.1:0",
      "--target=mqtts://127.0.0.1:9",
      `--target-cert=${file}`,
      `--target-key=${key}`,
    ],
  ],
  [
    "mqtt",
    (
      file,
      cert,
    ) => [
      "--listen=mqtt://127.0.0.1:0",
      "--target=mqtts://127.0.0.1:9",
      `--target-cert=${cert}`,
      `--target-key=${file}`,
    ],
  ],
  ["mqtt", (file) => [...MQTT, "--policy", file]],
  ["mqtt", (file) => [...MQTT, "--hooks", file]],
];

for (const [kind, { make, says }] of Object.entries(KINDS)) {
  testUnless(
    needsLinux(),
    `every option that names a file refuses a ${kind}`,
    async () => {
      await using folder = await TestFolder.create();
      await using authority = await CertificateAuthority.create();
      const { cert, key } = await authority.sign("DNS:localhost");
      for (const [i, [role, args, mayBeMissing]] of OPTIONS.entries()) {
        if (mayBeMissing && kind === "file that is missing") continue;
        const file = `${folder.path}/given-${i}`;
        make(file);
        await using process = startRole(role, args(file, cert, key));
        const { code, stderr } = await process.end;
        const what = `${role} ${
          args("FILE", "CERT", "KEY").join(" ")
        }\n${stderr}`;
        assert(code === 1 || code === 2, `exit code ${code}: ${what}`);
        const lines = stderr.split("\n").filter((line) => line.includes(file));
        assert(lines.length >= 1, what);
        assertMatch(lines[0]!, says, what);
        assert(!/^\s+at |Internal error/m.test(stderr), what);
      }
    },
  );
}

testUnless(
  needsLinux() ?? (Deno.uid() === 0 ? "root may read everything" : undefined),
  "a file that may not be read is refused",
  async () => {
    await using folder = await TestFolder.create();
    const file = await folder.file("secret", "");
    await Deno.chmod(file, 0);
    await using process = startRole("echo", ["--config", file]);
    const { code, stderr } = await process.end;
    assertEquals(code, 2);
    assertMatch(
      stderr,
      /^mproxy-echo: Cannot read .*may not be read by this user$/,
    );
  },
);

testUnless(
  needsLinux(),
  "readTextFile and readTextFileInTime give the text of a link's target",
  async () => {
    await using folder = await TestFolder.create();
    const file = await folder.file("text", "grüße\n");
    const link = `${folder.path}/link`;
    await Deno.symlink(file, link);
    assertEquals(readTextFile(link), "grüße\n");
    assertEquals(await readTextFileInTime(link), "grüße\n");
  },
);

for (
  const [role, args, file] of [
    ["proxy", [...PROXY, "--tls-cert=CERT", "--tls-key=KEY"], "key"],
    ["tunnel", ["0=127.0.0.1:9[tls-cert=CERT,tls-key=KEY]"], "key"],
    ["mqtt", [...MQTTS, "--cert=CERT", "--key=KEY"], "key"],
    ["tunnel", [
      "0=127.0.0.1:9",
      "--control-socket=127.0.0.1:0",
      "--control-token-file=TOKEN",
    ], "token"],
  ] as const
) {
  testUnless(
    needsLinux(),
    `${role} warns once about a ${file} that others may read`,
    async () => {
      await using folder = await TestFolder.create();
      await using authority = await CertificateAuthority.create();
      const issued = await authority.sign("DNS:localhost");
      const token = await folder.file("token", "0123456789abcdef0123\n");
      const secret = file === "key" ? issued.key : token;
      for (const [mode, warnings] of [[0o644, 1], [0o640, 0]] as const) {
        await Deno.chmod(secret, mode);
        await using process = startRole(
          role,
          args.map((arg) =>
            arg.replace("CERT", issued.cert).replace("KEY", issued.key)
              .replace("TOKEN", token)
          ),
        );
        await process.line(/listening/);
        const { stderr } = await process.stop();
        const found = stderr.split("\n").filter((line) =>
          line.includes("warn other users may access the secret file") &&
          line.includes(secret)
        );
        assertEquals(found.length, warnings, stderr);
      }
    },
  );
}

// ---- written files

testUnless(
  needsLinux(),
  "writeFileAtomically goes through no link, keeps the mode and leaves nothing behind",
  async () => {
    await using folder = await TestFolder.create();
    const victim = await folder.file("victim", "untouched");
    const file = `${folder.path}/state`;
    await Deno.symlink(victim, `${file}.tmp`);
    await writeFileAtomically(file, "one");
    assertEquals(await Deno.readTextFile(victim), "untouched");
    assertEquals(await Deno.readTextFile(file), "one");
    assertEquals((await Deno.stat(file)).mode! & 0o137, 0);
    await Deno.chmod(file, 0o604);
    await writeFileAtomically(file, "two");
    assertEquals((await Deno.stat(file)).mode! & 0o777, 0o604);
    const names = [...Deno.readDirSync(folder.path)].map(({ name }) => name);
    assertEquals(names.sort(), ["state", "state.tmp", "victim"]);
  },
);

// ---- stdout

for (
  const args of [["--help"], ["--version"], ["completions", "bash"], [
    "man",
    "proxy",
  ]]
) {
  testUnless(
    needsLinux(),
    `mproxy ${args.join(" ")} > /dev/full is one line and exit code 1`,
    async () => {
      const main =
        new URL("../../cli/mproxy/main.ts", import.meta.url).pathname;
      const { code, stderr } = await new Deno.Command("sh", {
        args: [
          "-c",
          'exec "$@" >/dev/full',
          "sh",
          Deno.execPath(),
          "run",
          "-A",
          main,
          ...args,
        ],
      }).output();
      const text = new TextDecoder().decode(stderr);
      assertEquals(code, 1, text);
      assertMatch(
        text,
        /^mproxy: Cannot write to stdout: No space left on device\n$/,
      );
    },
  );
}

for (const role of ["echo", "tunnel"]) {
  testUnless(
    needsLinux(),
    `${role} --help > /dev/full is one line and exit code 1`,
    async () => {
      const main =
        new URL(`../../cli/${role}/main.ts`, import.meta.url).pathname;
      const { code, stderr } = await new Deno.Command("sh", {
        args: [
          "-c",
          'exec "$@" >/dev/full',
          "sh",
          Deno.execPath(),
          "run",
          "-A",
          main,
          "--help",
        ],
      }).output();
      const text = new TextDecoder().decode(stderr);
      assertEquals(code, 1, text);
      assertMatch(
        text,
        /^mproxy-\w+: Cannot write to stdout: No space left on device\n$/,
      );
    },
  );
}

Deno.test("--config that is nested 20 000 deep is one line and exit code 2", async () => {
  await using folder = await TestFolder.create();
  const file = await folder.file("deep.toml", `a = ${"[".repeat(20_000)}`);
  await using process = startRole("echo", ["--config", file]);
  const { code, stderr } = await process.end;
  assertEquals(code, 2);
  assertMatch(
    stderr,
    /^mproxy-echo: Cannot use .*deep\.toml:1:69": nested deeper than 64 levels$/,
  );
});
