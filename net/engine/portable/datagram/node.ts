/**
 * Datagrams over `node:dgram`, where `Deno.listenDatagram` is not there. It
 * pushes: what comes while a batch is on its way waits in a bounded queue.
 */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import {
  type Address,
  checkSendable,
  formatAddress,
  isIpv6,
  isMulticast,
} from "../../../address.ts";
import { failedCall, OperationError, UsageError } from "../../../errors.ts";
import type { DatagramBatch } from "../../batch.ts";
import type {
  DatagramConnectOptions,
  DatagramEngine,
  DatagramListener,
  DatagramListenOptions,
  DatagramSender,
  DatagramTarget,
  EngineName,
} from "../../datagram.ts";
import { SentSlot } from "../../datagram.ts";
import {
  checkDestination,
  checkInterfaceName,
  findInterface,
  type NetworkInterface,
  placementOf,
  scopedHostname,
  unmapped,
} from "../../interfaces.ts";
import { resolveOne } from "../../resolve.ts";
import { slotOfError } from "../../send_outcome.ts";
import { Waiter } from "../../waiter.ts";
import { DatagramQueue } from "./queue.ts";
import { watchInterfaces } from "../network_poll.ts";
import { portProbes } from "./port_probes.ts";
import { ownSockets, ProcDrops } from "./proc_drops.ts";

/** Datagrams that one turn takes from the queue. */
const BATCH_SIZE = 16;

/** What may wait for the loop. */
const QUEUE_BYTES = 2 << 20;

/** The engine over `node:dgram`. */
export const nodeDatagramEngine: DatagramEngine = {
  name: "portable",
  description: "node:dgram",
  batchSize: BATCH_SIZE,
  checkInterface: checkInterfaceName,
  checkListen,
  checkConnect,
  placement: ({ address, groups = [], networkInterface }) =>
    placementOf([address, ...groups], networkInterface),
  watchNetwork: watchInterfaces,
  listen: listenNode,
  connect: connectNode,
};

/** The interface as node:dgram wants it: an IPv4 address, or `::%name`. */
function interfaceText(
  found: NetworkInterface | undefined,
  v6: boolean,
): string | undefined {
  if (found === undefined) return undefined;
  if (v6) return `::%${Deno.build.os === "windows" ? found.index : found.name}`;
  if (found.ipv4 !== undefined) return found.ipv4;
  throw new OperationError(
    `Cannot use interface "${found.name}": it has no IPv4 address`,
    { code: "EADDRNOTAVAIL" },
  );
}

function interfaceOf(
  address: Address,
  networkInterface: string | undefined,
): NetworkInterface | undefined {
  const on = address.zone ?? networkInterface;
  return on === undefined ? undefined : findInterface(on);
}

function checkListen(options: DatagramListenOptions): void {
  const { address, groups = [], receiveBufferBytes, reusePort } = options;
  if (Deno.build.os !== "linux") {
    refuse(options.sharePort || undefined, "`sharePort`");
  }
  // setRecvBufferSize sets nothing here: it only enlarges each datagram's array.
  refuse(receiveBufferBytes, "`receiveBufferBytes`");
  refuse(reusePort || undefined, "`workers`");
  for (const { hostname, source } of [address, ...groups]) {
    if (isIpv6(hostname)) refuse(source, "an IPv6 source before @");
  }
}

function checkConnect({ address, ttl }: DatagramTarget): void {
  checkSendable(address);
  checkDestination(address);
  checkTtl(address.hostname, ttl);
}

// setTTL and setMulticastTTL leave the hop limits of IPv6 as they are.
function checkTtl(hostname: string, ttl: number | undefined): void {
  if (isIpv6(hostname)) refuse(ttl, "`ttl` of an IPv6 destination");
}

