/**
 * The audit log: who did what, as JSON lines. No passwords ever, no payloads
 * unless they are asked for.
 *
 * A client chooses most of what a line says, so every line is bounded: long
 * texts and lists are cut, with their true length. A line that cannot be
 * written is counted and never ends a session or the process.
 */
import { formatAddress } from "../address.ts";
import { jsonLine } from "../line_text.ts";
import type { MessageRequest, MqttSession } from "./hooks/hooks.ts";

/** Longest line, without payloads and with them, in bytes. */
const MAX_LINE_BYTES = 2048;
const MAX_PAYLOAD_LINE_BYTES = 16_384;

/** Longest payload that is looked at, in bytes: more does not fit in a line. */
const MAX_PAYLOAD_BYTES = 16_384;

/** Where the audit log goes, and what it records. */
export interface AuditOptions {
  /**
   * Takes each line without its line end. Must not block. `false`, or an
   * exception, means that the line is lost.
   */
  write: (line: string) => boolean | void;
  /**
   * Whether lines can be written now. Default: whether the last one could.
   */
  isWritable?: (() => boolean) | undefined;
  /**
   * Whether new sessions are refused while lines cannot be written.
   * @default {false}
   */
  required?: boolean;
  /**
   * Whether every message that passes is recorded, not only denied ones.
   * @default {false}
   */
  messages?: boolean;
  /**
   * Whether payloads are recorded, as UTF-8 or else as base64; a line has at most 16 KiB.
   * @default {false}
   */
  payloads?: boolean;
  /** Milliseconds since 1970. Default: `Date.now`. */
  now?: () => number;
}

/** Fields of an event, in addition to those of its session. */
export type AuditFields = Readonly<
  Record<string, string | number | boolean | readonly unknown[] | undefined>
>;

/** Writes the audit log; see the module's rules. */
export class AuditLog {
  /** Whether every message is recorded. */
  readonly messages: boolean;
  readonly #payloads: boolean;
  readonly #required: boolean;
  readonly #write: AuditOptions["write"];
  readonly #isWritable: () => boolean;
  readonly #onLoss: (error: unknown) => void;
  readonly #now: () => number;
  #lastWritten = true;

  /** `onLoss` is called for each line that is lost, with the reason if there is one. */
  constructor(options: AuditOptions, onLoss: (error: unknown) => void) {
    const {
      write,
      isWritable,
      required = false,
      messages = false,
      payloads = false,
      now = Date.now,
    } = options;
    this.#write = write;
    this.#isWritable = isWritable ?? (() => this.#lastWritten);
    this.#required = required;
    this.messages = messages;
    this.#payloads = payloads;
    this.#onLoss = onLoss;
    this.#now = now;
  }

  /** Whether new sessions must be refused: lines are required and cannot be written. */
  get blocksSessions(): boolean {
    return this.#required && !this.#isWritable();
  }

  /** Records an event of a session. Never throws. */
  event(event: string, session: MqttSession, fields: AuditFields = {}): void {
    try {
      const line = jsonLine({
        time: new Date(this.#now()).toISOString(),
        event,
        session: session.id,
        clientId: session.clientId,
        username: session.username,
        remote: formatAddress(session.remote),
        listener: session.listener,
        certificate: session.certificate?.subject,
        ...fields,
      }, this.#payloads ? MAX_PAYLOAD_LINE_BYTES : MAX_LINE_BYTES);
      this.#lastWritten = this.#write(line) !== false;
      if (!this.#lastWritten) this.#onLoss(undefined);
    } catch (error) {
      this.#lastWritten = false;
      this.#onLoss(error);
    }
  }

  /** What a line says about a message. */
  message(message: MessageRequest): AuditFields {
    const { topic, qos, retain, payload } = message;
    return {
      topic,
      qos,
      retain,
      payloadBytes: payload.length,
      ...(this.#payloads
        ? payloadFields(payload.subarray(0, MAX_PAYLOAD_BYTES))
        : {}),
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
