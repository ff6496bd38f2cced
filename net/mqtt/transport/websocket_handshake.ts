/**
 * The opening handshake of WebSocket (RFC 6455, section 4), for MQTT
 * (MQTT 5.0, section 6). Pure: text in, text out.
 */
import { isIp } from "../../address.ts";
import {
  acceptKey,
  checkUpgrade,
  hasToken,
  refusalText,
  switchingText,
} from "../../websocket/handshake.ts";

/** A header: no control characters, and no line that continues another (RFC 9110, 5.5). */
const FIELD_LINE =
  /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/;

/** A host with or without a port (RFC 9110, 7.2). */
const HOST = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%-]+)(:\d{0,5})?$/;

/** Subprotocols in the order in which they are preferred [MQTT-6.0.0-4]. */
const SUBPROTOCOLS = ["mqtt", "mqttv3.1"] as const;

/** Longest head of a request or an answer that is read. */
export const MAX_HEAD_BYTES = 8192;

/** What a server does with a request. */
export interface UpgradeAnswer {
  /** Whether it was accepted. */
  readonly accepted: boolean;
  /** The whole head to send, and a body where it was refused. */
  readonly text: string;
  /** For the log. */
  readonly reason: string;
}

/** What a server requires of a request. */
export interface UpgradeOptions {
  /** Path that is served, and everything beneath it; `/` serves all. */
  path: string;
  /**
   * Values of `Origin` that may connect. Default: the origin of the server
   * itself. Clients that are not browsers send none and may always connect.
   */
  origins?: readonly string[] | undefined;
  /** Whether the connection is TLS, so that the certificate vouches for the `Host`. Default: no. */
  secure?: boolean | undefined;
  /** The name that the listener was given, which a `Host` may have. Default: none. */
  hostname?: string | undefined;
}

/** Where the head ends: the index behind its empty line, or -1 where it is not whole yet. */
export function headEnd(bytes: Uint8Array, length: number): number {
  for (let i = 3; i < length; i++) {
    if (
      bytes[i] === 10 && bytes[i - 1] === 13 && bytes[i - 2] === 10 &&
      bytes[i - 3] === 13
    ) return i + 1;
  }
  return -1;
}

/** Answers an upgrade request (RFC 6455, 4.2). */
export function answerUpgrade(
  head: string,
  options: UpgradeOptions,
): UpgradeAnswer {
  const parsed = parseHead(head);
  const match = parsed &&
    /^([A-Z]+) ([\x21-\x7e]+) HTTP\/(\d\.\d)$/.exec(parsed.startLine);
  if (!parsed || !match) return refuse(400, "Bad Request", "no HTTP request");
  const [, method, target, version] = match;
  const { headers } = parsed;
  if (method !== "GET") {
    return refuse(405, "Method Not Allowed", `method ${method}`, "Allow: GET");
  }
  if (version === "1.0" || version === "0.9") {
    return refuse(426, "Upgrade Required", "HTTP/1.0", "Upgrade: websocket");
  }
  const host = headers.get("host") ?? "";
  // Two Host headers make a list, which is no host either (RFC 9112, 3.2).
  if (!HOST.test(host)) {
    return refuse(400, "Bad Request", `Host ${JSON.stringify(host)}`);
  }
  // What follows the head would be read as frames, and by a proxy as a body.
  if (
    headers.has("transfer-encoding") ||
    (headers.get("content-length") ?? "0") !== "0"
  ) return refuse(400, "Bad Request", "request has a body");
  if (!servesPath(options.path, target!)) {
    return refuse(404, "Not Found", `path ${target}`);
  }
  const refusal = checkUpgrade((name) => headers.get(name));
  if (refusal) {
    const { status, statusText, reason, header } = refusal;
    return refuse(status, statusText, reason, header);
  }
  const origin = headers.get("origin");
  if (origin !== undefined && !allowsOrigin(origin, host, options)) {
    return refuse(
      403,
      "Forbidden",
      options.origins
        ? `origin ${origin}`
        : `origin ${origin} at host ${host}, and no origins are listed`,
    );
  }
  const offered = headers.get("sec-websocket-protocol");
  const chosen = SUBPROTOCOLS.find((name) => hasToken(offered, name, true));
  if (offered !== undefined && chosen === undefined) {
    return refuse(400, "Bad Request", `subprotocol ${offered}`);
  }
  return {
    accepted: true,
    text: switchingText(headers.get("sec-websocket-key")!, chosen),
    reason: chosen ?? "no subprotocol",
  };
}