async function listenNode(
  options: DatagramListenOptions,
): Promise<DatagramListener> {
  checkListen(options);
  const { networkInterface, groups = [] } = options;
  const address = await resolveOne(options.address);
  const all = [address, ...groups];
  const v6 = isIpv6(address.hostname);
  const group = isMulticast(address.hostname);
  const wildcard = v6 ? "::" : "0.0.0.0";
  const bindTo = !group
    ? scopedHostname(address.hostname, interfaceOf(address, undefined))
    : Deno.build.os === "windows" || v6 || groups.length > 0
    ? wildcard
    : address.hostname;
  const bindings = portProbes(options, address);
  const before = ownSockets();
  const socket = createSocket({
    type: v6 ? "udp6" : "udp4",
    reuseAddr: group || bindings !== undefined,
  });
  try {
    for (const hostname of bindings ?? []) await probe(hostname, address.port);
    await bind(socket, address.port, bindTo);
    for (const one of all.filter(({ hostname }) => isMulticast(hostname))) {
      const on = interfaceText(interfaceOf(one, networkInterface), v6);
      if (one.source === undefined) socket.addMembership(one.hostname, on);
      else socket.addSourceSpecificMembership(one.source, one.hostname, on);
    }
  } catch (cause) {
    await close(socket);
    throw cause instanceof UsageError || cause instanceof OperationError
      ? cause
      : failedCall("listen on", formatAddress(address), cause);
  }
  const { port } = socket.address();
  return new NodeDatagramListener(
    socket,
    { ...address, port },
    ProcDrops.find(port, before),
  );
}

/** Binds an address for a moment, without sharing it. */
async function probe(hostname: string, port: number): Promise<void> {
  const socket = createSocket(isIpv6(hostname) ? "udp6" : "udp4");
  try {
    await bind(socket, port, hostname);
  } finally {
    await close(socket);
  }
}

function bind(socket: Socket, port: number, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    // Without permission node:dgram throws where nobody can catch it.
    const bare = address.replace(/%.*/, "");
    const host = `${isIpv6(bare) ? `[${bare}]` : bare}:${port}`;
    if (
      Deno.permissions.requestSync({ name: "net", host }).state !== "granted"
    ) {
      throw new Deno.errors.NotCapable(
        `Requires net access to "${host}", run again with the --allow-net flag`,
      );
    }
    socket.once("error", reject);
    socket.bind(port, address, () => {
      socket.removeListener("error", reject);
      resolve();
    });
  });
}

/**
 * Names the destination once. A send that names it looks the address up and
 * leaves in the next tick, behind up to 128 datagrams of a flood that is being
 * received: of 600 000 a second, a forwarder sent on 4 700.
 */
function connect(socket: Socket, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.connect(port, host, () => {
      socket.removeListener("error", reject);
      resolve();
    });
  });
}

function close(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    try {
      socket.close(() => resolve());
    } catch {
      // Already closed: a failed bind closes by itself.
      resolve();
    }
  });
}

/** What node:dgram makes for each datagram, however short. */
const ARRAY_BYTES = 65536;

/**
 * Gives a datagram's array back at once. Left to the collector they gather: a
 * flood took up to 267 MB. One that could be shared is left alone: nobody can
 * read a datagram of any size into what remains of such an array.
 */
function release({ buffer, byteOffset }: Uint8Array): void {
  if (byteOffset !== 0 || buffer.byteLength !== ARRAY_BYTES) return;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}

class NodeDatagramListener implements DatagramListener {
  readonly engine: EngineName = "portable";
  readonly batchSize = BATCH_SIZE;
  readonly address: Address;
  readonly #socket: Socket;
  readonly #waiter = new Waiter();
  readonly #queue = new DatagramQueue(QUEUE_BYTES);
  #dropped = 0;
  readonly #kernelDrops: ProcDrops | undefined;
  #leftUnread = false;
  #error: unknown;
  #closed = false;

