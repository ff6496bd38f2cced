/**
 * Datagrams over `Deno.listenDatagram`: one promise and one system call each.
 *
 * 1. `tryReceive` starts a receive into the batch's first slot.
 * 2. Its completion is kept and ends the wait of `readable`.
 * 3. The next `tryReceive` hands the datagram out.
 * 4. `send` sends slot by slot, datagram by datagram.
 */
import {
  type Address,
  checkSendable,
  isIp,
  isIpv6,
  isMulticast,
  isOfOneLink,
} from "../../../address.ts";
import { failedCall, OperationError, UsageError } from "../../../errors.ts";
import { formatAddress } from "../../../address.ts";
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
  placementOf,
  scopedHostname,
  unmapped,
} from "../../interfaces.ts";
import { resolveOne } from "../../resolve.ts";
import { slotOfError } from "../../send_outcome.ts";
import { Waiter } from "../../waiter.ts";
import { watchInterfaces } from "../network_poll.ts";
import { portProbes } from "./port_probes.ts";
import { ownSockets, ProcDrops } from "./proc_drops.ts";

/** Whether `Deno.listenDatagram` is there: it wants `--unstable-net`. */
export function hasDenoDatagram(): boolean {
  return typeof Deno.listenDatagram === "function";
}

/** The engine over `Deno.listenDatagram`. */
export const denoDatagramEngine: DatagramEngine = {
  name: "portable",
  description: "Deno.listenDatagram",
  batchSize: 1,
  checkInterface: checkInterfaceName,
  checkListen,
  checkConnect,
  placement: ({ address, groups = [], networkInterface }) =>
    placementOf([address, ...groups], networkInterface),
  watchNetwork: watchInterfaces,
  listen: listenDeno,
  connect: connectDeno,
};

function checkListen(options: DatagramListenOptions): void {
  const { address, groups = [], receiveBufferBytes, reusePort } = options;
  if (Deno.build.os !== "linux") {
    refuse(options.sharePort || undefined, "`sharePort`");
  }
  refuse(receiveBufferBytes, "`receiveBufferBytes`");
  refuse(reusePort || undefined, "`workers`");
  for (const { source } of [address, ...groups]) {
    refuse(source, "a source before @");
  }
}

function checkConnect({ address, ttl }: DatagramTarget): void {
  checkSendable(address);
  checkDestination(address);
  // A name tells only when it is resolved whether it is a group's.
  if (isIp(address.hostname)) checkTtl(address.hostname, ttl);
}

function checkTtl(hostname: string, ttl: number | undefined): void {
  if (isIpv6(hostname) || !isMulticast(hostname)) {
    refuse(ttl, "`ttl` of anything but an IPv4 group");
  }
}

async function listenDeno(
  options: DatagramListenOptions,
): Promise<DatagramListener> {
  checkListen(options);
  const { networkInterface, groups = [] } = options;
  const address = await resolveOne(options.address);
  const all = [address, ...groups];
  const group = isMulticast(address.hostname);
  const bindings = portProbes(options, address);
  const before = ownSockets();
  let socket: Deno.DatagramConn | undefined;
  try {
    for (const hostname of bindings ?? []) {
      Deno.listenDatagram({
        transport: "udp",
        hostname,
        port: address.port,
      }).close();
    }
    socket = Deno.listenDatagram({
      transport: "udp",
      hostname: bindHostname(address, networkInterface, group, all.length),
      port: address.port,
      reuseAddress: group || bindings !== undefined,
      loopback: true,
    });
    for (const one of all.filter(({ hostname }) => isMulticast(hostname))) {
      await join(socket, one, networkInterface);
    }
  } catch (cause) {
    socket?.close();
    throw cause instanceof UsageError || cause instanceof OperationError
      ? cause
      : failedCall("listen on", formatAddress(address), cause);
  }
  const { port } = socket.addr as Deno.NetAddr;
  return new DenoDatagramListener(
    socket,
    { ...address, port },
    ProcDrops.find(port, before),
  );
}

