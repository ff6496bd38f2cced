/**
 * One direction of a connection, from bytes to packets that were checked whole.
 *
 * 1. `push` takes a chunk.
 * 2. `next` lets the framer find the next packet and loads the view of its
 *    type, which checks the body.
 * 3. A CONNECT tells the version; a CONNACK that accepts opens the way back.
 *
 * What a reader yields is what the bytes say and nothing else: to forward
 * `bytes()` of each packet is to forward exactly what was checked.
 */
import { AckView } from "./ack.ts";
import { AuthView } from "./auth.ts";
import { ConnackView } from "./connack.ts";
import { ConnectView } from "./connect.ts";
import { DisconnectView } from "./disconnect.ts";
import { Framer, type FramerOptions } from "./framer.ts";
import {
  checkPublishLimits,
  checkSubscribeLimits,
  type PacketLimits,
} from "./limits.ts";
import type { PacketView } from "./packet_view.ts";
import { PingView } from "./ping.ts";
import {
  type Direction,
  PacketType,
  type ProtocolVersion,
} from "./protocol.ts";
import { PublishView } from "./publish.ts";
import { SubackView } from "./suback.ts";
import { SubscribeView } from "./subscribe.ts";
import { UnsubscribeView } from "./unsubscribe.ts";

/** How a {@linkcode PacketReader} reads. */
export interface PacketReaderOptions extends FramerOptions {
  /**
   * Most characters of a client identifier of MQTT 3.1. The specification says
   * 23 and many brokers take more.
   * @default {23}
   */
  maxClientIdChars31?: number;
}

/** What is known of a PUBLISH that is too large; its body is skipped. */
export interface OversizedPublish {
  /** With replacement characters, where it is not UTF-8. */
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
  /** 0 for QoS 0. */
  readonly packetId: number;
  /** Of the whole packet. */
  readonly byteLength: number;
}

/** The view that shows the current packet, told apart by `type`. */
export type Packet =
  | ConnectView
  | ConnackView
  | PublishView
  | AckView
  | SubscribeView
  | SubackView
  | UnsubscribeView
  | PingView
  | DisconnectView
  | AuthView;

/**
 * Reads one direction of a connection; see the module's flow.
 *
 * The views are the reader's own and are used again: what one of them shows is
 * valid until the next `next`, what its bytes are until the next `push`.
 * `copy()` keeps a packet for longer.
 */
export class PacketReader {
  /** Finds the packets; its `buffer`, `start` and `end` are the current one. */
  readonly framer: Framer;
  /**
   * What the receiver of the packets takes in MQTT 5, once CONNECT or CONNACK
   * told it; undefined leaves it to the receiver. `limitsOfBroker` and
   * `limitsOfClient` make it.
   */
  limits: PacketLimits | undefined;
  /** The type of the current packet; 0 before the first one. */
  type: PacketType | 0 = 0;

  readonly #upstream: boolean;
  readonly #maxClientIdChars31: number | undefined;
  // Made when the first packet of the type arrives: an idle connection saw few.
  #connect: ConnectView | undefined;
  #connack: ConnackView | undefined;
  #publish: PublishView | undefined;
  #ack: AckView | undefined;
  #subscribe: SubscribeView | undefined;
  #suback: SubackView | undefined;
  #unsubscribe: UnsubscribeView | undefined;
  #ping: PingView | undefined;
  #disconnect: DisconnectView | undefined;
  #auth: AuthView | undefined;

  constructor(options: PacketReaderOptions) {
    this.framer = new Framer(options);
    this.#upstream = options.direction === "upstream";
    this.#maxClientIdChars31 = options.maxClientIdChars31;
  }

  /** Where the packets go. */
  get direction(): Direction {
    return this.framer.direction;
  }

  /** The version of the connection; 0 before the CONNECT. */
  get version(): ProtocolVersion | 0 {
    return this.framer.version;
  }

  /** Downstream: the version is what the client's CONNECT said. */
  set version(version: ProtocolVersion | 0) {
    this.framer.version = version;
  }

  /** Largest packet with its fixed header, in bytes; it may change at any time. */
  get maxPacketBytes(): number {
    return this.framer.maxPacketBytes;
  }

  set maxPacketBytes(bytes: number) {
    this.framer.maxPacketBytes = bytes;
  }

  /** Bytes that arrived of a packet that is not complete. */
  get partialBytes(): number {
    return this.framer.partialBytes;
  }

  /** Takes the next chunk; see {@linkcode Framer.push}. */
  push(chunk: Uint8Array): void {
    this.framer.push(chunk);
  }

  /**
   * Moves to the next packet and checks it. False means that more bytes are
   * needed.
   *
   * @throws {PacketError} where a packet breaks a rule; the connection is of no
   * use after that.
   */
  next(): boolean {
    const { framer } = this;
    if (!framer.next()) return false;
    const type = framer.buffer[framer.start]! >> 4;
    if (framer.oversizedBytes > 0) {
      this.type = type as PacketType;
      return true;
    }
    if (type === PacketType.PUBLISH) {
      const view = this.#publish ??= new PublishView();
      this.#load(view);
      if (this.limits !== undefined) checkPublishLimits(view, this.limits);
    } else this.#loadOther(type);
    this.type = type as PacketType;
    return true;
  }

