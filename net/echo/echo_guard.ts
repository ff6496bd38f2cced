/**
 * Decides which datagrams a UDP echo server answers. Pure: the clock is an
 * argument.
 *
 * The source address of a datagram proves nothing, so one forged datagram can
 * make two echo servers answer each other for ever (CVE-1999-0103).
 *
 * 1. A source port below 1024, or the server's own, belongs to a service and
 *    not to a client: not answered, as inetd does.
 * 2. A payload that the same source sends again and again is a loop: after
 *    {@linkcode MAX_REPEATS} it is not answered until it has stopped to come.
 * 3. Each source address has a rate, as a bucket that holds one second's worth.
 *
 * The tables are direct-mapped and of fixed size: forged sources cost no
 * memory. Payloads that collide replace each other, sources share a rate.
 */
import { type Source, sourceOf } from "../source.ts";

/** Why a datagram is not answered. */
export const REFUSALS = ["port", "loop", "rate"] as const;

/** Why a datagram is not answered. */
export type Refusal = typeof REFUSALS[number];

/** How often a source may send the same payload, each within a second of the last. */
export const MAX_REPEATS = 256;

/** How long a payload must not have come to be answered again. */
const QUIET_MS = 1000;

/** Datagrams of one source address a second, by default. */
export const DEFAULT_MAX_DATAGRAMS_PER_SOURCE = 10_000;

/** Ports of services other than those below 1024 that answer anybody: NFS (inetd refuses it, too). */
const SERVICE_PORTS = new Set([2049]);

const ENTRIES = 4096;
/** Bytes of a payload's start and of its end that tell it from others. */
const HASHED_BYTES = 128;

/** Options of an {@linkcode EchoGuard}. */
export interface EchoGuardOptions {
  /** The server's own port. */
  readonly port: number;
  /** Datagrams of one IPv4 address or IPv6 /64 a second; 0 for no limit. @default {10000} */
  readonly maxDatagramsPerSource?: number | undefined;
}

/** Checks the datagrams of one echo server. */
export class EchoGuard {
  readonly #port: number;
  readonly #rate: number;
  readonly #payloads = new Uint32Array(ENTRIES);
  readonly #repeats = new Uint32Array(ENTRIES);
  readonly #seenMs = new Float64Array(ENTRIES);
  readonly #tokens = new Float64Array(ENTRIES);
  readonly #filledMs = new Float64Array(ENTRIES);

  constructor(options: EchoGuardOptions) {
    this.#port = options.port;
    this.#rate = options.maxDatagramsPerSource ??
      DEFAULT_MAX_DATAGRAMS_PER_SOURCE;
  }

  /** Why a datagram is not to be answered; undefined where it is. */
  check(
    datagram: Uint8Array,
    hostname: string,
    port: number,
    nowMs: number,
  ): Refusal | undefined {
    if (port === this.#port || port < 1024 || SERVICE_PORTS.has(port)) {
      return "port";
    }
    const source = hashSource(sourceOf(hostname));
    if (!this.#takeToken(source, nowMs)) return "rate";
    const hash = hashPayload(mix(source, port), datagram);
    return this.#countRepeat(hash, nowMs) > MAX_REPEATS ? "loop" : undefined;
  }

  #takeToken(source: number, nowMs: number): boolean {
    if (this.#rate === 0) return true;
    // Sources that collide share one rate, and cannot refill it by turns.
    const entry = source % ENTRIES;
    const passedMs = nowMs - this.#filledMs[entry]!;
    const tokens = this.#filledMs[entry] === 0 ? this.#rate : Math.min(
      this.#rate,
      this.#tokens[entry]! + passedMs * this.#rate / 1e3,
    );
    this.#filledMs[entry] = nowMs;
    this.#tokens[entry] = tokens >= 1 ? tokens - 1 : tokens;
    return tokens >= 1;
  }

  #countRepeat(hash: number, nowMs: number): number {
    const entry = hash % ENTRIES;
    const isAgain = this.#payloads[entry] === hash &&
      nowMs - this.#seenMs[entry]! < QUIET_MS;
    this.#payloads[entry] = hash;
    this.#seenMs[entry] = nowMs;
    return this.#repeats[entry] = isAgain ? this.#repeats[entry]! + 1 : 1;
  }
}

/** A step of FNV-1a over 32 bits. */
function mix(hash: number, value: number): number {
  return Math.imul(hash ^ value, 0x01000193) >>> 0;
}

const OFFSET = 0x811c9dc5;

function hashSource(source: Source): number {
  if (typeof source === "number") {
    let hash = OFFSET;
    for (let shift = 0; shift < 32; shift += 8) {
      hash = mix(hash, source >>> shift & 0xff);
    }
    return hash;
  }
  let hash = OFFSET;
  for (let i = 0; i < source.length; i++) {
    hash = mix(hash, source.charCodeAt(i));
  }
  return hash;
}

function hashPayload(seed: number, bytes: Uint8Array): number {
  const { length } = bytes;
  let hash = mix(seed, length);
  const head = Math.min(length, HASHED_BYTES);
  for (let i = 0; i < head; i++) hash = mix(hash, bytes[i]!);
  for (let i = Math.max(head, length - HASHED_BYTES); i < length; i++) {
    hash = mix(hash, bytes[i]!);
  }
  return hash;
}
