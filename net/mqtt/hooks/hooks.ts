/**
 * Hooks: functions of the user's that see a session's packets and allow,
 * change or deny them.
 *
 * All are optional. Each may answer at once or with a promise; while a promise
 * is open, the packets behind it in the same direction of the same session
 * wait, so order is kept, and nothing more is read. A hook that throws denies.
 *
 * What a hook is given lives in memory that is used again: keep a copy
 * (`payload.slice()`), not the object, beyond the hook's answer.
 *
 * @example Only temperatures, and everything below a prefix
 * ```ts
 * import { deny, type MqttHooks } from "@mproxy/mproxy/mqtt";
 *
 * export default {
 *   authPublish(session, message) {
 *     if (!message.topic.endsWith("/temperature")) return deny();
 *     return { topic: `plant-1/${message.topic}` };
 *   },
 * } satisfies MqttHooks;
 * ```
 */
import type { Address } from "../../address.ts";
import type { Direction, ProtocolVersion } from "../packet/protocol.ts";
import type { PeerCertificate } from "../transport/byte_stream.ts";

export type { Direction, PeerCertificate, ProtocolVersion };

/** Name and value of a user property (MQTT 5). */
export type UserProperty = readonly [name: string, value: string];

/** QoS of a message or a subscription. */
export type Qos = 0 | 1 | 2;

/**
 * Marks denials. A hook file may import another copy of this library than the
 * gateway runs: `instanceof` does not know that copy's class, the registered
 * symbol is the same.
 */
const DENIAL_BRAND = Symbol.for("mproxy.mqtt.denial");

/** Longest reason of a denial, in characters. */
const MAX_REASON_CHARS = 1024;

/** A refusal; see {@linkcode deny}. */
export class Denial {
  static {
    Object.defineProperty(this.prototype, DENIAL_BRAND, { value: true });
  }

  /** Reason code of MQTT 5, 0x80 and above; older versions get the closest of theirs. */
  readonly reasonCode: number;
  /** Sent to MQTT 5 clients that ask for problem information, and written to the audit log. */
  readonly reason: string | undefined;

  /** See {@linkcode deny}; throws a RangeError if the code is not that of an error. */
  constructor(reasonCode: number, reason?: string) {
    if (!isErrorCode(reasonCode)) {
      throw new RangeError(
        `cannot deny with ${reasonCode}: expected a reason code from 0x80 to 0xFF`,
      );
    }
    this.reasonCode = reasonCode;
    this.reason = typeof reason === "string"
      ? reason.slice(0, MAX_REASON_CHARS).toWellFormed().replaceAll("\0", "")
      : undefined;
  }
}

function isErrorCode(code: unknown): code is number {
  return Number.isInteger(code) && code as number >= 0x80 &&
    code as number <= 0xff;
}

/**
 * The denial that a value is, made by this copy of the library or another, or
 * undefined. One whose code is not that of an error denies with 0x87: it may
 * come from another version, or from code that wrote to its fields.
 */
export function denialOf(value: unknown): Denial | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (value instanceof Denial && isErrorCode(value.reasonCode)) return value;
  if ((value as Record<symbol, unknown>)[DENIAL_BRAND] !== true) {
    return undefined;
  }
  const { reasonCode, reason } = value as Partial<Denial>;
  return new Denial(isErrorCode(reasonCode) ? reasonCode : 0x87, reason);
}

/**
 * Says no; to be returned (or thrown) by a hook.
 *
 * @param reasonCode Of MQTT 5 (2.4): 0x87 not authorized, 0x97 quota exceeded,
 * 0x99 payload format invalid, 0x90 topic name invalid, 0x86 bad user name or
 * password. What has no place in the answer's packet becomes 0x87.
 */
export function deny(reasonCode: number = 0x87, reason?: string): Denial {
  return new Denial(reasonCode, reason);
}

/**
 * What a hook may answer: nothing or `true` (allow unchanged), a change, or a
 * refusal. Every other answer denies with 0x87 and is logged: `false`, `null`,
 * an Error, a change with unknown keys or values of the wrong type.
 */
export type Answer<Change> =
  | undefined
  | void
  | true
  | Change
  | Denial
  | Promise<undefined | void | true | Change | Denial>;