  constructor(
    socket: Socket,
    address: Address,
    kernelDrops: ProcDrops | undefined,
  ) {
    this.#socket = socket;
    this.address = address;
    this.#kernelDrops = kernelDrops;
    socket.on("message", (message: Uint8Array, from: RemoteInfo) => {
      const source = { hostname: unmapped(from.address), port: from.port };
      if (this.#queue.put(message, source)) this.#waiter.wake();
      else this.#dropped++;
      release(message);
    });
    socket.on("error", (error: Error) => {
      this.#error = error;
      this.#waiter.wake();
    });
  }

  tryReceive(batch: DatagramBatch): number {
    if (this.#error !== undefined) {
      const error = this.#error;
      this.#error = undefined;
      throw failedCall("receive on", formatAddress(this.address), error);
    }
    return this.#queue.take(batch);
  }

  readable(timeoutMs?: number): Promise<void> | void {
    if (this.#queue.length > 0 || this.#error !== undefined || this.#closed) {
      return;
    }
    return this.#waiter.wait(timeoutMs);
  }

  wake(): void {
    this.#waiter.wake();
  }

  /** Drops of the queue, and the kernel's where it tells. */
  dropped(): number {
    return this.#dropped + (this.#kernelDrops?.count() ?? 0);
  }

  get droppedIsLeast(): boolean {
    return this.#kernelDrops === undefined || this.#leftUnread;
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#dropped += this.#queue.length;
    this.#leftUnread = this.#kernelDrops?.close() === false;
    this.#socket.close();
    this.#waiter.wake();
  }
}

async function connectNode(
  options: DatagramConnectOptions,
): Promise<DatagramSender> {
  checkConnect(options);
  const { networkInterface, ttl, loop, counters } = options;
  const address = await resolveOne(options.address);
  checkTtl(address.hostname, ttl);
  const v6 = isIpv6(address.hostname);
  const found = interfaceOf(address, networkInterface);
  const on = interfaceText(found, v6);
  const to = scopedHostname(address.hostname, found);
  const socket = createSocket({ type: v6 ? "udp6" : "udp4" });
  try {
    await bind(socket, 0, v6 ? "::" : "0.0.0.0");
    if (on !== undefined) socket.setMulticastInterface(on);
    if (ttl !== undefined) {
      socket.setMulticastTTL(ttl);
      socket.setTTL(ttl);
    }
    if (loop !== undefined) socket.setMulticastLoopback(loop);
    if (!v6) socket.setBroadcast(true);
    await connect(socket, address.port, to);
  } catch (cause) {
    await close(socket);
    throw failedCall("send to", formatAddress(address), cause);
  }
  const path = `${socket.address().address}%${found?.index ?? 0}`;
  return new NodeDatagramSender(socket, { address, path }, counters);
}

class NodeDatagramSender implements DatagramSender {
  readonly engine: EngineName = "portable";
  readonly maxSegments = 1;
  readonly address: Address;
  readonly path: string;
  readonly #socket: Socket;
  readonly #counters: Float64Array;

  constructor(
    socket: Socket,
    { address, path }: Pick<DatagramSender, "address" | "path">,
    counters: Float64Array,
  ) {
    this.#socket = socket;
    this.address = address;
    this.path = path;
    this.#counters = counters;
  }

  async send(batch: DatagramBatch): Promise<void> {
    for (let slot = 0; slot < batch.count; slot++) {
      const bytes = batch.filled(slot);
      const size = Math.max(1, batch.segmentSizes[slot]!);
      let start = 0;
      do {
        // One after the other: sends that overlap overtake each other.
        await this.#sendOne(bytes.subarray(start, start + size));
        start += size;
      } while (start < bytes.length);
    }
  }

  #sendOne(datagram: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      this.#socket.send(
        datagram,
        (error: Error | null, bytes: number): void => {
          if (error) this.#counters[slotOfError(error)]!++;
          else {
            this.#counters[SentSlot.datagrams]!++;
            this.#counters[SentSlot.bytes]! += bytes;
          }
          resolve();
        },
      );
    });
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/** Options that a refusal names. */
const REFUSED = [
  "receiveBufferBytes",
  "workers",
  "sharePort",
  "ttl",
  "engine",
];

function refuse(value: unknown, name: string): void {
  if (value !== undefined) {
    throw new UsageError(
      `node:dgram cannot do ${name}: set \`engine\` to linux on Linux, or run with --unstable-net`,
      { option: REFUSED },
    );
  }
}
