/**
 * Sends back what comes, over TCP and UDP: a peer for tests.
 *
 * @example
 * ```sh
 * deno run -A jsr:@mproxy/echo 127.0.0.1:8081
 * ```
 *
 * @module
 */
import {
  address,
  choice,
  type Command,
  defineCommand,
  runCommand,
  value,
} from "@mproxy/mproxy/cli";
import { type Address, EchoServer, UsageError } from "@mproxy/mproxy";

const readListen = address({
  defaultHostname: "127.0.0.1",
  allowPortZero: true,
});

/** The `echo` command. */
export const command: Command = defineCommand({
  name: "echo",
  summary: "Send back what comes, over TCP and UDP",
  positionals: "[LISTEN]",
  examples: ["", "127.0.0.1:8081 --protocol tcp", "--config echo.toml"],
  options: {
    listen: value("Where to listen", "HOST:PORT", readListen, {
      aliases: ["listen-addr"],
      fallback: { hostname: "127.0.0.1", port: 8081 } satisfies Address,
      defaultText: "127.0.0.1:8081",
    }),
    protocol: choice("What to speak", ["tcp", "udp", "both"], "both"),
  },
  async start(values, { log, positionals }) {
    if (positionals.length > 1) {
      throw new UsageError(
        `One LISTEN is wanted, but got ${positionals.length} arguments`,
      );
    }
    const [listen] = positionals;
    const role = await EchoServer.open({
      address: listen === undefined ? values.listen : readListen(listen),
      protocol: values.protocol,
      log,
    });
    return {
      role,
      metrics: () => role.metrics(),
      progress: () => role.progress(),
      summary: () => [role.progress()],
    };
  },
});

if (import.meta.main) await runCommand(command);