/** A client's session, as hooks see it. */
export interface MqttSession {
  /** Its number among all sessions of this gateway, counted from 1. */
  readonly id: number;
  /** As the client knows it; empty until the broker has assigned one. */
  readonly clientId: string;
  /**
   * The name that was proved: by the policy, else as `authConnect` allowed it,
   * else by the broker, which has the CONNECT to check. Undefined for anonymous
   * clients, and until `authConnect` has decided: what a client only claims is
   * in its {@linkcode ConnectRequest}.
   */
  readonly username: string | undefined;
  /** 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0. */
  readonly version: ProtocolVersion;
  /** Where the client comes from. */
  readonly remote: Address;
  /** Where it came in: `mqtts://127.0.0.1:8883`. */
  readonly listener: string;
  /** The broker it is connected to; empty before that. */
  readonly target: string;
  /** Its verified certificate, where the listener asks for one. */
  readonly certificate: PeerCertificate | undefined;
  /**
   * Whether it sent a certificate that was not verified, to a listener that
   * does not require one.
   */
  readonly hasUntrustedCertificate: boolean;
  /** In seconds, 0 for none; the broker's where it set another (MQTT 5). */
  readonly keepAliveSeconds: number;
  /** Clean Session, or Clean Start in MQTT 5. */
  readonly cleanStart: boolean;
  /** Those of the CONNECT (MQTT 5). */
  readonly userProperties: readonly UserProperty[];
  /** For the hooks' own use, as long as the session lasts. */
  readonly state: Map<unknown, unknown>;
  /**
   * Ends the session: the client is told the reason where its version can be
   * told (MQTT 5).
   */
  end(options?: EndSessionOptions): void;
}

/** How a hook ends a session. */
export interface EndSessionOptions {
  /**
   * Reason code of MQTT 5's DISCONNECT.
   * @default {0x98}
   */
  reasonCode?: number;
  /**
   * What becomes of the will: `publish` closes the broker's side as if the
   * client were lost, `discard` sends a DISCONNECT first.
   * @default {"publish"}
   */
  will?: "publish" | "discard";
  /** For the log. Default: none. */
  reason?: string;
}

/** A CONNECT. */
export interface ConnectRequest {
  /** Empty where the broker is to assign one. */
  readonly clientId: string;
  /** Undefined where there is none. */
  readonly username: string | undefined;
  /** A view into the gateway's memory; undefined where there is none. */
  readonly password: Uint8Array | undefined;
  /** Clean Session, or Clean Start in MQTT 5. */
  readonly cleanStart: boolean;
  /** In seconds; 0 for none. */
  readonly keepAliveSeconds: number;
  /** In the order of the packet (MQTT 5). */
  readonly userProperties: readonly UserProperty[];
  /** Of enhanced authentication (MQTT 5, 4.12). */
  readonly authenticationMethod: string | undefined;
  /** What goes with the method. */
  readonly authenticationData: Uint8Array | undefined;
  /** Whether a will comes with it; `authWill` sees it. */
  readonly hasWill: boolean;
}

/** What becomes of a CONNECT; what is left out stays. `null` takes a field away. */
export interface ConnectChange {
  /** As the broker will know the client. Default: as the client sent it. */
  clientId?: string;
  /** As the broker gets it. Default: as the client sent it. */
  username?: string | null;
  /** As the broker gets it. Default: as the client sent it. */
  password?: Uint8Array | string | null;
  /** All of them, in order (MQTT 5). Default: as the client sent them. */
  userProperties?: readonly UserProperty[];
  /**
   * The name that the session has from then on, where the broker gets another
   * username; `null` for none. Default: the username.
   */
  identity?: string | null;
  /**
   * Highest QoS of the client's messages. MQTT 5 clients are told in the
   * CONNACK, and a message beyond it ends their session [MQTT-3.2.2-11]. Default: 2.
   */
  maximumQos?: 0 | 1;
  /** Whether the client may have messages retained; MQTT 5 clients are told. Default: it may. */
  retainAvailable?: boolean;
}

