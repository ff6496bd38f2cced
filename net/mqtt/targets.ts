/**
 * The brokers behind a gateway: each client has its own, by its identifier,
 * and gets the next one where that cannot be reached.
 */
import type { Log } from "../observe/log.ts";
import { rankTargets } from "./rendezvous.ts";
import type { MqttMetrics } from "./metrics.ts";
import type { ConnectedBroker } from "./session/session.ts";
import { dial, type DialClient, type DialOptions } from "./transport/dial.ts";
import { type Endpoint, formatEndpoint } from "./transport/endpoint.ts";

/** For so long, a broker that could not be reached is tried last. */
const AVOID_MS = 5000;

/** How long an answer to a probe is believed. */
const PROBE_AGE_MS = 2000;

/** A CONNECT of MQTT 3.1.1 that asks for nothing: any broker answers it. */
const PROBE = Uint8Array.of(
  ...[0x10, 12, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 10, 0, 0],
);

/** The brokers of a listener. */
export class Targets {
  /** Their URLs. */
  readonly urls: readonly string[];
  readonly #endpoints: readonly Endpoint[];
  readonly #options: DialOptions;
  readonly #metrics: MqttMetrics;
  readonly #log: Log;
  readonly #now: () => number;
  readonly #avoidUntil: number[];
  #probed: { atMs: number; answer: Promise<true | string> } | undefined;

  constructor(
    endpoints: readonly Endpoint[],
    options: DialOptions,
    metrics: MqttMetrics,
    log: Log,
    now: () => number,
  ) {
    this.#endpoints = endpoints;
    this.urls = endpoints.map(formatEndpoint);
    this.#options = options;
    this.#metrics = metrics;
    this.#log = log;
    this.#now = now;
    this.#avoidUntil = endpoints.map(() => -Infinity);
  }

  /**
   * Connects to the broker of a client, or the next that can be reached within
   * the time. `signal` is for whoever does not want it any more.
   */
  async connect(
    clientId: string,
    client: DialClient,
    signal: AbortSignal,
    timeoutMs: number,
  ): Promise<ConnectedBroker> {
    // A client without an identifier has no session to come back to.
    const order = rankTargets(clientId || crypto.randomUUID(), this.urls);
    const now = this.#now();
    const reachable = order.filter((i) => this.#avoidUntil[i]! <= now);
    const avoided = order.filter((i) => this.#avoidUntil[i]! > now);
    const attemptMs = Math.ceil(timeoutMs / order.length);
    let failure: unknown;
    for (const index of [...reachable, ...avoided]) {
      // Not AbortSignal.timeout: its timer would outlive the attempt.
      const attempt = new AbortController();
      const abort = () => attempt.abort(signal.reason);
      signal.addEventListener("abort", abort);
      const timer = setTimeout(
        () => attempt.abort(new Error(`no answer within ${attemptMs} ms`)),
        attemptMs,
      );
      try {
        signal.throwIfAborted();
        const stream = await dial(
          this.#endpoints[index]!,
          this.#options,
          client,
          attempt.signal,
        );
        this.#avoidUntil[index] = -Infinity;
        this.#metrics.dialled(this.urls[index]!, true);
        return { stream, target: this.urls[index]! };
      } catch (error) {
        signal.throwIfAborted();
        failure = error;
        const url = this.urls[index]!;
        this.#metrics.dialled(url, false);
        this.#log.limited(`target ${url}`, "cannot reach a broker", {
          target: url,
          error: (error as Error).message,
        });
        this.#avoidUntil[index] = this.#now() + AVOID_MS;
      } finally {
        clearTimeout(timer);
        signal.removeEventListener("abort", abort);
      }
    }
    throw failure;
  }

  /** Whether any broker answers a CONNECT, or why none does. */
  answers(timeoutMs: number): Promise<true | string> {
    const now = this.#now();
    if (!this.#probed || now - this.#probed.atMs > PROBE_AGE_MS) {
      this.#probed = { atMs: now, answer: this.#probeAll(timeoutMs) };
    }
    return this.#probed.answer;
  }

  async #probeAll(timeoutMs: number): Promise<true | string> {
    try {
      return await Promise.any(
        this.#endpoints.map((endpoint) => this.#probe(endpoint, timeoutMs)),
      );
    } catch (error) {
      return (error as AggregateError).errors.map((cause) =>
        (cause as Error).message
      ).join("; ");
    }
  }

  /** Any packet, or the end of the connection, is a broker's answer. */
  async #probe(endpoint: Endpoint, timeoutMs: number): Promise<true> {
    const signal = AbortSignal.timeout(timeoutMs);
    const stream = await dial(
      endpoint,
      { ...this.#options, sendProxyHeader: false },
      undefined,
      signal,
    );
    const close = () => stream.close();
    signal.addEventListener("abort", close);
    try {
      await stream.write(PROBE);
      await stream.read(new Uint8Array(64));
      return true;
    } catch {
      throw new Error(`${formatEndpoint(endpoint)} does not answer`);
    } finally {
      signal.removeEventListener("abort", close);
      stream.close();
    }
  }
}
