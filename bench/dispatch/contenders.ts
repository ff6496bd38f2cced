/** Who is compared in the dispatch suite, as command lines a user could write. */
import { fromFileUrl, join } from "@std/path";
import { programVersion } from "../harness/machine.ts";
import { freePort } from "../harness/processes.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));

/** A program with its arguments. */
export type CommandLine = [program: string, ...args: string[]];

/** The roles of one program; one that it does not have is left out. */
export interface Program {
  name: string;
  /** Why it cannot be run here. */
  missing?: string;
  /** Sizes of datagrams at which it is worth its time. Default: all. */
  sizes?: readonly number[];
  /** UDP from a port of 127.0.0.1 to destinations. */
  forward?: (port: number, to: readonly string[]) => CommandLine;
  /** Whether it can forward to more than one destination. */
  fansOut?: boolean;
  /** TCP from a port of 127.0.0.1 to a destination, in datagrams of a size. */
  fromTcp?: (port: number, to: string, size: number) => CommandLine;
  /** A file to a destination, in datagrams of a size. */
  client?: (path: string, to: string, size: number) => CommandLine;
  /** UDP from a port of 127.0.0.1 to the end of a file. */
  server?: (port: number, path: string) => CommandLine;
}

/** All programs, and the versions of those that are there. */
export interface Programs {
  all: Program[];
  versions: Record<string, string>;
}

/** How the originals are had, for whoever reads that they are missing. */
export const ORIGINALS_HINT =
  "not found: cargo install --root DIR mproxy-client mproxy-forward mproxy-server, " +
  "then MPROXY_ORIGINALS=DIR (several with :)";

/** Finds all programs. `folder` takes what they need of files. */
export async function findPrograms(folder: string): Promise<Programs> {
  const versions: Record<string, string> = {};
  const socatVersion = await programVersion("socat", "-V");
  if (socatVersion) versions["socat"] = socatVersion;
  const withoutNet = await configWithoutNet(folder);
  const all = [
    mproxy("mproxy linux", ["-A"], "linux"),
    mproxy("mproxy portable", ["-A"], "portable"),
    {
      ...mproxy(
        "mproxy node:dgram",
        ["-A", "--config", withoutNet, "--no-lock"],
        "portable",
      ),
      // Its time goes by the datagram, so one size tells the others.
      sizes: [1400],
    },
    bareDeno(),
    ...originals(),
    {
      ...socat(),
      ...(socatVersion === undefined
        ? { missing: "not found: apt-get install socat" }
        : {}),
    },
  ];
  for (const { name, missing } of all) {
    if (name.startsWith("original ") && !missing) {
      versions[name] = `${name.slice(9)} from crates.io`;
    }
  }
  return { all, versions };
}

function mproxy(name: string, flags: string[], engine: string): Program {
  const role = (name: string, ...args: string[]): CommandLine => [
    Deno.execPath(),
    "run",
    ...flags,
    join(ROOT, "cli", name, "main.ts"),
    "--engine",
    engine,
    ...args,
  ];
  return {
    name,
    fansOut: true,
    forward: (port, to) =>
      role(
        "proxy",
        "--udp-listen-addr",
        `127.0.0.1:${port}`,
        ...to.flatMap((address) => ["--udp-downstream-addr", address]),
      ),
    fromTcp: (port, to, size) =>
      role(
        "proxy",
        ...["--tcp-connect-addr", `127.0.0.1:${port}`],
        ...["--udp-downstream-addr", to, "--datagram-size", String(size)],
      ),
    client: (path, to, size) =>
      role(
        "client",
        ...["--path", path, "--server-addr", to],
        ...["--datagram-size", String(size)],
      ),
    server: (port, path) =>
      role("server", "--path", path, "--listen-addr", `127.0.0.1:${port}`),
  };
}

