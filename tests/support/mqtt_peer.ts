/** Raw ends of MQTT connections: they say the bytes that a test gives, and show what comes. */
import { startMqttGateway } from "../../net/mqtt/gateway.ts";
import type {
  MqttGateway,
  MqttGatewayOptions,
} from "../../net/mqtt/gateway.ts";
import { Framer, packetName } from "../../net/mqtt/packet/mod.ts";
import type { ProtocolVersion } from "../../net/mqtt/packet/mod.ts";

/** One end of a connection. */
export class MqttPeer implements Disposable {
  readonly connection: Deno.TcpConn;
  readonly #framer: Framer;
  readonly #buffer = new Uint8Array(65536);
  #ended = false;

  constructor(
    connection: Deno.TcpConn,
    end: "client" | "broker",
    version: ProtocolVersion,
  ) {
    this.connection = connection;
    this.#framer = new Framer({
      direction: end === "client" ? "downstream" : "upstream",
      version: end === "client" ? version : 0,
      maxPacketBytes: 1 << 28,
    });
  }

  /** Sends bytes. */
  async send(...parts: (Uint8Array | readonly number[])[]): Promise<void> {
    const bytes = join(...parts);
    let sent = 0;
    while (sent < bytes.length) {
      sent += await this.connection.write(bytes.subarray(sent));
    }
  }

  /** The next packet's bytes, or undefined where the connection ended. */
  async next(): Promise<Uint8Array | undefined> {
    for (;;) {
      if (this.#framer.next()) {
        const { buffer, start, end } = this.#framer;
        // A broker's end learns the version from the CONNECT's level.
        const type = buffer[start]! >> 4;
        if (type === 1) {
          const level = buffer[
            this.#framer.bodyStart + 2 +
            buffer[this.#framer.bodyStart + 1]!
          ]!;
          this.#framer.version = (level & 0x7f) as ProtocolVersion;
        }
        if (type === 1 || type === 2) this.#framer.established = true;
        return buffer.slice(start, end);
      }
      if (this.#ended) return undefined;
      let length: number | null;
      try {
        length = await this.connection.read(this.#buffer);
      } catch (error) {
        if (error instanceof Deno.errors.ConnectionReset) length = null;
        else throw error;
      }
      if (length === null) {
        this.#ended = true;
        return undefined;
      }
      this.#framer.push(this.#buffer.slice(0, length));
    }
  }

  /** The next packet, which must be there. */
  async expect(type: number): Promise<Uint8Array> {
    const packet = await this.next();
    if (packet === undefined) {
      throw new Error(`Connection ended where ${packetName(type)} was wanted`);
    }
    if (packet[0]! >> 4 !== type) {
      throw new Error(
        `${packetName(packet[0]! >> 4)} came where ${
          packetName(type)
        } was wanted: ${packet.toHex()}`,
      );
    }
    return packet;
  }

  /** All packets up to the end of the connection. */
  async rest(): Promise<Uint8Array[]> {
    const packets: Uint8Array[] = [];
    for (;;) {
      const packet = await this.next();
      if (packet === undefined) return packets;
      packets.push(packet);
    }
  }

  [Symbol.dispose](): void {
    try {
      this.connection.close();
    } catch {
      // Closed by the test already.
    }
  }
}

/** A broker that answers nothing by itself. */
export class ScriptedBroker implements Disposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  #closed = false;

  /** `mqtt://127.0.0.1:PORT`. */
  get url(): string {
    return `mqtt://127.0.0.1:${this.#listener.addr.port}`;
  }

  /** The next connection. */
  async accept(): Promise<MqttPeer> {
    return new MqttPeer(await this.#listener.accept(), "broker", 4);
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener.close();
  }
}

/** A client, a gateway and a broker between which CONNECT and CONNACK went. */
export interface Bench extends AsyncDisposable {
  readonly gateway: MqttGateway;
  readonly client: MqttPeer;
  readonly broker: MqttPeer;
  /** The CONNECT that the broker got. */
  readonly connect: Uint8Array;
  /** The CONNACK that the client got. */
  readonly connack: Uint8Array;
}

/** What is said at first. */
export interface BenchOptions extends Partial<MqttGatewayOptions> {
  version?: ProtocolVersion;
  connect?: Uint8Array;
  connack?: Uint8Array;
}

/** Starts a gateway on a free port before one broker. */
export function startTestGateway(
  target: string,
  options: Partial<MqttGatewayOptions> = {},
): Promise<MqttGateway> {
  return startMqttGateway({
    listeners: [{ url: "mqtt://127.0.0.1:0" }],
    targets: [target],
    lingerMs: 500,
    ...options,
  });
}

/** The port of a URL. */
export function portOf(url: string): number {
  return Number(/:(\d+)(\/|$)/.exec(url)![1]);
}

/** Connects a raw client to a gateway. */
export async function connectPeer(
  gateway: MqttGateway,
  version: ProtocolVersion,
): Promise<MqttPeer> {
  const connection = await Deno.connect({
    hostname: "127.0.0.1",
    port: portOf(gateway.urls[0]!),
  });
  connection.setNoDelay(true);
  return new MqttPeer(connection, "client", version);
}

/** A raw client of MQTT 3.1.1 that is subscribed at a broker. */
export async function subscribeTo(
  port: number,
  filter: string,
  qos = 0,
): Promise<MqttPeer> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const peer = new MqttPeer(connection, "client", 4);
  await peer.send(
    connectPacket({ clientId: `subscriber-${crypto.randomUUID()}` }),
    subscribePacket(4, 1, [[filter, qos]]),
  );
  await peer.expect(2);
  await peer.expect(9);
  return peer;
}

/** A gateway between a raw client and a scripted broker, connected. */
export async function openBench(options: BenchOptions = {}): Promise<Bench> {
  const {
    version = 4,
    connect = connectPacket({ version }),
    connack = version === 5
      ? bytes(0x20, 6, 0, 0, 3, 0x22, 0, 10)
      : bytes(0x20, 2, 0, 0),
    ...gatewayOptions
  } = options;
  const listener = new ScriptedBroker();
  const gateway = await startTestGateway(listener.url, gatewayOptions);
  const client = await connectPeer(gateway, version);
  await client.send(connect);
  const broker = await listener.accept();
  const sentConnect = await broker.expect(1);
  await broker.send(connack);
  const sentConnack = await client.expect(2);
  return {
    gateway,
    client,
    broker,
    connect: sentConnect,
    connack: sentConnack,
    async [Symbol.asyncDispose]() {
      client[Symbol.dispose]();
      broker[Symbol.dispose]();
      listener[Symbol.dispose]();
      await gateway.drain();
    },
  };
}

// Packets, written by hand so that no encoder of the project is believed.

/** Bytes. */
export function bytes(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}

/** Several pieces in a row. */
export function join(
  ...parts: (Uint8Array | readonly number[])[]
): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** A text with its length. */
export function field(text: string): number[] {
  const utf8 = [...new TextEncoder().encode(text)];
  return [utf8.length >> 8, utf8.length & 0xff, ...utf8];
}

/** A packet with its length. */
export function packet(first: number, body: readonly number[]): Uint8Array {
  const length: number[] = [];
  let rest = body.length;
  do {
    length.push(rest & 0x7f | (rest > 0x7f ? 0x80 : 0));
    rest >>= 7;
  } while (rest > 0);
  return Uint8Array.from([first, ...length, ...body]);
}

/** What a CONNECT says. */
export interface ConnectOptions {
  version?: ProtocolVersion;
  clientId?: string;
  username?: string;
  password?: string;
  keepAlive?: number;
  clean?: boolean;
  /** Of MQTT 5, without their length. */
  properties?: readonly number[];
  will?: { topic: string; payload: string; qos?: number; retain?: boolean };
}

/** A CONNECT. */
export function connectPacket(options: ConnectOptions = {}): Uint8Array {
  const {
    version = 4,
    clientId = "tester",
    username,
    password,
    keepAlive = 0,
    clean = true,
    properties = [],
    will,
  } = options;
  const flags = (username === undefined ? 0 : 0x80) |
    (password === undefined ? 0 : 0x40) |
    (will ? 0x04 | (will.qos ?? 0) << 3 | (will.retain ? 0x20 : 0) : 0) |
    (clean ? 2 : 0);
  return packet(0x10, [
    ...field(version === 3 ? "MQIsdp" : "MQTT"),
    version,
    flags,
    keepAlive >> 8,
    keepAlive & 0xff,
    ...version === 5 ? [properties.length, ...properties] : [],
    ...field(clientId),
    ...will ? [...version === 5 ? [0] : [], ...field(will.topic)] : [],
    ...will ? field(will.payload) : [],
    ...username === undefined ? [] : field(username),
    ...password === undefined ? [] : field(password),
  ]);
}

/** What a PUBLISH says. */
export interface PublishOptions {
  version?: ProtocolVersion;
  topic: string;
  payload?: string;
  qos?: number;
  id?: number;
  dup?: boolean;
  retain?: boolean;
  properties?: readonly number[];
}

/** A PUBLISH. */
export function publishPacket(options: PublishOptions): Uint8Array {
  const {
    version = 4,
    topic,
    payload = "",
    qos = 0,
    id = 1,
    dup = false,
    retain = false,
    properties = [],
  } = options;
  return packet(0x30 | (dup ? 8 : 0) | qos << 1 | (retain ? 1 : 0), [
    ...field(topic),
    ...qos > 0 ? [id >> 8, id & 0xff] : [],
    ...version === 5 ? [properties.length, ...properties] : [],
    ...new TextEncoder().encode(payload),
  ]);
}

/** A SUBSCRIBE, or with `first` 0xA2 an UNSUBSCRIBE. */
export function subscribePacket(
  version: ProtocolVersion,
  id: number,
  filters: readonly (readonly [filter: string, options: number])[],
  first = 0x82,
): Uint8Array {
  return packet(first, [
    id >> 8,
    id & 0xff,
    ...version === 5 ? [0] : [],
    ...filters.flatMap(([filter, options]) => [
      ...field(filter),
      ...first === 0x82 ? [options] : [],
    ]),
  ]);
}
