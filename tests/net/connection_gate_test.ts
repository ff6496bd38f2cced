/** The gate over real connections: what it closes is closed for the peer. */
import { assert, assertEquals } from "@std/assert";
import { admissionMetrics } from "../../net/admission_metrics.ts";
import {
  type Admitted,
  ConnectionGate,
  type ConnectionGateOptions,
} from "../../net/connection_gate.ts";
import { Log } from "../../net/observe/log.ts";

/** Connects clients through a gate on loopback. */
class Gated implements Disposable {
  readonly lines: string[] = [];
  readonly gate: ConnectionGate;
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #open: Deno.TcpConn[] = [];

  constructor(options: Partial<ConnectionGateOptions>) {
    this.gate = new ConnectionGate({
      listener: "test",
      maxConnections: 2,
      maxConnectionsPerSource: 2,
      proveWithinMs: 60_000,
      log: new Log({ write: (line) => this.lines.push(line) }),
      ...options,
    });
  }

  async connect(): Promise<
    { client: Deno.TcpConn; admitted: Admitted | undefined }
  > {
    const { port } = this.#listener.addr;
    const [client, accepted] = await Promise.all([
      Deno.connect({ hostname: "127.0.0.1", port }),
      this.#listener.accept(),
    ]);
    this.#open.push(client, accepted);
    const { hostname } = accepted.remoteAddr;
    return { client, admitted: this.gate.admit(accepted, hostname) };
  }

  [Symbol.dispose](): void {
    this.gate[Symbol.dispose]();
    this.#listener.close();
    for (const connection of this.#open) {
      try {
        connection.close();
      } catch {
        // The gate has closed it.
      }
    }
  }
}

function ends(client: Deno.TcpConn): Promise<number | null> {
  return client.read(new Uint8Array(1));
}

Deno.test("a silent client is closed at its deadline, without a word of the owner", async () => {
  using gated = new Gated({ proveWithinMs: 50 });
  const { client } = await gated.connect();
  const second = await gated.connect();
  second.admitted!.prove();
  assertEquals(await ends(client), null);
  assertEquals(gated.gate.stats().open, 1);
  assertEquals(gated.gate.stats().deadline, 1);
});

Deno.test("the oldest silent client makes room, and the log says so once", async () => {
  using gated = new Gated({});
  const first = await gated.connect();
  const second = await gated.connect();
  const third = await gated.connect();
  assert(third.admitted);
  assertEquals(await ends(first.client), null);
  const fourth = await gated.connect();
  assertEquals(await ends(second.client), null);
  third.admitted!.prove();
  fourth.admitted!.prove();
  const fifth = await gated.connect();
  assertEquals(fifth.admitted, undefined);
  assertEquals(await ends(fifth.client), null);
  assertEquals(gated.lines.length, 2);
  assert(gated.lines[0]!.includes("reason=displaced source=127.0.0.1"));
  assert(gated.lines[1]!.includes("reason=source-limit"));
});

Deno.test("an idle client is closed at the deadline of idle ones", async () => {
  using gated = new Gated({ idleMs: 30 });
  const { client, admitted } = await gated.connect();
  admitted!.prove();
  admitted!.idle();
  assertEquals(await ends(client), null);
});

Deno.test("every listener has its rows, with every reason", async () => {
  using gated = new Gated({});
  const { admitted } = await gated.connect();
  admitted!.hold(7);
  const rows = admissionMetrics([
    { listener: gated.gate.listener, stats: gated.gate.stats() },
  ]);
  const value = (name: string, reason?: string) =>
    rows.find((row) => row.name === name)!.samples.find((sample) =>
      sample.labels?.reason === reason
    )!.value;
  assertEquals(value("mproxy_listener_connections_open"), 1);
  assertEquals(value("mproxy_listener_connections_unproved"), 1);
  assertEquals(value("mproxy_listener_held_bytes"), 7);
  assertEquals(
    value("mproxy_listener_connections_rejected_total", "displaced"),
    0,
  );
});
