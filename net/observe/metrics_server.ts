/** The metrics door: `/metrics`, `/healthz`, `/readyz` over HTTP. */
import { Buffer } from "node:buffer";
import { createServer } from "node:http";
import { type Address, formatAddress } from "../address.ts";
import { failedCall } from "../errors.ts";
import { HttpListener } from "../http_listener.ts";
import {
  type Metric,
  PROMETHEUS_CONTENT_TYPE,
  prometheusText,
} from "./metrics.ts";

/** What the door shows. */
export interface MetricsServerOptions {
  /** Where to listen; port 0 takes a free one. */
  address: Address;
  /** Asked at each scrape. */
  metrics: () => readonly Metric[];
  /** Whether new work is taken, or why not. Default: always. */
  ready?: () => boolean | string | Promise<boolean | string>;
  /** Answers `/metrics?format=json`, where the role has such a document; may be a promise. */
  json?: () => unknown;
}

/** An open metrics door. */
export interface MetricsServer extends AsyncDisposable {
  /** The bound address, with the real port. */
  readonly address: Address;
}

/** Scrapes at once; those above are closed unanswered. */
const MAX_CONNECTIONS = 100;

/** Opens the metrics door; throws an OperationError where it cannot be bound. */
export async function serveMetrics(
  options: MetricsServerOptions,
): Promise<MetricsServer> {
  const { address } = options;
  // Loads the library that writes the text: where files cannot be opened any
  // more, and figures are wanted most, it is too late.
  await prometheusText([]);
  const server = createServer((request, response) => {
    answer(options, request.method ?? "", request.url ?? "").then(
      ({ status = 200, headers, body }) => {
        response.writeHead(status, {
          "content-type": "text/plain; charset=utf-8",
          "content-length": Buffer.byteLength(body),
          ...headers,
        });
        response.end(body);
      },
      () => response.writeHead(500).end(),
    );
  });
  let listener: HttpListener;
  try {
    listener = new HttpListener(address, server, MAX_CONNECTIONS);
  } catch (cause) {
    throw failedCall("serve metrics on", formatAddress(address), cause);
  }
  return listener;
}

/** An answer that is not 200, or no plain text, says so. */
interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
}

async function answer(
  { metrics, ready = () => true, json }: MetricsServerOptions,
  method: string,
  url: string,
): Promise<Answer> {
  if (method !== "GET" && method !== "HEAD") {
    return {
      status: 405,
      headers: { allow: "GET, HEAD" },
      body: "Method not allowed\n",
    };
  }
  const [path, query] = url.split("?", 2);
  switch (path) {
    case "/metrics":
      if (json && new URLSearchParams(query).get("format") === "json") {
        return {
          headers: { "content-type": "application/json" },
          body: JSON.stringify(await json()),
        };
      }
      return {
        headers: { "content-type": PROMETHEUS_CONTENT_TYPE },
        body: await prometheusText(metrics()),
      };
    case "/healthz":
      return { body: "ok\n" };
    case "/readyz": {
      const state = await ready();
      return state === true
        ? { body: "ready\n" }
        : { status: 503, body: `${state || "not ready"}\n` };
    }
    default:
      return { status: 404, body: "Not found\n" };
  }
}
