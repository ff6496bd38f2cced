/**
 * What each role asks of Deno: the least that it runs with, and what more its
 * options require. The README shows it, and a test runs every role with it.
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

const ROOTS = "--allow-sys";

/**
 * What programs are compiled with. Whoever may call libc (`--allow-ffi`) may do
 * what the user may do, so less would be no protection; and Deno grants
 * devices, such as /dev/ttyUSB0, and /proc to nothing less.
 */
export const BAKED: readonly string[] = ["-A"];

const FILES: Readonly<Record<string, readonly string[]>> = {
  client: ["--allow-read=FILE"],
  server: ["--allow-read=FOLDER", "--allow-write=FOLDER"],
};

const MORE: Readonly<Record<string, RolePermissions["more"]>> = {
  client: [],
  server: [],
  proxy: [TLS, [ROOTS, "`tls://` without `--tls-ca`"]],
  reverseproxy: [TLS],
  relay: [CONFIG],
  tunnel: [
    [READ, "`--config`, certificates, `--state`, `--control-token-file`"],
    [WRITE, "`--state`, `--access-log`"],
    [ROOTS, "`remote-tls` without `--ca-bundle`"],
  ],
  mqtt: [
    [READ, "`--config`, certificates, `--policy`, `--hooks`"],
    [WRITE, "`--audit`"],
    [ROOTS, "`--target-ca`"],
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
    return { role: name, least, more };
  },
);

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
