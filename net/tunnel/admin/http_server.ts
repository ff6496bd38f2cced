/**
 * The JSON-RPC door: HTTP POST and WebSocket on one port and any path.
 *
 * A web page must not drive it. A page can reach a loopback port, but not
 * without an Origin header (Fetch standard, 3.2) or, with the name of its own
 * site pointed at 127.0.0.1 (DNS rebinding), not without that name as Host: so
 * neither is let in, and a request must be JSON, which no page may send across
 * sites unasked. Elsewhere than on loopback a bearer token is wanted.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { Buffer } from "node:buffer";
import {
  type Address,
  formatAddress,
  isIp,
  isLoopback,
} from "../../address.ts";
import type { AdmissionStats } from "../../admission.ts";
import type { Admitted } from "../../connection_gate.ts";
import { failedCall } from "../../errors.ts";
import { allowBody, HttpListener } from "../../http_listener.ts";
import type { Log } from "../../observe/log.ts";
import { CloseCode } from "../../websocket/frames.ts";
import {
  checkUpgrade,
  refusalText,
  switchingText,
  type UpgradeRefusal,
} from "../../websocket/handshake.ts";
import { MessageSocket } from "../../websocket/message_socket.ts";
import type { Tunnels } from "../tunnels.ts";
import { answerRpc, MAX_REQUEST_BYTES, oversizedRequest } from "./json_rpc.ts";
import type { ControlDoor } from "./line_server.ts";
import { checkExposure, isToken } from "./token.ts";

/**
 * Limits of its connections. A WebSocket may be idle for as long as it answers
 * pings; where there is no room, the one that has been so longest is closed.
 */
const LIMITS = {
  maxConnections: 512,
  maxBytes: 64 << 20,
  proveWithinMs: 10_000,
};

/** Requests answered at once; one more is answered with 429. */
const MAX_REQUESTS = 100;

/** How often idle WebSockets are asked for a pong; who owes one is closed. */
const PING_MS = 30_000;

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
  /** Where rejected connections are logged. Default: nowhere. */
  readonly log?: Log | undefined;
}

/**
 * Opens the door; throws a UsageError or an OperationError. JSON-RPC 2.0
 * with Plexy's methods, over HTTP and WebSocket (RFC 6455).
 */
// deno-lint-ignore require-await -- throws by its promise, as all that open a socket
export async function openHttpDoor(
  options: HttpDoorOptions,
): Promise<ControlDoor> {
  const { address, token } = options;
  checkExposure(address, token);
  try {
    return new HttpDoor(options);
  } catch (cause) {
    throw failedCall("listen for JSON-RPC on", formatAddress(address), cause);
  }
}

class HttpDoor implements ControlDoor {
  readonly #options: HttpDoorOptions;
  readonly #listener: HttpListener;
  readonly #sockets = new Set<MessageSocket>();
  readonly #pings: ReturnType<typeof setInterval>;
  #requests = 0;