/** Asks for an upgrade (RFC 6455, 4.1) with a random key of 16 bytes in base64. */
export function upgradeRequest(
  host: string,
  path: string,
  key: string,
): string {
  return [
    `GET ${path} HTTP/1.1`,
    `Host: ${host}`,
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Key: ${key}`,
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Protocol: mqtt",
    "",
    "",
  ].join("\r\n");
}

/** What is wrong with a server's answer, or undefined where it agreed. */
export function checkUpgradeAnswer(
  head: string,
  key: string,
): string | undefined {
  const parsed = parseHead(head);
  const match = parsed && /^HTTP\/1\.1 (\d{3})( .*)?$/.exec(parsed.startLine);
  if (!parsed || !match) return "the answer is no HTTP";
  const { headers } = parsed;
  if (match[1] !== "101") return `the answer is ${match[1]}${match[2] ?? ""}`;
  if (
    !hasToken(headers.get("upgrade"), "websocket") ||
    !hasToken(headers.get("connection"), "upgrade")
  ) return "the answer upgrades to something else";
  if (headers.get("sec-websocket-accept") !== acceptKey(key)) {
    return "the answer belongs to another request";
  }
  if (headers.has("sec-websocket-extensions")) {
    return "the answer has an extension that was not asked for";
  }
  const protocol = headers.get("sec-websocket-protocol");
  return protocol === undefined || protocol === "mqtt"
    ? undefined
    : `the answer has the subprotocol "${protocol}"`;
}

/**
 * Whether a page may connect. A page of a stranger whose name resolves to this
 * machine (DNS rebinding) is of the same origin, too: without a list, the host
 * must be one that no stranger can choose.
 */
function allowsOrigin(
  origin: string,
  host: string,
  options: UpgradeOptions,
): boolean {
  if (options.origins) return options.origins.includes(origin);
  const page = URL.parse(origin);
  if (!page || page.origin !== origin) return false;
  const own = URL.parse(`${page.protocol}//${host}`);
  if (!own || own.host !== page.host) return false;
  return options.secure === true || own.hostname === "localhost" ||
    own.hostname.endsWith(".localhost") ||
    own.hostname === options.hostname?.toLowerCase() ||
    isIp(own.hostname.replace(/^\[|\]$/g, ""));
}

function parseHead(
  head: string,
): { startLine: string; headers: Map<string, string> } | undefined {
  const [startLine, ...lines] = head.split("\r\n");
  const headers = new Map<string, string>();
  for (const line of lines) {
    if (line === "") break;
    const match = FIELD_LINE.exec(line);
    if (!match) return undefined;
    const name = match[1]!.toLowerCase();
    const before = headers.get(name);
    headers.set(
      name,
      before === undefined ? match[2]! : `${before}, ${match[2]}`,
    );
  }
  return { startLine: startLine!, headers };
}

function servesPath(served: string, target: string): boolean {
  const path = target.split("?", 1)[0]!;
  const prefix = served.replace(/\/+$/, "");
  return path === prefix || path.startsWith(`${prefix}/`);
}

/** The answer to a request whose head is too long to be read. */
export const HEAD_TOO_LONG: string = refuse(
  431,
  "Request Header Fields Too Large",
  "",
).text;

function refuse(
  status: number,
  statusText: string,
  reason: string,
  header?: string,
): UpgradeAnswer {
  return {
    accepted: false,
    text: refusalText(status, statusText, header),
    reason,
  };
}
