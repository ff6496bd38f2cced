/**
 * A tunnel on a machine that has two local ports for its dials, as a program
 * of its own because the range is a namespace's: `port_shortage.ts ENGINE`.
 * Writes what became of the third client, and of a client of another remote,
 * as JSON.
 */
import { openSocketControl } from "../../net/engine/choose_stream.ts";
import { createPolicy } from "../../net/engine/balancing/policies.ts";
import { linuxStreamEngine } from "../../net/engine/linux/stream/engine.ts";
import { portableStreamEngine } from "../../net/engine/portable/stream/forwarder.ts";
import { connectTo, EventLog, readExactly, writeAll } from "./tcp.ts";

/** Outside of the range, like the listeners: those are not dials. */
const PORTS = { remote: 9000, other: 9001, tunnel: 9002, otherTunnel: 9003 };

function echo(port: number): Deno.TcpListener {
  const listener = Deno.listen({ hostname: "127.0.0.1", port });
  (async () => {
    for await (const conn of listener) {
      conn.readable.pipeTo(conn.writable).catch(() => {});
    }
  })();
  return listener;
}

async function exchange(conn: Deno.TcpConn): Promise<void> {
  await writeAll(conn, Uint8Array.of(1));
  await readExactly(conn, 1);
}

if (import.meta.main) {
  await using engine = Deno.args[0] === "linux"
    ? linuxStreamEngine()
    : portableStreamEngine(createPolicy, openSocketControl);
  using _remote = echo(PORTS.remote);
  using _other = echo(PORTS.other);
  const log = new EventLog();
  const forward = (port: number, remote: number) =>
    engine.forward({
      listen: { hostname: "0.0.0.0", port },
      remotes: [{ id: 1, address: { hostname: "127.0.0.1", port: remote } }],
      policy: { kind: "single" },
      report: "connections",
    }, log.sink);
  const forwarder = await forward(PORTS.tunnel, PORTS.remote);
  // A port may serve once towards each address: every client dials another one.
  const client = (lastByte: number, port = PORTS.tunnel) =>
    connectTo({ hostname: `127.0.0.${lastByte}`, port });
  using first = await client(11);
  using second = await client(12);
  await exchange(first);
  await exchange(second);
  // The reset may come before its connect has returned.
  using _third = await client(13).catch(() => undefined);
  const { failure, detail } = await log.next("dial-failed");
  const { reason } = await log.next("rejected");
  await exchange(first);
  await forward(PORTS.otherTunnel, PORTS.other);
  using fourth = await client(14, PORTS.otherTunnel);
  await exchange(fourth);
  const stats = forwarder.stats();
  // deno-lint-ignore no-console
  console.log(JSON.stringify({
    failure,
    detail,
    reason,
    resources: stats.remotes.get(1)!.failures.resources,
    acceptErrors: stats.acceptErrors,
    open: stats.open,
  }));
  Deno.exit(0);
}
