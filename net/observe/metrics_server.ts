/** The metrics endpoint: `/metrics`, `/healthz`, `/readyz` over HTTP. */
import { Buffer } from "node:buffer";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type Address, formatAddress } from "../address.ts";
import type { AdmissionStats } from "../admission.ts";
import { admissionMetrics } from "../admission_metrics.ts";
import type { Admitted } from "../connection_gate.ts";
import { failedCall } from "../errors.ts";
import { HttpListener } from "../http_listener.ts";
import type { Log } from "./log.ts";
import {
  mergeMetrics,
  type Metric,
  PROMETHEUS_CONTENT_TYPE,
  prometheusText,
} from "./metrics.ts";

/** What the endpoint serves. */
export interface MetricsServerOptions {
  /** Where to listen; port 0 takes a free one. */
  address: Address;
  /** Asked at each scrape. */
  metrics: () => readonly Metric[];
  /** Whether new work is taken, or why not. Default: always. */
  ready?: () => boolean | string | Promise<boolean | string>;
  /** Answers `/metrics?format=json`, where the role has such a document; may be a promise. */
  json?: () => unknown;
  /** Where rejected connections are logged. Default: nowhere. */
  log?: Log | undefined;
}

/** An open metrics endpoint. */
export interface MetricsServer extends AsyncDisposable {
  /** The bound address, with the real port. */
  readonly address: Address;
}

/**
 * Limits of its connections. Whoever can connect may ask, so that a request
 * proves little: the oldest one that is not being answered makes room. There is
 * room for a burst of hundreds from one address: in it, a probe would be
 * displaced before its request has come.
 */
const LIMITS = {
  maxConnections: 512,
  maxBytes: 128 << 20,
  proveWithinMs: 10_000,
};

/** Opens the metrics endpoint; throws an OperationError where it cannot be bound. */
export async function serveMetrics(
  options: MetricsServerOptions,
): Promise<MetricsServer> {
  const { address, log } = options;
  // Loads the library that writes the text: where files cannot be opened any
  // more, and figures are needed most, it is too late.
  await prometheusText([]);
  let scrape: Promise<Answer> | undefined;
  const answers: AnswerSources = {
    ...options,
    // Scrapes that come while one is being written get the same text.
    scrape: () =>
      scrape ??= scraped(options, () => listener.stats())
        .finally(() => scrape = undefined),
  };
  let listener: HttpListener;
  try {
    listener = new HttpListener({
      ...LIMITS,
      address,
      log,
      listener: "metrics",
      handlers: {
        request: (request, response, peer) =>
          respond(answers, request, response, peer),
      },
    });
  } catch (cause) {
    throw failedCall("serve metrics on", formatAddress(address), cause);
  }
  return listener;
}

async function respond(
  sources: AnswerSources,
  { method = "", url = "" }: IncomingMessage,
  response: ServerResponse,
  peer: Admitted,
): Promise<void> {
  peer.prove();
  const { status = 200, headers, body } = await inTime(
    answer(sources, method, url).catch(() => FAILED),
  );
  // From here on the client has a deadline to take the answer.
  peer.unprove();
  if (!peer.hold(body.length)) return void response.writeHead(503).end();
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    "content-length": body.length,
    ...headers,
  });
  response.end(body);
}

/** What a role has not answered in time is not ready. */
async function inTime(answer: Promise<Answer>): Promise<Answer> {
  const late = Promise.withResolvers<Answer>();
  const timer = setTimeout(() => late.resolve(LATE), LIMITS.proveWithinMs);
  try {
    return await Promise.race([answer, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function scraped(
  { metrics }: MetricsServerOptions,
  stats: () => AdmissionStats,
): Promise<Answer> {
  const own = admissionMetrics([{ listener: "metrics", stats: stats() }]);
  return {
    headers: { "content-type": PROMETHEUS_CONTENT_TYPE },
    body: Buffer.from(
      await prometheusText(mergeMetrics([...metrics(), ...own])),
    ),
  };
}

/** What answers are made of. */
interface AnswerSources extends Pick<MetricsServerOptions, "ready" | "json"> {
  readonly scrape: () => Promise<Answer>;
}

/** An answer that is not 200, or no plain text, says so. */
interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

const LATE: Answer = { status: 503, body: Buffer.from("no answer in time\n") };
const FAILED: Answer = { status: 500, body: Buffer.from("") };

async function answer(
  { scrape, ready = () => true, json }: AnswerSources,
  method: string,
  url: string,
): Promise<Answer> {
  if (method !== "GET" && method !== "HEAD") {
    return {
      status: 405,
      headers: { allow: "GET, HEAD" },
      body: Buffer.from("Method not allowed\n"),
    };
  }
  const [path, query] = url.split("?", 2);
  switch (path) {
    case "/metrics":
      if (json && new URLSearchParams(query).get("format") === "json") {
        return {
          headers: { "content-type": "application/json" },
          body: Buffer.from(JSON.stringify(await json())),
        };
      }
      return await scrape();
    case "/healthz":
      return { body: Buffer.from("ok\n") };
    case "/readyz": {
      const state = await ready();
      return state === true
        ? { body: Buffer.from("ready\n") }
        : { status: 503, body: Buffer.from(`${state || "not ready"}\n`) };
    }
    default:
      return { status: 404, body: Buffer.from("Not found\n") };
  }
}
