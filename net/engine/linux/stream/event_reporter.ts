/**
 * Tells the owner what happens on connections: makes events of what the table
 * holds, as far as a service's report level asks for them, gathers them, and
 * gives them over at most every {@linkcode TELL_MS}.
 */
import { formatAddress } from "../../../address.ts";
import type {
  DialFailure,
  EndReason,
  RejectReason,
  StreamEvent,
} from "../../stream.ts";
import { ForwardSlot, RemoteSlot } from "../../stream_counters.ts";
import type { SystemCallError } from "../ffi/errno.ts";
import type { Libc } from "../ffi/libc.ts";
import { decodeSockaddr, SOCKADDR_BYTES } from "../ffi/sockaddr.ts";
import { interfaceName } from "../ffi/socket.ts";
import { type ConnectionTable, State } from "./connection_table.ts";
import type { ReactorReport } from "./orders.ts";
import type { Remote, Service } from "./service.ts";

/** How often events are told. */
const TELL_MS = 100;

/** Events told at once; more are counted and left out. */
const EVENTS_PER_TELL = 10_000;

/** Gathers events of all services of a reactor. */
export class Teller {
  /** When what is gathered is told; Infinity where nothing is. */
  dueMs = Infinity;
  readonly #libc: Libc;
  readonly #table: ConnectionTable;
  readonly #report: (report: ReactorReport) => void;
  readonly #events = new Map<Service, StreamEvent[]>();

  constructor(
    libc: Libc,
    table: ConnectionTable,
    report: (report: ReactorReport) => void,
  ) {
    this.#libc = libc;
    this.#table = table;
    this.#report = report;
  }

