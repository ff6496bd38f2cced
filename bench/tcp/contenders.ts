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

/** What a row puts through: with large buffers peers do bulk better, and nothing else. */
export type Traffic = "bulk" | "messages";

/** A relay from a port to another one. */
type Between = (from: number, to: number, traffic: Traffic) => Command;

/** One way to relay. */
export interface Relay {
  name: string;
  /** Why it cannot be run here. */
  missing?: string;
  /** Without it the load has no relay between. */
  command?: Between;
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
export const SPLICE_DEFAULT = "HAProxy splice 16 KiB";
export const HAPROXY = "HAProxy";
export const NGINX = "nginx";
export const SOCAT = "socat";
export const ORIGINAL = "original";

/** Buffers of HAProxy and nginx in bulk: their CPU time a byte is half of that with their own 16 KiB. */
const BULK_BUFFER_BYTES = 64 * 1024;

/** What a reader of a bulk row must know of it. */
export const BULK_BUFFERS_NOTE =
  "HAProxy and nginx have buffers of 64 KiB here, with which they are faster than with their default of 16 KiB; of splice there are both.";

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
      command: haproxyCommand(folder, { splice: true }),
    },
    {
      name: SPLICE_DEFAULT,
      ...missing(haproxy, "apt-get install haproxy"),
      command: (from, to) =>
        haproxyCommand(folder, { splice: true })(from, to, "messages"),
    },
    {
      name: HAPROXY,
      ...missing(haproxy, "apt-get install haproxy"),
      command: haproxyCommand(folder, { splice: false }),
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
function mproxyRelay(engine: string): Between {
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

/**
 * One thread, without logs, checks and statistics. It sets TCP_NODELAY by
 * itself; tcp-smart-connect saves it a packet, as clients speak first here.
 */
function haproxyCommand(
  folder: string,
  { splice }: { splice: boolean },
): Between {
  return (from, to, traffic) => {
    const path = join(folder, "haproxy.cfg");
    Deno.writeTextFileSync(
      path,
      lines(
        "global",
        "  nbthread 1",
        `  maxconn ${CONNECTIONS}`,
        traffic === "bulk" && `  tune.bufsize ${BULK_BUFFER_BYTES}`,
        "defaults",
        "  mode tcp",
        "  timeout connect 5s",
        "  timeout client 5m",
        "  timeout server 5m",
        "  option tcp-smart-connect",
        splice && "  option splice-auto",
        "listen relay",
        `  bind 127.0.0.1:${from} backlog ${CONNECTIONS}`,
        `  server target 127.0.0.1:${to}`,
      ),
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
function nginxCommand(folder: string, module: string): Between {
  return (from, to, traffic) => {
    const path = join(folder, "nginx.conf");
    Deno.writeTextFileSync(
      path,
      lines(
        module !== "" && `load_module ${module};`,
        "daemon off;",
        "worker_processes 1;",
        `worker_rlimit_nofile ${CONNECTIONS * 3};`,
        `pid ${join(folder, "nginx.pid")};`,
        "error_log stderr crit;",
        `events { worker_connections ${CONNECTIONS * 3}; }`,
        "stream {",
        traffic === "bulk" && `  proxy_buffer_size ${BULK_BUFFER_BYTES};`,
        "  server {",
        `    listen 127.0.0.1:${from} backlog=${CONNECTIONS};`,
        `    proxy_pass 127.0.0.1:${to};`,
        "  }",
        "}",
      ),
    );
    return {
      program: "nginx",
      args: ["-e", "stderr", "-p", folder, "-c", path],
    };
  };
}

function lines(...of: readonly (string | false)[]): string {
  return of.filter((line) => line !== false).join("\n") + "\n";
}

/** A process for each connection, and a buffer with which it is faster than with its own 8 KiB. */
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

/** It reads proxy.toml where it runs, and prints a line for every read, for which nobody should have to wait. */
function originalCommand(folder: string, path: string): Between {
  return (from, to) => {
    Deno.writeTextFileSync(
      join(folder, "proxy.toml"),
      lines(
        `listen_addr = "127.0.0.1:${from}"`,
        `target_addr = "127.0.0.1:${to}"`,
        `metrics_addr = "127.0.0.1:${freePort("tcp")}"`,
        "grace_period_secs = 1",
      ),
    );
    return {
      program: "sh",
      args: ["-c", 'exec "$0" > /dev/null', path],
      cwd: folder,
    };
  };
}
