/**
 * Sends back what comes, over TCP and UDP: a peer for tests.
 *
 * ```sh
 * deno run -A jsr:@mproxy/echo 127.0.0.1:8081
 * ```
 *
 * @example The same from a program
 * ```ts
 * import { EchoServer } from "@mproxy/mproxy";
 * import { assertEquals } from "@std/assert";
 *
 * await using echo = await EchoServer.open({
 *   address: { hostname: "127.0.0.1", port: 0 },
 *   protocol: "tcp",
 * });
 * using client = await Deno.connect(echo.address);
 * await client.write(new TextEncoder().encode("hello"));
 * const answer = new Uint8Array(5);
 * await client.read(answer);
 * assertEquals(new TextDecoder().decode(answer), "hello");
 * ```
 *
 * @module
 */
import {
  address,
  choice,
  type Command,
  defineCommand,
  integer,
  positiveSeconds,
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
    maxConnections: value(
      "TCP clients at once; at the limit the oldest silent one is closed",
      "N",
      integer(1, 1_000_000),
      { fallback: 1024 },
    ),
    maxConnectionsPerSource: value(
      "TCP clients of one IPv4 address or IPv6 /64 at once",
      "N",
      integer(1, 1_000_000),
      { defaultText: "half of --max-connections" },
    ),
    idleTimeout: value(
      "Close a TCP client that neither sends nor takes a byte for so long",
      "SECONDS",
      positiveSeconds,
      { fallback: 300 },
    ),
    maxDatagramsPerSource: value(
      "UDP datagrams of one IPv4 address or IPv6 /64 to answer per second; 0 for no limit",
      "N",
      integer(0, 1_000_000_000),
      { fallback: 10_000 },
    ),
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
      maxConnections: values.maxConnections,
      maxConnectionsPerSource: values.maxConnectionsPerSource,
      idleTimeoutMs: values.idleTimeout * 1000,
      maxDatagramsPerSource: values.maxDatagramsPerSource,
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
