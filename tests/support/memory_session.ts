/** A session between two connections without a network. */
import { BufferPool } from "../../net/mqtt/session/buffer_pool.ts";
import { HookChain } from "../../net/mqtt/hooks/hook_chain.ts";
import type { MqttHooks } from "../../net/mqtt/hooks/hooks.ts";
import type {
  SessionContext,
  SessionSettings,
  Throttle,
} from "../../net/mqtt/session/link.ts";
import { MqttMetrics } from "../../net/mqtt/metrics.ts";
import { HeldBudget, type ProtocolVersion } from "../../net/mqtt/packet/mod.ts";
import { Session } from "../../net/mqtt/session/session.ts";
import { Log } from "../../net/observe/log.ts";
import { MemoryStream, settled } from "./memory_stream.ts";
import { bytes, connectPacket } from "./mqtt_peer.ts";

/** A session with the two ends that the test holds. */
export interface MemorySession extends AsyncDisposable {
  readonly session: Session;
  readonly client: MemoryStream;
  readonly broker: MemoryStream;
  readonly metrics: MqttMetrics;
  /** Lines of the log. */
  readonly lines: string[];
  /** Resolves when the session is over. */
  readonly over: Promise<void>;
}

/** How a session is made. */
export interface MemorySessionOptions {
  version?: ProtocolVersion;
  connect?: Uint8Array;
  connack?: Uint8Array;
  hooks?: MqttHooks;
  settings?: Partial<SessionSettings>;
  throttle?: Throttle;
  /** How long the TLS handshake took. */
  handshakeMs?: number;
}

/** Makes a session in which CONNECT and CONNACK went. */
export async function openMemorySession(
  options: MemorySessionOptions = {},
): Promise<MemorySession> {
  const {
    version = 4,
    connect = connectPacket({ version }),
    connack = version === 5
      ? bytes(0x20, 6, 0, 0, 3, 0x22, 0, 10)
      : bytes(0x20, 2, 0, 0),
    hooks = {},
    settings = {},
    throttle,
    handshakeMs = 0,
  } = options;
  const client = new MemoryStream();
  const broker = new MemoryStream();
  const metrics = new MqttMetrics();
  const lines: string[] = [];
  const log = new Log({ write: (line) => void lines.push(line) });
  const context: SessionContext = {
    settings: {
      connectTimeoutMs: 10_000,
      brokerTimeoutMs: 10_000,
      clientTimeoutMs: 60_000,
      hookTimeoutMs: 5000,
      lingerMs: 100,
      maxPacketBytes: 1 << 20,
      maxConnectBytes: 65536,
      maxClientIdChars31: 23,
      onDeny: "ack",
      passServerReference: false,
      ...settings,
    },
    hooks: new HookChain([{ name: "test", hooks }], metrics, log),
    metrics,
    log,
    audit: undefined,
    throttle,
    pool: new BufferPool(),
    budget: new HeldBudget(Infinity),
    now: () => performance.now(),
  };
  const session = new Session(
    1,
    context,
    {
      listener: "mqtt://192.0.2.2:1883",
      secure: false,
      dial: () =>
        Promise.resolve({ stream: broker, target: "mqtt://192.0.2.3:1883" }),
    },
    { stream: client, handshakeMs, open: () => Promise.resolve(client) },
  );
  const over = session.run();
  client.push(connect);
  await settled();
  broker.push(connack);
  await settled();
  broker.writes.length = 0;
  client.writes.length = 0;
  return {
    session,
    client,
    broker,
    metrics,
    lines,
    over,
    async [Symbol.asyncDispose]() {
      client.pushEnd();
      broker.pushEnd();
      await over;
    },
  };
}