  /** An accept, or what a client needs besides its descriptor, has failed. */
  acceptFailed(service: Service, error: SystemCallError, nowMs: number): void {
    this.#tell(service, {
      type: "accept-failed",
      atMs: Date.now(),
      code: error.code,
      detail: error.message,
    }, nowMs);
  }

  /** A client was let go without a remote, after attempts at these. */
  rejected(
    c: number,
    reason: RejectReason,
    tried: readonly number[],
    nowMs: number,
  ): void {
    this.#tell(this.#table.service[c]!, {
      type: "rejected",
      atMs: Date.now(),
      client: this.client(c),
      reason,
      attempts: tried.length,
      remotes: tried,
      durationMs: nowMs - this.#table.sinceMs[c]!,
    }, nowMs);
  }

  /** An attempt for a client has failed. */
  dialFailed(
    c: number,
    remote: Remote,
    failure: DialFailure,
    detail: string,
    nowMs: number,
  ): void {
    this.#tell(this.#table.service[c]!, {
      type: "dial-failed",
      atMs: Date.now(),
      client: this.client(c),
      remote: remote.id,
      failure,
      detail,
    }, nowMs);
  }

  /** A probe has failed. */
  probeFailed(
    service: Service,
    remote: Remote,
    failure: DialFailure,
    detail: string,
    nowMs: number,
  ): void {
    this.#tell(service, {
      type: "probe-failed",
      atMs: Date.now(),
      remote: remote.id,
      failure,
      detail,
    }, nowMs);
  }

  /** A remote has come to life, or is chosen from no more. */
  remoteState(service: Service, remote: Remote, nowMs: number): void {
    const dueMs = service.policy.probeDueMs(remote.id);
    this.#tell(service, {
      type: "remote-state",
      atMs: Date.now(),
      remote: remote.id,
      live: remote.slots[RemoteSlot.state] === 0,
      probeInMs: dueMs === Infinity ? undefined : Math.max(0, dueMs - nowMs),
    }, nowMs);
  }

  /** A connection is piped; choosing and dialling took `connectMs`. */
  opened(c: number, connectMs: number, nowMs: number): void {
    const { service, remote, id, told } = this.#table;
    const { report } = service[c]!;
    if (report !== "problems") {
      this.#tell(service[c]!, {
        type: "opened",
        atMs: Date.now(),
        connection: id[c]!,
        client: this.client(c),
        remote: remote[c]!.id,
        connectMs,
      }, nowMs);
    }
    if (report === "traffic") this.#start(nowMs);
    else told[2 * c] = told[2 * c + 1] = NaN;
  }

  /** A piped connection ends. */
  closed(
    c: number,
    reason: EndReason,
    durationMs: number,
    nowMs: number,
  ): void {
    const { service, remote, id, bytes } = this.#table;
    const { report } = service[c]!;
    if (report === "problems") return;
    if (report === "traffic") this.#traffic(c, nowMs);
    this.#tell(service[c]!, {
      type: "closed",
      atMs: Date.now(),
      connection: id[c]!,
      client: this.client(c),
      remote: remote[c]!.id,
      reason,
      durationMs,
      bytesUpstream: bytes[2 * c]!,
      bytesDownstream: bytes[2 * c + 1]!,
    }, nowMs);
  }

  /**
   * Traffic of a service is told from now on, or no more. Bytes that moved
   * before anybody wanted to hear of them are not told.
   */
  followTraffic(service: Service, wanted: boolean, nowMs: number): void {
    const { bytes, told } = this.#table;
    this.#table.each(service, (c) => {
      for (let side = 2 * c; side < 2 * c + 2; side++) {
        if (!wanted) told[side] = NaN;
        else if (Number.isNaN(told[side]!)) told[side] = bytes[side]!;
      }
    });
    if (wanted) this.#start(nowMs);
  }

  #tell(service: Service, event: StreamEvent, nowMs: number): void {
    let events = this.#events.get(service);
    if (!events) this.#events.set(service, events = []);
    if (events.length >= EVENTS_PER_TELL) {
      service.slots[ForwardSlot.eventsDropped]!++;
      return;
    }
    events.push(event);
    this.#start(nowMs);
  }

  #start(nowMs: number): void {
    if (this.dueMs === Infinity) this.dueMs = nowMs + TELL_MS;
  }

  /** Tells what was gathered, and the traffic of those that want to hear of it. */
  tellAll(services: Iterable<Service>, nowMs: number): void {
    this.dueMs = Infinity;
    let traffic = false;
    for (const { report } of services) traffic ||= report === "traffic";
    if (traffic) this.#allTraffic(nowMs);
    for (const service of this.#events.keys()) this.flush(service);
  }

  #allTraffic(nowMs: number): void {
    const { state, service, capacity } = this.#table;
    for (let c = 0; c < capacity; c++) {
      if (state[c] !== State.piped) continue;
      if (service[c]!.report !== "traffic") continue;
      this.#traffic(c, nowMs);
      this.#start(nowMs);
    }
  }

  #traffic(c: number, nowMs: number): void {
    const { bytes, told, service, id } = this.#table;
    const upstream = bytes[2 * c]! - told[2 * c]!;
    const downstream = bytes[2 * c + 1]! - told[2 * c + 1]!;
    // NaN where it was open before anybody wanted to hear.
    if (!(upstream > 0 || downstream > 0)) return;
    told[2 * c] = bytes[2 * c]!;
    told[2 * c + 1] = bytes[2 * c + 1]!;
    this.#tell(service[c]!, {
      type: "traffic",
      atMs: Date.now(),
      connection: id[c]!,
      client: this.client(c),
      upstream,
      downstream,
    }, nowMs);
  }

  /** Tells what was gathered of a service now. */
  flush(service: Service): void {
    const events = this.#events.get(service);
    this.#events.delete(service);
    if (!events) return;
    this.#report({ kind: "events", service: service.number, events });
  }

  /** The client's address as text. */
  client(c: number): string {
    const { hostname, port, scopeId } = decodeSockaddr(
      this.#table.address,
      c * SOCKADDR_BYTES,
    );
    const zone = scopeId === 0 ? undefined : interfaceName(this.#libc, scopeId);
    return formatAddress({
      hostname,
      port,
      ...(zone === undefined ? {} : { zone }),
    });
  }
}