  /** The front of the current packet if it is a PUBLISH that is too large, else undefined. */
  get oversized(): OversizedPublish | undefined {
    const { buffer, bodyStart, end, oversizedBytes } = this.framer;
    if (oversizedBytes === 0) return undefined;
    const first = buffer[0]!;
    const qos = (first >> 1 & 3) as 0 | 1 | 2;
    const topicEnd = qos === 0 ? end : end - 2;
    return {
      topic: new TextDecoder().decode(buffer.subarray(bodyStart + 2, topicEnd)),
      qos,
      packetId: qos === 0 ? 0 : buffer[topicEnd]! << 8 | buffer[topicEnd + 1]!,
      byteLength: oversizedBytes,
    };
  }

  /** The view of the current packet. */
  get packet(): Packet {
    return this.#loadedView();
  }

  /** The current CONNECT. */
  get connect(): ConnectView {
    return loaded(this.#connect);
  }

  /** The current CONNACK. */
  get connack(): ConnackView {
    return loaded(this.#connack);
  }

  /** The current PUBLISH. */
  get publish(): PublishView {
    return loaded(this.#publish);
  }

  /** The current PUBACK, PUBREC, PUBREL or PUBCOMP. */
  get ack(): AckView {
    return loaded(this.#ack);
  }

  /** The current SUBSCRIBE. */
  get subscribe(): SubscribeView {
    return loaded(this.#subscribe);
  }

  /** The current SUBACK or UNSUBACK. */
  get suback(): SubackView {
    return loaded(this.#suback);
  }

  /** The current UNSUBSCRIBE. */
  get unsubscribe(): UnsubscribeView {
    return loaded(this.#unsubscribe);
  }

  /** The current PINGREQ or PINGRESP. */
  get ping(): PingView {
    return loaded(this.#ping);
  }

  /** The current DISCONNECT. */
  get disconnect(): DisconnectView {
    return loaded(this.#disconnect);
  }

  /** The current AUTH. */
  get auth(): AuthView {
    return loaded(this.#auth);
  }

  #loadedView(): Packet {
    switch (this.type) {
      case PacketType.CONNECT:
        return this.connect;
      case PacketType.CONNACK:
        return this.connack;
      case PacketType.PUBLISH:
        return this.publish;
      case PacketType.SUBSCRIBE:
        return this.subscribe;
      case PacketType.SUBACK:
      case PacketType.UNSUBACK:
        return this.suback;
      case PacketType.UNSUBSCRIBE:
        return this.unsubscribe;
      case PacketType.PINGREQ:
      case PacketType.PINGRESP:
        return this.ping;
      case PacketType.DISCONNECT:
        return this.disconnect;
      case PacketType.AUTH:
        return this.auth;
      default:
        return this.ack;
    }
  }

  #loadOther(type: number): void {
    switch (type) {
      case PacketType.CONNECT: {
        const view = this.#connect ??= new ConnectView();
        if (this.#maxClientIdChars31 !== undefined) {
          view.maxClientIdChars31 = this.#maxClientIdChars31;
        }
        this.#load(view);
        this.framer.version = view.version;
        this.framer.established = true;
        return;
      }
      case PacketType.CONNACK: {
        const view = this.#connack ??= new ConnackView();
        this.#load(view);
        this.framer.established = view.accepted;
        return;
      }
      case PacketType.SUBSCRIBE: {
        const view = this.#subscribe ??= new SubscribeView();
        this.#load(view);
        if (this.limits !== undefined) checkSubscribeLimits(view, this.limits);
        return;
      }
      case PacketType.SUBACK:
      case PacketType.UNSUBACK:
        return this.#load(this.#suback ??= new SubackView());
      case PacketType.UNSUBSCRIBE:
        return this.#load(this.#unsubscribe ??= new UnsubscribeView());
      case PacketType.PINGREQ:
      case PacketType.PINGRESP:
        return this.#load(this.#ping ??= new PingView());
      case PacketType.DISCONNECT:
        return this.#load(this.#disconnect ??= new DisconnectView());
      case PacketType.AUTH:
        return this.#load(this.#auth ??= new AuthView());
      default:
        return this.#load(this.#ack ??= new AckView());
    }
  }

  #load(view: PacketView): void {
    const { framer } = this;
    view.load(
      framer.buffer,
      framer.start,
      framer.bodyStart,
      framer.end,
      // A CONNECT finds its version itself.
      framer.version === 0 ? 4 : framer.version,
      this.#upstream,
    );
  }
}

function loaded<T>(view: T | undefined): T {
  if (view === undefined) {
    throw new TypeError("Cannot read a packet of a type that did not arrive");
  }
  return view;
}
