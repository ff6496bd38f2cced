/**
 * The JSON-RPC door: HTTP POST and WebSocket on one port and any path.
 *
 * A web page must not drive it. A page can reach a loopback port, but not
 * without an Origin header (Fetch standard, 3.2) or, with the name of its own
 * site pointed at 127.0.0.1 (DNS rebinding), not without that name as Host: so
 * neither is let in, and a request must be JSON, which no page may send across
 * sites unasked. Elsewhere than on loopback a bearer token is wanted.
 */
import {
  createServer,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import type { Duplex } from "node:stream";
import { Buffer } from "node:buffer";
// @ts-types="npm:@types/ws@^8.18.1"
import type { WebSocket, WebSocketServer } from "ws";
import { type Address, formatAddress, isIp } from "../address.ts";
import { failedCall } from "../errors.ts";
import { HttpListener } from "../http_listener.ts";
import type { Tunnels } from "../tcp/tunnels.ts";
import { answerRpc, MAX_REQUEST_BYTES, oversizedRequest } from "./json_rpc.ts";
import type { ControlDoor } from "./line_door.ts";
import { checkExposure, isToken } from "./token.ts";

/** Clients served at once; one request more is answered with 429. */
const MAX_CLIENTS = 100;

/** Connections at once, with those that are about to be answered or have been. */
const MAX_CONNECTIONS = 2 * MAX_CLIENTS;

/** Messages of one WebSocket that may wait for the one being answered. */
const MAX_WAITING = 16;

/** Options of {@linkcode openHttpDoor}. */
export interface HttpDoorOptions {
  /** Where to listen. */
  readonly address: Address;
  /** What is driven. */
  readonly tunnels: Tunnels;
  /** Wanted from clients; must be given where the address is not loopback. Default: nobody needs one. */
  readonly token?: string | undefined;
}

/**
 * Opens the door; throws a UsageError or an OperationError. JSON-RPC 2.0
 * with Plexy's methods, over HTTP and WebSocket (RFC 6455).
 */
export async function openHttpDoor(
  options: HttpDoorOptions,
): Promise<ControlDoor> {
  const { address, token } = options;
  checkExposure(address, token);
  // Only here: the library reads the environment where it is imported, for
  // which a user of another role would have to give permission.
  // @ts-types="npm:@types/ws@^8.18.1"
  const { WebSocketServer } = await import("ws");
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_REQUEST_BYTES,
    perMessageDeflate: false,
  });
  try {
    return new HttpDoor(options, sockets);
  } catch (cause) {
    throw failedCall("listen for JSON-RPC on", formatAddress(address), cause);
  }
}

class HttpDoor implements ControlDoor {
  readonly #options: HttpDoorOptions;
  readonly #listener: HttpListener;
  readonly #sockets: WebSocketServer;
  #requests = 0;

  constructor(options: HttpDoorOptions, sockets: WebSocketServer) {
    this.#options = options;
    this.#sockets = sockets;
    const server = createServer((request, response) => {
      this.#answer(request, response).catch(() => response.destroy());
    });
    server.on("upgrade", (request, socket, head) => {
      this.#upgrade(request, socket, head);
    });
    this.#listener = new HttpListener(options.address, server, MAX_CONNECTIONS);
  }

  get address(): Address {
    return this.#listener.address;
  }

  /** Why a request is not let in, as an HTTP status with a text. */
  #refusal(request: IncomingMessage): [number, string] | undefined {
    const { token } = this.#options;
    const { host = "", origin, authorization = "" } = request.headers;
    if (origin !== undefined) {
      return [403, "Web pages are not let in: send no Origin header"];
    }
    if (token !== undefined) {
      const given = /^Bearer +(.*)$/i.exec(authorization)?.[1];
      if (given === undefined || !isToken(given.trim(), token)) {
        return [401, "Authorization: Bearer TOKEN is wanted"];
      }
    } else if (!isOwnHost(host, this.#options.address)) {
      return [403, "Provided Host header is not whitelisted"];
    }
    const busy = this.#requests + this.#sockets.clients.size;
    if (busy >= MAX_CLIENTS) return [429, "Too many connections"];
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const refusal = this.#refusal(request) ?? httpRefusal(request);
    if (refusal) return refuse(response, ...refusal);
    this.#requests++;
    try {
      const text = await readBody(request);
      if (text === undefined) {
        return refuse(response, 413, oversizedRequest());
      }
      const answer = await answerRpc(this.#options.tunnels, text) ?? "";
      response.writeHead(200, {
        "content-type": "application/json; charset=utf-8",
        "content-length": Buffer.byteLength(answer),
      });
      response.end(answer);
    } finally {
      this.#requests--;
    }
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => socket.destroy());
    const refusal = this.#refusal(request);
    if (refusal) {
      const [status, text] = refusal;
      socket.end(
        `HTTP/1.1 ${status} ${
          STATUS_TEXTS[status]
        }\r\nconnection: close\r\ncontent-length: ${
          text.length + 1
        }\r\n\r\n${text}\n`,
      );
      return;
    }
    this.#sockets.handleUpgrade(request, socket, head, (client) => {
      this.#converse(client);
    });
  }

  /** Answers a WebSocket's messages in order; reads no further ahead than a few. */
  #converse(client: WebSocket): void {
    let waiting = 0;
    let turn: Promise<void> = Promise.resolve();
    // The library has told the client what was wrong, and ends.
    client.on("error", () => {});
    client.on("message", (data) => {
      if (++waiting >= MAX_WAITING) client.pause();
      turn = turn.then(async () => {
        const answer = await answerRpc(this.#options.tunnels, data.toString());
        if (answer !== undefined) await send(client, answer);
        if (--waiting < MAX_WAITING) client.resume();
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#sockets.clients) client.terminate();
    this.#sockets.close();
    await this.#listener[Symbol.asyncDispose]();
  }
}

const STATUS_TEXTS: Readonly<Record<number, string>> = {
  401: "Unauthorized",
  403: "Forbidden",
  429: "Too Many Requests",
};

/** Whether a Host header names an address or this machine, and not somebody's site. */
function isOwnHost(host: string, address: Address): boolean {
  const name = host.replace(/:\d*$/, "").replace(/^\[(.*)\]$/, "$1")
    .toLowerCase();
  return isIp(name) || name === "localhost" || name === address.hostname;
}

/** The original's answers to what is no JSON-RPC. */
function httpRefusal(request: IncomingMessage): [number, string] | undefined {
  if (request.method !== "POST") {
    return [405, "Used HTTP Method is not allowed. POST is required"];
  }
  const type = request.headers["content-type"] ?? "";
  if (!/^application\/json *(; *charset=utf-8 *)?$/i.test(type)) {
    return [
      415,
      "Supplied content type is not allowed. Content-Type: application/json is required",
    ];
  }
  if (Number(request.headers["content-length"] ?? 0) > MAX_REQUEST_BYTES) {
    return [413, oversizedRequest()];
  }
}

function refuse(response: ServerResponse, status: number, text: string): void {
  const body = `${text}\n`;
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    "content-length": Buffer.byteLength(body),
    ...(status === 405 ? { allow: "POST" } : {}),
    ...(status === 401 ? { "www-authenticate": "Bearer" } : {}),
  });
  response.end(body);
}

/** The body; undefined where it is too long. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > MAX_REQUEST_BYTES) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

function send(client: WebSocket, text: string): Promise<void> {
  return new Promise((resolve) => {
    // A client that is gone is not an error of the tunnels.
    client.send(text, () => resolve());
  });
}
