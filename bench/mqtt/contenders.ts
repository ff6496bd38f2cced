/** Who is compared in the mqtt suite, as command lines a user could write. */
import { fromFileUrl, join } from "@std/path";
import { programVersion } from "../harness/machine.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));

/** How the original is had, for whoever reads that it is missing. */
const ORIGINAL_HINT =
  "not found: go build -C bench/mqtt/original -o FILE, then MPROXY_MGATE=FILE";

/** More clients than the rows have; each takes two descriptors and its share of pipes. */
const HAPROXY_CONNECTIONS = 6000;

/** A gateway that can stand before a broker, both at ports of 127.0.0.1. */
export interface Gateway {
  name: string;
  /** Why it cannot be run here. */
  missing?: string;
  /** A program with its arguments; writes the files that it needs. */
  start: (port: number, brokerPort: number) => [string, ...string[]];
}

/** Names of contenders that rows refer to. */
export const DIRECT = "direct";
export const NO_HOOKS = "mproxy";
export const ACL = "mproxy, ACL";
export const REWRITING = "mproxy, rewriting hook";
export const HAPROXY = "HAProxy, TCP";
export const ORIGINAL = "original mgate";

/** All gateways, and the versions of those that are there. */
export interface Gateways {
  all: Gateway[];
  versions: Record<string, string>;
}

/** Finds all gateways. `folder` takes what they need of files. */
export async function findGateways(folder: string): Promise<Gateways> {
  const versions: Record<string, string> = {};
  const haproxyVersion = await programVersion("haproxy", "-v");
  if (haproxyVersion) versions["HAProxy"] = haproxyVersion;
  const original = Deno.env.get("MPROXY_MGATE");
  if (original) {
    versions["original mgate"] = await moduleVersion(
      "github.com/absmach/mgate",
    );
  }
  const policy = join(folder, "policy.toml");
  await Deno.writeTextFile(
    policy,
    `[[acl.rules]]\neffect = "allow"\ntopics = ["devices/%c/#"]\n`,
  );
  const hook = join(ROOT, "bench/mqtt/rewriting_hook.ts");
  const all = [
    mproxy(NO_HOOKS),
    mproxy(ACL, "--policy", policy),
    mproxy(REWRITING, "--hooks", hook),
    {
      ...haproxy(folder),
      ...haproxyVersion
        ? {}
        : { missing: "not found: apt-get install haproxy" },
    },
    {
      name: ORIGINAL,
      ...original ? {} : { missing: ORIGINAL_HINT },
      start: (port: number, brokerPort: number): [string, ...string[]] => [
        original!,
        `127.0.0.1:${port}`,
        `127.0.0.1:${brokerPort}`,
      ],
    },
  ];
  return { all, versions };
}

function mproxy(name: string, ...rules: string[]): Gateway {
  return {
    name,
    start: (port, brokerPort) => [
      Deno.execPath(),
      "run",
      "-A",
      join(ROOT, "cli/mqtt/main.ts"),
      ...["--listen", `mqtt://127.0.0.1:${port}`],
      ...["--target", `mqtt://127.0.0.1:${brokerPort}`],
      ...rules,
    ],
  };
}

function haproxy(folder: string): Gateway {
  return {
    name: HAPROXY,
    start: (port, brokerPort) => {
      const file = join(folder, "haproxy.cfg");
      Deno.writeTextFileSync(
        file,
        `global
  maxconn ${HAPROXY_CONNECTIONS}
defaults
  mode tcp
  option splice-auto
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen mqtt
  bind 127.0.0.1:${port} backlog 4096
  server broker 127.0.0.1:${brokerPort}
`,
      );
      return ["haproxy", "-db", "-f", file];
    },
  };
}

/** The version that the program was made of, as its module file says. */
async function moduleVersion(module: string): Promise<string> {
  const file = await Deno.readTextFile(
    join(ROOT, "bench/mqtt/original/go.mod"),
  );
  const line = file.split("\n").find((line) => line.includes(module));
  return line?.trim().replace(/^require /, "") ?? module;
}
