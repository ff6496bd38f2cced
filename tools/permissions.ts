/**
 * What each role asks of Deno: the least that it runs with, and what more its
 * options want. The README shows it, a test runs every role with it, and
 * binaries are compiled with it.
 */
import { commands } from "@mproxy/cli";

/** What a role may do. */
export interface RolePermissions {
  /** Role. */
  readonly role: string;
  /** The least; FILE and FOLDER stand for what the role is given. */
  readonly least: readonly string[];
  /** What more some options want: the permission, and what for. */
  readonly more: readonly (readonly [permission: string, what: string])[];
  /** What a binary bakes in: all that any of its options may want. */
  readonly baked: readonly string[];
}

const READ = "--allow-read";
const WRITE = "--allow-write";
const NET = "--allow-net";
const CONFIG = [READ, "`--config`"] as const;
const TLS = [READ, "`--config`, certificates"] as const;
const INTERFACE = [
  "--allow-sys=networkInterfaces",
  "`--interface`",
] as const;
const LINUX = ["--allow-ffi", "the linux engine"] as const;

/**
 * With which a role reports to its service manager (`Type=notify`). The path is
 * the manager's choice: systemd --user and podman have others than systemd.
 */
const NOTIFY = ["--allow-env=NOTIFY_SOCKET", "--allow-write"];

const FILES: Readonly<Record<string, readonly string[]>> = {
  client: ["--allow-read=FILE"],
  server: ["--allow-read=FOLDER", "--allow-write=FOLDER"],
};

const MORE: Readonly<Record<string, RolePermissions["more"]>> = {
  client: [],
  server: [],
  proxy: [TLS],
  reverseproxy: [TLS],
  relay: [CONFIG],
  tunnel: [
    [READ, "`--config`, certificates, `--state`, `--control-token-file`"],
    [WRITE, "`--state`, `--access-log`"],
  ],
  mqtt: [
    [READ, "`--config`, certificates, `--policy`, `--hooks`"],
    [WRITE, "`--audit`"],
    ["--allow-env", "variables of mProxy in place of `--listen`"],
  ],
  echo: [CONFIG],
  loadtest: [CONFIG, [WRITE, "`--svg`"]],
};

/** Permissions of all roles, in the order of the commands. */
export const permissions: readonly RolePermissions[] = commands.map(
  ({ name, options }) => {
    const least = [NET, ...FILES[name] ?? []];
    const more = [
      ...MORE[name]!,
      ...("interface" in options ? [INTERFACE] : []),
      ...("engine" in options ? [LINUX] : []),
    ];
    const wide = least.map((one) => one.replace(/=.*/, ""));
    return {
      role: name,
      least,
      more,
      baked: widest([...wide, ...more.map(([one]) => one), READ, ...NOTIFY]),
    };
  },
);

/** Each once, and none for a part of what another grants: Deno would take the part alone. */
export function widest(flags: readonly string[]): string[] {
  return [...new Set(flags)].filter((flag, _, all) =>
    !all.some((other) => flag.startsWith(`${other}=`))
  );
}

/** The table of the README. */
export function permissionTable(): string {
  return [
    "| role | the least | and with |",
    "| --- | --- | --- |",
    ...permissions.map(({ role, least, more }) =>
      `| \`${role}\` | \`${least.join(" ")}\` | ${
        more.map(([one, what]) => `\`${one}\`: ${what}`).join("; ")
      } |`
    ),
    "",
  ].join("\n");
}