/** Without it a user's Deno has no `Deno.listenDatagram`. */
async function configWithoutNet(folder: string): Promise<string> {
  const { imports } = JSON.parse(
    await Deno.readTextFile(join(ROOT, "deno.json")),
  );
  const path = join(folder, "deno.json");
  const local = (file: string) => new URL(`file://${join(ROOT, file)}`).href;
  const config = {
    imports: {
      ...imports,
      "@mproxy/mproxy": local("mod.ts"),
      "@mproxy/mproxy/cli": local("cli/mod.ts"),
    },
    links: ["assert", "cli", "path", "streams"].map((name) =>
      join(ROOT, "offline", name)
    ),
  };
  await Deno.writeTextFile(path, JSON.stringify(config));
  return path;
}

function bareDeno(): Program {
  const program = join(ROOT, "bench/load/bare_forward.ts");
  return {
    name: "bare listenDatagram",
    fansOut: true,
    forward: (port, to) => [
      Deno.execPath(),
      "run",
      "-A",
      program,
      String(port),
      ...to,
    ],
  };
}

function socat(): Program {
  return {
    name: "socat",
    forward: (port, [to]) => [
      "socat",
      ...["-u", "-b", "65536"],
      `UDP4-RECV:${port},bind=127.0.0.1`,
      `UDP4-SENDTO:${to}`,
    ],
    fromTcp: (port, to, size) => [
      "socat",
      ...["-u", "-b", String(size)],
      `TCP4:127.0.0.1:${port}`,
      `UDP4-SENDTO:${to}`,
    ],
    client: (path, to, size) => [
      "socat",
      ...["-u", "-b", String(size)],
      `OPEN:${path},rdonly`,
      `UDP4-SENDTO:${to}`,
    ],
    server: (port, path) => [
      "socat",
      ...["-u", "-b", "65536"],
      `UDP4-RECV:${port},bind=127.0.0.1`,
      `OPEN:${path},creat,append`,
    ],
  };
}

/** The Rust programs, in each folder of MPROXY_ORIGINALS, or on the PATH. */
function originals(): Program[] {
  const folders = Deno.env.get("MPROXY_ORIGINALS")?.split(":")
    .filter((folder) => folder !== "") ?? [];
  if (folders.length > 0) {
    return folders.map((folder) =>
      original(
        `original ${versionIn(folder)}`,
        join(folder, "bin/"),
        exists(join(folder, "bin/mproxy-forward")),
      )
    );
  }
  const onPath = (Deno.env.get("PATH") ?? "").split(":")
    .some((folder) => exists(join(folder, "mproxy-forward")));
  return [original("original", "", onPath)];
}

function original(name: string, folder: string, there: boolean): Program {
  return {
    name,
    fansOut: true,
    ...(there ? {} : { missing: ORIGINALS_HINT }),
    forward: (port, to) => [
      `${folder}mproxy-forward`,
      "--udp-listen-addr",
      `127.0.0.1:${port}`,
      ...to.flatMap((address) => ["--udp-downstream-addr", address]),
    ],
    // It sends what it reads to its own listener, in pieces of its own size.
    fromTcp: (port, to) => [
      `${folder}mproxy-forward`,
      ...["--tcp-connect-addr", `127.0.0.1:${port}`],
      ...["--udp-listen-addr", `127.0.0.1:${freePort("udp")}`],
      ...["--udp-downstream-addr", to],
    ],
    // In pieces of 8096 and 96 bytes, by turns.
    client: (path, to) => [
      `${folder}mproxy-client`,
      ...["--path", path, "--server-addr", to],
    ],
    server: (port, path) => [
      `${folder}mproxy-server`,
      ...["--path", path, "--listen-addr", `127.0.0.1:${port}`],
    ],
  };
}

/** `cargo install --root` notes the version there. */
function versionIn(folder: string): string {
  try {
    const list = Deno.readTextFileSync(join(folder, ".crates.toml"));
    return /"mproxy-forward ([^ "]+)/.exec(list)?.[1] ?? folder;
  } catch {
    return folder;
  }
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