/** An application message on its way: a PUBLISH, or a will in its CONNECT. */
export interface MessageRequest {
  /** Whole, also where the packet carries only an alias for it. */
  readonly topic: string;
  /** A view into the gateway's memory. */
  readonly payload: Uint8Array;
  /** 0, 1 or 2. */
  readonly qos: Qos;
  /** Whether the broker keeps it, or sends a kept one. */
  readonly retain: boolean;
  /** Whether it may be a repetition. */
  readonly dup: boolean;
  /** 0 with QoS 0 and for wills. */
  readonly packetId: number;
  /** Whether it is a will, to be published by the broker later. */
  readonly isWill: boolean;
  /** In the order of the packet (MQTT 5). */
  readonly userProperties: readonly UserProperty[];
  /** Where an answer is to go (MQTT 5). */
  readonly responseTopic: string | undefined;
  /** What an answer is to carry (MQTT 5). */
  readonly correlationData: Uint8Array | undefined;
  /** What the payload is (MQTT 5). */
  readonly contentType: string | undefined;
  /** In seconds. */
  readonly messageExpirySeconds: number | undefined;
  /** Whether the payload is said to be UTF-8. */
  readonly payloadIsUtf8: boolean;
}

/** What becomes of a message; what is left out stays. */
export interface MessageChange {
  /** Without wildcards. */
  topic?: string;
  /** A text is written as UTF-8. Default: as it was sent. */
  payload?: Uint8Array | string;
  /** May be lowered only: a higher one would need packet ids that the client may use itself. */
  qos?: Qos;
  /** Whether the broker keeps it. Default: as it was sent. */
  retain?: boolean;
  /** MQTT 5 only: all of them, in order. */
  userProperties?: readonly UserProperty[];
  /** MQTT 5 only; `null` takes it away. */
  responseTopic?: string | null;
}

/** What becomes of a will. */
export interface WillChange extends MessageChange {
  /** Takes the will away and lets the client connect. Default: the will stays. */
  remove?: boolean;
}

/** One filter of a SUBSCRIBE. */
export interface SubscribeFilter {
  /** Without `$share/NAME/`, in all versions. */
  readonly filter: string;
  /**
   * Name of the share of a shared subscription (MQTT 5, 4.8.2). Brokers honour
   * it for MQTT 3.1.1 clients too.
   */
  readonly share: string | undefined;
  /** Highest QoS that is wanted. */
  readonly qos: Qos;
  /** Whether the client's own messages are left out (MQTT 5). */
  readonly noLocal: boolean;
  /** Whether messages keep their retain flag (MQTT 5). */
  readonly retainAsPublished: boolean;
  /** Whether kept messages are sent: 0 always, 1 to new subscriptions, 2 never (MQTT 5). */
  readonly retainHandling: 0 | 1 | 2;
}

/** A SUBSCRIBE. */
export interface SubscribeRequest {
  /** 1 to 65535. */
  readonly packetId: number;
  /** Those that no hook before denied. */
  readonly filters: readonly SubscribeFilter[];
  /** What messages by it will carry (MQTT 5). */
  readonly subscriptionIdentifier: number | undefined;
  /** In the order of the packet (MQTT 5). */
  readonly userProperties: readonly UserProperty[];
}

/** What becomes of one filter. */
export interface FilterChange {
  /** Without `$share/NAME/`, which stays. */
  filter?: string;
  /** May be lowered only. */
  qos?: Qos;
}

/** One filter of an UNSUBSCRIBE. */
export interface UnsubscribeFilter {
  /** Without `$share/NAME/`. */
  readonly filter: string;
  /** Name of the share, where it is a shared subscription. */
  readonly share: string | undefined;
}

/** An UNSUBSCRIBE. */
export interface UnsubscribeRequest {
  /** 1 to 65535. */
  readonly packetId: number;
  /** Those that no hook before denied. */
  readonly filters: readonly UnsubscribeFilter[];
  /** In the order of the packet (MQTT 5). */
  readonly userProperties: readonly UserProperty[];
}

/**
 * One answer for each filter, in order: `undefined` or `true` allows it
 * unchanged. A list of another length denies all filters; an entry that is
 * none of these denies its filter.
 */
export type FilterAnswers<Change> = readonly (
  | undefined
  | void
  | true
  | Change
  | Denial
)[];