  constructor(options: HttpDoorOptions) {
    const { address, log } = options;
    this.#options = options;
    this.#listener = new HttpListener({
      ...LIMITS,
      // Whoever reaches a loopback address has it to themselves.
      ...isLoopback(address.hostname)
        ? { maxConnectionsPerSource: LIMITS.maxConnections }
        : {},
      address,
      log,
      listener: "json-rpc",
      handlers: {
        request: (request, response, peer) =>
          this.#answer(request, response, peer),
        upgrade: (request, socket, head, peer) =>
          this.#upgrade(request, socket, head, peer),
      },
    });
    this.#pings = setInterval(() => this.#ping(), PING_MS);
  }

  get address(): Address {
    return this.#listener.address;
  }

  /** Figures of its connections. */
  stats(): AdmissionStats {
    return this.#listener.stats();
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
    if (this.#requests >= MAX_REQUESTS) return [429, "Too many connections"];
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    peer: Admitted,
  ): Promise<void> {
    const refusal = this.#refusal(request) ?? httpRefusal(request);
    if (refusal) return refuse(response, ...refusal);
    // The body has the deadline of the head: whoever may ask may still stop.
    allowBody(request, MAX_REQUEST_BYTES + 1);
    const text = await readBody(request, peer);
    if (text === undefined) return refuse(response, 413, oversizedRequest());
    const answer = await this.#run(text, peer) ?? "";
    if (!peer.hold(answer.length)) return refuse(response, 503, "Busy");
    response.writeHead(200, {
      "content-type": "application/json; charset=utf-8",
      "content-length": Buffer.byteLength(answer),
    });
    response.end(answer);
  }

  /** The answer to a message; while it is worked out, the peer has no deadline. */
  async #run(text: string, peer: Admitted): Promise<string | undefined> {
    peer.prove();
    this.#requests++;
    try {
      return await answerRpc(this.#options.tunnels, text);
    } finally {
      this.#requests--;
      // From here on it has one to take the answer.
      peer.unprove();
    }
  }

  #upgrade(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    peer: Admitted,
  ): void {
    socket.on("error", () => socket.destroy());
    const refusal = this.#refusal(request);
    if (refusal) {
      const [status, text] = refusal;
      // A client that keeps its side open keeps the deadline of its request.
      socket.end(refusalText(status, STATUS_TEXTS[status]!, undefined, text));
      return;
    }
    const { headers } = request;
    const wrong = upgradeRefusal(request) ??
      checkUpgrade((name) => headers[name]?.toString());
    if (wrong) {
      socket.end(refusalText(wrong.status, wrong.statusText, wrong.header));
      return;
    }
    socket.write(
      switchingText(
        headers["sec-websocket-key"]!,
        // This server has one protocol only, whatever a client calls it.
        headers["sec-websocket-protocol"]?.replace(/[ \t]*,.*$/, ""),
      ),
    );
    this.#converse(socket, head, peer);
  }

  /** Answers a WebSocket's messages in order; reads no further ahead than a few. */
  #converse(socket: Duplex, head: Buffer, peer: Admitted): void {
    let waiting = 0;
    let turn: Promise<void> = Promise.resolve();
    peer.idle();
    const client = new MessageSocket(socket, head, {
      maxMessageBytes: MAX_REQUEST_BYTES,
      hold: (bytes) => peer.hold(bytes),
      onClose: () => {
        turn = turn.then(() => client.close(CloseCode.normal));
      },
      // From here on the client has a deadline to close its side.
      onClosing: () => peer.unprove(),
      onMessage: (text, bytes) => {
        if (++waiting >= MAX_WAITING) client.pause();
        turn = turn.then(async () => {
          const answer = await this.#run(text, peer);
          peer.unhold(bytes);
          if (answer !== undefined) await sendHeld(client, answer, peer);
          if (--waiting < MAX_WAITING) client.resume();
          if (waiting === 0 && !client.closing) peer.idle();
        });
      },
    });
    this.#sockets.add(client);
    socket.on("close", () => this.#sockets.delete(client));
  }

  /** Pings the clients; one that owes a pong is closed, unless it is not read. */
  #ping(): void {
    for (const client of this.#sockets) {
      if (!client.paused && !client.ping()) client.terminate();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#pings);
    for (const client of this.#sockets) client.terminate();
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

/** What RFC 6455, 4.2.1 requires beside the headers of the upgrade itself. */
function upgradeRefusal(request: IncomingMessage): UpgradeRefusal | undefined {
  const { method, headers } = request;
  const refuse = (
    status: number,
    statusText: string,
    reason: string,
    header?: string,
  ) => ({ status, statusText, reason, header });
  if (method !== "GET") {
    return refuse(405, "Method Not Allowed", `method ${method}`, "Allow: GET");
  }
  // What follows the head would be read as frames, and by a proxy as a body.
  if (
    headers["transfer-encoding"] !== undefined ||
    (headers["content-length"] ?? "0") !== "0"
  ) return refuse(400, "Bad Request", "request has a body");
  const offered = headers["sec-websocket-protocol"];
  if (offered !== undefined && !SUBPROTOCOLS.test(offered)) {
    return refuse(400, "Bad Request", "no list of subprotocols");
  }
}

/** Tokens with commas (RFC 6455, 4.3). */
const SUBPROTOCOLS =
  /^[!#$%&'*+.^_`|~0-9A-Za-z-]+([ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*$/;

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

/** The body; undefined where it is too long, or too much is read for all. */
async function readBody(
  request: IncomingMessage,
  peer: Admitted,
): Promise<string | undefined> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > MAX_REQUEST_BYTES || !peer.hold(part.length)) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

/** Sends an answer, whose bytes are held until the client has taken them. */
async function sendHeld(
  client: MessageSocket,
  text: string,
  peer: Admitted,
): Promise<void> {
  const bytes = text.length;
  if (!peer.hold(bytes)) return client.close(CloseCode.tryAgainLater);
  await client.send(text);
  peer.unhold(bytes);
}
