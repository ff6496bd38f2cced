/** The metrics door: `/metrics`, `/healthz`, `/readyz` over HTTP. */
import type { Address } from "../address.ts";
import { formatAddress } from "../address.ts";
import { failedCall } from "../errors.ts";
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

/** Opens the metrics door; throws an OperationError where it cannot be bound. */
export function serveMetrics(options: MetricsServerOptions): MetricsServer {
  const { address, metrics, ready = () => true, json } = options;
  const answer = async (request: Request): Promise<Response> => {
    const url = new URL(request.url);
    if (request.method !== "GET" && request.method !== "HEAD") {
      return new Response("Method not allowed\n", {
        status: 405,
        headers: { allow: "GET, HEAD" },
      });
    }
    switch (url.pathname) {
      case "/metrics":
        if (json && url.searchParams.get("format") === "json") {
          return Response.json(await json());
        }
        return new Response(await prometheusText(metrics()), {
          headers: { "content-type": PROMETHEUS_CONTENT_TYPE },
        });
      case "/healthz":
        return new Response("ok\n");
      case "/readyz": {
        const state = await ready();
        return state === true
          ? new Response("ready\n")
          : new Response(`${state || "not ready"}\n`, { status: 503 });
      }
      default:
        return new Response("Not found\n", { status: 404 });
    }
  };
  let server: Deno.HttpServer<Deno.NetAddr>;
  try {
    server = Deno.serve(
      { hostname: address.hostname, port: address.port, onListen: () => {} },
      answer,
    );
  } catch (cause) {
    throw failedCall("serve metrics on", formatAddress(address), cause);
  }
  const { hostname, port } = server.addr;
  return {
    address: { hostname, port },
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