/**
 * On Unix a socket bound to the group hears that group alone; Windows binds no
 * group. An IPv6 group binds only with a scope, so it takes the wildcard there.
 */
function bindHostname(
  address: Address,
  networkInterface: string | undefined,
  group: boolean,
  groups: number,
): string {
  const { hostname, zone } = address;
  const scope = zone ?? (group ? networkInterface : undefined);
  const on = scope === undefined ? undefined : findInterface(scope);
  if (!group) return scopedHostname(hostname, on);
  const wildcard = isIpv6(hostname) ? "::" : "0.0.0.0";
  if (Deno.build.os === "windows" || groups > 1) return wildcard;
  if (!isIpv6(hostname)) return hostname;
  return on === undefined ? wildcard : scopedHostname(hostname, on);
}

async function join(
  socket: Deno.DatagramConn,
  group: Address,
  networkInterface: string | undefined,
): Promise<void> {
  const on = group.zone ?? networkInterface;
  const found = on === undefined ? undefined : findInterface(on);
  if (isIpv6(group.hostname)) {
    await socket.joinMulticastV6(group.hostname, found?.index ?? 0);
    return;
  }
  if (found && found.ipv4 === undefined) {
    throw new OperationError(
      `Cannot join ${group.hostname} on "${on}": it has no IPv4 address`,
      { code: "EADDRNOTAVAIL" },
    );
  }
  await socket.joinMulticastV4(group.hostname, found?.ipv4 ?? "0.0.0.0");
}

class DenoDatagramListener implements DatagramListener {
  readonly engine: EngineName = "portable";
  readonly batchSize = 1;
  readonly address: Address;
  readonly #socket: Deno.DatagramConn;
  readonly #waiter = new Waiter();
  #receiving = false;
  #length = -1;
  #sender: Address = { hostname: "", port: 0 };
  #error: unknown;
  #closed = false;
  readonly #drops: ProcDrops | undefined;
  /** Datagrams that were received and never asked for. */
  #discarded = 0;
  #leftUnread = false;

  constructor(
    socket: Deno.DatagramConn,
    address: Address,
    drops: ProcDrops | undefined,
  ) {
    this.#socket = socket;
    this.address = address;
    this.#drops = drops;
  }

  tryReceive(batch: DatagramBatch): number {
    if (this.#error !== undefined) {
      const error = this.#error;
      this.#error = undefined;
      throw failedCall("receive on", formatAddress(this.address), error);
    }
    if (this.#length >= 0) {
      batch.setDatagram(0, this.#length);
      batch.readSource = this.#readSource;
      batch.count = 1;
      this.#length = -1;
      return 1;
    }
    if (!this.#receiving && !this.#closed) {
      this.#receiving = true;
      this.#socket.receive(batch.slot(0)).then(
        this.#onReceived,
        this.#onFailed,
      );
    }
    batch.count = 0;
    return 0;
  }

  readonly #readSource = (): Address => {
    const { hostname, port } = this.#sender;
    return { hostname: unmapped(hostname), port };
  };

  readonly #onReceived = ([data, address]: [Uint8Array, Deno.Addr]): void => {
    this.#receiving = false;
    this.#length = data.length;
    this.#sender = address as Deno.NetAddr;
    this.#waiter.wake();
  };

  readonly #onFailed = (error: unknown): void => {
    this.#receiving = false;
    if (!this.#closed) this.#error = error;
    this.#waiter.wake();
  };

  readable(timeoutMs?: number): Promise<void> | void {
    if (this.#length >= 0 || this.#error !== undefined || this.#closed) return;
    return this.#waiter.wait(timeoutMs);
  }

  wake(): void {
    this.#waiter.wake();
  }

  dropped(): number | undefined {
    return this.#drops && this.#drops.count() + this.#discarded;
  }

  get droppedIsLeast(): boolean {
    return this.#leftUnread;
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#length >= 0) this.#discarded++;
    this.#leftUnread = this.#drops?.close() === false;
    this.#socket.close();
    this.#waiter.wake();
  }
}

