/** What the two directions of a session share. */
import type { Log } from "../../observe/log.ts";
import type { AuditLog } from "../audit.ts";
import type { BufferPool } from "./buffer_pool.ts";
import type { HookChain } from "../hooks/hook_chain.ts";
import type { EndReason, MqttSession } from "../hooks/hooks.ts";
import type { MqttMetrics } from "../metrics.ts";
import type {
  HeldBudget,
  PacketLimits,
  ProtocolVersion,
} from "../packet/mod.ts";
import type { PendingTable } from "./pending_filters.ts";
import type { PublishFlow } from "./publish_flow.ts";
import type { StreamWriter } from "./stream_writer.ts";

/** How denied messages are answered. */
export type OnDeny = "ack" | "close";

/** What all sessions of a gateway go by. */
export interface SessionSettings {
  /** From the connection to a whole CONNECT, in milliseconds. */
  readonly connectTimeoutMs: number;
  /** From a dial to the broker's CONNACK, and for its answer to a PINGREQ, in milliseconds. */
  readonly brokerTimeoutMs: number;
  /** How long a client may take nothing of what it is sent, in milliseconds. */
  readonly clientTimeoutMs: number;
  /** For all hooks of one packet, in milliseconds. */
  readonly hookTimeoutMs: number;
  /** How long a closed connection may take to end, in milliseconds. */
  readonly lingerMs: number;
  /** Largest packet that is taken, in bytes. */
  readonly maxPacketBytes: number;
  /** Largest packet that is taken before the broker's CONNACK, in bytes. */
  readonly maxConnectBytes: number;
  /** Most characters of a client identifier of MQTT 3.1. */
  readonly maxClientIdChars31: number;
  /** What a denied message comes to. */
  readonly onDeny: OnDeny;
  /** Whether the broker's Server Reference reaches clients. */
  readonly passServerReference: boolean;
}

/**
 * What happens to a message beyond a rate limit: it waits, it is acknowledged
 * and dropped, it is refused, or the session ends.
 */
export type OverLimit = "slow" | "drop" | "refuse" | "disconnect";

/** Rate limits of clients. */
export interface Throttle {
  /** What happens to a message beyond the limit. */
  readonly overLimit: OverLimit;
  /**
   * Charges a session for messages and bytes. Returns how many milliseconds it
   * exceeds its limit by; in that case, unless the excess is to be slowed,
   * nothing was charged.
   */
  charge(session: MqttSession, messages: number, bytes: number): number;
}

/** What all sessions of a gateway use. */
export interface SessionContext {
  readonly settings: SessionSettings;
  readonly hooks: HookChain;
  readonly metrics: MqttMetrics;
  readonly log: Log;
  readonly audit: AuditLog | undefined;
  readonly throttle: Throttle | undefined;
  readonly pool: BufferPool;
  /** Of what is held of large packets. */
  readonly budget: HeldBudget;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Told of each read; set when the listeners are open, where it can be had. */
  spin?: ReadWatch | undefined;
}

/** Hears of reads, so that the event loop stays awake for what answers them. */
export interface ReadWatch {
  /** Something was read in this turn of the event loop. */
  happened(): void;
}

/** How a session ends. */
export interface SessionEnd {
  readonly reason: EndReason;
  /** Of the DISCONNECT or CONNACK, 0 where there is none. */
  readonly reasonCode: number;
  /** One line for people. */
  readonly detail: string;
  /** The last packet to the client. */
  readonly toClient?: Uint8Array | undefined;
  /** The last packet to the broker: without a DISCONNECT, it publishes the will. */
  readonly toBroker?: Uint8Array | undefined;
}

/** What CONNECT and CONNACK agreed on. */
export interface Agreement {
  /** Of the client: the largest packet that it takes. */
  clientMaxPacketBytes: number;
  /** Of the client: whether reasons may be explained to it. */
  problemInformation: boolean;
  /** Of the broker: the largest packet that it takes. */
  brokerMaxPacketBytes: number;
  /** Of the hooks: highest QoS of the client's messages. */
  maximumQos: 0 | 1 | 2;
  /** Of the hooks: whether the client may have messages retained. */
  retainAvailable: boolean;
  /** Of both: what the session's AUTH packets name. */
  authenticationMethod: string | undefined;
  /** In seconds; 0 for none. */
  keepAliveSeconds: number;
  /** The client id that the gateway gave to a client that asked for one. */
  assignedClientId: string | undefined;
}

/** A session whose broker is connected, as its two directions see it. */
export interface Link {
  readonly context: SessionContext;
  readonly session: MqttSession;
  readonly version: ProtocolVersion;
  readonly agreement: Agreement;
  readonly toClient: StreamWriter;
  readonly toBroker: StreamWriter;
  /** Messages from the client. */
  readonly upFlow: PublishFlow;
  /** Messages from the broker. */
  readonly downFlow: PublishFlow;
  readonly subscribing: PendingTable;
  readonly unsubscribing: PendingTable;
  /** Whether the broker took the CONNECT. */
  readonly isAccepted: boolean;
  /** Whether it ended: what is still read is thrown away. */
  readonly isOver: boolean;
  /** Whether the client sent its DISCONNECT: what else it sends is thrown away. */
  readonly isLeaving: boolean;
  /** Whether it is to end as soon as nothing of it is under way. */
  readonly isDraining: boolean;
  /** PINGREQs of the gateway's own that the broker has not answered. */
  ownPings: number;
  /** Resolves when `isAccepted` or `isOver`. */
  untilAccepted(): Promise<void>;
  /** The broker gave the client its identifier. */
  assignClientId(clientId: string): void;
  /** The broker took the CONNECT, and said what else it takes. */
  accept(limits: PacketLimits | undefined): void;
  /**
   * The client sent its DISCONNECT. An MQTT 5 broker may answer it (3.14), so
   * the session ends when the broker closes, or after the linger time.
   */
  leave(end: SessionEnd): void;
  /** Ends the session; only the first call counts. */
  finish(end: SessionEnd): void;
  /** Ends the session and tells an MQTT 5 client the reason code. */
  finishWithReason(reason: EndReason, reasonCode: number, detail: string): void;
  /** Ends the session where nothing of it is under way, or later. */
  drain(): void;
  /** Ends the session: the gateway itself went wrong. */
  fail(error: unknown): void;
}
