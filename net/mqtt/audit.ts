/**
 * The audit log: who did what, as JSON lines. No passwords ever, no payloads
 * unless they are asked for.
 *
 * A client chooses most of what a line says, so every line is bounded: long
 * texts and lists are cut, with their true length. A line that cannot be
 * written is counted and never ends a session or the process.
 */
import { formatAddress } from "../address.ts";
import type { MessageRequest, MqttSession } from "./hooks.ts";

/** Longest text that is written whole, in UTF-16 code units. */
const MAX_TEXT_CHARS = 256;

/** Longest list that is written whole. */
const MAX_LIST_ITEMS = 32;

/** Longest payload that is written whole, in bytes. */
const MAX_PAYLOAD_BYTES = 8192;

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
   * Whether payloads are recorded, as UTF-8 or else as base64, up to 8 KiB.
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
  /** Lines written. */
  written = 0;
  /** Lines lost. */
  lost = 0;
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
      const line = JSON.stringify({
        time: new Date(this.#now()).toISOString(),
        event,
        session: session.id,
        clientId: cutText(session.clientId),
        username: session.username && cutText(session.username),
        remote: formatAddress(session.remote),
        listener: session.listener,
        certificate: session.certificate &&
          cutText(session.certificate.subject),
        ...cutFields(fields),
      });
      this.#lastWritten = this.#write(line) !== false;
      if (!this.#lastWritten) this.#lose(undefined);
      else this.written++;
    } catch (error) {
      this.#lastWritten = false;
      this.#lose(error);
    }
  }

  #lose(error: unknown): void {
    this.lost++;
    this.#onLoss(error);
  }

  /** What a line says about a message. */
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

/** Fields of a payload, which are bounded here and not cut again. */
const PAYLOAD_FIELDS = ["payload", "payloadBase64"];

function payloadFields(payload: Uint8Array): AuditFields {
  const isCut = payload.length > MAX_PAYLOAD_BYTES;
  const shown = isCut ? payload.subarray(0, MAX_PAYLOAD_BYTES) : payload;
  const cut = isCut ? { payloadCut: true } : {};
  try {
    // With `stream`, a character that is cut in two is left out.
    const text = new TextDecoder("utf-8", { fatal: true })
      .decode(shown, { stream: isCut });
    return { payload: text, ...cut };
  } catch {
    return { payloadBase64: shown.toBase64(), ...cut };
  }
}

function cutFields(fields: AuditFields): AuditFields {
  const cut: Record<string, AuditFields[string]> = {};
  for (const [name, value] of Object.entries(fields)) {
    cut[name] = PAYLOAD_FIELDS.includes(name)
      ? value
      : typeof value === "string"
      ? cutText(value)
      : Array.isArray(value)
      ? cutList(value)
      : value;
  }
  return cut;
}

function cutText(text: string): string {
  return text.length <= MAX_TEXT_CHARS
    ? text
    : `${text.slice(0, MAX_TEXT_CHARS)}... (${text.length} characters)`;
}

function cutList(list: readonly unknown[]): readonly unknown[] {
  const shown = list.slice(0, MAX_LIST_ITEMS).map((item) =>
    typeof item === "string" ? cutText(item) : item
  );
  const more = list.length - shown.length;
  return more > 0 ? [...shown, `... (${list.length} items)`] : shown;
}