async function connectDeno(
  options: DatagramConnectOptions,
): Promise<DatagramSender> {
  checkConnect(options);
  const { networkInterface, ttl, loop = true, counters } = options;
  const address = await resolveOne(options.address);
  checkTtl(address.hostname, ttl);
  const v6 = isIpv6(address.hostname);
  const on = address.zone ?? networkInterface;
  const found = on === undefined ? undefined : findInterface(on);
  // Multicast leaves by the interface whose address the socket is bound to; of
  // IPv6 only a link-local one binds it to the interface (Linux, inet6_bind).
  const local = v6 ? found?.ipv6 : found?.ipv4;
  if (found && local === undefined) {
    throw new OperationError(
      `Cannot send from "${on}": it has no ${v6 ? "IPv6" : "IPv4"} address`,
      { code: "EADDRNOTAVAIL" },
    );
  }
  if (
    found && v6 && isMulticast(address.hostname) && !isOfOneLink(local!)
  ) {
    // Bound to any other address, the routing table chooses the interface.
    throw new OperationError(
      `The portable engine cannot send to the group ${address.hostname} from "${on}", which has no link-local address: set the engine to linux on Linux`,
      { code: "ENOTSUP" },
    );
  }
  let socket: Deno.DatagramConn | undefined;
  try {
    socket = Deno.listenDatagram({
      transport: "udp",
      hostname: local === undefined
        ? v6 ? "::" : "0.0.0.0"
        : scopedHostname(local, found),
      port: 0,
      loopback: loop,
    });
    if (ttl !== undefined) {
      // The only way to IP_MULTICAST_TTL is a membership; the option stays
      // with the socket when the membership goes.
      const membership = await socket.joinMulticastV4(
        address.hostname,
        local ?? "0.0.0.0",
      );
      await membership.setTTL(ttl);
      await membership.leave();
    }
  } catch (cause) {
    socket?.close();
    throw failedCall("send to", formatAddress(address), cause);
  }
  const to = scopedHostname(address.hostname, found);
  const path = `${local ?? ""}%${found?.index ?? 0}`;
  return new DenoDatagramSender(socket, { address, path }, to, counters);
}

class DenoDatagramSender implements DatagramSender {
  readonly engine: EngineName = "portable";
  readonly maxSegments = 1;
  readonly address: Address;
  readonly path: string;
  readonly #socket: Deno.DatagramConn;
  readonly #to: Deno.NetAddr;
  readonly #counters: Float64Array;

  constructor(
    socket: Deno.DatagramConn,
    { address, path }: Pick<DatagramSender, "address" | "path">,
    hostname: string,
    counters: Float64Array,
  ) {
    this.#socket = socket;
    this.address = address;
    this.path = path;
    this.#counters = counters;
    this.#to = { transport: "udp", hostname, port: address.port };
  }

  send(batch: DatagramBatch): Promise<void> {
    if (batch.count === 1 && batch.lengths[0]! <= batch.segmentSizes[0]!) {
      return this.#socket.send(batch.filled(0), this.#to).then(
        this.#onSent,
        this.#onFailed,
      );
    }
    return this.#sendEach(batch);
  }

  readonly #onSent = (bytes: number): void => {
    this.#counters[SentSlot.datagrams]!++;
    this.#counters[SentSlot.bytes]! += bytes;
  };

  readonly #onFailed = (error: unknown): void => {
    this.#counters[slotOfError(error)]!++;
  };

  async #sendEach(batch: DatagramBatch): Promise<void> {
    for (let slot = 0; slot < batch.count; slot++) {
      const bytes = batch.filled(slot);
      const size = Math.max(1, batch.segmentSizes[slot]!);
      let start = 0;
      do {
        const datagram = bytes.subarray(start, start + size);
        await this.#socket.send(datagram, this.#to).then(
          this.#onSent,
          this.#onFailed,
        );
        start += size;
      } while (start < bytes.length);
    }
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
      `The portable engine cannot do ${name}: set \`engine\` to linux on Linux`,
      { option: REFUSED },
    );
  }
}
