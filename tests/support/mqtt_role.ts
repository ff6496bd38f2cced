/** The gateway's command as a process, and raw clients of it. */
import { type ConnectOptions, connectPacket, MqttPeer } from "./mqtt_peer.ts";
import type { TestProcess } from "./process.ts";

/** The ports of its listeners, in their order. */
export async function portsOf(
  role: TestProcess,
  count: number,
): Promise<number[]> {
  const lines = await role.lines(/listening address=[^ ]*:(\d+)/, count);
  return lines.map(([, port]) => Number(port));
}

/** The port of its only listener. */
export async function portOf(role: TestProcess): Promise<number> {
  const [port] = await portsOf(role, 1);
  return port!;
}

/** Connects and sends a CONNECT. */
export async function connectTo(
  port: number,
  options: ConnectOptions = {},
): Promise<MqttPeer> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const peer = new MqttPeer(connection, "client", options.version ?? 4);
  await peer.send(connectPacket(options));
  return peer;
}
