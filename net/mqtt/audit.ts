/**
 * The audit log: who did what, as JSON lines. No passwords ever, no payloads
 * unless they are asked for.
 */
import type { MqttSession } from "./hooks.ts";
import type { MessageRequest } from "./hooks.ts";
import { formatAddress } from "../address.ts";

/** What is written down. */
export interface AuditOptions {
  /** Takes each line without its line end. */
  write: (line: string) => void;
  /**
   * Whether every message that passes is written down, not only those denied.
   * @default {false}
   */
  messages?: boolean;
  /**
   * Whether payloads are written down, as UTF-8 or else as base64.
   * @default {false}
   */
  payloads?: boolean;
  /** Milliseconds since 1970. Default: `Date.now`. */
  now?: () => number;
}

/** What happened, beside who. */
export type AuditFields = Readonly<
  Record<string, string | number | boolean | readonly unknown[] | undefined>
>;

/** Writes down what sessions do. */
export class AuditLog {
  /** Whether every message is written down. */
  readonly messages: boolean;
  readonly #payloads: boolean;
  readonly #write: (line: string) => void;
  readonly #now: () => number;

  constructor(options: AuditOptions) {
    const { write, messages = false, payloads = false, now = Date.now } =
      options;
    this.#write = write;
    this.messages = messages;
    this.#payloads = payloads;
    this.#now = now;
  }

  /** Something happened in a session. */
  event(event: string, session: MqttSession, fields: AuditFields = {}): void {
    this.#write(JSON.stringify({
      time: new Date(this.#now()).toISOString(),
      event,
      session: session.id,
      clientId: session.clientId,
      username: session.username,
      remote: formatAddress(session.remote),
      listener: session.listener,
      certificate: session.certificate?.subject,
      ...fields,
    }));
  }

  /** What is said about a message. */
  message(message: MessageRequest): AuditFields {
    const { topic, qos, retain, payload } = message;
    return {
      topic,
      qos,
      retain,
      payloadBytes: payload.length,
      ...(this.#payloads ? payloadFields(payload) : {}),
    };
  }
}

function payloadFields(payload: Uint8Array): AuditFields {
  try {
    return {
      payload: new TextDecoder("utf-8", { fatal: true }).decode(payload),
    };
  } catch {
    return { payloadBase64: payload.toBase64() };
  }
}
