/**
 * Every role as a subcommand of one program.
 *
 * ```sh
 * deno run -A jsr:@mproxy/cli client --path sensor.log --server-addr 127.0.0.1:9920
 * ```
 *
 * @example List the roles
 * ```ts
 * import { commands } from "@mproxy/cli";
 * import { assert } from "@std/assert";
 *
 * assert(commands.some(({ name }) => name === "client"));
 * ```
 *
 * @module
 */
import { command as client } from "@mproxy/client";
import { command as echo } from "@mproxy/echo";
import { command as loadtest } from "@mproxy/loadtest";
import { type Command, runCommands } from "@mproxy/mproxy/cli";
import { command as mqtt } from "@mproxy/mqtt";
import { command as proxy } from "@mproxy/proxy";
import { command as relay } from "@mproxy/relay";
import { command as reverseproxy } from "@mproxy/reverseproxy";
import { command as server } from "@mproxy/server";
import { command as tunnel } from "@mproxy/tunnel";

/** All roles. */
export const commands: readonly Command[] = [
  client,
  server,
  proxy,
  reverseproxy,
  relay,
  tunnel,
  mqtt,
  echo,
  loadtest,
];

if (import.meta.main) await runCommands(commands);
