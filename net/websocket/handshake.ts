/**
 * The server's part of the opening handshake of WebSocket (RFC 6455, section
 * 4.2) that is the same for every protocol in it. Pure.
 */
import { createHash } from "node:crypto";

/** Appended to a key before it is hashed (RFC 6455, 1.3). */
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** Why a request is refused, as an HTTP answer. */
export interface UpgradeRefusal {
  readonly status: number;
  readonly statusText: string;
  /** For the log. */
  readonly reason: string;
  /** A header that the status requires, as `Name: value`. */
  readonly header: string | undefined;
}

/** Checks the headers that ask for the upgrade; names are given in lower case. */
export function checkUpgrade(
  header: (name: string) => string | undefined,
): UpgradeRefusal | undefined {
  if (
    !hasToken(header("upgrade"), "websocket") ||
    !hasToken(header("connection"), "upgrade")
  ) {
    return {
      status: 426,
      statusText: "Upgrade Required",
      reason: "no WebSocket upgrade",
      header: "Upgrade: websocket",
    };
  }
  if (header("sec-websocket-version") !== "13") {
    return {
      status: 426,
      statusText: "Upgrade Required",
      reason: "another WebSocket version",
      header: "Sec-WebSocket-Version: 13",
    };
  }
  if (!/^[A-Za-z0-9+/]{21}[AQgw]==$/.test(header("sec-websocket-key") ?? "")) {
    return {
      status: 400,
      statusText: "Bad Request",
      reason: "no key of 16 bytes",
      header: undefined,
    };
  }
}

/** The head that accepts a request with this key. */
export function switchingText(
  key: string,
  subprotocol: string | undefined,
): string {
  const lines = [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Accept: ${acceptKey(key)}`,
  ];
  if (subprotocol) lines.push(`Sec-WebSocket-Protocol: ${subprotocol}`);
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** An answer that refuses a request and closes the connection. */
export function refusalText(
  status: number,
  statusText: string,
  header?: string,
  text = statusText,
): string {
  const body = `${text}\n`;
  const lines = [
    `HTTP/1.1 ${status} ${statusText}`,
    "Connection: close",
    "Content-Type: text/plain",
    `Content-Length: ${body.length}`,
  ];
  if (header) lines.push(header);
  return `${lines.join("\r\n")}\r\n\r\n${body}`;
}

/** What a server answers to a key (RFC 6455, 4.2.2). */
export function acceptKey(key: string): string {
  return createHash("sha1").update(key + GUID).digest("base64");
}

/** Whether a comma-separated list has a token (RFC 9110, 5.6.1). */
export function hasToken(
  list: string | undefined,
  token: string,
  exactCase = false,
): boolean {
  return list?.split(",").some((item) => {
    const text = item.trim();
    return (exactCase ? text : text.toLowerCase()) === token;
  }) ?? false;
}
