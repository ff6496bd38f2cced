/** What sessions log above debug level: warnings that name the client, at a limited rate. */
import { formatAddress } from "../../address.ts";
import type { Log } from "../../observe/log.ts";
import type { EndReason, MqttSession } from "../hooks/hooks.ts";
import type { SessionEnd } from "./link.ts";
import { ReasonCode } from "../packet/mod.ts";

/** Ends that are logged as warnings. */
const LOGGED_ENDS: ReadonlyMap<EndReason, string> = new Map([
  ["broker_lost", "broker closed the connection"],
  ["broker_protocol_error", "broker broke the protocol"],
  ["broker_timeout", "broker does not answer"],
  ["client_protocol_error", "client broke the protocol"],
]);

/** Longest text of a client's choice in the log, in UTF-16 code units. */
const MAX_CHARS = 128;

/** Logs the end of a session, if it is a fault of one side. */
export function logEnd(
  log: Log,
  session: MqttSession,
  target: string,
  { reason, reasonCode, detail }: SessionEnd,
  maxPacketBytes: number,
): void {
  // Whoever should decide about clients cannot: this refuses all of them.
  const isUndecided = reason === "connect_denied" &&
    reasonCode === ReasonCode.SERVER_UNAVAILABLE;
  const message = isUndecided
    ? "client refused: nothing can decide about it now"
    : LOGGED_ENDS.get(reason);
  if (message === undefined) return;
  const { listener } = session;
  const place = target === "" || reason === "client_protocol_error"
    ? { listener }
    : { target };
  log.limited(`${reason} ${target || listener}`, message, {
    ...place,
    session: session.id,
    clientId: logged(session.clientId),
    remote: formatAddress(session.remote),
    reason,
    detail,
    ...(reasonCode === ReasonCode.PACKET_TOO_LARGE
      ? { limit: maxPacketBytes }
      : {}),
  });
}

/** Logs an error inside a session, with its place. */
export function logFailure(
  log: Log,
  session: MqttSession,
  error: unknown,
): void {
  log.limited("session error", "session failed", {
    session: session.id,
    clientId: logged(session.clientId),
    error: error instanceof Error ? error.stack : String(error),
  });
}

/** Logs a WebSocket handshake that was refused or broken. */
export function logHandshake(
  log: Log,
  session: MqttSession,
  error: Error,
): void {
  const { listener } = session;
  log.limited(`websocket handshake ${listener}`, "WebSocket handshake failed", {
    listener,
    remote: formatAddress(session.remote),
    detail: logged(error.message),
  });
}

/** A text of a client's choice as the log shows it. */
export function logged(text: string): string {
  return text.length <= MAX_CHARS ? text : `${text.slice(0, MAX_CHARS)}...`;
}