/** A packet as `intercept` sees it. */
export interface InterceptedPacket {
  /** 1 CONNECT to 15 AUTH (2.1.2). */
  readonly type: number;
  /** `PUBLISH`. */
  readonly name: string;
  /** The whole packet, a view into the gateway's memory. */
  readonly bytes: Uint8Array;
}

/** The broker's acceptance. */
export interface ConnectResult {
  /** Whether the broker goes on with a session that it kept. */
  readonly sessionPresent: boolean;
}

/** What became of each filter of a SUBSCRIBE or UNSUBSCRIBE, as the client is told. */
export interface FilterResult {
  /** As the client wrote them. */
  readonly filters: readonly string[];
  /** One for each filter. For an UNSUBSCRIBE before MQTT 5, which has none, 0. */
  readonly reasonCodes: readonly number[];
}

/** Why a session ended. */
export interface DisconnectResult {
  /** One word of {@linkcode END_REASONS}. */
  readonly reason: EndReason;
  /** Reason code of the DISCONNECT that was sent or received, 0 where there was none. */
  readonly reasonCode: number;
  /** One line for people. */
  readonly detail: string;
}

/** Why sessions end. */
export const END_REASONS = [
  "client_disconnected",
  "client_lost",
  "client_protocol_error",
  "client_keep_alive",
  "connect_timeout",
  "displaced",
  "connect_denied",
  "connect_refused",
  "broker_unreachable",
  "broker_disconnected",
  "broker_lost",
  "broker_protocol_error",
  "broker_timeout",
  "denied",
  "ended",
  "drained",
  "gateway_error",
] as const;

/** Why a session ended. */
export type EndReason = typeof END_REASONS[number];

/** Functions that see a session's packets; all optional. See the module's rules. */
export interface MqttHooks {
  /** A CONNECT, before the broker is dialled. Denied: CONNACK with the reason, and close. */
  authConnect?(
    session: MqttSession,
    connect: ConnectRequest,
  ): Answer<ConnectChange>;
  /**
   * The will of a CONNECT, right after `authConnect`. Without this hook,
   * `authPublish` is asked, as the will is a message that the broker will
   * publish. Denied: CONNACK with the reason, and close.
   */
  authWill?(session: MqttSession, will: MessageRequest): Answer<WillChange>;
  /** A client's PUBLISH. Denied: answered as the version demands, or closed. */
  authPublish?(
    session: MqttSession,
    message: MessageRequest,
  ): Answer<MessageChange>;
  /** A SUBSCRIBE; each filter is decided alone. A single `Denial` denies all. */
  authSubscribe?(
    session: MqttSession,
    subscribe: SubscribeRequest,
  ): Answer<FilterAnswers<FilterChange>>;
  /** An UNSUBSCRIBE; each filter is decided alone. A single `Denial` denies all. */
  authUnsubscribe?(
    session: MqttSession,
    unsubscribe: UnsubscribeRequest,
  ): Answer<FilterAnswers<FilterChange>>;
  /** A PUBLISH from the broker. Denied: the client does not get it, the broker is told it was taken. */
  deliver?(
    session: MqttSession,
    message: MessageRequest,
  ): Answer<MessageChange>;
  /**
   * Every packet both ways, before all other hooks. May answer with the bytes
   * of one other packet of the same type, which is then checked like any. A
   * `Denial` of a PUBLISH, SUBSCRIBE or UNSUBSCRIBE is that of its own hook;
   * of another packet it ends the session.
   */
  intercept?(
    session: MqttSession,
    packet: InterceptedPacket,
    direction: Direction,
  ): Answer<Uint8Array<ArrayBuffer>>;

  /** The broker accepted the CONNECT. */
  connect?(session: MqttSession, result: ConnectResult): void | Promise<void>;
  /** A PUBLISH was handed to the broker. */
  publish?(session: MqttSession, message: MessageRequest): void | Promise<void>;
  /** The client was told what became of its SUBSCRIBE. */
  subscribe?(session: MqttSession, result: FilterResult): void | Promise<void>;
  /** The client was told what became of its UNSUBSCRIBE. */
  unsubscribe?(
    session: MqttSession,
    result: FilterResult,
  ): void | Promise<void>;
  /** The session ended: once for each session whose CONNECT was read. */
  disconnect?(
    session: MqttSession,
    result: DisconnectResult,
  ): void | Promise<void>;
}
