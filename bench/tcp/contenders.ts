/** Who is compared in the tcp suite: relays of a port of 127.0.0.1 to another one. */
import { fromFileUrl, join } from "@std/path";
import { programVersion } from "../harness/machine.ts";
import { freePort } from "../harness/processes.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));

/** More than any row opens, and room for both sides and pipes. */
const CONNECTIONS = 6000;

/** A command line and the folder it runs in. */
export interface Command {
  program: string;
  args: string[];
  cwd?: string;
}

/** One way to relay. */
export interface Relay {
  name: string;
  /** Why it cannot be run here. */
  missing?: string;
  /** Relays from a port to another one; without it the load has no relay between. */
  command?: (from: number, to: number) => Command;
}

/** All relays, and the versions of those that are there. */
export interface Relays {
  all: Relay[];
  versions: Record<string, string>;
}

/** Names that rows and expectations use. */
export const DIRECT = "direct";
export const LINUX = "mproxy linux";
export const PORTABLE = "mproxy portable";
export const TUNNEL = "mproxy tunnel";
export const SPLICE = "HAProxy splice";
export const HAPROXY = "HAProxy";
export const NGINX = "nginx";
export const SOCAT = "socat";
export const ORIGINAL = "original";

/** Where the original is had: its crates' names on crates.io are somebody else's. */
const ORIGINAL_HINT = "not found: cargo install --root DIR " +
  "--git https://github.com/kuchmenko/monkey-d-tcp basic-tcp-proxy, " +
  "then MPROXY_TCP_ORIGINAL=DIR/bin/basic-tcp-proxy";

/** Finds all relays. `folder` takes their configuration files. */
export async function findRelays(folder: string): Promise<Relays> {
  const [haproxy, nginx, modules, socat] = await Promise.all([
    programVersion("haproxy", "-v"),
    programVersion("nginx", "-v"),
    nginxStream(),
    programVersion("socat", "-V"),
  ]);
  const path = Deno.env.get("MPROXY_TCP_ORIGINAL");
  const versions: Record<string, string> = {};
  if (haproxy) versions["HAProxy"] = haproxy.replace(/ - http.*/, "");
  if (nginx) versions["nginx"] = nginx;
  if (socat) versions["socat"] = socat;
  if (path) versions["original"] = "Monkey D. TCP, basic-tcp-proxy";
  const all: Relay[] = [
    { name: DIRECT },
    { name: LINUX, command: mproxyRelay("linux") },
    { name: PORTABLE, command: mproxyRelay("portable") },
    { name: TUNNEL, command: mproxyTunnel },
    {
      name: SPLICE,
      ...missing(haproxy, "apt-get install haproxy"),
      command: haproxyCommand(folder, true),
    },
    {
      name: HAPROXY,
      ...missing(haproxy, "apt-get install haproxy"),
      command: haproxyCommand(folder, false),
    },
    {
      name: NGINX,
      ...missing(
        nginx && modules,
        "apt-get install nginx-light libnginx-mod-stream",
      ),
      command: nginxCommand(folder, modules ?? ""),
    },
    {
      name: SOCAT,
      ...missing(socat, "apt-get install socat"),
      command: socatCommand,
    },
    {
      name: ORIGINAL,
      ...path === undefined ? { missing: ORIGINAL_HINT } : {},
      command: originalCommand(folder, path ?? ""),
    },
  ];
  return { all, versions };
}

function missing(
  found: string | undefined,
  hint: string,
): { missing?: string } {
  return found === undefined ? { missing: `not found: ${hint}` } : {};
}

function role(name: string, ...args: string[]): Command {
  return {
    program: Deno.execPath(),
    args: ["run", "-A", join(ROOT, "cli", name, "main.ts"), ...args],
  };
}

/** As a user starts it, but for what would take a fixed port or print. */
function mproxyRelay(engine: string): (from: number, to: number) => Command {
  return (from, to) =>
    role(
      "relay",
      ...["--engine", engine, "--metrics-addr", "off", "--summary", "0"],
      ...["--quiet", "--grace", "1", `127.0.0.1:${from}`, `127.0.0.1:${to}`],
    );
}

function mproxyTunnel(from: number, to: number): Command {
  return role(
    "tunnel",
    ...["--engine", "linux", "--quiet", "--grace", "1"],
    `127.0.0.1:${from}=127.0.0.1:${to}`,
  );
}

/** Without logs, checks and statistics; it sets TCP_NODELAY by itself. */
function haproxyCommand(
  folder: string,
  splice: boolean,
): (from: number, to: number) => Command {
  return (from, to) => {
    const path = join(folder, "haproxy.cfg");
    Deno.writeTextFileSync(
      path,
      `global
  nbthread 1
  maxconn ${CONNECTIONS}
defaults
  mode tcp
  timeout connect 5s
  timeout client 5m
  timeout server 5m
${splice ? "  option splice-auto\n" : ""}listen relay
  bind 127.0.0.1:${from} backlog ${CONNECTIONS}
  server target 127.0.0.1:${to}
`,
    );
    return { program: "haproxy", args: ["-db", "-q", "-f", path] };
  };
}

/** Where nginx has its stream module, "" where it is built in; undefined where it has none. */
async function nginxStream(): Promise<string | undefined> {
  let said: string;
  try {
    const { stderr } = await new Deno.Command("nginx", { args: ["-V"] })
      .output();
    said = new TextDecoder().decode(stderr);
  } catch {
    return undefined;
  }
  if (/--with-stream(\s|$)/.test(said)) return "";
  const [, folder] = /--modules-path=(\S+)/.exec(said) ?? [];
  if (folder === undefined) return undefined;
  const path = join(folder, "ngx_stream_module.so");
  try {
    await Deno.stat(path);
    return path;
  } catch {
    return undefined;
  }
}

/** One worker, no logs; it sets TCP_NODELAY by itself. */
function nginxCommand(
  folder: string,
  module: string,
): (from: number, to: number) => Command {
  return (from, to) => {
    const path = join(folder, "nginx.conf");
    Deno.writeTextFileSync(
      path,
      `${module === "" ? "" : `load_module ${module};\n`}daemon off;
worker_processes 1;
worker_rlimit_nofile ${CONNECTIONS * 3};
pid ${join(folder, "nginx.pid")};
error_log stderr crit;
events {
  worker_connections ${CONNECTIONS * 3};
}
stream {
  server {
    listen 127.0.0.1:${from} backlog=${CONNECTIONS};
    proxy_pass 127.0.0.1:${to};
  }
}
`,
    );
    return {
      program: "nginx",
      args: ["-e", "stderr", "-p", folder, "-c", path],
    };
  };
}

function socatCommand(from: number, to: number): Command {
  return {
    program: "socat",
    args: [
      ...["-b", "262144"],
      `TCP4-LISTEN:${from},bind=127.0.0.1,reuseaddr,fork,nodelay`,
      `TCP4:127.0.0.1:${to},nodelay`,
    ],
  };
}

/** It reads proxy.toml where it runs, and prints a line for every read: nobody has to take these. */
function originalCommand(
  folder: string,
  path: string,
): (from: number, to: number) => Command {
  return (from, to) => {
    Deno.writeTextFileSync(
      join(folder, "proxy.toml"),
      `listen_addr = "127.0.0.1:${from}"
target_addr = "127.0.0.1:${to}"
metrics_addr = "127.0.0.1:${freePort("tcp")}"
grace_period_secs = 1
`,
    );
    return {
      program: "sh",
      args: ["-c", 'exec "$0" > /dev/null', path],
      cwd: folder,
    };
  };
}
